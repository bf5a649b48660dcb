"""kprobes and kretprobes, attached with perf_event_open(2) and tracefs as BCC and libbpf attach them.

A return probe that perf_event_open(2) makes has two slots a cpu for the threads that sleep in the function; one that
tracefs makes has as many as it is asked for. The latter has a name, and outlives its process switched off: the
process's number stands at the name's end, so that the next one can take it away.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_SOURCE = Path("/sys/bus/event_source/devices/kprobe")

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/perf_event.h
_PERF_EVENT_OPEN = 298
_TYPE_TRACEPOINT = 2
_SAMPLE_RAW = 1 << 10
_CLOSE_ON_EXEC = 1 << 3
_IOCTL_ENABLE = 0x2400
_IOCTL_SET_PROGRAM = 0x40042408

_LEFTOVER = re.compile(r"^r\d*:kprobes/(hangup_\w+_(\d+)) ", re.MULTILINE)


class _EventAttributes(ctypes.Structure):
    """struct perf_event_attr as of PERF_ATTR_SIZE_VER1, include/uapi/linux/perf_event.h."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_uint64),
        ("probe_offset", ctypes.c_uint64),
    ]


def attach(function: str, program: int, *, at_return: bool) -> int:
    """Attach a program to a function; it stays until the returned descriptor is closed. Raises OSError."""
    name = ctypes.create_string_buffer(function.encode())
    attributes = _EventAttributes(
        type=int((_SOURCE / "type").read_text()),
        # Which bit of config says so: "config:0".
        config=int(at_return) << int((_SOURCE / "format" / "retprobe").read_text().partition(":")[2]),
        kprobe_func=ctypes.addressof(name),
    )
    return _attach_event(attributes, program)


def attach_named_return(name: str, function: str, program: int, *, slots: int) -> int:
    """Attach a program to a function's return by tracefs, with slots for so many threads that sleep in it.

    name: the probe's, `hangup_..._PID`; `detach_named` removes it once the returned descriptor is closed. Raises
    OSError, and leaves no probe behind.
    """
    append(f"r{slots}:kprobes/{name} {function}\n")
    try:
        number = int(_read(f"events/kprobes/{name}/id"))
        return _attach_event(_EventAttributes(type=_TYPE_TRACEPOINT, config=number, sample_type=_SAMPLE_RAW), program)
    except BaseException:
        detach_named(name)
        raise


def detach_named(name: str) -> None:
    """Remove a probe of tracefs, if it is there."""
    with suppress(OSError):
        append(f"-:kprobes/{name}\n")


def remove_leftovers(tracefs: Collection[Path] = TRACEFS, proc: Path = Path("/proc")) -> list[str]:
    """Remove the return probes that a killed hangup has left in tracefs, switched off; returns their names."""
    try:
        names = _LEFTOVER.findall(_read("kprobe_events", tracefs))
    except OSError:
        return []
    removed = []
    for name, pid in names:
        if not (proc / pid).exists():
            with suppress(OSError):
                append(f"-:kprobes/{name}\n", tracefs)
                removed.append(name)
    return removed


def append(line: str, tracefs: Collection[Path] = TRACEFS) -> None:
    """Tell tracefs to make or to remove a probe. Raises OSError."""
    # Python's mode "a" seeks to the end, which this file refuses; without O_APPEND the kernel clears all probes.
    descriptor = _open("kprobe_events", os.O_WRONLY | os.O_APPEND, tracefs)
    try:
        if os.write(descriptor, line.encode()) != len(line):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    finally:
        os.close(descriptor)


def _read(name: str, tracefs: Collection[Path] = TRACEFS) -> str:
    with os.fdopen(_open(name, os.O_RDONLY, tracefs)) as file:
        return file.read()


def _open(name: str, flags: int, tracefs: Collection[Path]) -> int:
    """Open a file of tracefs where that is mounted: the first place where it is."""
    for folder in tracefs:
        with suppress(FileNotFoundError):
            return os.open(folder / name, flags | os.O_CLOEXEC)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _attach_event(attributes: _EventAttributes, program: int) -> int:
    attributes.size = ctypes.sizeof(attributes)
    attributes.sample_period = attributes.wakeup_events = 1
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    # Of all processes (-1); with a kprobe any one cpu stands for all of them (perf_kprobe_event_init()).
    everybody, cpu, no_group = ctypes.c_long(-1), ctypes.c_long(0), ctypes.c_long(-1)
    descriptor: int = library.syscall(
        ctypes.c_long(_PERF_EVENT_OPEN),
        ctypes.byref(attributes),
        everybody,
        cpu,
        no_group,
        ctypes.c_long(_CLOSE_ON_EXEC),
    )
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        fcntl.ioctl(descriptor, _IOCTL_SET_PROGRAM, program)
        fcntl.ioctl(descriptor, _IOCTL_ENABLE, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
