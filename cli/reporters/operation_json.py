"""One operation as a JSON object: `hangup trace --json`, and the timeline of an alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hangup.cli import json_lines
from hangup.cli.clock import utc
from hangup.cli.json_lines import Field
from hangup.cli.reporters.cgroup_json import cgroup_fields
from hangup.tracer.cgroups import Cgroup
from hangup.tracer.connection import Connection, Endpoint
from hangup.tracer.endpoints import ConnectFailed, Operated
from hangup.tracer.escape import escape_comm
from hangup.tracer.names import error_name, signal_name, syscall_name
from hangup.tracer.record import Event, EventFlag, Operation


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation and what is needed to describe it."""

    event: Event
    role: str
    offset: int
    """What makes a wall-clock time of its times."""


OPERATION_FIELDS: tuple[tuple[Field, Callable[[Shown], Any]], ...] = (
    (
        Field("time", "string", "when it ended, by the wall clock: RFC 3339, UTC, microseconds"),
        lambda shown: utc(shown.event.end + shown.offset),
    ),
    (Field("start_ns", "number", "when it started, in ns of CLOCK_MONOTONIC"), lambda shown: shown.event.start),
    (Field("end_ns", "number", "when it ended, in ns of CLOCK_MONOTONIC"), lambda shown: shown.event.end),
    (
        Field("endpoint", "string", '`"client"` or `"server"`: whose end of the connection it is on'),
        lambda shown: shown.role,
    ),
    (
        Field(
            "operation",
            "string",
            '`"connect"`, `"accept"`, `"socketpair"`, `"read"`, `"write"`, `"shutdown"` or `"release"`',
        ),
        lambda shown: operation_name(shown.event),
    ),
    (
        Field(
            "syscall",
            "string",
            'the system call behind it; `"io_uring"` for those of io_uring, `"kernel"` for none',
        ),
        lambda shown: syscall_of(shown.event),
    ),
    (
        Field("descriptor", "number or null", "the file descriptor; null if it is not known"),
        lambda shown: shown.event.descriptor if shown.event.descriptor >= 0 else None,
    ),
    (
        Field(
            "size",
            "number",
            "bytes asked for; of a shutdown 0: SHUT_RD, 1: SHUT_WR, 2: SHUT_RDWR; of a release an error that waited",
        ),
        lambda shown: shown.event.size,
    ),
    (
        Field("result", "number", "bytes done, 0 for other successes, or the negative error number"),
        lambda shown: shown.event.result,
    ),
    (
        Field("error", "string or null", "the error's name (`EPIPE`); null if it succeeded"),
        lambda shown: error_of(shown.event),
    ),
    (
        Field("message_flags", "number", "the MSG_ flags of the call"),
        lambda shown: shown.event.message_flags,
    ),
    (
        Field("unread_bytes", "number or null", "of a release: bytes that had arrived at this end and were never read"),
        lambda shown: shown.event.unread_bytes if shown.event.operation == Operation.RELEASE else None,
    ),
    (
        Field("exit_status", "number or null", "of a release by a process that exited: its exit status"),
        lambda shown: exit_of(shown.event)[0],
    ),
    (
        Field(
            "exit_signal", "string or null", "of a release by a process that a signal killed: the signal (`SIGKILL`)"
        ),
        lambda shown: exit_of(shown.event)[1],
    ),
    (Field("pid", "number", "process id"), lambda shown: shown.event.pid),
    (Field("tid", "number", "thread id"), lambda shown: shown.event.tid),
    (
        Field("inner_pid", "number", "process id in the process's own pid namespace: what its container calls it"),
        lambda shown: shown.event.inner_pid,
    ),
    (Field("inner_tid", "number", "thread id there"), lambda shown: shown.event.inner_tid),
    (Field("uid", "number", "user id"), lambda shown: shown.event.uid),
    (Field("gid", "number", "group id"), lambda shown: shown.event.gid),
    (Field("comm", "string", "the thread's name at that moment, escaped"), lambda shown: escape_comm(shown.event.comm)),
)


@dataclass(frozen=True, slots=True)
class Traced(Shown):
    """An operation with the connection it belongs to, if there is one."""

    connection: Connection | None
    endpoint: Endpoint | None
    path: str | None
    cgroup: Cgroup | None


TRACE_FIELDS: tuple[tuple[Field, Callable[[Traced], Any]], ...] = (
    *OPERATION_FIELDS,
    *cgroup_fields(lambda traced: traced.cgroup),
    (
        Field("path", "string or null", "the listener's path, escaped, an abstract name as `@name`; null if not known"),
        lambda traced: traced.path,
    ),
    (
        Field(
            "connection",
            "number or null",
            "tells connections apart: a number that no other has in this run; null for a failed connect",
        ),
        lambda traced: traced.connection.generation if traced.connection else None,
    ),
    (
        Field("sock", "string", "kernel address of this end's struct sock, in hexadecimal"),
        lambda traced: address(traced.event.sock),
    ),
    (
        Field("peer_sock", "string or null", "kernel address of the other end's; null if there is none"),
        lambda traced: address(traced.event.peer),
    ),
    (
        Field("inode", "string or null", "kernel address of this end's struct inode; null if it has none"),
        lambda traced: address(traced.event.inode),
    ),
    (
        Field("inode_number", "number or null", "this end's inode number, as `ss -xe`, lsof and /proc/PID/fd show it"),
        lambda traced: traced.event.inode_number or None,
    ),
    (
        Field("peer_comm", "string or null", "the name of the process at the other end, escaped; null if not known"),
        lambda traced: _known_comm(traced.endpoint.other) if traced.endpoint else None,
    ),
    (
        Field("peer_pid", "number or null", "its process id; null if not known"),
        lambda traced: (traced.endpoint.other.pid or None) if traced.endpoint else None,
    ),
)


def operation_values(event: Event, role: str, offset: int) -> dict[str, Any]:
    """Return an operation's fields."""
    return json_lines.values(OPERATION_FIELDS, Shown(event, role, offset))


def operation_line(occurrence: Operated | ConnectFailed, offset: int, cgroup: Cgroup | None) -> str:
    """Return trace's line; offset: what makes a wall-clock time of a record's times; cgroup: of who did it."""
    if isinstance(occurrence, ConnectFailed):
        traced = Traced(occurrence.event, "client", offset, None, None, occurrence.path, cgroup)
    else:
        endpoint = occurrence.endpoint
        connection = endpoint.connection
        traced = Traced(occurrence.event, endpoint.role, offset, connection, endpoint, connection.path, cgroup)
    return json_lines.line("operation", json_lines.values(TRACE_FIELDS, traced))


def operation_name(event: Event) -> str:
    """Return an operation's family in lower case."""
    try:
        return Operation(event.operation).name.lower()
    except ValueError:
        return f"operation {event.operation}"


def syscall_of(event: Event) -> str:
    """Return the name of the system call behind an operation."""
    return syscall_name(
        event.syscall,
        compat=bool(event.flags & EventFlag.COMPAT),
        io_uring=bool(event.flags & EventFlag.IO_URING),
    )


def error_of(event: Event) -> str | None:
    """Return the name of the error an operation failed with."""
    return error_name(-event.result) if event.result < 0 else None


def exit_of(event: Event) -> tuple[int | None, str | None]:
    """Return the exit status or the signal's name of a release by a process that was ending (wait(2))."""
    if event.operation != Operation.RELEASE or not event.flags & EventFlag.EXITING:
        return None, None
    number = event.exit_code & 0x7F
    return (None, signal_name(number)) if number else (event.exit_code >> 8 & 0xFF, None)


def address(value: int) -> str | None:
    """Return a kernel address as other tools print it; None for no address."""
    return f"{value:016x}" if value else None


def _known_comm(endpoint: Endpoint) -> str | None:
    comm = endpoint.comm
    return None if comm == "?" else comm
