"""The counts of `hangup serve` for Prometheus.

A scrape reads a `Snapshot` and never reaches into the tracing: what it needs is copied in an instant, and made into
text by the scrape's own thread.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from hangup.cli.sinks import metrics_table as table
from hangup.cli.sinks.listen import parse_listen
from hangup.cli.sinks.metrics_server import MetricsServer
from hangup.cli.sinks.metrics_table import Described
from hangup.tracer import fields, statistics
from hangup.tracer.kernel.ring import RingFill
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.record.layout import RING_TYPES
from hangup.tracer.statistics import GAP_BOUNDS, Histogram, Key, RowCounts, Statistics
from hangup.tracer.verdicts import Kind
from hangup.tracer.version import VERSION

__all__ = ["Metrics", "MetricsServer", "Snapshot", "parse_listen"]

# Each of them is some series for each verdict that is seen.
MAX_SERIES = 200
OTHER = "other"

_SECOND = 10**9

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the service knows at one instant."""

    statistics: Statistics
    losses: Mapping[str, int] = field(default_factory=dict)
    """By cause; a cause with 0 is included."""
    open_endpoints: int | None = None
    """None: there are no probes whose kernel would know."""
    probes: str | None = None
    """How the probes are attached; None: they are not."""
    functions: int = 0
    """How many functions of the kernel are probed."""
    ring: RingFill | None = None
    alerts: Mapping[str, int] = field(default_factory=dict)
    """By verdict, sent or held back."""
    held_back: Mapping[str, int] = field(default_factory=dict)
    """By verdict, counted instead of sent."""
    sink_errors: Mapping[str, int] = field(default_factory=dict)
    """By sink; a sink with 0 is included."""
    reload_successful: bool = True
    reload_time: float | None = None
    """When the configuration was last taken, in seconds since 1970; None: there is none."""


def bounded(rows: Mapping[Key, RowCounts], limit: int) -> dict[Labels, RowCounts]:
    """Return the counts by client, server, path pattern and verdict, of at most `limit` clients, servers and paths.

    The first ones keep their labels for ever, and what comes later is `other` for ever: rows are only added, at the
    end. So no sum goes down.
    """
    kept: set[Labels] = set()
    sums: dict[Labels, RowCounts] = {}
    for key, counts in rows.items():
        patterned = key._replace(path=path_pattern(key.path))
        *found, verdict = (label.get(patterned) for label in table.LABELS)
        names: Labels = tuple(found)
        if names not in kept:
            if len(kept) < limit and names != _BEYOND_ROWS:
                kept.add(names)
            else:
                names = _OTHERS
        labels = (*names, verdict)
        sums[labels] = RowCounts._make(map(add, sums[labels], counts)) if labels in sums else counts
    return sums


_OTHERS = (OTHER, OTHER, OTHER)
_BEYOND_ROWS = (statistics.OTHER, statistics.OTHER, statistics.OTHER)


class Metrics(Collector):
    """Makes the metrics of a snapshot each time it is asked. Any thread may ask, several at a time too."""

    def __init__(self, source: Callable[[], Snapshot], *, series: int = MAX_SERIES) -> None:
        """Say where snapshots come from, and of how many clients, servers and paths there may be series."""
        self._source = source
        self._series = series

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without their samples; what a registry asks for when a collector is registered."""
        return [_family(metric) for metric in table.METRICS]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        snapshot = self._source()
        counts = snapshot.statistics.counts()
        yield from _connections(bounded(counts.rows, self._series))
        yield _one(table.LEFT_OUT, counts.left_out)
        yield _by(table.CONNECT_ERRORS, counts.connect_errors)
        yield _gaps(counts.gaps)
        verdicts = [kind.label for kind in Kind if kind.is_alert or kind is Kind.LATENT]
        # A counter that begins with its first event hides it from rate() and increase().
        yield _by(table.ALERTS, dict.fromkeys(verdicts, 0) | dict(snapshot.alerts))
        yield _by(table.ALERTS_HELD_BACK, dict.fromkeys(verdicts, 0) | dict(snapshot.held_back))
        yield _by(table.SINK_ERRORS, snapshot.sink_errors)
        yield _by(table.LOSSES, snapshot.losses)
        yield _by(table.RECORDS, {kind.name.lower(): counts.records.get(kind, 0) for kind in RING_TYPES})
        if snapshot.open_endpoints is not None:
            yield _one(table.OPEN_ENDPOINTS, snapshot.open_endpoints)
        yield _by(table.PROBED_FUNCTIONS, {snapshot.probes or "none": snapshot.functions})
        if snapshot.ring:
            yield _one(table.RING, snapshot.ring.bytes)
            yield _one(table.RING_HIGHEST, snapshot.ring.highest)
            yield _one(table.RING_SIZE, snapshot.ring.size)
        yield _one(table.RELOAD_SUCCESSFUL, int(snapshot.reload_successful))
        if snapshot.reload_time is not None:
            yield _one(table.RELOAD_TIME, snapshot.reload_time)
        build = InfoMetricFamily(table.BUILD.family, table.BUILD.meaning)
        build.add_metric([], dict(zip(table.BUILD.labels, (VERSION, platform.python_version()), strict=True)))
        yield build


def _connections(rows: Mapping[Labels, RowCounts]) -> Iterator[Metric]:
    connections, operations = _counter(table.CONNECTIONS), _counter(table.OPERATIONS)
    symptoms = [(field, _counter(metric)) for field, metric in zip(fields.SYMPTOMS, table.SYMPTOMS, strict=True)]
    harmless, latent = _counter(table.HARMLESS), _counter(table.LATENT_HANGUPS)
    for labels, counts in rows.items():
        connections.add_metric(labels, fields.CONNECTIONS.get(counts))
        operations.add_metric(labels, fields.OPERATIONS.get(counts))
        # Of a verdict on a failure all of them, so that one that is still 0 is there before its first.
        if any(field.get(counts) for field, _ in symptoms):
            for field, metric in symptoms:
                metric.add_metric(labels, field.get(counts))
            harmless.add_metric(labels, fields.HARMLESS.get(counts))
        if fields.LATENT_HANGUPS.get(counts):
            latent.add_metric(labels, fields.LATENT_HANGUPS.get(counts))
    yield from (connections, operations, *(metric for _, metric in symptoms), harmless, latent)


def _gaps(gaps: Mapping[Kind, Histogram]) -> Metric:
    family = HistogramMetricFamily(table.GAP.name, table.GAP.meaning, labels=table.GAP.labels, unit=table.GAP.unit)
    bounds = [*(str(bound / _SECOND) for bound in GAP_BOUNDS), "+Inf"]
    for kind, histogram in gaps.items():
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric([kind.label], buckets, histogram.total / _SECOND)
    return family


def _by(metric: Described, values: Mapping[str, float]) -> Metric:
    """Return a metric of one label."""
    family = _number(metric)
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _one(metric: Described, value: float) -> Metric:
    family = _number(metric)
    family.add_metric([], value)
    return family


def _number(metric: Described) -> CounterMetricFamily | GaugeMetricFamily:
    return _counter(metric) if metric.type == "counter" else _gauge(metric)


def _family(metric: Described) -> Metric:
    if metric.type == "histogram":
        return HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels, unit=metric.unit)
    return InfoMetricFamily(metric.family, metric.meaning) if metric.type == "info" else _number(metric)


def _counter(metric: Described) -> CounterMetricFamily:
    return CounterMetricFamily(metric.family, metric.meaning, labels=metric.labels, unit=metric.unit)


def _gauge(metric: Described) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels, unit=metric.unit)
