"""Texts that are made once and found again by what they are made of.

Some hundred thousand operations a second may be shown, and most of what is said of one was said of an earlier one: of
the same task, the same socket, the same kind of call. A text is made of its key alone, so that the same key cannot
stand for another text.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeVar

from hangup.tracer.record.layout import Event

MOST = 4096
"""So many texts are kept of each kind; then all are forgotten, which costs less than to know which are in use."""

K = TypeVar("K")

_BLANK = [b"" if name in ("comm", "leader", "address", "sender") else 0 for name in Event._fields]


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


class Part:
    """Some of an event's values, as the key of a text that is made of them."""

    def __init__(self, *names: str) -> None:
        """Name them."""
        self._places = [Event._fields.index(name) for name in names]
        self.key: Callable[[Event], Any] = itemgetter(*self._places)
        """Returns an event's."""

    def event(self, key: Any) -> Event:
        """Return an event that has these values, and no others."""
        values = _BLANK.copy()
        for place, value in zip(self._places, key, strict=True):
            values[place] = value
        return Event._make(values)
