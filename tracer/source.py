"""Where records come from: this host, or a capture file. What follows cannot tell which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Source(Protocol):
    """A stream of records (bpf/record.h), in the order in which they are to be taken."""

    def opening(self) -> Sequence[bytes]:
        """Return what is known before anything is read, as records; it is asked once."""

    def read(self, timeout: float) -> list[bytes]:
        """Return the next records, if not all there are; none after `timeout` seconds without any, or at the end."""

    @property
    def drained(self) -> bool:
        """Whether everything that has been recorded by now has been read."""

    def counts(self) -> Sequence[bytes]:
        """Return what has been counted and not been told by now, as records. Any thread may ask."""

    def losses(self) -> Sequence[bytes]:
        """Return what has been lost and not been told by now, as records."""
