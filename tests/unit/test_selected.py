"""What the kernel side makes no record of, because no name selects it, and what Python would have dropped."""

from __future__ import annotations

import errno
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.record.layout import Event
from hangup.tracer.selection import Selection
from hangup.tracer.verdicts import Kind
from tests.recorder import Recorder
from tests.stories import HTTPD, UWSGI, Story, Task, established, interleaved, latent, random_script, seeds_failure
from tests.unit.both_ways import Kernel, essence, recording

_PATH = "/run/app.s"
_CHILD = Task("handler", 901)


def records(events: list[Event], selection: Selection) -> list[bytes]:
    """Return what the kernel side records of these."""
    return Recorder(selection=selection).record(events)


def broken(story: Story) -> Story:
    """Let the server hang up on a client that goes on writing."""
    story.client.write(16)
    story.server.release()
    story.client.write(16, error=errno.EPIPE)
    story.client.release()
    return story


def broken_pair() -> Story:
    """Return a socketpair of which one end hangs up on the other."""
    story = Story()
    story.socketpair()
    return broken(story)


def refused(path: str = _PATH) -> Story:
    """Return a connect that fails."""
    story = Story(path=path)
    story.connect(error=errno.ENOENT)
    return story


@pytest.mark.parametrize(
    ("selection", "is_selected"),
    [
        (Selection(comms=("httpd",)), True),
        (Selection(comms=("uw*",)), True),
        (Selection(comms=("nginx",)), False),
        (Selection(ignored_comms=("httpd",)), False),
        (Selection(ignored_comms=("nginx",)), True),
        (Selection(paths=("/run/*.s",)), True),
        (Selection(paths=("@*",)), False),
        (Selection(ignored_paths=(_PATH,)), False),
        (Selection(ignored_paths=("@*",)), True),
        (Selection(comms=("httpd",), paths=("/tmp/*",)), False),
        (Selection(comms=("nginx",), paths=("/run/*",)), False),
        (Selection(pids=frozenset({UWSGI.pid}), comms=("httpd",)), True),
        (Selection(pids=frozenset({UWSGI.pid}), comms=("nginx",)), False),
        (Selection(pids=frozenset({1}), comms=("httpd",)), False),
        (Selection(uids=frozenset({HTTPD.uid})), True),
        (Selection(uids=frozenset({UWSGI.uid, 0})), True),
        (Selection(uids=frozenset({0})), False),
        # Either end may meet a condition, and every kind of them has to be met.
        (Selection(uids=frozenset({UWSGI.uid}), pids=frozenset({HTTPD.pid})), True),
        (Selection(uids=frozenset({0}), pids=frozenset({HTTPD.pid})), False),
        (Selection(uids=frozenset({UWSGI.uid}), pids=frozenset({1})), False),
        (Selection(uids=frozenset({UWSGI.uid}), comms=("nginx",)), False),
        (Selection(uids=frozenset({UWSGI.uid}), paths=("/tmp/*",)), False),
    ],
)
@pytest.mark.parametrize("of", [seeds_failure, latent])
def test_what_is_not_selected_makes_no_record(of: object, selection: Selection, is_selected: bool) -> None:
    assert bool(records(of(path=_PATH).events, selection)) == is_selected  # type: ignore[operator]


@pytest.mark.parametrize(
    ("selection", "is_selected"),
    [
        (Selection(comms=("httpd",)), True),
        (Selection(comms=("uwsgi",)), False),
        (Selection(ignored_comms=("httpd",)), False),
        (Selection(paths=("/run/*",)), True),
        (Selection(paths=("/tmp/*",)), False),
        (Selection(ignored_paths=("/run/*",)), False),
        (Selection(uids=frozenset({HTTPD.uid})), True),
        (Selection(uids=frozenset({UWSGI.uid})), False),
        (Selection(uids=frozenset({HTTPD.uid}), pids=frozenset({UWSGI.pid})), False),
    ],
)
def test_a_connect_that_fails_makes_one_if_its_client_and_its_path_are_selected(
    selection: Selection, is_selected: bool
) -> None:
    assert bool(records(refused().events, selection)) == is_selected


def test_a_socketpair_has_no_path_that_a_glob_would_match() -> None:
    events = broken_pair().events
    assert records(events, Selection(paths=("*",))) == []
    assert records(events, Selection(ignored_paths=("*",)))
    assert records(events, Selection(comms=("httpd",)))


def test_a_connection_is_selected_by_who_comes_to_use_it() -> None:
    story = established(path=_PATH)
    story.client.write(16)
    story.server.read(by=_CHILD)
    story.server.release()
    story.client.write(16, error=errno.EPIPE)
    assert records(story.events, Selection(comms=("handler",)))
    assert not records(story.events, Selection(comms=("handle",)))


@pytest.mark.parametrize(
    ("selection", "is_selected"),
    [
        (Selection(cgroups=("/system.slice/app.service",)), True),
        (Selection(cgroups=("system.slice", "/nothing")), True),
        (Selection(cgroups=("/system.slice/app",)), False),
        (Selection(cgroups=("/system.slice/app.service/worker/1",)), False),
        (Selection(cgroups=("app.service",), uids=frozenset({0})), True),
        (Selection(cgroups=("app.service",), uids=frozenset({5})), False),
    ],
)
def test_a_connection_is_selected_by_the_cgroup_of_who_comes_to_use_it_and_by_those_above(
    selection: Selection, is_selected: bool
) -> None:
    story = established(path=_PATH)
    story.client.write(16)
    story.server.read(by=Task("handler", 901, uid=0, cgroup=77))
    story.server.release()
    story.client.write(16, error=errno.EPIPE)
    recorder = Recorder(selection=selection, cgroups={77: "/system.slice/app.service/worker"})
    assert bool(recorder.record(story.events)) == is_selected


def test_a_connection_that_is_older_is_selected_by_who_uses_it_from_then_on() -> None:
    story = Story(older=True)
    story.server.release()
    story.client.write(16, error=errno.EPIPE)
    assert records(story.events, Selection(uids=frozenset({HTTPD.uid})))
    assert records(story.events, Selection(uids=frozenset({UWSGI.uid})))
    assert not records(story.events, Selection(uids=frozenset({0})))


@pytest.mark.parametrize("selection", [Selection(pids=frozenset({902})), Selection(comms=("worker2",))])
def test_a_connection_is_selected_by_one_of_many_users_of_whom_the_history_has_lost_it(selection: Selection) -> None:
    story = established(path=_PATH)
    for number in range(6):
        worker = Task(f"worker{number}", 900 + number)
        story.client.write(16)
        story.server.read(by=worker)
        story.server.write(4, by=worker)
        story.client.read()
    story.client.write(16)
    story.server.release(by=worker)
    story.client.write(16, error=errno.EPIPE)
    with recording(Kernel(story.events, recorder=Recorder(selection=selection)), selection=selection) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.UNREAD]


def test_a_process_is_selected_by_the_name_that_it_has_when_it_is_hurt() -> None:
    story = established(path=_PATH)
    story.client.write(16)
    story.server.release()
    story.client.write(16, error=errno.EPIPE, by=replace(HTTPD, comm="renamed"))
    assert records(story.events, Selection(comms=("renamed",)))


def test_a_process_is_selected_by_the_user_and_the_cgroup_that_it_has_when_it_is_hurt() -> None:
    story = established(path=_PATH)
    story.client.write(16)
    story.server.release()
    story.client.write(16, error=errno.EPIPE, by=replace(HTTPD, uid=1000, cgroup=77))
    selection = Selection(uids=frozenset({1000}), cgroups=("/app.slice",))
    assert Recorder(selection=selection, cgroups={77: "/app.slice"}).record(story.events)
    assert not Recorder(selection=selection, cgroups={77: "/system.slice"}).record(story.events)


def test_a_connection_that_is_older_is_left_to_python_for_nobody_knows_who_had_it() -> None:
    story = broken(Story(older=True))
    assert records(story.events, Selection(comms=("nginx",)))
    assert not records(story.events, Selection(ignored_comms=("httpd",)))


@pytest.mark.parametrize(
    "path", ["/run/\x1b[31m.s", b"\0with\0nul", "@a-file-with-an-at", "/run/back\\slash", "/run/é"]
)
def test_a_path_that_is_spelled_otherwise_when_it_is_printed_is_left_to_python(path: str | bytes) -> None:
    events = broken(established(path=path)).events
    assert records(events, Selection(paths=("/nothing/like/it",)))
    assert records(events, Selection(ignored_paths=("/run/?.s",)))


@pytest.mark.parametrize("comm", ["\x1b[31m", "back\\slash", "é"])
def test_a_name_that_is_spelled_otherwise_when_it_is_printed_is_left_to_python(comm: str) -> None:
    events = broken(established(client=Task(comm, 77))).events
    assert records(events, Selection(comms=("nothing-like-it",)))
    with recording(
        Kernel(events, recorder=Recorder(selection=Selection(comms=("nothing-like-it",)))),
        selection=Selection(comms=("nothing-like-it",)),
    ) as tracer:
        assert list(tracer.alerts()) == []


def test_connections_of_others_are_counted_so_that_it_is_known_who_has_listened() -> None:
    before = established(path=_PATH)
    before.client.release()
    before.server.release()
    later = Story(path=_PATH, start=before.now + 1_000_000_000, client=Task("curl", 5))
    later.connect(error=errno.ENOENT)
    selection = Selection(comms=("curl",))
    kernel = Kernel([*before.events, *later.events], recorder=Recorder(selection=selection))
    with recording(kernel, selection=selection) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.LISTENER_GONE]
        assert tracer.statistics.total.connections == 1


_GLOBS = st.lists(st.sampled_from(["httpd", "uwsgi", "*", "h*", "[!u]*", "worker", "cron"]), max_size=2).map(tuple)
_UIDS = st.frozensets(st.sampled_from([0, HTTPD.uid, UWSGI.uid]), max_size=2)
_PATHS = st.lists(st.sampled_from(["/run/*", "*", "@*", "*.s", "/tmp/x"]), max_size=2).map(tuple)


@given(
    st.integers(min_value=0, max_value=2**32),
    st.builds(Selection, st.just(frozenset()), _GLOBS, _PATHS, _GLOBS, _PATHS, _UIDS),
)
def test_nothing_that_python_would_have_selected_is_missing(seed: int, selection: Selection) -> None:
    random = Random(seed)
    scripts = [random_script(random) for _ in range(3)]
    events = interleaved(scripts, [0x1000 * number for number in range(1, 4)], random)
    found = []
    for recorder in (Recorder(), Recorder(selection=selection)):
        with recording(Kernel(events, recorder=recorder), selection=selection) as tracer:
            found.append([essence(alert) for alert in tracer.alerts()])
    assert found[0] == found[1]
