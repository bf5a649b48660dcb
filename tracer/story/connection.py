"""Endpoints and the connections they make, while they are open: what stories are made from.

Everything here changes with each record and belongs to `endpoints.py`; what others get is a `Story`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from hangup.tracer.escape import escape_comm
from hangup.tracer.record.layout import SEQPACKET, Event, Heard, History, unpack
from hangup.tracer.selection import Participant
from hangup.tracer.story.process import Process, is_nobodys, leader_of, process_of
from hangup.tracer.story.recall import Omitted, is_transfer

Role = Literal["client", "server"]

# Of an endpoint's operations the first and the last are kept; what was left out between them is counted.
KEPT_FIRST = 12
KEPT_LAST = 28

IDLE = 100_000_000
"""After so long a silence, in ns, a connection on which nothing is owed is idle."""

# A socket that is handed down to one child after the other has no end of users.
MAX_USERS = 64

Kept = Event | bytes
"""An operation as an endpoint keeps it: what nobody has looked at yet is still its record."""


def event_of(kept: Kept) -> Event:
    """Return an operation that was kept."""
    return unpack(kept) if isinstance(kept, bytes) else kept


class Place(NamedTuple):
    """Where an operation is: which end of which connection, and with whom, as far as that is known then."""

    role: Role
    number: int | None
    """The connection's number; None: a failed connect, there is none."""
    path: str | None
    pair: bool
    peer_comm: str | None = None
    """The name of the process at the other end, escaped; None: not known."""
    peer_pid: int | None = None
    """Its process id; None: not known."""


class Endpoint:
    """One socket of a connection, of one generation of its address."""

    __slots__ = (
        "begun",
        "connection",
        "count",
        "ended_receiving",
        "ended_sending",
        "failed",
        "heard",
        "held_up",
        "holder",
        "inode",
        "inode_number",
        "last",
        "last_write_end",
        "last_write_start",
        "late",
        "met_end",
        "named",
        "names",
        "opener_pid",
        "operations",
        "other",
        "peer",
        "place",
        "read_bytes",
        "read_messages",
        "release",
        "role",
        "shutdown_not_kept",
        "silence",
        "sock",
        "tail",
        "task",
        "turn_bytes",
        "turn_start",
        "turns",
        "used_by",
        "users",
        "users_lost",
        "written_bytes",
        "written_messages",
    )

    def __init__(self, connection: Connection, role: Role, sock: int, peer: int) -> None:  # noqa: PLR0915 - one a field
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
        self.other: Endpoint = self
        """The endpoint at the other end, as soon as there is one."""
        self.operations: list[Kept] = []
        """Its first operations (KEPT_FIRST), as they were recorded."""
        self.tail: deque[Kept] | None = None
        """Its last operations (KEPT_LAST) after these."""
        self.count = 0
        """How many operations it has had."""
        self.read_bytes = self.written_bytes = 0
        self.read_messages = self.written_messages = 0
        """How often it has read and written something: of a SOCK_SEQPACKET how many messages, whole or cut off."""
        self.turns = 0
        """How many turns it has had: what it sends until the other end, having been heard, sends."""
        self.turn_start = 0
        """When its last turn's first write began, in ns."""
        self.turn_bytes = 0
        """What it has sent in its last turn."""
        self.heard = 0
        """When it last read anything since its last turn began, in ns; 0: it has not."""
        self.last_write_start = 0
        self.last_write_end = 0
        self.met_end = 0
        """When a read first met the end of what the other end sent, in ns; 0: none has, or it was not kept."""
        self.late = False
        """Whether a write that is kept, and no gap is behind it, was recorded only when some of it had been read."""
        self.held_up = False
        """Whether its last write found no room for all it was to send: what is silent then is not this end's doing."""
        self.silence = 0
        """How long it had been silent, in ns, when it went on with its turn unasked; 0: never so long as IDLE."""
        self.last: Kept | None = None
        """Its last read or write."""
        self.task = self.names = b""
        """Who did that, or made it, as its record has it (`Brief`, tracer/record/layout.py); empty: not known yet."""
        self.named: tuple[str | None, int | None] | None = None
        """What `name` has found, for as long as nobody else uses it."""
        self.place: Place | None = None
        """Where what is done on it is, for as long as nothing of that changes; None: it is to be found."""
        self.ended_receiving: Event | None = None
        """Its first successful shutdown(SHUT_RD or SHUT_RDWR)."""
        self.ended_sending: Event | None = None
        """Its first successful shutdown(SHUT_WR or SHUT_RDWR)."""
        self.shutdown_not_kept = False
        """Whether a shutdown of it had no room in its history, which tells no more than that there was one."""
        self.failed = False
        """Whether it has suffered a failure: only its first one is judged."""
        self.release: Event | None = None
        self.holder: Process | None = None
        """Who is known to hold it though it has not been seen using it."""
        self.users: dict[int, Event] = {}
        """The processes that have been seen using it, the one that released it included: what each did first, by pid,
        MAX_USERS."""
        self.users_lost = False
        """Whether it has had more users than are known."""
        self.begun = False
        """Whether its beginning was recorded: then all that it wrote is counted."""
        self.used_by: frozenset[int] = frozenset()
        """The pids of those who had used it, as its history tells, before somebody else released it."""
        self.opener_pid = 0
        """Who called connect, listen or socketpair for it, as SO_PEERCRED tells the other end; 0: not seen."""

    @property
    def consumed_bytes(self) -> int:
        """How much of what the other end had sent was taken out of its queue, in bytes.

        What a read has no room for of a message of SOCK_SEQPACKET is dropped (unix_dgram_recvmsg()).
        """
        if self.connection.type == SEQPACKET and self.read_messages >= self.other.written_messages:
            return self.other.written_bytes
        return self.read_bytes

    @property
    def kept(self) -> list[Event]:
        """The operations that were kept, in the order they were recorded."""
        return [event_of(kept) for kept in (*self.operations, *(self.tail or ()))]

    @property
    def omitted(self) -> int:
        """How many operations were not kept."""
        return self.count - len(self.operations) - (len(self.tail) if self.tail else 0)

    @property
    def first(self) -> Event | None:
        """The first operation seen of it."""
        return event_of(self.operations[0]) if self.operations else None

    @property
    def last_transfer(self) -> Event | None:
        """Its last read or write."""
        if self.last is None:
            return None
        # Asked for several times when it is told, and once where nothing is.
        last = self.last = event_of(self.last)
        return last

    @property
    def known_by(self) -> Event | None:
        """What its user is known by: its last read or write, else the first operation; None: nothing but its end."""
        event = self.last_transfer or self.first
        return None if event is None or is_nobodys(event) else event

    def find_place(self) -> Place:
        """Return where what is done on it is."""
        connection = self.connection
        return Place(self.role, connection.number, connection.path, connection.pair, *self.other.name)

    @property
    def process(self) -> Process | None:
        """Who uses it: the task of its last read or write, else of what else is known of it; None if nothing is."""
        event = self.known_by
        if event:
            return process_of(event)
        if self.holder:
            return self.holder
        return Process(self.opener_pid, "?") if self.opener_pid else None

    @property
    def name(self) -> tuple[str | None, int | None]:
        """The name and the pid of `process`, each None if it is not known."""
        if self.named is not None:
            return self.named
        event = self.known_by
        if event:
            comm, pid = leader_of(event), event.owner_pid or event.pid
            self.named = None if comm == "?" else comm, pid
            return self.named
        if self.holder:
            comm, pid = self.holder.comm, self.holder.pid
        else:
            return None, self.opener_pid or None
        return None if comm == "?" else comm, pid

    @property
    def comm(self) -> str:
        """The name of the process that uses or holds it; "?" if none is known."""
        event = self.known_by
        if event:
            return leader_of(event)
        return self.holder.comm if self.holder else "?"

    @property
    def pid(self) -> int:
        """The process that uses or holds it; 0 if none is known."""
        event = self.known_by
        if event:
            return event.pid
        return self.holder.pid if self.holder else self.opener_pid

    def participants(self, cgroup_of: Callable[[Process], str | None]) -> Iterator[Participant]:
        """Yield every process, and with its name every thread, known to have used, held or made it.

        cgroup_of: finds the path of a process's cgroup, as `Participant` has it.
        """
        yield Participant(self.pid, self.comm)
        last = self.last_transfer
        for event in [*self.users.values(), last] if last else self.users.values():
            # Of a release by a kernel thread the user and the cgroup are not that one's.
            process = process_of(event)
            yield Participant(event.pid, process.comm, process.uid, cgroup_of(process))
            yield Participant(event.pid, escape_comm(event.comm))
        if self.holder:
            yield Participant(self.holder.pid, self.holder.comm, cgroup=cgroup_of(self.holder))
        if self.opener_pid:
            yield Participant(self.opener_pid, cgroup=cgroup_of(Process(self.opener_pid, "?")))

    def add(self, event: Event) -> bool:
        """Take one operation; return whether it is the first of a process."""
        is_new = event.pid not in self.users and len(self.users) < MAX_USERS and not is_nobodys(event)
        if is_new:
            self.users[event.pid] = event
        if is_new or event.operation <= _WRITE:
            # Who was there before and lets go of it, or shuts it down, is known by the same name after that.
            self.forget_place()
        self.keep(event)
        return is_new

    def before_execution(self, release: Event) -> Event:
        """Return a release by a process that executed another program under the name and user that it had before.

        They are those of its last operation on this end that is kept, else of its first; the release as it is if it had
        none.
        """
        last = next((event for event in reversed(self.kept) if event.pid == release.pid), self.users.get(release.pid))
        if last is None:
            return release
        # What executes is from then on its process's first thread (de_thread()), which has the process's name.
        return release._replace(comm=last.leader, leader=last.leader, uid=last.uid, gid=last.gid)

    def keep(self, operation: Kept) -> None:
        """Keep one operation, if it is among the first or until it is not among the last any more."""
        self.count += 1
        if self.tail is not None:
            self.tail.append(operation)
        elif len(self.operations) < KEPT_FIRST:
            self.operations.append(operation)
        else:
            self.tail = deque((operation,), maxlen=KEPT_LAST)

    def forget_place(self) -> None:
        """Look anew who is at either end, and of which connection."""
        self.named = self.place = self.other.place = None

    def when_begun(self, write: Event) -> int:
        """Return when a write had begun that this end is to take next, in ns.

        Where only its end was recorded and it waited for room, the other end may have read of it, and answered, before
        that. A stream is first in, first out: whoever has read more than was written till now has read of this one.
        """
        written, other = self.written_bytes, self.other
        if write.start < write.end or other.read_bytes <= written or not self.begun or self.connection.overlapping:
            return write.start
        self.late = True
        tail = [event_of(kept) for kept in other.tail or ()]
        read = 0
        for event in map(event_of, other.operations):
            read += _taken(event)
            if read > written:
                return min(write.end, event.end) - 1
        read = other.read_bytes - sum(map(_taken, tail))
        for event in tail:
            # What was read before these, and is not kept, had been read when the first of them ended.
            if read > written:
                return min(write.end, tail[0].end) - 1
            read += _taken(event)
            if read > written:
                return min(write.end, event.end) - 1
        return write.start

    def wrote(self, start: int, end: int, size: int) -> None:
        """Take a write that sent something: it goes on with this end's turn, or begins the next one.

        A turn ends when the other end has begun one that this end has read something of. Records of the two ends come
        in any order that causes allow: if the other end has written since this one began to, it has answered already.
        """
        self.written_bytes += size
        other = self.other
        if not self.turns or (self.heard and other.turn_start > self.turn_start):
            self.turns += 1
            self.turn_start = start
            self.turn_bytes = size
            if self.heard <= start:
                self.heard = 0
            self.silence = 0
            if other.turns and other.turn_start < start < other.last_write_start:
                other._answered(start)
        else:
            self.turn_bytes += size
            if start - self.last_write_end >= IDLE and not self.held_up:
                self.silence = start - self.last_write_end
        self.last_write_start = start
        self.last_write_end = end

    def omit(self, gap: Omitted) -> None:
        """Take what was not kept one by one."""
        self.count += gap.operations
        # What follows belongs to the last operations, however few the first ones were.
        self.tail = deque(maxlen=KEPT_LAST)
        self.late = False
        self.read_bytes += gap.read_bytes
        self.read_messages += gap.reads
        self.written_bytes += gap.written_bytes
        self.written_messages += gap.writes
        if gap.reads:
            self.heard = gap.when
        if gap.writes:
            self.turns = max(self.turns, 1)
            self.last_write_start = self.last_write_end = gap.when
            # Some time before: what is kept of the other end may have been answered by then.
            self.turn_start = gap.turn_start or gap.when - 1
            self.turn_bytes = gap.turn_bytes
            # How these went is not known.
            self.held_up = False
            self.silence = 0

    def recall(self, history: History, *, are_turns_known: bool) -> None:
        """Take the kernel's word for what it alone has seen: how many turns there were, and if so whose turn it was."""
        if not history.turns:
            return
        self.turns = history.turns
        if are_turns_known:
            if history.turn_start > self.turn_start:
                # Till now the first writes of this turn stood for more of the one before.
                self.silence = self._silence_since(history.turn_start)
            self.turn_start = history.turn_start
            # The kernel adds these up without regard for another thread that writes in the same instant.
            self.turn_bytes = self.written_bytes if history.turns == 1 else history.turn_bytes
            self.heard = history.last_use if history.heard & Heard.SINCE else 0
        if self.last_write_end != history.last_write:
            self.last_write_start = self.last_write_end = history.last_write

    def _silence_since(self, turn_start: int) -> int:
        """Return how long it was silent when it went on with a turn unasked, in ns; 0: never so long as IDLE.

        turn_start: when the turn's first write had ended, in ns: it is among those that are kept.
        """
        silence, last_end, held_up = 0, 0, False
        for event in self.kept:
            if event.operation != _WRITE or event.end < turn_start:
                continue
            if event.result > 0:
                if last_end and event.start - last_end >= IDLE and not held_up:
                    silence = event.start - last_end
                last_end = event.end
                held_up = event.result < event.size
            else:
                held_up = bool(event.size)
        return silence

    def _answered(self, request: int) -> None:
        """Begin a turn with what was written after this end had read a request that is recorded only now.

        request: when that request's write began, in ns. What is not kept any more is left in the turn before.
        """
        kept = [event for event in self.kept if event.result > 0]
        reads = [event for event in kept if event.operation == _READ and event.end > request]
        if not reads:
            return
        heard = min(event.start for event in reads)
        writes = [event for event in kept if event.operation == _WRITE and event.start > max(heard, request)]
        if not writes:
            return
        self.turns += 1
        self.turn_start = min(event.start for event in writes)
        self.turn_bytes = sum(event.result for event in writes)
        self.silence = 0
        self.heard = max((event.end for event in reads if event.end > self.turn_start), default=0)


class Connection:
    """Two endpoints: the client called connect and the server came out of accept, or they are a socketpair."""

    __slots__ = (
        "__weakref__",
        "client",
        "complete",
        "connect",
        "guessed",
        "looked_at",
        "number",
        "overlapping",
        "pair",
        "path",
        "server",
        "type",
    )

    def __init__(self, client_sock: int, server_sock: int, number: int) -> None:
        self.client = Endpoint(self, "client", client_sock, server_sock)
        self.server = Endpoint(self, "server", server_sock, client_sock)
        self.client.other, self.server.other = self.server, self.client
        self.number = number
        """Tells this connection from all others of a run, those of the same addresses included; the kernel gave it."""
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
        self.overlapping = False
        """Whether operations of an end ended in the same instant, and the kernel kept one in another's place."""
        self.guessed = False
        """Whether whose turn it was is reckoned from the operations that are kept, and some are not."""
        self.looked_at = 0
        """How many operations it had had when it was last looked at for being the least recently used."""

    @property
    def operations(self) -> int:
        """How many operations both ends have had."""
        return self.client.count + self.server.count

    def is_used(self) -> bool:
        """Whether it has had more operations than when this was asked last."""
        before, self.looked_at = self.looked_at, self.operations
        return self.looked_at != before

    @property
    def start(self) -> int:
        """When it began, in ns of CLOCK_MONOTONIC: the connect's start, else the first thing seen of it."""
        if self.connect:
            return self.connect.start
        starts = [end.first.start for end in (self.client, self.server) if end.first]
        return min(starts, default=0)

    @property
    def failed(self) -> bool:
        """Whether an end has suffered a failure."""
        return self.client.failed or self.server.failed

    def left_unread(self, *, exact: bool) -> bool:
        """Whether the end that went first left bytes unread; exact: every byte of both ends has been recorded."""
        first, second = self.client, self.server
        if first.release is None or (second.release is not None and second.release.start < first.release.start):
            first, second = second, first
        if first.release is None:
            return False
        return bool(first.release.unread_bytes) or (exact and second.written_bytes > first.read_bytes)

    @property
    def requester(self) -> Endpoint | None:
        """The end whose turns want an answer: the client; of a socketpair the end that wrote first, None if none did.

        What one end owes the other is an answer to a request. That a client closes after an answer is how most
        connections end: nobody answers an answer.
        """
        client, server = self.client, self.server
        if not self.pair:
            return client
        if client.turns != server.turns:
            # A turn follows one of the other end's (wrote()): whoever began has had one more, or else as many.
            return client if client.turns > server.turns else server
        if not client.turns:
            return None
        return client if client.turn_start <= server.turn_start else server

    def swap(self) -> None:
        """Take the client for the server: what was seen first did not say which is which."""
        self.client, self.server = self.server, self.client
        self.client.role, self.server.role = "client", "server"
        self.client.forget_place()


def _taken(event: Event) -> int:
    """Return how many bytes an operation took out of its end's queue."""
    return event.result if is_transfer(event, _READ) else 0


# enum operation_type, bpf/record.h: plain numbers, an IntEnum's comparison costs more.
_READ, _WRITE = 4, 5
