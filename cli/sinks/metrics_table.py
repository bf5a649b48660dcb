"""The metrics: the one list of their names, types, labels and meanings.

The collector (cli/sinks/metrics.py), docs/metrics.md and the tests of contrib/ take them from here. Names, units and
suffixes follow Prometheus's conventions; `promtool check metrics` has nothing to say about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hangup.tracer import fields
from hangup.tracer.field import Field, named
from hangup.tracer.fields import KEY


@dataclass(frozen=True, slots=True)
class Described:
    """One metric: what it is called, what kind it is, how its samples are told apart, and what they mean."""

    name: str
    """As it is asked for: a counter's with _total; a histogram has _bucket, _count and _sum behind it."""
    type: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    unit: str
    """What the name ends with (before _total), in Prometheus's base units; empty: a number of things."""
    meaning: str
    """One sentence, which is the HELP of the exposition too."""

    @property
    def family(self) -> str:
        """The name without the suffix of its type."""
        return self.name.removesuffix("_total").removesuffix("_info")


LABELS = tuple(named(KEY, name) for name in ("client", "server", "path", "verdict"))
"""What series of connections are told apart by."""


def _count(field: Field[Any]) -> Described:
    """Return the metric of a count of connections."""
    labels = tuple(label.name for label in LABELS)
    meaning = f"{field.meaning[0].upper()}{field.meaning[1:]}."
    return Described(f"hangup_{field.name}_total", "counter", labels, "", meaning)


CONNECTIONS = _count(fields.CONNECTIONS)
OPERATIONS = _count(fields.OPERATIONS)
SYMPTOMS = tuple(_count(field) for field in fields.SYMPTOMS)
HARMLESS = _count(fields.HARMLESS)
LATENT_HANGUPS = _count(fields.LATENT_HANGUPS)
LEFT_OUT = Described(
    "hangup_connections_left_out_total",
    "counter",
    (),
    "",
    "Connections that ended well and are in no other figure: the kernel did not tell of them what is asked for.",
)
CONNECT_ERRORS = Described("hangup_connect_errors_total", "counter", ("errno",), "", "Failed connects by their error.")
GAP = Described(
    "hangup_gap_seconds",
    "histogram",
    ("verdict",),
    "seconds",
    "Time from the beginning of a hang-up to the end of the operation that failed after it.",
)
RECORDS = Described(
    "hangup_records_total",
    "counter",
    ("type",),
    "",
    "Records read from the ring buffer, by what they tell: one operation, or the histories of a connection's ends.",
)
OPEN_ENDPOINTS = Described(
    "hangup_open_endpoints", "gauge", (), "", "Endpoints that the kernel keeps a history of now."
)
ALERTS = Described(
    "hangup_alerts_total", "counter", ("verdict",), "", "Verdicts that are alerts, whether they were sent or held back."
)
ALERTS_HELD_BACK = Described(
    "hangup_alerts_held_back_total",
    "counter",
    ("verdict",),
    "",
    "Alerts that were counted instead of sent, by the threshold or the rate limit.",
)
SINK_ERRORS = Described(
    "hangup_sink_errors_total", "counter", ("sink",), "", "Messages that a sink did not take, alerts among them."
)
LOSSES = Described(
    "hangup_losses_total", "counter", ("cause",), "", "What is missing from all other figures, by what it was lost to."
)
PROBED_FUNCTIONS = Described(
    "hangup_probed_functions",
    "gauge",
    ("flavour",),
    "",
    "Functions of the kernel that are probed, by how (fentry or kprobe).",
)
RING = Described("hangup_ring_bytes", "gauge", (), "bytes", "What waited in the ring buffer before it was last read.")
RING_HIGHEST = Described(
    "hangup_ring_highest_bytes",
    "gauge",
    (),
    "bytes",
    "The most that ever waited in the ring buffer before it was read.",
)
RING_SIZE = Described("hangup_ring_size_bytes", "gauge", (), "bytes", "What the ring buffer can hold.")
RELOAD_SUCCESSFUL = Described(
    "hangup_config_last_reload_successful",
    "gauge",
    (),
    "",
    "Whether the configuration was taken when it was last read.",
)
RELOAD_TIME = Described(
    "hangup_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "seconds",
    "When a configuration was last taken, in seconds since 1970.",
)
BUILD = Described(
    "hangup_build_info", "info", ("version", "python_version"), "", "Always 1; which hangup runs on which Python."
)

METRICS: Sequence[Described] = (
    CONNECTIONS,
    OPERATIONS,
    *SYMPTOMS,
    HARMLESS,
    LATENT_HANGUPS,
    LEFT_OUT,
    CONNECT_ERRORS,
    GAP,
    ALERTS,
    ALERTS_HELD_BACK,
    SINK_ERRORS,
    LOSSES,
    RECORDS,
    OPEN_ENDPOINTS,
    PROBED_FUNCTIONS,
    RING,
    RING_HIGHEST,
    RING_SIZE,
    RELOAD_SUCCESSFUL,
    RELOAD_TIME,
    BUILD,
)
"""What hangup itself counts."""

PROCESS_METRICS: Sequence[Described] = (
    Described("process_cpu_seconds_total", "counter", (), "seconds", "Processor time that hangup has used."),
    Described("process_resident_memory_bytes", "gauge", (), "bytes", "Memory of hangup that is in RAM."),
    Described("process_virtual_memory_bytes", "gauge", (), "bytes", "Memory that hangup has mapped."),
    Described("process_start_time_seconds", "gauge", (), "seconds", "When hangup started, in seconds since 1970."),
    Described("process_open_fds", "gauge", (), "", "File descriptors that hangup has open."),
    Described("process_max_fds", "gauge", (), "", "File descriptors that hangup may have open."),
)
"""What prometheus_client's ProcessCollector says of hangup's own process."""


def labels_markdown(labels: Sequence[Field[Any]]) -> str:
    """Return labels as the table that docs/metrics.md holds."""
    return "\n".join(
        ["| label | meaning |", "|---|---|", *(f"| `{label.name}` | {label.meaning} |" for label in labels)]
    )


def markdown(metrics: Sequence[Described]) -> str:
    """Return metrics as the table that docs/metrics.md holds."""
    rows = [
        f"| `{metric.name}` | {metric.type} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for metric in metrics
    ]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])
