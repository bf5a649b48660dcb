"""The story of an alert as a sequence diagram: time goes down, and each end has a line as long as it is open."""

from __future__ import annotations

from collections.abc import Sequence

from hangup.cli.reporters.operation import operation_text
from hangup.cli.reporters.page.drawing import Anchor, Box, Drawing, Line, Text, shortened, width_of
from hangup.cli.reporters.timeline import Row, timeline_of
from hangup.tracer.record.layout import Operation
from hangup.tracer.story.connection import Role
from hangup.tracer.story.process import Process
from hangup.tracer.tracer import Alert
from hangup.tracer.units import moment

# All in pixels at the size at which it is drawn.
_TIME = 78
_BETWEEN = 210
_ROW = 22
_MORE = 16
_TOP = 52
_OUTER_LEAST, _OUTER_MOST = 130, 280
_PAD = 12

_WRITE, _CONNECT, _RELEASE = Operation.WRITE, Operation.CONNECT, Operation.RELEASE


def sequence(alert: Alert) -> Drawing | None:
    """Return the diagram; None for a failed connect, which has but one operation."""
    if alert.story is None:
        return None
    timeline = timeline_of(alert)
    diagram = _Diagram(alert, timeline.rows, timeline.whole)
    return diagram.drawn()


def name_of(process: Process | None) -> str:
    """Return a process as the heading of its end has it."""
    return f"{process.comm}[{process.pid}]" if process else "?"


class _Diagram:
    """Where everything of a diagram is, row by row."""

    def __init__(self, alert: Alert, rows: Sequence[Row], whole: int) -> None:
        assert alert.story is not None
        self._alert = alert
        self._story = alert.story
        self._rows = rows
        self._whole = whole
        names: dict[Role, str] = {"client": name_of(alert.client), "server": name_of(alert.server)}
        # An end's name stands above its line, half of it on either side.
        needed: dict[Role, float] = {role: width_of(name, bold=True) / 2 for role, name in names.items()}
        for row in rows:
            if row.note is None:
                longest = max((width_of(text, bold=row.mark is not None) for text in _beside(row)), default=0.0)
                needed[row.role] = max(needed[row.role], longest)
        self._room = {role: min(max(width, _OUTER_LEAST), _OUTER_MOST) for role, width in needed.items()}
        self._names = names
        client = round(_TIME + _PAD + self._room["client"] + _PAD)
        self._x: dict[Role, float] = {"client": client, "server": client + _BETWEEN}
        self._width = round(self._x["server"] + _PAD + self._room["server"] + _PAD)
        self._boxes: list[Box] = []
        self._lines: list[Line] = []
        self._texts: list[Text] = []
        self._begins: dict[Role, float] = {}
        self._ends: dict[Role, float] = {}
        self._strokes: dict[str, list[str]] = {}

    def drawn(self) -> Drawing:
        """Return it."""
        y = float(_TOP)
        for row in self._rows:
            y = self._note(row, y) if row.note else self._operation(row, y)
        height = round(y + _PAD)
        for role in ("client", "server"):
            self._end(role, height)
        lines = [*self._lines, *(Line("".join(paths), style) for style, paths in self._strokes.items())]
        verdict = self._alert.verdict
        return Drawing(
            self._width,
            height,
            f"What both ends of connection #{self._story.number} did",
            f"Time goes down. On the left {self._names['client']}, on the right {self._names['server']}. "
            f"{verdict.sentence}.",
            tuple(self._boxes),
            tuple(lines),
            tuple(self._texts),
        )

    def _end(self, role: Role, height: float) -> None:
        """Draw an end's heading, and its line as long as it is open."""
        x = self._x[role]
        heading = ("one end", "other end") if self._story.pair else ("client", "server")
        self._texts.append(Text(x, 14, heading[role == "server"], "role", "middle"))
        self._texts.append(
            Text(x, 30, shortened(self._names[role], self._room[role] + _BETWEEN / 2, bold=True), "name", "middle")
        )
        begin, end = self._begins.get(role, _TOP - _ROW / 2), self._ends.get(role)
        self._stroke("open", f"M{x:g} {begin:g}V{height if end is None else end:g}")
        if end is not None and end < height:
            self._stroke("gone", f"M{x:g} {end:g}V{height:g}")

    def _note(self, row: Row, y: float) -> float:
        middle = (self._x["client"] + self._x["server"]) / 2
        if row.note == "silence":
            for x in self._x.values():
                self._stroke("silence", f"M{x - 5:g} {y + 2:g}l10 -4m-10 8l10 -4")
        text = ", ".join(row.parts)
        if row.note == "identity":
            after = row.when - self._story.start
            label = moment(after, self._whole) if after >= 0 else "before"
            self._texts.append(Text(_TIME, y + 4, label, "time", "end"))
            # On both sides of the middle there is as much room as on the narrower one.
            text = shortened(text, 2 * (min(middle - _TIME, self._width - middle) - _PAD))
        self._texts.append(Text(middle, y + 4, text, "note", "middle"))
        return y + _ROW

    def _operation(self, row: Row, y: float) -> float:
        role, x = row.role, self._x[row.role]
        assert row.event is not None
        direction = 1 if role == "client" else -1
        beside, on_line = _beside(row), _on_line(row)
        height = _ROW + _MORE * max(len(beside) - 1, 0)
        if row.mark:
            self._boxes.append(Box(0, y - _ROW / 2, self._width, height, row.mark))
        style = row.mark or ""
        self._texts.append(Text(_TIME, y + 4, moment(row.when - self._story.start, self._whole), "time", "end"))
        self._begins.setdefault(role, y)
        if on_line:
            self._arrow(row, x, y, direction)
            middle = (self._x["client"] + self._x["server"]) / 2
            self._texts.append(Text(middle, y, shortened(on_line, _BETWEEN - 30), f"sent {style}".strip(), "middle"))
        elif row.event.operation == _RELEASE:
            self._stroke(f"leave {style}".strip(), f"M{x - 5:g} {y - 5:g}l10 10m0 -10l-10 10")
            self._ends[role] = y
        else:
            self._stroke("dot", f"M{x - 4:g} {y:g}h8")
        anchor: Anchor = "end" if role == "client" else "start"
        for number, text in enumerate(beside):
            place = y + 4 + number * _MORE
            shown = shortened(text, self._room[role], bold=row.mark is not None)
            self._texts.append(Text(x - direction * _PAD, place, shown, style, anchor))
        return y + height

    def _arrow(self, row: Row, x: float, y: float, direction: int) -> None:
        """Draw what one end sends to the other, or tries to."""
        assert row.event is not None
        length = _BETWEEN * direction
        if row.event.result < 0:
            # It never gets there.
            stop = x + length * 0.82
            self._stroke("failed", f"M{x:g} {y + 5:g}H{stop:g}m-4 -4l8 8m0 -8l-8 8")
            return
        style = "connects" if row.event.operation == _CONNECT else "sends"
        head = f"m{-6 * direction} -4l{6 * direction} 4l{-6 * direction} 4"
        self._stroke(style, f"M{x:g} {y + 5:g}h{length - 3 * direction:g}{head}")

    def _stroke(self, style: str, path: str) -> None:
        self._strokes.setdefault(style, []).append(path)


def _on_line(row: Row) -> str:
    """Return what stands on the arrow of a row; nothing: it has none."""
    event = row.event
    assert event is not None
    if event.operation not in (_WRITE, _CONNECT):
        return ""
    times = f", {row.times} times" if row.times > 1 else ""
    return f"{operation_text(event)}{times}"


def _beside(row: Row) -> list[str]:
    """Return what stands beside an end's line."""
    on_line = _on_line(row)
    times = [f"{row.times} times"] if row.times > 1 and not on_line else []
    return [*(row.parts[1:] if on_line else row.parts), *times]
