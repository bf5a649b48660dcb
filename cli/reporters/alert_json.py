"""An alert as one JSON object: the verdict, both ends, and the whole story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hangup.cli import json_lines
from hangup.cli.clock import utc, wall_clock
from hangup.cli.json_lines import Field
from hangup.cli.reporters.cgroup_json import cgroup_fields
from hangup.cli.reporters.operation_json import operation_values
from hangup.tracer.escape import escape_comm
from hangup.tracer.names import signal_name
from hangup.tracer.record.layout import Sender, SenderFlag, sender_of
from hangup.tracer.story.connection import Role
from hangup.tracer.story.operation import address
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import End
from hangup.tracer.tracer import Alert
from hangup.tracer.verdicts import Consequence, Figures

_TYPES = {1: "stream", 5: "seqpacket"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert, and what makes a wall-clock time of its times."""

    alert: Alert
    offset: int


@dataclass(frozen=True, slots=True)
class Side:
    """Whom the sentence means at one end of the connection, and the end; a failed connect has none."""

    process: Process | None
    end: End | None


END_FIELDS: tuple[tuple[Field, Callable[[Side], Any]], ...] = (
    (Field("pid", "number or null", "process id; null if not known"), lambda side: side.process and side.process.pid),
    (
        Field("tid", "number or null", "thread id of its last read or write; null if it made none that was seen"),
        lambda side: side.process and side.process.tid,
    ),
    (Field("uid", "number or null", "its user id then"), lambda side: side.process and side.process.uid),
    (Field("gid", "number or null", "its group id then"), lambda side: side.process and side.process.gid),
    (
        Field("comm", "string or null", "the process's name (that of its first thread), escaped"),
        lambda side: side.process and side.process.comm,
    ),
    (
        Field("thread", "string or null", "the thread's own name, escaped; null if it did nothing that was seen"),
        lambda side: side.process and side.process.thread,
    ),
    (
        Field("inner_pid", "number or null", "process id in its own pid namespace; null if not known"),
        lambda side: side.process and side.process.inner_pid,
    ),
    *cgroup_fields(lambda side: side.process and side.process.cgroup),
    (
        Field("sock", "string or null", "kernel address of its struct sock, in hexadecimal"),
        lambda side: side.end and address(side.end.sock),
    ),
    (
        Field("inode", "string or null", "kernel address of its struct inode; null if not seen"),
        lambda side: side.end and address(side.end.inode),
    ),
    (
        Field("inode_number", "number or null", "its inode number, as `ss -xe`, lsof and /proc/PID/fd show it"),
        lambda side: (side.end.inode_number or None) if side.end else None,
    ),
    (
        Field("written_bytes", "number", "all it wrote on this connection, as far as it was seen"),
        lambda side: side.end.written_bytes if side.end else 0,
    ),
    (
        Field("read_bytes", "number", "all it read on this connection, as far as it was seen"),
        lambda side: side.end.read_bytes if side.end else 0,
    ),
    (
        Field("operations", "number", "how many operations it has had"),
        lambda side: side.end.operations if side.end else 0,
    ),
    (
        Field("operations_not_kept", "number", "how many of them, after the first ones, are not in the timeline"),
        lambda side: side.end.operations_not_kept if side.end else 0,
    ),
)

FIGURE_FIELDS: tuple[tuple[Field, Callable[[Figures], Any]], ...] = (
    (
        Field("sent_bytes", "number", "what the one that was hurt had written in its last turn"),
        lambda figures: figures.sent_bytes,
    ),
    (Field("read_bytes", "number", "what the other had read of that"), lambda figures: figures.read_bytes),
    (Field("unread_bytes", "number", "what the other left unread when it went"), lambda figures: figures.unread_bytes),
    (
        Field("unread_messages", "number", "in how many of the kernel's buffers these were"),
        lambda figures: figures.unread_messages,
    ),
    (
        Field("answered_bytes", "number", "what the other had written in its last turn, if that was its answer"),
        lambda figures: figures.answered_bytes,
    ),
    (
        Field("failed_bytes", "number", "what the broken write was to send; 0 if it was no write"),
        lambda figures: figures.failed_bytes,
    ),
    (
        Field("gap_ns", "number or null", "from the hang-up to the failure; null without either"),
        lambda figures: figures.gap,
    ),
    (
        Field("waited_ns", "number or null", "how long the one that left had waited for its answer; null: for none"),
        lambda figures: figures.waited,
    ),
    (
        Field("silence_ns", "number or null", "how long nothing had been sent when an idle connection was closed"),
        lambda figures: figures.silence,
    ),
)

CONSEQUENCE_FIELDS: tuple[tuple[Field, Callable[[Consequence], Any]], ...] = (
    (
        Field(
            "answer",
            "string or null",
            '`"read in full"`, `"read in part"` or `"never read"`: what became of the answer; null: there was none',
        ),
        lambda consequence: consequence.answer,
    ),
    (
        Field("lost_bytes", "number", "how much of what it had been sent it never read"),
        lambda consequence: consequence.lost_bytes,
    ),
    (
        Field(
            "afterwards",
            "string or null",
            '`"went on"`, `"closed"`, `"exited"`, `"killed"`, `"killed by SIGPIPE"` or `"connected again"`: what the '
            "one that was hurt did next; null: nothing within a tenth of a second",
        ),
        lambda consequence: consequence.afterwards,
    ),
    (
        Field("harmless", "boolean", "whether nobody misses what failed; such alerts come with `--harmless` only"),
        lambda consequence: consequence.harmless,
    ),
)

SENDER_FIELDS: tuple[tuple[Field, Callable[[Sender], Any]], ...] = (
    (Field("signal", "string", "the signal (`SIGTERM`)"), lambda sender: signal_name(sender.signal)),
    (
        Field("by", "string", '`"process"`, `"kernel"` (a fault, a timer) or `"oom-killer"`'),
        lambda sender: (
            "oom-killer"
            if sender.flags & SenderFlag.OOM
            else "kernel"
            if sender.flags & SenderFlag.KERNEL
            else "process"
        ),
    ),
    (
        Field("pid", "number", "the process that sent it; of the kernel's, who happened to run"),
        lambda sender: sender.pid,
    ),
    (Field("comm", "string", "its name, escaped"), lambda sender: escape_comm(sender.comm)),
    (Field("uid", "number", "its user id"), lambda sender: sender.uid),
    (Field("monotonic_ns", "number", "when, in ns of CLOCK_MONOTONIC"), lambda sender: sender.time),
    (
        Field("handled", "boolean", "whether the process had a handler for it, and exited later"),
        lambda sender: bool(sender.flags & SenderFlag.HANDLED),
    ),
)


def _side(alert: Alert, role: Role) -> dict[str, Any]:
    process = alert.client if role == "client" else alert.server
    return json_lines.values(END_FIELDS, Side(process, alert.story.end(role) if alert.story else None))


def _hangup(shown: Shown) -> dict[str, Any] | None:
    hangup = shown.alert.hangup
    return None if hangup is None else operation_values(hangup.event, hangup.role, shown.offset)


def _sender(shown: Shown) -> dict[str, Any] | None:
    hangup = shown.alert.hangup
    sender = sender_of(hangup.event) if hangup else None
    return None if sender is None else json_lines.values(SENDER_FIELDS, sender)


def _failed(shown: Shown) -> dict[str, Any] | None:
    alert = shown.alert
    if alert.failed is None:
        return None
    return operation_values(alert.failed, alert.verdict.victim or "client", shown.offset)


def _timeline(shown: Shown) -> list[dict[str, Any]]:
    story = shown.alert.story
    if story is None:
        failed = _failed(shown)
        return [failed] if failed else []
    return [operation_values(moment.event, moment.role, shown.offset) for moment in story.timeline]


ALERT_FIELDS: tuple[tuple[Field, Callable[[Shown], Any]], ...] = (
    (
        Field("time", "string", "when it happened, by the wall clock: RFC 3339, UTC, microseconds"),
        lambda shown: utc(wall_clock(shown.alert.when, shown.offset)),
    ),
    (Field("monotonic_ns", "number", "the same in ns of CLOCK_MONOTONIC"), lambda shown: shown.alert.when),
    (
        Field("verdict", "string", "the verdict; docs/verdicts.md explains each"),
        lambda shown: shown.alert.verdict.kind.label,
    ),
    (
        Field(
            "symptom",
            "string",
            "how it showed: `broken write`, `reset read`, `cut read`, `told by SO_ERROR`, "
            "`short write`, `failed connect` or `none`",
        ),
        lambda shown: shown.alert.verdict.symptom.value,
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
        lambda shown: _TYPES.get(shown.alert.story.type) if shown.alert.story else None,
    ),
    (
        Field("socketpair", "boolean", "whether both ends come from socketpair; then the first is called the client"),
        lambda shown: bool(shown.alert.story and shown.alert.story.pair),
    ),
    (
        Field(
            "connection",
            "number or null",
            "tells connections apart: a number that no other has in this run; null for a failed connect",
        ),
        lambda shown: shown.alert.story.number if shown.alert.story else None,
    ),
    (
        Field("survivor", "string or null", '`"client"` or `"server"`: who suffered, or was left over'),
        lambda shown: shown.alert.verdict.victim,
    ),
    (
        Field("client", "object", "the end that called connect"),
        lambda shown: _side(shown.alert, "client"),
    ),
    (
        Field("server", "object or null", "the end that came out of accept; null for a failed connect"),
        lambda shown: _side(shown.alert, "server") if shown.alert.story else None,
    ),
    (
        Field("hangup", "object or null", "the release that was the hang-up, as in `timeline`; null if not seen"),
        _hangup,
    ),
    (
        Field(
            "failed",
            "object or null",
            "the operation that failed or, of a cut read and an error told elsewhere, the first that shows it, as in "
            "`timeline`; null for a latent hang-up",
        ),
        _failed,
    ),
    (
        Field(
            "sender",
            "object or null",
            "who sent the signal that ended the process that left, or that it got before it exited; null: no signal "
            "was seen",
        ),
        _sender,
    ),
    (
        Field("consequence", "object", "what it cost the one that was hurt"),
        lambda shown: json_lines.values(CONSEQUENCE_FIELDS, shown.alert.verdict.consequence),
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
