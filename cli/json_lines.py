"""How `--json` prints: JSON Lines, each with the number of its schema and the kind of its record.

The fields of every record stand in a list of `Field`s: of alerts, operations and counts in tracer/fields.py, of what
else is shown beside the code that shows it. docs/json.md holds the same lists (`markdown`), and a test compares. A
field may be added under the same schema number; one that is renamed, removed or given another meaning needs a new
number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, TypeVar

from hangup.cli.clock import utc
from hangup.tracer.field import Field, Type

SCHEMA = 1

T = TypeVar("T")

Wall = Callable[[int], int]
"""Given a time in ns of CLOCK_MONOTONIC, returns that of the wall clock."""

Render = Callable[[T, Wall], str]
"""Returns the text of an item."""

HEADER: tuple[Field[str], ...] = (
    Field("schema", "number", "1: the number of this description", lambda _: SCHEMA),
    Field("record", "string", "what kind of line it is", lambda record: record),
)

# What docs/json.md calls these.
_JSON_TYPES: dict[Type, str] = {
    "time": "string",
    "strings": "array of strings",
    "counts": "object",
    "objects": "array of objects",
}


def no_times(_nanoseconds: int) -> int:
    """Stand for the wall clock where no field is a time."""
    raise AssertionError("this record has no times")


def line(record: str, fields: Sequence[Field[T]]) -> Render[T]:
    """Return what makes one line, without its end, of an item. It is ASCII, whatever is in it."""
    beginning, rest = opening(record), members(fields)
    return lambda item, wall: f"{beginning}{rest(item, wall)}}}"


def opening(record: str) -> str:
    """Return how each line of a record begins, up to its own fields."""
    return f"{{{members(HEADER)(record, no_times)},"


def members(fields: Iterable[Field[T]]) -> Render[T]:
    """Return what makes the members of an object, without its brackets."""
    fields = tuple(fields)
    template = ",".join(f'"{field.name}":%s' for field in fields)
    # A number that is always there needs no more than the template does.
    parts = [(f.get, None if f.type == "number" and f.absent is None else _encoder(f)) for f in fields]
    return lambda item, wall: (
        template % tuple([get(item) if encode is None else encode(get(item), wall) for get, encode in parts])
    )


def _encoder(field: Field[Any]) -> Render[Any]:
    """Return what makes the text of a field's values; how is decided here, once, and not of each value."""
    encode = _object(field) if field.fields else _ENCODERS[field.type]
    if field.absent is None:
        return encode
    return lambda value, wall: "null" if value is None else encode(value, wall)


def _object(field: Field[Any]) -> Render[Any]:
    inside = members(field.fields)
    if field.type == "objects":
        return lambda values, wall: "[" + ",".join([f"{{{inside(value, wall)}}}" for value in values]) + "]"
    return lambda value, wall: f"{{{inside(value, wall)}}}"


def _json(value: object, _wall: Wall) -> str:
    return json.dumps(value, separators=(",", ":"))


_ENCODERS: dict[Type, Render[Any]] = {
    "number": lambda value, _wall: str(value),
    "string": lambda value, _wall: encode_basestring_ascii(value),
    "boolean": lambda value, _wall: "true" if value else "false",
    "time": lambda value, wall: f'"{utc(wall(value))}"',
    "strings": _json,
    "counts": _json,
}


def type_of(field: Field[Any], *, absent: bool = True) -> str:
    """Return a field's type in words, with its unit; absent: whether there is a null in the place of what is not."""
    name = _JSON_TYPES.get(field.type, field.type)
    if absent and field.absent is not None:
        name += " or null"
    return f"{name} ({field.unit})" if field.unit else name


def meaning_of(field: Field[Any], *, absent: bool = True) -> str:
    """Return what a field means, and when it is null."""
    meaning = field.meaning
    if field.type == "time":
        meaning += ", by the wall clock: RFC 3339, UTC, microseconds"
    return f"{meaning}; null {field.absent}" if absent and field.absent is not None else meaning


def markdown(fields: Iterable[Field[Any]], *, absent: bool = True) -> str:
    """Return the fields as the table that a document holds; absent: whether there is a null for what is not."""
    rows = [
        f"| `{field.name}` | {type_of(field, absent=absent)} | {meaning_of(field, absent=absent)} |" for field in fields
    ]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def not_kept_markdown(fields: Iterable[Field[Any]]) -> str:
    """Return what of these the recorder does not keep, as the table that docs/json.md holds."""
    rows = [f"| `{field.name}` | {field.not_kept} |" for field in fields if not field.kept]
    return "\n".join(["| field | why |", "|---|---|", *rows])
