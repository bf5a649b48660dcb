"""From a filter's text to its tree: sysdig's grammar, in lark.

As there (userspace/libsinsp/filter/parser.h): `and` binds more tightly than `or`, `==` is `=`, values are bare or in
single or double quotes, lists in brackets. Lengths and depths are bounded, for a filter may come from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.tree import BARE, OPERATORS, And, Comparison, Not, Or, Tree, Value, bare, unquoted

MAX_LENGTH = 16_384
"""A filter has at most so many characters."""

MAX_DEPTH = 100
"""Brackets and `not` stand at most so deep in each other, as in sysdig."""

# A word ends where no name could go on.
_WORD_ENDS = r"(?![A-Za-z0-9_.])"

_GRAMMAR = rf"""
start: either
either: both (_OR both)*
both: negated (_AND negated)*
?negated: _NOT negated -> negation
        | _OPEN either _CLOSE -> bracketed
        | comparison
comparison: FIELD EXISTS
    | FIELD SIGN _value
    | FIELD WORD _value
    | FIELD IN _OPEN _list _CLOSE
    | FIELD PMATCH _OPEN _list _CLOSE
_list: (_value (_COMMA _value)*)?
_value: BARE | QUOTED

_OR.2: /or{_WORD_ENDS}/
_AND.2: /and{_WORD_ENDS}/
_NOT.2: /not{_WORD_ENDS}/
EXISTS.2: /exists{_WORD_ENDS}/
IN.2: /in{_WORD_ENDS}/
PMATCH.2: /pmatch{_WORD_ENDS}/
WORD.2: /(icontains|contains|startswith|endswith|glob){_WORD_ENDS}/
SIGN.2: /==|!=|<=|>=|=|<|>/
_OPEN: "("
_CLOSE: ")"
_COMMA: ","
FIELD: /[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*/
BARE: /{BARE.replace("/", chr(92) + "/")}/
QUOTED: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
%ignore /\s+/
"""

# What the grammar's terminals are called where one was expected.
_EXPECTED = {
    "FIELD": "a field",
    "_NOT": "not",
    "_OPEN": "(",
    "_CLOSE": ")",
    "_COMMA": ",",
    "_AND": "and",
    "_OR": "or",
    "SIGN": f"an operator ({' '.join(OPERATORS)})",
    "BARE": "a value",
    "$END": "the end",
}


class _DepthError(Exception):
    """Brackets and negations stand deeper in each other than is allowed."""


class _QuotingError(Exception):
    """A backslash in quotes means nothing."""

    def __init__(self, problem: str, column: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.column = column


class _Builder(Transformer[Token, Any]):
    """Makes of each rule, as soon as it is known, a tree and how deep it is."""

    def start(self, parts: list[Any]) -> Tree:
        tree: Tree = parts[0][0]
        return tree

    def either(self, parts: list[tuple[Tree, int]]) -> tuple[Tree, int]:
        return parts[0] if len(parts) == 1 else _deeper(Or(tuple(tree for tree, _ in parts)), parts)

    def both(self, parts: list[tuple[Tree, int]]) -> tuple[Tree, int]:
        return parts[0] if len(parts) == 1 else _deeper(And(tuple(tree for tree, _ in parts)), parts)

    def negation(self, parts: list[tuple[Tree, int]]) -> tuple[Tree, int]:
        return _deeper(Not(parts[0][0]), parts)

    def bracketed(self, parts: list[tuple[Tree, int]]) -> tuple[Tree, int]:
        return _deeper(parts[0][0], parts)

    def comparison(self, parts: list[Token]) -> tuple[Tree, int]:
        name, operator, *values = parts
        return (
            Comparison(
                str(name),
                "=" if operator == "==" else str(operator),
                tuple(map(_value, values)),
                _column(name),
                tuple(map(_column, parts[1:])),
            ),
            0,
        )


def _deeper(tree: Tree, parts: Iterable[tuple[Tree, int]]) -> tuple[Tree, int]:
    depth = 1 + max(depth for _, depth in parts)
    if depth > MAX_DEPTH:
        raise _DepthError
    return tree, depth


def _column(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _value(token: Token) -> Value:
    if token.type == "BARE":
        return bare(token)
    try:
        return unquoted(token)
    except ValueError as error:
        raise _QuotingError(str(error), _column(token)) from None


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder())


def parse(text: str) -> Tree:
    """Return the tree of a filter. Raises FilterError where it cannot be understood.

    Nothing is said of whether there are such fields: see check.py.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
    if not text.strip():
        raise FilterError("an empty filter: expected a field, as in proc.name=httpd", 1, text)
    try:
        # A surrogate that stands for no byte is no text that anything is called by.
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FilterError("a character that no name can have", error.start + 1, text) from None
    try:
        return _tree(text)
    except _DepthError:
        raise FilterError(f"brackets and `not` more than {MAX_DEPTH} deep", 1, text) from None
    except _QuotingError as error:
        raise FilterError(error.problem, error.column, text) from None


def _tree(text: str) -> Tree:
    try:
        tree: Tree = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        # To say what it would have taken, some versions of lark build on, and find what else is wrong.
        raise _error(error, text) from None
    return tree


def _error(error: UnexpectedInput, text: str) -> FilterError:
    known: set[str] = set()
    ended = False
    if isinstance(error, UnexpectedToken):
        known = set(error.accepts or error.expected)
        ended = error.token.type == "$END"
    elif isinstance(error, UnexpectedCharacters):
        known = set(error.allowed or ())
    place = len(text.rstrip()) if ended else error.pos_in_stream or 0
    expected = [words for name, words in _EXPECTED.items() if name in known]
    if not ended and text[place] in "\"'" and "QUOTED" in known:
        return FilterError("quotes that do not end", place + 1, text)
    found = "the end" if ended else _found(text, place)
    return FilterError(f"{found} where {_listed(expected)} was expected", place + 1, text)


def _found(text: str, place: int) -> str:
    word = re.match(r"[A-Za-z0-9_.]{1,40}|.", text[place:], re.DOTALL)
    shown = word[0] if word else ""
    return repr(shown) if shown.isprintable() else "a character that cannot be printed"


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words) or "something else"
    return f"{', '.join(words[:-1])} or {words[-1]}"
