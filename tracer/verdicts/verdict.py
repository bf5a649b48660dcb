"""What is concluded of a story, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hangup.tracer.story.connection import Role
from hangup.tracer.story.process import Process
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.verdicts.kinds import Kind


@dataclass(frozen=True, slots=True)
class Figures:
    """What a verdict rests on: bytes of the last exchange, and times in ns."""

    sent_bytes: int = 0
    """What the one that was hurt had sent in its last turn."""
    read_bytes: int = 0
    """What the other had read of that."""
    unread_bytes: int = 0
    """What the other left unread when it went."""
    unread_messages: int = 0
    """In how many sk_buffs they were."""
    answered_bytes: int = 0
    """What the other had sent in its last turn, if that was the later one."""
    failed_bytes: int = 0
    """What the failed write was to send."""
    gap: int | None = None
    """From the hang-up's beginning to the failed operation's end; None if either was not seen."""
    waited: int | None = None
    """How long the one that gave up had waited for its answer."""
    silence: int | None = None
    """How long nothing had been sent when the connection was closed idle."""


Answer = Literal["read in full", "read in part", "never read"]
Afterwards = Literal["went on", "closed", "exited", "killed", "killed by SIGPIPE", "connected again"]


@dataclass(frozen=True, slots=True)
class Consequence:
    """What it cost the one that was hurt, as far as a tenth of a second shows."""

    answer: Answer | None = None
    """What became of what it had been sent; None: nothing had been."""
    lost_bytes: int = 0
    """How much of that it never read."""
    afterwards: Afterwards | None = None
    """What it did next; None: nothing was seen of it."""
    harmless: bool = False
    """Whether it had all it was owed, or owed nobody anything, and nobody misses what failed: no alert."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion of a story."""

    kind: Kind
    symptom: Symptom
    sentence: str
    figures: Figures = Figures()
    consequence: Consequence = Consequence()
    victim: Role | None = None
    """The end that was hurt, or was left over; None: nobody was."""
    client: Process | None = None
    """Whom the sentence means at the client's end, None: nobody is known there."""
    server: Process | None = None
    """The same at the server's end."""
    doubts: tuple[str, ...] = ()
    """Why it may be wrong; empty: certain."""

    @property
    def certain(self) -> bool:
        """Whether everything it rests on was recorded."""
        return not self.doubts
