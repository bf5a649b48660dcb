"""What Python believes of the event record is what bpf/event.h says, and what a C compiler makes of it."""

from __future__ import annotations

import ast
import enum
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.record import layout as record
from hangup.tracer.record.layout import (
    Event,
    EventFlag,
    Loss,
    Operation,
    Sender,
    SenderFlag,
    pack,
    pack_sender,
    sender_of,
    unpack,
)
from tests import stories

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


def test_the_fields_written_for_readers_are_the_headers() -> None:
    types = {name: "bytes" if code.endswith("s") else "int" for name, code in record._FIELDS}
    written = written_for_readers()["Event"]
    assert written == {**types, "address": "bytes", "sender": "bytes"}
    assert tuple(written) == Event._fields


def test_the_senders_fields_written_for_readers_are_the_headers() -> None:
    types = {name: "bytes" if code.endswith("s") else "int" for name, code in record._SENDER_FIELDS}
    written = written_for_readers()["Sender"]
    assert written == types
    assert tuple(written) == Sender._fields


@pytest.mark.parametrize("derived", [Operation, EventFlag, SenderFlag, Loss])
def test_the_enumerators_written_for_readers_are_the_headers(derived: type[enum.IntEnum]) -> None:
    written = written_for_readers()[derived.__name__]
    assert written == {member.name: str(int(member)) for member in derived}


def test_every_line_of_the_header_is_understood() -> None:
    source = re.sub(r"/\*.*?\*/", "", record.HEADER.read_text(), flags=re.DOTALL)
    structures = {"struct event": record._FIELDS, "struct sender": record._SENDER_FIELDS}
    for opening in ("enum operation_type", "enum event_flag", "enum sender_flag", "enum loss", *structures):
        block = source[source.index(f"{opening} {{") :]
        lines = [line for line in block[: block.index("\n};")].splitlines()[1:] if line.strip()]
        if opening in structures:
            assert len(lines) == len(structures[opening])
        else:
            assert len(lines) == len(record._enumerators(record._SOURCE, opening.removeprefix("enum "), "^$"))


def test_the_losses_are_as_many_as_the_map_has() -> None:
    assert record._DEFINES["LOSSES"] == len(Loss)
    assert sorted(Loss) == list(range(len(Loss)))


def test_flags_and_operations_fit_their_fields() -> None:
    codes = dict(record._FIELDS)
    assert codes["operation"] == "B"
    assert codes["flags"] == "H"
    assert all(flag.bit_count() == 1 and flag < 1 << 16 for flag in EventFlag)
    assert all(flag.bit_count() == 1 for flag in SenderFlag)
    assert 0 not in set(Operation)


@pytest.mark.parametrize("fields", [record._FIELDS, record._SENDER_FIELDS], ids=["event", "sender"])
def test_a_compiler_adds_no_padding(fields: list[tuple[str, str]]) -> None:
    offset = 0
    for name, code in fields:
        size = int(code[:-1]) if code.endswith("s") else SIZES[code]
        alignment = 1 if code.endswith("s") else size
        assert offset % alignment == 0, f"{name} is not aligned"
        offset += size
    assert offset == struct.calcsize("=" + "".join(code for _, code in fields))
    assert offset % 8 == 0, "the struct's end is padded"


def test_a_compiler_agrees(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    checks = []
    for structure, fields in (("event", record._FIELDS), ("sender", record._SENDER_FIELDS)):
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
    checks.append(f'_Static_assert(offsetof(struct event_with_sender, sender) == {record.SIZE}, "sender follows");')
    checks.append(f'_Static_assert(offsetof(struct event_with_address, address) == {record.SIZE}, "address follows");')
    checks += [f'_Static_assert(OPERATION_{each.name} == {int(each)}, "{each.name}");' for each in Operation]
    checks += [f'_Static_assert(EVENT_{each.name} == {int(each)}, "{each.name}");' for each in EventFlag]
    checks += [f'_Static_assert(SENDER_{each.name} == {int(each)}, "{each.name}");' for each in SenderFlag]
    checks += [f'_Static_assert(LOSS_{each.name} == {int(each)}, "{each.name}");' for each in Loss]
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
    fields: dict[str, int | bytes] = draw(fields_of(record._FIELDS))
    flags = int(fields["flags"])
    address = sender = b""
    if flags & EventFlag.SENDER:
        sender = pack_sender(Sender(**draw(fields_of(record._SENDER_FIELDS))))  # type: ignore[arg-type]
    else:
        address = draw(st.binary(max_size=108))
    fields |= {"address": address, "sender": sender, "address_length": len(address) + len(sender)}
    return Event(**fields)  # type: ignore[arg-type]


@given(events(), st.binary(max_size=20))
def test_a_record_is_unpacked_as_it_was_packed(event: Event, room: bytes) -> None:
    packed = pack(event)
    assert len(packed) == record.SIZE + len(event.address) + len(event.sender)
    unpacked = unpack(packed)
    assert unpacked == event
    assert isinstance(unpacked, Event)
    # In the ring buffer what follows stands in a field with room for the longest.
    assert unpack(packed + room) == event


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


def test_many_records_are_unpacked_in_their_order() -> None:
    told = stories.seeds_failure().events
    assert list(record.unpack_all(map(pack, told))) == told
