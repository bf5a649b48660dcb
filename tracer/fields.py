"""What can be said of an alert, of an operation and of a row of counts: the one list.

JSON, the journal, the labels of metrics, and the documents of all three are made from these lists of fields (field.py),
so that a fact has one name and one meaning wherever it is shown. Which of them the recorder by design does not keep
stands here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from hangup.tracer.escape import escape, escape_comm
from hangup.tracer.field import Field, of_part
from hangup.tracer.names import signal_name
from hangup.tracer.record.layout import SEQPACKET, STREAM, Event, Operation, Sender, SenderFlag, sender_of
from hangup.tracer.story.operation import address, descriptor_of, error_of, exit_of, operation_name, syscall_of
from hangup.tracer.story.process import leader_of
from hangup.tracer.story.story import Moment

if TYPE_CHECKING:
    # Whoever shows something else (`hangup peers`) needs none of the pipeline.
    from hangup.tracer.record.facts import Cgroup
    from hangup.tracer.record.layout import Credentials
    from hangup.tracer.statistics import Key, Row, RowCounts
    from hangup.tracer.story.connection import Role
    from hangup.tracer.story.identity import Change
    from hangup.tracer.story.process import Process
    from hangup.tracer.story.story import End, Traced
    from hangup.tracer.tracer import Alert
    from hangup.tracer.verdicts import Consequence, Figures

_PATH = "the listener's path, escaped, an abstract name as `@name`"
_CONNECTION = "tells connections apart: a number that no other has in this run"
_INODE_NUMBER = "inode number, as `ss -xe`, lsof and /proc/PID/fd show it"
# bpf_get_current_uid_gid(), kernel/bpf/helpers.c, is current_uid_gid(): neither the effective ones nor those for files.
REAL_USER = "real user id (getuid(2))"
_REAL_GROUP = "real group id (getgid(2))"
_FEWER = "A history has room for fewer of an end's first and last operations than are kept of a stream."
_WITHOUT_CONNECTION = (
    "Of a process that has no Unix connection open nothing is told: its first operation says who it is by then."
)

CGROUP: tuple[Field[Cgroup | None], ...] = (
    Field(
        "cgroup",
        "string",
        "the path of its control group, escaped",
        lambda cgroup: cgroup and cgroup.path,
        absent="if not known",
    ),
    Field(
        "unit",
        "string",
        "its systemd unit as systemctl spells it; in a container that runs systemd the container's own",
        lambda cgroup: cgroup and cgroup.unit,
        absent="if it has none",
    ),
    Field(
        "container",
        "string",
        "its container's name, escaped, or the first 12 digits of its id",
        lambda cgroup: cgroup and cgroup.container,
        absent="outside of containers",
    ),
    Field(
        "runtime",
        "string",
        "who runs the container (`docker`, `podman`, `containerd`, `cri-o`, `kubernetes`, `lxc`, `systemd-nspawn`, "
        "`machined` or another)",
        lambda cgroup: cgroup and cgroup.runtime,
        absent="if the cgroup does not say",
    ),
)
"""Where a process belongs."""


class Operated(Protocol):
    """An operation of an end: a moment of a story, or what is traced."""

    @property
    def event(self) -> Event:
        """What was recorded of it."""

    @property
    def role(self) -> Role:
        """Whose end it was on."""


WHEN: tuple[Field[Operated], ...] = (
    Field("time", "time", "when it ended", lambda operated: operated.event.end),
    Field(
        "start_ns",
        "number",
        "when it started, by CLOCK_MONOTONIC; if that is not known, the latest that it can have been",
        lambda operated: operated.event.start,
        unit="ns",
        not_kept="A history has one time for each operation, its end: bytes tell what came first, because they say "
        "which write a read drank from.",
    ),
    Field(
        "end_ns",
        "number",
        "when it ended, by CLOCK_MONOTONIC",
        lambda operated: operated.event.end,
        unit="ns",
    ),
    Field(
        "endpoint",
        "string",
        '`"client"` or `"server"`: whose end of the connection it is on',
        lambda operated: operated.role,
    ),
)
"""When an operation was, and on which end."""

CALL: tuple[Field[Operated], ...] = (
    Field(
        "operation",
        "string",
        '`"connect"`, `"accept"`, `"socketpair"`, `"read"`, `"write"`, `"shutdown"` or `"release"`',
        lambda operated: operation_name(operated.event),
    ),
    Field(
        "syscall",
        "string",
        'the system call behind it; `"io_uring"` for those of io_uring, `"exit"` also where a signal ended a process '
        'in the middle of another one, `"kernel"` for none',
        lambda operated: syscall_of(operated.event),
        absent="if not known",
        not_kept="A history has no room for it, and no verdict asks by which call bytes went; it is known of what "
        "failed or released an end, and of what came after a failure.",
    ),
    Field(
        "descriptor",
        "number",
        "the file descriptor",
        lambda operated: descriptor_of(operated.event),
        absent="if not known",
        not_kept="A history has no room for it, and an end is the same by whichever descriptor it is used; it is known "
        "of what failed or released an end, and of what came after a failure.",
    ),
)
"""By what call an operation was made."""

OUTCOME: tuple[Field[Operated], ...] = (
    Field(
        "size",
        "number",
        "bytes asked for; of a shutdown 0: SHUT_RD, 1: SHUT_WR, 2: SHUT_RDWR; of a release an error that waited",
        lambda operated: operated.event.size,
    ),
    Field(
        "result",
        "number",
        "bytes done, 0 for other successes, or the negative error number",
        lambda operated: operated.event.result,
    ),
    Field(
        "error",
        "string",
        "the error's name (`EPIPE`)",
        lambda operated: error_of(operated.event),
        absent="if it succeeded",
    ),
    Field("message_flags", "number", "the MSG_ flags of the call", lambda operated: operated.event.message_flags),
    Field(
        "unread_bytes",
        "number",
        "of a release: what had arrived at this end and was never read",
        lambda operated: operated.event.unread_bytes if operated.event.operation == Operation.RELEASE else None,
        unit="bytes",
        absent="of other operations",
    ),
)
"""What was asked of an operation, and what came of it."""

EXIT: tuple[Field[Operated], ...] = (
    Field(
        "exit_status",
        "number",
        "of a release by a process that exited: its exit status",
        lambda operated: exit_of(operated.event)[0],
        absent="of others",
    ),
    Field(
        "exit_signal",
        "string",
        "of a release by a process that a signal killed: the signal (`SIGKILL`)",
        lambda operated: exit_of(operated.event)[1],
        absent="of others",
    ),
)
"""How the process of a release ended."""

TASK: tuple[Field[Operated], ...] = (
    Field("pid", "number", "process id", lambda operated: operated.event.pid),
    Field("tid", "number", "thread id", lambda operated: operated.event.tid),
    Field(
        "inner_pid",
        "number",
        "process id in the process's own pid namespace: what its container calls it",
        lambda operated: operated.event.inner_pid,
    ),
    Field("inner_tid", "number", "thread id there", lambda operated: operated.event.inner_tid),
    Field("uid", "number", REAL_USER, lambda operated: operated.event.uid),
    Field("gid", "number", _REAL_GROUP, lambda operated: operated.event.gid),
    Field(
        "comm",
        "string",
        "the process's name at that moment, escaped",
        lambda operated: leader_of(operated.event),
    ),
    Field("thread", "string", "the thread's own name, escaped", lambda operated: escape_comm(operated.event.comm)),
)
"""Who did an operation."""

OPERATION: tuple[Field[Operated], ...] = (*WHEN, *CALL, *OUTCOME, *EXIT, *TASK)
"""An operation by itself, as it stands in a story."""

SOCKET: tuple[Field[Traced], ...] = (
    Field("path", "string", _PATH, lambda traced: traced.place.path, absent="if not known"),
    Field(
        "connection",
        "number",
        _CONNECTION,
        lambda traced: traced.place.number,
        absent="for a failed connect",
    ),
    Field(
        "sock",
        "string",
        "kernel address of this end's struct sock, in hexadecimal",
        lambda traced: address(traced.event.sock),
        absent="if there is none",
    ),
    Field(
        "peer_sock",
        "string",
        "kernel address of the other end's",
        lambda traced: address(traced.event.peer),
        absent="if there is none",
    ),
    Field(
        "inode",
        "string",
        "kernel address of this end's struct inode",
        lambda traced: address(traced.event.inode),
        absent="if it has none",
    ),
    Field(
        "inode_number",
        "number",
        f"this end's {_INODE_NUMBER}",
        lambda traced: traced.event.inode_number or None,
        absent="if it has none",
    ),
    Field(
        "peer_comm",
        "string",
        "the name of the process at the other end, escaped",
        lambda traced: traced.place.peer_comm,
        absent="if not known",
    ),
    Field("peer_pid", "number", "its process id", lambda traced: traced.place.peer_pid, absent="if not known"),
)
"""On which socket an operation was, of which connection, and with whom."""


_NO_PAYLOAD = "of other operations, and where they were not recorded (`--snaplen`)"

PAYLOAD: tuple[Field[bytes], ...] = (
    Field(
        "data",
        "string",
        "the first bytes that it read or wrote, or that a write which failed was given, escaped",
        lambda payload: escape(payload) if payload else None,
        absent=_NO_PAYLOAD,
    ),
    Field(
        "data_bytes",
        "number",
        "how many these are; where that is less than `result`, or of a failed write than `size`, there were more",
        lambda payload: len(payload) or None,
        unit="bytes",
        absent=_NO_PAYLOAD,
    ),
)
"""What an operation carried."""


class Placed(NamedTuple):
    """An operation as it is traced, and where its process belongs."""

    traced: Traced
    cgroup: Cgroup | None

    @property
    def event(self) -> Event:
        """What was recorded of it."""
        return self.traced.event

    @property
    def role(self) -> Role:
        """Whose end it was on."""
        return self.traced.role


TRACED: tuple[Field[Placed], ...] = (
    *OPERATION,
    *of_part(CGROUP, lambda placed: placed.cgroup),
    *of_part(SOCKET, lambda placed: placed.traced),
    *of_part(PAYLOAD, lambda placed: placed.traced.payload),
)
"""An operation with its connection and its process's place."""


CREDENTIALS: tuple[Field[Credentials], ...] = (
    Field("uid", "number", REAL_USER, lambda credentials: credentials.uid),
    Field("euid", "number", "effective user id", lambda credentials: credentials.euid),
    Field("suid", "number", "saved user id", lambda credentials: credentials.suid),
    Field("fsuid", "number", "user id for files", lambda credentials: credentials.fsuid),
    Field("gid", "number", _REAL_GROUP, lambda credentials: credentials.gid),
    Field("egid", "number", "effective group id", lambda credentials: credentials.egid),
    Field("sgid", "number", "saved group id", lambda credentials: credentials.sgid),
    Field("fsgid", "number", "group id for files", lambda credentials: credentials.fsgid),
    Field(
        "capabilities",
        "string",
        "the effective capabilities in its own user namespace, in hexadecimal, as `CapEff` in /proc/PID/status",
        lambda credentials: f"{credentials.capabilities:016x}",
    ),
)
"""What a task may do."""

CHANGE: tuple[Field[Change], ...] = (
    Field("time", "time", "when it was", lambda change: change.when),
    Field("monotonic_ns", "number", "when it was, by CLOCK_MONOTONIC", lambda change: change.when, unit="ns"),
    Field(
        "syscall",
        "string",
        "the system call: of the family of `setuid`, `capset`, `prctl`, `keyctl`, `unshare`, `setns`, or `execve`",
        lambda change: change.call,
    ),
    *of_part(
        [field for field in TASK if field.name not in ("uid", "gid")],
        lambda change: Moment(change.when, "client", change.event),
    ),
    Field(
        "comm_before",
        "string",
        "the thread's name before, escaped: `execve` gives it another one",
        lambda change: change.comm_before,
    ),
    Field(
        "file",
        "string",
        "of `execve` the program's file, as it was asked for, escaped",
        lambda change: change.file,
        absent="of others",
    ),
    Field("before", "object", "what it was allowed to do before", lambda change: change.before, fields=CREDENTIALS),
    Field("after", "object", "what it is allowed to do from then on", lambda change: change.after, fields=CREDENTIALS),
)
"""Who a process has become."""


class Side(NamedTuple):
    """Whom the sentence means at one end of the connection, and the end; a failed connect has none."""

    process: Process | None
    end: End | None


END: tuple[Field[Side], ...] = (
    Field("pid", "number", "process id", lambda side: side.process and side.process.pid, absent="if not known"),
    Field(
        "tid",
        "number",
        "thread id of its last read or write",
        lambda side: side.process and side.process.tid,
        absent="if it made none that was seen",
    ),
    Field(
        "uid",
        "number",
        f"{REAL_USER}, at the time of its last read or write",
        lambda side: side.process and side.process.uid,
        absent="if it made none that was seen",
    ),
    Field(
        "gid",
        "number",
        f"{_REAL_GROUP}, at the time of its last read or write",
        lambda side: side.process and side.process.gid,
        absent="if it made none that was seen",
    ),
    Field(
        "comm",
        "string",
        "the process's name (that of its first thread), escaped",
        lambda side: side.process and side.process.comm,
        absent="if not known",
    ),
    Field(
        "thread",
        "string",
        "the thread's own name, escaped",
        lambda side: side.process and side.process.thread,
        absent="if it did nothing that was seen",
    ),
    Field(
        "inner_pid",
        "number",
        "process id in its own pid namespace: in a container another one than outside",
        lambda side: side.process and side.process.inner_pid,
        absent="if not known",
    ),
    *of_part(CGROUP, lambda side: side.process and side.process.cgroup),
    Field(
        "sock",
        "string",
        "kernel address of its struct sock, in hexadecimal",
        lambda side: side.end and address(side.end.sock),
        absent="if there is none",
    ),
    Field(
        "inode",
        "string",
        "kernel address of its struct inode",
        lambda side: side.end and address(side.end.inode),
        absent="if not seen",
    ),
    Field(
        "inode_number",
        "number",
        f"its {_INODE_NUMBER}",
        lambda side: (side.end.inode_number or None) if side.end else None,
        absent="if not seen",
    ),
    Field(
        "written_bytes",
        "number",
        "all it wrote on this connection, as far as it was seen",
        lambda side: side.end.written_bytes if side.end else 0,
        unit="bytes",
    ),
    Field(
        "read_bytes",
        "number",
        "all it read on this connection, as far as it was seen",
        lambda side: side.end.read_bytes if side.end else 0,
        unit="bytes",
    ),
    Field(
        "operations",
        "number",
        "how many operations it has had",
        lambda side: side.end.operations if side.end else 0,
    ),
    Field(
        "operations_not_kept",
        "number",
        "how many of them, after the first ones, are not in the timeline",
        lambda side: side.end.operations_not_kept if side.end else 0,
        not_kept=_FEWER,
    ),
)
"""One end of a connection."""

FIGURES: tuple[Field[Figures], ...] = (
    Field(
        "sent_bytes",
        "number",
        "what the one that was hurt had written in its last turn",
        lambda figures: figures.sent_bytes,
        unit="bytes",
    ),
    Field("read_bytes", "number", "what the other had read of that", lambda figures: figures.read_bytes, unit="bytes"),
    Field(
        "unread_bytes",
        "number",
        "what the other left unread when it went",
        lambda figures: figures.unread_bytes,
        unit="bytes",
    ),
    Field(
        "unread_messages",
        "number",
        "in how many of the kernel's buffers these were",
        lambda figures: figures.unread_messages,
    ),
    Field(
        "answered_bytes",
        "number",
        "what the other had written in its last turn, if that was its answer",
        lambda figures: figures.answered_bytes,
        unit="bytes",
    ),
    Field(
        "failed_bytes",
        "number",
        "what the broken write was to send; 0 if it was no write",
        lambda figures: figures.failed_bytes,
        unit="bytes",
    ),
    Field(
        "gap_ns",
        "number",
        "from the hang-up to the failure",
        lambda figures: figures.gap,
        unit="ns",
        absent="without either",
    ),
    Field(
        "waited_ns",
        "number",
        "how long the one that left had waited for its answer",
        lambda figures: figures.waited,
        unit="ns",
        absent="if it waited for none",
    ),
    Field(
        "silence_ns",
        "number",
        "how long nothing had been sent when an idle connection was closed",
        lambda figures: figures.silence,
        unit="ns",
        absent="if it was not idle",
    ),
)
"""What a verdict rests on."""

CONSEQUENCE: tuple[Field[Consequence], ...] = (
    Field(
        "answer",
        "string",
        '`"read in full"`, `"read in part"` or `"never read"`: what became of the answer',
        lambda consequence: consequence.answer,
        absent="if there was none",
    ),
    Field(
        "lost_bytes",
        "number",
        "how much of what it had been sent it never read",
        lambda consequence: consequence.lost_bytes,
        unit="bytes",
    ),
    Field(
        "afterwards",
        "string",
        '`"went on"`, `"closed"`, `"exited"`, `"killed"`, `"killed by SIGPIPE"` or `"connected again"`: what the '
        "one that was hurt did next",
        lambda consequence: consequence.afterwards,
        absent="for nothing within a tenth of a second",
    ),
    Field(
        "harmless",
        "boolean",
        "whether nobody misses what failed; such alerts come with `--harmless` only",
        lambda consequence: consequence.harmless,
    ),
)
"""What it cost the one that was hurt."""


def _sent_by(sender: Sender) -> str:
    if sender.flags & SenderFlag.OOM:
        return "oom-killer"
    return "kernel" if sender.flags & SenderFlag.KERNEL else "process"


SENDER: tuple[Field[Sender], ...] = (
    Field("signal", "string", "the signal (`SIGTERM`)", lambda sender: signal_name(sender.signal)),
    Field("by", "string", '`"process"`, `"kernel"` (a fault, a timer) or `"oom-killer"`', _sent_by),
    Field(
        "pid",
        "number",
        "the process that sent it; of the kernel's, who happened to run",
        lambda sender: sender.pid,
    ),
    Field("comm", "string", "its name, escaped", lambda sender: escape_comm(sender.comm)),
    Field("uid", "number", f"its {REAL_USER}", lambda sender: sender.uid),
    Field("monotonic_ns", "number", "when, by CLOCK_MONOTONIC", lambda sender: sender.time, unit="ns"),
    Field(
        "handled",
        "boolean",
        "whether the process had a handler for it, and exited later",
        lambda sender: bool(sender.flags & SenderFlag.HANDLED),
    ),
)
"""Who sent a signal."""

_TYPES = {STREAM: "stream", SEQPACKET: "seqpacket"}


def _failed(alert: Alert) -> Moment | None:
    failed = alert.failed
    return None if failed is None else Moment(failed.end, alert.verdict.victim or "client", failed)


def _timeline(alert: Alert) -> tuple[Moment, ...]:
    if alert.story is not None:
        return alert.story.timeline
    failed = _failed(alert)
    return (failed,) if failed else ()


def _sender(alert: Alert) -> Sender | None:
    hangup = alert.hangup
    return sender_of(hangup.event) if hangup else None


ALERT: tuple[Field[Alert], ...] = (
    Field("time", "time", "when it happened", lambda alert: alert.when),
    Field("monotonic_ns", "number", "when it happened, by CLOCK_MONOTONIC", lambda alert: alert.when, unit="ns"),
    Field(
        "verdict",
        "string",
        "the verdict; docs/verdicts.md explains each",
        lambda alert: alert.verdict.kind.label,
    ),
    Field(
        "symptom",
        "string",
        "how it showed: `broken write`, `reset read`, `cut read`, `told by SO_ERROR`, `short write`, `failed connect` "
        "or `none`",
        lambda alert: alert.verdict.symptom.value,
    ),
    Field(
        "sentence",
        "string",
        "the verdict in words; for people, not for programs",
        lambda alert: alert.verdict.sentence,
    ),
    Field(
        "doubts",
        "strings",
        "why it may be wrong; if there are none, it is certain",
        lambda alert: alert.verdict.doubts,
    ),
    Field("path", "string", _PATH, lambda alert: alert.path, absent="if not known"),
    Field(
        "type",
        "string",
        '`"stream"` or `"seqpacket"`',
        lambda alert: _TYPES.get(alert.story.type) if alert.story else None,
        absent="for a failed connect",
    ),
    Field(
        "socketpair",
        "boolean",
        "whether both ends come from socketpair; then the first is called the client",
        lambda alert: bool(alert.story and alert.story.pair),
    ),
    Field(
        "connection",
        "number",
        _CONNECTION,
        lambda alert: alert.story.number if alert.story else None,
        absent="for a failed connect",
    ),
    Field(
        "survivor",
        "string",
        '`"client"` or `"server"`: who suffered, or was left over',
        lambda alert: alert.verdict.victim,
        absent="if nobody was",
    ),
    Field(
        "client",
        "object",
        "the end that called connect",
        lambda alert: Side(alert.client, alert.story.client if alert.story else None),
        fields=END,
    ),
    Field(
        "server",
        "object",
        "the end that came out of accept",
        lambda alert: Side(alert.server, alert.story.server) if alert.story else None,
        absent="for a failed connect",
        fields=END,
    ),
    Field(
        "hangup",
        "object",
        "the release that was the hang-up, as in `timeline`",
        lambda alert: alert.hangup,
        absent="if not seen",
        fields=OPERATION,
    ),
    Field(
        "failed",
        "object",
        "the operation that failed or, of a cut read and an error told elsewhere, the first that shows it, as in "
        "`timeline`",
        _failed,
        absent="for a latent hang-up",
        fields=OPERATION,
    ),
    Field(
        "sender",
        "object",
        "who sent the signal that ended the process that left, or that it got before it exited",
        _sender,
        absent="if no signal was seen",
        fields=SENDER,
    ),
    Field(
        "consequence",
        "object",
        "what it cost the one that was hurt",
        lambda alert: alert.verdict.consequence,
        fields=CONSEQUENCE,
    ),
    Field("figures", "object", "what the verdict rests on", lambda alert: alert.verdict.figures, fields=FIGURES),
    Field(
        "timeline",
        "objects",
        "both ends' operations, in the order in which they took effect",
        _timeline,
        fields=OPERATION,
        not_kept=_FEWER,
    ),
    Field(
        "identity",
        "objects",
        "who the processes at both ends have become, and the last change of each before the connection began, in the "
        "order of their times",
        lambda alert: alert.story.identity.changes if alert.story else (),
        fields=CHANGE,
        not_kept=_WITHOUT_CONNECTION,
    ),
    Field(
        "identity_not_kept",
        "number",
        "how many others there were of these processes, not all of them since it began",
        lambda alert: alert.story.identity.not_kept if alert.story else 0,
        not_kept=_WITHOUT_CONNECTION,
    ),
)
"""An alert with its story."""


def _errno(alert: Alert) -> int | None:
    failed = alert.failed
    return -failed.result if failed and failed.result < 0 else None


def _culprit(alert: Alert) -> int | None:
    culprit = alert.culprit
    return culprit.pid if culprit else None


ERRNO: Field[Alert] = Field(
    "errno",
    "number",
    "what the failed operation failed with, as a number: 32 is EPIPE",
    _errno,
    absent="if it did not fail",
)
CULPRIT_PID: Field[Alert] = Field(
    "culprit_pid",
    "number",
    "the process at the other end, of `own-shutdown` the one that called shutdown(2)",
    _culprit,
    absent="if not known",
)
ADVICE: Field[Alert] = Field("advice", "string", "what to do about it", lambda alert: alert.verdict.kind.advice)

KEY: tuple[Field[Key], ...] = (
    Field("verdict", "string", "the verdict; docs/verdicts.md explains each", lambda key: key.kind.label),
    Field("client", "string", "the client's name, escaped; `?` if not known", lambda key: key.client),
    Field("server", "string", "the server's name, escaped; `?` if not known", lambda key: key.server),
    Field(
        "path",
        "string",
        "the listener's path, escaped; `?` if not known, `(socketpair)` for pairs",
        lambda key: key.path,
    ),
)
"""What rows of counts are told apart by."""

CONNECTIONS: Field[Row | RowCounts] = Field(
    "connections",
    "number",
    "connections that ended or failed, failed connects included",
    lambda row: row.connections,
)
OPERATIONS: Field[Row | RowCounts] = Field(
    "operations",
    "number",
    "operations of both ends of these connections, counted when the connection ends or fails",
    lambda row: row.operations,
)
SYMPTOMS: tuple[Field[Row | RowCounts], ...] = (
    Field(
        "broken_writes",
        "number",
        "ends whose first failure was a write that failed with EPIPE or ECONNRESET",
        lambda row: row.broken_writes,
    ),
    Field(
        "reset_reads",
        "number",
        "ends whose first failure was a read that failed with ECONNRESET",
        lambda row: row.reset_reads,
    ),
    Field(
        "cut_reads",
        "number",
        "ends whose first failure was a read that met the end of the stream while an answer was owed",
        lambda row: row.cut_reads,
    ),
    Field(
        "short_writes",
        "number",
        "ends on which a hang-up or a shutdown cut a blocked write short",
        lambda row: row.short_writes,
    ),
    Field(
        "errors_told",
        "number",
        "ends on which ECONNRESET was taken by getsockopt(SO_ERROR) or recvmmsg(2)",
        lambda row: row.errors_told,
    ),
)
"""How ends were hurt."""
HARMLESS: Field[Row | RowCounts] = Field(
    "harmless",
    "number",
    "failures that nobody misses anything by; they are no alerts",
    lambda row: row.harmless,
)
LATENT_HANGUPS: Field[Row | RowCounts] = Field(
    "latent_hangups",
    "number",
    "hang-ups with bytes unread after which nobody happened to fail",
    lambda row: row.latent,
)

COUNTS: tuple[Field[Row | RowCounts], ...] = (CONNECTIONS, *SYMPTOMS, HARMLESS, LATENT_HANGUPS)
"""The counts of a row, and of all rows together."""


def _percentile(percent: int) -> Field[Row]:
    return Field(
        f"gap_p{percent}_ns",
        "number",
        f"{percent} in 100 of these times were no longer; at most a tenth too high",
        lambda row: row.gaps.percentile(percent) if row.gaps.count else None,
        unit="ns",
        absent="if there are none",
    )


GAPS: tuple[Field[Row], ...] = (
    Field(
        "errors",
        "counts",
        "of failed connects: how many there were by the error's name (`ENOENT`)",
        lambda row: row.errors,
    ),
    Field(
        "gaps",
        "number",
        "how many times the time from hang-up to failure is known",
        lambda row: row.gaps.count,
    ),
    _percentile(50),
    _percentile(90),
    _percentile(99),
    Field(
        "gap_max_ns",
        "number",
        "the longest of these times, exactly",
        lambda row: row.gaps.maximum if row.gaps.count else None,
        unit="ns",
        absent="if there are none",
    ),
)
"""What a row has beside its counts."""

ROW: tuple[Field[tuple[Key, Row]], ...] = (
    *of_part(KEY, lambda row: row[0]),
    *of_part((*COUNTS, *GAPS), lambda row: row[1]),
)
"""A row of counts."""
