"""Two runs side by side, as JSON: one line a client, server and path, and one for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hangup.cli import json_lines
from hangup.tracer.comparison import CONFIDENCE, Change, Comparison, KindChange, RowChange
from hangup.tracer.field import Field, of_part

_CONCLUSIONS = (
    '`"worse"` or `"better"`: by more than chance explains; `"may be chance"`; `"only before"`, `"only after"`: '
    "there were no connections in the other run"
)
_NONE = "if there were no connections before, or none after"


def _thousandths(value: float) -> float:
    return round(value * 1000, 3)


CHANGE: tuple[Field[Change], ...] = (
    Field("connections_before", "number", "connections that ended or failed before", lambda change: change.before.of),
    Field("connections_after", "number", "the same after", lambda change: change.after.of),
    Field("failed_before", "number", "on how many of them somebody was hurt", lambda change: change.before.part),
    Field("failed_after", "number", "the same after", lambda change: change.after.part),
    Field(
        "rate_before",
        "number",
        "how many that are of a thousand",
        lambda change: _thousandths(change.before.value),
    ),
    Field("rate_after", "number", "the same after", lambda change: _thousandths(change.after.value)),
    Field(
        "change_low",
        "number",
        "the lower bound of the difference, in a thousand",
        lambda change: None if change.interval is None else _thousandths(change.interval.low),
        absent=_NONE,
    ),
    Field(
        "change_high",
        "number",
        "its upper bound",
        lambda change: None if change.interval is None else _thousandths(change.interval.high),
        absent=_NONE,
    ),
    Field("conclusion", "string", _CONCLUSIONS, lambda change: change.conclusion),
)
"""What became of a rate."""

KIND: tuple[Field[KindChange], ...] = (
    Field("verdict", "string", "the verdict; docs/verdicts.md explains each", lambda kind: kind.kind.label),
    Field("failed_before", "number", "connections with it on which somebody was hurt", lambda kind: kind.before.hurt),
    Field("failed_after", "number", "the same after", lambda kind: kind.after.hurt),
    Field("conclusion", "string", "of their rates, as above", lambda kind: kind.change.conclusion),
    Field(
        "gap_p50_ns_before",
        "number",
        "half of them failed no later after the hang-up",
        lambda kind: kind.before.gap_median,
        unit="ns",
        absent="if not known, or counted for several paths",
    ),
    Field(
        "gap_p50_ns_after",
        "number",
        "the same after",
        lambda kind: kind.after.gap_median,
        unit="ns",
        absent="likewise",
    ),
    Field(
        "gap_max_ns_before",
        "number",
        "the longest of these times",
        lambda kind: kind.before.gap_longest,
        unit="ns",
        absent="if not known",
    ),
    Field(
        "gap_max_ns_after",
        "number",
        "the same after",
        lambda kind: kind.after.gap_longest,
        unit="ns",
        absent="if not known",
    ),
)
"""What became of a verdict."""

ROW: tuple[Field[RowChange], ...] = (
    Field("client", "string", "the client's name, escaped; `?` if not known", lambda row: row.names.client),
    Field("server", "string", "the server's name, likewise", lambda row: row.names.server),
    Field(
        "path",
        "string",
        "the listener's path, with `*` for numbers and made-up names, by which runs differ",
        lambda row: row.names.path,
    ),
    *of_part(CHANGE, lambda row: row.failed),
    Field("latent_before", "number", "latent hang-ups before", lambda row: row.latent.before.part),
    Field("latent_after", "number", "the same after", lambda row: row.latent.after.part),
    Field("latent_conclusion", "string", "of their rates, as above", lambda row: row.latent.conclusion),
    Field("verdicts", "objects", "by which verdicts they failed", lambda row: row.kinds, fields=KIND),
)
"""A client, a server and a path."""

TOTAL: tuple[Field[Comparison], ...] = (
    *of_part(CHANGE, lambda comparison: comparison.total),
    Field(
        "worse",
        "boolean",
        "whether it got worse: then the exit status is 1; false where one run has no connections, and it is 3",
        lambda comparison: comparison.is_worse,
    ),
    Field(
        "confidence",
        "number",
        "that of the bounds of all that failed, together",
        lambda _: CONFIDENCE,
    ),
    Field("lost_before", "number", "how much is missing from the run before", lambda each: each.lost_before),
    Field("lost_after", "number", "the same after", lambda each: each.lost_after),
)
"""All of it."""

_row_line: json_lines.Render[Any] = json_lines.line("difference", ROW)
_total_line: json_lines.Render[Any] = json_lines.line("difference_total", TOTAL)


def difference_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines, the worst first and the total last."""
    for row in comparison.rows:
        yield _row_line(row, json_lines.no_times)
    yield _total_line(comparison, json_lines.no_times)
