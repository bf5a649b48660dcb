"""Programs that do nothing where hangup's programs are: what being called costs, which nothing can do without.

They are a few instructions each, so nothing has to be compiled.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hangup.tracer.kernel import kprobes
from hangup.tracer.kernel.btf import Btf, libbpf
from hangup.tracer.kernel.probes import ProgramLoadOptions

RETURNING = ("unix_stream_connect", "unix_accept", "unix_stream_sendmsg", "unix_stream_recvmsg")
"""The functions of which the result is wanted: those of the classic connection."""

ENTERED = "unix_release_sock"
"""The one that is looked at when it begins."""

TRACEPOINTS = ("sock_send_length", "sock_recv_length")
"""What every read and write of any family passes (net/socket.c), where the kernel has them."""

# include/uapi/linux/bpf.h: enum bpf_prog_type, enum bpf_attach_type, BPF_F_KPROBE_MULTI_RETURN
_KPROBE = 2
_RAW_TRACEPOINT = 17
_TRACING = 26
_TRACE_FENTRY = 24
_TRACE_FEXIT = 25
_TRACE_KPROBE_MULTI = 42
_TRACE_KPROBE_SESSION = 56
_AT_RETURN = 1

# arch/x86/entry/syscalls/syscall_64.tbl; enum bpf_cmd
_BPF = 321
_LINK_CREATE = 28

_RESULT_ZERO = struct.pack("=BBhi", 0xB7, 0, 0, 0)
_EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
EMPTY = _RESULT_ZERO + _EXIT


def busy(rounds: int) -> bytes:
    """Return a program that does nothing for two instructions a round."""
    # r1 = rounds; r1 -= 1; if r1 != 0 goto the line before
    loop = [(0xB7, 1, 0, rounds), (0x17, 1, 0, 1), (0x55, 1, -2, 0)]
    return _RESULT_ZERO + b"".join(struct.pack("=BBhi", *line) for line in loop) + _EXIT


@dataclass(frozen=True)
class Attached:
    """A program that is attached."""

    kind: str
    name: str
    """Of the function or the tracepoint."""
    program: int
    link: int
    """Descriptors; it stays as long as these are open."""


class _MultiLink(ctypes.Structure):
    """union bpf_attr of BPF_LINK_CREATE, include/uapi/linux/bpf.h, with kprobe_multi.

    libbpf 1.1 refuses to make a link of the type kprobe.session, so the system call is made here.
    """

    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("multi_flags", ctypes.c_uint32),
        ("cnt", ctypes.c_uint32),
        ("syms", ctypes.c_uint64),
        ("addrs", ctypes.c_uint64),
        ("cookies", ctypes.c_uint64),
    ]


@contextmanager
def programs(way: str, code: bytes = EMPTY) -> Iterator[list[Attached]]:
    """Attach programs until the context ends. way: "fexit", "fentry", "kprobe", "multi", "session" or "tracepoint".

    "fentry", "kprobe" and "multi" (kprobe.multi, by fprobe) have one at each end of a function; "session" is one
    program of kprobe.multi that runs at both; "tracepoint" is "fexit" with the raw tracepoints in place of the reads
    and writes. Raises RuntimeError where the kernel has no such thing.
    """
    attached: list[Attached] = []
    try:
        with Btf.vmlinux() as btf:
            for kind, name in _points(way):
                attached.append(Attached(kind, name, *_attached(btf, kind, name, code)))
        yield attached
    finally:
        for each in reversed(attached):
            os.close(each.link)
            os.close(each.program)


def _points(way: str) -> Sequence[tuple[str, str]]:
    """Return how each function is attached to."""
    if way == "kprobe":
        both = ("kretprobe", "kprobe")
        return [(kind, name) for kind in both for name in RETURNING] + [("kprobe", ENTERED)]
    if way == "multi":
        both = ("kretprobe.multi", "kprobe.multi")
        return [(kind, name) for kind in both for name in RETURNING] + [("kprobe.multi", ENTERED)]
    if way == "session":
        return [*(("kprobe.session", name) for name in RETURNING), ("kprobe.multi", ENTERED)]
    if way == "tracepoint":
        few = RETURNING[:2]
        return [
            *(("fexit", name) for name in few),
            ("fentry", ENTERED),
            *(("tracepoint", name) for name in TRACEPOINTS),
        ]
    kinds = ["fexit", "fentry"] if way == "fentry" else ["fexit"]
    return [(kind, name) for kind in kinds for name in RETURNING] + [("fentry", ENTERED)]


def _attached(btf: Btf, kind: str, name: str, code: bytes) -> tuple[int, int]:
    """Load a program and attach it; returns its descriptor and that which keeps it there."""
    options = ProgramLoadOptions(sz=ctypes.sizeof(ProgramLoadOptions))
    if kind in ("kprobe", "kretprobe"):
        program = _loaded(_KPROBE, options, name, code)
        return program, kprobes.attach(name, program, at_return=kind == "kretprobe")
    if kind.startswith(("kprobe.", "kretprobe.")):
        return _attached_by_fprobe(options, kind, name, code)
    if kind == "tracepoint":
        program = _loaded(_RAW_TRACEPOINT, options, name, code)
        link = libbpf().bpf_raw_tracepoint_open(name.encode(), program)
    else:
        function = btf.function_id(name)
        if function is None:
            raise RuntimeError(f"this kernel has no function {name}")
        options.attach_btf_id = function
        options.expected_attach_type = _TRACE_FEXIT if kind == "fexit" else _TRACE_FENTRY
        program = _loaded(_TRACING, options, name, code)
        link = libbpf().bpf_raw_tracepoint_open(None, program)
    return _linked(program, link, name)


def _attached_by_fprobe(options: ProgramLoadOptions, kind: str, name: str, code: bytes) -> tuple[int, int]:
    attach_type = _TRACE_KPROBE_SESSION if kind == "kprobe.session" else _TRACE_KPROBE_MULTI
    options.expected_attach_type = attach_type
    program = _loaded(_KPROBE, options, name, code)
    symbols = (ctypes.c_char_p * 1)(name.encode())
    attributes = _MultiLink(
        prog_fd=program,
        attach_type=attach_type,
        multi_flags=_AT_RETURN if kind == "kretprobe.multi" else 0,
        cnt=1,
        syms=ctypes.addressof(symbols),
    )
    library = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_long(ctypes.sizeof(attributes))
    link = library.syscall(ctypes.c_long(_BPF), ctypes.c_long(_LINK_CREATE), ctypes.byref(attributes), size)
    return _linked(program, link, name)


def _linked(program: int, link: int, name: str) -> tuple[int, int]:
    """Return a program and its link. Raises RuntimeError if there is none."""
    if link < 0:
        why = os.strerror(ctypes.get_errno())
        os.close(program)
        raise RuntimeError(f"cannot attach to {name}: {why}")
    return program, link


def _loaded(kind: int, options: ProgramLoadOptions, name: str, code: bytes) -> int:
    length = ctypes.c_size_t(len(code) // 8)
    program: int = libbpf().bpf_prog_load(kind, b"empty", b"GPL", code, length, ctypes.byref(options))
    if program < 0:
        raise RuntimeError(f"cannot load a program for {name}: {os.strerror(ctypes.get_errno())}")
    return program
