"""What neither user nor cgroup selects makes no record in the kernel: with both kinds of probes, both ways to watch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hangup.tracer.capture.reader import FileSource
from hangup.tracer.record.layout import Event, EventFlag, Handed, Operation
from hangup.tracer.selection import Selection
from hangup.tracer.tracer import Tracer
from tests.scenarios.containers import control_group
from tests.scenarios.selecting import BOTH_WAYS, WAYS, break_one, operations, probing, refuse

_USER = 12_345
_SLICE = "hangup-test.slice"
_UNIT = "selected.service"


def user() -> None:
    """Become the user that is selected."""
    os.setuid(_USER)


def inside(cgroup: Path) -> Callable[[], None]:
    """Return what moves a process into a cgroup."""

    def move() -> None:
        (cgroup / "cgroup.procs").write_text("0")

    return move


def user_inside(cgroup: Path) -> Callable[[], None]:
    """Return what does both."""

    def move() -> None:
        inside(cgroup)()
        user()

    return move


@contextmanager
def groups() -> Iterator[tuple[Path, Path, Path]]:
    """Make a cgroup, one below it, and one beside it."""
    with control_group(_SLICE, _UNIT, "below") as below, control_group(_SLICE, "beside.service") as beside:
        yield below.parent, below, beside


def is_told(found: list[Event | Handed], *, recording: bool) -> bool:
    """Whether a connection is told of to its end; one that is not is told of till it is decided, or not at all."""
    if Operation.RELEASE in operations(found):
        assert any(isinstance(each, Event) and each.result < 0 for each in found)
        return True
    if recording:
        assert found == []
    else:
        assert operations(found) <= {Operation.CONNECT, Operation.ACCEPT, Operation.WRITE}
        assert any(isinstance(each, Event) and each.flags & EventFlag.UNSELECTED for each in found)
    return False


@pytest.mark.parametrize(("flavour", "recording"), WAYS)
def test_a_connection_is_selected_if_a_user_and_a_cgroup_that_are_selected_use_it(
    flavour: str, recording: bool, folder: Path
) -> None:
    folder.chmod(0o755)
    with groups() as (cgroup, below, beside):
        selection = Selection(uids=frozenset({1, _USER}), cgroups=(f"{_SLICE}/{_UNIT}", str(below)))
        with probing(flavour, recording, selection) as seen:

            def told(name: bytes, **somebody: Callable[[], None]) -> bool:
                return is_told(seen.events(*break_one(b"\0hangup-" + name, **somebody)), recording=recording)

            assert told(b"one", client=user_inside(cgroup))
            assert told(b"one-below", client=user_inside(below))
            assert told(b"both-ends", client=user, server=inside(cgroup))
            assert told(b"who-comes-later", client=inside(below), handler=user)
            assert not told(b"only-the-user", client=user)
            assert not told(b"only-the-cgroup", server=inside(below))
            assert not told(b"beside", client=user_inside(beside), handler=inside(beside))
            assert seen.events(refuse(folder / "nowhere", user)) == []
            assert seen.events(refuse(folder / "nowhere", inside(below))) == []
            assert operations(seen.events(refuse(folder / "nowhere", user_inside(below)))) == {Operation.CONNECT}


def test_a_cgroup_that_is_made_anew_is_selected_again() -> None:
    flavour, recording = BOTH_WAYS[0]
    with groups() as (cgroup, below, _), probing(flavour, recording, Selection(cgroups=(str(cgroup),))) as seen:

        def told() -> bool:
            return is_told(seen.events(*break_one(b"\0hangup-anew", client=inside(cgroup))), recording=recording)

        assert told()
        below.rmdir()
        cgroup.rmdir()
        below.mkdir(parents=True)
        assert any(told() for _ in range(100))


@pytest.mark.parametrize(("flavour", "recording"), BOTH_WAYS)
def test_alerts_are_those_of_the_selected_live_and_in_what_was_kept(
    flavour: str, recording: bool, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with groups() as (cgroup, below, beside):
        selection = Selection(uids=frozenset({_USER}), cgroups=(str(cgroup),))
        with Tracer(probes=flavour, stream=not recording, selection=selection, keep=kept) as tracer:
            pids = {break_one(b"\0hangup-1", client=user_inside(below))[0]}
            break_one(b"\0hangup-2", client=user_inside(beside))
            break_one(b"\0hangup-3", client=inside(below))
            tracer.stop()
            alerts = list(tracer.alerts())
        assert tracer.losses().total == 0
    assert {alert.client.pid for alert in alerts if alert.client} == pids
    with FileSource(kept) as source, Tracer(source=source, selection=selection) as replayed:
        assert [alert.verdict.sentence for alert in replayed.alerts()] == [alert.verdict.sentence for alert in alerts]
    with FileSource(kept) as source, Tracer(source=source, selection=Selection(uids=frozenset({1}))) as others:
        assert list(others.alerts()) == []
