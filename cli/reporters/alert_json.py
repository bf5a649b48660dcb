"""An alert as one JSON object: the verdict, both ends, and the whole story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hangup.cli import json_lines
from hangup.cli.clock import utc
from hangup.cli.json_lines import Field
from hangup.cli.reporters.cgroup_json import cgroup_fields
from hangup.cli.reporters.operation_json import address, operation_values
from hangup.tracer.connection import Endpoint, Holder, Process, timeline
from hangup.tracer.tracer import Alert
from hangup.tracer.verdicts import Figures

_TYPES = {1: "stream", 5: "seqpacket"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert, and what makes a wall-clock time of its times."""

    alert: Alert
    offset: int


@dataclass(frozen=True, slots=True)
class End:
    """One end of the connection; a failed connect has a process and no endpoint."""

    process: Process | Holder | None
    endpoint: Endpoint | None


END_FIELDS: tuple[tuple[Field, Callable[[End], Any]], ...] = (
    (Field("pid", "number or null", "process id; null if not known"), lambda end: end.process and end.process.pid),
    (
        Field("tid", "number or null", "thread id of its last read or write; null if it made none that was seen"),
        lambda end: getattr(end.process, "tid", None),
    ),
    (Field("uid", "number or null", "its user id then"), lambda end: getattr(end.process, "uid", None)),
    (Field("gid", "number or null", "its group id then"), lambda end: getattr(end.process, "gid", None)),
    (Field("comm", "string or null", "its name, escaped"), lambda end: end.process and end.process.comm),
    (
        Field("inner_pid", "number or null", "process id in its own pid namespace; null if not known"),
        lambda end: end.process and end.process.inner_pid,
    ),
    *cgroup_fields(lambda end: end.process and end.process.cgroup),
    (
        Field("sock", "string or null", "kernel address of its struct sock, in hexadecimal"),
        lambda end: end.endpoint and address(end.endpoint.sock),
    ),
    (
        Field("inode", "string or null", "kernel address of its struct inode; null if not seen"),
        lambda end: end.endpoint and address(end.endpoint.inode),
    ),
    (
        Field("inode_number", "number or null", "its inode number, as `ss -xe`, lsof and /proc/PID/fd show it"),
        lambda end: (end.endpoint.inode_number or None) if end.endpoint else None,
    ),
    (
        Field("written_bytes", "number", "all it wrote, as far as it was seen"),
        lambda end: end.endpoint.written_bytes if end.endpoint else 0,
    ),
    (
        Field("read_bytes", "number", "all it read, as far as it was seen"),
        lambda end: end.endpoint.read_bytes if end.endpoint else 0,
    ),
    (
        Field("operations", "number", "how many operations it has had"),
        lambda end: end.endpoint.count if end.endpoint else 0,
    ),
    (
        Field("operations_not_kept", "number", "how many of them, after the first ones, are not in the timeline"),
        lambda end: end.endpoint.omitted if end.endpoint else 0,
    ),
)

FIGURE_FIELDS: tuple[tuple[Field, Callable[[Figures], Any]], ...] = (
    (Field("sent_bytes", "number", "what the process that suffered had written"), lambda figures: figures.sent_bytes),
    (Field("read_bytes", "number", "what the peer had read of it"), lambda figures: figures.read_bytes),
    (
        Field("unread_bytes", "number", "what the peer left unread when it hung up"),
        lambda figures: figures.unread_bytes,
    ),
    (
        Field("unread_messages", "number", "in how many of the kernel's buffers these were"),
        lambda figures: figures.unread_messages,
    ),
    (Field("answered_bytes", "number", "what the peer had written"), lambda figures: figures.answered_bytes),
    (
        Field("failed_bytes", "number", "what the broken write was to send; 0 if it was no write"),
        lambda figures: figures.failed_bytes,
    ),
    (
        Field("gap_ns", "number or null", "from the hang-up to the failure; null without either"),
        lambda figures: figures.gap,
    ),
)


def survivor(alert: Alert) -> str | None:
    """Return the end that suffered the failure; of a latent hang-up the one that was left over."""
    connection = alert.connection
    if connection is None:
        return "client"
    if alert.failed is not None:
        # The address, not the object: a tracer may keep an equal event elsewhere.
        return connection.client.role if alert.failed.sock == connection.client.sock else connection.server.role
    hangup = connection.hangup
    if hangup is None:
        return None
    return connection.server.role if hangup is connection.client.release else connection.client.role


def _end(alert: Alert, process: Process | Holder | None, role: str) -> dict[str, Any]:
    connection = alert.connection
    endpoint = None
    if connection is not None:
        endpoint = connection.client if role == "client" else connection.server
    return json_lines.values(END_FIELDS, End(process, endpoint))


def _hangup(shown: Shown) -> dict[str, Any] | None:
    connection = shown.alert.connection
    hangup = connection.hangup if connection else None
    if connection is None or hangup is None:
        return None
    role = "client" if hangup is connection.client.release else "server"
    return operation_values(hangup, role, shown.offset)


def _failed(shown: Shown) -> dict[str, Any] | None:
    failed = shown.alert.failed
    return None if failed is None else operation_values(failed, survivor(shown.alert) or "client", shown.offset)


def _timeline(shown: Shown) -> list[dict[str, Any]]:
    connection = shown.alert.connection
    if connection is None:
        failed = _failed(shown)
        return [failed] if failed else []
    return [operation_values(moment.event, moment.endpoint.role, shown.offset) for moment in timeline(connection)]


ALERT_FIELDS: tuple[tuple[Field, Callable[[Shown], Any]], ...] = (
    (
        Field("time", "string", "when it happened, by the wall clock: RFC 3339, UTC, microseconds"),
        lambda shown: utc(shown.alert.when + shown.offset),
    ),
    (Field("monotonic_ns", "number", "the same in ns of CLOCK_MONOTONIC"), lambda shown: shown.alert.when),
    (
        Field("verdict", "string", "the verdict; docs/verdicts.md explains each"),
        lambda shown: shown.alert.verdict.kind.label,
    ),
    (
        Field("sentence", "string", "the verdict in words; for people, not for programs"),
        lambda shown: shown.alert.verdict.sentence,
    ),
    (
        Field("doubts", "array of strings", "why it may be wrong; empty: it is certain"),
        lambda shown: list(shown.alert.verdict.doubts),
    ),
    (
        Field("path", "string or null", "the listener's path, escaped, an abstract name as `@name`; null if not known"),
        lambda shown: shown.alert.path,
    ),
    (
        Field("type", "string or null", '`"stream"` or `"seqpacket"`; null for a failed connect'),
        lambda shown: _TYPES.get(shown.alert.connection.type) if shown.alert.connection else None,
    ),
    (
        Field("socketpair", "boolean", "whether both ends come from socketpair; then the first is called the client"),
        lambda shown: bool(shown.alert.connection and shown.alert.connection.pair),
    ),
    (
        Field(
            "connection",
            "number or null",
            "tells connections apart: a number that no other has in this run; null for a failed connect",
        ),
        lambda shown: shown.alert.connection.generation if shown.alert.connection else None,
    ),
    (
        Field("survivor", "string or null", '`"client"` or `"server"`: who suffered, or was left over'),
        lambda shown: survivor(shown.alert),
    ),
    (
        Field("client", "object", "the end that called connect"),
        lambda shown: _end(shown.alert, shown.alert.client, "client"),
    ),
    (
        Field("server", "object or null", "the end that came out of accept; null for a failed connect"),
        lambda shown: _end(shown.alert, shown.alert.server, "server") if shown.alert.connection else None,
    ),
    (
        Field("hangup", "object or null", "the release that was the hang-up, as in `timeline`; null if not seen"),
        _hangup,
    ),
    (
        Field(
            "failed",
            "object or null",
            "the broken write, reset read or failed connect, as in `timeline`; null for a latent hang-up",
        ),
        _failed,
    ),
    (
        Field("figures", "object", "what the verdict rests on"),
        lambda shown: json_lines.values(FIGURE_FIELDS, shown.alert.verdict.figures),
    ),
    (
        Field("timeline", "array of objects", "both ends' operations, in the order in which they took effect"),
        _timeline,
    ),
)


def alert_line(alert: Alert, offset: int) -> str:
    """Return watch's line; offset: what makes a wall-clock time of a record's times."""
    return json_lines.line("alert", json_lines.values(ALERT_FIELDS, Shown(alert, offset)))
