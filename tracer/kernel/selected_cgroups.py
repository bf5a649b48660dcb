"""The cgroups that the kernel side selects by, as long as they are there and when they are there again.

A service that is restarted gets another cgroup of the same path: its id and its folder's inode number are others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path
from hangup.tracer.host.cgroups import Hierarchy
from hangup.tracer.selection import cgroup_paths

MOST_CGROUPS = 16
"""So many are looked at for whoever comes to use an end: the verifier follows each."""

# So often it is looked whether they are still the same, in ns.
_AGAIN_NS = 1_000_000_000


class SelectedCgroups:
    """Some cgroups by their paths, and which of them the kernel has been told of."""

    def __init__(self, names: Sequence[str], hierarchy: Hierarchy | None = None) -> None:
        """Find them; names: as `cgroup_paths` takes them. Raises HangupError for one that there is not."""
        if len(names) > MOST_CGROUPS:
            raise HangupError(f"{len(names)} cgroups are more than {MOST_CGROUPS}", "name one that they are all below")
        self.paths: tuple[str, ...] = ()
        """Where they are below the root, in the order of their names."""
        self._told = [0] * len(names)
        self._looked = 0
        if not names:
            return
        try:
            self._mount = Path(os.fsdecode((hierarchy or Hierarchy()).mount))
        except FileNotFoundError:
            raise HangupError(
                "this host has no unified cgroup hierarchy, only cgroup v1",
                "select by pid, uid or name, or boot it with systemd.unified_cgroup_hierarchy=1",
            ) from None
        self.paths = tuple(self._found(name) for name in names)

    def _folder(self, path: str) -> Path:
        return self._mount / path.removeprefix("/")

    def _found(self, name: str) -> str:
        for path in cgroup_paths(name):
            # A NUL is in no file's name.
            with suppress(OSError, ValueError):
                (self._folder(path) / "cgroup.procs").stat()
                return path
        raise HangupError(
            f"there is no cgroup {name!r}",
            "`systemctl show --property ControlGroup UNIT` says where a unit has its own",
        )

    def look(self, now: int, tell: Callable[[int, int], int]) -> None:
        """See which of them are others than before, if it is time to; now: in ns of CLOCK_MONOTONIC.

        tell: gives the kernel the open folder of the one with this number, and returns 0 or what errno says. Raises
        HangupError if it does not take it; one that has just gone is no error, another may be made.
        """
        if self._looked and now - self._looked < _AGAIN_NS:
            return
        self._looked = now
        for number, path in enumerate(self.paths):
            with suppress(FileNotFoundError):
                inode = self._folder(path).stat().st_ino
                if inode != self._told[number]:
                    self._tell(number, path, tell)

    def _tell(self, number: int, path: str, tell: Callable[[int, int], int]) -> None:
        folder = os.open(self._folder(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            code = tell(number, folder)
            if not code:
                self._told[number] = os.fstat(folder).st_ino
        finally:
            os.close(folder)
        # css_tryget_online_from_dir(), kernel/cgroup/cgroup.c: it is being removed.
        if code not in (0, errno.ENOENT):
            raise HangupError(
                f"the kernel does not take the cgroup {shown_path(path)} ({os.strerror(code)})",
                "select by pid, uid or name",
            )
