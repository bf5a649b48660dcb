"""Which versions of records can be read, and what makes today's of them.

A change of RECORD_VERSION (bpf/record.h) adds a row, and takes none away: whoever has a capture can go on reading it.
tests/data has a file of each version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hangup.tracer.record import layout as record

Convert = Callable[[list[bytes]], list[bytes]]
"""Returns records of today's version, of those of another one."""


def as_they_are(records: list[bytes]) -> list[bytes]:
    """Return the records: they are of today's version."""
    return records


READABLE: Mapping[int, Convert] = {record.VERSION: as_they_are}
"""By the version in the file's header."""
