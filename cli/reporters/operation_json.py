"""One operation as a JSON object: `hangup trace --json`, and the timeline of an alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hangup.cli import json_lines
from hangup.cli.clock import utc, wall_clock
from hangup.cli.json_lines import Field
from hangup.cli.reporters.cgroup_json import cgroup_fields
from hangup.tracer.escape import escape_comm
from hangup.tracer.host.cgroups import Cgroup
from hangup.tracer.record.layout import Event, Operation
from hangup.tracer.story.operation import address, error_of, exit_of, operation_name, syscall_of
from hangup.tracer.story.process import leader_of
from hangup.tracer.story.story import Traced


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
        lambda shown: utc(wall_clock(shown.event.end, shown.offset)),
    ),
    (
        Field(
            "start_ns",
            "number",
            "when it started, in ns of CLOCK_MONOTONIC; if that is not known, the latest that it can have been",
        ),
        lambda shown: shown.event.start,
    ),
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
            "string or null",
            'the system call behind it; `"io_uring"` for those of io_uring, `"kernel"` for none; null if not known',
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
    (Field("comm", "string", "the process's name at that moment, escaped"), lambda shown: leader_of(shown.event)),
    (Field("thread", "string", "the thread's own name, escaped"), lambda shown: escape_comm(shown.event.comm)),
)


@dataclass(frozen=True, slots=True)
class Placed(Shown):
    """An operation with the connection it belongs to, if there is one, and where its process belongs."""

    traced: Traced
    cgroup: Cgroup | None


TRACE_FIELDS: tuple[tuple[Field, Callable[[Placed], Any]], ...] = (
    *OPERATION_FIELDS,
    *cgroup_fields(lambda placed: placed.cgroup),
    (
        Field("path", "string or null", "the listener's path, escaped, an abstract name as `@name`; null if not known"),
        lambda placed: placed.traced.path,
    ),
    (
        Field(
            "connection",
            "number or null",
            "tells connections apart: a number that no other has in this run; null for a failed connect",
        ),
        lambda placed: placed.traced.number,
    ),
    (
        Field("sock", "string", "kernel address of this end's struct sock, in hexadecimal"),
        lambda placed: address(placed.event.sock),
    ),
    (
        Field("peer_sock", "string or null", "kernel address of the other end's; null if there is none"),
        lambda placed: address(placed.event.peer),
    ),
    (
        Field("inode", "string or null", "kernel address of this end's struct inode; null if it has none"),
        lambda placed: address(placed.event.inode),
    ),
    (
        Field("inode_number", "number or null", "this end's inode number, as `ss -xe`, lsof and /proc/PID/fd show it"),
        lambda placed: placed.event.inode_number or None,
    ),
    (
        Field("peer_comm", "string or null", "the name of the process at the other end, escaped; null if not known"),
        lambda placed: placed.traced.peer.comm if placed.traced.peer and placed.traced.peer.comm != "?" else None,
    ),
    (
        Field("peer_pid", "number or null", "its process id; null if not known"),
        lambda placed: placed.traced.peer.pid if placed.traced.peer else None,
    ),
)


def operation_values(event: Event, role: str, offset: int) -> dict[str, Any]:
    """Return an operation's fields."""
    return json_lines.values(OPERATION_FIELDS, Shown(event, role, offset))


def operation_line(traced: Traced, offset: int, cgroup: Cgroup | None) -> str:
    """Return trace's line; offset: what makes a wall-clock time of a record's times; cgroup: of who did it."""
    return json_lines.line(
        "operation", json_lines.values(TRACE_FIELDS, Placed(traced.event, traced.role, offset, traced, cgroup))
    )
