"""What was counted, as JSON: one line a row, and one with the totals, what was lost, and how it was watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hangup.cli import json_lines
from hangup.cli.ended import Ended
from hangup.cli.json_lines import Field
from hangup.cli.reporters.order import ordered
from hangup.tracer.statistics import Key, Row

COUNT_FIELDS: tuple[tuple[Field, Callable[[Row], Any]], ...] = (
    (
        Field("connections", "number", "how many connections there were; a failed connect counts"),
        lambda row: row.connections,
    ),
    (
        Field("broken_writes", "number", "ends whose first failure was a write that failed with EPIPE or ECONNRESET"),
        lambda row: row.broken_writes,
    ),
    (
        Field("reset_reads", "number", "ends whose first failure was a read that failed with ECONNRESET"),
        lambda row: row.reset_reads,
    ),
    (
        Field(
            "cut_reads",
            "number",
            "ends whose first failure was a read that met the end of the stream while an answer was owed",
        ),
        lambda row: row.cut_reads,
    ),
    (Field("short_writes", "number", "blocked writes that a hang-up cut short"), lambda row: row.short_writes),
    (
        Field("errors_told", "number", "an ECONNRESET that was taken by getsockopt(SO_ERROR) or recvmmsg(2)"),
        lambda row: row.errors_told,
    ),
    (
        Field("harmless", "number", "failures, of those above, that nobody misses anything by: no alerts"),
        lambda row: row.harmless,
    ),
    (Field("latent_hangups", "number", "hang-ups with bytes unread after which nobody failed"), lambda row: row.latent),
)

ROW_FIELDS: tuple[tuple[Field, Callable[[tuple[Key, Row]], Any]], ...] = (
    (Field("verdict", "string", "the verdict; docs/verdicts.md explains each"), lambda row: row[0].kind.label),
    (
        Field(
            "client",
            "string",
            "the client's name, escaped; `?` if not known, `(other)` for all beyond 1000 of client, server and path",
        ),
        lambda row: row[0].client,
    ),
    (Field("server", "string", "the server's name, likewise"), lambda row: row[0].server),
    (
        Field("path", "string", "the listener's path, escaped; `?` if not known, `(socketpair)` for pairs"),
        lambda row: row[0].path,
    ),
    *((field, lambda row, value=value: value(row[1])) for field, value in COUNT_FIELDS),
    (
        Field("errors", "object", "of failed connects: how many there were by the error's name (`ENOENT`)"),
        lambda row: dict(row[1].errors),
    ),
    (
        Field("gaps", "number", "how many times the time from hang-up to failure is known"),
        lambda row: row[1].gaps.count,
    ),
    (
        Field("gap_p50_ns", "number or null", "half of these times were no longer; at most a tenth too high"),
        lambda row: _gap(row[1], 50),
    ),
    (Field("gap_p90_ns", "number or null", "the same of 90 in 100"), lambda row: _gap(row[1], 90)),
    (Field("gap_p99_ns", "number or null", "the same of 99 in 100"), lambda row: _gap(row[1], 99)),
    (
        Field("gap_max_ns", "number or null", "the longest, exactly"),
        lambda row: row[1].gaps.maximum if row[1].gaps.count else None,
    ),
)

TOTAL_FIELDS: tuple[tuple[Field, Callable[[Ended], Any]], ...] = (
    (Field("alerts", "number", "how many alerts there were"), lambda ended: ended.statistics.alerts),
    *((field, lambda ended, value=value: value(ended.statistics.total)) for field, value in COUNT_FIELDS),
    (Field("lost", "number", "how much is missing, all causes together"), lambda ended: ended.losses.total),
    (
        Field("lost_by_cause", "object", "how much by each cause, all named; docs/json.md lists them"),
        lambda ended: dict(ended.losses.by_cause),
    ),
    (Field("probes", "string or null", '`"fentry"` or `"kprobe"`'), lambda ended: ended.probes),
    (Field("functions", "number", "how many functions of the kernel were probed"), lambda ended: ended.functions),
    (Field("seconds", "number", "how long it was watched"), lambda ended: round(ended.seconds, 3)),
)


def summary_lines(ended: Ended) -> Iterator[str]:
    """Yield the lines, the rows of alerts first and the totals last."""
    for row in ordered(ended.statistics):
        yield json_lines.line("summary", json_lines.values(ROW_FIELDS, row))
    yield json_lines.line("total", json_lines.values(TOTAL_FIELDS, ended))


def _gap(row: Row, percent: float) -> int | None:
    return row.gaps.percentile(percent) if row.gaps.count else None
