"""What the `hangup` command ends with. The help, the manual and the tests quote this table."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The command's exit statuses; `watch -- COMMAND` without an alert ends with the command's own."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        """Give each status its meaning."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    OK = 0, "all went well, and nothing to report"
    ALERTS = 1, "watch saw at least one alert"
    USAGE = 2, "the command line is wrong"
    CANNOT_RUN = 3, "this host cannot run it; one line says what to do, as `hangup doctor` does"
    FAULT = 70, "a fault of hangup itself (HANGUP_TRACEBACK=1 shows where)"
    COMMAND_NOT_RUN = 126, "the command of watch -- COMMAND is there but cannot be run"
    COMMAND_NOT_FOUND = 127, "the command of watch -- COMMAND is not there"
    INTERRUPTED = 130, "interrupted (Ctrl-C) before it had anything to sum up"
    BROKEN_PIPE = 141, "whoever read the output went away"


def table() -> str:
    """Return all statuses with their meanings, one a line."""
    return "\n".join(f"{status.value:>3}  {status.meaning}" for status in ExitStatus)
