"""What names do not select makes no record in the kernel: with both kinds of probes, recording and streaming."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hangup.tracer.kernel.probes import Probes
from hangup.tracer.record.layout import (
    Event,
    EventFlag,
    Handed,
    Operation,
    unpack_all,
    users_of,
)
from hangup.tracer.selection import Selection
from hangup.tracer.tracer import Tracer
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton, Player, fails, receive, wait_for_hangup

_WAYS = [(flavour, recording) for flavour in exact_flavours() for recording in (True, False)]
# What Python decides as well, and what does not hang on how the probes are attached.
_BOTH_WAYS = [(flavour, recording) for flavour, recording in _WAYS if flavour == exact_flavours()[0]]
_LONGEST = 107


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose name is short: of a glob so much decides in the kernel as fits into 64 bits."""
    with TemporaryDirectory(prefix="hangup-") as name:
        yield Path(name)


@contextmanager
def probing(flavour: str, recording: bool, selection: Selection) -> Iterator[Seen]:
    """Attach the probes."""
    with Probes(flavour=flavour, recording=recording, selection=selection) as probes:
        yield Seen(probes)


def called(name: bytes) -> None:
    """Take another name."""
    Path("/proc/self/comm").write_bytes(name)


def break_one(
    path: str | bytes, *, client: bytes = b"caller", server: bytes = b"master", handler: bytes = b"handler"
) -> tuple[int, int]:
    """Let a server's child hang up on a client that goes on writing; returns the client's pid and the server's."""
    listening, written = Baton(), Baton()

    def handle(end: socket.socket) -> None:
        called(handler)
        receive(end, 4)

    def serve() -> None:
        called(server)
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
        called(client)
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


def refuse(path: Path) -> int:
    """Let a connect fail; returns who tried."""

    def part() -> None:
        with socket.socket(socket.AF_UNIX) as end:
            assert fails(lambda: end.connect(str(path))) == errno.ENOENT

    player = Player(part)
    player.end()
    return player.pid


def operations(found: list[Event | Handed]) -> set[Operation]:
    """Return which operations were recorded."""
    return {Operation(each.operation) for each in found if isinstance(each, Event)}


@pytest.mark.parametrize(("flavour", "recording"), _WAYS)
def test_only_connections_to_a_selected_path_make_records(flavour: str, recording: bool, folder: Path) -> None:
    long = str(folder / "wanted").ljust(_LONGEST, "x")
    with probing(flavour, recording, Selection(paths=(f"{folder}/wanted*", "@hangup-wanted?"))) as seen:
        others = [*break_one(str(folder / "other.s")), *break_one(b"\0hangup-wanted"), break_pair()]
        others += [refuse(folder / "nowhere")]
        assert seen.events(*others) == []
        for path in (str(folder / "wanted.s"), long, b"\0hangup-wanted1"):
            found = seen.events(*break_one(path))
            assert Operation.WRITE in operations(found), path
            assert any(isinstance(each, Handed) for each in found) == recording
        assert operations(seen.events(refuse(folder / "wanted-nowhere"))) == {Operation.CONNECT}


@pytest.mark.parametrize(("flavour", "recording"), _BOTH_WAYS)
def test_what_is_ignored_makes_no_record_whatever_else_is_selected(flavour: str, recording: bool, folder: Path) -> None:
    ignored = Selection(
        comms=("caller", "pytest*", "python*"), ignored_comms=("bad-*",), ignored_paths=(f"{folder}/[ij]*.s",)
    )
    with probing(flavour, recording, ignored) as seen:
        others = [*break_one(str(folder / "ignored.s")), refuse(folder / "ignored.s.s")]
        assert seen.events(*others) == []
        found = seen.events(*break_one(str(folder / "1.s"), client=b"bad-caller"))
        # While each operation is recorded, those of the other end come until the ignored one is seen.
        assert found == [] or (not recording and operations(found) <= {Operation.ACCEPT})
        assert Operation.WRITE in operations(seen.events(*break_one(str(folder / "2.s"))))


@pytest.mark.parametrize(("flavour", "recording"), _WAYS)
def test_a_connection_is_selected_by_either_end_and_by_who_comes_to_use_it(
    flavour: str, recording: bool, folder: Path
) -> None:
    with probing(flavour, recording, Selection(comms=("wanted", "a-name-of-more-than-15"))) as seen:
        for number, names in enumerate(
            (
                {"client": b"wanted"},
                {"server": b"wanted"},
                {"handler": b"wanted"},
                {"handler": b"a-name-of-more-"},
            )
        ):
            found = seen.events(*break_one(str(folder / f"{number}.s"), **names))
            assert Operation.WRITE in operations(found), names
            assert any(isinstance(each, Event) and each.result == -errno.EPIPE for each in found), names
        found = seen.events(*break_one(str(folder / "other.s")))
        if recording:
            assert found == []
        else:
            # Until it is known who has its ends, and what says that nobody has selected it.
            assert operations(found) <= {Operation.CONNECT, Operation.ACCEPT, Operation.WRITE}
            assert [each for each in found if isinstance(each, Event) and each.result < 0] == []
            assert any(isinstance(each, Event) and each.flags & EventFlag.UNSELECTED for each in found)


@pytest.mark.parametrize(("flavour", "recording"), _BOTH_WAYS)
def test_names_that_are_spelled_otherwise_when_printed_are_left_to_python(
    flavour: str, recording: bool, folder: Path
) -> None:
    by_path: list[Callable[[], tuple[int, int]]] = [
        lambda: break_one(str(folder / "wanted\x1b[2J")),
        lambda: break_one(b"\0with\0nul"),
    ]
    by_name: list[Callable[[], tuple[int, int]]] = [
        lambda: break_one(str(folder / "1.s"), client=b"\x1b[2J"),
        lambda: break_one(str(folder / "2.s"), client=b"back\\slash"),
    ]
    for plays, selection in ((by_path, Selection(paths=("/elsewhere",))), (by_name, Selection(comms=("elsewhere",)))):
        with probing(flavour, recording, selection) as seen:
            for play in plays:
                assert seen.events(*play())


@pytest.mark.parametrize(("flavour", "recording"), _BOTH_WAYS)
def test_alerts_are_those_that_python_selects(flavour: str, recording: bool, folder: Path) -> None:
    wanted = (f"{folder}/*.s",)
    with Tracer(probes=flavour, stream=not recording, selection=Selection(paths=wanted, comms=("handler",))) as tracer:
        pids = {break_one(str(folder / "1.s"))[0]}
        break_one(str(folder / "2.s"), handler=b"other")
        break_one(str(folder / "3.t"))
        break_one(str(folder / "4.s"), client=b"\x1b[2J", handler=b"other")
        tracer.stop()
        alerts = list(tracer.alerts())
    assert {alert.client.pid for alert in alerts if alert.client} == pids
    assert {alert.path for alert in alerts} == {str(folder / "1.s")}
    assert tracer.losses().total == 0
