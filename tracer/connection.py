"""Endpoints and the connections they make: what is known of each, as the story's raw material."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from hangup.tracer.cgroups import Cgroup
from hangup.tracer.escape import escape_comm
from hangup.tracer.record import Event, Operation

if TYPE_CHECKING:
    from hangup.tracer.statistics import Row

Role = Literal["client", "server"]

# Of a connection's operations the first and the last are kept; what was left out between them is counted.
KEPT_FIRST = 12
KEPT_LAST = 28

# A socket that is handed down to one child after the other has no end of users.
MAX_USERS = 64


class Process(NamedTuple):
    """Who did something, as the kernel had it at that instant. `comm` is escaped (tracer/escape.py)."""

    pid: int
    tid: int
    uid: int
    gid: int
    comm: str
    inner_pid: int
    """Its pid in its own pid namespace: what it is called inside its container."""
    cgroup_id: int
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


class Holder(NamedTuple):
    """A process that is known to hold an endpoint though it has not been seen using it."""

    pid: int
    comm: str
    inner_pid: int | None = None
    """None: not known, or not looked up; the rest as in `Process`."""
    cgroup_id: int = 0
    cgroup: Cgroup | None = None

    @property
    def unit(self) -> str | None:
        """Its systemd unit, see `Cgroup.unit`."""
        return self.cgroup.unit if self.cgroup else None

    @property
    def container(self) -> str | None:
        """Its container's name or short id."""
        return self.cgroup.container if self.cgroup else None


class Endpoint:
    """One socket of a connection, of one generation of its address."""

    __slots__ = (
        "connection",
        "count",
        "ended_receiving",
        "ended_sending",
        "holder",
        "inode",
        "inode_number",
        "last_transfer",
        "opener_pid",
        "operations",
        "peer",
        "read_bytes",
        "release",
        "role",
        "sock",
        "tail",
        "users",
        "written_bytes",
    )

    def __init__(self, connection: Connection, role: Role, sock: int, peer: int) -> None:
        self.connection = connection
        self.role: Role = role
        self.sock = sock
        """Kernel address of its struct sock."""
        self.peer = peer
        """Kernel address of the other endpoint's struct sock."""
        self.inode = 0
        """Kernel address of its struct inode; 0: not seen."""
        self.inode_number = 0
        """Its inode number, as ss, lsof and /proc show it; 0: not seen."""
        self.operations: list[Event] = []
        """Its first operations (KEPT_FIRST), as they were recorded."""
        self.tail: deque[Event] | None = None
        """Its last operations (KEPT_LAST) after these."""
        self.count = 0
        """How many operations it has had."""
        self.read_bytes = 0
        self.written_bytes = 0
        self.last_transfer: Event | None = None
        """Its last read or write."""
        self.ended_receiving: Event | None = None
        """Its first successful shutdown(SHUT_RD or SHUT_RDWR)."""
        self.ended_sending: Event | None = None
        """Its first successful shutdown(SHUT_WR or SHUT_RDWR)."""
        self.release: Event | None = None
        self.holder: Holder | None = None
        self.users: dict[int, Event] = {}
        """The processes that have been seen using it, the one that released it included: what each did first, by pid,
        MAX_USERS."""
        self.opener_pid = 0
        """Who called connect, listen or socketpair for it, as SO_PEERCRED tells the other end; 0: not seen."""

    @property
    def other(self) -> Endpoint:
        """The endpoint at the other end."""
        connection = self.connection
        return connection.server if self is connection.client else connection.client

    @property
    def kept(self) -> list[Event]:
        """The operations that were kept, in the order they were recorded."""
        return [*self.operations, *self.tail] if self.tail else self.operations

    @property
    def omitted(self) -> int:
        """How many operations were not kept."""
        return self.count - len(self.operations) - (len(self.tail) if self.tail else 0)

    @property
    def first(self) -> Event | None:
        """The first operation seen of it."""
        return self.operations[0] if self.operations else None

    @property
    def process(self) -> Process | None:
        """Who uses it: the task of its last read or write, else of what else is known of it; None if nothing is."""
        event = self.last_transfer or self.first
        return process_of(event) if event else None

    @property
    def comm(self) -> str:
        """The name of the process that uses or holds it; "?" if none is known."""
        event = self.last_transfer or self.first
        if event:
            return escape_comm(event.comm)
        return self.holder.comm if self.holder else "?"

    @property
    def pid(self) -> int:
        """The process that uses or holds it; 0 if none is known."""
        event = self.last_transfer or self.first
        if event:
            return event.pid
        return self.holder.pid if self.holder else self.opener_pid

    def processes(self) -> Iterator[tuple[int, str | None]]:
        """Yield pid and comm of every process that is known to have used, held or made it."""
        yield self.pid, self.comm
        for pid, event in self.users.items():
            yield pid, escape_comm(event.comm)
        if self.holder:
            yield self.holder.pid, self.holder.comm
        if self.opener_pid:
            yield self.opener_pid, None

    def add(self, event: Event) -> bool:
        """Take one operation; return whether it is the first of a process."""
        self.count += 1
        is_new = event.pid not in self.users and len(self.users) < MAX_USERS
        if is_new:
            self.users[event.pid] = event
        if len(self.operations) < KEPT_FIRST:
            self.operations.append(event)
        else:
            if self.tail is None:
                self.tail = deque(maxlen=KEPT_LAST)
            self.tail.append(event)
        return is_new


class Connection:
    """Two endpoints: the client called connect and the server came out of accept, or they are a socketpair."""

    __slots__ = (
        "client",
        "complete",
        "connect",
        "counted",
        "failed",
        "generation",
        "losses",
        "pair",
        "path",
        "row",
        "server",
        "type",
    )

    def __init__(self, client_sock: int, server_sock: int, generation: int) -> None:
        self.client = Endpoint(self, "client", client_sock, server_sock)
        self.server = Endpoint(self, "server", server_sock, client_sock)
        self.generation = generation
        """Tells this connection from earlier and later ones of the same addresses; it counts up by one."""
        self.path: str | None = None
        """The listener's address, escaped, an abstract name as @name; None: none or not known."""
        self.type = 0
        """SOCK_STREAM 1 or SOCK_SEQPACKET 5."""
        self.pair = False
        """Whether it is a socketpair: then "client" is the first of the two."""
        self.connect: Event | None = None
        """The record of the connect or the socketpair."""
        self.complete = False
        """Whether its beginning was recorded: then nothing of it came earlier."""
        self.losses = 0
        """How many records had been lost, at the least, when it began."""
        self.failed: Event | None = None
        """The first broken write or reset read."""
        self.row: Row | None = None
        """Where it was counted when it failed."""
        self.counted = 0
        """How many of its operations have been counted there."""

    @property
    def operations(self) -> int:
        """How many operations both ends have had."""
        return self.client.count + self.server.count

    @property
    def start(self) -> int:
        """When it began, in ns of CLOCK_MONOTONIC: the connect's start, else the first thing seen of it."""
        if self.connect:
            return self.connect.start
        starts = [event.start for end in (self.client, self.server) for event in end.operations[:1]]
        return min(starts, default=0)

    @property
    def hangup(self) -> Event | None:
        """The release of the endpoint that went first, if one has gone."""
        releases = [end.release for end in (self.client, self.server) if end.release]
        return min(releases, key=lambda event: event.start, default=None)


def process_of(event: Event) -> Process:
    """Return who did an operation."""
    comm = escape_comm(event.comm)
    return Process(event.pid, event.tid, event.uid, event.gid, comm, event.inner_pid, event.cgroup)


class Moment(NamedTuple):
    """One operation in the timeline of a connection."""

    when: int
    """When it took effect, in ns of CLOCK_MONOTONIC."""
    endpoint: Endpoint
    event: Event


def effect(event: Event) -> int:
    """Return when an operation took effect, in ns: what orders a story by cause.

    A write is there for the reader from its start on; a read has what was written by its end. A failed write, though,
    may have started long before the hang-up that broke it. A connect, a shutdown and a release have their effect before
    they return: a server may have accepted, answered and hung up by then.
    """
    if event.operation == Operation.WRITE:
        return event.start if event.result >= 0 else event.end
    if event.operation in (Operation.CONNECT, Operation.SHUTDOWN, Operation.RELEASE):
        return event.start
    return event.end


def timeline(connection: Connection) -> list[Moment]:
    """Return both endpoints' operations, as far as they were kept, merged by cause."""
    moments = [
        Moment(effect(event), endpoint, event)
        for endpoint in (connection.client, connection.server)
        for event in endpoint.kept
    ]
    # Of equal times: what makes others possible goes first.
    moments.sort(key=lambda moment: (moment.when, moment.event.operation not in _BEGINNINGS, moment.event.end))
    return moments


_BEGINNINGS = (Operation.CONNECT, Operation.ACCEPT, Operation.SOCKETPAIR)
