"""Who did something, or is known to hold a socket."""

from __future__ import annotations

from dataclasses import dataclass

from hangup.tracer.escape import escape_comm
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Event, EventFlag, Operation


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the kernel had it when it did something, or as /proc has it if it was not seen doing anything.

    Names are escaped (tracer/escape.py).
    """

    pid: int
    comm: str
    """The name of the process: that of its thread group's leader."""
    tid: int | None = None
    """The thread that did it; None, as the next three: it was not seen doing anything."""
    thread: str | None = None
    """That thread's own name."""
    uid: int | None = None
    gid: int | None = None
    inner_pid: int | None = None
    """Its pid in its own pid namespace: what it is called inside its container; None: not known."""
    cgroup_id: int = 0
    """The id of its cgroup of the unified hierarchy; 0: not known."""
    cgroup: Cgroup | None = None
    """None: not looked up (only an alert's is), or not known."""

    @property
    def unit(self) -> str | None:
        """Its systemd unit, see `Cgroup.unit`."""
        return self.cgroup.unit if self.cgroup else None

    @property
    def container(self) -> str | None:
        """Its container's name or short id."""
        return self.cgroup.container if self.cgroup else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that select it: the process's and, where it has another, the thread's."""
        return (self.comm,) if self.thread in (None, self.comm) else (self.comm, str(self.thread))


def process_of(event: Event) -> Process:
    """Return who did an operation.

    Of a release by a kernel thread it is the process whose descriptor it was, as far as that is known.
    """
    if event.owner_pid:
        return Process(event.owner_pid, leader_of(event))
    return Process(
        event.pid,
        leader_of(event),
        event.tid,
        escape_comm(event.comm),
        event.uid,
        event.gid,
        event.inner_pid,
        event.cgroup,
    )


def is_nobodys(event: Event) -> bool:
    """Whether a kernel thread released an end that no process had open, as far as is known.

    What was passed in a message (SCM_RIGHTS) that can never be received is dropped by one (__unix_gc()), and so is what
    is dropped where no task can do it (delayed_fput()). It works for others, and has nothing to do with the connection.
    """
    if event.operation != Operation.RELEASE or event.owner_pid:
        return False
    return bool(event.flags & EventFlag.KERNEL_THREAD)


def leader_of(event: Event) -> str:
    """Return the name of the process that did an operation, escaped."""
    return escape_comm(event.leader)
