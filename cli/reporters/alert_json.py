"""An alert as one JSON object: the verdict, both ends, and the whole story."""

from __future__ import annotations

from hangup.cli import json_lines
from hangup.cli.clock import wall_clock
from hangup.tracer.fields import ALERT
from hangup.tracer.tracer import Alert

_line = json_lines.line("alert", ALERT)


def alert_line(alert: Alert, offset: int) -> str:
    """Return watch's line; offset: what makes a wall-clock time of a record's times."""
    return _line(alert, lambda nanoseconds: wall_clock(nanoseconds, offset))
