"""A whole connection as filters ask for it: an alert's, one that ended well, one that is open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from hangup.tracer.record.layout import Event
from hangup.tracer.story.process import Process

if TYPE_CHECKING:
    from hangup.tracer.story.story import Story
    from hangup.tracer.verdicts import Verdict


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


def judged(
    story: Story | None,
    verdict: Verdict,
    *,
    path: str | None,
    client: Process | None,
    server: Process | None,
    failed: Event | None,
) -> Connected:
    """Return what an alert says, or a verdict that is none."""
    consequence = verdict.consequence
    consequences = [consequence.answer, consequence.afterwards, "harmless" if consequence.harmless else None]
    return _told(story, path, client, server)._replace(
        unread=verdict.figures.unread_bytes,
        verdict=verdict.kind.label,
        symptom=verdict.symptom.value,
        gap=verdict.figures.gap,
        consequences=tuple(each for each in consequences if each is not None),
        failed=failed,
    )


def ended_well(story: Story, label: str) -> Connected:
    """Return a connection of which there is nothing to say but that verdict."""
    return _told(story, story.path, story.client.process, story.server.process)._replace(
        unread=0, verdict=label, symptom="none"
    )


def _told(story: Story | None, path: str | None, client: Process | None, server: Process | None) -> Connected:
    if story is None:
        return Connected(path, _parties(client, ()), ())
    ends = story.client, story.server
    return Connected(
        path,
        _parties(client, story.client.users),
        _parties(server, story.server.users),
        story.number,
        tuple(end.sock for end in ends if end.sock),
        tuple(end.inode_number for end in ends if end.inode_number),
    )


def _parties(first: Process | None, users: Iterable[Process]) -> tuple[Process, ...]:
    """Return who was at an end, nobody twice: the first one has its cgroup."""
    found = [] if first is None else [first]
    found += [user for user in users if all(user.pid != each.pid or user.tid != each.tid for each in found)]
    return tuple(found)
