"""Records as tests look at them: unpacked, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hangup.tracer.record.layout import Event, Handed, RecordType, type_of, unpack, unpack_history


def unpack_all(
    records: Iterable[bytes], others: Callable[[bytes], None] = lambda _record: None
) -> Iterator[Event | Handed]:
    """Yield what many records of the kernel's say; struct.error where one is too short for its kind.

    others: is given those of other kinds, each when it is its turn.
    """
    for record in records:
        kind = type_of(record)
        if kind == RecordType.OPERATION:
            yield unpack(record)
        elif kind == RecordType.HISTORY:
            yield unpack_history(record)
        else:
            others(record)
