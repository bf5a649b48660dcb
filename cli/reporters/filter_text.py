"""A filter in words: who decides what of it."""

from __future__ import annotations

from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.connected import uncounted
from hangup.tracer.filter.filter import Filter
from hangup.tracer.filter.tree import Tree


def explained(wanted: Filter, *, is_live: bool) -> str:
    """Return what the kernel decides of a filter, and what hangup does then, a line each; is_live: if it is asked."""
    if wanted.tree is None:
        return "there is no filter: everything passes"
    if not is_live or wanted.subject in (Subject.OPEN, Subject.COUNTS):
        return f"hangup decides:      {_shown(wanted.tree)}"
    lines = [
        f"the kernel decides:  {_shown(wanted.parts.pushed)}",
        f"hangup decides:      {_shown(wanted.rest)}",
    ]
    return "\n".join(lines)


def uncounted_text(wanted: Filter) -> str:
    """Return why connections that end well are not counted where the kernel has recorded; nothing, if they are."""
    unknown = () if wanted.rest is None else uncounted(wanted.rest)
    if not unknown:
        return ""
    told = " or ".join(unknown)
    return f"connections that end well are not counted: the kernel does not tell {told} of them; --stream does"


def _shown(tree: Tree | None) -> str:
    if tree is None:
        return "nothing"
    return "".join(each if each.isprintable() else "?" for each in str(tree))
