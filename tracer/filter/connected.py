"""A whole connection as filters ask for it: an alert's, one that ended well, one that is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from hangup.tracer.filter.tree import Tree, comparisons_of
from hangup.tracer.record.layout import Event
from hangup.tracer.story.process import Process

if TYPE_CHECKING:
    from hangup.tracer.story.story import Story
    from hangup.tracer.tracer import Alert


class Connected(NamedTuple):
    """A connection, as far as filters can ask for it; what is not known is empty or None."""

    path: str | None
    clients: tuple[Process, ...]
    """Who is, or was, at the client's end: whom an alert means first."""
    servers: tuple[Process, ...]
    number: int | None = None
    socks: tuple[int, ...] = ()
    """The kernel's addresses of both ends' struct sock."""
    inodes: tuple[int, ...] = ()
    """Both ends' inode numbers."""
    unread: int | None = None
    """How many bytes were left unread, or are not read yet."""
    verdict: str | None = None
    symptom: str | None = None
    gap: int | None = None
    """From the hang-up to the failure, in ns."""
    consequences: tuple[str, ...] = ()
    """What it cost, in words: what became of the answer, what was done next, and whether that was harmless."""
    failed: Event | None = None
    """The operation that failed."""

    @property
    def users(self) -> tuple[Process, ...]:
        """Who is, or was, at either end."""
        return self.clients + self.servers


Place = Callable[[Process], Process | None]
"""Returns a process with its cgroup, as far as that is known."""

BETWEEN = frozenset(("conn.client.comm", "conn.server.comm", "conn.comm", "conn.path", "fd.type", "proc.name"))
"""What is known of all that was counted: between whom it was."""

COUNTED = BETWEEN | {"verdict"}
"""What is known of connections that the kernel has only counted: that they ended so, and between whom."""


def judged(alert: Alert, place: Place) -> Connected:
    """Return what an alert says, or a verdict that is none."""
    verdict = alert.verdict
    consequence = verdict.consequence
    consequences = (consequence.answer, consequence.afterwards, "harmless" if consequence.harmless else None)
    return _told(alert.story, alert.path, alert.client, alert.server, place)._replace(
        # Of a connect that failed there is no story, and nothing that it could have left.
        unread=verdict.figures.unread_bytes if alert.story else None,
        verdict=verdict.kind.label,
        symptom=verdict.symptom.value,
        gap=verdict.figures.gap,
        consequences=tuple(each for each in consequences if each is not None),
        failed=alert.failed,
    )


def ended_well(story: Story, place: Place) -> Connected:
    """Return a connection that nobody was hurt by."""
    known = _told(story, story.path, story.client.process, story.server.process, place)
    return known._replace(unread=0, verdict="clean", symptom="none")


def counted(path: str | None, client: str, server: str, verdict: str) -> Connected:
    """Return connections that the kernel has counted, by the names and the path that it counts them under."""
    return Connected(path, (Process(0, client),), (Process(0, server),), verdict=verdict)


def uncounted(tree: Tree) -> tuple[str, ...]:
    """Return the fields of a filter that nobody knows of connections that the kernel has only counted."""
    names = dict.fromkeys(comparison.name for comparison in comparisons_of(tree))
    return tuple(name for name in names if name not in COUNTED)


def _told(
    story: Story | None, path: str | None, client: Process | None, server: Process | None, place: Place
) -> Connected:
    if story is None:
        return Connected(path, _parties(client, (), place), ())
    ends = story.client, story.server
    return Connected(
        path,
        _parties(client, story.client.users, place),
        _parties(server, story.server.users, place),
        story.number,
        tuple(end.sock for end in ends if end.sock),
        tuple(end.inode_number for end in ends if end.inode_number),
    )


def _parties(first: Process | None, users: Iterable[Process], place: Place) -> tuple[Process, ...]:
    """Return who was at an end, whom the alert means first, nobody twice."""
    found: dict[tuple[int, int | None], Process] = {}
    for process in (first, *users):
        if process is not None:
            found.setdefault((process.pid, process.tid), place(process) or process)
    return tuple(found.values())
