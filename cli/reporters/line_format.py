"""Operations as -p has them: one line each, of what its FORMAT names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hangup.cli.clock import local
from hangup.cli.reporters.sysdig import arguments, change_arguments
from hangup.cli.reporters.times import Elapsed, Zero, times
from hangup.tracer.clocks import Clocks
from hangup.tracer.escape import dotted
from hangup.tracer.field import FilterField
from hangup.tracer.filter.check import field_named, works_with
from hangup.tracer.filter.compile import getter_of
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import FindCgroup
from hangup.tracer.record.layout import IDENTITY_TYPE, TYPE, payload_of, reader_of, unpack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.identity import change_of

MAX_LENGTH = 4096
"""A FORMAT has at most so many characters."""

# A field is cut, or filled up, to so many at most.
_WIDEST = 999

# What follows a field's name may be the full stop of a sentence.
_PIECE = re.compile(
    r"%(?:(?P<percent>%)|(?P<width>[0-9]*)(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)?)|[^%]+", re.DOTALL
)

_read_times = reader_of("end")


class _Piece(NamedTuple):
    """A part of a FORMAT."""

    text: str
    """What stands there as it is."""
    field: FilterField | None = None
    width: int = 0
    """The field has so many characters; 0: as many as it has."""


class LineFormat(NamedTuple):
    """A FORMAT as it was understood."""

    pieces: tuple[_Piece, ...]
    all_lines: bool
    """Whether operations are printed, too, that have no value for one of the fields."""

    def has(self, name: str) -> bool:
        """Whether it names this field."""
        return any(piece.field is not None and piece.field.name == name for piece in self.pieces)


class _Line(NamedTuple):
    """An operation, and what its line is made with."""

    record: bytes
    place: Place
    clocks: Clocks
    number: int


_Text = Callable[[_Line], str | None]
_LineText = Callable[[_Line], str]


def parsed(text: str) -> LineFormat:
    """Return a FORMAT. Raises FilterError where it names what there is not, or what cannot be printed."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1, what="format")
    all_lines = text.startswith("*")
    begin = int(all_lines)
    pieces: list[_Piece] = []
    for match in _PIECE.finditer(text, begin):
        column = match.start() + 1
        try:
            pieces.append(_piece(match, column))
        except FilterError as error:
            raise FilterError(error.problem, error.column, text, what="format") from None
    if not any(piece.field for piece in pieces):
        raise FilterError("no field in it: expected one, as in %proc.name", begin + 1, text, what="format")
    return LineFormat(tuple(pieces), all_lines)


def _piece(match: re.Match[str], column: int) -> _Piece:
    if not match[0].startswith("%"):
        return _Piece(match[0])
    if match["percent"]:
        return _Piece("%")
    if match["name"] is None:
        raise FilterError("% where a field, as in %proc.name, or %% was expected", column)
    width = int(match["width"] or 0) if len(match["width"]) <= 3 else _WIDEST + 1
    if width > _WIDEST:
        raise FilterError(f"a width above {_WIDEST}", column)
    field = field_named(match["name"], match.start("name") + 1)
    if "-p" not in works_with(field):
        reason = field.refused or f"it works with {', '.join(works_with(field))}"
        raise FilterError(f"{field.name} cannot be printed: {reason}", match.start("name") + 1)
    return _Piece("", field, width)


class FormattedLines:
    """Makes the lines of a FORMAT."""

    def __init__(self, of: LineFormat, find: FindCgroup, *, zero: Zero = "local") -> None:
        """find: knows the cgroups of processes. zero: what times count from."""
        self._all_lines = of.all_lines
        self._pieces: list[tuple[_Text, int]] = [(_text_of(piece, find), piece.width) for piece in of.pieces]
        self._of_line: list[tuple[int, _LineText, int]] = [
            (place, _of_line(piece.field.name, zero), piece.width)
            for place, piece in enumerate(of.pieces)
            if piece.field is not None and piece.field.of_operation is None
        ]
        self._number = 0

    def lines(self, operated: Iterable[Operated], clocks: Clocks) -> list[str]:
        """Return the lines of operations."""
        found = (self._line(_Line(record, place, clocks, self._number + 1)) for record, _, place in operated)
        return [line for line in found if line is not None]

    def _line(self, line: _Line) -> str | None:
        texts = []
        for text_of, width in self._pieces:
            text = text_of(line)
            if text is None:
                if not self._all_lines:
                    return None
                text = "<NA>"
            texts.append(f"{text[:width]:<{width}}" if width else text)
        # What is not printed is neither the first line nor the line before, so these are asked only now.
        for place, of_line, width in self._of_line:
            text = of_line(line)
            texts[place] = f"{text[:width]:<{width}}" if width else text
        self._number = line.number
        return "".join(texts)


def _text_of(piece: _Piece, find: FindCgroup) -> _Text:
    """Return what makes the text of a piece, None if there is no value; of what says something of the line nothing."""
    field, literal = piece.field, piece.text
    if field is None or field.of_operation is None:
        return lambda _line: literal
    get, show = getter_of(field, find), _shown(field)

    def text(line: _Line) -> str | None:
        if not field.of_changes and _is_change(line):
            return None
        value = get(line.record, line.place)
        if not field.several:
            return None if value is None else show(value)
        return ",".join(map(show, value)) or None

    return text


def _shown(field: FilterField) -> Callable[[Any], str]:
    if field.type == "bytes":
        return dotted
    if field.type == "boolean":
        return lambda value: "true" if value else "false"
    return (lambda value: f"{value:x}") if field.type == "address" else str


def _of_line(name: str, zero: Zero) -> _LineText:
    """Return what makes the text of a field that says something of the line."""
    of_day, as_asked = times("local", 9), times(zero, 9)
    first, before = Elapsed(line_before=False), Elapsed(line_before=True)

    def info(line: _Line) -> str:
        if _is_change(line):
            return " ".join(text for text in change_arguments(change_of(line.record)) if text)
        told = arguments(unpack(line.record), line.place, payload_of(line.record))
        return " ".join(text for text in told if text)

    makers: dict[str, _LineText] = {
        "evt.num": lambda line: str(line.number),
        "evt.time": lambda line: of_day(line.clocks, _when(line)),
        "evt.outputtime": lambda line: as_asked(line.clocks, _when(line)).strip(),
        "evt.datetime": lambda line: local(line.clocks.wall(_when(line))),
        "evt.rawtime": lambda line: str(line.clocks.wall(_when(line))),
        "evt.reltime": lambda line: str(first.until(line.clocks, _when(line))),
        "evt.deltatime": lambda line: str(before.until(line.clocks, _when(line))),
        "evt.dir": lambda _line: "<",
        "evt.info": info,
    }
    return makers[name]


def _when(line: _Line) -> int:
    when: int = _read_times(line.record)[0]
    return when


def _is_change(line: _Line) -> bool:
    return line.record[TYPE] == IDENTITY_TYPE
