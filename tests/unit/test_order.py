"""In whatever order the kernel records them: the same operations by cause give the same verdicts and the same counts.

Records stand in the ring buffer in the order of their reservation. An operation is recorded when it ends, a release
when it begins; so a reader may be recorded before the writer whose bytes it read, and a server's whole life before the
connect that began it. tests/stories.py generates such orders, of many connections that use the same few addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.tracer.record.layout import Event, Operation, RecordType, pack
from hangup.tracer.statistics import Key, Row
from hangup.tracer.story.endpoints import Endpoints
from hangup.tracer.story.exchange import exchange_of
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind, Verdict
from tests.stories import Script, interleaved, random_script
from tests.unit.sources import Records

TOO_EARLY = "its beginning was not recorded: the connection is older than hangup, or a record was lost"
_TIME = re.compile(r"\b[0-9.]+ (ns|µs|ms|s)\b")


def traced(events: list[Event], batch: int) -> tuple[list[Alert], Mapping[Key, Row], int]:
    batches = [events[start : start + batch] for start in range(0, len(events), batch)]
    with Tracer(source=Records(*(map(pack, batch) for batch in batches)), latent=True, harmless=True) as tracer:
        alerts: list[Alert] = []
        for _ in batches:
            alerts += tracer.poll(0)
        # What is still waited for comes with the end.
        alerts += tracer.alerts()
        assert tracer._endpoints._by_sock == {}
        assert tracer._endpoints._kept == 0
        counted = tracer.statistics.counts()
        assert counted.records[RecordType.OPERATION] == len(events)
        assert sum(row.operations for row in counted.rows.values()) == len(events)
        return alerts, tracer.statistics.rows, tracer.losses().total


def failed_before_its_connect(alert: Alert, events: list[Event]) -> bool:
    """Whether a server's failure was recorded before the connect that the client still is in.

    For all that is known then the connection may be older than the tracer: it is right to say so.
    """
    story = alert.story
    connects = [
        event for event in events if event.operation == Operation.CONNECT and story and event.sock == story.client.sock
    ]
    connect = next((event for event in connects if story and event.inode_number == story.client.inode_number), None)
    return alert.failed is not None and connect is not None and events.index(alert.failed) < events.index(connect)


@settings(max_examples=100)
@given(
    st.randoms(use_true_random=False),
    st.randoms(use_true_random=False),
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    st.integers(1, 50),
)
def test_any_order_of_records_gives_the_verdicts_that_the_causes_give(
    told: Random, played: Random, addresses: list[int], batch: int
) -> None:
    scripts = [random_script(told) for _ in addresses]
    events = interleaved(scripts, addresses, played)
    alerts, rows, losses = traced(events, batch)
    assert losses == 0

    verdicts = {alert.path: alert.verdict for alert in alerts}
    too_early = {alert.path for alert in alerts if failed_before_its_connect(alert, events)}
    assert len(verdicts) == len(alerts)
    for number, script in enumerate(scripts):
        path = f"/run/{number}.s"
        # Who is at the other end may not be known yet when something fails: its name is not compared.
        (row,) = (row for key, row in rows.items() if (key.path, key.kind.label) == (path, script.label))
        assert row.connections == 1
        assert row.broken_writes == (script.symptom is Symptom.BROKEN_WRITE)
        assert row.reset_reads == (script.symptom is Symptom.RESET_READ)
        assert row.cut_reads == (script.symptom is Symptom.CUT_READ)
        assert row.latent == (script.label == "latent")
        assert row.gaps.count == (script.symptom is not None and "shutdown" not in script.label)
        if script.label == "clean":
            assert path not in verdicts
            continue
        verdict = verdicts[path]
        assert verdict.kind.label == script.label
        # A death in the middle of an answer, or after it, is in doubt in any order.
        doubts = {doubt for doubt in verdict.doubts if "sockets do not tell" not in doubt}
        # The connect may still come before the alert is told.
        assert doubts <= ({TOO_EARLY} if path in too_early else set())
        assert verdict.symptom is (script.symptom or Symptom.NONE)
        if "shutdown" not in script.label:
            assert verdict.figures.unread_bytes == script.unread
    assert len(rows) == len(scripts)


def exchanged(verdict: Verdict) -> tuple[object, ...]:
    """Return what a verdict says of the last exchange.

    Nothing after a shutdown: it does not wait for the other end's writes, one of which may not be recorded yet.
    """
    if verdict.kind in (Kind.OWN_SHUTDOWN, Kind.PEER_SHUTDOWN):
        return ()
    figures, consequence = verdict.figures, verdict.consequence
    return (
        figures.sent_bytes,
        figures.read_bytes,
        figures.unread_bytes,
        figures.answered_bytes,
        consequence.answer or "",
        consequence.lost_bytes,
    )


def said(verdict: Verdict) -> str:
    """Return a verdict's sentence without what no cause decides."""
    sentence = _TIME.sub("a while", verdict.sentence)
    if verdict.kind is Kind.OWN_SHUTDOWN:
        # How the exchange stood: the other end may have written before it or after.
        sentence = re.sub("(?<=a while before), .*(?=; )", "", sentence)
    # Whether it had been accepted when its client left is no cause either.
    return sentence.replace("in the backlog", "for an answer")


def conclusions(scripts: list[Script], addresses: list[int], seed: int) -> list[tuple[object, ...]]:
    alerts, _, _ = traced(interleaved(scripts, addresses, Random(seed)), 1000)
    return sorted(
        (
            str(alert.path),
            said(alert.verdict),
            *exchanged(alert.verdict),
            alert.failed.operation if alert.failed else 0,
            # Not the thread: which of two wrote last is nobody's cause.
            alert.client.pid if alert.client else 0,
            alert.server.pid if alert.server else 0,
        )
        for alert in alerts
    )


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_any_two_orders_of_records_say_the_same(told: Random, addresses: list[int]) -> None:
    scripts = [random_script(told) for _ in addresses]
    first, *others = (conclusions(scripts, addresses, seed) for seed in range(4))
    for other in others:
        assert other == first


def answer_is_owed(events: list[Event]) -> bool:
    """Return whether an answer is owed to the client when these have been recorded."""
    endpoints = Endpoints()
    list(endpoints.feed(events))
    (connection,) = endpoints._connections.values()
    return exchange_of(connection.client).asked


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_whether_an_answer_is_owed_is_the_same_whatever_was_recorded_first(told: Random, played: Random) -> None:
    script = random_script(told)
    writers = [step.end for step in script.steps if step.operation is Operation.WRITE and step.result > 0]
    # Whoever writes in a script has read all that the other end had written before: its order is that of the turns.
    owed = bool(writers) and writers[-1] == "client"
    for _ in range(4):
        events = interleaved([script], [0], played)
        talk = [event for event in events if event.operation != Operation.RELEASE]
        assert answer_is_owed(talk) == owed


def test_some_orders_of_records_are_not_those_of_the_turns() -> None:
    """What the property above is worth: in some of its orders an answer is recorded before its request."""
    random = Random(1)
    early = 0
    for _ in range(300):
        events = interleaved([random_script(random)], [0], random)
        writes = [event for event in events if event.operation == Operation.WRITE and event.result > 0]
        early += any(first.start > second.start and first.sock != second.sock for first, second in pairwise(writes))
    assert early > 10


def test_the_generated_connections_reach_every_order_that_matters() -> None:
    seen = set()
    labels = set()
    random = Random(1)
    for _ in range(300):
        script = random_script(random)
        labels.add(script.label)
        events = interleaved([script], [0], random)
        operations = [(event.operation, event.sock == events[0].sock) for event in events]
        if events[0].operation == Operation.ACCEPT:
            seen.add("an accept before its connect")
        if events[0].operation == Operation.WRITE:
            seen.add("a write before its connect")
        if (Operation.RELEASE, True) in operations[: [o for o, _ in operations].index(Operation.CONNECT)]:
            seen.add("a release before its connect")
        released = next(place for place, event in enumerate(events) if event.operation == Operation.RELEASE)
        if any(event.operation == Operation.WRITE and event.result > 0 for event in events[released:]):
            seen.add("a write after the release that it came before")
        if events[released].unread_bytes < script.unread:
            seen.add("a write that slipped in when the queue had been counted")
    assert len(seen) == 5
    # No script waits so long that a connection is idle, and none has a connect that fails.
    assert labels == {kind.label for kind in Kind} - {
        kind.label
        for kind in (
            Kind.UNSEEN,
            Kind.REUSED,
            Kind.REFUSED,
            Kind.BACKLOG_FULL,
            Kind.LISTENER_GONE,
            Kind.NOT_PERMITTED,
            Kind.CONNECT_FAILED,
        )
    }
