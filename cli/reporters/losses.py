"""What is missing from what was seen, in words."""

from __future__ import annotations

from hangup.tracer.tracer import Losses
from hangup.tracer.units import counted

# By the names that tracer.tracer.Losses has for the causes; one that is not here is shown by that name.
_WORDS = {
    "ring_full": ("operation, as the ring buffer was full", "operations, as the ring buffer was full"),
    "pending_full": ("operation, as too many were under way", "operations, as too many were under way"),
    "skipped": ("probe that the kernel skipped", "probes that the kernel skipped"),
    "missed_return": ("operation whose return was missed", "operations whose return was missed"),
    "history_given_up": (
        "history given up, as too many connections were open",
        "histories given up, as too many connections were open",
    ),
    "connections_evicted": (
        "connection forgotten, as too many were open",
        "connections forgotten, as too many were open",
    ),
    "capture_damaged": ("part of a capture, which is damaged", "parts of captures, which are damaged"),
    "releases_missed": ("connection whose end was missed", "connections whose end was missed"),
}


def losses_text(losses: Losses) -> str:
    """Return "nothing lost", or what was lost by each cause."""
    causes = [(cause, count) for cause, count in losses.by_cause.items() if count]
    if not causes:
        return "nothing lost"
    return "LOST: " + "; ".join(counted(count, *_words(cause)) for cause, count in causes)


def _words(cause: str) -> tuple[str, str]:
    name = cause.replace("_", " ")
    return _WORDS.get(cause, (name, name))
