"""What names do not select makes no record in the kernel: with both kinds of probes, recording and streaming."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from hangup.tracer.record.layout import Event, EventFlag, Handed, Operation
from hangup.tracer.selection import Selection
from hangup.tracer.tracer import Tracer
from tests.scenarios.selecting import BOTH_WAYS, WAYS, break_one, break_pair, operations, probing, refuse

_LONGEST = 107


@pytest.mark.parametrize(("flavour", "recording"), WAYS)
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


@pytest.mark.parametrize(("flavour", "recording"), BOTH_WAYS)
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


@pytest.mark.parametrize(("flavour", "recording"), WAYS)
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


@pytest.mark.parametrize(("flavour", "recording"), BOTH_WAYS)
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


@pytest.mark.parametrize(("flavour", "recording"), BOTH_WAYS)
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
