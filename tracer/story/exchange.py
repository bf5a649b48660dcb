"""Whose turn it was: the last exchange of a connection, as it stood when one end failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from hangup.tracer.story.connection import IDLE, Endpoint


class Turn(NamedTuple):
    """What one end had sent last, and in all. Times are ns of CLOCK_MONOTONIC, bytes as far as they were seen."""

    turns: int
    """How many turns it had had, this one included; 0: it had sent nothing."""
    start: int
    """When the turn's first write began."""
    last: int
    """When its latest write began."""
    bytes: int
    """What it had sent in this turn."""
    last_end: int
    """When its latest write ended."""
    silence: int
    """How long it had been silent when it went on unasked; 0: it had not."""
    held_up: bool
    """Whether its latest write found no room for all it was to send."""
    written: int
    """All it had sent."""
    read: int
    """All it had read, with what was cut off of messages."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Both ends' last turns, seen from the end that was hurt."""

    victim: Turn
    peer: Turn
    requester: Literal["victim", "peer"] | None
    """Whose turns want an answer; None: nothing was sent on a socketpair."""

    @property
    def asked(self) -> bool:
        """Whether the one that was hurt had sent a request and no byte of an answer had come back."""
        return self.requester != "peer" and bool(self.victim.turns) and not self.answered

    @property
    def answered(self) -> bool:
        """Whether the peer's turn was the later one."""
        return bool(self.peer.turns) and (not self.victim.turns or self.peer.start > self.victim.start)

    @property
    def owed_to_peer(self) -> bool:
        """Whether the peer had sent a request and the one that was hurt not a byte of an answer."""
        return self.requester == "peer" and bool(self.peer.turns) and self.answered

    def silent_at_death(self, left: int, exit_code: int) -> bool:
        """Whether the peer, which was killed or exited with a status, had said all it had to say, as silence tells.

        left: when it went, in ns. The sockets do not tell whether an answer was whole, so whoever dies is taken to die
        in the middle of it, unless it had long been silent, and not for want of room. One that exits may send a last
        word after its silence; a signal's victim does not. What was whole then may have been an earlier answer only:
        the caller has to ask for that, too.
        """
        peer = self.peer
        last_word = bool(peer.silence) and not exit_code & 0x7F
        return (left - peer.last_end >= IDLE or last_word) and not peer.held_up

    @property
    def request_read(self) -> int:
        """How much of the victim's last turn the peer had read, in bytes."""
        return max(self.peer.read - (self.victim.written - self.victim.bytes), 0)

    @property
    def answer_read(self) -> int:
        """How much of the peer's last turn the victim had read, in bytes."""
        return max(self.victim.read - (self.peer.written - self.peer.bytes), 0)

    @property
    def answer_left(self) -> int:
        """How much of all the peer had sent the victim had not read, in bytes."""
        return max(self.peer.written - self.victim.read, 0)


def exchange_of(victim: Endpoint) -> Exchange:
    """Return the exchange as it stands now."""
    requester = victim.connection.requester
    return Exchange(
        _turn(victim),
        _turn(victim.other),
        None if requester is None else "victim" if requester is victim else "peer",
    )


def _turn(endpoint: Endpoint) -> Turn:
    return Turn(
        endpoint.turns,
        endpoint.turn_start,
        endpoint.last_write_start,
        endpoint.turn_bytes,
        endpoint.last_write_end,
        endpoint.silence,
        endpoint.held_up,
        endpoint.written_bytes,
        endpoint.consumed_bytes,
    )
