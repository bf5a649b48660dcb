"""Two runs side by side, as text: what failed of a thousand connections before and after, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterator

from hangup.cli.terminal import Paint, plain
from hangup.tracer.comparison import CONFIDENCE, Change, Comparison, KindChange, RowChange
from hangup.tracer.rates import Rate
from hangup.tracer.units import counted, duration

# The columns: what it is, before, after, and what is said of it. Together less than 80.
_LABEL = 19
_VALUE = 15

_STYLES = {"worse": "bold red", "only after": "bold yellow", "better": "bold"}


def difference_text(comparison: Comparison, *, paint: Paint = plain) -> str:
    """Return the table and what it comes to; nothing but a path is wider than 79 columns."""
    lines = [paint("bold", _cells("", "BEFORE", "AFTER", "CHANGE")), *_rows(comparison, paint)]
    conclusion, sentence = _conclusion(comparison)
    lines.append(f"{_painted(conclusion, paint)}: {sentence}")
    lines.extend(_cautions(comparison))
    return "\n".join(lines)


def _rows(comparison: Comparison, paint: Paint) -> Iterator[str]:
    quiet = 0
    for row in comparison.rows:
        if row.kinds or row.latent.before.part or row.latent.after.part:
            yield from _row(row, paint)
            yield ""
        else:
            quiet += 1
    if quiet:
        pairs = counted(quiet, "pair of client and server", "pairs of client and server")
        yield f"{pairs} more, of which nothing failed before or after."
        yield ""
    if len(comparison.rows) > 1:
        yield "all together"
        yield from _figures("failed", comparison.total, paint)
        yield ""


def _row(row: RowChange, paint: Paint) -> Iterator[str]:
    names = row.names
    yield f"{names.client} to {names.server}, {names.path}"
    yield from _figures("failed", row.failed, paint)
    for kind in row.kinds:
        yield _cells(f"  {kind.kind.label}", *_values(kind.change), _of_kind(kind))
    if any(kind.before.gap_median is not None or kind.after.gap_median is not None for kind in row.kinds):
        yield "half failed within"
        for kind in row.kinds:
            before, after = (_time(outcome.gap_median) for outcome in (kind.before, kind.after))
            if before or after:
                yield _cells(f"  {kind.kind.label}", before, after, "")
    if row.latent.before.part or row.latent.after.part:
        yield from _figures("latent", row.latent, plain)


def _figures(label: str, change: Change, paint: Paint) -> Iterator[str]:
    said = _painted(change.conclusion, paint)
    if change.interval is not None:
        if change.before.value == change.after.value:
            said = "no change"
        said += f": {_signed(change.interval.low)} to {_signed(change.interval.high)}"
    yield _cells(label, *_values(change), said)


def _painted(conclusion: str, paint: Paint) -> str:
    style = _STYLES.get(conclusion)
    return paint(style, conclusion) if style else conclusion


def _of_kind(kind: KindChange) -> str:
    """Say of a verdict whether it came or went, and whether that need mean anything."""
    change = kind.change
    if change.interval is None or change.before.value == change.after.value:
        return ""
    came = "new" if not kind.before.hurt else "gone" if not kind.after.hurt else ""
    if change.interval.has_zero:
        return f"{came}, may be chance" if came else "may be chance"
    return came or ("more" if change.interval.low > 0 else "fewer")


def _values(change: Change) -> tuple[str, str]:
    return _of(change.before), _of(change.after)


def _of(rate: Rate) -> str:
    """Return how many in a thousand, and in brackets how many."""
    return f"{_thousandth(rate.value)} ({rate.part})" if rate.of else "-"


def _thousandth(value: float) -> str:
    thousandth = value * 1000
    if 0 < thousandth < 0.05:
        return "< 0.1"
    return "0" if not value else f"{thousandth:.1f}"


def _signed(value: float) -> str:
    return f"{value * 1000:+.1f}"


def _time(gap: int | None) -> str:
    return "" if gap is None else duration(gap)


def _cells(label: str, before: str, after: str, said: str) -> str:
    return f"{label:<{_LABEL}}{before:>{_VALUE}}{after:>{_VALUE}}   {said}".rstrip()


def _conclusion(comparison: Comparison) -> tuple[str, str]:
    """Return the word, and what it rests on."""
    total = comparison.total
    counts = f"{_some(total.before)} failed before, {_some(total.after)} after"
    if comparison.is_worse:
        worse = sum(row.failed.conclusion == "worse" for row in comparison.rows)
        if total.conclusion == "worse" or len(comparison.rows) == 1:
            return "worse", counts
        return "worse", f"{worse} of the above {'is' if worse == 1 else 'are'}; of all, {counts}"
    if not comparison.is_comparable:
        return "not comparable", counts
    return "better" if total.conclusion == "better" else "no difference shown", counts


def _some(rate: Rate) -> str:
    return f"{rate.part} of {rate.of}"


def _cautions(comparison: Comparison) -> Iterator[str]:
    """Say what the figures are, and what they cannot tell."""
    total = comparison.total
    if total.interval is not None and total.conclusion == "may be chance":
        rise = max(total.interval.high, 0) * 1000
        yield f"With so few connections a rise by {rise:.1f} in a thousand may have gone unseen."
    for name, lost in (("BEFORE", comparison.lost_before), ("AFTER", comparison.lost_after)):
        if lost:
            yield f"{name} is not complete: failures may be missing from it."
    yield "Failures in a thousand connections, and how many. The change is between its"
    yield f"two bounds with {CONFIDENCE:.0%} confidence, all of them together, if connections"
    yield "fail independently of each other."
