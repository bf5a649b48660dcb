"""What a process is called: its comm, its effective user, its control group and its id in its own namespace.

Events carry the comm of their moment. This is for the processes that make no traced call, whose names can only be
read from /proc, and for remembering the names of those that are gone from there.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

from hangup.tracer.escape import escape_comm

PROC = Path("/proc")


def read_comm(pid: int, proc: Path = PROC) -> str | None:
    """Return the escaped comm of a process, None if there is no such process (proc_pid_comm(5))."""
    try:
        raw = (proc / str(pid) / "comm").read_bytes()
    except OSError:
        return None
    # comm_show (fs/proc/base.c) adds one new line; others would be part of the name.
    return escape_comm(raw.removesuffix(b"\n"))


def read_uid(pid: int, proc: Path = PROC) -> int | None:
    """Return the effective uid of a process, None if there is no such process.

    The owner of the directory is the effective uid even of a process that is not dumpable (task_dump_owner,
    fs/proc/base.c); it costs one stat where the status file costs a read.
    """
    try:
        return (proc / str(pid)).stat().st_uid
    except OSError:
        return None


def read_cgroup(pid: int, proc: Path = PROC) -> bytes | None:
    """Return the path of a process's control group, None if there is no such process (proc_pid_cgroup(5)).

    It is that of the unified hierarchy; where that has nothing but a root, that of systemd's own hierarchy, and failing
    that of any other.
    """
    try:
        # Only a new line ends one: that alone a cgroup's name may not hold (cgroup_mkdir(), kernel/cgroup/cgroup.c).
        lines = (proc / str(pid) / "cgroup").read_bytes().split(b"\n")
    except OSError:
        return None
    paths: dict[bytes, bytes] = {}
    for line in lines:
        if line.count(b":") < 2:
            continue
        hierarchy, controllers, path = line.split(b":", 2)
        if hierarchy == b"0":
            # Of one that was removed under a zombie (proc_cgroup_show(), kernel/cgroup/cgroup.c).
            path = path.removesuffix(b" (deleted)")
        paths[controllers] = path
    first = (paths.get(b"", b"/"), paths.get(b"name=systemd", b"/"))
    return next((path for path in (*first, *paths.values()) if path != b"/"), b"/")


def read_inner_pid(pid: int, proc: Path = PROC) -> int | None:
    """Return a process's id in its own pid namespace, None if there is no such process (NSpid, proc_pid_status(5))."""
    try:
        status = (proc / str(pid) / "status").read_bytes()
    except OSError:
        return None
    match = re.search(rb"^NSpid:\t(?:.*\t)?([0-9]{1,10})$", status, re.MULTILINE)
    return int(match[1]) if match else None


class ProcessNames:
    """The comm of each process lately seen, at most `limit` of them; the least recently used is forgotten first.

    A pid can be used again and a process can change its name, so what an event says (`learn`) replaces what is known,
    and a process that is gone keeps its last name.
    """

    def __init__(self, limit: int = 4096, proc: Path = PROC) -> None:
        self._limit = limit
        self._proc = proc
        self._comms: OrderedDict[int, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._comms)

    def learn(self, pid: int, comm: str) -> None:
        """Take the (escaped) comm of a process from where it is known at first hand."""
        self._comms[pid] = comm
        self._comms.move_to_end(pid)
        if len(self._comms) > self._limit:
            self._comms.popitem(last=False)

    def comm(self, pid: int) -> str | None:
        """Return the escaped comm of a process, from memory or else from /proc; None if neither knows it."""
        comm = self._comms.get(pid)
        if comm is not None:
            self._comms.move_to_end(pid)
            return comm
        comm = read_comm(pid, self._proc)
        if comm is not None:
            self.learn(pid, comm)
        return comm
