"""A filter as it was understood: a tree of plain values, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hangup.tracer.escape import escape, unescaped

SIGNS = ("=", "!=", "<", "<=", ">", ">=")
WORDS = ("contains", "icontains", "startswith", "endswith", "glob")
LISTS = ("in", "pmatch")
EXISTS = "exists"
OPERATORS = (*SIGNS, *WORDS, *LISTS, EXISTS)

# What need not be quoted: RGX_BARESTR of sysdig's own parser (userspace/libsinsp/filter/parser.cpp).
BARE = r"""[^()"'\s=,]+"""
_BARE = re.compile(BARE)

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\\": "\\", "/": "/"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with a value, or with several."""

    name: str
    """The field's."""
    operator: str
    values: tuple[str, ...] = ()
    """As names are shown (tracer/escape.py), so that what was copied from the output finds it again."""
    column: int = field(default=1, compare=False)
    """Where the field stands in the text, from 1 on."""
    columns: tuple[int, ...] = field(default=(), compare=False)
    """Where the operator and the values stand."""

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return f"{self.name} exists"
        if self.operator in LISTS:
            return f"{self.name} {self.operator} ({', '.join(map(quoted, self.values))})"
        blank = " " if self.operator in WORDS else ""
        return f"{self.name}{blank}{self.operator}{blank}{quoted(self.values[0])}"


@dataclass(frozen=True, slots=True)
class Not:
    """What holds where its part does not."""

    part: Tree

    def __str__(self) -> str:
        return f"not {_bracketed(self.part, (And, Or))}"


@dataclass(frozen=True, slots=True)
class And:
    """What holds where all parts do; there are two or more."""

    parts: tuple[Tree, ...]

    def __str__(self) -> str:
        return " and ".join(_bracketed(part, (And, Or)) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """What holds where one of the parts does; there are two or more."""

    parts: tuple[Tree, ...]

    def __str__(self) -> str:
        return " or ".join(_bracketed(part, (Or,)) for part in self.parts)


Tree = Comparison | Not | And | Or


def all_of(parts: Iterable[Tree]) -> Tree | None:
    """Return what holds where all of these do; None: there are none, and it always does."""
    found = tuple(parts)
    return found[0] if len(found) == 1 else And(found) if found else None


def any_of(parts: Iterable[Tree]) -> Tree:
    """Return what holds where one of these does, of which there is at least one."""
    found = tuple(parts)
    return found[0] if len(found) == 1 else Or(found)


def comparisons_of(tree: Tree) -> Iterator[Comparison]:
    """Yield the comparisons of a filter, from left to right."""
    if isinstance(tree, Comparison):
        yield tree
    else:
        for part in (tree.part,) if isinstance(tree, Not) else tree.parts:
            yield from comparisons_of(part)


class Value(str):
    """A value as it was written: the text with which names are compared, as they are shown (`spelled`)."""

    raw: bytes
    """The bytes that it stands for where it is no name."""

    def __new__(cls, text: str, raw: bytes) -> Value:
        """Make one of both."""
        value = super().__new__(cls, text)
        value.raw = raw
        return value

    def __reduce__(self) -> tuple[type[Value], tuple[str, bytes]]:
        """Say how a copy is made: some versions of lark copy values to find what else they could have taken."""
        return Value, (str(self), self.raw)


def bare(text: str) -> Value:
    """Return the value that is written so without quotes: a backslash is one, but where escape() would write it."""
    return Value(spelled(text.encode("utf-8", "surrogateescape")), unescaped(text))


def quoted(value: str) -> str:
    """Return a value as it is written: in quotes where it has to be."""
    raw = value.raw if isinstance(value, Value) else None
    if _BARE.fullmatch(value) and raw in (None, unescaped(value)):
        return value
    text = value.replace("\\", "\\\\") if raw is None else escape(raw)
    text = text.replace('"', '\\"')
    return f'"{text}"'


def unquoted(text: str) -> Value:
    r"""Return the value that is written in these quotes.

    A backslash means in them what it means in sysdig's (unescape_str() of userspace/libsinsp/filter/escaping.cpp), and
    ``\xNN`` a byte. Raises ValueError where it means nothing.
    """
    quote, inside = text[0], text[1:-1]
    raw, place = bytearray(), 0
    while place < len(inside):
        character = inside[place]
        place += 1
        if character != "\\":
            raw += character.encode("utf-8", "surrogateescape")
            continue
        character = inside[place]
        place += 1
        if character == "x":
            digits = inside[place : place + 2]
            if not re.fullmatch(r"[0-9a-fA-F]{2}", digits):
                raise ValueError(r"\x wants two hexadecimal digits")
            raw.append(int(digits, 16))
            place += 2
        elif character == quote:
            raw += character.encode()
        elif character in _ESCAPES:
            raw += _ESCAPES[character].encode()
        else:
            raise ValueError(f"\\{character} means nothing; a backslash is written \\\\")
    return Value(spelled(bytes(raw)), bytes(raw))


def spelled(raw: bytes) -> str:
    """Return bytes as names are shown, but for backslashes: who writes one means that of what is shown."""
    return escape(raw).replace("\\\\", "\\")


def _bracketed(part: Tree, kinds: tuple[type, ...]) -> str:
    return f"({part})" if isinstance(part, kinds) else str(part)
