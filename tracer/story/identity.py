"""Who processes are, where that changes: by setuid(2) and its family, and by execve(2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hangup.tracer.escape import escape, escape_comm
from hangup.tracer.names import syscall_name
from hangup.tracer.record.layout import (
    Credentials,
    Event,
    EventFlag,
    Identity,
    time_of,
    trimmed,
    unpack_identity,
)
from hangup.tracer.story.operation import is_execution
from hangup.tracer.story.process import Process, process_of

MOST_OF_EACH = 8
"""So many changes of a process are kept, the last ones."""

MOST_SEEN = 1024
"""Of so many processes that have been seen on a connection they are kept; then they are forgotten of the one that came
to another connection longest ago."""

MOST_OTHERS = 1536
"""Of so many others, who may be seen later: while the kernel records that is when a connection is handed over."""

_OF_ALL_THREADS = 1_000_000_000
"""Within so many ns each thread of a process has done for itself what one of them had begun to do for all (nptl(7))."""

_COMPAT = int(EventFlag.COMPAT)


class Change(NamedTuple):
    """A task that has got other credentials, or has executed a program; names are escaped."""

    event: Event
    """Who it is from then on, when, by which system call and on which cpu; nothing else of it means anything."""
    before: Credentials
    after: Credentials
    comm_before: str
    """The thread's name before: execve(2) gives it another one."""
    file: str | None
    """Of an execve the program's file, as it was asked for, cut off after 107 bytes; None: it was none."""

    @property
    def when(self) -> int:
        """When it was, in ns of CLOCK_MONOTONIC."""
        return self.event.end

    @property
    def process(self) -> Process:
        """Who it is from then on."""
        return process_of(self.event)

    @property
    def call(self) -> str:
        """The system call's name; of a 32-bit one only execve's is known."""
        return syscall_name(self.event.syscall, compat=bool(self.event.flags & _COMPAT))


def change_of(record: bytes) -> Change:
    """Return what a record of a change says; struct.error if it is none."""
    event, before, after, comm, file = unpack_identity(record)
    return Change(event, before, after, escape_comm(comm), escape(file) if file else None)


class Told(NamedTuple):
    """What a story tells of who its processes were."""

    changes: tuple[Change, ...]
    """In the order of their times: those since it began, and before that the last one of each process."""
    not_kept: int
    """How many others there were of these processes, and not all of them before it began."""


@dataclass(slots=True)
class Kept:
    """The changes of one process, as their records."""

    records: list[bytes] = field(default_factory=list)
    forgotten: int = 0
    last_forgotten: int = 0
    """When the last one of them was, in ns of CLOCK_MONOTONIC."""
    are_earlier: bool = False
    """Whether those that are forgotten are an earlier process's, which had the pid."""
    is_shown: bool = False
    """Whether they are shown as they come: the process was seen on a connection that is."""
    ids: tuple[int, int] | None = None
    """Whose the process's first thread was when that was told last: its real user and group id; None: not known."""
    merged: tuple[int, int] | None = None
    """When a thread did last what another one of its process had done, in ns of CLOCK_MONOTONIC, and its tid."""

    def has(self, record: bytes, event: Event) -> bool:
        """Whether a change is told again: a file begins with what was told before."""
        # Of the forgotten ones none can be compared, but each is later than those before it.
        return event.end <= self.last_forgotten or (event.end, event.tid) == self.merged or record in self.records

    def add(self, record: bytes, change: Identity) -> None:
        """Take one; what each thread of a process does for itself is one."""
        event = change.event
        if event.tid == event.pid:
            if self.ids is not None and self.ids != (change.before.uid, change.before.gid):
                self._forget_earlier()
            self.ids = change.after.uid, change.after.gid
        if self.records and _is_of_all_threads(change, self.records[-1]):
            self.merged = event.end, event.tid
            if event.tid == event.pid:
                # That one stands for the process, whichever came first.
                self.records[-1] = record
            return
        self.records.append(record)
        if len(self.records) > MOST_OF_EACH:
            if self.are_earlier:
                self.forgotten, self.are_earlier = 0, False
            self.forgotten += 1
            self.last_forgotten = time_of(self.records.pop(0))

    def _forget_earlier(self) -> None:
        """Forget what an earlier process has done that had the pid: nothing told how it came to be who it is now."""
        self.is_shown, self.merged = False, None
        if self.records:
            self.forgotten = len(self.records) + (0 if self.are_earlier else self.forgotten)
            self.are_earlier = True
            self.last_forgotten = time_of(self.records[-1])
            self.records.clear()


class Changes:
    """The changes that were told, by process, a bounded number. Not thread-safe."""

    def __init__(self) -> None:
        """Know of none."""
        self._seen: OrderedDict[int, Kept] = OrderedDict()
        self._others: OrderedDict[int, Kept] = OrderedDict()

    def forget(self) -> None:
        """Forget all of them."""
        self._seen.clear()
        self._others.clear()

    def take(self, record: bytes) -> bool:
        """Take what a record says; return whether it is to be shown. Raises struct.error if it is no such record."""
        change = unpack_identity(record)
        event = change.event
        kept = self._seen.get(event.pid)
        if kept is None:
            kept = self._others.setdefault(event.pid, Kept())
            self._others.move_to_end(event.pid)
            if len(self._others) > MOST_OTHERS:
                self._others.popitem(last=False)
        # In the ring it has room for the longest file (bpf/identity.h), and what stands there is none of it.
        record = trimmed(record)
        if kept.has(record, event):
            return False
        kept.add(record, change)
        return kept.is_shown

    def meet(self, pid: int) -> Kept:
        """Take that a process was seen on a connection: others may come and go, and what is known of it stays."""
        kept = self._seen.get(pid)
        if kept is None:
            kept = self._seen[pid] = self._others.pop(pid) if pid in self._others else Kept()
            if len(self._seen) > MOST_SEEN:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(pid)
        return kept

    def show(self, pid: int, tid: int | None, uid: int | None, gid: int | None) -> Sequence[bytes]:
        """Take that a process was seen on a connection that is shown; return the records that are to be, from before.

        Whatever comes from now on is shown as it comes. tid: the thread that was seen; uid, gid: whose it was, by its
        real ids; None: not known.
        """
        kept = self._seen.get(pid) or self.meet(pid)
        # Each thread has ids of its own, and while one changes all of them they differ.
        if tid == pid and uid is not None and gid is not None:
            kept.ids = uid, gid
        # As it is of nearly all operations.
        if kept.is_shown:
            return ()
        kept.is_shown = True
        return tuple(kept.records)

    def told(self, users: Iterable[Event], start: int) -> Told:
        """Return what a story tells that began at a time; users: the first operation of each of its processes.

        A change from before that was an earlier process's with the same pid if it has made another one of it than the
        one that was seen next.
        """
        changes: list[Change] = []
        not_kept = 0
        # Who was at both ends is asked for once, as it was first.
        for user in {user.pid: user for user in sorted(users, key=lambda user: -user.end)}.values():
            kept = self._seen.get(user.pid)
            if kept is None:
                continue
            of_user = list(map(change_of, kept.records))
            since = [change for change in of_user if change.when >= start]
            before = of_user[: len(of_user) - len(since)]
            if before and _leads_to(before[-1], since, user):
                changes.append(before[-1])
            changes += since
            if kept.last_forgotten >= start:
                not_kept += kept.forgotten
        return Told(tuple(sorted(changes, key=lambda change: change.when)), not_kept)


def _is_of_all_threads(change: Identity, earlier: bytes) -> bool:
    """Whether a thread has done what another one of its process had done right before: setuid(2) is each one's own."""
    event = change.event
    if not 0 <= event.end - time_of(earlier) < _OF_ALL_THREADS:
        return False
    other = unpack_identity(earlier)
    return (
        event.tid != other.event.tid
        and (event.syscall, change.before, change.after) == (other.event.syscall, other.before, other.after)
        # Of which there is but one thread afterwards (de_thread()).
        and not is_execution(event)
    )


def _leads_to(change: Change, later: Sequence[Change], user: Event) -> bool:
    """Whether a change has made of a process who it was when it was seen next: before another change, or by itself."""
    if later and later[0].when <= user.end:
        return change.after == later[0].before
    event = change.event
    if (event.uid, event.gid) != (user.uid, user.gid):
        return False
    # A process may call itself whatever it likes (PR_SET_NAME), but what it has executed gave it its name.
    return not is_execution(event) or event.leader == user.leader
