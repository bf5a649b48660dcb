"""Which connections were open at a time, by what a capture tells: what `hangup peers -r` lists."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hangup.cli.clock import local
from hangup.tracer.capture.format import Told
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.standing import Standing
from hangup.tracer.clocks import Clocks
from hangup.tracer.errors import HangupError
from hangup.tracer.host.inventory import Connection, Holder, Socket, State
from hangup.tracer.record.facts import HostFact, ProcessFact, SocketFact, unpack_fact
from hangup.tracer.record.layout import SEQPACKET, RecordType, SocketFlag, time_of, type_of
from hangup.tracer.record.runs import Runs
from hangup.tracer.story import connection as told
from hangup.tracer.story.endpoints import Endpoints
from hangup.tracer.story.known import MAX_SOCKETS, Known
from hangup.tracer.story.process import Process, process_of

# By shutdown(2): no more is received, no more is sent.
_RECEIVES_NO_MORE, _SENDS_NO_MORE = 1, 2

# A pipe is waited for as long as it takes, but it is seen to other things so often, in seconds.
_PATIENCE = 0.1

_DAY = 86_400 * 10**9

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class WrongTimeError(ValueError):
    """A text is no time."""


class Recorded(NamedTuple):
    """What was open."""

    connections: list[Connection]
    listeners: list[Socket]
    is_partial: bool
    """Whether the capture has only what went wrong: of the others what was open at its beginning is all it knows."""
    ended: str | None = None
    """When the capture ends, by local time, if that is before the moment that was asked for."""


class Moment:
    """A time as somebody asks for it: of the wall clock, or so long after a capture begins."""

    def __init__(self, text: str) -> None:
        """Read it: +30s, 10:15:00, 2026-01-31 10:15:00.5, local time. Raises WrongTimeError."""
        try:
            self._read(text)
        except ValueError:
            raise WrongTimeError(f"{text!r} is not a time") from None

    def _read(self, text: str) -> None:
        self._after: int | None = None
        self._wall: int | None = None
        self._time_of_day = ""
        if found := re.fullmatch(r"\+(\d{1,9}(?:\.\d{1,9})?)([smh]?)", text):
            self._after = round(float(found[1]) * _SECONDS[found[2]] * 10**9)
        elif re.fullmatch(r"\d\d:\d\d:\d\d(\.\d{1,9})?", text):
            self._time_of_day = text
            _nanoseconds(f"2000-01-01 {text}")
        else:
            self._wall = _nanoseconds(text.replace("T", " "))

    def is_over(self, begin: int, clocks: Clocks) -> Callable[[int], bool]:
        """Return what says of a time whether it is later; begin: of the capture. Both in ns of CLOCK_MONOTONIC."""
        if self._after is not None:
            last = begin + self._after
            return lambda when: when > last
        return _is_after(self.wall(clocks.wall(begin)), clocks)

    def wall(self, began: int) -> int:
        """Return which time of the wall clock is meant, in ns; began: when the capture begins, by the same."""
        if self._wall is not None:
            return self._wall
        if self._after is not None:
            return began + self._after
        # A capture that goes on after midnight.
        return self._on_the_day(began) + (_DAY if self.is_of_next_day(began) else 0)

    def is_of_next_day(self, began: int) -> bool:
        """Whether a time of day is meant for the day after a capture began, at a time of the wall clock in ns."""
        return bool(self._time_of_day) and self._on_the_day(began) < began

    def _on_the_day(self, began: int) -> int:
        return _nanoseconds(f"{_day(began)} {self._time_of_day}")


def _day(wall: int) -> str:
    """Return the local date of a time of the wall clock."""
    return local(wall, "%Y-%m-%d").split(".")[0]


def _is_after(wall: int, clocks: Clocks) -> Callable[[int], bool]:
    return lambda when: clocks.wall(when) > wall


class _Limit:
    """How far a capture is read: to its end, or to a moment in it."""

    def __init__(self, moment: Moment | None, clocks: Clocks) -> None:
        self._moment = moment
        self._clocks = clocks
        self._is_over: Callable[[int], bool] | None = None
        # By the wall clock: the moment, and when the capture begins.
        self._meant = self._began = 0

    @property
    def is_to_begin(self) -> bool:
        """Whether it is yet to be found out when the capture begins."""
        return self._moment is not None and self._is_over is None

    def begin(self, when: int) -> None:
        """Take it that the capture begins at a time in ns of CLOCK_MONOTONIC.

        Raises HangupError if the moment is earlier.
        """
        assert self._moment is not None
        self._began = self._clocks.wall(when)
        self._meant = self._moment.wall(self._began)
        self._is_over = self._moment.is_over(when, self._clocks)
        if self._is_over(when):
            raise self._begins_later()

    def begin_run(self) -> None:
        """Take it that another run begins: by the wall clock alone its times can be compared with the moment."""
        if self._is_over is not None:
            self._is_over = _is_after(self._meant, self._clocks)

    def is_before(self, wall: int) -> bool:
        """Whether the moment is before a time of the wall clock, in ns."""
        return self._is_over is not None and self._meant < wall

    def earlier(self, records: list[bytes]) -> list[bytes]:
        """Return those of some records that are not later than the moment."""
        is_over = self._is_over
        return records if is_over is None else [data for data in records if not is_over(time_of(data))]

    def end(self, last: int) -> None:
        """Take it that the capture ends at a time in ns of CLOCK_MONOTONIC.

        Raises HangupError if the moment is before its beginning.
        """
        if self._moment is None or self._is_over is None:
            return
        is_of_one_day = _day(self._began) == _day(self._clocks.wall(last))
        if is_of_one_day and self._moment.is_of_next_day(self._began):
            # It does not go on after midnight, so that the day on which it began was meant.
            raise self._begins_later()

    def is_after(self, last: int) -> bool:
        """Whether the moment is later than the last time that was read, in ns of CLOCK_MONOTONIC."""
        return self._is_over is not None and not self._is_over(last)

    def _begins_later(self) -> HangupError:
        return HangupError(f"the capture begins later than that, at {local(self._began)}", "name a time within it")


def open_at(source: FileSource, moment: Moment | None, after_batch: Callable[[], None] = lambda: None) -> Recorded:
    """Return what was open at a moment, or at the end of a capture; after_batch: is called now and then meanwhile.

    Raises HangupError if the capture cannot be read, or begins later.
    """
    reading = _Reading()
    limit = _Limit(moment, reading.clocks)
    last = 0
    told_again = Standing(most=MAX_SOCKETS)
    is_after_gap = False
    while not source.drained:
        records = source.read(_PATIENCE)
        after_batch()
        if not records:
            continue
        if source.told is not Told.FIRST:
            # It is older than the file: when that begins is known by what comes next.
            told_again.learn(records)
            is_after_gap = is_after_gap or source.told is Told.AGAIN_AFTER_GAP
            continue
        begin = time_of(records[0])
        again = told_again.records()
        first = (again or records)[0]
        host = reading.begun_by(first)
        if host is not None or is_after_gap:
            if limit.is_before(reading.clocks.wall(begin) if host is None else host.wall + begin - host.monotonic):
                # In between nobody knows what was open: it is told how it was last.
                break
            reading.let_go()
            reading.take([first])
            last, is_after_gap = 0, False
            if host is not None:
                limit.begin_run()
        if again:
            reading.take(limit.earlier(again))
            told_again = Standing(most=MAX_SOCKETS)
        if limit.is_to_begin:
            # It may tell of the clocks.
            reading.take(records[:1])
            limit.begin(begin)
            last, records = begin, records[1:]
        earlier = limit.earlier(records)
        reading.take(earlier)
        last = max(last, max(map(time_of, records), default=0))
        if records and not earlier:
            break
    else:
        reading.take(told_again.records())
        limit.end(last)
    ended = local(reading.clocks.wall(last)) if limit.is_after(last) else None
    return Recorded(list(reading.connections()), list(reading.listeners()), reading.is_partial, ended)


class _Reading:
    """What has been told till now."""

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.is_partial = False
        self._known = Known()
        self._runs, self._runs_taken = Runs(), Runs()
        self._standing = Standing(most=MAX_SOCKETS)
        self._endpoints = Endpoints(self._known, on_other=self._take_fact)

    def take(self, records: list[bytes]) -> None:
        self._standing.learn(records)
        for _ in self._endpoints.feed(records):
            # How connections went is not asked.
            pass

    def let_go(self) -> None:
        """Forget what was open and known: something was recorded that cannot be read."""
        self._endpoints.let_go()
        self._known.forget()
        self._standing = Standing(most=MAX_SOCKETS)

    def begun_by(self, record: bytes) -> HostFact | None:
        """Return what a record tells of the host if another run begins with it, which has not been taken yet."""
        host = unpack_fact(record) if type_of(record) == RecordType.HOST else None
        return host if isinstance(host, HostFact) and self._runs.is_another(host) else None

    def _take_fact(self, record: bytes) -> None:
        fact = unpack_fact(record)
        if isinstance(fact, HostFact):
            if self._runs_taken.is_another(fact):
                self._endpoints.let_go()
                self._known.forget()
                self.clocks.forget()
            self.clocks.take(fact)
            self.is_partial = fact.recording
        elif isinstance(fact, ProcessFact | SocketFact):
            self._known.take(fact)

    def connections(self) -> Iterator[Connection]:
        """Yield the connections that are open; last those that nobody has used since the capture began."""
        for _ in self._endpoints.settle():
            # What was learnt last may still wait for that.
            pass
        seen: set[int] = set()
        for connection in self._endpoints.open_connections():
            seen.update((connection.client.inode_number, connection.server.inode_number))
            yield self._connection(connection)
        sockets = {
            fact.inode_number: fact
            for fact in self._facts()
            if not fact.flags & SocketFlag.LISTENER and fact.inode_number not in seen
        }
        for number, fact in sockets.items():
            if number not in seen:
                seen.update((number, fact.peer_inode_number))
                yield self._older(fact, sockets.get(fact.peer_inode_number))

    def listeners(self) -> Iterator[Socket]:
        """Yield the sockets that listen, as far as that was told."""
        for fact in self._facts():
            if fact.flags & SocketFlag.LISTENER:
                yield Socket(fact.inode_number, None, fact.path, None, "listening", fact.waiting, fact.backlog, 0)

    def _facts(self) -> Iterator[SocketFact]:
        for record in self._standing.records():
            fact = unpack_fact(record)
            if isinstance(fact, SocketFact):
                yield fact

    def _connection(self, connection: told.Connection) -> Connection:
        client, server = connection.client, connection.server
        # Nobody can have used what has not been accepted.
        is_accepted = not connection.complete or connection.pair or bool(server.count)
        state: State = "open" if is_accepted else "not accepted"
        if client.release is not None or server.release is not None:
            state = "hung up"
        return Connection(
            None if client.release else self._socket(client),
            self._socket(server) if is_accepted and not server.release else None,
            connection.path,
            state,
            pair=connection.pair,
        )

    def _socket(self, end: told.Endpoint) -> Socket:
        connection, other = end.connection, end.other
        shutdown = _RECEIVES_NO_MORE if end.ended_receiving or other.ended_sending else 0
        shutdown |= _SENDS_NO_MORE if end.ended_sending or other.ended_receiving else 0
        unread = other.written_bytes - end.consumed_bytes if connection.complete else 0
        path = connection.path if end.role == "server" and not connection.pair else None
        return Socket(
            end.inode_number,
            other.inode_number or None,
            path,
            "seqpacket" if connection.type == SEQPACKET else "stream",
            "established",
            max(unread, 0),
            0,
            0,
            tuple(self._holders(end)),
            shutdown,
        )

    def _holders(self, end: told.Endpoint) -> Iterator[Holder]:
        descriptors = {event.pid: event.descriptor for event in end.kept if event.descriptor >= 0}
        for pid, event in end.users.items():
            yield self._holder(process_of(event), descriptors.get(pid))
        if not end.users and end.process:
            yield self._holder(end.process, None)

    def _holder(self, process: Process, descriptor: int | None) -> Holder:
        placed = self._known.placed(process) or process
        return Holder(placed.pid, placed.comm, placed.uid, descriptor, placed.inner_pid, placed.cgroup)

    def _older(self, fact: SocketFact, other: SocketFact | None) -> Connection:
        ends = {bool(each.flags & SocketFlag.SERVER): self._older_socket(each) for each in (fact, other) if each}
        # Of a survivor whose other end had gone before nobody knows whether it is one.
        pair = bool(fact.flags & SocketFlag.PAIR and fact.peer_inode_number)
        if pair and other:
            return Connection(self._older_socket(fact), self._older_socket(other), fact.path, "open", pair=pair)
        return Connection(ends.get(False), ends.get(True), fact.path, "open" if other else "hung up", pair=pair)

    def _older_socket(self, fact: SocketFact) -> Socket:
        path = fact.path if fact.flags & SocketFlag.SERVER else None
        holders = tuple(self._holder(self._known.process(pid, fact.when), None) for pid in fact.holders)
        return Socket(fact.inode_number, fact.peer_inode_number or None, path, None, "established", 0, 0, 0, holders)


def _nanoseconds(text: str) -> int:
    """Return a local time of day, with its date, in ns since 1970. Raises ValueError."""
    whole, _, fraction = text.partition(".")
    try:
        seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")))
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if fraction and not re.fullmatch(r"\d{1,9}", fraction):
        raise ValueError(f"no part of a second: {fraction!r}")
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)
