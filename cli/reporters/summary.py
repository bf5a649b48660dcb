"""What was counted, as a table, and what it is worth: what was lost and how it was watched."""

from __future__ import annotations

from hangup.cli.ended import Ended
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.order import ordered
from hangup.tracer.units import counted, duration
from hangup.cli.terminal import Paint, plain
from hangup.tracer.statistics import Key, Row

_COUNTS = ("CONNECTIONS", "BROKEN", "RESET", "LATENT")
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
    headings = ["VERDICT", *_COUNTS, *(f"GAP {name}" for name in _GAPS if wide), *_NAMES]
    cells = [
        [key.kind.label, *_counts(row), *((gap or [""] * len(_GAPS)) if wide else ()), key.client, key.server, key.path]
        for (key, row), gap in zip(rows, gaps, strict=True)
    ]
    total_cells = ["total", *_counts(total)]
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
    for (key, _), line, gap in zip(rows, cells, gaps, strict=True):
        text = laid_out(line)
        label = key.kind.label
        lines.append(paint("bold red", label) + text[len(label) :] if key.kind.is_alert else text)
        if gap and not wide:
            beneath = ", ".join(f"{name.lower()} {value}" for name, value in zip(_GAPS, gap, strict=True))
            lines.append(f"{'':<{widths[0]}}  {beneath} after the hang-up")
    lines.append(laid_out(total_cells))
    return lines


def _counts(row: Row) -> list[str]:
    return [str(count) for count in (row.connections, row.broken_writes, row.reset_reads, row.latent)]


def _gaps(row: Row) -> list[str] | None:
    """Return the percentiles and the longest time from hang-up to failure; None if none is known."""
    gaps = row.gaps
    if not gaps.count:
        return None
    return [*(duration(gaps.percentile(percent)) for percent in _PERCENTILES), duration(gaps.maximum)]
