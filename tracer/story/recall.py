"""From what the kernel kept of a connection to its operations: as if each had been recorded.

Of each end the first operations and the last ones were kept, with the time at which they ended. When they began is not
known; of writes bytes may tell (`Endpoint.when_begun`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hangup.tracer.record.layout import (
    FIRST_MOMENTS,
    LAST_MOMENTS,
    MSG_PEEK,
    USER_LOST,
    Event,
    EventFlag,
    Handed,
    History,
    HistoryState,
    KeptMoment,
    Operation,
    User,
    moments_of,
    users_of,
)
from hangup.tracer.story.operation import NOT_KEPT

_CONNECT = int(Operation.CONNECT)
_SOCKETPAIR = int(Operation.SOCKETPAIR)
_READ = int(Operation.READ)
_WRITE = int(Operation.WRITE)
_RELEASE = int(Operation.RELEASE)
_SENDER = int(EventFlag.SENDER)
_CLIENT = int(HistoryState.CLIENT)
_SERVER = int(HistoryState.SERVER)
_NAME = 16

UNKNOWN_USER = User(0, 0, 0, 0, 0, 0, 0, b"?".ljust(_NAME, b"\0"), b"?".ljust(_NAME, b"\0"))
"""Who did what somebody did who is not kept any more."""


class Omitted(NamedTuple):
    """What an end did between its first operations and its last ones, and is not kept one by one."""

    sock: int
    when: int
    """When the last of it had ended, in ns of CLOCK_MONOTONIC: right before the first one that was kept again."""
    operations: int
    reads: int
    writes: int
    read_bytes: int
    written_bytes: int
    turn_start: int = 0
    """When its last turn then had begun, in ns; 0: that was some time before."""
    turn_bytes: int = 0
    """What it had written in that turn."""


def is_transfer(moment: KeptMoment | Event, operation: int) -> bool:
    """Whether it is a read that took something out of the queue, or a write that sent something: whichever is asked."""
    return moment.operation == operation and moment.result > 0 and not moment.message_flags & MSG_PEEK


class _End:
    """One end, as far as it was kept."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.users = users_of(history)
        # A number that another one has by now is nobody's here.
        self.by_number = dict(zip(history.numbers, self.users, strict=False))
        self.by_number.pop(USER_LOST, None)
        self.first, self.last = moments_of(history)

    def gap(self) -> Omitted | None:
        """Return what was not kept, None: everything was."""
        history = self.history
        kept = [*self.first, *self.last]
        operations = max(history.operations, history.entered)
        if operations <= len(kept):
            return None
        reads = [each for each in kept if is_transfer(each, _READ)]
        writes = [each for each in kept if is_transfer(each, _WRITE)]
        # Of those that ended in the same instant it is not known where among the others that was.
        after = self.last or self.first[-1:]
        when = min((each.end for each in after), default=history.last_use) - 1
        # Its last turn of all: if that began later, the last one then had begun some time before.
        began = 0 < history.turn_start <= when
        later = sum(each.result for each in after if each.operation == _WRITE and each.result > 0)
        return Omitted(
            history.sock,
            when,
            operations - len(kept),
            max(history.reads - len(reads), 0),
            max(history.writes - len(writes), 0),
            max(history.read_bytes - sum(each.result for each in reads), 0),
            max(history.written_bytes - sum(each.result for each in writes), 0),
            history.turn_start if began else 0,
            max(history.turn_bytes - later, 0) if began else 0,
        )


def is_incomplete(history: History) -> bool:
    """Whether some of an end's operations were not kept one by one."""
    return history.operations > FIRST_MOMENTS + LAST_MOMENTS or is_overlapping(history)


def is_overlapping(history: History) -> bool:
    """Whether operations of an end ended in the same instant on two processors, and one was kept in another's place.

    Bytes and numbers are exact then (note() and wrote(), bpf/history.h, add them up atomically).
    """
    return history.entered > history.operations


def of_one_connection(handed: Handed) -> Handed:
    """Return two histories without the second one if that is of another connection: a file may hold anything."""
    if handed.other is not None and (handed.other.sock, handed.other.peer) != (handed.one.peer, handed.one.sock):
        return handed._replace(other=None)
    return handed


def is_servers(handed: Handed) -> bool:
    """Whether the first history is of the server's end."""
    one, other = handed.one, handed.other
    if one.state & _SERVER or (other is not None and other.state & _CLIENT):
        return True
    if one.state & _CLIENT or other is None or other.state & _SERVER:
        return False
    # Nobody saw how it began: as when each operation is recorded, the first one seen is the client's.
    return other.start < one.start


def recalled(handed: Handed) -> Iterator[Event | Omitted]:
    """Yield what was kept of both ends in the order in which it ended."""
    ends = [_End(history) for history in (handed.one, handed.other) if history is not None]
    found: list[tuple[int, Event | Omitted]] = []
    earliest = min((end.first[0].end for end in ends if end.first), default=0)
    for end, other in zip(ends, ends[::-1], strict=True):
        gap = end.gap()
        if gap is not None:
            found.append((gap.when, gap))
        peer_inode = other.history.inode if other is not end else 0
        for moment in [*end.first, *end.last]:
            start = min(moment.end, earliest) if moment.operation in (_CONNECT, _SOCKETPAIR) else moment.end
            found.append((moment.end, _event(end, moment, start, peer_inode, handed.address)))
    found.sort(key=lambda each: each[0])
    for _, what in found:
        yield what


def _event(end: _End, moment: KeptMoment, start: int, peer_inode: int, address: bytes) -> Event:
    history = end.history
    user = end.by_number.get(moment.user, UNKNOWN_USER)
    released = moment.operation == _RELEASE
    leader = user.leader
    if released and history.owner_pid:
        leader = next((each.leader for each in end.users if each.pid == history.owner_pid), leader)
    flags = history.release_flags if released else 0
    return Event(
        flags=flags,
        end=moment.end,
        connection=history.connection,
        start=start,
        sock=history.sock,
        peer=history.peer,
        inode=history.inode,
        peer_inode=peer_inode,
        inode_number=history.inode_number,
        size=moment.size,
        result=moment.result,
        unread_bytes=history.unread_bytes if released else 0,
        cgroup=user.cgroup,
        unread_messages=history.unread_messages if released else 0,
        pid=user.pid,
        tid=user.tid,
        inner_pid=user.inner_pid,
        inner_tid=user.inner_tid,
        uid=user.uid,
        gid=user.gid,
        peer_pid=history.opener_pid,
        owner_pid=history.owner_pid if released else 0,
        message_flags=moment.message_flags,
        exit_code=history.exit_code if released else 0,
        syscall=history.syscall if released else NOT_KEPT,
        descriptor=history.descriptor if released else -1,
        cpu=0,
        operation=moment.operation,
        type=history.type,
        shutdown=moment.shutdown,
        peer_shutdown=0,
        unused=0,
        comm=user.comm,
        leader=leader,
        address=address if moment.operation < _READ else b"",
        sender=history.sender if flags & _SENDER else b"",
    )
