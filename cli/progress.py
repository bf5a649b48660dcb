"""How far a long read has got, as a bar on a terminal."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

# What is read sooner needs no bar; and it is moved no more often.
_SECONDS = 0.5
_EVERY_SECONDS = 0.1


class Progress:
    """A bar on standard error while a capture is read; nothing where that is no terminal."""

    def __init__(self, file: IO[str] | None = None) -> None:
        """file: instead of standard error, for tests."""
        self._file = file or sys.stderr
        self._is_wanted = self._file.isatty()
        self._bar: Bar | None = None
        self._next = time.monotonic() + _SECONDS

    def show(self, position: int, size: int) -> None:
        """Show how many bytes of how many have been read; size: 0 of a pipe, of which nothing is known."""
        if not self._is_wanted or not size or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        if self._bar is None:
            self._bar = _bar(self._file)
            self._bar.add_task("reading", total=size)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=position, refresh=True)

    def hide(self) -> None:
        """Take the bar away: something else is to be printed, or all is read."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(file: IO[str]) -> Bar:
    # Most reads are over sooner than this is imported.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(file=file),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
