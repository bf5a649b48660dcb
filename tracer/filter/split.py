"""What of a filter the kernel decides, and what is left to be decided here.

The kernel selects connections (tracer/selection.py): by processes, users, cgroups, names and paths, any of a kind, all
kinds together. Whatever follows from a filter in these terms is pushed down to it, so that fewer records are made;
what does not say all that the filter does is asked once more here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hangup.tracer.field import FilterField
from hangup.tracer.filter.check import Subject, values_of
from hangup.tracer.filter.fields import BY_NAME
from hangup.tracer.filter.tree import And, Comparison, Not, Or, Tree, all_of
from hangup.tracer.selection import Selection

# PID_MAX_LIMIT (include/linux/threads.h); and (uid_t)-1 is nobody's (setreuid(2)).
_NUMBERS = {"pids": range(1, (1 << 22) + 1), "uids": range(2**32 - 1)}

# What a condition is called where it is turned round.
_IGNORED = {"comms": "ignored_comms", "paths": "ignored_paths"}

# What an address in fd.name may be made of, and what stands beside it.
_OF_ADDRESSES = frozenset("0123456789abcdef-> ")


@dataclass(frozen=True, slots=True)
class Split:
    """A filter, by who decides."""

    selection: Selection
    """What the kernel selects by."""
    pushed: Tree | None
    """The parts of the filter from which that follows; None: there are none."""
    rest: Tree | None
    """What is decided here; None: nothing is left."""
    undecided: Selection
    """What of the selection the rest does not decide once more: all that is needed where no kernel has selected."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """One kind of condition that holds wherever a part of a filter does."""

    values: tuple[Any, ...]
    exact: bool
    """Whether the part holds wherever the condition does, too."""


def split(tree: Tree | None, subject: Subject) -> Split:
    """Return who decides what of a filter that has been checked; None: of no filter."""
    parts = [] if tree is None else list(_parts(tree))
    found: dict[str, tuple[Any, ...]] = {}
    exact: dict[str, tuple[Any, ...]] = {}
    pushed: set[int] = set()
    decided: set[int] = set()
    conditions = [_conditions(part, subject) for part in parts]
    # Of two conditions of a kind only one can be pushed: better one of which nothing is left.
    order = sorted(range(len(parts)), key=lambda number: not _is_exact(conditions[number]))
    for number in order:
        for kind, condition in conditions[number].items():
            if kind in _IGNORED.values():
                found[kind] = found.get(kind, ()) + condition.values
            elif kind in found:
                continue
            else:
                found[kind] = condition.values
            pushed.add(number)
            if condition.exact:
                decided.add(number)
                exact[kind] = exact.get(kind, ()) + condition.values
    return Split(
        _selection(found),
        all_of(part for number, part in enumerate(parts) if number in pushed),
        all_of(part for number, part in enumerate(parts) if number not in decided),
        _selection(exact),
    )


def _selection(found: dict[str, tuple[Any, ...]]) -> Selection:
    return Selection(
        frozenset(found.get("pids", ())),
        found.get("comms", ()),
        found.get("paths", ()),
        found.get("ignored_comms", ()),
        found.get("ignored_paths", ()),
        frozenset(found.get("uids", ())),
        found.get("cgroups", ()),
    )


def _parts(tree: Tree) -> Iterable[Tree]:
    """Yield what all has to hold."""
    if isinstance(tree, And):
        for part in tree.parts:
            yield from _parts(part)
    elif isinstance(tree, Not) and isinstance(tree.part, Or):
        for part in tree.part.parts:
            yield from _parts(Not(part))
    elif isinstance(tree, Not) and isinstance(tree.part, Not):
        yield from _parts(tree.part.part)
    else:
        yield tree


def _is_exact(conditions: dict[str, _Condition]) -> bool:
    return any(condition.exact for condition in conditions.values())


def _conditions(tree: Tree, subject: Subject) -> dict[str, _Condition]:
    """Return by kind what holds wherever a part of a filter does."""
    if isinstance(tree, Comparison):
        return _of_comparison(tree, subject)
    if isinstance(tree, Not):
        return _of_negation(tree.part, subject)
    parts = [_conditions(part, subject) for part in tree.parts]
    if isinstance(tree, And):
        return {kind: _Condition(each.values, exact=False) for part in reversed(parts) for kind, each in part.items()}
    kinds = set.intersection(*map(set, parts)) - set(_IGNORED.values())
    return {
        kind: _Condition(
            tuple(dict.fromkeys(value for part in parts for value in part[kind].values)),
            exact=all(len(part) == 1 and part[kind].exact for part in parts),
        )
        for kind in sorted(kinds)
    }


def _of_comparison(comparison: Comparison, subject: Subject) -> dict[str, _Condition]:
    field = BY_NAME[comparison.name]
    kind = field.selects
    values = _selected(field, comparison) if kind is not None else ()
    if kind is None or not values:
        return {}
    return {kind: _Condition(values, exact=_says_all(field, subject))}


def _of_negation(tree: Tree, subject: Subject) -> dict[str, _Condition]:
    if not isinstance(tree, Comparison):
        return {}
    conditions = _of_comparison(tree, subject)
    return {_IGNORED[kind]: condition for kind, condition in conditions.items() if kind in _IGNORED and condition.exact}


def _says_all(field: FilterField, subject: Subject) -> bool:
    """Whether a field is what the kernel selects by: of a whole connection, whoever is at either end."""
    if field.name in ("conn.pid", "conn.uid", "conn.comm", "conn.cgroup", "conn.path"):
        return True
    return subject is not Subject.OPERATIONS and field.name in ("proc.pid", "user.uid")


def _selected(field: FilterField, comparison: Comparison) -> tuple[Any, ...]:
    """Return what a Selection has to hold for a comparison to hold; empty: that cannot be said."""
    values = values_of(comparison)
    if field.selects in _NUMBERS:
        known = _NUMBERS[field.selects]
        return values if comparison.operator in ("=", "in") and all(value in known for value in values) else ()
    if field.selects == "cgroups":
        return values if comparison.operator == "pmatch" else ()
    if field.name == "fd.name" and (
        comparison.operator not in ("contains", "endswith") or " " in values[0] or _OF_ADDRESSES.issuperset(values[0])
    ):
        # It may be found in an address, or across the blank before the path.
        return ()
    return _globs(comparison.operator, values)


def _globs(operator: str, values: tuple[str, ...]) -> tuple[str, ...]:
    literal = tuple("".join(f"[{each}]" if each in "*?[" else each for each in value) for value in values)
    if operator in ("=", "in"):
        return literal
    if operator == "glob":
        return values
    affixes = {"contains": ("*", "*"), "startswith": ("", "*"), "endswith": ("*", "")}.get(operator)
    return (f"{affixes[0]}{literal[0]}{affixes[1]}",) if affixes else ()
