"""Signals end a wait that has not begun yet, too.

A signal that comes right before a wait would otherwise be seen only after it: its handler runs between two instructions
of Python, and the wait is a system call. So the interpreter writes to a pipe first, which ends the wait whenever that
begins.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_MANY = 4096


class Wake:
    """What ends a wait when a signal with a handler comes, while the context lasts. For the main thread."""

    def __enter__(self) -> Wake:
        self.descriptor, self._written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        """Where something comes to be read with each signal."""
        # Full it wakes as well.
        self._before = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._written)
        os.close(self.descriptor)

    def clear(self) -> None:
        """Forget the signals that have come: the next one wakes again."""
        with suppress(BlockingIOError):
            while len(os.read(self.descriptor, _MANY)) == _MANY:
                pass
