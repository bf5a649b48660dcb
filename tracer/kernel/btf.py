"""What the running kernel is made of: its BTF, read with libbpf.

Every offset the probes use and every question about what the kernel has ("is there such a function, such a member?")
is answered here. Kernel versions are never compared: distributions backport, BTF tells.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path

from hangup.tracer.errors import HangupError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

# include/uapi/linux/btf.h
_KIND_STRUCT = 4
_KIND_UNION = 5
_KIND_ENUM = 6
_KIND_TYPEDEF = 8
_KIND_FUNC = 12
_KIND_ENUM64 = 19

_TYPE_SIZE = 12  # sizeof(struct btf_type)
_MEMBER_SIZE = 12  # sizeof(struct btf_member)
_ENUM_SIZE = 8  # sizeof(struct btf_enum)
_ENUM64_SIZE = 12  # sizeof(struct btf_enum64)


@functools.cache
def libbpf() -> ctypes.CDLL:
    """Return libbpf 1.x with the functions declared that read BTF and create maps; raises HangupError without it."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise HangupError("libbpf is missing (libbpf.so.1)", "install it: apt install libbpf1") from None
    library.btf__parse.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.btf__parse.restype = ctypes.c_void_p
    library.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
    library.btf__find_by_name_kind.restype = ctypes.c_int32
    library.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.btf__type_by_id.restype = ctypes.c_void_p
    library.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.btf__name_by_offset.restype = ctypes.c_char_p
    library.btf__free.argtypes = [ctypes.c_void_p]
    library.btf__free.restype = None
    library.bpf_obj_get_info_by_fd.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    library.bpf_map_create.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
    ]
    return library


class Btf:
    """One BTF blob. Close it when done (or use it as a context manager): the kernel's takes several MB."""

    def __init__(self, path: Path = VMLINUX) -> None:
        self._library = libbpf()
        if not path.exists():
            raise HangupError(
                f"the kernel has no BTF ({path} is missing)",
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as every Debian kernel since 11 is",
            )
        self._handle: int | None = self._library.btf__parse(str(path).encode(), None)
        if not self._handle:
            raise HangupError(f"cannot read the kernel's BTF ({path})", "run as root and see that the file is readable")

    @classmethod
    def vmlinux(cls) -> Btf:
        """Return the running kernel's BTF."""
        return cls(VMLINUX)

    def __enter__(self) -> Btf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        if self._handle:
            self._library.btf__free(self._handle)
            self._handle = None

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of this name that BTF describes (so that fentry can attach to it)."""
        return self._find(name, _KIND_FUNC) is not None

    def function_id(self, name: str) -> int | None:
        """Return the BTF id of a function, which is what a fentry program is attached by."""
        return self._find(name, _KIND_FUNC)

    def has_tracepoint(self, name: str) -> bool:
        """Whether the kernel has a tracepoint of this name: each has a typedef (include/trace/bpf_probe.h)."""
        return self._find(f"btf_trace_{name}", _KIND_TYPEDEF) is not None

    def arguments(self, function: str) -> int:
        """Return how many arguments a function takes."""
        function_id = self._find(function, _KIND_FUNC)
        if function_id is None:
            raise KeyError(function)
        _, _, prototype = self._type(function_id)
        _, information, _ = self._type(prototype)
        return information & 0xFFFF

    def has_member(self, structure: str, member: str) -> bool:
        """Whether a struct or union has a member, also inside anonymous structs and unions of it."""
        return self._member_offset(structure, member) is not None

    def offset(self, structure: str, member: str) -> int:
        """Return the offset of a member in bytes; KeyError if there is none."""
        offset = self._member_offset(structure, member)
        if offset is None:
            raise KeyError(f"{structure}.{member}")
        return offset

    def size(self, structure: str) -> int | None:
        """Return the size of a struct or union in bytes, None if the kernel does not have it."""
        type_id = self._structure(structure)
        return None if type_id is None else self._type(type_id)[2]

    def enum_value(self, enum: str, enumerator: str) -> int | None:
        """Return the value of an enumerator, None if the kernel does not have it."""
        for kind, size in ((_KIND_ENUM, _ENUM_SIZE), (_KIND_ENUM64, _ENUM64_SIZE)):
            type_id = self._find(enum, kind)
            if type_id is None:
                continue
            for name, (value, *_) in self._entries(type_id, size, entry_words=size // 4):
                if name == enumerator:
                    return value
        return None

    def _find(self, name: str, kind: int) -> int | None:
        found = self._library.btf__find_by_name_kind(self._handle, name.encode(), kind)
        return found if found > 0 else None

    def _structure(self, name: str) -> int | None:
        return self._find(name, _KIND_STRUCT) or self._find(name, _KIND_UNION)

    def _type(self, type_id: int) -> tuple[int, int, int]:
        """Return struct btf_type: name_off, info, and size or type."""
        address = self._library.btf__type_by_id(self._handle, type_id)
        name, information, size_or_type = (ctypes.c_uint32 * 3).from_address(address)
        return name, information, size_or_type

    def _entries(self, type_id: int, size: int, entry_words: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield what follows a struct btf_type: its members or enumerators, as name and the other words."""
        address = self._library.btf__type_by_id(self._handle, type_id)
        count = self._type(type_id)[1] & 0xFFFF
        for index in range(count):
            name, *rest = (ctypes.c_uint32 * entry_words).from_address(address + _TYPE_SIZE + index * size)
            yield (self._library.btf__name_by_offset(self._handle, name) or b"").decode(), tuple(rest)

    def _member_offset(self, structure: str, member: str) -> int | None:
        type_id = self._structure(structure)
        bits = self._find_member(type_id, member) if type_id is not None else None
        return None if bits is None else bits // 8

    def _find_member(self, type_id: int, member: str) -> int | None:
        """Return the offset in bits of a member of a type, looking into anonymous structs and unions."""
        bitfields = self._type(type_id)[1] >> 31
        for name, (member_type, offset) in self._entries(type_id, _MEMBER_SIZE, entry_words=3):
            # With kind_flag the upper byte is a bit field's width (struct btf_member).
            bits = offset & 0xFFFFFF if bitfields else offset
            if name == member:
                return bits
            kind = (self._type(member_type)[1] >> 24) & 0x1F
            if not name and kind in (_KIND_STRUCT, _KIND_UNION):
                inner = self._find_member(member_type, member)
                if inner is not None:
                    return bits + inner
        return None
