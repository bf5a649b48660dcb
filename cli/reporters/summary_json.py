"""What was counted, as JSON: one line a row, and one with the totals, what was lost, and how it was watched."""

from __future__ import annotations

from collections.abc import Iterator

from hangup.cli import json_lines
from hangup.cli.ended import Ended
from hangup.cli.reporters.order import ordered
from hangup.tracer.field import Field, of_part
from hangup.tracer.fields import COUNTS, ROW

TOTAL: tuple[Field[Ended], ...] = (
    Field("alerts", "number", "how many alerts there were", lambda ended: ended.statistics.alerts),
    *of_part(COUNTS, lambda ended: ended.statistics.total),
    Field(
        "left_out",
        "number",
        "connections that ended well and are not counted: the kernel did not tell of them what is asked for",
        lambda ended: ended.statistics.left_out,
    ),
    Field("lost", "number", "how much is missing, all causes together", lambda ended: ended.losses.total),
    Field(
        "lost_by_cause",
        "counts",
        "how much by each cause, all named; docs/json.md lists them",
        lambda ended: ended.losses.by_cause,
    ),
    Field(
        "probes",
        "string",
        '`"fentry"` or `"kprobe"`',
        lambda ended: ended.probes,
        absent="if not known",
    ),
    Field("functions", "number", "how many functions of the kernel were probed", lambda ended: ended.functions),
    Field("seconds", "number", "how long it was watched", lambda ended: round(ended.seconds, 3), unit="s"),
    Field(
        "interrupted",
        "boolean",
        "whether the reading of a capture was ended before its end: then this is of its beginning only",
        lambda ended: ended.interrupted,
    ),
)
"""A run that has ended."""

_row_line = json_lines.line("summary", ROW)
_total_line = json_lines.line("total", TOTAL)


def summary_lines(ended: Ended) -> Iterator[str]:
    """Yield the lines, the rows of alerts first and the totals last."""
    for row in ordered(ended.statistics):
        yield _row_line(row, json_lines.no_times)
    yield _total_line(ended, json_lines.no_times)
