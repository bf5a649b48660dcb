"""From a story to its conclusion: what happened, in one sentence, and the figures it rests on.

A verdict is decided by facts of the story, never by names of programs. `Kind` is the one list of verdicts: the code,
docs/verdicts.md and the output take their names and meanings from it.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from hangup.tracer.connection import Connection, Endpoint, process_of
from hangup.tracer.escape import escape_comm
from hangup.tracer.names import error_name, signal_name
from hangup.tracer.record import Event, EventFlag, Operation


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
        "The peer had ended receiving with shutdown(SHUT_RD or SHUT_RDWR), before it hung up, if it has.",
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
    CLEAN = ("clean", False, "The end that hung up first had read everything that was sent to it. Counted.")


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


_STREAM = 1
# A plain number: of an IntFlag "&" makes a new one, for every connection.
_UNREAD_AT_LEAST = int(EventFlag.UNREAD_AT_LEAST)

_CLEAN_SENTENCE = "hung up with nothing unread"


def judge_failure(endpoint: Endpoint, event: Event, *, losses: int = 0) -> Verdict:
    """Return the verdict on a broken write or reset read by the process that suffered it.

    losses: how many records have been lost till now, by any cause.
    """
    peer = endpoint.other
    doubts = _doubts(endpoint, losses)
    kind = _kind_of_shutdown(endpoint, event)
    # A shutdown's failure has no gap: what the peer did later, or not, did not bring it about.
    figures = _figures(endpoint, event, peer.release if kind is None else None, losses)
    if kind is None:
        kind = _kind_of_hangup(event, peer.release, figures)
    if kind is Kind.UNSEEN:
        doubts = (*doubts, "the hang-up was not recorded")
    elif kind is Kind.PEER_SHUTDOWN and peer.ended_receiving is None:
        doubts = (*doubts, "the shutdown was not recorded: it may have been the process's own")
    return Verdict(kind, _failure_sentence(kind, endpoint, event, figures), figures, doubts)


def judge_conclusion(connection: Connection, *, losses: int = 0) -> Verdict:
    """Return the verdict on a connection whose ends are both released and on which nothing failed."""
    hangup = connection.hangup
    gone = connection.client if connection.client.release is hangup else connection.server
    figures = _figures(gone.other, None, hangup, losses)
    doubts = _doubts(gone.other, losses)
    if hangup is None or not figures.unread_bytes:
        return Verdict(Kind.CLEAN, _CLEAN_SENTENCE, figures, doubts)
    sentence = (
        f"{_ended(gone, hangup)} with {_bytes(figures.unread_bytes)} from {_name(gone.other)} unread"
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


def _kind_of_shutdown(endpoint: Endpoint, event: Event) -> Kind | None:
    """Return whose shutdown(2) broke a write; None if a hang-up did. What came first is the cause."""
    if event.operation != Operation.WRITE or event.result != -errno.EPIPE:
        return None
    hangup = endpoint.other.release
    own, theirs = endpoint.ended_sending, endpoint.other.ended_receiving
    before = hangup.start if hangup else event.end
    if own and own.start <= before and not (theirs and theirs.start < own.start):
        return Kind.OWN_SHUTDOWN
    if theirs and theirs.start <= before:
        return Kind.PEER_SHUTDOWN
    if hangup or event.flags & EventFlag.PEER_DEAD:
        return None
    # The peer lives, so there was a shutdown. Whose, the sockets do not tell: both ends have the same bits after either
    # (unix_shutdown()).
    return Kind.PEER_SHUTDOWN


def _kind_of_hangup(event: Event, hangup: Event | None, figures: Figures) -> Kind:
    if hangup is None:
        return Kind.UNSEEN
    if hangup.flags & EventFlag.EMBRYO:
        return Kind.NEVER_ACCEPTED
    if hangup.flags & EventFlag.EXITING:
        return Kind.KILLED if hangup.exit_code & 0x7F else Kind.EXITED
    # ECONNRESET says that bytes were unread, even if they came when they had been counted.
    if figures.unread_bytes or event.result == -errno.ECONNRESET:
        return Kind.UNREAD
    return Kind.ANSWERED if figures.answered_bytes else Kind.UNANSWERED


def _exact(connection: Connection, losses: int) -> bool:
    """Whether every byte that was written and read has been recorded."""
    return connection.complete and connection.type == _STREAM and losses == connection.losses


def _figures(survivor: Endpoint, failed: Event | None, hangup: Event | None, losses: int) -> Figures:
    peer = survivor.other
    unread = 0
    if hangup:
        unread = hangup.unread_bytes
        if _exact(survivor.connection, losses):
            # The queue is counted when the release begins. A write may still slip in before the kernel closes it, and a
            # very long queue is not counted to its end; what was written and not read is exact.
            unread = max(unread, survivor.written_bytes - peer.read_bytes)
    return Figures(
        sent_bytes=survivor.written_bytes,
        read_bytes=peer.read_bytes,
        unread_bytes=unread,
        unread_messages=hangup.unread_messages if hangup else 0,
        answered_bytes=peer.written_bytes,
        failed_bytes=failed.size if failed and failed.operation == Operation.WRITE else 0,
        gap=failed.end - hangup.start if failed and hangup else None,
    )


def _doubts(survivor: Endpoint, losses: int) -> tuple[str, ...]:
    connection = survivor.connection
    hangup = survivor.other.release
    lost = losses - connection.losses
    doubts = []
    if not connection.complete:
        doubts.append("its beginning was not recorded: the connection is older than the tracer, or a record was lost")
    if lost:
        doubts.append(f"{'1 record was' if lost == 1 else f'{lost} records were'} lost while it was open")
    if hangup and hangup.flags & _UNREAD_AT_LEAST and not _exact(connection, losses):
        doubts.append("more bytes were unread than were counted")
    return tuple(doubts)


def _failure_sentence(kind: Kind, endpoint: Endpoint, event: Event, figures: Figures) -> str:
    peer = endpoint.other
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
    when = "" if figures.gap is None else f" {_duration(figures.gap)} later"
    if kind is Kind.NEVER_ACCEPTED:
        cause = f"{_name(peer, hangup)} closed the listener without accepting"
    elif figures.unread_bytes:
        cause = f"{_ended(peer, hangup)} with {_bytes(figures.unread_bytes)} unread{_answer(figures)}"
    elif kind is Kind.UNREAD:
        cause = f"{_ended(peer, hangup)} while more came in{_answer(figures)}"
    elif figures.answered_bytes:
        cause = f"{_name(peer)} read {_bytes(figures.read_bytes)}, answered {_bytes(figures.answered_bytes)}"
        # Who did all of it is named once.
        cause += " and " + _ending(peer, hangup) if hangup.pid == peer.pid else f"; {_ended(peer, hangup)}"
    else:
        cause = f"{_ended(peer, hangup)} without an answer"
    return f"{cause};{when} {who}'s {what}"


def _ended(endpoint: Endpoint, hangup: Event) -> str:
    """Say how an endpoint's release came about, and by whom."""
    return f"{_name(endpoint, hangup)} {_ending(endpoint, hangup)}"


def _ending(endpoint: Endpoint, hangup: Event) -> str:
    if not hangup.flags & EventFlag.EXITING:
        return f"hung up{_heir(endpoint, hangup)}"
    number = hangup.exit_code & 0x7F
    if number:
        return f"was killed by {signal_name(number)}{_heir(endpoint, hangup)}"
    return f"exited with status {hangup.exit_code >> 8 & 0xFF}{_heir(endpoint, hangup)}"


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


def _answer(figures: Figures) -> str:
    return f", {_bytes(figures.answered_bytes)} answered" if figures.answered_bytes else ""


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _duration(nanoseconds: int) -> str:
    """Return a time in the unit that suits it: 89 µs, 1.25 ms, 3.1 s."""
    for divisor, unit in ((1, "ns"), (10**3, "µs"), (10**6, "ms")):
        # From here on three digits would round up to a thousand.
        if nanoseconds < 999.5 * divisor:
            return f"{nanoseconds / divisor:.3g} {unit}"
    seconds = nanoseconds / 10**9
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"
