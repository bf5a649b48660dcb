"""When an operation was, as -t has it: in a column, whatever it counts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from hangup.cli.clock import second
from hangup.tracer.clocks import Clocks

Zero = Literal["local", "UTC", "relative", "delta"]
"""What times count from: the day, here or in UTC; the first line; the line before."""

ZEROS: tuple[Zero, ...] = get_args(Zero)

ShowTime = Callable[[Clocks, int], str]
"""Given what makes wall-clock times of the records', and a time in ns of CLOCK_MONOTONIC, returns its text."""

_WIDTHS = {6: 15, 9: 18}

# To format a number costs as much as to put a line together.
_THREE = [f"{number:03d}" for number in range(1000)]


def times(zero: Zero, digits: Literal[6, 9] = 6) -> ShowTime:
    """Return what shows times, one line after the other, to so many digits of a second."""
    if zero in ("relative", "delta"):
        return _since(digits, line_before=zero == "delta")
    in_utc, is_exact = zero == "UTC", digits == 9
    # Some hundred lines may be of one millisecond.
    second_text, second_begin, second_lasts = "", 0, 0
    text, begin, lasts, version = "", 0, 0, -1

    def of_day(clocks: Clocks, when: int) -> str:
        nonlocal text, begin, lasts
        rest = when - begin
        if not 0 <= rest < lasts or version != clocks.version:
            text, begin, lasts = millisecond(clocks, when)
            rest = when - begin
        microsecond = f"{text}{_THREE[rest // 1000]}"
        return microsecond + _THREE[rest % 1000] if is_exact else microsecond

    def millisecond(clocks: Clocks, when: int) -> tuple[str, int, int]:
        nonlocal second_text, second_begin, second_lasts, version
        if not 0 <= when - second_begin < second_lasts or version != clocks.version:
            second_text, second_begin, second_lasts = second(clocks, when, in_utc=in_utc)
            version = clocks.version
        number = (when - second_begin) // 1_000_000
        begin = second_begin + number * 1_000_000
        return f"{second_text}.{_THREE[number]}", begin, min(1_000_000, second_begin + second_lasts - begin)

    return of_day


class Elapsed:
    """Counts from the first time or from the one before; from one run to another by the wall clock."""

    def __init__(self, *, line_before: bool) -> None:
        """line_before: whether it counts from the time before."""
        self._line_before = line_before
        # What it counts from, by CLOCK_MONOTONIC and by the wall clock, and in which run.
        self._zero: int | None = None
        self._wall = self._runs = 0

    def until(self, clocks: Clocks, when: int) -> int:
        """Return how long after that a CLOCK_MONOTONIC time is, both in ns."""
        if self._zero is not None and self._runs != clocks.runs:
            self._zero = when - (clocks.wall(when) - self._wall)
        self._runs = clocks.runs
        elapsed = 0 if self._zero is None else when - self._zero
        if self._zero is None or self._line_before:
            self._zero, self._wall = when, clocks.wall(when)
        return elapsed


def _since(digits: Literal[6, 9], *, line_before: bool) -> ShowTime:
    elapsed_till = Elapsed(line_before=line_before).until
    width, divisor = _WIDTHS[digits], 10 ** (9 - digits)

    def since(clocks: Clocks, when: int) -> str:
        elapsed = elapsed_till(clocks, when)
        seconds, rest = divmod(abs(elapsed), 10**9)
        text = f"{'-' if elapsed < 0 else ''}{seconds}.{rest // divisor:0{digits}d}"
        return f"{text:>{width}}"

    return since
