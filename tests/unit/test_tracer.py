"""The whole pipeline after the source: alerts, statistics, selections and losses, of records in a list."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.errors import HangupError
from hangup.tracer.host.inventory import Inventory
from hangup.tracer.host.unix_diag import UnixDiagMissingError
from hangup.tracer.record.facts import ROOT, LostPeriod
from hangup.tracer.record.layout import Counted, Event, EventFlag, Loss, RecordType, pack
from hangup.tracer.selection import Selection
from hangup.tracer.statistics import Key, Row
from hangup.tracer.story.aftermath import WAIT
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import Traced
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind
from tests import stories
from tests.stories import HTTPD, MILLISECOND, SHUT_RDWR, UWSGI, Story, Task, established
from tests.unit.sources import FakeProbes, Records, live, lost_records

# A kernel thread drops what io_uring of a process had, which has ended.
OWNER_EXITED = int(EventFlag.KERNEL_THREAD | EventFlag.OWNER_EXITED)


def list_source(*batches: list[Event], periods: Sequence[LostPeriod] = ()) -> Records:
    """Return a source of events; it begins with what was lost."""
    first, *rest = [list(map(pack, batch)) for batch in batches] or [[]]
    return Records([*lost_records(periods), *first], *rest)


def alerts(
    *batches: list[Event],
    selection: Selection | None = None,
    latent: bool = False,
    harmless: bool = False,
    verdicts: frozenset[Kind] = frozenset(),
    periods: Sequence[LostPeriod] = (),
) -> list[Alert]:
    source = list_source(*batches, periods=periods)
    with Tracer(source=source, selection=selection, latent=latent, harmless=harmless, verdicts=verdicts) as tracer:
        return list(tracer.alerts())


def rows(*events: Event, selection: Selection | None = None) -> Mapping[Key, Row]:
    with Tracer(source=list_source(list(events)), selection=selection) as tracer:
        list(tracer.alerts())
        return tracer.statistics.rows


def test_the_seeds_failure_is_one_alert() -> None:
    story = stories.seeds_failure()
    (alert,) = alerts(story.events)
    assert alert.verdict.kind is Kind.ANSWERED
    assert alert.path == "/tmp/helloFastCGI.s"
    assert alert.client == Process(4711, "httpd", 4713, "httpd", 33, 33, 4711, 1)
    assert alert.server == Process(815, "uwsgi", 817, "uwsgi", 998, 998, 815, 1)
    assert alert.story is not None
    assert [moment.event for moment in alert.story.timeline] == story.events
    assert alert.failed == story.events[-2]
    assert alert.when == story.events[-2].end


def test_an_alert_comes_when_the_survivor_s_thread_has_gone_on() -> None:
    story = stories.seeds_failure()
    later = Story(client_sock=0x1000, server_sock=0x2000, start=story.now)
    later.connect()
    with Tracer(source=list_source(story.events[:-1], story.events[-1:], later.events)) as tracer:
        assert list(tracer.poll(0)) == []
        assert list(tracer.poll(0)) == []
        (alert,) = tracer.poll(0)
        assert tracer.statistics.total.connections == 1
        assert list(tracer.alerts()) == []
    assert alert.verdict.consequence.afterwards == "closed"


def test_an_alert_is_held_for_a_tenth_of_a_second_by_the_events_times() -> None:
    *before, release = stories.seeds_failure().events
    end = before[-1].end
    other = [Story(client_sock=sock, server_sock=sock + 1, start=end, client=OTHER) for sock in (0x1000, 0x2000)]
    soon, late = other[0].connect(start=end + WAIT - 2, end=end + WAIT - 1), other[1].connect(end=end + WAIT)
    with Tracer(source=list_source(before, [soon], [late], [release._replace(start=end + WAIT + 1)])) as tracer:
        assert list(tracer.poll(0)) == []
        assert list(tracer.poll(0)) == []
        (alert,) = tracer.poll(0)
        assert list(tracer.alerts()) == []
    assert alert.verdict.consequence.afterwards is None


def test_an_alert_s_story_changes_no_more() -> None:
    *before, release = stories.seeds_failure().events
    late = Story(client_sock=0x1000, server_sock=0x2000, start=before[-1].end + WAIT, client=OTHER)
    late.connect()
    with Tracer(source=list_source(before, late.events, [release])) as tracer:
        assert list(tracer.poll(0)) == []
        (alert,) = tracer.poll(0)
        assert list(tracer.poll(0)) == []
    assert alert.story is not None
    assert alert.story.client.release is None
    assert alert.story.operations == len(before)


# ---- what it cost


def ended(story: Story) -> Alert:
    (alert,) = alerts(story.events, harmless=True)
    return alert


def cut_off(answer: int = 100) -> Story:
    """Return a connection whose client's write has just been broken, with an answer unread."""
    story = established()
    story.client.write(16)
    story.server.read()
    story.server.write(answer)
    story.server.release()
    story.client.write(80, error=errno.EPIPE)
    return story


@pytest.mark.parametrize(
    ("reads", "answer", "lost"),
    [
        ((), "never read", 100),
        ((30,), "read in part", 70),
        ((30, 70), "read in full", 0),
    ],
)
def test_what_became_of_the_answer_is_told(reads: tuple[int, ...], answer: str, lost: int) -> None:
    story = cut_off()
    for size in reads:
        story.client.read(size)
    story.client.release()
    consequence = ended(story).verdict.consequence
    assert (consequence.answer, consequence.lost_bytes, consequence.afterwards) == (answer, lost, "closed")


def test_who_only_reads_on_went_on() -> None:
    story = cut_off()
    story.client.read()
    assert ended(story).verdict.consequence.afterwards == "went on"


@pytest.mark.parametrize(
    ("how", "survivor"),
    [
        ({}, "closed"),
        ({"exit_status": 1}, "exited"),
        ({"killed_by": 13}, "killed by SIGPIPE"),
        ({"killed_by": 9}, "killed"),
        ({"owner_pid": 4711, "flags": int(EventFlag.KERNEL_THREAD)}, "closed"),
        ({"owner_pid": 4711, "flags": OWNER_EXITED, "exit_code": 0}, "exited"),
        ({"owner_pid": 4711, "flags": OWNER_EXITED, "exit_code": 13}, "killed by SIGPIPE"),
    ],
)
def test_how_the_survivor_left_is_told(how: dict[str, int], survivor: str) -> None:
    story = cut_off()
    story.client.release(**how)  # type: ignore[arg-type]
    assert ended(story).verdict.consequence.afterwards == survivor


def test_a_survivor_that_connected_again_is_told() -> None:
    story = cut_off()
    story.client.release()
    again = Story(start=story.now, client_sock=0x1000, server_sock=0x2000)
    again.connect()
    (alert,) = alerts([*story.events, *again.events])
    assert alert.verdict.consequence.afterwards == "connected again"


def farewell() -> Story:
    """Return a client that had its answer and says goodbye to a server that closed the idle connection."""
    story = established()
    story.client.write(16)
    story.server.read()
    story.server.write(100)
    story.client.read()
    story.wait(1000 * MILLISECOND)
    story.server.release()
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    return story


def test_what_nobody_misses_is_counted_and_an_alert_only_if_asked_for() -> None:
    story = farewell()
    assert alerts(story.events) == []
    (alert,) = alerts(story.events, harmless=True)
    assert alert.verdict.kind is Kind.REUSED
    (row,) = rows(*story.events).values()
    assert (row.connections, row.harmless, row.broken_writes) == (1, 1, 1)


def test_only_the_verdicts_asked_for_are_alerts_and_all_are_counted() -> None:
    story = stories.seeds_failure()
    assert len(alerts(story.events, verdicts=frozenset({Kind.ANSWERED}))) == 1
    assert alerts(story.events, verdicts=frozenset({Kind.KILLED})) == []


# ---- a second victim


def two_victims() -> Story:
    story = established()
    story.client.write(16)
    story.server.read()
    story.client.shutdown(SHUT_RDWR)
    story.client.write(8, error=errno.EPIPE)
    story.server.write(100, error=errno.EPIPE)
    return story


@pytest.mark.parametrize("order", ["client", "server"])
def test_a_second_victim_is_a_second_alert_that_names_the_first(order: str) -> None:
    story = two_victims()
    getattr(story, order).release(exit_status=1)
    getattr(story, "server" if order == "client" else "client").release(exit_status=1)
    with Tracer(source=list_source(story.events)) as tracer:
        first, second = tracer.alerts()
        total = tracer.statistics.total
        assert tracer.statistics.alerts == 2
    assert (first.verdict.victim, second.verdict.victim) == ("client", "server")
    assert "(after" not in first.verdict.sentence
    assert second.verdict.sentence.endswith("(after httpd[4711]'s broken write on this connection: own-shutdown)")
    assert (total.connections, total.broken_writes, total.operations) == (1, 2, len(story.events))


# ---- counts


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
    *before, release = story.events
    late = Story(client_sock=0x1000, server_sock=0x2000, start=before[-1].end + WAIT, client=OTHER)
    with Tracer(source=list_source(before, [late.connect(error=errno.ENOENT)], [release])) as tracer:
        list(tracer.poll(0))
        assert tracer.statistics.rows == {}
        list(tracer.poll(0))
        (key,) = (key for key in tracer.statistics.rows if key.kind is Kind.ANSWERED)
        assert tracer.statistics.rows[key].operations == len(before)
        list(tracer.poll(0))
        assert tracer.statistics.rows[key].operations == len(story.events)


def test_records_of_connections_that_are_not_selected_are_counted_as_read_only() -> None:
    story = stories.seeds_failure()
    with Tracer(source=list_source(story.events), selection=Selection(comms=("nobody",))) as tracer:
        assert list(tracer.poll(0)) == []
    counts = tracer.statistics.counts()
    assert counts.rows == {}
    assert counts.records[RecordType.OPERATION] == len(story.events)


@pytest.mark.parametrize("error", [UnixDiagMissingError(), PermissionError(13, "Permission denied")])
def test_a_kernel_that_does_not_list_its_sockets_is_traced_all_the_same(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse() -> Inventory:
        raise error

    attach(monkeypatch, stories.seeds_failure().events)
    monkeypatch.setattr("hangup.tracer.kernel.live.snapshot", refuse)
    with Tracer() as tracer:
        list(tracer.poll(0))
        assert tracer.statistics.total.broken_writes == 1


# ---- what a source has more of than it gives at once


def attach(monkeypatch: pytest.MonkeyPatch, *batches: list[Event]) -> FakeProbes:
    """Have the next tracer without a source take these batches for this host's."""
    attached = FakeProbes(*(map(pack, batch) for batch in batches))
    monkeypatch.setattr("hangup.tracer.kernel.preflight.require", lambda: None)
    monkeypatch.setattr("hangup.tracer.kernel.live.Probes", lambda **_: attached)
    monkeypatch.setattr("hangup.tracer.kernel.live.snapshot", refuse_to_list)
    return attached


def refuse_to_list() -> Inventory:
    raise PermissionError(13, "Permission denied")


def late_farewell(ago: int = 10_000 * MILLISECOND) -> Story:
    """Return a last word to who had closed the idle connection: harmless, because the client closes after it."""
    story = established(start=time.monotonic_ns() - ago)
    story.client.write(40)
    story.server.read()
    story.server.write(90)
    story.client.read()
    story.wait(1000 * MILLISECOND)
    story.server.release()
    story.wait(1000 * MILLISECOND)
    story.client.write(5, error=errno.EPIPE)
    story.wait(50 * MILLISECOND)
    story.client.release()
    return story


def test_what_it_cost_is_not_settled_by_the_clock_while_the_records_that_tell_are_still_in_the_ring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = late_farewell().events
    later = late_farewell(ago=5_000 * MILLISECOND).events
    attach(monkeypatch, events[:-1], [events[-1], *later])
    with Tracer() as tracer:
        assert [alert.verdict.sentence for alert in tracer.poll(0)] == []
        assert [alert.verdict.sentence for alert in tracer.poll(0)] == []
        assert tracer.statistics.total.harmless == 2


def test_what_it_cost_is_settled_by_the_clock_as_soon_as_nothing_is_left_in_the_ring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attach(monkeypatch, late_farewell().events[:-1])
    with Tracer() as tracer:
        (alert,) = tracer.poll(0)
    assert alert.verdict.consequence.afterwards is None


def test_what_it_cost_is_settled_by_later_records_also_while_more_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    events, later = late_farewell().events, late_farewell(ago=5_000 * MILLISECOND).events
    # A connection of its own.
    later = [event._replace(sock=event.sock + 0x1000, peer=event.peer and event.peer + 0x1000) for event in later]
    attach(monkeypatch, [*events[:-1], later[0]], later[1:])
    with Tracer() as tracer:
        (alert,) = tracer.poll(0)
    assert alert.verdict.consequence.afterwards is None


def test_a_read_without_records_is_the_end_only_of_a_source_that_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # The next record may be one that is being written.
    events = late_farewell().events
    with Tracer(source=list_source(events[:-1], [], events[-1:])) as tracer:
        assert list(tracer.alerts()) == []
        assert tracer.statistics.total.harmless == 1
    attach(monkeypatch, events[:-1], [], events[-1:])
    with Tracer() as live:
        live.stop()
        assert list(live.alerts()) == []
        assert live.statistics.total.harmless == 1


def test_a_capture_has_no_ring_buffer() -> None:
    with Tracer(source=list_source()) as tracer:
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
    story = Story()
    story.connect(error=errno.ECONNREFUSED)
    (alert,) = alerts(story.events)
    assert alert.verdict.kind is Kind.REFUSED
    assert alert.path == "/run/app.s"
    assert alert.client == Process(4711, "httpd", 4713, "httpd", 33, 33, 4711, 1)
    assert alert.server is None
    assert alert.story is None


def connect_fails(error: int, path: str = "/run/app.s") -> Story:
    story = Story(path=path)
    story.connect(error=error)
    return story


def test_a_connect_that_fails_otherwise_is_counted_by_its_error_only() -> None:
    events = [event for error in (errno.ENOENT, errno.ENOTSOCK) for event in connect_fails(error).events]
    with Tracer(source=list_source(events)) as tracer:
        assert list(tracer.alerts()) == []
    assert list(tracer.statistics.rows) == [Key("httpd", "?", "/run/app.s", Kind.CONNECT_FAILED)]
    assert tracer.statistics.counts().connect_errors == {"ENOENT": 1, "ENOTSOCK": 1}


def test_no_file_where_somebody_had_listened_is_an_alert() -> None:
    gone, other = connect_fails(errno.ENOENT), connect_fails(errno.ENOENT, "/run/other.s")
    (alert,) = alerts(stories.clean().events, [*gone.events, *other.events])
    assert alert.verdict.kind is Kind.LISTENER_GONE
    assert alert.verdict.symptom is Symptom.FAILED_CONNECT
    assert alert.path == "/run/app.s"


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
def test_a_connect_that_is_not_permitted_is_an_alert(error: int) -> None:
    (alert,) = alerts(connect_fails(error).events)
    assert alert.verdict.kind is Kind.NOT_PERMITTED
    assert errno.errorcode[error] in alert.verdict.sentence


def test_a_connect_that_a_signal_interrupts_is_neither_an_alert_nor_counted() -> None:
    story = connect_fails(512)
    assert alerts(story.events) == []
    assert rows(*story.events) == {}


def test_a_connect_with_a_result_that_is_no_error_s_disturbs_nothing() -> None:
    (event,) = connect_fails(errno.ENOENT).events
    failure = stories.seeds_failure()
    assert len(alerts([event._replace(result=7), event._replace(result=-(1 << 40)), *failure.events])) == 1


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
    with Tracer(source=list_source(stories.seeds_failure().events), pids=[1]) as tracer:
        assert list(tracer.alerts()) == []
    assert tracer.selection == Selection(frozenset({1}))


def test_every_selected_operation_is_handed_over() -> None:
    story, other = stories.seeds_failure(), stories.clean(client=OTHER, server=OTHER)
    refused = Story()
    refused.connect(error=errno.ECONNREFUSED)
    told: list[Event] = []

    def take(operation: Traced) -> None:
        told.append(operation.event)

    source = list_source([*story.events, *other.events, *refused.events])
    with Tracer(source=source, selection=Selection(comms=("httpd",)), on_operation=take) as tracer:
        assert len(list(tracer.alerts())) == 2
    assert told == [*story.events, *refused.events]


# ---- losses


def test_losses_are_told_by_cause_also_when_it_is_over() -> None:
    probes = FakeProbes(map(pack, stories.clean().events))
    with Tracer(source=live(probes)) as tracer:
        assert tracer.losses().total == 0
        probes.lost = [LostPeriod(Loss.RING_FULL, 5, 9, 3)]
        list(tracer.poll(0))
        assert tracer.losses().by_cause["ring_full"] == 3
        probes.lost = [LostPeriod(Loss.RING_FULL, 5, 19, 4)]
    none = dict.fromkeys((cause.name.lower() for cause in Loss), 0)
    assert tracer.losses().by_cause == {**none, "ring_full": 4, "connections_evicted": 0, "releases_missed": 0}
    assert tracer.losses().total == 4


def test_a_missed_release_is_a_loss() -> None:
    with Tracer(source=list_source([*established().events, *stories.clean().events])) as tracer:
        list(tracer.alerts())
        assert tracer.losses().by_cause["releases_missed"] == 1


def lost_from(since: int, until: int, count: int = 1) -> list[LostPeriod]:
    return [LostPeriod(Loss.RING_FULL, since, until, count)]


@pytest.mark.parametrize(
    ("first", "last", "uncertain"),
    [
        (-2000, -1, False),
        (-2000, 0, True),
        (10, 20, True),
        (-2000, 10**9, True),
        (10**8, 10**9, False),
    ],
)
def test_a_loss_makes_uncertain_what_was_open_then(first: int, last: int, uncertain: bool) -> None:
    story = stories.seeds_failure()
    start = story.events[0].start
    (alert,) = alerts(story.events, periods=lost_from(start + first, start + last, 2))
    assert alert.verdict.doubts == (("2 records were lost while it was open",) if uncertain else ())


def test_one_loss_leaves_the_connections_before_and_after_it_certain() -> None:
    early, late = stories.seeds_failure(), stories.seeds_failure(start=5 * 10**9)
    (during,) = (stories.seeds_failure(start=3 * 10**9),)
    events = [*early.events, *during.events, *late.events]
    told = alerts(events, periods=lost_from(3 * 10**9, 3 * 10**9 + 1000))
    assert [alert.verdict.certain for alert in told] == [True, False, True]


def test_a_loss_later_than_a_failure_and_before_its_alert_is_no_doubt() -> None:
    story = stories.seeds_failure()
    failed = story.events[-2]
    (alert,) = alerts(story.events, periods=lost_from(failed.end + 1, failed.end + 1000))
    assert alert.verdict.certain


def test_a_capture_gives_what_the_live_host_gave(tmp_path: Path) -> None:
    events = [*stories.clean().events, *stories.seeds_failure().events, *stories.latent().events]
    write_capture(tmp_path / "capture", map(pack, events))
    with FileSource(tmp_path / "capture") as source, Tracer(source=source, latent=True) as tracer:
        replayed = [alert.verdict for alert in tracer.alerts()]
        assert tracer.losses().total == 0
        assert tracer.flavour is None
    assert replayed == [alert.verdict for alert in alerts(events, latent=True)]


def test_a_capture_names_nobody_from_this_host(tmp_path: Path) -> None:
    # The pid at the other end is this very process's here; where the capture was made it was another's.
    story = Story(older=True, server=Task("uwsgi", os.getpid()))
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    write_capture(tmp_path / "capture", map(pack, story.events[1:]))
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as tracer:
        (alert,) = tracer.alerts()
    assert alert.server is not None
    assert (alert.server.pid, alert.server.comm) == (os.getpid(), "?")
    assert (alert.server.cgroup, alert.server.inner_pid) == (None, None)
    assert alert.client is not None
    assert alert.client.cgroup is None


def test_a_capture_has_the_losses_of_the_host_it_was_made_on(tmp_path: Path) -> None:
    story = stories.seeds_failure()
    start = story.events[0].start
    periods = lost_from(start, start + 10, 3)
    write_capture(tmp_path / "capture", [*lost_records(periods), *map(pack, story.events)])
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as tracer:
        (alert,) = tracer.alerts()
        assert tracer.losses().by_cause["ring_full"] == 3
    assert alert.verdict == alerts(story.events, periods=periods)[0].verdict


def test_a_truncated_capture_is_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, map(pack, stories.seeds_failure().events))
    path.write_bytes(path.read_bytes()[:-3])
    with FileSource(path) as source, Tracer(source=source) as tracer:
        assert len(list(tracer.alerts())) == 1
        assert tracer.losses().by_cause["capture_damaged"] == 1


def test_an_unnamed_far_end_is_unknown_in_the_table() -> None:
    story = Story(older=True, server=UWSGI)
    story.client.write(16)
    story.client.release()
    story.server.release()
    told = [event._replace(peer_pid=0, inode_number=0) for event in story.events[:2]]
    told[1] = told[1]._replace(flags=32)
    assert list(rows(*told)) == [Key("httpd", "?", "?", Kind.CLEAN)]


# ---- a death, idle or in the middle of an answer


def dies(*, exchanges: int, silent: bool, **how: int) -> Story:
    """Return a server that has answered, and dies; the client waits for more and meets the end, and then uses it."""
    story = established()
    for _ in range(exchanges):
        story.client.write(16)
        story.server.read()
        story.server.write(100)
        story.client.read()
    if silent:
        story.wait(1000 * MILLISECOND)
    story.server.release(**how)  # type: ignore[arg-type]
    return story


@pytest.mark.parametrize(("how", "kind"), [({"killed_by": 9}, Kind.KILLED), ({"exit_status": 1}, Kind.EXITED)])
def test_whoever_dies_in_the_middle_of_its_answer_is_an_alert_though_nobody_failed(
    how: dict[str, int], kind: Kind
) -> None:
    story = dies(exchanges=1, silent=False, **how)
    story.client.read()
    story.client.release()
    (alert,) = alerts(story.events)
    assert (alert.verdict.kind, alert.verdict.symptom) == (kind, Symptom.CUT_READ)
    assert not alert.verdict.certain


@pytest.mark.parametrize("how", [{"killed_by": 9}, {"exit_status": 1}, {"exit_status": 0}])
def test_whoever_dies_idle_after_an_earlier_answer_is_no_alert_where_nobody_failed(how: dict[str, int]) -> None:
    story = dies(exchanges=2, silent=True, **how)
    story.client.read()
    story.client.release()
    assert alerts(story.events) == []
    assert [key.kind for key in rows(*story.events)] == [Kind.CLEAN]


@pytest.mark.parametrize(
    ("how", "kind"),
    [({"killed_by": 9}, Kind.KILLED), ({"exit_status": 1}, Kind.REUSED), ({}, Kind.REUSED)],
)
def test_a_connection_used_after_its_server_went_idle_says_how_that_went(how: dict[str, int], kind: Kind) -> None:
    story = dies(exchanges=2, silent=True, **how)
    story.wait(1000 * MILLISECOND)
    story.client.write(300, error=errno.EPIPE)
    story.client.release()
    (alert,) = alerts(story.events)
    assert alert.verdict.kind is kind


def test_a_failure_stays_in_the_timeline_however_much_is_done_after_it() -> None:
    story = established()
    for _ in range(10):
        story.client.write(300)
        story.server.read()
        story.server.write(100)
        story.client.read()
    story.client.write(300)
    story.server.read()
    story.server.write(100)
    story.server.release()
    failed = story.client.write(8, error=errno.EPIPE)
    for _ in range(100):
        story.client.read(1)
    story.client.release()
    alert = ended(story)
    assert alert.story is not None
    places = [place for place, moment in enumerate(alert.story.timeline) if moment.event == failed]
    assert len(places) == 1
    client = alert.story.client
    shown = [moment for moment in alert.story.timeline if moment.role == "client"]
    assert len(shown) + client.operations_not_kept == client.operations


def test_a_live_host_is_kept_as_it_is_read_and_says_the_same_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = [*stories.clean().events, *stories.seeds_failure().events]
    attach(monkeypatch, events[:5], events[5:])
    with Tracer(keep=tmp_path / "capture") as tracer:
        tracer.stop()
        told = [alert.verdict for alert in tracer.alerts()]
        assert (tracer.flavour, tracer.functions) == ("fentry", ("unix_accept",))
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as replayed:
        assert [alert.verdict for alert in replayed.alerts()] == told
        assert (replayed.flavour, replayed.functions) == ("fentry", ("unix_accept",))
        assert source.damage is None
    assert replayed.statistics.counts() == tracer.statistics.counts()


def test_what_was_told_later_than_an_alert_is_told_later_by_its_capture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    *events, release = stories.seeds_failure().events
    failed = events[-1]
    release = release._replace(start=release.start + 2 * WAIT, end=release.end + 2 * WAIT)
    attached = attach(monkeypatch, events, [], [release])
    # There is nothing more whenever somebody looks.
    monkeypatch.setattr(FakeProbes, "drained", True)
    with Tracer(keep=tmp_path / "capture") as tracer:
        told = list(tracer.poll(0))
        assert [alert.verdict.certain for alert in told] == [True]
        # Of what had begun before, as of a history that is given up much later.
        attached.lost = lost_from(failed.start, failed.end)
        told += [*tracer.poll(0), *tracer.poll(0)]
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as replayed:
        assert [alert.verdict for alert in replayed.alerts()] == [alert.verdict for alert in told]


def test_what_is_told_of_the_host_does_not_end_the_wait_for_older_records_behind_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    *events, release = stories.seeds_failure().events
    now = failed = events[-1].end
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    attached = attach(monkeypatch, events, [release])
    # There is nothing more whenever somebody looks.
    monkeypatch.setattr(FakeProbes, "drained", True)
    with Tracer(keep=tmp_path / "capture") as tracer:
        told = list(tracer.poll(0))
        # It is looked again after a tenth of a second: what the client did next was recorded at once.
        now = failed + WAIT + 1
        attached.lost = lost_from(0, 1)
        told += tracer.poll(0)
    assert [alert.verdict.consequence.afterwards for alert in told] == ["closed"]
    assert tracer.losses().total == 1
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as replayed:
        assert [alert.verdict for alert in replayed.alerts()] == [alert.verdict for alert in told]
    assert replayed.losses().total == 1


def test_what_is_told_of_the_host_is_known_when_the_context_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    *events, release = stories.seeds_failure().events
    attached = attach(monkeypatch, events, [], [release])
    with Tracer() as tracer:
        assert list(tracer.poll(0)) == []
        attached.lost = lost_from(0, 1)
        assert list(tracer.poll(0)) == []
    assert tracer.losses().total == 1


def test_what_is_kept_of_a_capture_that_was_cut_is_cut_too(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("capture", "copy", "copy of the copy")]
    write_capture(paths[0], map(pack, stories.seeds_failure().events))
    os.truncate(paths[0], paths[0].stat().st_size - 1)
    for path, copy in pairwise(paths):
        with FileSource(path) as source, Tracer(source=source, keep=copy) as tracer:
            list(tracer.alerts())
            assert tracer.losses().by_cause["capture_damaged"] == 1


def test_what_is_kept_of_a_host_is_cut_where_somebody_stopped_reading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = stories.seeds_failure().events
    for number, (batches, whole) in enumerate([((events[:5], events[5:]), False), ((events,), True)]):
        attach(monkeypatch, *batches)
        path = tmp_path / str(number)
        with Tracer(keep=path) as tracer:
            list(tracer.poll(0))
        with FileSource(path) as source:
            while source.read(0):
                pass
            assert (source.damage is None) is whole


def test_probes_are_taken_away_again_if_there_is_no_file_to_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attached = attach(monkeypatch)
    with pytest.raises(HangupError, match="cannot create"), Tracer(keep=tmp_path / "nowhere" / "capture"):
        pass
    assert attached.closed


def test_probes_are_taken_away_however_the_context_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    attached = attach(monkeypatch)

    def interrupted() -> list[Counted]:
        raise KeyboardInterrupt

    monkeypatch.setattr(attached, "counted", interrupted)
    with pytest.raises(KeyboardInterrupt), Tracer(stream=False):
        pass
    assert attached.closed


@pytest.mark.parametrize(("cgroup", "is_selected"), [(ROOT, False), (4711, True)])
def test_of_who_is_gone_it_is_known_whether_he_was_in_the_root_cgroup_which_no_other_is(
    cgroup: int, is_selected: bool
) -> None:
    client, server = (replace(task, cgroup=cgroup) for task in (HTTPD, UWSGI))
    records = [pack(event) for event in stories.seeds_failure(client=client, server=server).events]
    for taker in ("on_operations", "on_places"):
        taken: list[object] = []
        selection = Selection(cgroups=("/app.slice",))
        with Tracer(source=Records(records), selection=selection, **{taker: taken.extend}) as tracer:  # type: ignore[arg-type]
            list(tracer.alerts())
        assert bool(taken) == is_selected
