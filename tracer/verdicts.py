"""From a story to its conclusion: what happened, in one sentence, and the figures it rests on.

A verdict is decided by facts of the story, never by names of programs. `Kind` is the one list of verdicts: the code,
docs/verdicts.md and the output take their names and meanings from it.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from tracer.connection import Connection, Endpoint, process_of
from tracer.escape import escape_comm
from tracer.names import error_name, signal_name
from tracer.record import Event, EventFlag, Operation

# shutdown(2)'s argument, and sk_shutdown (include/net/sock.h: RCV_SHUTDOWN, SEND_SHUTDOWN).
_SHUT_RD, _SHUT_WR, _SHUT_RDWR = 0, 1, 2
_RECEIVE_SHUTDOWN, _SEND_SHUTDOWN = 1, 2


class Kind(Enum):
    """The verdicts: name, whether it is an alert, what it means."""

    label: str
    is_alert: bool
    meaning: str

    def __new__(cls, label: str, is_alert: bool, meaning: str) -> Kind:
        """Give each verdict its properties; its value is its label."""
        kind = object.__new__(cls)
        kind._value_ = label
        kind.label = label
        kind.is_alert = is_alert
        kind.meaning = meaning
        return kind

    UNREAD = (
        "unread",
        True,
        "The peer released its end while bytes sent to it were still unread. The kernel sets ECONNRESET for the next "
        "read exactly then (unix_release_sock()), and a write fails with EPIPE.",
    )
    ANSWERED = (
        "answered",
        True,
        "The peer had read everything sent so far, had answered, and released its end while more was being sent.",
    )
    UNANSWERED = (
        "unanswered",
        True,
        "The peer had read everything sent so far and released its end without a byte of answer.",
    )
    EXITED = (
        "exited",
        True,
        "The peer's process exited with the connection open; its exit, not close(2), released the socket.",
    )
    KILLED = ("killed", True, "A signal ended the peer's process with the connection open.")
    NEVER_ACCEPTED = (
        "never-accepted",
        True,
        "The listener was released while the connection still waited in its backlog.",
    )
    OWN_SHUTDOWN = (
        "own-shutdown",
        True,
        "The process had itself ended sending with shutdown(SHUT_WR or SHUT_RDWR) before it wrote.",
    )
    PEER_SHUTDOWN = (
        "peer-shutdown",
        True,
        "The peer had ended receiving with shutdown(SHUT_RD or SHUT_RDWR); its socket was still open.",
    )
    UNSEEN = (
        "unseen",
        True,
        "The peer had hung up before anything of it was recorded: how, is not known.",
    )
    REFUSED = (
        "refused",
        True,
        "Connect failed with ECONNREFUSED: a socket file without a listener behind it (unix_find_other()).",
    )
    BACKLOG_FULL = (
        "backlog-full",
        True,
        "A non-blocking connect failed with EAGAIN: the listener's backlog was full (unix_stream_connect()).",
    )
    CONNECT_FAILED = (
        "connect-failed",
        False,
        "Connect failed otherwise: no such path, no permission, interrupted. Counted, no alert.",
    )
    LATENT = (
        "latent",
        False,
        "A hang-up with bytes unread after which nobody happened to fail: the same race, lost by nobody this time. "
        "Counted, and an alert only if asked for.",
    )
    CLEAN = ("clean", False, "Nothing was lost: everything sent before the first release was read. Counted.")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a verdict rests on. Bytes are counted over the whole connection, as far as it was seen."""

    sent_bytes: int = 0
    """What the survivor wrote successfully."""
    read_bytes: int = 0
    """What the peer read of it."""
    unread_bytes: int = 0
    """What the peer left unread when it hung up."""
    unread_messages: int = 0
    """In how many sk_buffs they were."""
    answered_bytes: int = 0
    """What the peer wrote."""
    failed_bytes: int = 0
    """What the failed write was to send."""
    gap: int | None = None
    """From the hang-up's beginning to the failed operation's end, in ns; None if either was not seen."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion of a story."""

    kind: Kind
    sentence: str
    figures: Figures
    doubts: tuple[str, ...] = ()
    """Why it may be wrong; empty: certain."""

    @property
    def certain(self) -> bool:
        """Whether everything it rests on was recorded."""
        return not self.doubts


_CLEAN_SENTENCE = "closed with nothing unread"


def judge_failure(endpoint: Endpoint, event: Event, *, losses: int = 0) -> Verdict:
    """Return the verdict on a broken write or reset read by the process that suffered it.

    losses: how many records have been lost till now, by any cause.
    """
    peer = endpoint.other
    figures = _figures(endpoint, event)
    kind = _kind_of_failure(endpoint, event, figures)
    doubts = _doubts(endpoint.connection, losses)
    if kind is Kind.UNSEEN:
        doubts = (*doubts, "the hang-up was not recorded")
    return Verdict(kind, _failure_sentence(kind, endpoint, peer, event, figures), figures, doubts)


def judge_conclusion(connection: Connection, *, losses: int = 0) -> Verdict:
    """Return the verdict on a connection whose ends are both released and on which nothing failed."""
    hangup = connection.hangup
    doubts = _doubts(connection, losses)
    if hangup is None:
        return Verdict(Kind.CLEAN, _CLEAN_SENTENCE, Figures(), doubts)
    gone = connection.client if connection.client.release is hangup else connection.server
    figures = _figures(gone.other, None)
    if not figures.unread_bytes:
        return Verdict(Kind.CLEAN, _CLEAN_SENTENCE, figures, doubts)
    sentence = (
        f"{_ended(gone, hangup)} with {_unread(figures)} from {_name(gone.other)} unread"
        f"{_answer(figures)}; nobody failed this time"
    )
    return Verdict(Kind.LATENT, sentence, figures, doubts)


def judge_connect(event: Event, path: str | None) -> Verdict:
    """Return the verdict on a failed connect."""
    error = -event.result
    who = f"{escape_comm(event.comm)}[{event.pid}]"
    where = path or "an unnamed address"
    if error == errno.ECONNREFUSED:
        return Verdict(Kind.REFUSED, f"nobody listens on {where}: it refused {who}", Figures())
    if error == errno.EAGAIN:
        return Verdict(Kind.BACKLOG_FULL, f"the backlog of {where} was full: it turned {who} away", Figures())
    return Verdict(Kind.CONNECT_FAILED, f"{who} could not connect to {where} ({error_name(error)})", Figures())


def _kind_of_failure(endpoint: Endpoint, event: Event, figures: Figures) -> Kind:
    peer = endpoint.other
    hangup = peer.release
    writing = event.operation == Operation.WRITE
    # What broke the write first is its cause: a hang-up that came later changed nothing.
    if writing and event.result == -errno.EPIPE:
        own, theirs = endpoint.shutdown, peer.shutdown
        before = hangup.start if hangup else event.end
        if own and own.size in (_SHUT_WR, _SHUT_RDWR) and own.start <= before:
            return Kind.OWN_SHUTDOWN
        if theirs and theirs.size in (_SHUT_RD, _SHUT_RDWR) and theirs.start <= before:
            return Kind.PEER_SHUTDOWN
        if hangup is None and not event.flags & EventFlag.PEER_DEAD:
            # Neither shutdown was recorded, but the sockets tell: unix_shutdown() sets one bit at either end.
            return Kind.PEER_SHUTDOWN if event.peer_shutdown & _RECEIVE_SHUTDOWN else Kind.OWN_SHUTDOWN
    if hangup is None:
        return Kind.UNSEEN
    if hangup.flags & EventFlag.EMBRYO:
        return Kind.NEVER_ACCEPTED
    if hangup.flags & EventFlag.EXITING:
        return Kind.KILLED if hangup.exit_code & 0x7F else Kind.EXITED
    if figures.unread_bytes:
        return Kind.UNREAD
    return Kind.ANSWERED if figures.answered_bytes else Kind.UNANSWERED


def _figures(survivor: Endpoint, failed: Event | None) -> Figures:
    peer = survivor.other
    hangup = peer.release
    unread = hangup.unread_bytes if hangup else 0
    if survivor.connection.complete and survivor.connection.type == 1:
        # The queue is counted when the release begins. A write may still slip in before the kernel closes it, and a
        # very long queue is not counted to its end; what was written and not read is exact.
        unread = max(unread, survivor.written_bytes - peer.read_bytes) if hangup else 0
    return Figures(
        sent_bytes=survivor.written_bytes,
        read_bytes=peer.read_bytes,
        unread_bytes=unread,
        unread_messages=hangup.unread_messages if hangup else 0,
        answered_bytes=peer.written_bytes,
        failed_bytes=failed.size if failed and failed.operation == Operation.WRITE else 0,
        gap=failed.end - hangup.start if failed and hangup else None,
    )


def _doubts(connection: Connection, losses: int) -> tuple[str, ...]:
    doubts = []
    if not connection.complete:
        doubts.append("the connection is older than the tracer")
    lost = losses - connection.losses
    if lost:
        doubts.append(f"{lost} records were lost while it was open")
    return tuple(doubts)


def _failure_sentence(kind: Kind, endpoint: Endpoint, peer: Endpoint, event: Event, figures: Figures) -> str:
    who = _name(endpoint, event)
    if event.operation == Operation.WRITE:
        what = f"write of {_bytes(event.size)} failed with {error_name(-event.result)}"
    else:
        what = f"read failed with {error_name(-event.result)}"
    if kind is Kind.OWN_SHUTDOWN:
        return f"{who} had ended sending itself (shutdown); its {what}"
    if kind is Kind.PEER_SHUTDOWN:
        return f"{_name(peer)} had ended receiving (shutdown); {who}'s {what}"
    hangup = peer.release
    if hangup is None:
        return f"{_name(peer)} had hung up unseen; {who}'s {what}"
    when = f"; {_duration(figures.gap)} later" if figures.gap is not None and figures.gap >= 0 else ";"
    if kind is Kind.NEVER_ACCEPTED:
        cause = f"{_name(peer, hangup)} closed the listener without accepting"
    elif figures.unread_bytes:
        cause = f"{_ended(peer, hangup)} with {_unread(figures)} unread{_answer(figures)}"
    elif figures.answered_bytes:
        cause = f"{_name(peer)} read {_bytes(figures.read_bytes)}, answered {_bytes(figures.answered_bytes)} and " + (
            _ended(peer, hangup, subject=False)
        )
    else:
        cause = f"{_ended(peer, hangup)} without an answer"
    return f"{cause}{when} {who}'s {what}"


def _ended(endpoint: Endpoint, hangup: Event, *, subject: bool = True) -> str:
    """Say how an endpoint's release came about, and by whom."""
    who = f"{_name(endpoint, hangup)} " if subject else ""
    if not hangup.flags & EventFlag.EXITING:
        return f"{who}hung up{_heir(endpoint, hangup)}"
    number = hangup.exit_code & 0x7F
    if number:
        return f"{who}was killed by {signal_name(number)}{_heir(endpoint, hangup)}"
    return f"{who}exited with status {hangup.exit_code >> 8 & 0xFF}{_heir(endpoint, hangup)}"


def _heir(endpoint: Endpoint, hangup: Event) -> str:
    """Say that another process than the socket's user had its last descriptor, inherited by fork(2) or handed over."""
    users = {event.pid: event for event in endpoint.kept if event.operation in (Operation.READ, Operation.WRITE)}
    if not users or hangup.pid in users:
        return ""
    user = process_of(endpoint.last_transfer) if endpoint.last_transfer else None
    if user is None:
        return ""
    return f" (it held the last descriptor of what {user.comm}[{user.pid}] used)"


def _name(endpoint: Endpoint, event: Event | None = None) -> str:
    if event is not None:
        return f"{escape_comm(event.comm)}[{event.pid}]"
    return f"{endpoint.comm}[{endpoint.pid}]" if endpoint.pid else f"an unknown {endpoint.role}"


def _unread(figures: Figures) -> str:
    return _bytes(figures.unread_bytes)


def _answer(figures: Figures) -> str:
    return f", {_bytes(figures.answered_bytes)} answered" if figures.answered_bytes else ""


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _duration(nanoseconds: int) -> str:
    """Return a time in the unit that suits it: 89 µs, 1.25 ms, 3.1 s."""
    for limit, divisor, unit in ((10**3, 1, "ns"), (10**6, 10**3, "µs"), (10**9, 10**6, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / divisor:.3g} {unit}"
    return f"{nanoseconds / 10**9:.3g} s"
