"""Ctrl-C: whenever it comes the command ends by it, with nothing to read and never as if all had gone well.

From the command's first line on (hangup/__main__.py) SIGINT has its default action. While a verb runs, which may have
to take away what it has made, it raises KeyboardInterrupt. Python swallows that in a finalizer or in the callback of a
weak reference, as imports have some; so it is noted, too. When all is done it has its default action again.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

from hangup.cli.exit_status import ExitStatus


class Interrupts:
    """The SIGINTs of a command that was started as one; of whoever else calls it they are as that one has them."""

    def __init__(self) -> None:
        self._came = False
        self._are_taken = False

    def take(self) -> None:
        """Let them raise KeyboardInterrupt from now on."""
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            self._are_taken = True
            sys.unraisablehook = _show_swallowed
            signal.signal(signal.SIGINT, self._note)

    def leave(self) -> None:
        """Let them end the process at once from now on. May raise KeyboardInterrupt; call it again then."""
        if self._are_taken:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def status(self, status: int) -> int:
        """Return what to end with in place of this status."""
        return ExitStatus.INTERRUPTED if self._came and status == ExitStatus.OK else status

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt


def _show_swallowed(what: UnraisableHookArgs) -> None:
    if not issubclass(what.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(what)
