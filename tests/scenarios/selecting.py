"""The probes with a selection, and what is played so that it has something to select."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hangup.tracer.kernel.probes import Probes
from hangup.tracer.record.layout import Event, Handed, Operation, users_of
from hangup.tracer.selection import Selection
from tests.records import unpack_all
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton, Player, fails, receive, wait_for_hangup

WAYS = [(flavour, recording) for flavour in exact_flavours() for recording in (True, False)]
"""How the probes are attached, and whether they record."""

BOTH_WAYS = [(flavour, recording) for flavour, recording in WAYS if flavour == exact_flavours()[0]]
"""For what Python decides as well, and what does not hang on how the probes are attached."""

Somebody = bytes | Callable[[], None]
"""What a process becomes before it takes part: one of this name, or what this makes of it."""


class Seen:
    """The probes, and what they have recorded."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    def events(self, *pids: int) -> list[Event | Handed]:
        """Return what has been recorded since the last time, as far as one of these took part."""
        found: list[Event | Handed] = []
        while True:
            records = self._probes.read(0.2)
            found += [each for each in unpack_all(records, lambda _: None) if set(pids) & _pids(each)]
            if not records and self._probes.drained:
                return found


def _pids(record: object) -> set[int]:
    if isinstance(record, Event):
        return {record.pid}
    assert isinstance(record, Handed)
    return {user.pid for history in (record.one, record.other) if history for user in users_of(history)}


@contextmanager
def probing(flavour: str, recording: bool, selection: Selection) -> Iterator[Seen]:
    """Attach the probes."""
    with Probes(flavour=flavour, recording=recording, selection=selection) as probes:
        yield Seen(probes)


def become(somebody: Somebody) -> None:
    """Take another name, or do what makes somebody else of this process."""
    if isinstance(somebody, bytes):
        Path("/proc/self/comm").write_bytes(somebody)
    else:
        somebody()


def break_one(
    path: str | bytes, *, client: Somebody = b"caller", server: Somebody = b"master", handler: Somebody = b"handler"
) -> tuple[int, int]:
    """Let a server's child hang up on a client that goes on writing; returns the client's pid and the server's."""
    listening, written = Baton(), Baton()

    def handle(end: socket.socket) -> None:
        become(handler)
        receive(end, 4)

    def serve() -> None:
        become(server)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.bind(path)
            waiting.listen()
            listening.pass_on()
            end, _ = waiting.accept()
        written.take()
        child = Player(lambda: handle(end))
        end.close()
        child.end()

    def call() -> None:
        become(client)
        listening.take()
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(path)
            end.sendall(b"ping")
            written.pass_on()
            wait_for_hangup(end)
            assert fails(lambda: end.send(b"more")) == errno.EPIPE

    serving, calling = Player(serve), Player(call)
    serving.end()
    calling.end()
    return calling.pid, serving.pid


def break_pair() -> int:
    """Let one end of a socketpair hang up on the other; returns whose they were."""

    def part() -> None:
        one, other = socket.socketpair()
        other.close()
        assert fails(lambda: one.send(b"more")) == errno.EPIPE

    player = Player(part)
    player.end()
    return player.pid


def refuse(path: Path, client: Somebody = b"caller") -> int:
    """Let a connect fail; returns who tried."""

    def part() -> None:
        become(client)
        with socket.socket(socket.AF_UNIX) as end:
            assert fails(lambda: end.connect(str(path))) == errno.ENOENT

    player = Player(part)
    player.end()
    return player.pid


def operations(found: list[Event | Handed]) -> set[Operation]:
    """Return which operations were recorded."""
    return {Operation(each.operation) for each in found if isinstance(each, Event)}
