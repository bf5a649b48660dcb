"""What was counted, as a table, and what it is worth: what was lost and how it was watched."""

from __future__ import annotations

from collections.abc import Callable

from hangup.cli.ended import Ended
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.order import ordered
from hangup.cli.terminal import Paint, plain
from hangup.tracer.statistics import Key, Row
from hangup.tracer.units import counted, duration

# The columns of counts: heading, what is counted, whether it is there if all of it is 0.
_COUNTS: tuple[tuple[str, Callable[[Row], int], bool], ...] = (
    ("CONNECTIONS", lambda row: row.connections, True),
    ("BROKEN", lambda row: row.broken_writes, True),
    ("RESET", lambda row: row.reset_reads, True),
    ("CUT", lambda row: row.cut_reads, False),
    ("SHORT", lambda row: row.short_writes, False),
    ("TOLD", lambda row: row.errors_told, False),
    ("LATENT", lambda row: row.latent, False),
    ("HARMLESS", lambda row: row.harmless, False),
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
    lines = _table(rows, ended.statistics.total, wide=width >= _WIDE, paint=paint) if rows else []
    if not rows:
        lines.append("No connection ended or failed.")
    else:
        lines.append("")
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


def _table(rows: list[tuple[Key, Row]], total: Row, *, wide: bool, paint: Paint) -> list[str]:
    gaps = [_gaps(row) for _, row in rows]
    wide = wide and any(gaps)
    counts = [(heading, count) for heading, count, always in _COUNTS if always or count(total)]
    headings = ["VERDICT", *(heading for heading, _ in counts), *(f"GAP {name}" for name in _GAPS if wide), *_NAMES]
    cells = [
        [
            key.kind.label,
            *(str(count(row)) for _, count in counts),
            *((gap or [""] * len(_GAPS)) if wide else ()),
            key.client,
            key.server,
            key.path,
        ]
        for (key, row), gap in zip(rows, gaps, strict=True)
    ]
    total_cells = ["total", *(str(count(total)) for _, count in counts)]
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
        lines.append(paint("bold red", label) + text[len(label) :] if key.kind.is_alert else text)
        if gap and not wide:
            beneath = ", ".join(f"{name.lower()} {value}" for name, value in zip(_GAPS, gap, strict=True))
            lines.append(f"{'':<{widths[0]}}  {beneath} after the hang-up")
        if row.errors:
            errors = ", ".join(f"{error} {count}" for error, count in row.errors.most_common())
            lines.append(f"{'':<{widths[0]}}  {errors}")
    lines.append(laid_out(total_cells))
    return lines


def _gaps(row: Row) -> list[str] | None:
    """Return the percentiles and the longest time from hang-up to failure; None if none is known."""
    gaps = row.gaps
    if not gaps.count:
        return None
    return [*(duration(gaps.percentile(percent)) for percent in _PERCENTILES), duration(gaps.maximum)]
