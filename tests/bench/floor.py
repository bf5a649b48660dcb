"""Programs that do nothing where hangup's programs are: what being called costs, which nothing can do without.

They are two instructions each, so nothing has to be compiled.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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

# r0 = 0; exit
_EMPTY = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)


class _MultiLinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts, tools/lib/bpf/bpf.h, as far as its member kprobe_multi."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
        ("multi_flags", ctypes.c_uint32),
        ("cnt", ctypes.c_uint32),
        ("syms", ctypes.POINTER(ctypes.c_char_p)),
        ("addrs", ctypes.c_void_p),
        ("cookies", ctypes.c_void_p),
    ]


@contextmanager
def empty_programs(way: str) -> Iterator[None]:
    """Attach them until the context ends. way: "fexit", "fentry", "kprobe", "multi", "session" or "tracepoint".

    "fentry", "kprobe" and "multi" (kprobe.multi, by fprobe) have one at each end of a function; "session" is one
    program of kprobe.multi that runs at both; "tracepoint" is "fexit" with the raw tracepoints in place of the reads
    and writes. Raises RuntimeError where the kernel has no such thing.
    """
    descriptors: list[int] = []
    try:
        with Btf.vmlinux() as btf:
            for point in _points(way):
                descriptors += _attached(btf, *point)
        yield
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


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


def _attached(btf: Btf, kind: str, name: str) -> list[int]:
    """Load a program and attach it; returns what keeps it there."""
    options = ProgramLoadOptions(sz=ctypes.sizeof(ProgramLoadOptions))
    if kind in ("kprobe", "kretprobe"):
        program = _loaded(_KPROBE, options, name)
        return [program, kprobes.attach(name, program, at_return=kind == "kretprobe")]
    if kind.startswith(("kprobe.", "kretprobe.")):
        return _attached_by_fprobe(options, kind, name)
    if kind == "tracepoint":
        program = _loaded(_RAW_TRACEPOINT, options, name)
        link = libbpf().bpf_raw_tracepoint_open(name.encode(), program)
    else:
        function = btf.function_id(name)
        if function is None:
            raise RuntimeError(f"this kernel has no function {name}")
        options.attach_btf_id = function
        options.expected_attach_type = _TRACE_FEXIT if kind == "fexit" else _TRACE_FENTRY
        program = _loaded(_TRACING, options, name)
        link = libbpf().bpf_raw_tracepoint_open(None, program)
    return _linked(program, link, name)


def _attached_by_fprobe(options: ProgramLoadOptions, kind: str, name: str) -> list[int]:
    attach_type = _TRACE_KPROBE_SESSION if kind == "kprobe.session" else _TRACE_KPROBE_MULTI
    options.expected_attach_type = attach_type
    program = _loaded(_KPROBE, options, name)
    link_options = _MultiLinkOptions(
        sz=ctypes.sizeof(_MultiLinkOptions),
        multi_flags=_AT_RETURN if kind == "kretprobe.multi" else 0,
        cnt=1,
        syms=(ctypes.c_char_p * 1)(name.encode()),
    )
    return _linked(program, libbpf().bpf_link_create(program, 0, attach_type, ctypes.byref(link_options)), name)


def _linked(program: int, link: int, name: str) -> list[int]:
    """Return what keeps a program attached. Raises RuntimeError if it could not be."""
    if link < 0:
        why = os.strerror(ctypes.get_errno())
        os.close(program)
        raise RuntimeError(f"cannot attach to {name}: {why}")
    return [program, link]


def _loaded(kind: int, options: ProgramLoadOptions, name: str) -> int:
    length = len(_EMPTY) // 8
    program: int = libbpf().bpf_prog_load(
        kind, b"empty", b"GPL", _EMPTY, ctypes.c_size_t(length), ctypes.byref(options)
    )
    if program < 0:
        raise RuntimeError(f"cannot load a program for {name}: {os.strerror(ctypes.get_errno())}")
    return program
