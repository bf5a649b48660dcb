"""The kinds of probes that miss nothing on the kernel that runs: the scenarios hold these to the last operation."""

from __future__ import annotations

from hangup.tracer.kernel.probes import preempts_programs


def exact_flavours() -> list[str]:
    """Return fentry and kprobe; only kprobe where the kernel preempts fentry programs, and then skips some."""
    return ["kprobe"] if preempts_programs() else ["fentry", "kprobe"]
