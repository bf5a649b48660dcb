"""What a field is: one thing that can be said of something, and how it is got."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

Type = Literal["number", "string", "boolean", "time", "strings", "counts", "object", "objects"]
"""What a value is. A time is in ns of CLOCK_MONOTONIC, and shown by the wall clock; counts are numbers by name; an
object, and each of objects, has fields of its own."""

Unit = Literal["", "ns", "bytes", "s"]
"""What a number counts; empty: things, or nothing (an id)."""

T_contra = TypeVar("T_contra", contravariant=True)
Whole = TypeVar("Whole")


@dataclass(frozen=True, slots=True)
class Field(Generic[T_contra]):
    """One thing that can be said."""

    name: str
    """The key in JSON; what it is called elsewhere is made of it."""
    type: Type
    meaning: str
    get: Callable[[T_contra], Any]
    """Returns the value; None: there is none, which only a field with `absent` may say."""
    unit: Unit = ""
    absent: str | None = None
    """When there is no value, as in "if not known"; None: there always is one."""
    fields: tuple[Field[Any], ...] = ()
    """What an object, or each of several, has: fields of what `get` returns."""
    not_kept: str | None = None
    """Why the recorder does not keep it as a stream does, of what was before a failure; None: it does."""

    @property
    def kept(self) -> bool:
        """Whether it is the same whichever way was watched."""
        return self.not_kept is None


FilterType = Literal["number", "string", "boolean", "address", "bytes"]
"""What filters compare. An address is the kernel's, a number in hexadecimal; bytes are a string that is no text."""


@dataclass(frozen=True, slots=True)
class FilterField:
    """One thing that a filter can ask for, and `-p` can print."""

    name: str
    """As sysdig calls it, where it knows it."""
    type: FilterType
    meaning: str
    unit: Unit = ""
    absent: str | None = None
    """When there is no value, as in "if not known"; None: there always is one."""
    recorded: tuple[str, ...] = ()
    """Of an operation: which fields of its record the value is made of (`reader_of`, tracer/record/layout.py)."""
    place: tuple[str, ...] = ()
    """And what of where it was (`Place`)."""
    of_operation: Callable[..., Any] | None = None
    """Makes an operation's value of these, in this order; None: of one it is not known.

    It returns None where there is no value, and the values themselves where there are `several`."""
    of_connection: Callable[[Any], Iterable[Any]] | None = None
    """Returns the values of a whole connection (`Connected`, tracer/filter/connected.py); None: of one it is not known.
    """
    of_open: bool = False
    """Whether it is known of a connection that was only found to be open, too."""
    of_changes: bool = False
    """Whether it is known of a change of who somebody is, by the same fields of its record, which has no `place`."""
    several: bool = False
    """Whether one operation has several values, of which any will do."""
    asks: bool = False
    """Whether `of_operation` is first given what finds the cgroup of a process (`FindCgroup`)."""
    choices: Callable[[], Iterable[str]] | None = None
    """Returns all that its value can be, if they are few; None: anything."""
    is_comm: bool = False
    """Whether it is a name that the kernel keeps of a task: of a longer one no more than the beginning (`cut_comm`)."""
    refused: str | None = None
    """Why no filter can ask for it; None: one can."""
    selects: str | None = None
    """Which of the conditions of a Selection (tracer/selection.py) it is, or follows from; None: of none."""


def of_part(fields: Iterable[Field[Any]], part: Callable[[Any], Any]) -> tuple[Field[Any], ...]:
    """Return fields of something as fields of what it is a part of; part: finds it there."""

    def lifted(field: Field[Any]) -> Field[Any]:
        get = field.get
        return replace(field, get=lambda whole: get(part(whole)))

    return tuple(lifted(field) for field in fields)


def inside(fields: Iterable[Field[Whole]], name: str, *names: str) -> tuple[Field[Whole], ...]:
    """Return these fields of an object as fields of what has it; None where it has no such object."""
    of_whole = named(fields, name)

    def lifted(field: Field[Any]) -> Field[Whole]:
        get = field.get

        def value(whole: Whole) -> Any:
            part = of_whole.get(whole)
            return None if part is None else get(part)

        return replace(field, get=value)

    return tuple(lifted(named(of_whole.fields, each)) for each in names)


def named(fields: Iterable[Field[T_contra]], name: str) -> Field[T_contra]:
    """Return the field of a name. Raises KeyError."""
    return {field.name: field for field in fields}[name]
