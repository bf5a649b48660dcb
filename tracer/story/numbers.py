"""The numbers of connections, where the kernel side's own cannot be trusted to be one."""

from __future__ import annotations

from collections.abc import Container


class Numbers:
    """Gives each connection a number of its own."""

    def __init__(self) -> None:
        self._last = 0

    def own(self, number: int, taken: Container[int]) -> int:
        """Return a connection's number, or another one if it has none or somebody has it: a file may hold anything."""
        if number and number not in taken:
            return number
        self._last += 1
        while self._last in taken:
            self._last += 1
        return self._last
