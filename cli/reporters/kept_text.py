"""Texts that are made once and found again by what they are made of.

Some hundred thousand operations a second may be shown, and most of what is said of one was said of an earlier one: of
the same task, the same socket, the same kind of call. A text is made of its key alone, so that the same key cannot
stand for another text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hangup.tracer.record.layout import Event, RecordType, known_of

MOST = 4096
"""So many texts are kept of each kind; then all are forgotten, which costs less than to know which are in use."""

K = TypeVar("K")


class KeptText(dict[K, str]):
    """Texts by their keys: `texts[key]` finds one, or has it made."""

    def __init__(self, make: Callable[[K], str]) -> None:
        """Say what makes a text of its key."""
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> str:
        if len(self) >= MOST:
            self.clear()
        text = self[key] = self._make(key)
        return text


CallKey = tuple[int, int, bytes]
"""By what call an operation was made: flags, operation, and the call, as in `Brief`."""

TaskKey = tuple[bytes, bytes]
"""Who did an operation: the task and what it is called, as in `Brief`."""


def event_of_call(key: CallKey) -> Event:
    """Return an event that has these values, and no others."""
    flags, operation, call = key
    return known_of((_OPERATION, flags, 0, 0, 0, 0, 0, 0, 0, b"", 0, call, operation, b""))


def event_of_task(key: TaskKey) -> Event:
    """Return an event that has these values, and no others."""
    task, names = key
    return known_of((_OPERATION, 0, 0, 0, 0, 0, 0, 0, 0, task, 0, b"", 0, names))


_OPERATION = int(RecordType.OPERATION)
