"""From a story to its conclusion: the cause, one sentence about it, the figures it rests on, and what it cost.

Decided by facts of the story, never by names of programs.
"""

from hangup.tracer.verdicts.kinds import Kind
from hangup.tracer.verdicts.verdict import Consequence, Figures, Verdict

__all__ = ["Consequence", "Figures", "Kind", "Verdict"]
