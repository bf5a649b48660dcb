"""What a process is called: its comm, its effective user, its control group and its id in its own namespace.

Events carry the comm of their moment. This is for the processes that make no traced call, whose names can only be
read from /proc.
"""

from __future__ import annotations

import os
import re
import time
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


def read_start(pid: int, proc: Path = PROC) -> int | None:
    """Return when a process began, in ns of CLOCK_MONOTONIC, None if there is no such process (proc_pid_stat(5)).

    It is rounded down to a tick (10 ms), and a start before the host was suspended seems earlier by that time: the
    kernel tells it by CLOCK_BOOTTIME (do_task_stat(), fs/proc/array.c).
    """
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The comm stands in parentheses and may hold any itself; what follows it is numbers. It is the 22nd of all.
    fields = stat[stat.rfind(b")") + 1 :].split(b" ", 21)
    if len(fields) < 21 or not _TICKS.fullmatch(fields[20]):
        return None
    suspended = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return max(int(fields[20]) * (10**9 // _TICKS_PER_SECOND) - suspended, 0)


_TICKS = re.compile(rb"[0-9]{1,20}")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
