"""The library: everything from loading the probes to alerts, usable without the command line.

    from tracer import Tracer

    with Tracer() as tracer:
        for alert in tracer.alerts():
            print(alert.verdict.sentence)

Nothing here prints, exits, or knows of the command. Importing the package loads none of it: LLVM comes with the first
Tracer that is entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.errors import HangupError
    from tracer.tracer import Alert, Tracer
    from tracer.verdicts import Kind, Verdict

__all__ = ["Alert", "HangupError", "Kind", "Tracer", "Verdict"]

_HOMES = {
    "Alert": "tracer.tracer",
    "HangupError": "tracer.errors",
    "Kind": "tracer.verdicts",
    "Tracer": "tracer.tracer",
    "Verdict": "tracer.verdicts",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: `hangup peers` must not pay for what tracing needs."""
    if name not in _HOMES:
        raise AttributeError(name)
    from importlib import import_module  # noqa: PLC0415 - only now

    return getattr(import_module(_HOMES[name]), name)
