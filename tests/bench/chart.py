"""A chart of bars as SVG, to be read on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_LABELS = 270
_BARS = 400
_VALUES = 140
_ROW = 24
_HEAD = 64
_FOOT = 12

_STYLE = """\
text { font: 13px sans-serif; fill: #1f2328; }
.title { font-weight: bold; font-size: 15px; }
.axis { font-size: 11px; fill: #59636e; }
.grid { stroke: #d1d9e0; }
.floor { fill: #9aa4af; }
.hangup { fill: #1f6feb; }
.other { fill: #bc7a1c; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .axis { fill: #9198a1; }
  .grid { stroke: #3d444d; }
}
"""


class Bar(NamedTuple):
    """One bar."""

    label: str
    value: float
    """A ratio, 1 or more in all but noise; the scale is logarithmic and begins at 1."""
    text: str
    """What stands behind the bar."""
    group: str
    """"floor", "hangup" or "other": its colour."""


def chart(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """Return the chart."""
    top = max([2.0, *(bar.value for bar in bars)])
    width, height = _LABELS + _BARS + _VALUES, _HEAD + _ROW * len(bars) + _FOOT

    def x(value: float) -> float:
        return _LABELS + _BARS * math.log(max(value, 1)) / math.log(top)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="{escape(title)}">',
        f"<style>\n{_STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}</text>',
        f'<text class="axis" x="8" y="38">{escape(subtitle)}</text>',
    ]
    for mark in _marks(top):
        at = f"{x(mark):.1f}"
        lines.append(f'<line class="grid" x1="{at}" y1="{_HEAD - 6}" x2="{at}" y2="{height - _FOOT}"/>')
        lines.append(f'<text class="axis" x="{at}" y="{_HEAD - 10}" text-anchor="middle">{mark:g}</text>')
    for number, bar in enumerate(bars):
        y = _HEAD + _ROW * number
        length = max(x(bar.value) - _LABELS, 1)
        lines.append(f'<text x="{_LABELS - 8}" y="{y + 16}" text-anchor="end">{escape(bar.label)}</text>')
        lines.append(
            f'<rect class="{bar.group}" x="{_LABELS}" y="{y + 4}" width="{length:.1f}" height="{_ROW - 8}" rx="2"/>'
        )
        lines.append(f'<text x="{_LABELS + length + 6:.1f}" y="{y + 16}">{escape(bar.text)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _marks(top: float) -> list[float]:
    """Return where the scale has lines."""
    return [mark for mark in (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100) if mark <= top]
