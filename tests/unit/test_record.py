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

from hangup.tracer import record
from hangup.tracer.record import Event, EventFlag, Loss, Operation, pack, unpack
from tests import stories

SIZES = {"Q": 8, "q": 8, "I": 4, "i": 4, "H": 2, "B": 1}
COMM = 16


def written_for_readers() -> dict[str, dict[str, str]]:
    """Return what tracer/record.py writes under TYPE_CHECKING: each class's names and their types or values."""
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
    assert written == {**types, "address": "bytes"}
    assert tuple(written) == Event._fields


@pytest.mark.parametrize("derived", [Operation, EventFlag, Loss])
def test_the_enumerators_written_for_readers_are_the_headers(derived: type[enum.IntEnum]) -> None:
    written = written_for_readers()[derived.__name__]
    assert written == {member.name: str(int(member)) for member in derived}


def test_every_line_of_the_header_is_understood() -> None:
    source = re.sub(r"/\*.*?\*/", "", record.HEADER.read_text(), flags=re.DOTALL)
    for opening in ("enum operation", "enum event_flag", "enum loss", "struct event"):
        block = source[source.index(f"{opening} {{") :]
        lines = [line for line in block[: block.index("\n};")].splitlines()[1:] if line.strip()]
        if opening == "struct event":
            assert len(lines) == len(record._FIELDS)
        else:
            assert len(lines) == len(record._enumerators(record._SOURCE, opening.removeprefix("enum "), "^$"))


def test_the_losses_are_as_many_as_the_map_has() -> None:
    assert record._DEFINES["LOSSES"] == len(Loss)
    assert sorted(Loss) == list(range(len(Loss)))


def test_flags_and_operations_fit_their_fields() -> None:
    codes = dict(record._FIELDS)
    assert codes["operation"] == codes["flags"] == "B"
    assert all(flag.bit_count() == 1 and flag < 256 for flag in EventFlag)
    assert 0 not in set(Operation)


def test_a_compiler_adds_no_padding() -> None:
    offset = 0
    for name, code in record._FIELDS:
        size = int(code[:-1]) if code.endswith("s") else SIZES[code]
        alignment = 1 if code.endswith("s") else size
        assert offset % alignment == 0, f"{name} is not aligned"
        offset += size
    assert offset == record.SIZE
    assert record.SIZE % 8 == 0, "the struct's end is padded"


def test_a_compiler_agrees(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    checks = [f'_Static_assert(sizeof(struct event) == {record.SIZE}, "size");']
    offset = 0
    for name, code in record._FIELDS:
        size = struct.calcsize("=" + code)
        checks.append(f'_Static_assert(offsetof(struct event, {name}) == {offset}, "{name}");')
        checks.append(f'_Static_assert(sizeof(((struct event *)0)->{name}) == {size}, "{name}");')
        if not code.endswith("s"):
            sign = "<" if code.islower() else ">"
            checks.append(f'_Static_assert((__typeof__(((struct event *)0)->{name}))-1 {sign} 0, "{name}");')
        offset += size
    checks.append(f'_Static_assert(offsetof(struct event_with_address, address) == {record.SIZE}, "address follows");')
    checks += [f'_Static_assert(OPERATION_{each.name} == {int(each)}, "{each.name}");' for each in Operation]
    checks += [f'_Static_assert(EVENT_{each.name} == {int(each)}, "{each.name}");' for each in EventFlag]
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


@st.composite
def events(draw: st.DrawFn) -> Event:
    address = draw(st.binary(max_size=108))
    fields = {name: draw(field(code)) for name, code in record._FIELDS}
    return Event(**{**fields, "address": address, "address_length": len(address)})  # type: ignore[arg-type]


@given(events(), st.binary(max_size=20))
def test_a_record_is_unpacked_as_it_was_packed(event: Event, room: bytes) -> None:
    packed = pack(event)
    assert len(packed) == record.SIZE + len(event.address)
    unpacked = unpack(packed)
    assert unpacked == event
    assert isinstance(unpacked, Event)
    # In the ring buffer the address stands in a field with room for the longest.
    assert unpack(packed + room) == event


@given(st.binary(max_size=record.SIZE - 1))
def test_a_short_record_is_none(data: bytes) -> None:
    with pytest.raises(struct.error):
        unpack(data)


def test_many_records_are_unpacked_in_their_order() -> None:
    told = stories.seeds_failure().events
    assert list(record.unpack_all(map(pack, told))) == told
