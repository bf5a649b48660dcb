"""Which connections the user asked for: by process, by name, by socket path.

Names and paths are matched in their escaped spelling (`tracer.escape`), the one that is printed: what was copied from
the output finds it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

# TASK_COMM_LEN (include/linux/sched.h) is 16 with the NUL: the kernel cuts a longer program name.
COMM_LENGTH = 15


IGNORED_PATHS = ("/run/systemd/private", "@/org/freedesktop/plymouthd")
"""Connections of systemd's own that every systemctl and every boot breaks: real broken writes that nobody misses.

Where there is a splash screen, plymouthd goes when the boot is over, and systemd goes on asking for it.
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """A connection is selected if each kind of condition that is given holds; of one kind, any one will do.

    `pids` and `comms` hold if either end is held by such a process. `comms` and `paths` are globs (fnmatch). What is
    ignored is not selected, whatever else holds: connections with a process of such a name, or to such a path.
    """

    pids: frozenset[int] = frozenset()
    comms: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    ignored_comms: tuple[str, ...] = ()
    ignored_paths: tuple[str, ...] = ()

    @property
    def selects_all(self) -> bool:
        """Whether no condition is given."""
        return not (self.pids or self.comms or self.paths or self.ignored_comms or self.ignored_paths)

    def matches_comm(self, comm: str | None) -> bool:
        """Whether the conditions on names, if any, match this (escaped) one."""
        return not self.comms or (comm is not None and _any(_comm_matches, comm, self.comms))

    def matches_path(self, path: str | None) -> bool:
        """Whether the conditions on paths, if any, match this (escaped) one; no glob matches an unnamed socket."""
        return not self.paths or (path is not None and _any(fnmatchcase, path, self.paths))

    def matches(self, path: str | None, processes: Iterable[tuple[int, str | None]]) -> bool:
        """Whether a connection with this path, and these (pid, comm) at either end, is selected."""
        if not self.matches_path(path) or (path is not None and _any(fnmatchcase, path, self.ignored_paths)):
            return False
        if not (self.pids or self.comms or self.ignored_comms):
            return True
        ends = tuple(processes)
        if any(comm is not None and _any(_comm_matches, comm, self.ignored_comms) for _, comm in ends):
            return False
        return (not self.pids or any(pid in self.pids for pid, _ in ends)) and (
            not self.comms or any(self.matches_comm(comm) for _, comm in ends)
        )


def _any(matches: Callable[[str, str], bool], name: str, patterns: tuple[str, ...]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def _comm_matches(comm: str, pattern: str) -> bool:
    if fnmatchcase(comm, pattern):
        return True
    # `--comm systemd-journald` means the process that the kernel calls systemd-journal.
    return len(pattern) > COMM_LENGTH and comm == pattern[:COMM_LENGTH]
