"""The event record as Python sees it, derived from bpf/event.h.

The header is the contract; nothing of its layout is written here a second time. `Event` is a named tuple whose fields
are the header's, in the header's order, so that a record is unpacked by one call of struct; behind them stands what may
follow a record, an address or who sent a signal (`sender_of`). `Sender` and the enums `Operation`, `EventFlag`,
`SenderFlag` and `Loss` are the header's too.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

HEADER = Path(__file__).parent.parent / "bpf" / "event.h"

# The header keeps to these types; anything else is a mistake that is found at import.
_FORMATS = {"__u64": "Q", "__s64": "q", "__u32": "I", "__s32": "i", "__u16": "H", "__u8": "B"}

_FIELD = re.compile(r"^\t(?:(?P<type>__[us]\d+)|char) (?P<name>\w+)(?:\[(?P<length>\d+)\])?;", re.MULTILINE)
_ENUMERATOR = re.compile(r"^\t(?P<name>[A-Z_]+) = (?P<value>\d+),", re.MULTILINE)
_DEFINE = re.compile(r"^#define (?P<name>\w+) (?P<value>\d+)$", re.MULTILINE)


def _block(source: str, opening: str) -> str:
    start = source.index(opening + " {")
    return source[start : source.index("\n};", start)]


def _fields(source: str, structure: str) -> list[tuple[str, str]]:
    """Return (name, struct format) of each field of a struct."""
    fields = []
    for match in _FIELD.finditer(_block(source, f"struct {structure}")):
        code = _FORMATS[match["type"]] if match["type"] else f"{match['length']}s"
        fields.append((match["name"], code))
    return fields


def _enumerators(source: str, name: str, prefixes: str) -> dict[str, int]:
    return {
        re.sub(prefixes, "", match["name"]): int(match["value"])
        for match in _ENUMERATOR.finditer(_block(source, f"enum {name}"))
    }


_SOURCE = HEADER.read_text()
_FIELDS = _fields(_SOURCE, "event")
_SENDER_FIELDS = _fields(_SOURCE, "sender")
_DEFINES = {match["name"]: int(match["value"]) for match in _DEFINE.finditer(_SOURCE)}

VERSION = _DEFINES["EVENT_VERSION"]
"""The record's version, which a capture file carries."""

_LAYOUT = struct.Struct("=" + "".join(code for _, code in _FIELDS))
_SENDER_LAYOUT = struct.Struct("=" + "".join(code for _, code in _SENDER_FIELDS))

SIZE = _LAYOUT.size
"""Bytes of a record without what may follow it."""

LOST_PERIODS = _DEFINES["LOST_PERIODS"]
"""How many periods of each loss the kernel keeps apart."""

if TYPE_CHECKING:
    # For readers and mypy; tests/unit/test_record.py checks that it is the header's list.

    class Event(NamedTuple):
        """One finished operation, as the kernel recorded it; the fields are described in bpf/event.h."""

        start: int
        end: int
        sock: int
        peer: int
        inode: int
        peer_inode: int
        inode_number: int
        size: int
        result: int
        unread_bytes: int
        cgroup: int
        unread_messages: int
        pid: int
        tid: int
        inner_pid: int
        inner_tid: int
        uid: int
        gid: int
        peer_pid: int
        owner_pid: int
        message_flags: int
        exit_code: int
        syscall: int
        descriptor: int
        cpu: int
        flags: int
        address_length: int
        operation: int
        type: int
        shutdown: int
        peer_shutdown: int
        comm: bytes
        leader: bytes
        address: bytes
        sender: bytes

    class Sender(NamedTuple):
        """Who sent the signal that a process ended by, or got before it ended; described in bpf/event.h."""

        time: int
        signal: int
        code: int
        pid: int
        tid: int
        uid: int
        flags: int
        comm: bytes

    class Operation(enum.IntEnum):
        """The families of operations, enum operation."""

        CONNECT = 1
        ACCEPT = 2
        SOCKETPAIR = 3
        READ = 4
        WRITE = 5
        SHUTDOWN = 6
        RELEASE = 7

    class EventFlag(enum.IntFlag):
        """What else is known of a record, enum event_flag."""

        EXITING = 1
        EMBRYO = 2
        UNREAD_AT_LEAST = 4
        IO_URING = 8
        COMPAT = 16
        PEER_DEAD = 32
        BOUND = 64
        PEER_BOUND = 128
        KERNEL_THREAD = 256
        SENDER = 512
        OWNER_EXITED = 1024

    class SenderFlag(enum.IntFlag):
        """What else is known of a signal, enum sender_flag."""

        HANDLED = 1
        BLOCKED = 2
        OOM = 4
        KERNEL = 8

    class Loss(enum.IntEnum):
        """What was not recorded, by cause, enum loss."""

        RING_FULL = 0
        PENDING_FULL = 1
        MISSED_RETURN = 2
        SOCKETS_FULL = 3
        SKIPPED = 4

else:
    Event = NamedTuple("Event", [*((name, Any) for name, _ in _FIELDS), ("address", bytes), ("sender", bytes)])
    Sender = NamedTuple("Sender", [(name, Any) for name, _ in _SENDER_FIELDS])
    Operation = enum.IntEnum("Operation", _enumerators(_SOURCE, "operation", "^OPERATION_"))
    EventFlag = enum.IntFlag("EventFlag", _enumerators(_SOURCE, "event_flag", "^EVENT_"))
    SenderFlag = enum.IntFlag("SenderFlag", _enumerators(_SOURCE, "sender_flag", "^SENDER_"))
    Loss = enum.IntEnum("Loss", _enumerators(_SOURCE, "loss", "^LOSS_"))

# Plain numbers, as these are compared for each record: an enum's comparison costs more than all else.

DIED = int(EventFlag.EXITING | EventFlag.OWNER_EXITED)
"""The flags of a release by a process that was ending, or by another one of what had been its descriptor."""

STREAM, SEQPACKET = 1, 5
"""What `type` can be: SOCK_STREAM and SOCK_SEQPACKET, socket(2)."""

MSG_PEEK = 2
"""One of a read's `message_flags`, recv(2): the bytes stay in the queue."""

_unpack = _LAYOUT.unpack_from
_new = tuple.__new__
_ADDRESS_LENGTH = [name for name, _ in _FIELDS].index("address_length")
_FLAGS = [name for name, _ in _FIELDS].index("flags")
_WITH_SENDER = int(EventFlag.SENDER)
_OPERATION = [name for name, _ in _FIELDS].index("operation")
# It is one byte, so that its place in a record is all that is needed to read it.
_operation_of = itemgetter(struct.calcsize("=" + "".join(code for _, code in _FIELDS[:_OPERATION])))
assert _FIELDS[_OPERATION][1] == "B"


def unpack(record: bytes) -> Event:
    """Return the event of one record; struct.error if the record is too short to be one."""
    values = _unpack(record)
    length = values[_ADDRESS_LENGTH]
    if not length:
        return _new(Event, (*values, b"", b""))
    follows = record[SIZE : SIZE + length]
    return _new(Event, (*values, b"", follows) if values[_FLAGS] & _WITH_SENDER else (*values, follows, b""))


def sender_of(event: Event) -> Sender | None:
    """Return who sent the signal that the process of a release ended by, or that it got before; None: not known."""
    if len(event.sender) != _SENDER_LAYOUT.size:
        return None
    return Sender(*_SENDER_LAYOUT.unpack(event.sender))


def pack_sender(sender: Sender) -> bytes:
    """Return what an event carries as its `sender`, with EventFlag.SENDER; what makes test data uses it."""
    return _SENDER_LAYOUT.pack(*sender)


def unpack_all(records: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events of many records."""
    return map(unpack, records)


def operations(records: Iterable[bytes]) -> Iterator[int]:
    """Yield the operation of each record, for a fraction of what unpacking costs."""
    return map(_operation_of, records)


def pack(event: Event) -> bytes:
    """Return the record of an event, as the kernel would write it; what generators of test data use."""
    return _LAYOUT.pack(*event[:-2]) + (event.sender if event.flags & _WITH_SENDER else event.address)
