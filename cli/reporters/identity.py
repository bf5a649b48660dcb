"""Who a process has become, in words: of a line of `hangup trace`, and of an alert's timeline."""

from __future__ import annotations

from collections.abc import Iterator

from hangup.tracer.names import capability_names
from hangup.tracer.record.layout import Credentials
from hangup.tracer.story.identity import Change
from hangup.tracer.units import counted

# So many capabilities are named; of more it is said how many they are.
_MOST_NAMED = 3


def change_text(change: Change) -> str:
    """Return what has changed: "uid 0 -> 33, gid 0 -> 33, no capabilities left", "/bin/cat, was sh"."""
    return ", ".join(change_parts(change))


def change_parts(change: Change) -> list[str]:
    """Return the same part by part."""
    parts = []
    if change.file is not None:
        parts.append(change.file)
    if change.comm_before != change.process.thread:
        parts.append(f"was {change.comm_before}")
    parts += _ids("uid", change.before, change.after)
    parts += _ids("gid", change.before, change.after)
    parts += _capabilities(change.before.capabilities, change.after.capabilities)
    return parts


def _ids(name: str, before: Credentials, after: Credentials) -> Iterator[str]:
    """Say how the ids of one kind have changed: in one if the real, effective and saved one are the same."""
    kinds = [name, f"e{name}", f"s{name}"]
    was, became = ([getattr(one, kind) for kind in kinds] for one in (before, after))
    if len(set(was)) == len(set(became)) == 1:
        kinds = [name]
    # Of files it is nearly always the effective one (credentials(7)).
    of_files = f"fs{name}"
    if (getattr(before, of_files), getattr(after, of_files)) != (was[1], became[1]):
        kinds.append(of_files)
    for kind in kinds:
        old, new = getattr(before, kind), getattr(after, kind)
        if old != new:
            yield f"{kind} {old} -> {new}"


def _capabilities(before: int, after: int) -> Iterator[str]:
    """Say which of the effective capabilities it has got or lost."""
    if before != after and not after:
        yield "no capabilities left"
        return
    for names, what in ((capability_names(after & ~before), "got"), (capability_names(before & ~after), "lost")):
        if len(names) > _MOST_NAMED:
            yield f"{what} {counted(len(names), 'capability', 'capabilities')}"
        elif names:
            yield f"{what} {' '.join(names)}"
