"""The records as Python sees them, derived from bpf/record.h.

The header is the contract; nothing of its layout is written here a second time. `Event` is a named tuple of one
operation: what the record's header says of it, then the fields of struct operation in the header's order, so that a
record is unpacked by one call of struct; behind them stands what may follow, an address or who sent a signal
(`sender_of`). `History` is what the kernel kept of one endpoint. The enums are the header's too. What a live source
adds to the kernel's records is in facts.py.
"""

from __future__ import annotations

import enum
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

HEADER = Path(__file__).parent.parent.parent / "bpf" / "record.h"

# The header keeps to these types; anything else is a mistake that is found at import.
_FORMATS = {"__u64": "Q", "__s64": "q", "__u32": "I", "__s32": "i", "__u16": "H", "__u8": "B"}

_FIELD = re.compile(
    r"^\t(?:(?P<type>__[us]\d+)|struct (?P<struct>\w+)|char) (?P<name>\w+)(?:\[(?P<length>\w+)\])?;", re.MULTILINE
)
_ENUMERATOR = re.compile(r"^\t(?P<name>[A-Z_]+) = (?P<value>\d+),", re.MULTILINE)
_DEFINE = re.compile(r"^#define (?P<name>\w+) (?P<value>\d+)$", re.MULTILINE)


def _block(source: str, opening: str) -> str:
    start = source.index(opening + " {")
    return source[start : source.index("\n};", start)]


def _fields(source: str, structure: str) -> list[tuple[str, str]]:
    """Return (name, struct format) of each field of a struct."""
    fields = []
    for match in _FIELD.finditer(_block(source, f"struct {structure}")):
        length = match["length"]
        count = int(_DEFINES.get(length, length)) if length else 1
        if match["struct"]:
            size = struct.calcsize("=" + "".join(code for _, code in _fields(source, match["struct"])))
            code = f"{count * size}s"
        elif match["type"]:
            # No name: the reader looks at none of several.
            code = (
                _FORMATS[match["type"]] if count == 1 else f"{count * struct.calcsize('=' + _FORMATS[match['type']])}s"
            )
        else:
            code = f"{count}s"
        fields.append((match["name"], code))
    return fields


def layout_of(structure: str) -> struct.Struct:
    """Return how a struct of the header is packed."""
    return struct.Struct("=" + "".join(code for _, code in _fields(_SOURCE, structure)))


def names_of(structure: str) -> list[str]:
    """Return the names of a struct's fields."""
    return [name for name, _ in _fields(_SOURCE, structure)]


def _enumerators(source: str, name: str, prefixes: str) -> dict[str, int]:
    return {
        re.sub(prefixes, "", match["name"]): int(match["value"])
        for match in _ENUMERATOR.finditer(_block(source, f"enum {name}"))
    }


_SOURCE = HEADER.read_text()
_DEFINES = {match["name"]: int(match["value"]) for match in _DEFINE.finditer(_SOURCE)}
_FIELDS = _fields(_SOURCE, "operation")

VERSION = _DEFINES["RECORD_VERSION"]
"""The records' version, which a capture file carries."""

_RECORD = layout_of("record")
_SECTION = layout_of("section")
_OPERATION_LAYOUT = layout_of("operation")
_SENDER_LAYOUT = layout_of("sender")
_HISTORY_LAYOUT = layout_of("history")
_USER_LAYOUT = layout_of("user")
_MOMENT_LAYOUT = layout_of("moment")
_COUNTED_LAYOUT = layout_of("counted")
_CREDENTIALS_LAYOUT = layout_of("credentials")
_IDENTITY_LAYOUT = layout_of("identity")

# Of an operation, in one go: flags, time and connection of the header, then the operation behind its section's header.
_LAYOUT = struct.Struct(f"=4x2xHQQ{_SECTION.size}x" + "".join(code for _, code in _FIELDS))

SECTION_BYTES = _SECTION.size
"""Bytes of what stands before each section."""

SIZE = _LAYOUT.size
"""Bytes of an operation's record without what may follow it."""


def _place(name: str) -> tuple[int, int]:
    """Return where in an operation's record a field begins, and where it ends."""
    number = [each for each, _ in _FIELDS].index(name)
    sizes = [struct.calcsize("=" + code) for _, code in _FIELDS]
    begin = _RECORD.size + _SECTION.size + sum(sizes[:number])
    return begin, begin + sizes[number]


def _partial_layout(header: str, fields: Sequence[str]) -> struct.Struct:
    """Return how some values of an operation's record are found: what of the header, and which fields.

    Of a field by itself its value, of "first-last" the bytes of all of these.
    """
    layout, offset = f"={header}", _RECORD.size
    codes = dict(_FIELDS)
    for name in fields:
        first, _, last = name.partition("-")
        last = last or first
        begin, end = _place(first)[0], _place(last)[1]
        layout += f"{begin - offset}x" + (codes[first] if first == last else f"{end - begin}s")
        offset = end
    return struct.Struct(f"{layout}{SIZE - offset}x")


Brief = tuple[int, int, int, int, int, int, int, int, int, bytes, int, bytes, int, bytes]
"""Of an operation what is looked at of each: the record's type, flags, time and connection; start, sock, peer, size and
result; who did it, `cgroup` to `owner_pid` in one; message_flags; by which call, `syscall` and `descriptor` in one;
operation; and what who did it is called, `comm` and `leader` in one. To make an `Event` takes four times as long."""

_BRIEF = _partial_layout(
    "4xHHQQ",
    (
        "start",
        "sock",
        "peer",
        "size",
        "result",
        "cgroup-owner_pid",
        "message_flags",
        "syscall-descriptor",
        "operation",
        "comm-leader",
    ),
)

Glance = tuple[int, int, int, int, bytes, bytes, bytes, int, bytes]
"""Of an operation what its line is made of: the record's type, and from its 17th bit on its flags; time; sock and peer;
`size` to `unread_bytes` in one; who did it, as in `Brief`; `message_flags` to `descriptor` in one; operation; and what
who did it is called, as in `Brief`."""

_GLANCE = _partial_layout(
    "4xIQ8x",
    (
        "sock",
        "peer",
        "size-unread_bytes",
        "cgroup-owner_pid",
        "message_flags-descriptor",
        "operation",
        "comm-leader",
    ),
)

Origin = tuple[int, int, int, int]
"""Of an operation what tells a connection that was not known: its number; start; inode_number; peer_pid."""

_ORIGIN = _partial_layout("16xQ", ("start", "inode_number", "peer_pid"))
_WHO_LAYOUT = struct.Struct("=" + "".join(dict(_FIELDS)[name] for name in ("cgroup", "pid")))
_THREAD = slice(*(each - _place("cgroup")[0] for each in _place("tid")))

_HEADER_PLACES = {"flags": (6, "H"), "end": (8, "Q"), "connection": (16, "Q")}


def reader_of(*names: str) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what reads these fields of `Event` from an operation's record, in the order in which they stand there.

    Nothing else of it is unpacked. "payload", as the last one, is what `payload_of` returns. Raises ValueError where
    they are named in another order.
    """
    if names and names[-1] == "payload":
        read = reader_of(*names[:-1])
        return lambda record: (*read(record), payload_of(record))
    codes, layout, offset = dict(_FIELDS), "=", 0
    for name in names:
        place, code = _HEADER_PLACES[name] if name in _HEADER_PLACES else (_place(name)[0], codes[name])
        if place < offset:
            raise ValueError(f"{name} stands before what was named before it")
        layout += f"{place - offset}x{code}"
        offset = place + struct.calcsize("=" + code)
    return cast("Callable[[bytes], tuple[Any, ...]]", struct.Struct(layout).unpack_from)


ON_SOCKET = slice(_place("sock")[0], _place("inode_number")[1])
"""Where in an operation's record stands on which socket it was: `sock`, `peer` and their inodes."""

OPERATION_AT = _place("operation")[0]
"""Where in an operation's record the byte is that says which one it was (Operation)."""

_TASK_AT = slice(_place("pid")[0], _place("gid")[1])
_TASK_NAMES = [name for name, _ in _FIELDS if _TASK_AT.start <= _place(name)[0] < _TASK_AT.stop]
_TASK_LAYOUT = struct.Struct("=" + "".join(dict(_FIELDS)[name] for name in _TASK_NAMES))
_PEER_AT = slice(*_place("peer"))

SMALLEST = _RECORD.size
"""Bytes of a record without any section."""

LARGEST = _DEFINES["RECORD_MAX"]
"""Bytes of the longest record; what says that it is longer is none."""

HISTORY_BYTES = _HISTORY_LAYOUT.size
"""How much is kept of an endpoint."""

COUNTED_BYTES = _DEFINES["COUNTED_ROWS"] * _COUNTED_LAYOUT.size
"""How large the table is in which connections that ended well are counted."""

FIRST_MOMENTS = _DEFINES["FIRST_MOMENTS"]
"""Of an endpoint's operations so many are kept from the first one on."""

LAST_MOMENTS = _DEFINES["LAST_MOMENTS"]
"""And so many up to the last one."""

USER_LOST = _DEFINES["USER_LOST"]
"""The number of a user of whom only that is known."""

LOST_PERIODS = _DEFINES["LOST_PERIODS"]
"""How many periods of each loss the kernel keeps apart."""

if TYPE_CHECKING:
    # For readers and mypy; tests/unit/test_layout.py checks that it is the header's list.

    class Event(NamedTuple):
        """One finished operation, as the kernel recorded it; the fields are described in bpf/record.h.

        `end` is the record's time, `flags` and `connection` are its header's.
        """

        flags: int
        end: int
        connection: int
        start: int
        sock: int
        peer: int
        inode: int
        peer_inode: int
        inode_number: int
        size: int
        result: int
        unread_bytes: int
        cgroup: int
        pid: int
        peer_pid: int
        tid: int
        inner_pid: int
        inner_tid: int
        uid: int
        gid: int
        owner_pid: int
        unread_messages: int
        message_flags: int
        exit_code: int
        syscall: int
        descriptor: int
        cpu: int
        operation: int
        type: int
        shutdown: int
        peer_shutdown: int
        unused: int
        comm: bytes
        leader: bytes
        address: bytes
        sender: bytes

    class Sender(NamedTuple):
        """Who sent the signal that a process ended by, or got before it ended; described in bpf/record.h."""

        time: int
        signal: int
        code: int
        pid: int
        tid: int
        uid: int
        flags: int
        comm: bytes

    class User(NamedTuple):
        """Who used an endpoint; described in bpf/record.h."""

        cgroup: int
        pid: int
        tid: int
        uid: int
        gid: int
        inner_pid: int
        inner_tid: int
        comm: bytes
        leader: bytes

    class Credentials(NamedTuple):
        """What a task may do; described in bpf/record.h."""

        capabilities: int
        uid: int
        euid: int
        suid: int
        fsuid: int
        gid: int
        egid: int
        sgid: int
        fsgid: int

    class KeptMoment(NamedTuple):
        """One operation as far as it was kept; described in bpf/record.h."""

        end: int
        result: int
        size: int
        message_flags: int
        operation: int
        user: int
        shutdown: int
        unused: int

    class History(NamedTuple):
        """What the kernel kept of an endpoint; described in bpf/record.h."""

        sock: int
        key: int
        peer: int
        connection: int
        inode: int
        inode_number: int
        start: int
        holder: int
        read_bytes: int
        written_bytes: int
        turn_start: int
        turn_bytes: int
        last_use: int
        last_write: int
        unread_bytes: int
        unread_messages: int
        exit_code: int
        owner_pid: int
        syscall: int
        descriptor: int
        error: int
        operations: int
        entered: int
        reads: int
        writes: int
        turns: int
        opener_pid: int
        state: int
        decided: int
        unused: int
        release_flags: int
        type: int
        user: int
        users_kept: int
        users_seen: int
        transferred_by: int
        heard: int
        numbers: bytes
        number: int
        sender: bytes
        users: bytes
        moments: bytes

    class Counted(NamedTuple):
        """How many connections ended well, by who was connected to whom; described in bpf/record.h."""

        ready: int
        connections: int
        operations: int
        client: bytes
        server: bytes
        path: bytes
        path_length: int
        latent: int
        pair: int
        unused: int
        unused2: int

    class RecordType(enum.IntEnum):
        """The kinds of records, enum record_type."""

        OPERATION = 1
        HISTORY = 2
        HOST = 3
        PROCESS = 4
        SOCKET = 5
        COUNTS = 6
        LOST = 7
        USER = 9
        IDENTITY = 10

    class SectionType(enum.IntEnum):
        """The kinds of their sections, enum section_type."""

        OPERATION = 1
        HISTORY = 2
        ADDRESS = 3
        SENDER = 4
        HOST = 5
        PROCESS = 6
        SOCKET = 7
        COUNTED = 8
        LOST = 9
        PERIODS = 10
        TEXT = 11
        PIDS = 12
        USER = 13
        UIDS = 14
        IDENTITY = 15
        FILE = 16
        PAYLOAD = 17

    class HistoryState(enum.IntFlag):
        """What is known of an endpoint, enum history_state."""

        CLIENT = 1
        SERVER = 2
        PAIR = 4
        BEGUN = 8
        HANDED_OVER = 16
        RELEASED = 32
        ENDED_SENDING = 64
        ENDED_RECEIVING = 128
        PID_SELECTED = 256
        EXCLUDED = 512
        USERS_LOST = 1024
        NAMED = 2048
        UNTOLD = 4096
        PATH_SELECTED = 8192
        IGNORED = 16384
        UID_SELECTED = 32768
        CGROUP_SELECTED = 65536

    class Heard(enum.IntFlag):
        """What an endpoint has read, enum heard."""

        SINCE = 1
        EARLY = 2

    class Operation(enum.IntEnum):
        """The families of operations, enum operation_type."""

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
        AFTERMATH = 2048
        UNSELECTED = 4096
        FIRST_USE = 8192
        OVERTAKEN = 16384

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
        SKIPPED = 3
        HISTORY_GIVEN_UP = 4

    class HostFlag(enum.IntFlag):
        """What else is known of a host, enum host_flag."""

        RECORDING = 1

    class ProcessFlag(enum.IntFlag):
        """What else is known of a process, enum process_flag."""

        UNIT_IS_CONTAINER = 1

    class SocketFlag(enum.IntFlag):
        """What a socket is, enum socket_flag."""

        CLIENT = 1
        SERVER = 2
        PAIR = 4
        LISTENER = 8

    class TextKind(enum.IntEnum):
        """What a text is, enum text_kind."""

        KERNEL = 1
        BOOT = 2
        VERSION = 3
        PROBES = 4
        FUNCTION = 5
        COMM = 6
        CGROUP = 7
        UNIT = 8
        CONTAINER = 9
        RUNTIME = 10
        PATH = 11

else:
    Event = NamedTuple(
        "Event",
        [
            ("flags", Any),
            ("end", Any),
            ("connection", Any),
            *((name, Any) for name, _ in _FIELDS),
            ("address", bytes),
            ("sender", bytes),
        ],
    )
    Sender = NamedTuple("Sender", [(name, Any) for name in names_of("sender")])
    User = NamedTuple("User", [(name, Any) for name in names_of("user")])
    Credentials = NamedTuple("Credentials", [(name, Any) for name in names_of("credentials")])
    KeptMoment = NamedTuple("KeptMoment", [(name, Any) for name in names_of("moment")])
    History = NamedTuple("History", [(name, Any) for name in names_of("history")])
    Counted = NamedTuple("Counted", [(name, Any) for name in names_of("counted")])
    RecordType = enum.IntEnum("RecordType", _enumerators(_SOURCE, "record_type", "^RECORD_"))
    SectionType = enum.IntEnum("SectionType", _enumerators(_SOURCE, "section_type", "^SECTION_"))
    HistoryState = enum.IntFlag("HistoryState", _enumerators(_SOURCE, "history_state", "^HISTORY_"))
    Heard = enum.IntFlag("Heard", _enumerators(_SOURCE, "heard", "^HEARD_"))
    Operation = enum.IntEnum("Operation", _enumerators(_SOURCE, "operation_type", "^OPERATION_"))
    EventFlag = enum.IntFlag("EventFlag", _enumerators(_SOURCE, "event_flag", "^EVENT_"))
    SenderFlag = enum.IntFlag("SenderFlag", _enumerators(_SOURCE, "sender_flag", "^SENDER_"))
    Loss = enum.IntEnum("Loss", _enumerators(_SOURCE, "loss", "^LOSS_"))
    HostFlag = enum.IntFlag("HostFlag", _enumerators(_SOURCE, "host_flag", "^HOST_"))
    ProcessFlag = enum.IntFlag("ProcessFlag", _enumerators(_SOURCE, "process_flag", "^PROCESS_"))
    SocketFlag = enum.IntFlag("SocketFlag", _enumerators(_SOURCE, "socket_flag", "^SOCKET_"))
    TextKind = enum.IntEnum("TextKind", _enumerators(_SOURCE, "text_kind", "^TEXT_"))

RING_TYPES = (RecordType.OPERATION, RecordType.HISTORY)
"""The types of records that say what happened on connections; of the rest only who and where is learnt."""

TYPE = slice(4, 6)
"""Where in a record its type stands."""

OPERATION_TYPE = RecordType.OPERATION.to_bytes(2, "little")
"""What stands there in an operation's."""

OPERATIONS = frozenset(map(int, Operation))
"""What can stand at OPERATION_AT; an identity's record has 0 there."""

IDENTITY_TYPE = RecordType.IDENTITY.to_bytes(2, "little")
"""What stands there in that of a change of who somebody is."""

RING_TYPE_BYTES = frozenset(kind.to_bytes(2, "little") for kind in RING_TYPES)
"""What stands there in one of RING_TYPES."""

# Plain numbers, as these are compared for each record: an enum's comparison costs more than all else.

DIED = int(EventFlag.EXITING | EventFlag.OWNER_EXITED)
"""The flags of a release by a process that was ending, or by another one of what had been its descriptor."""

STREAM, SEQPACKET = 1, 5
"""What `type` can be: SOCK_STREAM and SOCK_SEQPACKET, socket(2)."""

MSG_PEEK = 2
"""One of a read's `message_flags`, recv(2): the bytes stay in the queue."""

MSG_WAITALL = 0x100
"""Another one: it waits for all that it asks for, or the end."""

MSG_DONTWAIT = 0x40
"""One of a read's or a write's, send(2): it waits for nothing, neither for bytes nor for room."""


class Identity(NamedTuple):
    """A task that has got other credentials, or has executed a program."""

    event: Event
    """Who it is from then on, when, by which system call and on which cpu; nothing else of it means anything."""
    before: Credentials
    after: Credentials
    comm: bytes
    """Its name before."""
    file: bytes
    """Of an execve the program's file, as it was asked for; else empty."""


class Handed(NamedTuple):
    """A connection that was handed over: what was kept of both its ends."""

    time: int
    """When, in ns of CLOCK_MONOTONIC."""
    connection: int
    one: History
    """The end that was hurt, or that was released last."""
    other: History | None
    """None: nothing was kept of it."""
    address: bytes


_unpack = _LAYOUT.unpack_from
type_bytes_of: Callable[[bytes], bytes] = itemgetter(TYPE)
_new = tuple.__new__
_OPERATION = int(RecordType.OPERATION)
_CONNECT = int(Operation.CONNECT)
_HISTORY = int(RecordType.HISTORY)
_OPERATION_SECTION = int(SectionType.OPERATION)
_ADDRESS_SECTION = int(SectionType.ADDRESS)
_SENDER_SECTION = int(SectionType.SENDER)
_PAYLOAD_SECTION = int(SectionType.PAYLOAD)
_HISTORY_SECTION = int(SectionType.HISTORY)


WHO = slice(_place("cgroup")[0], _place("peer_pid")[1])
"""Where in an operation's record stands who did it, and who is at the other end: `cgroup`, `pid` and `peer_pid`."""


def unpack(record: bytes) -> Event:
    """Return the event of an operation's record; struct.error if it is too short to be one."""
    values = _unpack(record)
    if len(record) == SIZE:
        return _new(Event, (*values, b"", b""))
    address = sender = b""
    for kind, content in sections(record, SIZE):
        if kind == _ADDRESS_SECTION:
            address = content
        elif kind == _SENDER_SECTION:
            sender = content
    return _new(Event, (*values, address, sender))


brief_of = cast("Callable[[bytes], Brief]", _BRIEF.unpack_from)
"""Returns the beginning of an event; of a record of another type its type, and nothing that means anything.

struct.error: it is shorter than an operation's."""


glance_of = cast("Callable[[bytes], Glance]", _GLANCE.unpack_from)
"""Returns what is shown of an event; of a record of another type as `brief_of`."""

origin_of = cast("Callable[[bytes], Origin]", _ORIGIN.unpack_from)
"""Returns what tells a connection; of a record of another type nothing that means anything."""


def known_of(brief: Brief) -> Event:
    """Return an event that has these values, and no others."""
    return unpack(_BRIEF.pack(*brief))


def shown_of(glance: Glance) -> Event:
    """Return an event that has these values, and no others."""
    return unpack(_GLANCE.pack(*glance))


def address_of(record: bytes) -> bytes:
    """Return the address that stands behind an operation, as the kernel keeps it; empty: none does."""
    return _behind(record, _ADDRESS_SECTION)


def payload_of(record: bytes) -> bytes:
    """Return the first bytes that an operation read or wrote, as far as they were recorded; empty: none were."""
    return _behind(record, _PAYLOAD_SECTION)


def _behind(record: bytes, wanted: int) -> bytes:
    """Return the section that stands right behind an operation, if it is of this type."""
    begin = SIZE + _SECTION.size
    if len(record) <= begin:
        return b""
    kind, length, _ = _SECTION.unpack_from(record, SIZE)
    return record[begin : min(begin + length, int.from_bytes(record[:4], "little"))] if kind == wanted else b""


def on_socket(part: bytes) -> Event:
    """Return an event that has this part of a record (ON_SOCKET), and nothing else."""
    return unpack(b"".join((bytes(ON_SOCKET.start), part, bytes(SIZE - ON_SOCKET.stop))))


def who_of(task: bytes) -> tuple[int, int]:
    """Return the id of the cgroup and the pid of who did an operation, see `Brief`."""
    return cast(tuple[int, int], _WHO_LAYOUT.unpack_from(task))


def thread_of(task: bytes) -> int:
    """Return the id of the thread that did an operation, see `Brief`."""
    return int.from_bytes(task[_THREAD], "little")


def trimmed(record: bytes) -> bytes:
    """Return a record without what lies behind its own length, as in the ring where that was not known before."""
    return record[: int.from_bytes(record[:4], "little")]


def sections(record: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of a record's sections, from an offset on."""
    end = min(len(record), int.from_bytes(record[:4], "little"))
    while offset + _SECTION.size <= end:
        kind, length, _ = _SECTION.unpack_from(record, offset)
        offset += _SECTION.size
        yield kind, record[offset : min(offset + length, end)]
        offset += (length + 7) & ~7


def unpack_history(record: bytes) -> Handed:
    """Return what a record of kept histories says; struct.error if it is none."""
    _, _, _, time, connection = _RECORD.unpack_from(record)
    ends: list[History] = []
    address = b""
    for kind, content in sections(record, _RECORD.size):
        if kind == _HISTORY_SECTION:
            ends.append(History._make(_HISTORY_LAYOUT.unpack(content)))
        elif kind == _ADDRESS_SECTION:
            address = content
    if not ends:
        raise struct.error("no history in the record")
    other = ends[1] if len(ends) > 1 and ends[1].sock else None
    return Handed(time, connection, ends[0], other, address)


def unpack_user(record: bytes) -> User:
    """Return whom a record of somebody new tells of; struct.error if it is none."""
    for kind, content in sections(record, _RECORD.size):
        if kind == SectionType.USER:
            return User._make(_USER_LAYOUT.unpack(content))
    raise struct.error("nobody in the record")


def unpack_identity(record: bytes) -> Identity:
    """Return what a record of a change of identity says; struct.error if it is none."""
    event = unpack(record)
    found: tuple[bytes, bytes, bytes] | None = None
    file = b""
    for kind, content in sections(record, SIZE):
        if kind == SectionType.IDENTITY:
            found = _IDENTITY_LAYOUT.unpack_from(content)
        elif kind == SectionType.FILE:
            file = content
    if found is None or event.operation:
        raise struct.error("no identity in the record")
    before, after, comm = found
    return Identity(event, _credentials_of(before), _credentials_of(after), comm, file)


def _credentials_of(content: bytes) -> Credentials:
    return Credentials._make(_CREDENTIALS_LAYOUT.unpack(content))


def counted_of(table: bytes) -> list[Counted]:
    """Return the rows of the table of connections that ended well; the first row is that of all others."""
    size = _COUNTED_LAYOUT.size
    # A row begins with `ready`. Most are empty, and this is asked every second.
    ready = memoryview(table).cast("Q")[:: size // 8].tolist()
    places = (place for place, is_ready in enumerate(ready) if is_ready or not place)
    return [Counted._make(_COUNTED_LAYOUT.unpack_from(table, place * size)) for place in places]


def users_of(history: History) -> list[User]:
    """Return who used an endpoint, as far as it was kept: the first one first."""
    return [User._make(values) for values in _USER_LAYOUT.iter_unpack(history.users)][: history.users_kept]


def moments_of(history: History) -> tuple[list[KeptMoment], list[KeptMoment]]:
    """Return the first operations of an endpoint, and after those that were not kept the last ones."""
    kept = [KeptMoment._make(values) for values in _MOMENT_LAYOUT.iter_unpack(history.moments)]
    first, last = kept[:FIRST_MOMENTS], kept[FIRST_MOMENTS:]
    later = max(history.operations - len(first), 0)
    place = later % len(last)
    ordered = last[place:] + last[:place] if later > len(last) else last[:later]
    return first[: history.operations], ordered


def are_operations(history: History) -> bool:
    """Whether all that was kept of an endpoint one by one are operations that are known."""
    first, last = moments_of(history)
    return all(moment.operation in OPERATIONS for moment in (*first, *last))


def sender_of(event: Event) -> Sender | None:
    """Return who sent the signal that the process of a release ended by, or that it got before; None: not known."""
    if len(event.sender) != _SENDER_LAYOUT.size:
        return None
    return Sender(*_SENDER_LAYOUT.unpack(event.sender))


def pack_sender(sender: Sender) -> bytes:
    """Return what an event carries as its `sender`, with EventFlag.SENDER; what makes test data uses it."""
    return _SENDER_LAYOUT.pack(*sender)


def type_of(record: bytes) -> int:
    """Return what kind of record it is (RecordType); struct.error if it is too short to be one."""
    if len(record) < SMALLEST:
        raise struct.error("shorter than a record's header")
    return record[4] | record[5] << 8


def count_types(records: Iterable[bytes]) -> dict[RecordType, int]:
    """Return how many records there are of each of RING_TYPES, for a fraction of what unpacking costs.

    Those of another type are passed over, and so is what is too short for a record.
    """
    counts = Counter(map(type_bytes_of, records))
    return {kind: counts[kind.to_bytes(2, "little")] for kind in RING_TYPES}


def count_operations(records: Iterable[bytes]) -> int:
    """Return how many of some records are operations, for a fraction of what `count_types` costs."""
    return list(map(type_bytes_of, records)).count(OPERATION_TYPE)


def tasks_of(operations: Iterable[bytes]) -> set[tuple[int, int, int, int]]:
    """Return who did some operations on connections: pid, tid, uid and gid, each once.

    That takes a fraction of what reading each record costs.
    """
    operations = list(operations)
    tasks = _tasks(operations)
    if not all(task["peer_pid"] for task in tasks):
        # One of them may be a connect that failed: it has no peer.
        tasks = _tasks([record for record in operations if any(record[_PEER_AT]) or record[OPERATION_AT] != _CONNECT])
    return {(task["pid"], task["tid"], task["uid"], task["gid"]) for task in tasks}


def _tasks(operations: Iterable[bytes]) -> list[dict[str, int]]:
    found = set(map(itemgetter(_TASK_AT), operations))
    return [dict(zip(_TASK_NAMES, _TASK_LAYOUT.unpack(task), strict=True)) for task in found]


def pack(event: Event) -> bytes:
    """Return the record of an event, as the kernel would write it; what generators of test data use."""
    flags, end, connection, *fields = event[:-2]
    content = packed_section(_OPERATION_SECTION, _OPERATION_LAYOUT.pack(*fields))
    for kind, more in ((_ADDRESS_SECTION, event.address), (_SENDER_SECTION, event.sender)):
        if more:
            content += packed_section(kind, more)
    return pack_record(_OPERATION, end, content, flags=flags, connection=connection)


def with_payload(record: bytes, payload: bytes) -> bytes:
    """Return an operation's record with the first bytes that it read or wrote, as the kernel would write it."""
    section = packed_section(_PAYLOAD_SECTION, payload)
    return (len(record) + len(section)).to_bytes(4, "little") + record[4:] + section


def pack_history(handed: Handed) -> bytes:
    """Return the record of a connection that is handed over, as the kernel would write it; for test data, too."""
    other = bytes(_HISTORY_LAYOUT.size) if handed.other is None else _HISTORY_LAYOUT.pack(*handed.other)
    content = (
        packed_section(_HISTORY_SECTION, _HISTORY_LAYOUT.pack(*handed.one))
        + packed_section(_HISTORY_SECTION, other)
        + packed_section(_ADDRESS_SECTION, handed.address)
    )
    return pack_record(_HISTORY, handed.time, content, connection=handed.connection)


def pack_users(users: Iterable[User]) -> bytes:
    """Return what a history has as its `users`."""
    return b"".join(_USER_LAYOUT.pack(*user) for user in users).ljust(_DEFINES["USERS"] * _USER_LAYOUT.size, b"\0")


def pack_user(user: User, time: int) -> bytes:
    """Return the record of somebody new, as the kernel would write it; time: in ns of CLOCK_MONOTONIC."""
    return pack_record(RecordType.USER, time, packed_section(SectionType.USER, _USER_LAYOUT.pack(*user)))


def pack_identity(change: Identity) -> bytes:
    """Return the record of a change of identity, as the kernel would write it; for test data, too."""
    event, before, after, comm, file = change
    flags, end, connection, *fields = event[:-2]
    content = packed_section(_OPERATION_SECTION, _OPERATION_LAYOUT.pack(*fields))
    credentials = (_CREDENTIALS_LAYOUT.pack(*each) for each in (before, after))
    content += packed_section(SectionType.IDENTITY, _IDENTITY_LAYOUT.pack(*credentials, comm))
    if file:
        content += packed_section(SectionType.FILE, file)
    return pack_record(RecordType.IDENTITY, end, content, flags=flags, connection=connection)


def pack_moments(moments: Iterable[KeptMoment]) -> bytes:
    """Return what a history has as its `moments`: FIRST_MOMENTS, then those of the ring as they stand there."""
    size = (FIRST_MOMENTS + LAST_MOMENTS) * _MOMENT_LAYOUT.size
    return b"".join(_MOMENT_LAYOUT.pack(*moment) for moment in moments).ljust(size, b"\0")


def pack_counted(rows: Iterable[Counted]) -> bytes:
    """Return the beginning of the table of connections that ended well."""
    return b"".join(_COUNTED_LAYOUT.pack(*row) for row in rows)


def pack_record(kind: int, time: int, content: bytes = b"", *, flags: int = 0, connection: int = 0) -> bytes:
    """Return a record of these sections; time: in ns of CLOCK_MONOTONIC."""
    return _RECORD.pack(SMALLEST + len(content), kind, flags, time, connection) + content


def time_of(record: bytes) -> int:
    """Return a record's time, in ns of CLOCK_MONOTONIC; struct.error if it is too short to be one."""
    time: int = _RECORD.unpack_from(record)[3]
    return time


def packed_section(kind: int, content: bytes) -> bytes:
    """Return a section of a record."""
    return _SECTION.pack(kind, len(content), 0) + content + bytes(-len(content) % 8)
