"""A cgroup of its own for the COMMAND of `watch` and `trace`: whoever it starts, and they start, is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from hangup.tracer.errors import HangupError
from hangup.tracer.host.cgroups import Hierarchy

_SELF = Path("/proc/self/cgroup")


class Mounted(Protocol):
    """The unified hierarchy."""

    @property
    def mount(self) -> bytes:
        """Where it is mounted. Raises FileNotFoundError where it is not."""


class Followed:
    """The cgroup, while the context lasts. It is made for this process, and taken away again."""

    def __init__(self, hierarchy: Mounted | None = None, own: Path = _SELF) -> None:
        """hierarchy, own: in the place of this host's, and of where it says in which cgroup this process is."""
        self._hierarchy = hierarchy or Hierarchy()
        self._own = own
        self.path = f"/hangup-{os.getpid()}"
        """Where it is below the root of the hierarchy."""

    def __enter__(self) -> Followed:
        """Make it. Raises HangupError if that cannot be done."""
        try:
            mount = Path(os.fsdecode(self._hierarchy.mount))
        except FileNotFoundError:
            raise HangupError(
                "this host has no unified cgroup hierarchy, only cgroup v1", "leave --follow away"
            ) from None
        self._folder = mount / self.path.removeprefix("/")
        self._before = mount / self._own_path().removeprefix("/")
        try:
            self._folder.mkdir()
        except OSError as error:
            raise HangupError(
                f"cannot make the cgroup {self._folder} ({error.strerror})",
                "--follow wants root, and a hierarchy that can be written",
            ) from None
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        """Take it away; what COMMAND has left behind goes on where this process is."""
        with suppress(OSError):
            for pid in (self._folder / "cgroup.procs").read_text().split():
                # It may just have ended.
                with suppress(OSError):
                    _move(pid, self._before)
        with suppress(OSError):
            self._folder.rmdir()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Have what is started inside be in the cgroup: it is where its parent was when it was made."""
        pid = str(os.getpid())
        try:
            _move(pid, self._folder)
        except OSError as error:
            raise HangupError(f"cannot enter the cgroup {self._folder} ({error.strerror})", "is it there?") from None
        try:
            yield
        finally:
            with suppress(OSError):
                _move(pid, self._before)

    def _own_path(self) -> str:
        """Return the cgroup of this process in the unified hierarchy (cgroups(7))."""
        with suppress(OSError):
            for line in self._own.read_text().splitlines():
                if line.startswith("0::"):
                    return line.removeprefix("0::")
        return "/"


def _move(pid: str, folder: Path) -> None:
    (folder / "cgroup.procs").write_text(pid)
