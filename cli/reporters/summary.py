"""What was counted, as a table, and what it is worth: what was lost and how it was watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hangup.cli.ended import Ended
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.order import ordered
from hangup.cli.terminal import Paint, plain
from hangup.tracer.statistics import Key, Row
from hangup.tracer.units import counted, duration
from hangup.tracer.verdicts import Kind


class _Count(NamedTuple):
    """A column of counts."""

    heading: str
    count: Callable[[Row], int]
    words: tuple[str, str] | None = None
    """What one and many are called beneath the row, where there is no room for the column.

    None: it is always a column; others are left out if all of it is 0.
    """


_COUNTS = (
    _Count("CONNECTIONS", lambda row: row.connections),
    _Count("BROKEN", lambda row: row.broken_writes),
    _Count("RESET", lambda row: row.reset_reads),
    _Count("CUT", lambda row: row.cut_reads, ("cut read", "cut reads")),
    _Count("SHORT", lambda row: row.short_writes, ("short write", "short writes")),
    _Count("TOLD", lambda row: row.errors_told, ("told by SO_ERROR", "told by SO_ERROR")),
    _Count("LATENT", lambda row: row.latent, ("latent", "latent")),
    _Count("HARMLESS", lambda row: row.harmless, ("harmless", "harmless")),
)
_NAMES = ("CLIENT", "SERVER", "PATH")
_GAPS = ("P50", "P90", "P99", "MAX")
_PERCENTILES = (50, 90, 99)

# From here on (columns) each row has its gaps beside it, below that beneath it.
_WIDE = 120


def summary_text(ended: Ended, *, width: int, paint: Paint = plain) -> str:
    """Return the table and the lines beneath it; width: of the terminal.

    The path comes last and is never cut: it alone may go over the width.
    """
    rows = ordered(ended.statistics)
    lines = _table(rows, ended.statistics.total, width=width, paint=paint) if rows else []
    if not rows:
        lines.append("No connection ended or failed.")
    else:
        lines.append("")
    if ended.statistics.left_out:
        lines += [f"{left_out_text(ended.statistics.left_out)}.", ""]
    alerts = counted(ended.statistics.alerts, "alert")
    if ended.statistics.alerts:
        alerts = paint("bold red", alerts)
    watched = f"{alerts} in {duration(round(ended.seconds * 10**9))}"
    if ended.probes:
        watched += f", watched with {ended.probes} ({counted(ended.functions, 'function')})"
    lost = losses_text(ended.losses)
    if ended.losses.total:
        lost = paint("bold red", lost)
    lines.extend((f"{watched};", lost)) if ended.losses.total else lines.append(f"{watched}; {lost}")
    return "\n".join(lines)


def left_out_text(connections: int) -> str:
    """Return that so many connections are not counted, and who would tell whether they are asked for."""
    ended = counted(connections, "connection that ended well is", "connections that ended well are")
    return f"{ended} not counted; --stream tells of each"


def _table(rows: list[tuple[Key, Row]], total: Row, *, width: int, paint: Paint) -> list[str]:
    counts = [count for count in _COUNTS if count.words is None or count.count(total)]
    lines = _laid_out(rows, total, counts, [], wide=width >= _WIDE, paint=paint)
    # How wide it is is seen from the heading, of which the path is the last word.
    if len(_laid_out(rows, total, counts, [], wide=width >= _WIDE, paint=plain)[0]) - len(_NAMES[-1]) <= width:
        return lines
    beneath = [count for count in counts if count.words is not None]
    return _laid_out(rows, total, [count for count in counts if count.words is None], beneath, wide=False, paint=paint)


def _laid_out(
    rows: list[tuple[Key, Row]],
    total: Row,
    counts: Sequence[_Count],
    beneath: Sequence[_Count],
    *,
    wide: bool,
    paint: Paint,
) -> list[str]:
    gaps = [_gaps(row) for _, row in rows]
    wide = wide and any(gaps)
    headings = ["VERDICT", *(count.heading for count in counts), *(f"GAP {name}" for name in _GAPS if wide), *_NAMES]
    cells = [
        [
            key.kind.label,
            *(str(count.count(row)) for count in counts),
            *((gap or [""] * len(_GAPS)) if wide else ()),
            key.client,
            key.server,
            key.path,
        ]
        for (key, row), gap in zip(rows, gaps, strict=True)
    ]
    total_cells = ["total", *(str(count.count(total)) for count in counts)]
    widths = [
        max(len(line[column]) for line in (headings, *cells, total_cells) if column < len(line))
        for column in range(len(headings))
    ]
    names_from = len(headings) - len(_NAMES)

    def laid_out(line: list[str]) -> str:
        # The first column and the names to the left, numbers to the right.
        texts = [
            f"{text:<{width}}" if column == 0 or column >= names_from else f"{text:>{width}}"
            for column, (text, width) in enumerate(zip(line, widths, strict=False))
        ]
        return "  ".join(texts).rstrip()

    lines = [paint("bold", laid_out(headings))]
    for (key, row), line, gap in zip(rows, cells, gaps, strict=True):
        text = laid_out(line)
        label = key.kind.label
        # Where all of it is harmless there is nothing to be alarmed at.
        is_alarming = key.kind.is_alert and row.harmless < row.connections
        lines.append(paint("bold red", label) + text[len(label) :] if is_alarming else text)
        if gap and not wide:
            times = ", ".join(f"{name.lower()} {value}" for name, value in zip(_GAPS, gap, strict=True))
            lines.append(f"{'':<{widths[0]}}  {times} after the hang-up")
        # Of the other verdicts a connect fails by one error only, and their names say which.
        errors = row.errors.most_common() if key.kind in (Kind.CONNECT_FAILED, Kind.NOT_PERMITTED) else []
        if errors:
            lines.append(f"{'':<{widths[0]}}  {', '.join(f'{error} {count}' for error, count in errors)}")
        if key.kind is not Kind.LATENT:
            # Of that one the verdict says it.
            lines.extend(_in_words(row, beneath, widths[0]))
    lines.append(laid_out(total_cells))
    lines.extend(_in_words(total, beneath, widths[0]))
    return lines


def _in_words(row: Row, counts: Sequence[_Count], indent: int) -> list[str]:
    """Return a line of the counts that have no column; none if all are 0."""
    words = [counted(count.count(row), *count.words) for count in counts if count.words and count.count(row)]
    return [f"{'':<{indent}}  {', '.join(words)}"] if words else []


def _gaps(row: Row) -> list[str] | None:
    """Return the percentiles and the longest time from hang-up to failure; None if none is known."""
    gaps = row.gaps
    if not gaps.count:
        return None
    return [*(duration(gaps.percentile(percent)) for percent in _PERCENTILES), duration(gaps.maximum)]
