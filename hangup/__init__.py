"""hangup: who hung up on whom, as a library.

    from hangup import Tracer

    with Tracer() as tracer:
        for alert in tracer.alerts():
            print(alert.verdict.sentence)

In a checkout the packages beside this file are links to the folders of the top level; installed, they are the folders.
Importing this loads none of it: LLVM comes with the first Tracer that is entered.
"""

from __future__ import annotations

import os

# Until the command's own first lines have run (__main__.py), Ctrl-C would show where it was: typing and pathlib take
# too long for that.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hangup.tracer.errors import HangupError
    from hangup.tracer.tracer import Alert, Tracer
    from hangup.tracer.verdicts import Kind, Verdict

_TRACER = os.path.join(os.path.dirname(__file__), "tracer")  # noqa: PTH118, PTH120

if not os.path.isdir(_TRACER):  # noqa: PTH112
    # What git writes in place of a link, on a file system or for an archive that has none, is a file with its target.
    raise ImportError(
        f"{_TRACER} is not the link to ../tracer that it is in git: "
        "clone hangup onto a file system with symbolic links, or install its package",
        name=__name__,
    )

__all__ = ["Alert", "HangupError", "Kind", "Tracer", "Verdict"]

_HOMES = {
    "Alert": "hangup.tracer.tracer",
    "HangupError": "hangup.tracer.errors",
    "Kind": "hangup.tracer.verdicts",
    "Tracer": "hangup.tracer.tracer",
    "Verdict": "hangup.tracer.verdicts",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: `hangup peers` must not pay for what tracing needs."""
    if name not in _HOMES:
        raise AttributeError(name)
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
