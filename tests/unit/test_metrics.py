"""What Prometheus is told: every figure once, under few labels, and no counter ever goes down."""

from __future__ import annotations

import errno
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from hangup.cli.sinks.metrics import OTHER, Metrics, Snapshot, bounded
from hangup.cli.sinks.metrics_table import METRICS, PROCESS_METRICS
from hangup.tracer.kernel.ring import RingFill
from hangup.tracer.record.layout import Loss, RecordType
from hangup.tracer.statistics import GAP_BOUNDS, MAX_NAMES, Key, Statistics
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Tracer
from hangup.tracer.verdicts import Kind
from tests import stories
from tests.unit.playback import Playback

Series = tuple[str, frozenset[tuple[str, str]]]


def snapshot(statistics: Statistics | None = None) -> Snapshot:
    """Return one in which nothing is missing."""
    return Snapshot(
        statistics or counted(),
        losses={"ring_full": 2, "skipped": 0},
        open_endpoints=3,
        probes="fentry",
        functions=11,
        ring=RingFill(4096, 1 << 24, 8192),
        alerts={"unread": 5},
        held_back={"unread": 4},
        sink_errors={"journal": 1, "file": 0},
        reload_successful=False,
        reload_time=1_767_225_600.5,
    )


def counted() -> Statistics:
    """Return statistics in which each metric has a value."""
    statistics = Statistics()
    count(statistics, Kind.CLEAN, operations=18)
    count(statistics, Kind.LATENT)
    count(statistics, Kind.UNREAD, Symptom.BROKEN_WRITE, gap=89_000)
    count(statistics, Kind.KILLED, Symptom.CUT_READ)
    count(statistics, Kind.KILLED, Symptom.SHORT_WRITE)
    count(statistics, Kind.KILLED, Symptom.TOLD)
    count(statistics, Kind.REUSED, Symptom.BROKEN_WRITE, is_harmless=True)
    for _ in range(3):
        count(statistics, Kind.CONNECT_FAILED, Symptom.FAILED_CONNECT, error=errno.ENOENT)
    statistics.read({RecordType.OPERATION: 2, RecordType.HISTORY: 1})
    statistics.read({RecordType.OPERATION: 5})
    return statistics


def count(
    statistics: Statistics,
    kind: Kind,
    symptom: Symptom = Symptom.NONE,
    *,
    client: str = "httpd",
    path: str = "/run/app.s",
    gap: int | None = None,
    operations: int = 1,
    is_harmless: bool = False,
    error: int = 0,
) -> None:
    key = Key(client, "uwsgi", path, kind)
    statistics.count(
        key,
        symptom=symptom,
        gap=gap,
        is_alert=kind.is_alert and not is_harmless,
        is_harmless=is_harmless,
        operations=operations,
        error=error,
    )


def samples(source: Snapshot, **options: int) -> dict[Series, float]:
    """Return the samples of one scrape by their name and labels."""
    registry = CollectorRegistry()
    registry.register(Metrics(lambda: source, **options))
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in found
            found[series] = sample.value
    return found


def value(found: Mapping[Series, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


ENDS = {"client": "httpd", "server": "uwsgi", "path": "/run/app.s"}


def test_every_metric_of_the_table_is_exposed_and_no_other() -> None:
    registry = CollectorRegistry()
    registry.register(Metrics(snapshot))
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert {(family.name, family.documentation) for family in families} == {
        # A text without OpenMetrics' types has no infos: they are gauges by their whole name.
        (metric.family if metric.type == "counter" else metric.name, metric.meaning)
        for metric in METRICS
    }
    labels = {metric.family if metric.type == "counter" else metric.name: set(metric.labels) for metric in METRICS}
    for family in families:
        assert family.samples, family.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels[family.name]


def test_the_process_metrics_of_the_table_are_what_prometheus_client_has() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    exposed = {family.name for family in text_string_to_metric_families(generate_latest(registry).decode())}
    assert exposed == {metric.family for metric in PROCESS_METRICS}


def test_names_end_with_their_unit_and_a_counter_with_total() -> None:
    for metric in (*METRICS, *PROCESS_METRICS):
        assert metric.name.endswith("_total") == (metric.type == "counter")
        assert metric.family.endswith(metric.unit)
        assert metric.meaning.endswith(".")
        assert len(set(metric.labels)) == len(metric.labels)
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_figures_stand_under_their_names() -> None:
    found = samples(snapshot())
    unread = {**ENDS, "verdict": "unread"}
    assert value(found, "hangup_connections_total", **ENDS, verdict="clean") == 1
    assert value(found, "hangup_operations_total", **ENDS, verdict="clean") == 18
    assert value(found, "hangup_broken_writes_total", **unread) == 1
    assert value(found, "hangup_reset_reads_total", **unread) == 0
    for name in ("cut_reads", "short_writes", "errors_told"):
        assert value(found, f"hangup_{name}_total", **ENDS, verdict="killed") == 1
        # There before its first, so that rate() sees that one.
        assert value(found, f"hangup_{name}_total", **unread) == 0
    assert value(found, "hangup_harmless_total", **ENDS, verdict="reused") == 1
    assert value(found, "hangup_harmless_total", **unread) == 0
    assert value(found, "hangup_connect_errors_total", errno="ENOENT") == 3
    assert value(found, "hangup_latent_hangups_total", **ENDS, verdict="latent") == 1
    assert value(found, "hangup_records_total", type="operation") == 7
    assert value(found, "hangup_records_total", type="history") == 1
    assert value(found, "hangup_open_endpoints") == 3
    assert value(found, "hangup_alerts_total", verdict="unread") == 5
    assert value(found, "hangup_alerts_held_back_total", verdict="unread") == 4
    assert value(found, "hangup_sink_errors_total", sink="journal") == 1
    assert value(found, "hangup_losses_total", cause="ring_full") == 2
    assert value(found, "hangup_losses_total", cause="skipped") == 0
    assert value(found, "hangup_probed_functions", flavour="fentry") == 11
    assert value(found, "hangup_ring_bytes") == 4096
    assert value(found, "hangup_ring_highest_bytes") == 8192
    assert value(found, "hangup_ring_size_bytes") == 1 << 24
    assert value(found, "hangup_config_last_reload_successful") == 0
    assert value(found, "hangup_config_last_reload_success_timestamp_seconds") == 1_767_225_600.5


def test_every_verdict_that_alerts_is_there_before_its_first_alert() -> None:
    found = samples(Snapshot(Statistics()))
    for name in ("hangup_alerts_total", "hangup_alerts_held_back_total"):
        verdicts = {dict(labels)["verdict"]: value for (metric, labels), value in found.items() if metric == name}
        assert verdicts == {kind.label: 0 for kind in Kind if kind.is_alert or kind is Kind.LATENT}


def test_every_type_of_record_is_there_before_its_first() -> None:
    found = samples(Snapshot(Statistics()))
    types = {
        dict(labels)["type"]: value for (metric, labels), value in found.items() if metric == "hangup_records_total"
    }
    assert types == {"operation": 0, "history": 0}


def test_endpoints_that_no_kernel_counts_are_left_out_and_not_none() -> None:
    missing = set(samples(snapshot())) - set(samples(replace(snapshot(), open_endpoints=None)))
    assert [name for name, _ in missing] == ["hangup_open_endpoints"]


def test_connections_that_the_kernel_counted_have_their_operations() -> None:
    statistics = Statistics()
    key = Key("httpd", "uwsgi", "/run/app.s", Kind.CLEAN)
    statistics.before = lambda: statistics.count_ended(key, 1, 18)
    for scrape in (1, 2):
        found = samples(Snapshot(statistics))
        assert value(found, "hangup_connections_total", **ENDS, verdict="clean") == scrape
        assert value(found, "hangup_operations_total", **ENDS, verdict="clean") == 18 * scrape


def test_connections_that_are_left_out_are_counted_up_to_the_scrape() -> None:
    statistics = Statistics()
    statistics.before = lambda: statistics.leave_out(5)
    for scrape in (1, 2):
        assert value(samples(Snapshot(statistics)), "hangup_connections_left_out_total") == 5 * scrape


def test_gaps_are_a_histogram_in_seconds() -> None:
    statistics = Statistics()
    for gap in (0, 1000, 1001, 89_000, 10**10, 10**10 + 1):
        count(statistics, Kind.UNREAD, Symptom.RESET_READ, gap=gap)
    found = samples(Snapshot(statistics))
    buckets = {
        float(dict(labels)["le"]): value
        for (name, labels), value in found.items()
        if name == "hangup_gap_seconds_bucket"
    }
    assert list(buckets) == [*(bound / 10**9 for bound in GAP_BOUNDS), math.inf]
    assert (buckets[1e-6], buckets[2e-6], buckets[5e-5], buckets[1e-4]) == (2, 3, 3, 4)
    assert (buckets[10], buckets[math.inf]) == (5, 6)
    assert value(found, "hangup_gap_seconds_count", verdict="unread") == 6
    assert value(found, "hangup_gap_seconds_sum", verdict="unread") == pytest.approx(20.000091002)


def test_openmetrics_takes_it_too() -> None:
    registry = CollectorRegistry()
    registry.register(Metrics(snapshot))
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} == {metric.family for metric in METRICS}


def test_names_that_a_process_chose_are_values_and_never_lines() -> None:
    statistics = Statistics()
    count(statistics, Kind.CLEAN, client='a"} 1\nforged 1', path='/run/"\\')
    found = samples(Snapshot(statistics))
    assert not any(name == "forged" for name, _ in found)
    labels = {"client": 'a"} 1\nforged 1', "server": "uwsgi", "path": '/run/"\\', "verdict": "clean"}
    assert value(found, "hangup_connections_total", **labels) == 1


def test_paths_of_one_pattern_are_one_series() -> None:
    statistics = Statistics()
    for number in range(10):
        count(statistics, Kind.CLEAN, path=f"/run/user/{number}/bus")
    found = samples(Snapshot(statistics))
    labels = {**ENDS, "path": "/run/user/*/bus", "verdict": "clean"}
    assert value(found, "hangup_connections_total", **labels) == 10


def test_beyond_the_limit_everything_is_other_and_what_was_there_keeps_its_labels() -> None:
    statistics = Statistics()
    for client in ("a", "b", "c", "d"):
        count(statistics, Kind.CLEAN, client=client)
    count(statistics, Kind.UNREAD, Symptom.BROKEN_WRITE, client="a")
    count(statistics, Kind.UNREAD, Symptom.BROKEN_WRITE, client="d")
    found = samples(Snapshot(statistics), series=2)
    connections = {
        (dict(labels)["client"], dict(labels)["verdict"]): value
        for (name, labels), value in found.items()
        if name == "hangup_connections_total"
    }
    assert connections == {
        ("a", "clean"): 1,
        ("b", "clean"): 1,
        (OTHER, "clean"): 2,
        ("a", "unread"): 1,
        (OTHER, "unread"): 1,
    }
    others = [dict(labels) for _, labels in found if ("client", OTHER) in labels]
    assert others
    assert all((labels["server"], labels["path"]) == (OTHER, OTHER) for labels in others)


def test_what_the_statistics_count_together_is_other_and_takes_nobodys_place() -> None:
    statistics = Statistics()
    for number in range(MAX_NAMES + 5):
        # Letters only: a pattern would count numbers together.
        count(statistics, Kind.CLEAN, path="/" + "".join(chr(ord("a") + int(digit)) for digit in str(number)))
    sums = bounded(statistics.counts().rows, limit=2 * MAX_NAMES)
    assert len(sums) == MAX_NAMES + 1
    assert sums[OTHER, OTHER, OTHER, "clean"].connections == 5


names = st.sampled_from(["a", "b", "c", "d", "e", OTHER, "(other)"])
connections = st.tuples(
    names,
    names,
    st.sampled_from(["/run/a", "/run/1", "/run/2", "?", "(other)"]),
    st.sampled_from([Kind.CLEAN, Kind.UNREAD, Kind.LATENT]),
    st.integers(0, 20),
)


@given(st.lists(st.lists(connections, max_size=8), max_size=8), st.integers(0, 6))
def test_no_counter_goes_down_or_away_and_none_is_counted_twice(
    scrapes: list[list[tuple[str, str, str, Kind, int]]], limit: int
) -> None:
    statistics = Statistics()
    before: dict[Series, float] = {}
    seen = 0
    for ended in scrapes:
        for client, server, path, kind, operations in ended:
            symptom = Symptom.BROKEN_WRITE if kind is Kind.UNREAD else Symptom.NONE
            key = Key(client, server, path, kind)
            statistics.count(key, symptom=symptom, gap=operations, operations=operations)
            statistics.add(key, 1)
        seen += len(ended)
        found = counters(samples(Snapshot(statistics), series=limit))
        assert all(found.get(series, -1) >= value for series, value in before.items())
        assert sum(value for (name, _), value in found.items() if name == "hangup_connections_total") == seen
        labels = {tuple(value for label, value in sorted(labels) if label != "verdict") for _, labels in found}
        assert len(labels - {(OTHER, OTHER, OTHER)}) <= limit
        before = found


def counters(found: Mapping[Series, float]) -> dict[Series, float]:
    """Return the counters that have the connections' labels."""
    return {series: value for series, value in found.items() if "client" in dict(series[1])}


def test_a_scrape_at_any_time_sees_no_counter_lower_than_before() -> None:
    statistics = Statistics()
    collector = Metrics(lambda: Snapshot(statistics), series=3)
    scraped: list[list[dict[Series, float]]] = [[], []]
    done = Event()

    def scrape(into: list[dict[Series, float]]) -> None:
        while not done.is_set():
            into.append(flat(collector.collect()))

    threads = [Thread(target=scrape, args=(into,)) for into in scraped]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        number = 0
        while min(map(len, scraped)) < 20:
            number += 1
            count(statistics, Kind.UNREAD, Symptom.BROKEN_WRITE, client=f"client{number % 5}", gap=number)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    for scrapes in scraped:
        before: dict[Series, float] = {}
        for found in scrapes:
            assert all(found.get(series, -1) >= value for series, value in before.items())
            before = found


def flat(families: Iterable[object]) -> dict[Series, float]:
    """Return the samples of connections and gaps."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples  # type: ignore[attr-defined]
        if "verdict" in sample.labels
    }


def test_the_tracer_has_all_that_a_snapshot_asks_for() -> None:
    events = [event for story in (stories.seeds_failure(), stories.latent()) for event in story.events]
    with Tracer(source=Playback(events, {Loss.RING_FULL: 2})) as tracer:
        list(tracer.alerts())
        found = samples(
            Snapshot(
                statistics=tracer.statistics,
                losses=tracer.losses().by_cause,
                open_endpoints=tracer.open_endpoints,
                probes=tracer.flavour,
                functions=len(tracer.functions),
                ring=tracer.ring,
            )
        )
    answered = {"client": "httpd", "server": "uwsgi", "path": "/tmp/helloFastCGI.s", "verdict": "answered"}
    assert value(found, "hangup_broken_writes_total", **answered) == 1
    assert value(found, "hangup_gap_seconds_sum", verdict="answered") == pytest.approx(89e-6)
    assert value(found, "hangup_losses_total", cause="ring_full") == 2
    assert value(found, "hangup_probed_functions", flavour="none") == 0
    assert value(found, "hangup_records_total", type="operation") == len(events)
    # No kernel of ours has recorded it.
    assert not any(name.startswith(("hangup_ring", "hangup_open")) for name, _ in found)
