"""A person at a shell: types, presses Tab, and reads what the line has become."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Sequence
from types import TracebackType

# Long enough for a shell's start on a busy machine; whoever waits so long fails.
_LIMIT_SECONDS = 60.0

_TO_BEGIN = "\x01"
_TO_END = "\x05"


class Terminal:
    """An interactive shell on a pseudoterminal."""

    def __init__(self, command: Sequence[str]) -> None:
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.execvp(command[0], list(command))  # noqa: S606 - in the child of a fork
        self._read = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._descriptor)

    def do(self, line: str) -> None:
        """Run a line of shell, and wait until it has run."""
        self._type(f"{line}; echo do''ne\n")
        self._until(r"\bdone\b")

    def completed(self, line: str) -> list[str]:
        """Type the line and Tab; return the words that the line then has."""
        # printf is put before what has become of the line: it shows the words as the shell sees them.
        self._type(f"{line}\t{_TO_BEGIN}printf '<%s>\\n' {_TO_END}; echo do''ne\n")
        return re.findall(r"^<(.*)>\r?$", self._until(r"\bdone\b"), re.MULTILINE)

    def offered(self, line: str, among: str) -> str:
        """Type the line and Tab twice until `among` matches what is offered; return all that was shown since."""
        self._type(f"{line}\t\t")
        shown = self._until(among)
        # Drop the line.
        self._type("\x03")
        return shown

    def _type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def _until(self, pattern: str) -> str:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not (found := re.search(pattern, self._read)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come: {self._read!r}")
            self._read += os.read(self._descriptor, 65536).decode(errors="replace")
        shown, self._read = self._read[: found.end()], self._read[found.end() :]
        return shown
