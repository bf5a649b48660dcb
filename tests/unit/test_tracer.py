"""The whole pipeline after the source: alerts, statistics, selections and losses, of records in a list."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hangup.tracer.record import Event, Loss, pack
from hangup.tracer.selection import Selection
from hangup.tracer.source import FileSource, LostPeriod, write_capture
from hangup.tracer.statistics import Key, Row
from hangup.tracer.story.aftermath import WAIT
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind
from tests import stories
from tests.stories import HTTPD, UWSGI, Story, Task, established


class ListSource:
    """Records that are there already, in the batches given; losses are counted when a batch has been read."""

    def __init__(self, *batches: list[Event], losses: tuple[int, ...] = (), periods: Sequence[LostPeriod] = ()) -> None:
        self._periods = periods
        self._batches = list(batches)
        self._losses = list(losses)
        self._lost = 0

    def read(self, timeout: float) -> list[bytes]:
        """Return the next batch."""
        assert timeout >= 0
        if not self._batches:
            return []
        if self._losses:
            self._lost = self._losses.pop(0)
        return [pack(event) for event in self._batches.pop(0)]

    def losses(self) -> Mapping[Loss, int]:
        """Return what was lost till now."""
        return {Loss.RING_FULL: self._lost, Loss.MISSED_RETURN: 0}

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when it was lost."""
        return self._periods


def alerts(
    *batches: list[Event], selection: Selection | None = None, latent: bool = False, losses: tuple[int, ...] = ()
) -> list[Alert]:
    with Tracer(source=ListSource(*batches, losses=losses), selection=selection, latent=latent) as tracer:
        return list(tracer.alerts())


PROCESS: dict[str, Any] = {"tid": 4713, "thread": "httpd", "uid": 33, "gid": 33, "inner_pid": 4711, "cgroup_id": 1}


def rows(*events: Event, selection: Selection | None = None) -> dict[Key, Row]:
    with Tracer(source=ListSource(list(events)), selection=selection) as tracer:
        list(tracer.alerts())
        return tracer.statistics.rows


def test_the_seeds_failure_is_one_alert() -> None:
    story = stories.seeds_failure()
    (alert,) = alerts(story.events)
    assert alert.verdict.kind is Kind.ANSWERED
    assert alert.path == "/tmp/helloFastCGI.s"
    assert alert.client == Process(4711, "httpd", **PROCESS)
    assert alert.server == Process(815, "uwsgi", tid=817, thread="uwsgi", uid=998, gid=998, inner_pid=815, cgroup_id=1)
    assert alert.story is not None
    assert alert.failed == story.events[-2]
    assert alert.when == story.events[-2].end


def test_an_alert_comes_soon_after_its_failure_and_not_with_the_connections_end() -> None:
    story = stories.seeds_failure()
    later = stories.clean(start=story.events[-2].end + WAIT, client_sock=1 << 40, server_sock=1 << 41)
    with Tracer(source=ListSource(story.events[:-1], later.events[:1], story.events[-1:])) as tracer:
        # It is not known yet what it cost.
        assert list(tracer.poll(0)) == []
        assert len(list(tracer.poll(0))) == 1
        assert list(tracer.poll(0)) == []
        assert tracer.statistics.total.connections == 1


def test_each_connection_is_counted_once_under_its_verdict() -> None:
    refused = Story()
    refused.connect(error=errno.ECONNREFUSED)
    path = "/run/app.s"
    counted = rows(
        *stories.seeds_failure(path=path).events,
        *stories.clean().events,
        *stories.clean().events,
        *stories.latent().events,
        *refused.events,
    )
    assert {key: row.connections for key, row in counted.items()} == {
        Key("httpd", "uwsgi", path, Kind.ANSWERED): 1,
        Key("httpd", "uwsgi", path, Kind.CLEAN): 2,
        Key("httpd", "uwsgi", path, Kind.LATENT): 1,
        Key("httpd", "?", path, Kind.REFUSED): 1,
    }
    failed = counted[Key("httpd", "uwsgi", path, Kind.ANSWERED)]
    assert (failed.broken_writes, failed.reset_reads, failed.gaps.maximum) == (1, 0, 89_000)
    assert counted[Key("httpd", "uwsgi", path, Kind.LATENT)].latent == 1


def test_operations_are_counted_at_the_verdict_and_what_comes_later_at_the_end() -> None:
    story = stories.seeds_failure()
    *before, failed, release = story.events
    later = stories.clean(start=failed.end + WAIT, client_sock=1 << 40, server_sock=1 << 41)
    with Tracer(source=ListSource(before, [failed], later.events[:1], [release])) as tracer:
        list(tracer.poll(0))
        assert tracer.statistics.rows == {}
        assert tracer.open_connections == 1
        for _ in range(2):
            list(tracer.poll(0))
        ((key, row),) = tracer.statistics.rows.items()
        assert row.operations == len(before) + 1
        list(tracer.poll(0))
        assert tracer.statistics.rows[key].operations == len(story.events)
        assert tracer.open_connections == 1


def test_operations_of_connections_that_are_not_selected_are_counted_as_read_only() -> None:
    story = stories.seeds_failure()
    with Tracer(source=ListSource(story.events), selection=Selection(comms=("nobody",))) as tracer:
        assert list(tracer.poll(0)) == []
    counts = tracer.statistics.counts()
    assert counts.rows == {}
    assert sum(counts.operations.values()) == len(story.events)


def test_a_connection_that_is_forgotten_is_open_no_more() -> None:
    first, second = Story(), Story()
    first.connect()
    # The addresses come back though no release of theirs was recorded.
    second.connect()
    with Tracer(source=ListSource(first.events, second.events)) as tracer:
        list(tracer.alerts())
        assert tracer.open_connections == 1
        assert tracer.losses().by_cause["releases_missed"] == 1


def test_a_capture_has_no_ring_buffer() -> None:
    with Tracer(source=ListSource()) as tracer:
        assert tracer.ring is None


def test_a_latent_hangup_is_an_alert_only_if_asked_for() -> None:
    story = stories.latent()
    assert alerts(story.events) == []
    (alert,) = alerts(story.events, latent=True)
    assert alert.verdict.kind is Kind.LATENT
    assert alert.failed is None
    assert alert.story is not None
    assert alert.story.hangup is not None
    assert alert.when == alert.story.hangup.when


def test_a_refused_connect_is_an_alert_without_a_server() -> None:
    story = Story(path=b"\0app")
    story.connect(error=errno.ECONNREFUSED)
    (alert,) = alerts(story.events)
    assert alert.verdict.kind is Kind.REFUSED
    assert alert.path == "@app"
    assert alert.client == Process(4711, "httpd", **PROCESS)
    assert alert.server is None
    assert alert.story is None


def test_a_connect_that_fails_otherwise_is_counted_only() -> None:
    story = Story()
    story.connect(error=errno.ENOENT)
    assert alerts(story.events) == []
    assert list(rows(*story.events)) == [Key("httpd", "?", "/run/app.s", Kind.CONNECT_FAILED)]


def test_a_socketpair_has_a_row_of_its_own() -> None:
    story = Story(client=HTTPD, server=Task("child", 5))
    story.socketpair()
    story.server.write(1)
    story.client.read()
    story.client.release()
    story.server.release()
    assert list(rows(*story.events)) == [Key("httpd", "child", "(socketpair)", Kind.CLEAN)]


# ---- selection


OTHER = Task("other", 99)

SELECTIONS = {
    "nothing": (Selection(), True),
    "the client's name": (Selection(comms=("httpd",)), True),
    "the server's name": (Selection(comms=("uw*",)), True),
    "another name": (Selection(comms=("nginx",)), False),
    "the path": (Selection(paths=("/tmp/*.s",)), True),
    "another path": (Selection(paths=("/run/*",)), False),
    "path and name": (Selection(comms=("httpd",), paths=("/tmp/*",)), True),
    "path and another name": (Selection(comms=("nginx",), paths=("/tmp/*",)), False),
    "the client's pid": (Selection(frozenset({4711})), True),
    "the server's pid": (Selection(frozenset({815})), True),
    "another pid": (Selection(frozenset({1})), False),
}


@pytest.mark.parametrize(("selection", "selected"), SELECTIONS.values(), ids=SELECTIONS.keys())
def test_only_what_is_selected_is_told_and_counted(selection: Selection, selected: bool) -> None:
    failure, latent = stories.seeds_failure(), stories.latent(path="/tmp/other.s")
    assert len(alerts([*failure.events, *latent.events], selection=selection, latent=True)) == 2 * selected
    assert len(rows(*failure.events, *latent.events, selection=selection)) == 2 * selected


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(comms=("httpd",)), True),
        (Selection(comms=("nginx",)), False),
        (Selection(paths=("/run/*",)), True),
        (Selection(frozenset({4711})), True),
        (Selection(frozenset({815})), False),
    ],
)
def test_a_failed_connect_is_selected_by_its_client_and_path(selection: Selection, selected: bool) -> None:
    story = Story()
    story.connect(error=errno.ECONNREFUSED)
    assert len(alerts(story.events, selection=selection)) == selected
    assert len(rows(*story.events, selection=selection)) == selected


@pytest.mark.parametrize("selection", [Selection(frozenset({50})), Selection(comms=("master",))])
def test_a_process_that_used_an_end_earlier_selects_it_too(selection: Selection) -> None:
    story = Story()
    story.connect(by=Task("master", 50))
    story.accept()
    story.client.write(16)
    story.server.read()
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    assert len(alerts(story.events, selection=selection)) == 1


def test_pids_are_short_for_a_selection() -> None:
    with Tracer(source=ListSource(stories.seeds_failure().events), pids=[1]) as tracer:
        assert list(tracer.alerts()) == []
    assert tracer.selection == Selection(frozenset({1}))


def test_every_selected_operation_is_handed_over() -> None:
    story, other = stories.seeds_failure(), stories.clean(client=OTHER, server=OTHER)
    refused = Story()
    refused.connect(error=errno.ECONNREFUSED)
    told: list[Event] = []

    def take(operation: Traced) -> None:
        told.append(operation.event)

    source = ListSource([*story.events, *other.events, *refused.events])
    with Tracer(source=source, selection=Selection(comms=("httpd",)), on_operation=take) as tracer:
        assert len(list(tracer.alerts())) == 2
    assert told == [*story.events, *refused.events]


# ---- losses


def test_losses_are_told_by_cause_also_when_it_is_over() -> None:
    with Tracer(source=ListSource(stories.clean().events, losses=(3,))) as tracer:
        assert tracer.losses().total == 0
        list(tracer.alerts())
        assert tracer.losses().by_cause["ring_full"] == 3
    assert tracer.losses().by_cause == {
        "ring_full": 3,
        "missed_return": 0,
        "connections_evicted": 0,
        "releases_missed": 0,
    }
    assert tracer.losses().total == 3


def test_a_missed_release_is_a_loss() -> None:
    with Tracer(source=ListSource([*established().events, *stories.clean().events])) as tracer:
        list(tracer.alerts())
        assert tracer.losses().by_cause["releases_missed"] == 1


def test_a_loss_while_a_connection_was_open_is_a_doubt_about_it_and_no_other() -> None:
    first = stories.seeds_failure()
    second = stories.seeds_failure(start=first.events[-1].end + WAIT, client_sock=1 << 40, server_sock=1 << 41)
    when = first.events[3].start
    source = ListSource(
        [*first.events, *second.events], losses=(2,), periods=[LostPeriod(Loss.RING_FULL, when, when, 2)]
    )
    with Tracer(source=source) as tracer:
        doubts = [alert.verdict.doubts for alert in tracer.alerts()]
    assert doubts == [("2 records were lost while it was open",), ()]


def test_a_capture_names_nobody_by_the_processes_of_this_host() -> None:
    story = Story(client=Task("client", 4711), server=Task("init", 1))
    story.connect()
    story.client.write(16)
    story.server.release(by=Task("other", 5), flags=1)
    story.client.write(8, error=errno.EPIPE)
    (alert,) = alerts([event for event in story.events if event.pid != 5])
    # Process 1 of this host has a name; it is not the one that was recorded.
    assert alert.server is not None
    assert (alert.server.pid, alert.server.comm) == (1, "?")


def test_a_capture_gives_what_the_live_host_gave(tmp_path: Path) -> None:
    events = [*stories.clean().events, *stories.seeds_failure().events, *stories.latent().events]
    write_capture(tmp_path / "capture", map(pack, events))
    with FileSource(tmp_path / "capture") as source, Tracer(source=source, latent=True) as tracer:
        replayed = [alert.verdict for alert in tracer.alerts()]
        assert tracer.losses().total == 0
        assert tracer.flavour is None
    assert replayed == [alert.verdict for alert in alerts(events, latent=True)]


def test_a_truncated_capture_is_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, map(pack, stories.seeds_failure().events))
    path.write_bytes(path.read_bytes()[:-3])
    with FileSource(path) as source, Tracer(source=source) as tracer:
        assert len(list(tracer.alerts())) == 1
        assert tracer.losses().by_cause["capture_truncated"] == 1


def test_an_unnamed_far_end_is_unknown_in_the_table() -> None:
    story = Story(older=True, server=UWSGI)
    story.client.write(16)
    story.client.release()
    story.server.release()
    told = [event._replace(peer_pid=0, inode_number=0) for event in story.events[:2]]
    told[1] = told[1]._replace(flags=32)
    assert list(rows(*told)) == [Key("httpd", "?", "?", Kind.CLEAN)]
