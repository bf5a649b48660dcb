"""What a process is called: its comm, its effective user and its systemd unit.

Events carry the comm of their moment. This is for the processes that make no traced call, whose names can only be
read from /proc, and for remembering the names of those that are gone from there.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from tracer.escape import escape, escape_comm

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


def read_unit(pid: int, proc: Path = PROC) -> str | None:
    """Return the systemd unit of a process (``nginx.service``), None if it has none or there is no such process.

    The unit is the innermost service, scope, socket, mount or swap in its path of control groups (cgroups(7),
    proc_pid_cgroup(5)); a slice is only a folder of those.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        hierarchy, controllers, path = line.split(b":", 2)
        # The unified hierarchy is number 0; where systemd still has its own, that is called name=systemd.
        if hierarchy == b"0" or controllers == b"name=systemd":
            for folder in reversed(path.split(b"/")):
                if folder.endswith((b".service", b".scope", b".socket", b".mount", b".swap")):
                    return escape(folder)
    return None


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
