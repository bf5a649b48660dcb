"""Which connections the user asked for: by process, by its user, cgroup or name, by socket path.

Names and paths are matched in their escaped spelling (`tracer.escape`), the one that is printed: what was copied from
the output finds it again.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from hangup.tracer.escape import cut_comm, escape

IGNORED_PATHS = (
    "/var/run/nscd/socket",
    "/run/nscd/socket",
    "/run/systemd/private",
    "@/org/freedesktop/plymouthd",
)
"""Connections that fail by design, and that nobody misses.

systemd's own break with every systemctl and every boot: where there is a splash screen, plymouthd goes when the boot is
over, and systemd goes on asking for it. The C library asks for nscd, which few hosts have, whenever it looks up a name.
"""

GONE_CGROUP = ""
"""In the place of a cgroup's path: it was gone before anybody looked, so that it may be any."""


class Participant(NamedTuple):
    """Who has used, held or made an end of a connection, as far as that is known."""

    pid: int
    comm: str | None = None
    """Its name, or a thread's, escaped."""
    uid: int | None = None
    cgroup: str | None = None
    """The path of its cgroup, escaped; or GONE_CGROUP."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A connection is selected if each kind of condition that is given holds; of one kind, any one will do.

    `pids`, `uids`, `cgroups` and `comms` hold if either end is held by such a process, as the host sees it. A cgroup is
    named as `cgroup_paths` takes it, and means those below it, too. `comms` and `paths` are globs (fnmatch). What is
    ignored is not selected, whatever else holds: connections with a process of such a name, or to such a path.
    """

    pids: frozenset[int] = frozenset()
    comms: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    ignored_comms: tuple[str, ...] = ()
    ignored_paths: tuple[str, ...] = ()
    uids: frozenset[int] = frozenset()
    cgroups: tuple[str, ...] = ()

    @property
    def selects_all(self) -> bool:
        """Whether no condition is given."""
        return self == _EVERYTHING

    @property
    def selects_paths(self) -> bool:
        """Whether paths decide on more than what fails by design.

        The kernel side need not look at every connection's path for these: what comes of them is seldom, and dropped.
        """
        return bool(self.paths) or not set(self.ignored_paths) <= set(IGNORED_PATHS)

    def matches_comm(self, comm: str | None) -> bool:
        """Whether the conditions on names, if any, match this (escaped) one."""
        return not self.comms or (comm is not None and _any(comm_matches, comm, self.comms))

    def matches_path(self, path: str | None) -> bool:
        """Whether the conditions on paths, if any, match this (escaped) one; no glob matches an unnamed socket."""
        return not self.paths or (path is not None and _any(fnmatchcase, path, self.paths))

    def matches_cgroup(self, path: str | None) -> bool:
        """Whether the conditions on cgroups, if any, match the one with this (escaped) path; None: nobody knows it."""
        if not self.cgroups or path == GONE_CGROUP:
            return True
        return path is not None and any(is_below(path, name) for name in self.cgroups)

    def matches(self, path: str | None, participants: Iterable[Participant]) -> bool:
        """Whether a connection with this path, and these at either end, is selected."""
        if not self.matches_path(path) or (path is not None and _any(fnmatchcase, path, self.ignored_paths)):
            return False
        if not (self.pids or self.uids or self.cgroups or self.comms or self.ignored_comms):
            return True
        ends = tuple(participants)
        if any(end.comm is not None and _any(comm_matches, end.comm, self.ignored_comms) for end in ends):
            return False
        return (
            (not self.pids or any(end.pid in self.pids for end in ends))
            and (not self.uids or any(end.uid in self.uids for end in ends))
            and (not self.cgroups or any(self.matches_cgroup(end.cgroup) for end in ends))
            and (not self.comms or any(self.matches_comm(end.comm) for end in ends))
        )


_EVERYTHING = Selection()

_MOUNT = "/sys/fs/cgroup"
# Where systemd has its services and scopes, if they are in no other slice (systemd.slice(5)).
_UNITS = "/system.slice"


@lru_cache(maxsize=64)
def cgroup_paths(name: str) -> tuple[str, ...]:
    """Return the paths that may be meant by the name of a cgroup of the unified hierarchy, the likelier one first.

    They are as the kernel has them, below the root: /system.slice/app.service. The name is such a path, with or without
    its first slash, or that of its folder below /sys/fs/cgroup; without any slash it may also be a unit's.
    """
    below = name.removeprefix(_MOUNT) if name == _MOUNT or name.startswith(_MOUNT + "/") else name
    path = posixpath.normpath("/" + below.strip("/"))
    return (path,) if path == "/" or "/" in name else (path, _UNITS + path)


@lru_cache(maxsize=4096)
def is_below(path: str, name: str) -> bool:
    """Whether a cgroup's path is that of what is named as `cgroup_paths` takes it, or below it."""
    return any(
        wanted in ("/", path) or path.startswith(wanted + "/") for wanted in map(escape_cgroup, cgroup_paths(name))
    )


def escape_cgroup(path: str) -> str:
    """Return a cgroup's path as it is printed."""
    # As a command line has bytes that are not UTF-8.
    components = (component.encode("utf-8", "surrogateescape") for component in path.split("/") if component)
    return "/" + "/".join(map(escape, components))


def _any(matches: Callable[[str, str], bool], name: str, patterns: tuple[str, ...]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def comm_matches(comm: str, pattern: str) -> bool:
    """Whether a glob matches an (escaped) name, which the kernel may have cut."""
    if fnmatchcase(comm, pattern):
        return True
    # `--comm systemd-journald` means the process that the kernel calls systemd-journal.
    cut = cut_comm(pattern)
    return cut != pattern and comm == cut
