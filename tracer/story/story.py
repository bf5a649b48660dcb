"""The story of one connection: both endpoints in one value that never changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hangup.tracer.record.layout import Event, Operation
from hangup.tracer.story.connection import Connection, Endpoint, Place, Role
from hangup.tracer.story.identity import Changes, Told
from hangup.tracer.story.process import Process, process_of


class Moment(NamedTuple):
    """One operation in the timeline of a connection."""

    when: int
    """When it took effect, in ns of CLOCK_MONOTONIC."""
    role: Role
    event: Event


class Gap(NamedTuple):
    """Operations of an end, one after the other, that were not kept."""

    after: int
    """How many of its operations that were kept were before them."""
    operations: int
    """How many they are."""


class Traced(NamedTuple):
    """One operation as it is traced, and where it was."""

    event: Event
    place: Place
    payload: bytes = b""
    """The first bytes that it read, wrote or was to write, as far as they were recorded (`snaplen`)."""

    @property
    def role(self) -> Role:
        """Whose end it was on."""
        return self.place.role


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection, as far as it was seen."""

    role: Role
    sock: int
    """Kernel address of its struct sock."""
    inode: int
    """Kernel address of its struct inode; 0: not seen."""
    inode_number: int
    """Its inode number, as ss, lsof and /proc show it; 0: not seen."""
    process: Process | None
    """Who used it last, or else is known to hold it; None: nobody is known."""
    users: tuple[Process, ...]
    """Everybody seen using it, the one that released it included, in order."""
    transferred_by: frozenset[int]
    """The pids of those whose reads and writes are in the timeline."""
    written_bytes: int
    read_bytes: int
    operations: int
    """How many it has had."""
    gaps: tuple[Gap, ...]
    """Which of them are not in the timeline: between the first and the last ones, but for one that failed there."""
    release: Event | None
    ended_receiving: Event | None
    """Its first shutdown(SHUT_RD or SHUT_RDWR)."""
    ended_sending: Event | None
    """Its first shutdown(SHUT_WR or SHUT_RDWR)."""
    shutdown_not_kept: bool
    """Whether it had been shut down by one of which only that is known: it is none of these two."""

    @property
    def operations_not_kept(self) -> int:
        """How many of its operations are not in the timeline."""
        return sum(gap.operations for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Story:
    """One connection, from its first operation that was seen to the last one till now."""

    number: int
    """Tells it from all others of a run."""
    path: str | None
    """The listener's address, escaped, an abstract name as @name; None: none or not known."""
    type: int
    """SOCK_STREAM 1 or SOCK_SEQPACKET 5."""
    pair: bool
    """Whether it is a socketpair: then "client" is the first of the two."""
    complete: bool
    """Whether its beginning was recorded: then nothing of it came earlier."""
    guessed: bool
    """Whether whose turn it was is reckoned from the operations that are kept, and some are not."""
    overlapping: bool
    """Whether operations of an end ended in the same instant, so that one of them is only counted."""
    start: int
    """When it began, in ns of CLOCK_MONOTONIC."""
    client: End
    server: End
    timeline: tuple[Moment, ...]
    """Both ends' operations, as far as they were kept, in the order in which they took effect."""
    identity: Told
    """Who its processes were before, and have become since."""

    def end(self, role: Role) -> End:
        """Return the end of a role."""
        return self.client if role == "client" else self.server

    def other(self, role: Role) -> End:
        """Return the end at the other end of a role."""
        return self.server if role == "client" else self.client

    @property
    def operations(self) -> int:
        """How many operations both ends have had."""
        return self.client.operations + self.server.operations

    @property
    def hangup(self) -> Moment | None:
        """The release of the end that went first, if one has gone."""
        releases = [
            Moment(end.release.start, end.role, end.release) for end in (self.client, self.server) if end.release
        ]
        return min(releases, key=lambda moment: moment.when, default=None)


def tell(
    connection: Connection, failed: Event | None = None, number: int = 0, *, changes: Changes | None = None
) -> Story:
    """Return the story of a connection as it stands now.

    failed: the operation that failed: it is in the timeline even if so much came after it that it was not kept. number:
    which one of its end's that was, counted from 1. changes: what is known of who its processes were, and are; None:
    nothing.
    """
    users = (*connection.client.users.values(), *connection.server.users.values())
    return Story(
        connection.number,
        connection.path,
        connection.type,
        connection.pair,
        connection.complete,
        connection.guessed,
        connection.overlapping,
        connection.start,
        _end(connection.client, failed, number),
        _end(connection.server, failed, number),
        _timeline(connection, failed),
        (changes or Changes()).told(users, connection.start),
    )


def _kept(endpoint: Endpoint, failed: Event | None) -> list[Event]:
    """Return the operations of an end that are told: those that were kept, and the one that failed."""
    kept = endpoint.kept
    # What is a symptom was looked at when it came, and is kept as the event that it is.
    if failed is not None and failed.sock == endpoint.sock and all(event is not failed for event in kept):
        first = len(endpoint.operations)
        return [*kept[:first], failed, *kept[first:]]
    return kept


def _gaps(endpoint: Endpoint, told: int, number: int) -> Iterator[Gap]:
    """Yield what is not told of an end, of which so many operations are; number: which one of them failed."""
    first, omitted = len(endpoint.operations), endpoint.omitted
    # The one that failed is told also where it was not kept, and has others on either side of it.
    before = number - first - 1 if told > len(endpoint.kept) else omitted
    if before > 0:
        yield Gap(first, before)
    if omitted - 1 > before:
        yield Gap(first + 1, omitted - 1 - before)


def _end(endpoint: Endpoint, failed: Event | None, number: int) -> End:
    kept = _kept(endpoint, failed)
    return End(
        endpoint.role,
        endpoint.sock,
        endpoint.inode,
        endpoint.inode_number,
        endpoint.process,
        tuple(process_of(event) for event in endpoint.users.values()),
        frozenset(event.pid for event in kept if event.operation in _TRANSFERS),
        endpoint.written_bytes,
        endpoint.read_bytes,
        endpoint.count,
        tuple(_gaps(endpoint, len(kept), number)),
        endpoint.release,
        endpoint.ended_receiving,
        endpoint.ended_sending,
        endpoint.shutdown_not_kept,
    )


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


def _timeline(connection: Connection, failed: Event | None) -> tuple[Moment, ...]:
    """Return both endpoints' operations, as far as they were kept, merged by cause."""
    moments = [
        Moment(effect(event), endpoint.role, event)
        for endpoint in (connection.client, connection.server)
        for event in _kept(endpoint, failed)
    ]
    # Of equal times: what makes others possible goes first.
    moments.sort(key=lambda moment: (moment.when, moment.event.operation not in _BEGINNINGS, moment.event.end))
    return tuple(moments)


_TRANSFERS = (Operation.READ, Operation.WRITE)
_BEGINNINGS = (Operation.CONNECT, Operation.ACCEPT, Operation.SOCKETPAIR)
