"""What the `hangup` command ends with. The help, the manual and the tests quote this table."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The command's exit statuses; `watch` and `trace -- COMMAND` end with the command's own where that is not 0.

    They follow timeout(1), so that whoever runs a test under these can tell apart what failed: 125 is hangup itself,
    whatever is wrong with it, and with 126 and 127 COMMAND has not run. 1 is what diff(1) has for a difference; with
    that and with 3 `hangup diff` alone ends, which runs no COMMAND. 122 is what other programs leave free: 1 and 2 are
    everybody's, 64 to 78 sysexits.h's, 77 and 99 automake's, 100 apt's, 101 Rust's, 120 Python's, 123 xargs', 124
    timeout's; from 128 on there are the signals.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        """Give each status its meaning."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    OK = 0, "all went well, and nothing to report"
    WORSE = 1, "diff: more failed after than before, by more than chance explains"
    USAGE = 2, "the command line is wrong (watch, trace: 125)"
    NOT_COMPARABLE = 3, "diff: before or after there were no connections at all"
    DAMAGED = 65, "a file that was read is damaged, was cut short or is no capture: what is whole of it was shown"
    FAULT = 70, "a fault of hangup itself: HANGUP_TRACEBACK=1 shows where (watch, trace: 125)"
    ALERTS = 122, "watch saw at least one alert, and its COMMAND, if any, ended with 0"
    CANNOT_RUN = 125, "this host cannot run it: see `hangup doctor`; or has no room (watch, trace: any fault)"
    COMMAND_NOT_RUN = 126, "the COMMAND of watch or trace is there but cannot be run"
    COMMAND_NOT_FOUND = 127, "the COMMAND of watch or trace is not there"
    INTERRUPTED = 130, "interrupted (Ctrl-C) before it had anything to sum up"
    BROKEN_PIPE = 141, "whoever read the output went away"


def table() -> str:
    """Return all statuses with their meanings, one a line."""
    return "\n".join(f"{status.value:>3}  {status.meaning}" for status in ExitStatus)
