"""Failures over time, and how long after the hang-up they came: one row of bars for each verdict.

A row for each, in place of colours: whoever sees no colours, or prints the page, reads the same.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from hangup.cli.reporters.page.drawing import CHARACTER, Anchor, Box, Drawing, Line, Text, shortened
from hangup.tracer.statistics import GAP_BOUNDS, Histogram
from hangup.tracer.units import duration
from hangup.tracer.verdicts import Kind

# In pixels at the size at which it is drawn.
_LABELS = 130
_BARS = 520
_TOTALS = 70
_ROW = 46
_BAR = 34
_TOP = 10
_AXIS = 26

_MILLISECOND, _SECOND = 10**6, 10**9
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86_400 * _SECOND

# How finely failures are counted: each is a multiple of the one before, so that what was counted by one can be counted
# by the next.
_FINE = (_MILLISECOND, 10 * _MILLISECOND, 100 * _MILLISECOND, _SECOND, 10 * _SECOND, _MINUTE, 10 * _MINUTE, _HOUR, _DAY)
_FINE_MOST = 6000

# How long a bar may last.
_STEPS = (
    *(step * unit for unit in (_MILLISECOND, 10 * _MILLISECOND, 100 * _MILLISECOND) for step in (1, 2, 5)),
    *(step * _SECOND for step in (1, 2, 5, 10, 30)),
    *(step * _MINUTE for step in (1, 2, 5, 10, 30)),
    *(step * _HOUR for step in (1, 2, 6, 12)),
    *(step * _DAY for step in (1, 2, 7, 14, 28, 91, 364)),
)
_BARS_MOST = 60


class OverTime:
    """When failures were, by verdict: bounded, however many there are and however long it takes."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._counts: dict[Kind, Counter[int]] = {}
        self._level = 0
        self._first: int | None = None
        self._last = 0

    def add(self, kind: Kind, when: int) -> None:
        """Count one; when: in ns of the wall clock."""
        self._first = when if self._first is None else min(self._first, when)
        self._last = max(self._last, when)
        while self._last // self._fine - self._first // self._fine >= _FINE_MOST and self._level < len(_FINE) - 1:
            self._coarsen()
        self._counts.setdefault(kind, Counter())[when // self._fine] += 1

    @property
    def _fine(self) -> int:
        return _FINE[self._level]

    def _coarsen(self) -> None:
        factor = _FINE[self._level + 1] // self._fine
        self._level += 1
        for kind, counts in self._counts.items():
            coarser: Counter[int] = Counter()
            for place, count in counts.items():
                coarser[place // factor] += count
            self._counts[kind] = coarser

    def binned(self, begin: int, end: int) -> tuple[int, int, dict[Kind, list[int]]]:
        """Return when the first bar begins and how long each lasts, in ns, and how many failures are in each.

        begin, end: what was watched, in ns of the wall clock.
        """
        begin, end = min(begin, begin if self._first is None else self._first), max(end, self._last)
        step = next(
            (step for step in _STEPS if step >= self._fine and end // step - begin // step < _BARS_MOST), _STEPS[-1]
        )
        first = begin // step
        # A clock that was set may have put years between two failures.
        bars = min(end // step - first + 1, _BARS_MOST)
        binned = {kind: [0] * bars for kind in self._counts}
        for kind, counts in self._counts.items():
            for place, count in counts.items():
                binned[kind][min(place * self._fine // step - first, bars - 1)] += count
        return first * step, step, binned


def over_time(failures: OverTime, begin: int, end: int) -> Drawing | None:
    """Return when there were failures; None: there were none. begin, end: in ns of the wall clock."""
    first, step, binned = failures.binned(begin, end)
    if not binned:
        return None
    bars = len(next(iter(binned.values())))

    def span(number: int) -> str:
        return f"{_clock(first + number * step, step)} UTC, {duration(step)}"

    every = _every(bars, _clock(first, step))
    # Ticks stand at round times, as bars begin at multiples of their length.
    round_step = next((each for each in _STEPS if each >= every * step and each % step == 0), every * step)
    places = [number for number in range(bars + 1) if (first + number * step) % round_step == 0]
    ticks = [(number, _clock(first + number * step, step)) for number in places]
    peak = {kind: max(range(bars), key=counts.__getitem__) for kind, counts in binned.items()}
    told = "; ".join(
        f"{kind.label}: {sum(counts)}, most of them ({counts[peak[kind]]}) from {span(peak[kind])}"
        for kind, counts in _most_first(binned)
    )
    return _rows(
        "Failures over time", f"A bar is {duration(step)}, times are UTC. {told}.", _most_first(binned), ticks, span
    )


def gaps(histograms: Mapping[Kind, Histogram]) -> Drawing | None:
    """Return how long after the hang-up failures came; None: of none is it known."""
    known = {kind: list(histogram.counts) for kind, histogram in histograms.items() if sum(histogram.counts)}
    if not known:
        return None
    used = [place for counts in known.values() for place, count in enumerate(counts) if count]
    first, last = max(min(used) - 1, 0), min(max(used) + 1, len(GAP_BOUNDS))
    binned = {kind: counts[first : last + 1] for kind, counts in known.items()}

    def bound(number: int) -> str:
        place = first + number - 1
        return "0" if place < 0 else duration(GAP_BOUNDS[place])

    def span(number: int) -> str:
        if first + number == len(GAP_BOUNDS):
            return f"over {bound(number)}"
        return f"{bound(number)} to {bound(number + 1)}"

    bars = last - first + 1
    bounds = bars + (last < len(GAP_BOUNDS))
    ticks = [(number, bound(number)) for number in range(0, bounds, _every(bars, "500 ms"))]
    told = "; ".join(
        f"{kind.label}: most of them {span(max(range(bars), key=counts.__getitem__))}"
        for kind, counts in _most_first(binned)
    )
    title = "From the hang-up to the failure"
    return _rows(title, f"Bars get wider by 1, 2, 5 from each to the next. {told}.", _most_first(binned), ticks, span)


def _most_first(binned: Mapping[Kind, Sequence[int]]) -> list[tuple[Kind, Sequence[int]]]:
    return sorted(binned.items(), key=lambda item: (-sum(item[1]), item[0].label))


def _clock(wall: int, step: int) -> str:
    """Return a time of the wall clock, as exactly as steps of this length need."""
    seconds, rest = divmod(wall, _SECOND)
    form = "%m-%d %H:%M" if step >= _HOUR else "%H:%M:%S"
    text = time.strftime(form, time.gmtime(seconds))
    return text if step >= _SECOND else f"{text}.{rest // _MILLISECOND:03d}"


def _every(bars: int, label: str) -> int:
    """Return how many bars there are from one tick to the next, so that labels as long as this have room."""
    return max(math.ceil((len(label) * CHARACTER + 24) * bars / _BARS), 1)


def _rows(
    title: str,
    description: str,
    rows: Sequence[tuple[Kind, Sequence[int]]],
    ticks: Sequence[tuple[int, str]],
    span: Callable[[int], str],
) -> Drawing:
    width, height = _LABELS + _BARS + _TOTALS, _TOP + _ROW * len(rows) + _AXIS
    bars = len(rows[0][1])
    each = _BARS / bars
    # All rows have one scale, so that they can be compared.
    most = max(max(counts) for _, counts in rows)
    boxes: list[Box] = []
    texts: list[Text] = []
    base = []
    for number, (kind, counts) in enumerate(rows):
        bottom = _TOP + number * _ROW + _BAR
        base.append(f"M{_LABELS} {bottom}h{_BARS}")
        texts.append(Text(_LABELS - 12, bottom - 4, shortened(kind.label, _LABELS - 12), "name", "end"))
        texts.append(Text(_LABELS + _BARS + 10, bottom - 4, f"{sum(counts):,}", "total"))
        for place, count in enumerate(counts):
            if count:
                tall = round(max(_BAR * count / most, 2), 1)
                x, wide = round(_LABELS + place * each, 1), round(max(each - 1.5, 1), 1)
                style = "bar" if kind.is_alert else "bar mild"
                boxes.append(Box(x, bottom - tall, wide, tall, style, f"{span(place)}: {count:,}"))
    bottom = _TOP + _ROW * (len(rows) - 1) + _BAR
    for place, label in ticks:
        x = round(_LABELS + place * each, 1)
        base.append(f"M{x:g} {bottom}v5")
        at_end = x + len(label) * CHARACTER / 2 > width
        anchor: Anchor = "end" if at_end else "middle"
        texts.append(Text(width if at_end else x, bottom + 20, label, "time", anchor))
    return Drawing(width, height, title, description, tuple(boxes), (Line("".join(base), "axis"),), tuple(texts))
