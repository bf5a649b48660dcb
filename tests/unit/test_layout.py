"""What Python believes of the records is what bpf/record.h says, and what a C compiler makes of it."""

from __future__ import annotations

import ast
import enum
import re
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import is_whole
from hangup.tracer.record.layout import (
    Counted,
    Credentials,
    Event,
    EventFlag,
    Handed,
    Heard,
    History,
    HistoryState,
    HostFlag,
    KeptMoment,
    Loss,
    Operation,
    ProcessFlag,
    RecordType,
    SectionType,
    Sender,
    SenderFlag,
    SocketFlag,
    TextKind,
    User,
    counted_of,
    moments_of,
    pack,
    pack_counted,
    pack_history,
    pack_moments,
    pack_sender,
    pack_users,
    sender_of,
    type_of,
    unpack,
    unpack_history,
    users_of,
)
from tests import stories
from tests.records import unpack_all

SIZES = {"Q": 8, "q": 8, "I": 4, "i": 4, "H": 2, "B": 1}
COMM = 16


def written_for_readers() -> dict[str, dict[str, str]]:
    """Return what tracer/record/layout.py writes under TYPE_CHECKING: each class's names and their types or values."""
    module = ast.parse(Path(record.__file__).read_text())
    (block,) = (
        node
        for node in module.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    classes = {}
    for node in block.body:
        assert isinstance(node, ast.ClassDef)
        names = {}
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                names[ast.unparse(statement.target)] = ast.unparse(statement.annotation)
            elif isinstance(statement, ast.Assign):
                names[ast.unparse(statement.targets[0])] = ast.unparse(statement.value)
        classes[node.name] = names
    return classes


OF_THE_KERNEL = (
    "record",
    "section",
    "operation",
    "sender",
    "user",
    "credentials",
    "identity",
    "moment",
    "history",
    "counted",
)
STRUCTURES = (*OF_THE_KERNEL, "host", "process", "open_socket", "lost", "lost_time", "text")
FIELDS = {name: record._fields(record._SOURCE, name) for name in STRUCTURES}
ENUMS: dict[str, tuple[type[enum.IntEnum] | type[enum.IntFlag], str]] = {
    "record_type": (RecordType, "RECORD_"),
    "section_type": (SectionType, "SECTION_"),
    "operation_type": (Operation, "OPERATION_"),
    "event_flag": (EventFlag, "EVENT_"),
    "sender_flag": (SenderFlag, "SENDER_"),
    "history_state": (HistoryState, "HISTORY_"),
    "heard": (Heard, "HEARD_"),
    "loss": (Loss, "LOSS_"),
    "host_flag": (HostFlag, "HOST_"),
    "process_flag": (ProcessFlag, "PROCESS_"),
    "socket_flag": (SocketFlag, "SOCKET_"),
    "text_kind": (TextKind, "TEXT_"),
}


def types_of(structure: str) -> dict[str, str]:
    return {name: "bytes" if code.endswith("s") else "int" for name, code in FIELDS[structure]}


def test_the_fields_of_an_event_written_for_readers_are_the_headers() -> None:
    written = written_for_readers()["Event"]
    of_the_record = {"flags": "int", "end": "int", "connection": "int"}
    assert written == {**of_the_record, **types_of("operation"), "address": "bytes", "sender": "bytes"}
    assert tuple(written) == Event._fields


@pytest.mark.parametrize(
    ("structure", "derived"),
    [
        ("sender", Sender),
        ("user", User),
        ("credentials", Credentials),
        ("moment", KeptMoment),
        ("history", History),
        ("counted", Counted),
    ],
)
def test_the_fields_written_for_readers_are_the_headers(structure: str, derived: type[NamedTuple]) -> None:
    written = written_for_readers()[derived.__name__]
    assert written == types_of(structure)
    assert tuple(written) == derived._fields


@pytest.mark.parametrize("derived", [derived for derived, _ in ENUMS.values()])
def test_the_enumerators_written_for_readers_are_the_headers(derived: type[enum.IntEnum]) -> None:
    written = written_for_readers()[derived.__name__]
    assert written == {member.name: str(int(member)) for member in derived}


def test_whatever_is_written_for_readers_is_compared_with_the_header() -> None:
    structures = {Event, Sender, User, Credentials, KeptMoment, History, Counted}
    compared = {*structures, *(derived for derived, _ in ENUMS.values())}
    assert set(written_for_readers()) == {each.__name__ for each in compared}


def test_every_line_of_the_header_is_understood() -> None:
    source = re.sub(r"/\*.*?\*/", "", record.HEADER.read_text(), flags=re.DOTALL)
    blocks = re.findall(r"^(struct|enum) (\w+) \{\n(.*?)\n\};", source, re.DOTALL | re.MULTILINE)
    assert {name for kind, name, _ in blocks if kind == "struct"} == {*STRUCTURES, "lost_period", "lost_periods"}
    assert {name for kind, name, _ in blocks if kind == "enum"} == set(ENUMS)
    for kind, name, block in blocks:
        lines = [line for line in block.splitlines() if line.strip()]
        if kind == "struct":
            assert len(lines) == len(record._fields(record._SOURCE, name))
        else:
            assert len(lines) == len(record._enumerators(record._SOURCE, name, "^$"))


def test_the_losses_are_as_many_as_the_map_has() -> None:
    assert record._DEFINES["LOSSES"] == len(Loss)
    assert sorted(Loss) == list(range(len(Loss)))


def test_flags_and_operations_fit_their_fields() -> None:
    assert dict(FIELDS["operation"])["operation"] == "B"
    assert dict(FIELDS["moment"])["operation"] == "B"
    assert dict(FIELDS["record"])["flags"] == "H"
    assert dict(FIELDS["history"])["release_flags"] == "H"
    assert all(flag.bit_count() == 1 and flag < 1 << 16 for flag in EventFlag)
    assert all(flag.bit_count() == 1 and flag < 1 << 32 for flag in (*SenderFlag, *HistoryState))
    assert 0 not in set(Operation)


def test_there_is_room_for_all_moments_and_users_that_are_said_to_be_kept() -> None:
    history = dict(FIELDS["history"])
    kept = record._DEFINES["FIRST_MOMENTS"] + record._DEFINES["LAST_MOMENTS"]
    assert history["moments"] == f"{kept * record._MOMENT_LAYOUT.size}s"
    assert history["users"] == f"{record._DEFINES['USERS'] * record._USER_LAYOUT.size}s"
    assert record._DEFINES["LAST_MOMENTS"].bit_count() == 1
    # A section's length has 16 bits.
    assert record._HISTORY_LAYOUT.size < 1 << 16


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_compiler_adds_no_padding(structure: str) -> None:
    offset = 0
    for name, code in FIELDS[structure]:
        size = int(code[:-1]) if code.endswith("s") else SIZES[code]
        alignment = 1 if code.endswith("s") else size
        assert offset % alignment == 0, f"{name} is not aligned"
        offset += size
    assert offset == struct.calcsize("=" + "".join(code for _, code in FIELDS[structure]))
    assert offset % 8 == 0, "the struct's end is padded"


def test_a_compiler_agrees(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    checks = []
    for structure, fields in FIELDS.items():
        offset = 0
        for name, code in fields:
            size = struct.calcsize("=" + code)
            member = f"((struct {structure} *)0)->{name}"
            checks.append(f'_Static_assert(offsetof(struct {structure}, {name}) == {offset}, "{name}");')
            checks.append(f'_Static_assert(sizeof({member}) == {size}, "{name}");')
            if not code.endswith("s"):
                sign = "<" if code.islower() else ">"
                checks.append(f'_Static_assert((__typeof__({member}))-1 {sign} 0, "{name}");')
            offset += size
        checks.append(f'_Static_assert(sizeof(struct {structure}) == {offset}, "size");')
    for derived, prefix in ENUMS.values():
        checks += [f'_Static_assert({prefix}{each.name} == {int(each)}, "{each.name}");' for each in derived]
    types = "".join(
        f"typedef {'unsigned ' if sign == 'u' else 'signed '}{name} __{sign}{bits};\n"
        for sign in "us"
        for name, bits in (("char", 8), ("short", 16), ("int", 32), ("long long", 64))
    )
    source = tmp_path / "layout.c"
    # The kernel's types are spelled out: its headers need not be installed.
    source.write_text(f'#include <stddef.h>\n{types}#include "{record.HEADER}"\n' + "\n".join(checks) + "\n")
    result = subprocess.run([compiler, "-std=gnu11", "-fsyntax-only", source], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()


def field(code: str) -> st.SearchStrategy[int | bytes]:
    """Return every value of one field."""
    if code.endswith("s"):
        size = int(code[:-1])
        return st.binary(min_size=size, max_size=size)
    bits = 8 * SIZES[code]
    low = -(1 << bits - 1) if code.islower() else 0
    return st.integers(low, low + (1 << bits) - 1)


def fields_of(layout: list[tuple[str, str]]) -> st.SearchStrategy[dict[str, int | bytes]]:
    """Return every value of every field of a struct."""
    return st.fixed_dictionaries({name: field(code) for name, code in layout})


@st.composite
def events(draw: st.DrawFn) -> Event:
    fields: dict[str, int | bytes] = draw(fields_of(FIELDS["operation"]))
    fields |= {name: draw(field(code)) for name, code in (("flags", "H"), ("end", "Q"), ("connection", "Q"))}
    sender = b""
    if draw(st.booleans()):
        sender = pack_sender(Sender(**draw(fields_of(FIELDS["sender"]))))  # type: ignore[arg-type]
    fields |= {"address": draw(st.binary(max_size=108)), "sender": sender}
    return Event(**fields)  # type: ignore[arg-type]


def section(kind: int, content: bytes, length: int | None = None) -> bytes:
    """Return a section; length: what it says of itself, if that is not true."""
    head = record._SECTION.pack(kind, len(content) if length is None else length, 0)
    return head + content + bytes(-len(content) % 8)


def with_sections(packed: bytes, *sections: bytes) -> bytes:
    """Return a record with more sections at its end."""
    longer = packed + b"".join(sections)
    return len(longer).to_bytes(4, "little") + longer[4:]


histories = fields_of(FIELDS["history"]).map(lambda fields: History(**fields))  # type: ignore[arg-type]


@st.composite
def handed_over(draw: st.DrawFn) -> Handed:
    other = draw(st.none() | histories.filter(lambda history: bool(history.sock)))
    number = field("Q")
    return Handed(draw(number), draw(number), draw(histories), other, draw(st.binary(max_size=108)))  # type: ignore[arg-type]


unknown_sections = st.lists(
    st.builds(
        section, st.integers(0, 0xFFFF).filter(lambda kind: kind not in set(SectionType)), st.binary(max_size=40)
    ),
    max_size=4,
)


@given(events(), st.binary(max_size=20))
def test_a_record_is_unpacked_as_it_was_packed(event: Event, room: bytes) -> None:
    packed = pack(event)
    assert len(packed) % 8 == 0
    assert int.from_bytes(packed[:4], "little") == len(packed)
    assert type_of(packed) == RecordType.OPERATION
    unpacked = unpack(packed)
    assert unpacked == event
    assert isinstance(unpacked, Event)
    # In the ring buffer what follows stands in a field with room for the longest.
    assert unpack(packed + room) == event


@given(events(), unknown_sections)
def test_sections_of_an_operation_that_are_not_known_are_skipped(event: Event, more: list[bytes]) -> None:
    bare = pack(event._replace(address=b"", sender=b""))
    known = pack(event)[len(bare) :]
    assert unpack(with_sections(bare, *more, known, *more)) == event


@given(handed_over(), unknown_sections)
def test_histories_are_unpacked_as_they_were_packed_whatever_sections_follow(handed: Handed, more: list[bytes]) -> None:
    packed = pack_history(handed)
    assert type_of(packed) == RecordType.HISTORY
    assert int.from_bytes(packed[:4], "little") == len(packed)
    assert unpack_history(packed) == handed
    assert unpack_history(with_sections(packed, *more)) == handed


def test_an_end_of_which_nothing_was_kept_may_be_left_out_or_be_all_zeros() -> None:
    handed = stories_history()
    (one, other) = handed.one, handed.other
    assert other is not None
    assert unpack_history(pack_history(Handed(1, 2, one, None, b""))).other is None
    assert unpack_history(pack_history(Handed(1, 2, one, other._replace(sock=0), b""))).other is None


@given(st.lists(st.builds(KeptMoment, *map(field, "QiIIBBBB")), min_size=22, max_size=22), st.integers(0, 1000))
def test_the_last_operations_are_a_ring_behind_the_first_ones(kept: list[KeptMoment], operations: int) -> None:
    # Where the kernel writes the nth, see note() in bpf/history.h.
    slots = dict(enumerate(kept))
    for number in range(operations):
        slots[number if number < 6 else 6 + (number - 6 & 15)] = kept[0]._replace(end=number)
    history = stories_history().one._replace(operations=operations, moments=pack_moments(list(slots.values())))
    first, last = moments_of(history)
    assert [moment.end for moment in first] == list(range(min(operations, 6)))
    assert [moment.end for moment in last] == list(range(max(6, operations - 16), operations))


@given(st.lists(fields_of(FIELDS["user"]).map(lambda each: User(**each)), max_size=3))  # type: ignore[arg-type]
def test_of_the_users_there_are_as_many_as_were_kept(users: list[User]) -> None:
    history = stories_history().one._replace(users=pack_users(users), users_kept=len(users))
    assert users_of(history) == users


def test_rows_that_nobody_has_counted_in_are_none_but_for_that_of_all_others() -> None:
    named = Counted(
        1, 5, 40, b"httpd".ljust(16, b"\0"), b"uwsgi".ljust(16, b"\0"), b"/a".ljust(112, b"\0"), 2, 0, 0, 0, 0
    )
    empty = named._replace(ready=0, connections=0)
    others = empty._replace(connections=3)
    assert counted_of(pack_counted([others, empty, named, empty])) == [others, named]
    assert len(pack_counted([empty])) * 4096 == record.COUNTED_BYTES


@given(events(), events())
def test_who_did_an_operation_is_known_by_the_same_bytes_whatever_he_did(one: Event, other: Event) -> None:
    who = ("cgroup", "pid", "peer_pid", "tid", "inner_pid", "inner_tid", "uid", "gid", "owner_pid")
    next_one = other._replace(**{name: getattr(one, name) for name in who})
    first, second = pack(one), pack(next_one)
    assert record.brief_of(first)[9] == record.brief_of(second)[9]
    assert record.glance_of(first)[5] == record.glance_of(second)[5]
    assert first[record.WHO] == second[record.WHO]


def test_a_release_tells_who_sent_the_signal() -> None:
    sender = Sender(time=5, signal=9, code=-6, pid=160, tid=161, uid=33, flags=0, comm=b"php-fpm".ljust(16, b"\0"))
    told = stories.established().server.release(killed_by=9, sender=pack_sender(sender))
    assert told.flags & EventFlag.SENDER
    assert sender_of(unpack(pack(told))) == sender
    assert told.address == b""


def test_an_event_without_a_sender_or_with_half_of_one_names_nobody() -> None:
    told = stories.established().server.release(killed_by=9)
    assert sender_of(told) is None
    cut = told._replace(flags=told.flags | EventFlag.SENDER, sender=b"half")
    assert sender_of(unpack(pack(cut))) is None


@given(st.binary(max_size=record.SIZE - 1))
def test_a_short_record_is_none(data: bytes) -> None:
    with pytest.raises(struct.error):
        unpack(data)


@given(st.binary(max_size=400) | st.tuples(st.binary(min_size=24, max_size=24), st.binary(max_size=4000)).map(b"".join))
def test_any_bytes_are_an_operation_or_none(data: bytes) -> None:
    with suppress(struct.error):
        assert isinstance(unpack(data), Event)


@given(
    st.integers(0, (1 << 32) - 1),
    st.lists(
        st.builds(section, st.integers(0, 5), st.binary(max_size=60), st.none() | st.integers(0, 0xFFFF))
        | st.just(section(2, bytes(record._HISTORY_LAYOUT.size)))
    ),
    st.integers(0, 40),
)
def test_histories_with_any_lengths_are_unpacked_or_are_none(length: int, sections: list[bytes], cut: int) -> None:
    data = record._RECORD.pack(length, int(RecordType.HISTORY), 0, 1, 2) + b"".join(sections)
    for one in (data, data[: len(data) - cut], with_sections(data), with_sections(data)[: len(data) - cut]):
        with suppress(struct.error):
            handed = unpack_history(one)
            assert len(moments_of(handed.one)[0]) <= record.FIRST_MOMENTS


@given(st.lists(st.binary(max_size=300) | st.sampled_from([b"", b"\1"]), max_size=6))
def test_of_any_bytes_that_are_read_at_once_nothing_is_raised_but_that_they_are_no_records(data: list[bytes]) -> None:
    with suppress(struct.error):
        list(unpack_all(data))
    assert sum(record.count_types(data).values()) <= len(data)


@given(st.integers(0, 0xFFFF).filter(lambda kind: kind not in set(RecordType)), st.binary(max_size=300))
def test_records_of_a_kind_that_is_not_known_are_passed_over(kind: int, content: bytes) -> None:
    told = stories.seeds_failure().events
    unknown = record._RECORD.pack(record.SMALLEST + len(content), kind, 0, 1, 2) + content
    records = [pack(told[0]), unknown, pack(told[1]), unknown]
    assert list(unpack_all(records)) == told[:2]
    assert record.count_types(records) == {RecordType.OPERATION: 2, RecordType.HISTORY: 0}
    assert type_of(unknown) == kind


def test_many_records_are_unpacked_in_their_order() -> None:
    told = stories.seeds_failure().events
    handed = stories_history()
    records = [*map(pack, told[:3]), pack_history(handed), *map(pack, told[3:])]
    assert list(unpack_all(records)) == [*told[:3], handed, *told[3:]]
    assert record.count_types(records) == {RecordType.OPERATION: len(told), RecordType.HISTORY: 1}


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", False),
        (pack(stories.seeds_failure().events[0]), True),
        (pack(stories.seeds_failure().events[0])[: record.SIZE - 1], False),
        (record._RECORD.pack(record.SMALLEST, 77, 0, 0, 0), True),
        (record._RECORD.pack(record.SMALLEST, 77, 0, 0, 0)[:-1], False),
        (record._RECORD.pack(record.SMALLEST, int(RecordType.HISTORY), 0, 0, 0), False),
    ],
)
def test_what_is_no_record_can_be_told(data: bytes, whole: bool) -> None:
    assert is_whole(data) is whole


def test_of_a_history_all_that_was_kept_are_operations() -> None:
    def data(operation: int, operations: int) -> bytes:
        moments = [KeptMoment(5, 1, 1, 0, each, 0, 0, 0) for each in (Operation.CONNECT, Operation.WRITE, operation)]
        history = stories_history().one._replace(moments=record.pack_moments(moments), operations=operations)
        return pack_history(Handed(5, 7, history, None, b""))

    assert is_whole(data(Operation.READ, 3))
    assert not is_whole(data(0, 3))
    assert not is_whole(data(8, 3))
    # What is not counted is not there.
    assert is_whole(data(0, 2))


def stories_history() -> Handed:
    """Return two histories of nothing."""
    zeros = History._make(record._HISTORY_LAYOUT.unpack(bytes(record._HISTORY_LAYOUT.size)))
    return Handed(5, 7, zeros._replace(sock=1, peer=2), zeros._replace(sock=2, peer=1), b"/run/app.s")
