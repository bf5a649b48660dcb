"""What a compiler made of the probes, as values that outlive it: programs, the maps they use, what they were made from.

In the instructions stands no descriptor, as those are of one process and one run: what they refer to is named, and put
in when they are loaded. So there is one way of loading, whether they were compiled just now or read from a file.

What is written here is JSON behind a line with its digest and its key: what was damaged, cut off or made for something
else is not taken.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from enum import IntEnum
from typing import Any

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel.btf import libbpf

FORMAT = 2
"""Raise it when what is written changes in layout or meaning."""

# include/uapi/linux/bpf.h: struct bpf_insn (opcode, both registers, offset, immediate), BPF_LD | BPF_DW | BPF_IMM,
# which takes two of them, and what its source register may say of the immediate.
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_IMMEDIATE = 0x18
_IS_MAP = 1
# bpf/kernel.h, RUN_VALUE(): nothing that a kernel knows. A program in which one was forgotten is refused.
_IS_RUN_VALUE = 15
# SOME_MAP: any map that there always is.
_IS_SOME_MAP = 14
_SOME_MAP = "losses"

_MAGIC = b"hangup kept"


class RunValue(IntEnum):
    """Numbers that are only known when a program is loaded (bpf/kernel.h)."""

    TRACER_PID = 1
    BUCKET_MASK = 2
    STREAMING = 3
    COMM_GLOBS = 4
    PATH_GLOBS = 5
    NEEDS_PATH = 6
    SELECTED_BY = 7
    SELECTED_CGROUPS = 8
    PATHS_DECIDE = 9
    SNAPLEN = 10
    WAKE_MASK = 11


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """What a map is created from (struct bpf_attr of BPF_MAP_CREATE)."""

    name: str
    type: int
    key_size: int
    """In bytes, as value_size."""
    value_size: int
    max_entries: int
    """Entries; of a ring buffer bytes."""
    flags: int


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions that are complete but for what they refer to."""

    instructions: bytes
    maps: tuple[tuple[int, str], ...] = ()
    """Which instructions, counted from 0, load a map's address, and the map's name."""
    values: tuple[tuple[int, int], ...] = ()
    """Which instructions load a number of this run, and which one (RunValue)."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """All programs of a source, by name, and the maps that they share."""

    programs: Mapping[str, Program]
    maps: tuple[MapDefinition, ...]
    macros: Mapping[str, int]
    """What was defined when they were compiled."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the kernel as BTF describes it."""

    id: int
    """Its BTF id, by which a fentry program is attached."""
    arguments: int
    """How many it takes."""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """All that a start asks of the kernel's BTF."""

    macros: Mapping[str, int]
    """The answers to what the source asks (bpf/kernel.h)."""
    functions: Mapping[str, Function]
    """Those of the probed functions that BTF describes, by name."""
    trampolines: bool
    """Whether there is fentry (bpf_trampoline_link_prog(), kernel/bpf/trampoline.c)."""
    misses_offset: int | None
    """Where struct bpf_prog_info has recursion_misses, in bytes; None before 5.12."""


# ---- references ------------------------------------------------------------------------------------------------------


def program_of(instructions: bytes, maps: Mapping[int, str]) -> Program:
    """Return a compiler's output with its maps' descriptors taken out; maps: their names by descriptor.

    Raises ValueError for a descriptor that is nobody's.
    """
    code = bytearray(instructions)
    named = []
    values = []
    for index, kind, immediate in _references(instructions):
        if kind == _IS_MAP:
            if immediate not in maps:
                raise ValueError(f"instruction {index} refers to a map that there is not")
            named.append((index, maps[immediate]))
            _set_immediate(code, index, 0)
        elif kind == _IS_SOME_MAP:
            named.append((index, _SOME_MAP))
            code[index * _INSTRUCTION.size + 1] = code[index * _INSTRUCTION.size + 1] & 0x0F | _IS_MAP << 4
            _set_immediate(code, index, 0)
        elif kind == _IS_RUN_VALUE:
            values.append((index, immediate))
        else:
            raise ValueError(f"instruction {index} refers to what hangup does not know ({kind})")
    return Program(bytes(code), tuple(named), tuple(values))


def relocated(program: Program, maps: Mapping[str, int], values: Mapping[RunValue, int]) -> bytes:
    """Return the instructions with the maps' descriptors and the values of this run in them, as the kernel takes them.

    Values are 0 to 2 ** 31 - 1. Raises KeyError where a map or a value is missing.
    """
    code = bytearray(program.instructions)
    for index, name in program.maps:
        _set_immediate(code, index, maps[name])
    for index, number in program.values:
        _set_immediate(code, index, values[RunValue(number)])
        # A plain number: only the target register stays (BPF_LD_IMM64, include/linux/filter.h).
        code[index * _INSTRUCTION.size + 1] &= 0x0F
    return bytes(code)


def _references(instructions: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each 64-bit load whose immediate is no plain number: its index, what it is, and the immediate."""
    if len(instructions) % _INSTRUCTION.size:
        raise ValueError("no whole number of instructions")
    skip = False
    for index, (opcode, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(instructions)):
        if skip:
            skip = False
        elif opcode == _LOAD_IMMEDIATE:
            skip = True
            if registers >> 4:
                yield index, registers >> 4, immediate


def _set_immediate(code: bytearray, index: int, value: int) -> None:
    struct.pack_into("=i", code, index * _INSTRUCTION.size + 4, value)


# ---- maps ------------------------------------------------------------------------------------------------------------


class _MapInformation(ctypes.Structure):
    """The beginning of struct bpf_map_info (include/uapi/linux/bpf.h)."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    ]


class _MapCreateOptions(ctypes.Structure):
    """The beginning of struct bpf_map_create_opts, tools/lib/bpf/bpf.h: sz says how much of it we know."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    ]


def definition_of(name: str, descriptor: int) -> MapDefinition:
    """Return what the kernel says of a map. Raises OSError."""
    information = _MapInformation()
    size = ctypes.c_uint32(ctypes.sizeof(information))
    if libbpf().bpf_obj_get_info_by_fd(descriptor, ctypes.byref(information), ctypes.byref(size)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return MapDefinition(
        name,
        information.type,
        information.key_size,
        information.value_size,
        information.max_entries,
        information.map_flags,
    )


def create_maps(definitions: Sequence[MapDefinition]) -> dict[str, int]:
    """Create the maps in the kernel; returns descriptors by name, to be closed by the caller. Raises HangupError."""
    library = libbpf()
    descriptors: dict[str, int] = {}
    try:
        for each in definitions:
            options = _MapCreateOptions(sz=ctypes.sizeof(_MapCreateOptions), map_flags=each.flags)
            # BPF_OBJ_NAME_LEN is 16 with the terminator.
            descriptor = library.bpf_map_create(
                each.type,
                each.name[:15].encode(),
                each.key_size,
                each.value_size,
                each.max_entries,
                ctypes.byref(options),
            )
            if descriptor < 0:
                reason = os.strerror(ctypes.get_errno())
                raise HangupError(f"the kernel refuses the BPF map {each.name} ({reason})", "see `hangup doctor`")
            descriptors[each.name] = descriptor
    except BaseException:
        for descriptor in descriptors.values():
            os.close(descriptor)
        raise
    return descriptors


# ---- in bytes --------------------------------------------------------------------------------------------------------


def encode(key: Mapping[str, Any], value: Compiled | KernelFacts) -> bytes:
    """Return a value in bytes, with what it was made from and for."""
    if isinstance(value, Compiled):
        body: dict[str, Any] = {
            "programs": {
                name: {
                    "instructions": base64.b64encode(program.instructions).decode(),
                    "maps": program.maps,
                    "values": program.values,
                }
                for name, program in value.programs.items()
            },
            "maps": [astuple(each) for each in value.maps],
            "macros": dict(value.macros),
        }
    else:
        body = asdict(value)
    text = json.dumps({"key": key, "value": body}).encode()
    return b"%b %d %b\n%b" % (_MAGIC, FORMAT, hashlib.sha256(text).hexdigest().encode(), text)


def decode_compiled(data: bytes, key: Mapping[str, Any]) -> Compiled:
    """Return what encode() was given. Raises ValueError if these bytes are not of this key, or not as it wrote them."""
    body = _body(data, key)
    try:
        maps = tuple(MapDefinition(*each) for each in body["maps"])
        names = {each.name for each in maps}
        programs = {
            name: Program(
                base64.b64decode(each["instructions"], validate=True),
                tuple((index, map_name) for index, map_name in each["maps"]),
                tuple((index, RunValue(number).value) for index, number in each["values"]),
            )
            for name, each in body["programs"].items()
        }
        for program in programs.values():
            loads = {index: kind for index, kind, _ in _references(program.instructions)}
            wanted = dict.fromkeys((index for index, _ in program.maps), _IS_MAP)
            wanted |= dict.fromkeys((index for index, _ in program.values), _IS_RUN_VALUE)
            if loads != wanted or not {name for _, name in program.maps} <= names:
                raise ValueError("references that do not fit the instructions")
        return Compiled(programs, maps, _numbers(body["macros"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what hangup writes ({error!r})") from error


def decode_facts(data: bytes, key: Mapping[str, Any]) -> KernelFacts:
    """Return what encode() was given. Raises ValueError if these bytes are not of this key, or not as it wrote them."""
    body = _body(data, key)
    try:
        offset = body["misses_offset"]
        return KernelFacts(
            _numbers(body["macros"]),
            {name: Function(**_numbers(each)) for name, each in body["functions"].items()},
            bool(body["trampolines"]),
            None if offset is None else int(offset),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what hangup writes ({error!r})") from error


def _body(data: bytes, key: Mapping[str, Any]) -> Any:
    head, _, text = data.partition(b"\n")
    if head != b"%b %d %b" % (_MAGIC, FORMAT, hashlib.sha256(text).hexdigest().encode()):
        raise ValueError("damaged, or of another version of hangup")
    try:
        document = json.loads(text)
        found, body = document["key"], document["value"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not what hangup writes ({error!r})") from error
    if found != json.loads(json.dumps(key)):
        raise ValueError("made for another kernel, source or option")
    return body


def _numbers(mapping: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(value) for name, value in mapping.items()}
