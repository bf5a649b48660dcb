"""From events to connections: matches client and server, and tells generations of an address apart.

Records come in the order in which they were written to the ring buffer. Nothing that follows from a release is
recorded before it (see tell_entry() in bpf/hangup.c), so a freed and reused struct sock needs no sorting: a release
ends a generation. All else may come in any order that causes allow; an accept may come before its connect.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.names import KERNEL_RESTARTS
from hangup.tracer.record.facts import HostFact, unpack_fact
from hangup.tracer.record.layout import (
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_WAITALL,
    SIZE,
    STREAM,
    Brief,
    Event,
    EventFlag,
    Handed,
    HistoryState,
    Operation,
    RecordType,
    SenderFlag,
    brief_of,
    pack,
    sender_of,
    time_of,
    type_of,
    unpack,
    unpack_history,
    users_of,
)
from hangup.tracer.record.runs import Runs
from hangup.tracer.story.aftermath import Aftermath, Aftermaths
from hangup.tracer.story.connection import KEPT_FIRST, KEPT_LAST, Connection, Endpoint, Place, event_of
from hangup.tracer.story.eviction import MAX_CONNECTIONS, least_used
from hangup.tracer.story.exchange import exchange_of
from hangup.tracer.story.known import Known
from hangup.tracer.story.numbers import Numbers
from hangup.tracer.story.operation import has_died, has_executed
from hangup.tracer.story.process import Process, leader_of, process_of
from hangup.tracer.story.recall import (
    Omitted,
    is_incomplete,
    is_overlapping,
    is_servers,
    of_one_connection,
    recalled,
)
from hangup.tracer.story.symptom import Symptom

# Plain numbers: an IntEnum's comparison costs more than all else that is done with most events.
_CONNECT = int(Operation.CONNECT)
_ACCEPT = int(Operation.ACCEPT)
_SOCKETPAIR = int(Operation.SOCKETPAIR)
_READ = int(Operation.READ)
_WRITE = int(Operation.WRITE)
_SHUTDOWN = int(Operation.SHUTDOWN)
_RELEASE = int(Operation.RELEASE)
_OPERATION = int(RecordType.OPERATION)
_HISTORY = int(RecordType.HISTORY)
_IDENTITY = int(RecordType.IDENTITY)
_HOST = int(RecordType.HOST)
_EMBRYO = int(EventFlag.EMBRYO)
_PEER_DEAD = int(EventFlag.PEER_DEAD)
_TRANSFERS = (_READ, _WRITE)
_FROM_KERNEL = int(SenderFlag.KERNEL | SenderFlag.OOM)
_AFTERMATH = int(EventFlag.AFTERMATH)
_UNSELECTED = int(EventFlag.UNSELECTED)
_FIRST_USE = int(EventFlag.FIRST_USE)
_OVERTAKEN = int(EventFlag.OVERTAKEN)
_CLIENT = int(HistoryState.CLIENT)
_SERVER = int(HistoryState.SERVER)
_PAIR = int(HistoryState.PAIR)
_BEGUN = int(HistoryState.BEGUN)
_USERS_LOST = int(HistoryState.USERS_LOST)
_UNTOLD = int(HistoryState.UNTOLD)
_ENDED_RECEIVING = int(HistoryState.ENDED_RECEIVING)
_ENDED_SENDING = int(HistoryState.ENDED_SENDING)
_BOUND = int(EventFlag.BOUND)
_PEER_BOUND = int(EventFlag.PEER_BOUND)

# shutdown(2): SHUT_RD, SHUT_WR, SHUT_RDWR
_RECEIVING = (0, 2)
_SENDING = (1, 2)

# sk_shutdown: RCV_SHUTDOWN | SEND_SHUTDOWN
_SHUTDOWN_MASK = 3

_EPIPE = -errno.EPIPE
_ECONNRESET = -errno.ECONNRESET

# Of so many connections that nobody had selected it is remembered what they are to.
_MOST_UNSELECTED = 4096

# Of all of them together so many operations are kept, a kilobyte each, however busy they are.
MAX_KEPT = 250_000
_KEPT_OF_ENDPOINT = KEPT_FIRST + KEPT_LAST

# A read or a write that has other flags than these is looked at in all its values.
_PLAIN = ~int(EventFlag.IO_URING | EventFlag.COMPAT | EventFlag.KERNEL_THREAD | EventFlag.EXITING)

# So many records that are not the kernel's own may wait for its next one.
_MOST_HELD = 16_384

Operated = tuple[bytes, Brief, Place]
"""An operation: its record, what is looked at first of it, and where it was.

Or who did operations has become somebody else: then it is the record of that (RecordType.IDENTITY), and nowhere."""

# Where it is that a process becomes somebody else.
_NOWHERE = Place("client", None, None, False)

# Where an operation is that nobody has asked for.
_ELSEWHERE = Place("client", None, None, False)


class Suffered(NamedTuple):
    """An end's first failure, and what it did after that: nothing more is waited for."""

    aftermath: Aftermath


class Concluded(NamedTuple):
    """A connection whose both ends are released."""

    connection: Connection


class ConnectFailed(NamedTuple):
    """A connect that failed: there is a client and no connection."""

    event: Event
    path: str | None
    operated: Operated


Occurrence = Suffered | Concluded | ConnectFailed


class Endpoints:
    """The connections that are open. Not thread-safe."""

    def __init__(
        self,
        known: Known | None = None,
        *,
        operations: Callable[[Connection], bool] | None = None,
        on_other: Callable[[bytes], None] = lambda _record: None,
    ) -> None:
        """Make an empty set.

        known: what is known of processes and sockets, and is told who did something. operations: of which connections
        they are kept for `operated`; it is asked again when somebody else uses one. None: of none. on_other: is given
        the records that are not the kernel's own, each when it is its turn.
        """
        self._known = known or Known()
        self._selects = operations
        self._on_other = on_other
        self._operated: list[Operated] = []
        self._by_sock: dict[int, Endpoint] = {}
        # By number, in the order in which they began or were last found to be in use.
        self._connections: OrderedDict[int, Connection] = OrderedDict()
        self._numbers = Numbers()
        self._kept = 0
        self._aftermaths = Aftermaths()
        # What is not the kernel's own and came while something was waited for, till the kernel's next record comes.
        self._held: list[bytes] = []
        # By connection: the paths of those that nobody had selected when they began, for somebody may later.
        self._unselected: OrderedDict[int, str | None] = OrderedDict()
        self._runs = Runs()
        self.evicted = 0
        """Connections that were forgotten, because there were too many."""
        self.stale = 0
        """Connections whose end was not seen: their addresses came back in another connection."""

    @property
    def open(self) -> int:
        """How many connections have at least one end open."""
        return len(self._connections)

    def open_connections(self) -> list[Connection]:
        """Return the connections that have at least one end open, each end with who holds it as far as is known."""
        for connection in self._connections.values():
            self._name(connection)
        return list(self._connections.values())

    @property
    def waiting(self) -> bool:
        """Whether it is waited for what somebody does after a failure."""
        return bool(self._aftermaths)

    def operated(self) -> Sequence[Operated]:
        """Return the operations that were taken since this was asked last."""
        operated = self._operated[:]
        self._operated.clear()
        return operated

    def feed(
        self, records: Iterable[bytes | Event | Handed | Omitted], *, harmless: bool = False
    ) -> Iterator[Occurrence]:
        """Take what was recorded in the order of the ring buffer; yield what it amounts to.

        What has been unpacked already is taken like its record. harmless: none of it is a symptom, as is known
        already. Raises struct.error where a record is too short for its kind.
        """
        by_sock, aftermaths = self._by_sock, self._aftermaths
        # The deque itself, once: it is asked of each record.
        waiting = aftermaths.waiting
        operated = self._operated
        are_kept = self._selects is not None
        while self._kept > MAX_KEPT and self._connections:
            self._evict()
        for record in records:
            if record.__class__ is not bytes:
                yield from self._take_unpacked(cast(Event | Handed | Omitted, record), harmless=harmless)
                continue
            if len(record) < SIZE:
                yield from self._take_record(record, None, harmless=harmless)
                continue
            brief = brief_of(record)
            kind, flags, end, _, start, sock, peer, size, result, task, message_flags, _, operation, names = brief
            # Most are reads and writes like the ones before them: of these this is all.
            endpoint = by_sock.get(sock)
            if (
                endpoint is None
                or endpoint.task != task
                or endpoint.peer != peer
                or endpoint.names != names
                or operation not in _TRANSFERS
                or flags & _PLAIN
                or kind != _OPERATION
                or (waiting and (self._held or aftermaths.concern(sock, task, end)))
                # What is a symptom, or may be.
                or result <= 0
                or message_flags & MSG_WAITALL
                or (
                    operation == _WRITE
                    # Or began before it was read.
                    and (result < size or (start == end and endpoint.other.read_bytes > endpoint.written_bytes))
                )
            ):
                yield from self._take_record(record, brief, harmless=harmless)
                continue
            if operation == _WRITE:
                endpoint.wrote(start, end, result)
                endpoint.written_messages += 1
                endpoint.held_up = False
            else:
                if not message_flags & MSG_PEEK:
                    endpoint.read_bytes += result
                    endpoint.read_messages += 1
                endpoint.heard = end
            endpoint.last = record
            endpoint.keep(record)
            if endpoint.count <= _KEPT_OF_ENDPOINT:
                self._kept += 1
            if are_kept:
                place = endpoint.place or self._place(endpoint)
                if place is not _ELSEWHERE:
                    operated.append((record, brief, place))

    def _take_record(self, record: bytes, brief: Brief | None, *, harmless: bool) -> Iterator[Occurrence]:
        """Take a record; brief: if it may be an operation's."""
        kind = type_of(record)
        if kind == _OPERATION:
            yield from self._take_event(unpack(record), record, brief, harmless=harmless)
        elif kind == _HISTORY:
            yield from self._recall_handed(unpack_history(record))
        elif kind == _IDENTITY:
            if self._aftermaths:
                time = time_of(record)
                yield from self._take_held(time)
                # As for an operation: live, what was due by then has been told by then.
                yield from self._settle(time)
            if self._known.change(record):
                self._changed(record)
        elif kind == _HOST and self._begins_another_run(record):
            # Whoever takes it lets go of what is open.
            yield from self.settle()
            self._on_other(record)
        elif self._aftermaths:
            # The source adds it when it has read what stands behind it, which may be much older.
            self._held.append(record)
            if len(self._held) > _MOST_HELD:
                yield from self._take_held(None)
        else:
            self._on_other(record)

    def _begins_another_run(self, record: bytes) -> bool:
        host = unpack_fact(record)
        return isinstance(host, HostFact) and self._runs.is_another(host)

    def let_go(self) -> None:
        """Forget what is open: how it ends is not recorded."""
        self._by_sock.clear()
        self._connections.clear()
        self._unselected.clear()
        self._numbers = Numbers()
        self._kept = 0

    def _take_held(self, until: int | None) -> Iterator[Suffered]:
        """Take what is not the kernel's own, but tell first what was due by then: nobody knew that record.

        until: when the kernel's next record was made, in ns, which nobody knew either; None: there is none.
        """
        held, self._held = self._held, []
        for record in held:
            time = time_of(record)
            yield from self._settle(time if until is None else min(time, until))
            self._on_other(record)

    def _changed(self, record: bytes) -> None:
        """Take a change of who a process is that is to be shown."""
        self._operated.append((record, brief_of(record), _NOWHERE))

    def _take_unpacked(self, what: Event | Handed | Omitted, *, harmless: bool) -> Iterator[Occurrence]:
        if isinstance(what, Omitted):
            self._omit(what)
        elif isinstance(what, Handed):
            yield from self._recall_handed(what)
        else:
            yield from self._take_event(what, None, None, harmless=harmless)

    def _take_event(
        self, event: Event, record: bytes | None, brief: Brief | None, *, harmless: bool
    ) -> Iterator[Occurrence]:
        """Take an operation, whatever it is; record, brief: what it was made of, if it was."""
        operation = event.operation
        if event.flags & _OVERTAKEN and self._has_recalled(event):
            return
        if self._aftermaths:
            yield from self._take_held(event.end)
            yield from self._suffered(self._aftermaths.take(event))
        if event.flags & _AFTERMATH:
            # It was recorded for that alone.
            return
        if event.flags & _UNSELECTED:
            self._drop(event)
            return
        endpoint = self._by_sock.get(event.sock)
        if endpoint is None or endpoint.peer != event.peer or operation <= _SOCKETPAIR:
            if operation == _CONNECT and event.result:
                # A connect that a signal interrupts starts again by itself: the kernel's own number, no failure.
                if -event.result not in KERNEL_RESTARTS:
                    path = escape_socket_path(event.address)
                    place = Place("client", None, path, False)
                    yield ConnectFailed(event, path, _operated(event, record, brief, place))
                return
            endpoint = self._endpoint(event, endpoint)
        elif not endpoint.inode_number:
            self._learn(endpoint, event)

        if operation == _WRITE and event.result > 0:
            begun = endpoint.when_begun(event)
            if begun != event.start:
                event = event._replace(start=begun)
        # It is shown as it was recorded; the story tells whose it was.
        told = endpoint.before_execution(event) if operation == _RELEASE and has_executed(event) else event
        if endpoint.add(told):
            self._known.meet(event.pid, leader_of(event), event.end)
        if endpoint.count <= _KEPT_OF_ENDPOINT:
            self._kept += 1
        if operation <= _WRITE:
            # The next one is as plain, but for an end whose inode is not known yet.
            is_plain = brief is not None and endpoint.inode_number
            endpoint.task, endpoint.names = (brief[9], brief[13]) if brief is not None and is_plain else (b"", b"")
        if operation in _TRANSFERS:
            endpoint.last = event
        elif operation == _RELEASE:
            endpoint.release = told
            del self._by_sock[event.sock]
        symptom = _take(endpoint, told)
        if event.flags & (_BOUND | _PEER_BOUND) and not endpoint.connection.complete:
            self._tell_apart(endpoint, event)
        if self._selects is not None:
            self._show(endpoint, event, record, brief)
        if symptom and not endpoint.failed and not harmless:
            endpoint.failed = True
            self._aftermaths.begin(Aftermath(endpoint, told, symptom))
        if operation == _RELEASE and (endpoint.other.release is not None or event.flags & _PEER_DEAD):
            # The other end may be dead without a record: before the tracer, or lost.
            connection = endpoint.connection
            self._forget(connection)
            self._name(connection)
            yield Concluded(connection)

    def _show(self, endpoint: Endpoint, event: Event, record: bytes | None, brief: Brief | None) -> None:
        """Give an operation to who asked for it, and first who its process has become before."""
        place = self._place(endpoint)
        if place is not _ELSEWHERE:
            for earlier in self._known.changes.show(event.pid, event.tid, event.uid, event.gid):
                self._changed(earlier)
            self._operated.append(_operated(event, record, brief, place))

    def _place(self, endpoint: Endpoint) -> Place:
        """Return where what is done on an endpoint is, _ELSEWHERE if nobody has asked for it."""
        if endpoint.place is None:
            assert self._selects is not None
            self._name(endpoint.connection)
            endpoint.place = endpoint.find_place() if self._selects(endpoint.connection) else _ELSEWHERE
        return endpoint.place

    def _omit(self, what: Omitted) -> None:
        endpoint = self._by_sock.get(what.sock)
        if endpoint is not None:
            before = endpoint.count
            endpoint.omit(what)
            # As _forget() will count them, though few of them are kept.
            self._kept += min(endpoint.count, _KEPT_OF_ENDPOINT) - min(before, _KEPT_OF_ENDPOINT)

    def _recall_handed(self, what: Handed) -> Iterator[Occurrence]:
        """Take what the kernel kept of a connection, as if each operation had been recorded when it ended."""
        yield from self._take_held(what.time)
        # Both ends may have been hurt in the same instant, and each has handed both over.
        if what.connection in self._connections:
            return
        what = of_one_connection(what)
        connection = self._adopt(what)
        histories = [history for history in (what.one, what.other) if history is not None]
        # Where some operations are missing, whose turn it was then is not known before the end of this; the kernel has
        # seen them all, and that none of them hurt anybody, or that it could not tell of it at once.
        gap = any(is_incomplete(history) for history in histories)
        untold = any(history.state & _UNTOLD for history in histories)
        yield from self.feed(recalled(what), harmless=gap and not untold)
        if gap:
            # The kernel has told turns apart by the order of their records; of a write that was recorded too late it
            # may have taken the answer for the rest of an earlier one.
            connection.guessed = connection.client.late or connection.server.late
            for history in histories:
                end = connection.client if connection.client.sock == history.sock else connection.server
                end.recall(history, are_turns_known=not connection.guessed)
                end.shutdown_not_kept = bool(
                    (history.state & _ENDED_RECEIVING and end.ended_receiving is None)
                    or (history.state & _ENDED_SENDING and end.ended_sending is None)
                )
            if _may_be_answered_early(connection.client) or _may_be_answered_early(connection.server):
                connection.guessed = True

    def _has_recalled(self, event: Event) -> bool:
        """Whether an operation that ended while its connection was handed over stood in the history, too."""
        endpoint = self._by_sock.get(event.sock)
        if endpoint is None:
            other = self._by_sock.get(event.peer)
            if other is None or other.peer != event.sock:
                # So did both ends' releases, and with them the connection was over.
                return True
            # Its release stood in the history.
            endpoint = other.other
        connection = endpoint.connection
        known = any((kept.end, kept.operation) == (event.end, event.operation) for kept in endpoint.kept)
        # What is not kept one by one was reckoned from the sums, which may have had it already, or not yet. And what
        # failed in between is judged without it.
        if endpoint.omitted or (connection.failed and not known):
            connection.overlapping = True
        return known

    def _adopt(self, handed: Handed) -> Connection:
        """Make the connection of two histories."""
        one, other = handed.one, handed.other
        for sock in (one.sock, one.peer):
            self._forget_leftover(sock)
        client, server = (one.peer, one.sock) if is_servers(handed) else (one.sock, one.peer)
        connection = self._add(client, server, handed.connection)
        connection.type = one.type
        connection.pair = bool(one.state & _PAIR)
        if handed.address:
            connection.path = escape_socket_path(handed.address)
        for history in (one, other):
            if history is None:
                continue
            endpoint = self._by_sock[history.sock]
            endpoint.inode, endpoint.inode_number = history.inode, history.inode_number
            endpoint.other.opener_pid = history.opener_pid
            endpoint.users_lost = bool(history.state & _USERS_LOST)
            # Who releases an end is a user of its own also where only its name or thread is another one (FIRST_USE).
            heir = history.user if history.release_flags & _FIRST_USE else None
            endpoint.used_by = frozenset(user.pid for place, user in enumerate(users_of(history)) if place != heir)
            connection.overlapping = connection.overlapping or is_overlapping(history)
        if not (one.state | (other.state if other else 0)) & _BEGUN:
            # Only who it was then: what has been seen is in the histories.
            self._recall(connection, one.sock, one.inode_number)
        return connection

    def settle(self, now: int | None = None) -> Iterator[Suffered]:
        """Yield the failures whose aftermath is waited for no longer.

        now: in ns of CLOCK_MONOTONIC, by when all that was recorded has been taken; None: nothing more will come.
        """
        yield from self._take_held(now)
        yield from self._settle(now)

    def _settle(self, now: int | None) -> Iterator[Suffered]:
        yield from self._suffered(self._aftermaths.settle(now))

    def _suffered(self, aftermaths: Iterable[Aftermath]) -> Iterator[Suffered]:
        for aftermath in aftermaths:
            self._name(aftermath.connection)
            yield Suffered(aftermath)

    def _endpoint(self, event: Event, found: Endpoint | None) -> Endpoint:
        """Return the endpoint of an event that begins a connection, or is the first seen of one."""
        operation = event.operation
        if found is not None:
            if found.peer == event.peer and self._joins(found, event):
                self._begin(found, event)
                return found
            # The end of an earlier connection of this address was not recorded.
            self._forget(found.connection)
            self.stale += 1
        self._forget_leftover(event.peer)
        # What a listener drops with itself is a server's end, even if its connect has not returned yet.
        if operation == _ACCEPT or (operation == _RELEASE and event.flags & _EMBRYO):
            connection = self._add(event.peer, event.sock, event.connection)
            endpoint = connection.server
        else:
            connection = self._add(event.sock, event.peer, event.connection)
            endpoint = connection.client
        connection.type = event.type
        if operation <= _SOCKETPAIR:
            self._begin(endpoint, event)
            return endpoint
        self._recall(connection, event.sock, event.inode_number)
        connection.path = connection.path or self._unselected.pop(event.connection, None)
        endpoint = connection.client if connection.client.sock == event.sock else connection.server
        self._learn(endpoint, event)
        return endpoint

    @staticmethod
    def _joins(endpoint: Endpoint, event: Event) -> bool:
        """Whether a connect or accept belongs to a connection that its other half, or an early write, has begun."""
        if event.operation == _CONNECT:
            return endpoint.role == "client" and endpoint.connection.connect is None
        if event.operation == _SOCKETPAIR:
            # Whose histories are known already.
            return bool(event.connection) and event.connection == endpoint.connection.number
        if event.operation == _ACCEPT:
            return endpoint.role == "server" and (endpoint.first is None or endpoint.first.operation != _ACCEPT)
        return False

    def _begin(self, endpoint: Endpoint, event: Event) -> None:
        """Learn what a connect, an accept or a socketpair says of a connection."""
        connection = endpoint.connection
        endpoint.begun = True
        if event.operation == _SOCKETPAIR:
            endpoint.other.begun = True
        if event.operation != _ACCEPT:
            connection.connect = event
            # Not so an accept: the client may have connected, and written, before the tracer came.
            connection.complete = True
        connection.pair = event.operation == _SOCKETPAIR
        if event.address:
            connection.path = escape_socket_path(event.address)
            if connection.path is not None:
                self._known.listened.add(connection.path, event.end)
        self._learn(endpoint, event)

    def _drop(self, event: Event) -> None:
        """Forget a connection of which both ends are known now, and that nobody has selected: is_wanted() in the C."""
        for sock in (event.sock, event.peer):
            endpoint = self._by_sock.get(sock)
            if endpoint is not None:
                self._forget(endpoint.connection)
        path = escape_socket_path(event.address)
        if path is not None:
            self._known.listened.add(path, event.end)
        self._unselected[event.connection] = path
        if len(self._unselected) > _MOST_UNSELECTED:
            self._unselected.popitem(last=False)

    def _learn(self, endpoint: Endpoint, event: Event) -> None:
        """Learn what the first operation of an endpoint says of both ends."""
        endpoint.inode = event.inode
        endpoint.inode_number = event.inode_number
        other = endpoint.other
        if not other.inode:
            other.inode = event.peer_inode
        if not other.opener_pid:
            other.opener_pid = event.peer_pid

    def _name(self, connection: Connection) -> None:
        """Name an end that nobody has been seen using, for who looks at it."""
        for end in (connection.client, connection.server):
            if end.holder is None and end.known_by is None and end.opener_pid:
                event = end.other.users.get(end.opener_pid)
                if event:
                    who = process_of(event)
                    end.holder = Process(who.pid, who.comm, inner_pid=who.inner_pid, cgroup_id=who.cgroup_id)
                else:
                    end.holder = self._known.process(end.opener_pid, connection.start)
                end.forget_place()

    @staticmethod
    def _tell_apart(endpoint: Endpoint, event: Event) -> None:
        """Mend which end is the client where the connect and the accept were not recorded.

        The server's end has an address, its listener's (unix_stream_connect()); a client seldom binds itself.
        """
        bound, peer_bound = bool(event.flags & _BOUND), bool(event.flags & _PEER_BOUND)
        if bound not in (peer_bound, endpoint.role == "server") and not endpoint.connection.pair:
            endpoint.connection.swap()

    def _recall(self, connection: Connection, sock: int, inode_number: int) -> None:
        """Fill in a connection that was open before the tracer, by one of its ends."""
        known = self._known.older(inode_number) if inode_number else None
        if known is None:
            return
        end = connection.client if connection.client.sock == sock else connection.server
        if known.is_server != (end is connection.server):
            connection.swap()
        if known.path is not None:
            connection.path = known.path
        # Whose path the kernel has told is no socketpair.
        connection.pair = known.pair and connection.path is None
        end.holder = known.holder
        end.other.holder = known.other_holder
        end.other.inode_number = known.other_inode_number

    def _add(self, client_sock: int, server_sock: int, number: int) -> Connection:
        if len(self._connections) >= MAX_CONNECTIONS:
            self._evict()
        number = self._numbers.own(number, self._connections)
        connection = Connection(client_sock, server_sock, number)
        self._connections[number] = connection
        self._by_sock[client_sock] = connection.client
        self._by_sock[server_sock] = connection.server
        return connection

    def _evict(self) -> None:
        """Forget the connection that has not been used for longest, or nearly so."""
        self._forget(least_used(self._connections, Connection.is_used))
        self.evicted += 1

    def _forget_leftover(self, sock: int) -> None:
        """Forget the connection that had an address before, if one did: its end was not recorded."""
        leftover = self._by_sock.get(sock)
        if leftover is not None:
            self._forget(leftover.connection)
            self.stale += 1

    def _forget(self, connection: Connection) -> None:
        if self._connections.pop(connection.number, None) is None:
            return
        for endpoint in (connection.client, connection.server):
            self._kept -= min(endpoint.count, _KEPT_OF_ENDPOINT)
            if self._by_sock.get(endpoint.sock) is endpoint:
                del self._by_sock[endpoint.sock]


def _operated(event: Event, record: bytes | None, brief: Brief | None, place: Place) -> Operated:
    if record is None or brief is None:
        record = pack(event)
        brief = brief_of(record)
    return record, brief, place


def _may_be_answered_early(endpoint: Endpoint) -> bool:
    """Whether the other end wrote last while an end was in the write that begins its turn, or right before that.

    If that write waited for room the other end may have read of it, and that was the answer. Which of the two it is is
    told by what it read before, and that is not kept.
    """
    other = endpoint.other
    if not (other.omitted and other.tail):
        return False
    wrote, first_kept = other.last_write_end, event_of(other.tail[0])
    before = 0
    for number, event in enumerate(endpoint.kept):
        if event.operation == _WRITE and event.end == endpoint.turn_start:
            is_known = not endpoint.omitted or number != len(endpoint.operations)
            return is_known and before < wrote < min(event.end, first_kept.end)
        before = event.end
    return False


def _take(endpoint: Endpoint, event: Event) -> Symptom | None:
    """Take what an operation did to its endpoint; return what it is a symptom of, None: of nothing."""
    operation, result = event.operation, event.result
    if operation == _WRITE:
        if result > 0:
            endpoint.wrote(event.start, event.end, result)
            endpoint.written_messages += 1
            endpoint.held_up = result < event.size
            return Symptom.SHORT_WRITE if result < event.size and _cut_short(endpoint, event) else None
        if result in (_EPIPE, _ECONNRESET):
            return Symptom.BROKEN_WRITE
        # EAGAIN, or a signal that came while it waited for room.
        endpoint.held_up = bool(event.size)
        return None
    if operation == _READ:
        if result > 0:
            if not event.message_flags & MSG_PEEK:
                endpoint.read_bytes += result
                endpoint.read_messages += 1
            endpoint.heard = event.end
            if not _waited_in_vain(endpoint, event):
                return None
        elif result:
            return Symptom.RESET_READ if result == _ECONNRESET else None
        if not event.size or endpoint.failed:
            return None
        symptom = _end_of_stream(endpoint, event)
        # A message of SOCK_SEQPACKET may be empty.
        if endpoint.connection.type == STREAM:
            endpoint.met_end = endpoint.met_end or event.end
        return symptom
    if operation == _SHUTDOWN and not result:
        if endpoint.ended_receiving is None and event.size in _RECEIVING:
            endpoint.ended_receiving = event
        if endpoint.ended_sending is None and event.size in _SENDING:
            endpoint.ended_sending = event
    elif operation == _RELEASE:
        return Symptom.TOLD if _told(endpoint, event) else None
    return None


def _cut_short(endpoint: Endpoint, event: Event) -> bool:
    """Whether a write that sent less than it was asked for was blocked when the other end hung up, or shut down.

    sock_alloc_send_pskb() wakes to find the error, and unix_stream_sendmsg() returns what it has sent by then: the
    error is gone. One that does not wait for room (MSG_DONTWAIT, which O_NONBLOCK sets too: sock_write_iter()) sends
    what fits, whatever else happens meanwhile.
    """
    other = endpoint.other
    if event.message_flags & MSG_DONTWAIT:
        return False
    # What was sent had begun before: the first bytes would have met the error.
    return any(left and left.start < event.end for left in (other.ended_receiving, other.release))


def _waited_in_vain(endpoint: Endpoint, event: Event) -> bool:
    """Whether a read that waits for all it asks for got less because it came to the end of the stream.

    A signal or a time-out ends it as well (unix_stream_read_generic()), and so does who else wrote what comes next.
    """
    waits = event.message_flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT) == MSG_WAITALL
    if not waits or event.result >= event.size or endpoint.connection.type != STREAM:
        return False
    other = endpoint.other
    ended = any(end and end.start < event.end for end in (other.ended_sending, other.release))
    return ended and endpoint.read_bytes >= other.written_bytes


def _end_of_stream(endpoint: Endpoint, event: Event) -> Symptom | None:
    """Return what the end of the stream is a symptom of; None: nothing was missing, it is how connections end."""
    other, connection = endpoint.other, endpoint.connection
    release = other.release
    if endpoint.ended_receiving is not None:
        return None
    if release is None:
        # The end of a half that was shut down is one as well, if an answer is owed.
        if other.ended_sending is None:
            return None
    elif release.unread_messages and not release.flags & _EMBRYO:
        # unix_release_sock() left an ECONNRESET with this end, and it is not there any more.
        return Symptom.TOLD
    if connection.requester is not endpoint or 0 < endpoint.met_end <= endpoint.turn_start:
        # Who has met it before it sent its last expects no answer to that.
        return None
    died_badly = release is not None and has_died(release) and release.exit_code
    if connection.pair and not died_badly:
        # Who asks whom over a socketpair is a guess, and an orderly end is often the answer itself: a child that has
        # been told to stop or to go on executes or exits, a parent without more work closes.
        return None
    answered = other.turns and other.turn_start > endpoint.turn_start
    if answered and other.ended_sending is not None:
        # It had said that this was all. How it went after that is no matter, and may not have been by now.
        return None
    if answered and release is not None and (_only_inherited(other, release) or _ended_by(event.pid, release)):
        return None
    if release is not None and died_badly:
        return Symptom.CUT_READ if endpoint.turns and not _died_idle(endpoint, release) else None
    if answered:
        return None
    if not endpoint.turns or (endpoint.ended_sending is not None and not other.turns and release is not None):
        # It asked nothing; or it sent all it had, said so, and waits for nothing but the other's close.
        return None
    return Symptom.CUT_READ


def _only_inherited(gone: Endpoint, release: Event) -> bool:
    """Whether who released an end had done nothing else on it: how that process went says nothing about the answer."""
    # What it did before tracing began is not known, nor is it where another thread dropped the reference for it.
    known = gone.connection.complete and not gone.users_lost
    first = release.pid not in gone.used_by and gone.users.get(release.pid) is release
    return known and first and not release.owner_pid


def _ended_by(pid: int, release: Event) -> bool:
    """Whether a process sent the signal that the one at the other end died of, or got before it exited.

    Who ends its own child or server when it has an answer knows whether that was all.
    """
    sender = sender_of(release)
    return sender is not None and sender.pid == pid and not sender.flags & _FROM_KERNEL


def _died_idle(endpoint: Endpoint, release: Event) -> bool:
    """Whether the end that died had no answer under way when its requester met the end of the stream.

    This is asked before there is a failure: if so, there is none. verdicts/rules.py asks of one that there is, however
    it showed, whether the connection was idle (`_idle`), and so knows more: that a later request was sent in vain (then
    one answer that was read is enough, where here it takes an earlier one), what was left unread, and when the end that
    died had been shut down. Of a cut read it never says idle where this does not.
    """
    exchange = exchange_of(endpoint)
    return exchange.peer.turns > 1 and exchange.answered and exchange.silent_at_death(release.start, release.exit_code)


def _told(endpoint: Endpoint, event: Event) -> bool:
    """Whether an end that is released had an ECONNRESET pending that it has been told of by other means than a read.

    getsockopt(SO_ERROR) and recvmmsg(2) take it away (sock_error()); `size` is what is still pending. The other end's
    release is recorded when it begins, and leaves the error only then: not to one that closes in the same instant.
    """
    release = endpoint.other.release
    return (
        release is not None
        # unix_release_sock() leaves it for what is unread, and for whoever was never accepted.
        and bool(release.unread_messages or release.flags & _EMBRYO)
        and not event.size
        and not event.flags & _EMBRYO
        and release.start < event.start
        and _was_hung_up_on(endpoint, event)
    )


def _was_hung_up_on(endpoint: Endpoint, event: Event) -> bool:
    """Whether the other end's release had reached an end when it was released itself: it ends both directions.

    unix_release_sock() does so right before it leaves an error. If the end shut both down itself, what counts is how
    they stood before that.
    """
    receiving, sending = endpoint.ended_receiving, endpoint.ended_sending
    if receiving is not None and sending is not None:
        event = max(receiving, sending, key=lambda shutdown: shutdown.start)
    return event.shutdown == _SHUTDOWN_MASK
