"""From events to connections: matches client and server, and tells generations of an address apart.

Records come in the order in which they were written to the ring buffer. Nothing that follows from a release is
recorded before it (see record_entry() in bpf/hangup.c), so a freed and reused struct sock needs no sorting: a release
ends a generation. All else may come in any order that causes allow; an accept may come before its connect.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hangup.tracer.connection import KEPT_FIRST, KEPT_LAST, Connection, Endpoint, Holder
from hangup.tracer.escape import escape_comm, escape_socket_path
from hangup.tracer.record import Event, EventFlag, Operation

# Plain numbers: an IntEnum's comparison costs more than all else that is done with most events.
_CONNECT = int(Operation.CONNECT)
_ACCEPT = int(Operation.ACCEPT)
_SOCKETPAIR = int(Operation.SOCKETPAIR)
_READ = int(Operation.READ)
_WRITE = int(Operation.WRITE)
_SHUTDOWN = int(Operation.SHUTDOWN)
_RELEASE = int(Operation.RELEASE)
_EMBRYO = int(EventFlag.EMBRYO)
_PEER_DEAD = int(EventFlag.PEER_DEAD)

# shutdown(2): SHUT_RD, SHUT_WR, SHUT_RDWR
_RECEIVING = (0, 2)
_SENDING = (1, 2)

BROKEN = (-errno.EPIPE, -errno.ECONNRESET)

# recv(2): the bytes stay in the queue.
_MSG_PEEK = 2

# Each takes a few KiB, a busy one up to 60: beyond this the oldest are forgotten, and counted.
MAX_CONNECTIONS = 20_000

# Of all of them together so many operations are kept, a kilobyte each, however busy they are.
MAX_KEPT = 250_000
_KEPT_OF_ENDPOINT = KEPT_FIRST + KEPT_LAST


class Operated(NamedTuple):
    """An operation of a connection."""

    endpoint: Endpoint
    event: Event


class Failed(NamedTuple):
    """The first broken write or reset read of a connection."""

    endpoint: Endpoint
    event: Event


class Concluded(NamedTuple):
    """A connection whose both ends are released."""

    connection: Connection


class ConnectFailed(NamedTuple):
    """A connect that failed: there is a client and no connection."""

    event: Event
    path: str | None


Occurrence = Operated | Failed | Concluded | ConnectFailed


class Known(NamedTuple):
    """What is known of a connection that is older than the tracer, by one of its endpoints' inode number."""

    path: str | None
    pair: bool
    is_server: bool
    """Whether the inode is the server's end."""
    holder: Holder | None
    other_inode_number: int
    other_holder: Holder | None


class Endpoints:
    """The connections that are open. Not thread-safe."""

    def __init__(
        self,
        *,
        known: Callable[[int], Known | None] = lambda _inode_number: None,
        name: Callable[[int], str | None] = lambda _pid: None,
        meet: Callable[[Event], None] = lambda _event: None,
        losses: Callable[[], int] = lambda: 0,
        pids: frozenset[int] = frozenset(),
        operations: bool = False,
    ) -> None:
        """Make an empty set.

        known: what is known of a connection older than the tracer, by inode number. name: the comm of a pid. meet:
        told what a process did first on an endpoint, at once. losses: how many records had been lost before the
        events that are being fed were recorded. pids: connections of no such process are dropped when they are
        accepted. operations: whether every operation is an occurrence too.
        """
        self._known = known
        self._comm = name
        self._meet = meet
        self._losses = losses
        self._pids = pids
        self._operations = operations
        self._by_sock: dict[int, Endpoint] = {}
        self._generation = 0
        self._kept = 0
        self.open = 0
        """How many connections have at least one end open."""
        self.evicted = 0
        """Connections that were forgotten, because there were too many."""
        self.stale = 0
        """Connections whose end was not seen: their addresses came back in another connection."""

    @property
    def open_connections(self) -> list[Connection]:
        """The connections with at least one end open."""
        return list(dict.fromkeys(endpoint.connection for endpoint in self._by_sock.values()))

    def feed(self, events: Iterable[Event]) -> Iterator[Occurrence]:
        """Take events in the order of the ring buffer; yield what they amount to."""
        by_sock = self._by_sock
        every = self._operations
        while self._kept > MAX_KEPT:
            self._evict()
        for event in events:
            operation = event.operation
            endpoint = by_sock.get(event.sock)
            if endpoint is None or endpoint.peer != event.peer or operation <= _SOCKETPAIR:
                if operation == _CONNECT and event.result:
                    yield ConnectFailed(event, escape_socket_path(event.address))
                    continue
                endpoint = self._endpoint(event, endpoint)
                if endpoint is None:
                    continue
            elif not endpoint.inode_number:
                self._learn(endpoint, event)

            if endpoint.add(event):
                self._meet(event)
            if endpoint.count <= _KEPT_OF_ENDPOINT:
                self._kept += 1
            if operation == _WRITE:
                endpoint.last_transfer = event
                if event.result > 0:
                    endpoint.written_bytes += event.result
            elif operation == _READ:
                endpoint.last_transfer = event
                if event.result > 0 and not event.message_flags & _MSG_PEEK:
                    endpoint.read_bytes += event.result
            elif operation == _SHUTDOWN:
                if not event.result:
                    if endpoint.ended_receiving is None and event.size in _RECEIVING:
                        endpoint.ended_receiving = event
                    if endpoint.ended_sending is None and event.size in _SENDING:
                        endpoint.ended_sending = event
            elif operation == _RELEASE:
                endpoint.release = event
                del by_sock[event.sock]
            if every:
                self._name(endpoint.connection)
                yield Operated(endpoint, event)

            if event.result in BROKEN:
                connection = endpoint.connection
                if connection.failed is None and (operation == _WRITE or event.result == -errno.ECONNRESET):
                    connection.failed = event
                    self._name(connection)
                    yield Failed(endpoint, event)
            elif operation == _RELEASE and (endpoint.other.release is not None or event.flags & _PEER_DEAD):
                # The other end may be dead without a record: before the tracer, or lost.
                self._forget(endpoint.connection)
                self._name(endpoint.connection)
                yield Concluded(endpoint.connection)

    def _endpoint(self, event: Event, found: Endpoint | None) -> Endpoint | None:
        """Return the endpoint of an event that begins a connection, or is the first seen of one."""
        operation = event.operation
        if found is not None:
            if found.peer == event.peer and self._joins(found, event):
                self._begin(found, event)
                return self._decide(found, event)
            # The end of an earlier connection of this address was not recorded.
            self._forget(found.connection)
            self.stale += 1
        leftover = self._by_sock.get(event.peer)
        if leftover is not None:
            self._forget(leftover.connection)
            self.stale += 1
        # What a listener drops with itself is a server's end, even if its connect has not returned yet.
        if operation == _ACCEPT or (operation == _RELEASE and event.flags & _EMBRYO):
            connection = self._add(event.peer, event.sock)
            endpoint = connection.server
        else:
            connection = self._add(event.sock, event.peer)
            endpoint = connection.client
        connection.type = event.type
        if operation <= _SOCKETPAIR:
            self._begin(endpoint, event)
            return self._decide(endpoint, event)
        self._recall(connection, event)
        endpoint = connection.client if connection.client.sock == event.sock else connection.server
        self._learn(endpoint, event)
        return endpoint

    @staticmethod
    def _joins(endpoint: Endpoint, event: Event) -> bool:
        """Whether a connect or accept belongs to a connection that its other half, or an early write, has begun."""
        if event.operation == _CONNECT:
            return endpoint.role == "client" and endpoint.connection.connect is None
        if event.operation == _ACCEPT:
            return endpoint.role == "server" and (endpoint.first is None or endpoint.first.operation != _ACCEPT)
        return False

    def _begin(self, endpoint: Endpoint, event: Event) -> None:
        """Learn what a connect, an accept or a socketpair says of a connection."""
        connection = endpoint.connection
        if event.operation != _ACCEPT:
            connection.connect = event
            # Not so an accept: the client may have connected, and written, before the tracer came.
            connection.complete = True
        connection.pair = event.operation == _SOCKETPAIR
        if event.address:
            connection.path = escape_socket_path(event.address)
        self._learn(endpoint, event)

    def _decide(self, endpoint: Endpoint, event: Event) -> Endpoint | None:
        """Drop a connection that is accepted and, as it turns out, of no selected process: see selected() in the C."""
        pids = self._pids
        if not pids or event.operation == _CONNECT or event.pid in pids:
            return endpoint
        for end in (endpoint, endpoint.other):
            if end.opener_pid in pids or not pids.isdisjoint(end.users):
                return endpoint
        self._forget(endpoint.connection)
        return None

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
        """Name an end that nothing has been seen of: only for who looks at it, for /proc is slow."""
        for end in (connection.client, connection.server):
            if end.holder is None and not end.operations and end.opener_pid:
                event = end.other.users.get(end.opener_pid)
                if event:
                    end.holder = Holder(event.pid, escape_comm(event.comm), event.inner_pid, event.cgroup)
                else:
                    end.holder = Holder(end.opener_pid, self._comm(end.opener_pid) or "?")

    def _recall(self, connection: Connection, event: Event) -> None:
        """Fill in a connection that was open before the tracer."""
        known = self._known(event.inode_number) if event.inode_number else None
        if known is None:
            return
        if known.is_server:
            connection.client, connection.server = connection.server, connection.client
            connection.client.role, connection.server.role = "client", "server"
        connection.path = known.path
        connection.pair = known.pair
        this = connection.server if known.is_server else connection.client
        this.holder = known.holder
        this.other.holder = known.other_holder
        this.other.inode_number = known.other_inode_number

    def _add(self, client_sock: int, server_sock: int) -> Connection:
        if len(self._by_sock) >= 2 * MAX_CONNECTIONS:
            self._evict()
        self._generation += 1
        connection = Connection(client_sock, server_sock, self._generation)
        connection.losses = self._losses()
        self.open += 1
        self._by_sock[client_sock] = connection.client
        self._by_sock[server_sock] = connection.server
        return connection

    def _evict(self) -> None:
        """Forget the connection that was seen first."""
        self._forget(next(iter(self._by_sock.values())).connection)
        self.evicted += 1

    def _forget(self, connection: Connection) -> None:
        self.open -= 1
        for endpoint in (connection.client, connection.server):
            self._kept -= min(endpoint.count, _KEPT_OF_ENDPOINT)
            if self._by_sock.get(endpoint.sock) is endpoint:
                del self._by_sock[endpoint.sock]
