"""Compiled programs as values: what they refer to is put in when they are loaded; in bytes: whole, or refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.kernel.compiled import (
    Compiled,
    Function,
    KernelFacts,
    MapDefinition,
    Program,
    RunValue,
    decode_compiled,
    decode_facts,
    encode,
    program_of,
    relocated,
)
from hangup.tracer.kernel.compiler import sources

KEY = {"btf": "abc", "options": {"SELECT_PIDS": 0}}


def load(register: int, immediate: int, source: int = 0) -> bytes:
    """Return a 64-bit load, two instructions: its source register says what the immediate is."""
    return struct.pack("=BBhiBBhi", 0x18, source << 4 | register, 0, immediate, 0, 0, 0, 0)


EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
CODE = EXIT + load(1, 7, source=1) + load(2, 99) + load(3, 1, source=15) + load(4, 8, source=1) + EXIT
PROGRAM = program_of(CODE, {7: "ring", 8: "losses"})
COMPILED = Compiled(
    {"enter": PROGRAM, "leave": Program(EXIT)},
    (MapDefinition("ring", 27, 0, 0, 4096, 0), MapDefinition("losses", 2, 4, 8, 5, 1024)),
    {"OFFSET_sock__sk_type": 16},
)
FACTS = KernelFacts({"OFFSET_sock__sk_type": 16}, {"unix_accept": Function(4711, 4)}, True, None)


def test_maps_are_known_by_their_names_and_no_descriptor_stays() -> None:
    assert PROGRAM.maps == ((1, "ring"), (7, "losses"))
    assert PROGRAM.values == ((5, RunValue.TRACER_PID),)
    assert program_of(CODE.replace(load(1, 7, source=1), load(1, 70, source=1)), {70: "ring", 8: "losses"}) == PROGRAM


def test_what_it_refers_to_is_put_in_and_nothing_else_is_changed() -> None:
    loaded = relocated(PROGRAM, {"ring": 30, "losses": 31}, {RunValue.TRACER_PID: 4_194_303})
    assert loaded == (EXIT + load(1, 30, source=1) + load(2, 99) + load(3, 4_194_303) + load(4, 31, source=1) + EXIT)


def test_the_second_half_of_a_load_is_no_instruction_of_its_own() -> None:
    # Its upper 32 bits could be anything; as an instruction its opcode byte is 0.
    wide = struct.pack("=BBhiBBhi", 0x18, 1, 0, 5, 0x18, 0x10, 0, 6)
    assert program_of(wide, {}) == Program(wide)


def test_a_map_or_a_value_that_is_missing_is_not_left_out() -> None:
    with pytest.raises(KeyError):
        relocated(PROGRAM, {"ring": 30}, {RunValue.TRACER_PID: 1})
    with pytest.raises(KeyError):
        relocated(PROGRAM, {"ring": 30, "losses": 31}, {})


@pytest.mark.parametrize("code", [load(1, 9, source=1), load(1, 7, source=2), EXIT[:-1]])
def test_a_reference_that_nobody_knows_is_refused(code: bytes) -> None:
    with pytest.raises(ValueError, match=r"refers|instructions"):
        program_of(code, {7: "ring"})


def test_python_and_the_c_agree_on_what_is_put_in() -> None:
    header = sources()["kernel.h"]
    assert "#define RUN_VALUE(number) bpf_pseudo_fd(15, number)" in header
    for value in RunValue:
        assert f"#define {value.name} RUN_VALUE({value})" in header
    assert header.count("RUN_VALUE(") == 1 + len(RunValue)


def test_what_was_written_is_read_back_as_it_was() -> None:
    assert decode_compiled(encode(KEY, COMPILED), KEY) == COMPILED
    assert decode_facts(encode(KEY, FACTS), KEY) == FACTS


@pytest.mark.parametrize("key", [{}, KEY | {"btf": "abd"}, KEY | {"options": {"SELECT_PIDS": 1}}, KEY | {"more": 1}])
def test_what_was_made_for_something_else_is_refused(key: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="another kernel, source or option"):
        decode_compiled(encode(KEY, COMPILED), key)
    with pytest.raises(ValueError, match="another kernel, source or option"):
        decode_facts(encode(KEY, FACTS), key)


def test_one_is_not_taken_for_the_other() -> None:
    with pytest.raises(ValueError, match="not what hangup writes"):
        decode_compiled(encode(KEY, FACTS), KEY)
    with pytest.raises(ValueError, match="not what hangup writes"):
        decode_facts(encode(KEY, COMPILED), KEY)


def test_cut_off_anywhere_it_is_refused() -> None:
    for data, decode in ((encode(KEY, COMPILED), decode_compiled), (encode(KEY, FACTS), decode_facts)):
        for length in range(len(data)):
            with pytest.raises(ValueError, match=r"."):
                decode(data[:length], KEY)


def test_with_any_bit_flipped_it_is_refused() -> None:
    for data, decode in ((encode(KEY, COMPILED), decode_compiled), (encode(KEY, FACTS), decode_facts)):
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ValueError, match=r"."):
                decode(bytes(damaged), KEY)


@given(st.binary())
def test_nor_is_anything_else_taken(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_compiled(data, KEY)


@pytest.mark.parametrize(
    "program",
    [
        Program(CODE),
        Program(PROGRAM.instructions, ((1, "ring"),), PROGRAM.values),
        Program(PROGRAM.instructions, ((1, "ring"), (7, "gone")), PROGRAM.values),
        Program(PROGRAM.instructions, ((1, "ring"), (8, "losses")), PROGRAM.values),
        Program(PROGRAM.instructions, PROGRAM.maps, ((5, len(RunValue) + 1),)),
        Program(EXIT[:-1]),
    ],
)
def test_references_that_do_not_fit_the_instructions_are_refused_whoever_wrote_them(program: Program) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_compiled(encode(KEY, Compiled({"enter": program}, COMPILED.maps, {})), KEY)
