"""Where operations were, for who prints them and no more: on which connection, and with whom.

How connections go does not matter here: nothing is judged and no operation is kept, so that a record costs a fraction
of what it costs in `endpoints.py`. The order of records is as it is there, and so is what tells connections apart.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.names import KERNEL_RESTARTS
from hangup.tracer.record.layout import (
    Event,
    EventFlag,
    Glance,
    Handed,
    HistoryState,
    Operation,
    RecordType,
    address_of,
    glance_of,
    origin_of,
    pack,
    shown_of,
    type_of,
    unpack,
    unpack_history,
)
from hangup.tracer.story.connection import Role
from hangup.tracer.story.eviction import MAX_CONNECTIONS, least_used
from hangup.tracer.story.identity import Change, change_of
from hangup.tracer.story.known import Known
from hangup.tracer.story.numbers import Numbers
from hangup.tracer.story.process import Process, is_nobodys, process_of
from hangup.tracer.story.recall import is_servers, of_one_connection, recalled

# Plain numbers: each record is compared with them.
_CONNECT, _ACCEPT, _SOCKETPAIR = int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR)
_TRANSFERS = (int(Operation.READ), int(Operation.WRITE))
_RELEASE = int(Operation.RELEASE)
_OPERATION = int(RecordType.OPERATION)
_HISTORY = int(RecordType.HISTORY)
_IDENTITY = int(RecordType.IDENTITY)
_PAIR, _BEGUN = int(HistoryState.PAIR), int(HistoryState.BEGUN)

# `Glance` has flags behind the record's type.
_FLAGS_SHIFT = 16
_AFTERMATH = int(EventFlag.AFTERMATH) << _FLAGS_SHIFT
_UNSELECTED = int(EventFlag.UNSELECTED) << _FLAGS_SHIFT
_PEER_DEAD = int(EventFlag.PEER_DEAD) << _FLAGS_SHIFT
_EMBRYO = int(EventFlag.EMBRYO) << _FLAGS_SHIFT
_OVERTAKEN = int(EventFlag.OVERTAKEN) << _FLAGS_SHIFT
_KERNEL_THREAD = int(EventFlag.KERNEL_THREAD) << _FLAGS_SHIFT

# These are zero, but for the type, in what is an operation and shall be shown whatever was shown before.
_TYPE = (1 << _FLAGS_SHIFT) - 1
_KIND = _TYPE | _AFTERMATH | _UNSELECTED | _OVERTAKEN

# `size` to `unread_bytes` of `Glance`.
_RESULT = slice(8, 16)

# Of so many connections that nobody had selected it is remembered what they are to; so many processes and paths are
# kept by what they are made of.
_MOST_KEPT = 4096

# A socket that is handed down to one child after the other has no end of users.
_MOST_USERS = 128


class Where:
    """Who did an operation, on which connection, and with whom: what was known then; it does not change."""

    __slots__ = ("number", "pair", "path", "peer_comm", "peer_pid", "process", "role", "shown")

    def __init__(
        self,
        process: Process,
        number: int | None,
        path: str | None,
        peer: tuple[str | None, int | None] = (None, None),
        *,
        pair: bool = False,
        role: Role = "client",
    ) -> None:
        self.process = process
        self.role: Role = role
        """Whose end it was on."""
        self.number = number
        """The connection's number; None: a failed connect, there is none."""
        self.path = path
        """The listener's address, escaped, an abstract name as @name; None: none or not known."""
        self.peer_comm, self.peer_pid = peer
        """The name of the process at the other end, escaped, and its pid; None: not known."""
        self.pair = pair
        """Whether it is a socketpair."""
        self.shown: tuple[str, str] | None = None
        """For who shows it: texts that he has made of it. Most of them are shown again."""


class Changed(Where):
    """Who has become somebody else: on no connection."""

    __slots__ = ("change",)

    def __init__(self, change: Change) -> None:
        super().__init__(change.process, None, None)
        self.change = change


class _End:
    """One end of a connection, as far as it is known where operations are."""

    __slots__ = (
        "has_begun",
        "holder",
        "is_released",
        "is_server",
        "names",
        "number",
        "opener_pid",
        "other",
        "pair",
        "path",
        "peer",
        "process",
        "recalled",
        "sock",
        "start",
        "task",
        "where",
    )

    def __init__(self, number: int, sock: int, peer: int, start: int) -> None:
        self.number = number
        self.sock = sock
        """Kernel address of its struct sock."""
        self.peer = peer
        """Kernel address of the other end's."""
        self.start = start
        """When its connection was first seen, in ns of CLOCK_MONOTONIC."""
        self.other: _End = self
        """The other end, as soon as there is one."""
        self.path: str | None = None
        self.pair = False
        self.task = self.names = b""
        """Who did its last read or write, else the first that was seen of it (`Glance`); empty: nobody."""
        self.process: Process | None = None
        """The same; None: nothing was seen of it."""
        self.holder: Process | None = None
        """Who is known to hold it then."""
        self.opener_pid = 0
        """Who called connect, listen or socketpair for it, as SO_PEERCRED tells the other end; 0: not seen."""
        self.is_server = False
        """Whether it came out of accept; of a socketpair neither end did."""
        self.has_begun = False
        """Whether its connect, accept or socketpair was seen."""
        self.is_released = False
        self.recalled: frozenset[tuple[int, int]] = frozenset()
        """When each operation had ended that stood in its history, in ns of CLOCK_MONOTONIC, and which it was."""
        self.where: Where | None = None
        """Where is what its user does; None: it is to be found, or not to be shown."""

    @property
    def name(self) -> tuple[str | None, int | None]:
        """The name and the pid of the process that uses it, each None if it is not known."""
        who = self.process or self.holder
        if who is None:
            return None, self.opener_pid or None
        return None if who.comm == "?" else who.comm, who.pid

    def is_used(self) -> bool:
        """Whether something of its connection was shown since this was asked last."""
        shown = self.where is not None or self.other.where is not None
        self.where = self.other.where = None
        return shown


Placed = tuple[Glance, Where, bytes]
"""An operation, where it was, and its record; or of who did some the change to somebody else (`Changed`)."""


class Places:
    """The connections that are open. Not thread-safe."""

    def __init__(
        self,
        known: Known | None = None,
        *,
        selects: Callable[[str | None, Collection[Process]], bool] | None = None,
        passes: Callable[[bytes, Where], bool] | None = None,
        passes_change: Callable[[bytes], bool] | None = None,
        on_other: Callable[[bytes], None] = lambda _record: None,
    ) -> None:
        """Make an empty set.

        known: what is known of processes and sockets, and is told who did something. selects: whether a connection to a
        path, None: not known, is shown that these have used, hold or made; None: all are. passes: which of the
        operations that are to be shown are, by their records; None: all. passes_change: the same of changes of who
        somebody is. on_other: is given the records that are none of both, each when it is its turn.
        """
        self._known = known or Known()
        self._selects = selects
        self._passes = passes
        self._passes_change = passes_change
        self._on_other = on_other
        self._ends: dict[int, _End] = {}
        # By number, in the order in which they began or were last found to be in use: one end of each.
        self._connections: OrderedDict[int, _End] = OrderedDict()
        self._numbers = Numbers()
        self._processes: dict[tuple[bytes, bytes], Process] = {}
        self._paths: dict[bytes, str | None] = {}
        # By connection: who has used it, holds or made it, where it matters for the selection.
        self._users: dict[int, set[Process]] = {}
        # By connection: the paths of those that nobody had selected when they began, for somebody may later.
        self._unselected: OrderedDict[int, str | None] = OrderedDict()
        self.evicted = 0
        """Connections that were forgotten, because there were too many."""
        self.stale = 0
        """Connections whose end was not seen: their addresses came back in another connection."""

    def feed(self, records: Iterable[bytes]) -> list[Placed]:
        """Take what was recorded in the order of the ring buffer; return the operations that are to be shown.

        Raises struct.error where a record is too short for its kind.
        """
        ends, passes = self._ends, self._passes
        placed: list[Placed] = []
        append = placed.append
        for record in records:
            try:
                glance = glance_of(record)
            except struct.error:
                # It is too short for an operation's.
                self._take_other(record)
                continue
            kind, _, sock, peer, _, task, _, operation, names = glance
            end = ends.get(sock)
            # Most are reads and writes by whoever did the one before: of these this is all.
            if (
                end is not None
                and end.task == task
                and end.peer == peer
                and end.names == names
                and operation in _TRANSFERS
                and kind & _KIND == _OPERATION
            ):
                where = end.where or self._where(end)
            else:
                if kind & _TYPE == _IDENTITY:
                    placed += self._changed([record] if self._known.change(record) else [])
                    continue
                if kind & _TYPE == _HISTORY:
                    placed += self._recalled(unpack_history(record))
                    continue
                where = self._take(record, glance)
                # A connect that failed (it has no peer) makes nobody one that was seen on a connection.
                if where is not None and (peer or operation != _CONNECT):
                    who = where.process
                    placed += self._changed(self._known.changes.show(who.pid, who.tid, who.uid, who.gid))
            if where is not None and (passes is None or passes(record, where)):
                append((glance, where, record))
        return placed

    def _changed(self, records: Iterable[bytes]) -> list[Placed]:
        """Return those of some changes that are to be shown."""
        passes = self._passes_change
        return [
            (glance_of(record), Changed(change_of(record)), record)
            for record in records
            if passes is None or passes(record)
        ]

    def _take_other(self, record: bytes) -> None:
        if type_of(record) == _OPERATION:
            raise struct.error("too short for an operation's record")
        self._on_other(record)

    def let_go(self) -> None:
        """Forget what is open: how it ends is not recorded."""
        self._ends.clear()
        self._connections.clear()
        self._users.clear()
        self._unselected.clear()
        self._numbers = Numbers()
        # Whoever is seen again is met again: nothing is known of processes, either.
        self._processes.clear()

    def _take(self, record: bytes, glance: Glance) -> Where | None:
        """Take an operation, whatever it is; return where it was, None: it is not to be shown."""
        kind, when, sock, peer, amounts, task, _, operation, names = glance
        if kind & _KIND != _OPERATION:
            if kind & _TYPE != _OPERATION:
                self._on_other(record)
                return None
            if kind & _UNSELECTED:
                self._drop(record, sock, peer)
            if kind & (_UNSELECTED | _AFTERMATH) or self._has_recalled(sock, peer, when, operation):
                return None
        end = self._ends.get(sock)
        if end is None or end.peer != peer or operation <= _SOCKETPAIR:
            if operation == _CONNECT and (result := int.from_bytes(amounts[_RESULT], "little", signed=True)):
                return self._failed(record, self._process(task, names, when), result)
            end = self._end(record, glance, end)
        elif not end.task:
            self._learn(end, origin_of(record)[3])
        other, is_user = end.other, end.task == task and end.names == names
        if not is_user and (operation in _TRANSFERS or not (end.task or _is_nobodys(record, kind, operation))):
            is_user, name = True, end.name
            end.task, end.names, end.process = task, names, self._process(task, names, when)
            end.where = None
            # At the other end it is seen with whom one is connected, which may have been known.
            if end.name != name:
                other.where = None
        if operation == _RELEASE:
            end.is_released = True
            del self._ends[sock]
            # The other end may be dead without a record: before the tracer, or lost.
            if other.is_released or kind & _PEER_DEAD:
                self._forget(end)
        if is_user:
            return end.where or self._where(end)
        # Who was there before stays its user when somebody else lets go of it, or shuts it down.
        return self._found(end, self._process(task, names, when))

    def _recalled(self, handed: Handed) -> list[Placed]:
        """Return what the kernel had kept of a connection and is to be shown, as if each had been recorded."""
        # Both ends may have been hurt in the same instant, and each has handed both over.
        if handed.connection in self._connections:
            return []
        handed = of_one_connection(handed)
        one = handed.one
        for sock in (one.sock, one.peer):
            self._forget_leftover(sock)
        histories = [history for history in (one, handed.other) if history is not None]
        start = min(history.start for history in histories)
        end = self._add(handed.connection, one.sock, one.peer, start, is_server=is_servers(handed))
        if not any(history.state & _BEGUN for history in histories):
            # Only who it was then: what has been seen is in the histories.
            self._recall_older(end, one.inode_number)
        end.pair = end.other.pair = end.pair or bool(one.state & _PAIR)
        if handed.address:
            end.path = end.other.path = escape_socket_path(handed.address)
        events = [what for what in recalled(handed) if isinstance(what, Event)]
        for history in histories:
            own = self._ends[history.sock]
            self._learn(own, history.opener_pid)
            own.recalled = frozenset((each.end, each.operation) for each in events if each.sock == history.sock)
        return self.feed(pack(event) for event in events)

    def _has_recalled(self, sock: int, peer: int, when: int, operation: int) -> bool:
        """Whether an operation that ended while its connection was handed over stood in the history, too."""
        end = self._ends.get(sock)
        if end is None:
            other = self._ends.get(peer)
            if other is None or other.peer != sock:
                # So did both ends' releases, and with them the connection was over.
                return True
            # Its release stood in the history.
            end = other.other
        return (when, operation) in end.recalled

    def _where(self, end: _End) -> Where | None:
        """Return where is what an end's user does; None: that is not to be shown."""
        assert end.process is not None, "it has one"
        end.where = self._found(end, end.process)
        return end.where

    def _found(self, end: _End, process: Process) -> Where | None:
        other = end.other
        if other.process is None and other.holder is None and other.opener_pid:
            is_same = other.opener_pid == process.pid
            other.holder = process if is_same else self._known.process(other.opener_pid, end.start)
        if not self._is_selected(end, process):
            return None
        role: Role = "server" if end.is_server else "client"
        return Where(process, end.number, end.path, other.name, pair=end.pair, role=role)

    def _failed(self, record: bytes, client: Process, result: int) -> Where | None:
        """Return where a connect that failed was: there is no connection."""
        # One that a signal interrupts starts again by itself: the kernel's own number, no failure.
        if -result in KERNEL_RESTARTS:
            return None
        path = self._path(record)
        return Where(client, None, path) if self._selects is None or self._selects(path, [client]) else None

    def _end(self, record: bytes, glance: Glance, found: _End | None) -> _End:
        """Return the end that an operation begins, or that was not known.

        found: which had its address, of the same connection or of an earlier one.
        """
        kind, _, sock, peer, _, _, _, operation, _ = glance
        number, start, inode_number, peer_pid = origin_of(record)
        if found is not None:
            if found.peer == peer and self._joins(found, operation, number):
                self._begin(found, record, operation)
                self._learn(found, peer_pid)
                return found
            # The end of an earlier connection of this address was not recorded.
            self._forget(found)
            self.stale += 1
        self._forget_leftover(peer)
        # What a listener drops with itself is a server's end, even if its connect has not returned yet.
        is_server = operation == _ACCEPT or (operation == _RELEASE and bool(kind & _EMBRYO))
        end = self._add(number, sock, peer, start, is_server=is_server)
        self._learn(end, peer_pid)
        if operation <= _SOCKETPAIR:
            self._begin(end, record, operation)
            return end
        self._recall_older(end, inode_number)
        return end

    def _recall_older(self, end: _End, inode_number: int) -> None:
        """Learn who had a connection whose beginning was not seen, and its path."""
        known = self._known.older(inode_number) if inode_number else None
        path = known.path if known is not None else None
        if path is None:
            path = self._unselected.pop(end.number, None)
        end.path = end.other.path = path
        if known is not None:
            # Whose path the kernel has told is no socketpair.
            end.pair = end.other.pair = known.pair and path is None
            end.is_server, end.other.is_server = known.is_server, not known.is_server
            end.holder, end.other.holder = known.holder, known.other_holder

    @staticmethod
    def _joins(end: _End, operation: int, number: int) -> bool:
        """Whether a connect or accept belongs to a connection that its other half, or an early write, has begun."""
        if operation == _SOCKETPAIR:
            # Whose histories are known already.
            return bool(number) and number == end.number
        return end.is_server == (operation == _ACCEPT) and not end.has_begun

    def _begin(self, end: _End, record: bytes, operation: int) -> None:
        """Learn what a connect, an accept or a socketpair says of a connection."""
        other = end.other
        end.has_begun = True
        end.pair = other.pair = operation == _SOCKETPAIR
        path = self._path(record)
        if path is not None and path != end.path:
            end.path = other.path = path
            end.where = other.where = None

    @staticmethod
    def _learn(end: _End, peer_pid: int) -> None:
        """Learn what the first operation of an end says of the other."""
        if not end.other.opener_pid:
            end.other.opener_pid = peer_pid

    def _drop(self, record: bytes, sock: int, peer: int) -> None:
        """Forget a connection of which both ends are known now, and that nobody has selected: is_wanted() in the C."""
        for each in (sock, peer):
            end = self._ends.get(each)
            if end is not None:
                self._forget(end)
        self._unselected[origin_of(record)[0]] = self._path(record)
        if len(self._unselected) > _MOST_KEPT:
            self._unselected.popitem(last=False)

    def _is_selected(self, end: _End, process: Process) -> bool:
        """Return whether a connection is to be shown, now that somebody has used it."""
        if self._selects is None:
            return True
        users = self._users.setdefault(end.number, set())
        if len(users) < _MOST_USERS:
            users.add(process)
            for each in (end, end.other):
                if each.holder is not None:
                    users.add(each.holder)
                elif each.opener_pid:
                    users.add(Process(each.opener_pid, "?"))
        if end.number not in self._connections:
            del self._users[end.number]
        return self._selects(end.path, users)

    def _process(self, task: bytes, names: bytes, when: int) -> Process:
        process = self._processes.get((task, names))
        if process is None:
            if len(self._processes) >= _MOST_KEPT:
                self._processes.clear()
            process = process_of(shown_of((0, 0, 0, 0, b"", task, b"", 0, names)))
            self._processes[task, names] = process
            self._known.meet(process.pid, process.comm, when)
        return process

    def _path(self, record: bytes) -> str | None:
        """Return the path that a record tells, escaped; None: it has none."""
        address = address_of(record)
        if address not in self._paths:
            if len(self._paths) >= _MOST_KEPT:
                self._paths.clear()
            self._paths[address] = escape_socket_path(address)
        return self._paths[address]

    def _add(self, number: int, sock: int, peer: int, start: int, *, is_server: bool) -> _End:
        """Make a connection; return its end of the first address."""
        if len(self._connections) >= MAX_CONNECTIONS:
            self._evict()
        number = self._numbers.own(number, self._connections)
        end, other = _End(number, sock, peer, start), _End(number, peer, sock, start)
        end.other, other.other = other, end
        end.is_server, other.is_server = is_server, not is_server
        self._ends[sock], self._ends[peer] = end, other
        self._connections[number] = end
        return end

    def _evict(self) -> None:
        """Forget the connection that has not been used for longest, or nearly so."""
        self._forget(least_used(self._connections, _End.is_used))
        self.evicted += 1

    def _forget_leftover(self, sock: int) -> None:
        """Forget the connection that had an address before, if one did: its end was not recorded."""
        leftover = self._ends.get(sock)
        if leftover is not None:
            self._forget(leftover)
            self.stale += 1

    def _forget(self, end: _End) -> None:
        if self._connections.pop(end.number, None) is None:
            return
        self._users.pop(end.number, None)
        for each in (end, end.other):
            if self._ends.get(each.sock) is each:
                del self._ends[each.sock]


def _is_nobodys(record: bytes, kind: int, operation: int) -> bool:
    # Nearly none has the flag, and the others need not be unpacked.
    return operation == _RELEASE and bool(kind & _KERNEL_THREAD) and is_nobodys(unpack(record))
