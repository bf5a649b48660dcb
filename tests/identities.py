"""Makes the records of processes that become somebody else, as the probes would have written them."""

from __future__ import annotations

from hangup.tracer.record.layout import Credentials, Event, Identity, pack_identity
from tests.stories import Task

ALL = (1 << 41) - 1
"""Every capability of a kernel of today."""


def allowed(uid: int, gid: int | None = None, capabilities: int | None = None) -> Credentials:
    """Return the credentials of a user; without capabilities: all of root's, none of others."""
    group = uid if gid is None else gid
    return Credentials(
        (0 if uid else ALL) if capabilities is None else capabilities, uid, uid, uid, uid, group, group, group, group
    )


def changed(
    task: Task,
    when: int,
    before: Credentials,
    after: Credentials,
    *,
    syscall: int = 117,
    was: str | None = None,
    file: bytes = b"",
    flags: int = 0,
) -> bytes:
    """Return the record of a change; was: the task's name before. syscall: setresuid(2)."""
    fields = dict.fromkeys(Event._fields, 0) | {
        "flags": flags,
        "start": when,
        "end": when,
        **task.numbers,
        "uid": after.uid,
        "gid": after.gid,
        "syscall": syscall,
        "descriptor": -1,
    }
    comm = _comm(task.comm)
    event = Event(**{**fields, "comm": comm, "leader": comm, "address": b"", "sender": b""})  # type: ignore[arg-type]
    return pack_identity(Identity(event, before, after, comm if was is None else _comm(was), file))


def executed(task: Task, when: int, file: bytes, *, was: str, uid: int = 33) -> bytes:
    """Return the record of an execve that changes nothing but the name: of the first thread, see de_thread()."""
    return changed(task.thread(task.pid), when, allowed(uid), allowed(uid), syscall=59, was=was, file=file)


def _comm(name: str) -> bytes:
    return name.encode()[:15].ljust(16, b"\0")
