"""Where results go: written whole, at once when it matters, and ended quietly when nobody reads them any more."""

from __future__ import annotations

import errno
import io
import select
import sys
from typing import IO


class Output:
    """Standard output (or `file`). Raises BrokenPipeError as soon as its reader is known to be gone."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self.file = file or sys.stdout
        self._watched: select.poll | None = None
        try:
            descriptor = self.file.fileno()
        except (io.UnsupportedOperation, ValueError):
            return
        # With no event asked for, poll(2) reports only a pipe or socket whose other end is gone.
        self._watched = select.poll()
        self._watched.register(descriptor, 0)

    def line(self, text: str) -> None:
        """Write a line, or a block of them."""
        try:
            self.file.write(text + "\n")
        except OSError as error:
            raise _gone(error) from None

    def flush(self) -> None:
        """Hand over what has been written."""
        try:
            self.file.flush()
        except OSError as error:
            raise _gone(error) from None

    def require_reader(self) -> None:
        """Raise BrokenPipeError if the reader is gone, also when there is nothing to write: nobody waits for it."""
        if self._watched is not None and any(events & select.POLLERR for _, events in self._watched.poll(0)):
            raise BrokenPipeError


def note(text: str) -> None:
    """Say something about the run itself, on standard error; that nobody listens there is no reason to stop."""
    try:
        print(f"hangup: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def _gone(error: OSError) -> OSError:
    """Return what to raise: a terminal that is closed (EIO) is as gone as a pipe without a reader."""
    return BrokenPipeError() if error.errno == errno.EIO else error
