"""Who a process has become, in words: of a line of `hangup trace`, and of an alert's timeline."""

from __future__ import annotations

from collections.abc import Iterator

from hangup.tracer.names import capability_names
from hangup.tracer.record.layout import Credentials
from hangup.tracer.story.identity import Change
from hangup.tracer.units import counted

# So many capabilities are named; of more it is said how many they are.
_MOST_NAMED = 3

# These two change credentials only with a user namespace (ksys_unshare(), kernel/fork.c; commit_nsset(),
# kernel/nsproxy.c), and have all capabilities in it, and none of them outside (set_cred_user_ns()). Of clone(2) there
# is no change: it makes another process so (copy_creds()).
_WHERE = {"unshare": " in a user namespace of its own", "setns": " in another user namespace"}


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
    parts += _capabilities(change.before.capabilities, change.after.capabilities, _WHERE.get(change.call, ""))
    return parts


def _ids(name: str, before: Credentials, after: Credentials) -> Iterator[str]:
    """Say how the ids of one kind have changed: in one if each of them was the same, and has become the same.

    Else one that has not changed is told, too, if by it the process is not yet, or may be again, what it was.
    """
    kinds = {"real": name, "effective": f"e{name}", "saved": f"s{name}"}
    was, became = ({kind: getattr(one, short) for kind, short in kinds.items()} for one in (before, after))
    of_files = f"fs{name}"
    was_of_files, became_of_files = getattr(before, of_files), getattr(after, of_files)
    changed = [kind for kind in kinds if was[kind] != became[kind]]
    if len(set(was.values())) == len({*became.values(), became_of_files}) == 1:
        if changed:
            yield f"{name} {was['real']} -> {became['real']}"
    else:
        yield from (f"{kind} {name} {was[kind]} -> {became[kind]}" for kind in changed)
        others = {became[kind] for kind in changed}
        left = [kind for kind in ("effective", "saved") if kind not in changed and became[kind] not in others]
        if changed and left:
            yield f"{left[0]} {name} still {became[left[0]]}"
    # It is nearly always the effective one (credentials(7)), and says nothing more then.
    if (was_of_files, became_of_files) == (was["effective"], became["effective"]):
        return
    if was_of_files != became_of_files:
        yield f"filesystem {name} {was_of_files} -> {became_of_files}"
    elif "effective" in changed and became_of_files != became["effective"]:
        yield f"filesystem {name} still {became_of_files}"


def _capabilities(before: int, after: int, where: str) -> Iterator[str]:
    """Say which of the effective capabilities it has got or lost; where: in which user namespace it has got them."""
    if before != after and not after:
        yield "no capabilities left"
        return
    got, lost = capability_names(after & ~before), capability_names(before & ~after)
    for names, what, of_which in ((got, "got", where), (lost, "lost", "")):
        if len(names) > _MOST_NAMED:
            yield f"{what} {counted(len(names), 'capability', 'capabilities')}{of_which}"
        elif names:
            yield f"{what} {' '.join(names)}{of_which}"
