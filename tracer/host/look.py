"""What this host says of processes and sockets, as facts that can be written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hangup.tracer.host.cgroups import read_process_cgroup
from hangup.tracer.host.inventory import Connection, Holder, Inventory, Socket
from hangup.tracer.host.process import PROC, read_comm, read_inner_pid, read_start
from hangup.tracer.record.facts import ProcessFact, SocketFact
from hangup.tracer.record.layout import SocketFlag

# Of those that have a socket open so many are told.
_HOLDERS = 16

KERNEL_RELEASE = Path("sys/kernel/osrelease")
BOOT_ID = Path("sys/kernel/random/boot_id")


def read_text(name: Path, proc: Path = PROC) -> str:
    """Return a line that the kernel gives in a file below /proc; empty if it cannot be read."""
    try:
        return (proc / name).read_text("ascii", "replace").strip()
    except OSError:
        return ""


def look_up(pid: int, when: int, proc: Path = PROC) -> ProcessFact | None:
    """Return what /proc knows of a process that was not seen doing anything; None if it is not there.

    when: now, in ns of CLOCK_MONOTONIC.
    """
    comm = read_comm(pid, proc)
    if comm is None:
        return None
    return ProcessFact(
        when,
        pid,
        comm,
        read_inner_pid(pid, proc),
        cgroup=read_process_cgroup(pid, proc),
        start=read_start(pid, proc) or 0,
    )


def open_before(inventory: Inventory, when: int) -> Iterator[ProcessFact | SocketFact]:
    """Yield what is open already: first who has it open, then what they do; then who listens.

    when: in ns of CLOCK_MONOTONIC.
    """
    connections = list(inventory.connections())
    holders = {
        holder.pid: holder for connection in connections for end in connection.ends for holder in end.holders[:_HOLDERS]
    }
    for holder in holders.values():
        yield _process(holder, when)
    for connection in connections:
        for end in connection.ends:
            yield _end(connection, end, when)
    for listener in inventory.listeners():
        if listener.path is not None:
            yield SocketFact(
                when,
                SocketFlag.LISTENER,
                listener.path,
                listener.inode,
                waiting=listener.receive_queue,
                backlog=listener.send_queue,
            )


def _process(holder: Holder, when: int) -> ProcessFact:
    return ProcessFact(when, holder.pid, holder.comm, holder.inner_pid, cgroup=holder.cgroup)


def _end(connection: Connection, end: Socket, when: int) -> SocketFact:
    flags = SocketFlag.SERVER if end is connection.server else SocketFlag.CLIENT
    if connection.path is None:
        flags |= SocketFlag.PAIR
    pids = dict.fromkeys(holder.pid for holder in end.holders[:_HOLDERS])
    return SocketFact(when, flags, connection.path, end.inode, end.peer_inode or 0, tuple(pids))
