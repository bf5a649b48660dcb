"""What became of the one who was hurt: its operations after its failure, for a tenth of a second at the most."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.record.layout import DIED, Event, Operation, thread_of
from hangup.tracer.story.connection import Connection, Endpoint
from hangup.tracer.story.exchange import Exchange, exchange_of
from hangup.tracer.story.symptom import Symptom

WAIT = 100_000_000
"""How long an end is watched after its failure, in ns."""

_CONNECT = int(Operation.CONNECT)
_RELEASE = int(Operation.RELEASE)


class Aftermath:
    """A failure of one end, with what that end does next."""

    __slots__ = (
        "before",
        "connection",
        "endpoint",
        "exchange",
        "failed",
        "later",
        "number",
        "operations",
        "reconnect",
        "settled",
        "symptom",
        "thread",
    )

    def __init__(self, endpoint: Endpoint, failed: Event, symptom: Symptom) -> None:
        self.connection: Connection = endpoint.connection
        self.endpoint = endpoint
        """The end that was hurt."""
        self.failed = failed
        self.number = endpoint.count
        """Which of the end's operations that was, counted from 1."""
        self.symptom = symptom
        self.exchange: Exchange = exchange_of(endpoint)
        """Whose turn it was then."""
        self.operations: list[Event] = []
        """What the end did next."""
        self.reconnect: Event | None = None
        """The connect to the same path that was the next thing its thread did."""
        self.thread: int | None = failed.tid if failed.operation == _RELEASE else None
        """The thread whose next operation is waited for; None: the end's next one is."""
        self.settled = False
        self.before: Aftermath | None = None
        """The earlier failure of the other end, if it still was waited for; it is told first."""
        self.later: Aftermath | None = None
        """The later failure of the other end."""

    @property
    def since(self) -> int:
        """When the last that is known of it ended, in ns."""
        return (self.operations[-1] if self.operations else self.failed).end


def _is_again(aftermath: Aftermath, connect: Event) -> bool:
    """Whether a connect goes where the failed connection went, and not, say, to the log's socket."""
    path = aftermath.connection.path
    return aftermath.endpoint.role == "client" and path is not None and escape_socket_path(connect.address) == path


class Aftermaths:
    """The failures whose aftermath is still waited for."""

    def __init__(self) -> None:
        self.waiting: deque[Aftermath] = deque()
        """In the order of the failures; those that are settled by now are passed over."""
        self._by_sock: dict[int, Aftermath] = {}
        self._by_thread: dict[int, Aftermath] = {}

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def begin(self, aftermath: Aftermath) -> None:
        """Wait for what comes after a failure."""
        if aftermath.endpoint.other.failed:
            aftermath.before = next(
                (one for one in self.waiting if one.connection is aftermath.connection and not one.settled), None
            )
            if aftermath.before:
                aftermath.before.later = aftermath
        self.waiting.append(aftermath)
        if aftermath.thread is None:
            self._by_sock[aftermath.endpoint.sock] = aftermath
        else:
            self._by_thread[aftermath.thread] = aftermath

    def concern(self, sock: int, task: bytes, end: int) -> bool:
        """Whether an operation has to be taken: it may settle a failure, or be what came after one.

        task: who did it (`Brief`, tracer/record/layout.py); end: when it ended, in ns.
        """
        return (
            sock in self._by_sock
            or end - self.waiting[0].failed.end >= WAIT
            or (bool(self._by_thread) and thread_of(task) in self._by_thread)
        )

    def take(self, event: Event) -> Iterator[Aftermath]:
        """Look at the next record, before anything else is made of it; yield what it settles."""
        # Recorded when it ends: what goes on for longer than is waited belongs to no aftermath, as on a live host.
        yield from self.settle(event.end)
        aftermath = self._by_thread.get(event.tid)
        # What another connection's history tells of the thread may be older.
        if aftermath is not None and event.end >= aftermath.since:
            del self._by_thread[event.tid]
            if event.operation == _CONNECT and event.peer and _is_again(aftermath, event):
                aftermath.reconnect = event
            yield from self._settled(aftermath)
        aftermath = self._by_sock.get(event.sock)
        if aftermath is None or event.peer != aftermath.endpoint.peer:
            return
        aftermath.operations.append(event)
        if event.operation == _RELEASE:
            del self._by_sock[event.sock]
            if event.flags & DIED:
                yield from self._settled(aftermath)
            else:
                aftermath.thread = event.tid
                self._by_thread[event.tid] = aftermath

    def settle(self, now: int | None) -> Iterator[Aftermath]:
        """Yield what has waited long enough; now: ns of CLOCK_MONOTONIC, None: all of it."""
        waiting = self.waiting
        while waiting and (waiting[0].settled or now is None or now - waiting[0].failed.end >= WAIT):
            yield from self._settled(waiting.popleft())

    def _settled(self, aftermath: Aftermath) -> Iterator[Aftermath]:
        if aftermath.settled:
            return
        aftermath.settled = True
        for waiting, key in ((self._by_sock, aftermath.endpoint.sock), (self._by_thread, aftermath.thread)):
            if key is not None and waiting.get(key) is aftermath:
                del waiting[key]
        if aftermath.before is not None and not aftermath.before.settled:
            return
        yield aftermath
        if aftermath.later is not None and aftermath.later.settled:
            yield aftermath.later
