"""A filter in words: who decides what of it."""

from __future__ import annotations

from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter
from hangup.tracer.filter.tree import Tree


def explained(wanted: Filter) -> str:
    """Return what the kernel decides of a filter, and what hangup does then, a line each."""
    if wanted.tree is None:
        return "there is no filter: everything passes"
    if wanted.subject is Subject.OPEN:
        return f"hangup decides:      {_shown(wanted.tree)}"
    lines = [
        f"the kernel decides:  {_shown(wanted.parts.pushed)}",
        f"hangup decides:      {_shown(wanted.rest)}",
    ]
    return "\n".join(lines)


def _shown(tree: Tree | None) -> str:
    if tree is None:
        return "nothing"
    return "".join(each if each.isprintable() else "?" for each in str(tree))
