"""Whether a filter can be asked of something: fields, operators and values, and what these mean."""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import Enum
from typing import Any

from hangup.tracer.escape import cut_comm
from hangup.tracer.field import FilterField, FilterType
from hangup.tracer.filter.connected import BETWEEN
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import BY_NAME, LINE
from hangup.tracer.filter.tree import EXISTS, OPERATORS, SIGNS, WORDS, Comparison, Tree, Value, comparisons_of


class Subject(Enum):
    """What a filter is asked about; the value is where that is."""

    OPERATIONS = "trace"
    CONNECTIONS = "watch, serve, report"
    OPEN = "peers"
    COUNTS = "diff"
    """Of how many connections how many failed: what became of them is no question then, only whose they are."""

    def has(self, field: FilterField) -> bool:
        """Whether a field is known of it."""
        if self is Subject.OPERATIONS:
            return field.of_operation is not None
        if self is Subject.COUNTS:
            return field.name in BETWEEN
        return field.of_connection is not None and (self is Subject.CONNECTIONS or field.of_open)


_OF_NUMBERS = ("=", "!=", "<", "<=", ">", ">=", "in", EXISTS)
_OF_NAMES = ("=", "!=", "in", EXISTS)
_OPERATORS: dict[FilterType, tuple[str, ...]] = {
    "number": _OF_NUMBERS,
    "string": OPERATORS,
    "boolean": _OF_NAMES,
    "address": _OF_NAMES,
    "bytes": (*SIGNS, *WORDS, "in", EXISTS),
}

_TIMES = {"": 1, "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SIZES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS: dict[str, dict[str, int]] = {"ns": _TIMES, "bytes": _SIZES}
_NUMBER = re.compile(r"([+-]?[0-9]{1,20}(?:\.[0-9]{1,9})?)([A-Za-zµ]*)")
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}")


def operators_of(field: FilterField) -> tuple[str, ...]:
    """Return what can be asked of a field; nothing, if no filter can ask for it."""
    return () if field.refused is not None else _OPERATORS[field.type]


def works_with(field: FilterField) -> tuple[str, ...]:
    """Return the verbs whose filters can ask for a field, and -p if it can be printed."""
    filters = ", ".join(subject.value for subject in Subject if subject.has(field))
    is_printed = field.of_operation is not None or field in LINE
    return (*(filters.split(", ") if filters else ()), *(["-p"] if is_printed else []))


def check(tree: Tree, subject: Subject, text: str = "") -> None:
    """Raise FilterError where a filter, whose text this is, cannot be asked of such a thing."""
    try:
        for comparison in comparisons_of(tree):
            field = _field(comparison)
            _check_operator(comparison, field)
            values_of(comparison)
            if field.refused is not None:
                raise FilterError(f"{field.name} cannot be asked for: {field.refused}", comparison.column)
            if not subject.has(field):
                works = ", ".join(each.value for each in Subject if each.has(field))
                raise FilterError(
                    f"{field.name} does not work with {subject.value}, but with {works}", comparison.column
                )
    except FilterError as error:
        raise error.within(text) from None


def field_named(name: str, column: int) -> FilterField:
    """Return the field of a name. Raises FilterError, with the nearest names, if there is none."""
    field = BY_NAME.get(name)
    if field is None:
        near = get_close_matches(name, BY_NAME, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "`hangup fields` lists them"
        raise FilterError(f"there is no field {_short(name)}; {hint}", column)
    return field


def _field(comparison: Comparison) -> FilterField:
    return field_named(comparison.name, comparison.column)


def values_of(comparison: Comparison) -> tuple[Any, ...]:
    """Return what a comparison compares with, as values of its field. Raises FilterError where that is none."""
    field = _field(comparison)
    return tuple(
        _value(field, comparison, value, column)
        for value, column in zip(comparison.values, _columns(comparison), strict=True)
    )


def _columns(comparison: Comparison) -> tuple[int, ...]:
    return comparison.columns[1:] if comparison.columns else (comparison.column,) * len(comparison.values)


def _check_operator(comparison: Comparison, field: FilterField) -> None:
    allowed = _OPERATORS[field.type]
    if comparison.operator not in allowed:
        kind = {"address": "an address", "boolean": "true or false", "bytes": "no path"}.get(
            field.type, f"a {field.type}"
        )
        raise FilterError(
            f"{comparison.operator!r} where {' '.join(allowed)} was expected: {field.name} is {kind}",
            comparison.columns[0] if comparison.columns else comparison.column,
        )


def _value(field: FilterField, comparison: Comparison, value: str, column: int) -> Any:
    if field.type == "number":
        return _number(field, value, column)
    if field.type == "boolean":
        if value not in ("true", "false"):
            raise FilterError(f"{_short(value)} where true or false was expected", column)
        return value == "true"
    if field.type == "bytes":
        return value.raw if isinstance(value, Value) else value.encode("utf-8", "surrogateescape")
    if field.type == "address":
        if not _HEXADECIMAL.fullmatch(value):
            raise FilterError(f"{_short(value)} where an address in hexadecimal was expected", column)
        return int(value, 16)
    if comparison.operator in ("=", "!=", "in"):
        if field.choices is not None:
            _check_choice(field, value, column)
        if field.is_comm:
            return str(cut_comm(value))
    return str(value)


def _number(field: FilterField, value: str, column: int) -> int | float:
    units = _UNITS.get(field.unit, {"": 1})
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", value):
        return int(value, 16)
    found = _NUMBER.fullmatch(value)
    if not found or found[2] not in units:
        what = {"ns": "a time (10, 1.5ms, 2s)", "bytes": "bytes (100, 4kB, 1MiB)"}.get(field.unit, "a number")
        raise FilterError(f"{_short(value)} where {what} was expected", column)
    whole, _, fraction = found[1].partition(".")
    if fraction and not field.unit:
        raise FilterError(f"{_short(value)} where a whole number was expected", column)
    # Not as a float where it need not be: 2.3us are 2300 ns, and 2.3 * 1000 is a little less.
    scaled, parts = int(whole + fraction) * units[found[2]], int("1" + "0" * len(fraction))
    return scaled / parts if scaled % parts else scaled // parts


def _check_choice(field: FilterField, value: str, column: int) -> None:
    assert field.choices is not None
    choices = tuple(field.choices())
    if value not in choices:
        near = get_close_matches(value, choices, n=2)
        few = f"they are {', '.join(choices)}" if len(choices) <= 12 else "`hangup fields` says what it means"
        hint = f"did you mean {' or '.join(near)}?" if near else few
        raise FilterError(f"{field.name} is never {_short(value)}; {hint}", column)


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:40]}...")
