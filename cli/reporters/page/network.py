"""Who talks to whom: clients on the left, paths in the middle, servers on the right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hangup.cli.reporters.page.drawing import Box, Drawing, Line, Text, shortened
from hangup.tracer.units import counted

MOST = 24
"""So many pairs of client and server are drawn: those on which most failed, then those with most connections."""

# In pixels at the size at which it is drawn.
_NAMES = 150
_SPACE = 90
_PATHS = 280
_ROW = 46
_NODE = 30
_TOP = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """What one program had to do with another over one path."""

    client: str
    path: str
    server: str
    connections: int
    failed: int
    """How many of them somebody was hurt on."""


class _Node(NamedTuple):
    """A name of a column."""

    name: str
    y: float
    """Of its middle."""


def network(pairs: Iterable[Pair]) -> Drawing | None:
    """Return the picture; None: nobody talked."""
    known = sorted(pairs, key=lambda pair: (-pair.failed, -pair.connections, pair.client, pair.path, pair.server))
    shown = known[:MOST]
    if not shown:
        return None
    columns = [_unique(_names(pair)[column] for pair in shown) for column in range(3)]
    height = _TOP + _ROW * max(map(len, columns)) + _TOP
    nodes = [_placed(names, height) for names in columns]
    lefts = (1, 1 + _NAMES + _SPACE, 1 + _NAMES + _SPACE + _PATHS + _SPACE)
    widths = (_NAMES, _PATHS, _NAMES)
    boxes: list[Box] = []
    texts: list[Text] = []
    for column, (left, width) in enumerate(zip(lefts, widths, strict=True)):
        of_column = [_names(pair)[column] for pair in shown]
        for node in nodes[column].values():
            mine = [pair for pair, name in zip(shown, of_column, strict=True) if name == node.name]
            failed, connections = sum(pair.failed for pair in mine), sum(pair.connections for pair in mine)
            boxes.append(Box(left, node.y - _NODE / 2, width, _NODE, "node", node.name))
            room = width - 16
            count = f"{failed:,} of {connections:,} failed" if failed else f"{connections:,}"
            texts.append(Text(left + 8, node.y - 1, shortened(node.name, room, bold=True), "name"))
            texts.append(Text(left + 8, node.y + 11, count, "count bad" if failed else "count"))
    lines = [line for pair in shown for line in _links(pair, nodes, lefts, widths)]
    # What failed is drawn over what went well.
    lines.sort(key=lambda line: "bad" in line.style)
    failed_most = ", ".join(
        f"{pair.client} to {pair.server} over {pair.path}: {pair.failed} of {pair.connections} failed"
        for pair in shown[:5]
    )
    left_out = len(known) - len(shown)
    more = f" {counted(left_out, 'more pair')} not drawn." if left_out else ""
    return Drawing(
        lefts[2] + _NAMES + 1,
        round(height),
        "Who talks to whom",
        f"Clients on the left, paths in the middle, servers on the right. {failed_most}.{more}",
        tuple(boxes),
        tuple(lines),
        tuple(texts),
    )


def _names(pair: Pair) -> tuple[str, str, str]:
    """Return what stands in the columns."""
    return pair.client, pair.path, pair.server


def _unique(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))


def _placed(names: Sequence[str], height: float) -> dict[str, _Node]:
    """Spread the names of a column over the height."""
    each = height / len(names)
    return {name: _Node(name, round(each * (place + 0.5), 1)) for place, name in enumerate(names)}


def _links(
    pair: Pair, nodes: Sequence[dict[str, _Node]], lefts: Sequence[int], widths: Sequence[int]
) -> Iterable[Line]:
    """Draw both halves of a way, as wide as there were many connections."""
    width = round(1.5 + 1.5 * math.log10(max(pair.connections, 1)), 1)
    style = "link bad" if pair.failed else "link"
    names = _names(pair)
    for column in (0, 1):
        x, y = lefts[column] + widths[column], nodes[column][names[column]].y
        other = nodes[column + 1][names[column + 1]].y
        half = x + _SPACE / 2
        yield Line(f"M{x:g} {y:g}C{half:g} {y:g} {half:g} {other:g} {lefts[column + 1]:g} {other:g}", style, width)
