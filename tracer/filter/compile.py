"""From a filter's tree to a function that decides.

It decides on an operation's record, before anything is made of that, or on a connection.

What sysdig does where there is no value (sinsp_filter_check::compare_nocache(), userspace/libsinsp) is done here: no
comparison holds, `!=` does not either, and `not` of it does. Of several values one that matches is enough; `!=` holds
if there are some and all are others, as of an address there (sinsp_filter_check_fd::compare_ip()).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, eq, ge, gt, le, lt, ne
from typing import Any

from hangup.tracer.field import FilterField
from hangup.tracer.filter.check import values_of
from hangup.tracer.filter.connected import Connected
from hangup.tracer.filter.fields import BY_NAME, FindCgroup
from hangup.tracer.filter.tree import EXISTS, And, Comparison, Not, Tree
from hangup.tracer.record.layout import reader_of
from hangup.tracer.selection import comm_matches, is_below

OperationFilter = Callable[[bytes, Any], bool]
"""Given an operation's record and where it was (`Place`, `Where`), returns whether it passes."""

ConnectionFilter = Callable[[Connected], bool]
"""The same of a connection."""

Decides = Callable[[Any, Any], bool]
"""As an `OperationFilter`; of a connection the second is nothing."""

# So many decisions are remembered of each comparison; then all are forgotten.
_MOST_DECIDED = 4096

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def over_operations(tree: Tree, find: FindCgroup) -> OperationFilter:
    """Return what decides on operations; find: knows the cgroups of processes. The filter has been checked."""
    return _joined(tree, lambda comparison: _of_operation(comparison, find))


def over_changes(tree: Tree, find: FindCgroup) -> Callable[[bytes], bool]:
    """Return what decides on changes of who somebody is, by their records: of these no socket is known.

    find: knows the cgroups of processes. The filter has been checked.
    """
    decides = _joined(tree, lambda comparison: _of_change(comparison, find))
    return lambda record: decides(record, None)


def over_connections(tree: Tree) -> ConnectionFilter:
    """Return what decides on connections. The filter has been checked."""
    decides = _joined(tree, _of_connection)
    return lambda connected: decides(connected, None)


def getter_of(field: FilterField, find: FindCgroup) -> Callable[[bytes, Any], Any]:
    """Return what gets a field's value, or its values, of an operation; the field is known of operations."""
    get = field.of_operation
    assert get is not None, "it is known of operations"
    key = _key_of(field)
    if field.asks:
        return lambda record, place: get(find, *key(record, place))
    return lambda record, place: get(*key(record, place))


def _joined(tree: Tree, decider: Callable[[Comparison], Decides]) -> Decides:
    if isinstance(tree, Comparison):
        return decider(tree)
    if isinstance(tree, Not):
        part = _joined(tree.part, decider)
        return lambda what, place: not part(what, place)
    if isinstance(tree, And):
        return _halved(_both, [_joined(part, decider) for part in tree.parts])
    return _halved(_either, [_joined(part, decider) for part in _gathered(tree.parts)])


def _halved(join: Callable[[Decides, Decides], Decides], parts: Sequence[Decides]) -> Decides:
    """Return these in one, in their order: one of a thousand calls ten others in each other, and not a thousand."""
    if len(parts) == 1:
        return parts[0]
    middle = (len(parts) + 1) // 2
    return join(_halved(join, parts[:middle]), _halved(join, parts[middle:]))


def _gathered(parts: Iterable[Tree]) -> list[Tree]:
    """Return these, of which any is enough, with one question for each field whose value may be one or another."""
    others: list[Tree] = []
    values: dict[str, tuple[str, ...]] = {}
    for part in parts:
        if isinstance(part, Comparison) and part.operator in ("=", "in"):
            values[part.name] = values.get(part.name, ()) + part.values
        else:
            others.append(part)
    return [*(Comparison(name, "in", of) for name, of in values.items()), *others]


def _both(one: Decides, other: Decides) -> Decides:
    return lambda what, place: one(what, place) and other(what, place)


def _either(one: Decides, other: Decides) -> Decides:
    return lambda what, place: one(what, place) or other(what, place)


def _of_operation(comparison: Comparison, find: FindCgroup) -> Decides:
    field = BY_NAME[comparison.name]
    get = field.of_operation
    assert get is not None, "it has been checked"
    decides = _of_values(comparison, field) if field.several else _of_value(comparison, field)
    if field.asks:
        # What is known of a cgroup may change: nothing can be remembered.
        ask = getter_of(field, find)
        return lambda record, place: decides(ask(record, place))
    if field.type == "string":
        return _remembered(field, decides)
    if field.place:
        key = _key_of(field)
        return lambda record, place: decides(get(*key(record, place)))
    read = reader_of(*field.recorded)
    # Most filters ask for one of a few numbers.
    if comparison.operator == "in" and not field.several:
        wanted = frozenset(values_of(comparison))
        return lambda record, _place: get(*read(record)) in wanted
    if comparison.operator == "=" and not field.several:
        [value] = values_of(comparison)
        return lambda record, _place: get(*read(record)) == value
    return lambda record, _place: decides(get(*read(record)))


def _of_change(comparison: Comparison, find: FindCgroup) -> Decides:
    if not BY_NAME[comparison.name].of_changes:
        return lambda _record, _place: False
    return _of_operation(comparison, find)


def _of_connection(comparison: Comparison) -> Decides:
    field = BY_NAME[comparison.name]
    get = field.of_connection
    assert get is not None, "it has been checked"
    decides = _of_values(comparison, field)
    return lambda connected, _: decides([value for value in get(connected) if value is not None])


class _Decisions(dict[Any, bool]):
    """What was decided, by what the value is made of."""

    def __init__(self, decide: Callable[[Any], bool]) -> None:
        super().__init__()
        self._decide = decide

    def __missing__(self, key: Any) -> bool:
        if len(self) >= _MOST_DECIDED:
            self.clear()
        decision = self[key] = self._decide(key)
        return decision


def _remembered(field: FilterField, decides: Callable[[Any], bool]) -> Decides:
    """Return what decides by texts: most are those of an operation before."""
    get = field.of_operation
    assert get is not None
    decisions = _Decisions(lambda key: decides(get(*key)))
    if not field.place:
        read = reader_of(*field.recorded)
        return lambda record, _place: decisions[read(record)]
    key_of = _key_of(field)
    return lambda record, place: decisions[key_of(record, place)]


def _key_of(field: FilterField) -> Callable[[bytes, Any], tuple[Any, ...]]:
    """Return what gets of an operation that of which a field's value is made."""
    read = reader_of(*field.recorded)
    if not field.place:
        return lambda record, _place: read(record)
    if len(field.place) == 1:
        one = attrgetter(field.place[0])
        return lambda record, place: (*read(record), one(place))
    several = attrgetter(*field.place)
    return lambda record, place: (*read(record), *several(place))


def _of_value(comparison: Comparison, field: FilterField) -> Callable[[Any], bool]:
    """Return what decides on a value, or None."""
    if comparison.operator == EXISTS:
        return lambda value: value is not None
    decides = _predicate(comparison, field)
    return lambda value: value is not None and decides(value)


def _of_values(comparison: Comparison, field: FilterField) -> Callable[[Any], bool]:
    """Return what decides on any number of values."""
    if comparison.operator == EXISTS:
        return bool
    decides = _predicate(comparison, field)
    if comparison.operator == "!=":
        return lambda values: bool(values) and all(map(decides, values))
    return lambda values: any(map(decides, values))


def _predicate(comparison: Comparison, field: FilterField) -> Callable[[Any], bool]:
    """Return what decides on a value that there is."""
    operator, values = comparison.operator, values_of(comparison)
    if operator == "in":
        return frozenset(values).__contains__
    if operator == "pmatch":
        if field.selects == "cgroups":
            return lambda value: any(is_below(value, name) for name in values)
        patterns = tuple(map(_components, values))
        return lambda value: any(_is_prefix(pattern, _components(value)) for pattern in patterns)
    wanted = values[0]
    if operator in _COMPARE:
        compare = _COMPARE[operator]
        return lambda value: compare(value, wanted)
    if operator == "contains":
        return lambda value: wanted in value
    if operator == "icontains":
        folded = wanted.lower()
        return lambda value: folded in value.lower()
    if operator == "startswith":
        return lambda value: value.startswith(wanted)
    if operator == "endswith":
        return lambda value: value.endswith(wanted)
    assert operator == "glob"
    if field.type == "bytes":
        # A character for each byte.
        is_like = re.compile(fnmatch.translate(wanted.decode("latin-1"))).match
        return lambda value: is_like(value.decode("latin-1")) is not None
    if field.is_comm:
        return lambda value: comm_matches(value, wanted)
    matches = re.compile(fnmatch.translate(wanted)).match
    return lambda value: matches(value) is not None


def _components(path: str) -> tuple[str, ...]:
    """Return the components of a path; a first slash is one of its own."""
    return (*(["/"] if path.startswith("/") else []), *(each for each in path.split("/") if each))


def _is_prefix(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) <= len(path) and all(map(fnmatch.fnmatchcase, path, pattern))
