"""An alert as one JSON object: the verdict, both ends, and the whole story."""

from __future__ import annotations

from hangup.cli import json_lines
from hangup.tracer.clocks import Clocks
from hangup.tracer.fields import ALERT
from hangup.tracer.tracer import Alert

_line = json_lines.line("alert", ALERT)


def alert_line(alert: Alert, clocks: Clocks) -> str:
    """Return watch's line; clocks: what makes wall-clock times of the records'."""
    return _line(alert, clocks.wall)
