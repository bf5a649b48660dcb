"""What a run leaves to sum up when it has ended."""

from __future__ import annotations

from dataclasses import dataclass

from hangup.tracer.statistics import Statistics
from hangup.tracer.tracer import Losses


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended: what was counted, what was lost, and how it was watched."""

    statistics: Statistics
    losses: Losses
    seconds: float
    probes: str | None
    """How the probes were attached; None: that is not known."""
    functions: int
    """How many functions were probed."""
    interrupted: bool = False
    """Whether a capture was not read to its end."""
