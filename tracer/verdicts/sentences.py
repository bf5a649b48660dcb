"""Verdicts in words: one sentence each, which names time, bytes and both sides of the exchange."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from hangup.tracer.escape import escape_comm
from hangup.tracer.names import error_name, shutdown_name, signal_name
from hangup.tracer.record.layout import Event, EventFlag, Operation, SenderFlag, sender_of
from hangup.tracer.story.operation import has_died, has_executed
from hangup.tracer.story.process import Process, is_nobodys, process_of
from hangup.tracer.story.story import End, Story
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.units import duration, size
from hangup.tracer.verdicts.kinds import Kind
from hangup.tracer.verdicts.verdict import Consequence, Figures, Verdict

if TYPE_CHECKING:
    from hangup.tracer.verdicts.rules import Facts

# signal(7): what the kernel sends for a fault of the program's own, and for a timer that it set.
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
_TIMERS = ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU")
# By which one asks a process to end that has a handler for it (ASKS_TO_END, bpf/senders.h).
_REQUESTS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGTERM")


def of_failure(kind: Kind, facts: Facts, figures: Figures) -> str:
    """Return the sentence about a failure."""
    if kind is Kind.OWN_SHUTDOWN:
        return _own_shutdown(facts)
    if kind is Kind.PEER_SHUTDOWN:
        return _peer_shutdown(facts, figures)
    release = facts.release
    if release is None:
        return f"{_end(facts.gone)} had left before it was seen; {_what(facts, figures)}"
    later = "" if figures.gap is None else f"{duration(max(figures.gap, 0))} later "
    if kind is Kind.REUSED:
        return _reused(facts, figures, release)
    return f"{_cause(kind, facts, figures, release)}; {later}{_what(facts, figures)}"


def of_latent(story: Story, figures: Figures) -> str:
    """Return the sentence about a hang-up with bytes unread after which nobody failed."""
    hangup = story.hangup
    assert hangup is not None
    gone, left = story.end(hangup.role), story.other(hangup.role)
    unread = f"with {size(figures.unread_bytes)} from {_end(left)} unread"
    answered = f", {size(figures.answered_bytes)} answered" if figures.answered_bytes else ""
    if hangup.event.flags & EventFlag.EMBRYO:
        went = f"{_listener_went(gone, hangup.event)},"
    else:
        way = _way(gone, hangup.event)
        went = f"{_who_left(gone)} {way}{_pause(way)}"
    return f"{went} {unread}{answered}; nobody failed this time"


def of_connect(kind: Kind, event: Event, path: str | None, backlog: tuple[int, int] | None) -> str:
    """Return the sentence about a failed connect."""
    who = _name(process_of(event))
    where = path or "an unnamed address"
    if kind is Kind.REFUSED:
        return f"nobody listens on {where}: it refused {who}"
    if kind is Kind.BACKLOG_FULL:
        return f"the backlog of {where} was full{_backlog(backlog)}: it turned {who} away"
    if kind is Kind.LISTENER_GONE:
        return f"{where} is gone, where somebody had listened: {who} could not connect ({error_name(-event.result)})"
    if kind is Kind.NOT_PERMITTED:
        return f"{who} (uid {event.uid}) may not connect to {where} ({error_name(-event.result)})"
    return f"{who} could not connect to {where} ({error_name(-event.result)})"


def _backlog(backlog: tuple[int, int] | None) -> str:
    """Say how many waited of how many, as far as it is known: the kernel was asked at about that time."""
    if backlog is None:
        return ""
    waiting, length = backlog
    # One more than the backlog may wait (unix_recvq_full()), which "2 of 1" would not tell.
    if waiting > length:
        return f" ({waiting} waited, the backlog is {length})"
    return f" (the backlog is {length}; {waiting} waited when it was looked at)"


def of_consequence(consequence: Consequence, victim: Process | None) -> str | None:
    """Return what it cost the one that was hurt; None: nothing is known."""
    name = victim.comm if victim else "it"
    parts = []
    if consequence.answer == "read in full":
        parts.append("the answer was read in full")
    elif consequence.answer:
        kept = "the rest of the answer" if consequence.answer == "read in part" else "the answer"
        parts.append(f"{kept}, {size(consequence.lost_bytes)}, was never read")
    told = {
        "went on": f"{name} went on",
        "closed": f"{name} closed",
        "exited": f"{name} exited",
        "killed": f"{name} was killed itself",
        "killed by SIGPIPE": f"{name} was killed by SIGPIPE",
        "connected again": f"{name} closed and connected again",
        None: "",
    }[consequence.afterwards]
    if told:
        parts.append(told)
    return "; ".join(parts) or None


def second(first: Verdict) -> str:
    """Return what names the verdict on the other end's failure, which came first."""
    victim = first.client if first.victim == "client" else first.server
    return f" (after {_name(victim)}'s {first.symptom.value} on this connection: {first.kind.label})"


def culprit(facts: Facts, kind: Kind) -> Process | None:
    """Return whom the sentence names at the other end."""
    if kind is Kind.PEER_SHUTDOWN:
        shutdown = peer_shutdown(facts.gone, facts.failure.event, facts.failure.symptom)
        if shutdown:
            return process_of(shutdown)
    elif kind is not Kind.OWN_SHUTDOWN and facts.release is not None:
        return released_by(facts.gone)
    return facts.gone.process


def peer_shutdown(gone: End, failed: Event, symptom: Symptom) -> Event | None:
    """Return the shutdown(2) of the other end that a failure is due to; None: none was recorded before it.

    What it sends no more cuts a read, what it receives no more breaks a write (unix_shutdown()).
    """
    both = (gone.ended_receiving, gone.ended_sending)
    if symptom is Symptom.CUT_READ:
        both = (gone.ended_sending, gone.ended_receiving)
    return next((event for event in both if event is not None and event.start <= failed.end), None)


def released_by(gone: End) -> Process | None:
    """Return whose descriptor it was that went last."""
    release = gone.release
    if release is None or is_nobodys(release):
        return gone.process
    return process_of(release)


def _cause(kind: Kind, facts: Facts, figures: Figures, release: Event) -> str:
    gone, exchange = facts.gone, facts.exchange
    who = _who_left(gone)
    way = _way(gone, release)
    if kind is Kind.NEVER_ACCEPTED:
        return _listener_went(gone, release)
    if figures.silence is not None and (exchange.victim.turns or exchange.peer.turns):
        return f"{who} {way}{_pause(way)} after {duration(max(figures.silence, 0))} of silence"
    if exchange.requester == "peer":
        return _asker_left(facts, figures, release)
    answered = f", {size(figures.answered_bytes)} answered" if figures.answered_bytes else ""
    read = _after_reading(facts, release)
    if read:
        # A status would run into the time, and so would who sent the signal.
        way += f"{',' if facts.died else ''} {read},"
    else:
        # What follows is about the one that left, not about who sent the signal.
        way += _pause(way)
    if figures.unread_bytes:
        return f"{who} {way} with {size(figures.unread_bytes)} unread{answered}"
    if kind is Kind.UNREAD:
        return f"{who} {way} while more came in{answered}"
    if kind is Kind.ANSWERED:
        # Who did all of it is named once.
        user = _end(gone)
        had_read = f"read {size(figures.read_bytes)}, " if figures.sent_bytes else ""
        gave = "answered" if exchange.victim.turns else "sent"
        done = f"{user} {had_read}{gave} {size(figures.answered_bytes)}"
        return f"{done} and {way}" if user == who else f"{done}; {who} {way}"
    if figures.answered_bytes:
        whole = " of its answer" if exchange.victim.turns else ""
        return f"{who} {way} after it had sent {size(figures.answered_bytes)}{whole}"
    if not exchange.victim.turns:
        return f"{who} {way} before anything was sent"
    return f"{who} {way} without an answer"


def _listener_went(gone: End, release: Event) -> str:
    """Say how a connection was lost in the backlog."""
    who, way = _who_left(gone), _way(gone, release)
    if has_died(release):
        return f"{who}, which listened, {way}{_pause(way)} before it had accepted the connection"
    return f"{who} closed the listener before it had accepted the connection"


def _pause(way: str) -> str:
    """Return the comma that keeps what follows from being read as about who sent the signal."""
    return "," if "," in way else ""


def _after_reading(facts: Facts, release: Event) -> str:
    """Say how long the other end had had the request, if it had read of it."""
    exchange = facts.exchange
    if not exchange.request_read or exchange.answered:
        return ""
    reads = [
        moment.when
        for moment in facts.story.timeline
        if moment.role == facts.gone.role
        and moment.event.operation == Operation.READ
        and moment.event.result > 0
        and moment.when <= release.start
    ]
    if not reads:
        return ""
    what = "the request" if exchange.request_read >= exchange.victim.bytes else "part of the request"
    return f"{duration(release.start - reads[-1])} after it had read {what}"


def _asker_left(facts: Facts, figures: Figures, release: Event) -> str:
    """Say how the one that waited for an answer left, or was in the middle of one."""
    gone, exchange = facts.gone, facts.exchange
    who = _who_left(gone)
    died = has_died(release)
    left = _way(gone, release)
    if exchange.owed_to_peer and not facts.left_over_an_answer:
        waited = duration(figures.waited or 0)
        where = f"waited {waited} for an answer"
        if not _accepted_before(facts, release):
            where = f"waited {waited} in the backlog"
        unread = f", left {size(figures.unread_bytes)} unread" if figures.unread_bytes else ""
        if died:
            return f"{who} sent {size(exchange.peer.bytes)}, {where}{unread} and {left}"
        left = "executed another program" if has_executed(release) and not _heir(gone, release) else "gave up"
        return f"{who} sent {size(exchange.peer.bytes)}, {where}{unread} and {left}"
    if not exchange.victim.turns:
        return f"{who} connected, sent nothing for {duration(figures.waited or 0)} and {left}"
    read = min(figures.read_bytes, exchange.victim.bytes)
    unread = f", left {size(figures.unread_bytes)} unread" if figures.unread_bytes else ""
    return f"{who} read {size(read) if read else 'nothing'} of {_victim(facts)}'s answer{unread} and {left}"


def _accepted_before(facts: Facts, release: Event) -> bool:
    """Whether the connection had been accepted when its client left."""
    if facts.story.pair or facts.gone.role == "server" or not facts.story.complete:
        return True
    accepts = [moment for moment in facts.story.timeline if moment.event.operation == Operation.ACCEPT]
    return not accepts or accepts[0].event.end <= release.start


def _reused(facts: Facts, figures: Figures, release: Event) -> str:
    who, way = _who_left(facts.gone), _way(facts.gone, release)
    if not has_died(release):
        way = way.replace("hung up", "closed the connection", 1)
    silence = duration(max(figures.silence or 0, 0))
    used = "" if figures.gap is None else f" {duration(max(figures.gap, 0))} later"
    way += _pause(way)
    what = _what(facts, figures, whose="")
    return f"{who} {way} after {silence} of silence; {_victim(facts)} used it{used}: its{what}"


def _own_shutdown(facts: Facts) -> str:
    shutdown = facts.victim.ended_sending
    assert shutdown is not None
    failed = facts.failure.event
    how = shutdown_name(shutdown.size)
    before = duration(max(failed.end - shutdown.start, 0))
    unread = f", with {size(facts.kept_unread)} unread" if facts.kept_unread else ""
    stood = f"{before} before{unread}{_answer_at_own_shutdown(facts)}"
    followed = ""
    release = facts.release
    if release is not None:
        left = f" with {size(facts.unread)} unread" if facts.unread else ""
        followed = f", and {_who_left(facts.gone)} {_way_after(facts, release, shutdown)}{left}"
    if shutdown.tid == failed.tid:
        # Who else is named would be taken for who "its" is about.
        met = _what(facts) if followed else f"its{_what(facts, whose='')}"
        return f"{_victim(facts)} had itself ended sending ({how}) {stood}{followed}; {met}"
    who = _name(process_of(shutdown))
    if shutdown.pid == failed.pid:
        who = f"thread {shutdown.tid} of {who}"
    return f"{who} had shut down ({how}) what {_victim(facts)} was using, {stood}{followed}; {_what(facts)}"


def _answer_at_own_shutdown(facts: Facts) -> str:
    """Say how the exchange stood, whichever of the two was to answer."""
    exchange = facts.exchange
    if exchange.asked or exchange.owed_to_peer:
        return ", without an answer"
    request, answer = exchange.victim, exchange.peer
    if exchange.requester == "peer":
        request, answer = answer, request
    return f", {size(answer.bytes)} {'answered' if request.turns else 'sent'}" if answer.turns else ""


def _way_after(facts: Facts, release: Event, shutdown: Event) -> str:
    """Say how the other end's release came about, and how long after a shutdown."""
    after = duration(max(release.start - shutdown.start, 0))
    # A status would run into the time, and so would who sent the signal.
    pause = "," if facts.died else ""
    return f"{_way(facts.gone, release)}{pause} {after} after that"


def _peer_shutdown(facts: Facts, figures: Figures) -> str:
    gone, failed = facts.gone, facts.failure.event
    shutdown = peer_shutdown(gone, failed, facts.failure.symptom)
    if shutdown is None:
        return f"{_end(gone)} had ended receiving (shutdown); {_what(facts, figures)}"
    how = shutdown_name(shutdown.size)
    who = _name(process_of(shutdown))
    user = gone.process
    if user is not None and user.pid != shutdown.pid and user.comm != "?":
        who += f" (not {_name(user)}, which used it)"
    elif user is not None and user.tid is not None and user.tid != shutdown.tid:
        who = f"thread {shutdown.tid} of {who} (thread {user.tid} used it)"
    unread = f" with {size(facts.unread)} unread" if facts.unread else ""
    later = f"{duration(max(failed.end - shutdown.start, 0))} later"
    release = facts.release
    followed = ""
    if release is not None:
        left = released_by(gone)
        # Its last descriptor may have been another process's: that one went then.
        whose = f"{_name(left)} " if left and left.pid != process_of(shutdown).pid else ""
        followed = f", and {whose}{_way_after(facts, release, shutdown)}"
    answer = _answer_to_shutdown(facts, figures, shutdown)
    return f"{who} shut the connection down ({how}){unread}{answer}{followed}; {later} {_what(facts, figures)}"


def _answer_to_shutdown(facts: Facts, figures: Figures, shutdown: Event) -> str:
    """Say how the exchange stood that a shutdown ended."""
    exchange = facts.exchange
    if figures.answered_bytes:
        return f", {size(figures.answered_bytes)} answered"
    if exchange.asked:
        return ", without an answer"
    if exchange.owed_to_peer and not facts.left_over_an_answer:
        waited = duration(max(shutdown.start - facts.asked_last, 0))
        return f", {waited} after it had sent {size(exchange.peer.bytes)}"
    return ""


def _what(facts: Facts, figures: Figures | None = None, *, whose: str | None = None) -> str:
    """Say what the one that was hurt met: "nginx[12]'s write of 8 bytes failed with EPIPE"."""
    failure = facts.failure
    event, symptom = failure.event, failure.symptom
    owner = f"{_victim(facts)}'s" if whose is None else whose
    if symptom is Symptom.SHORT_WRITE:
        return f"{owner} write of {size(event.size)} was cut to {size(event.result)}"
    if symptom is Symptom.CUT_READ:
        # One that waits for all it asks for has got some of it.
        asked = f" of {size(event.size)}" if event.result else ""
        return f"{owner} read{asked} met the end of the stream{f' after {size(event.result)}' if asked else ''}"
    if symptom is Symptom.TOLD:
        return f"{owner} socket had an ECONNRESET that was taken by SO_ERROR or recvmmsg"
    if event.operation == Operation.WRITE:
        answer = figures is not None and facts.exchange.requester == "peer" and event.result == -errno.EPIPE
        noun = "answer" if answer and facts.exchange.owed_to_peer else "write"
        return f"{owner} {noun} of {size(event.size)} failed with {error_name(-event.result)}"
    return f"{owner} read failed with {error_name(-event.result)}"


def _victim(facts: Facts) -> str:
    return _name(process_of(facts.failure.event))


def _who_left(gone: End) -> str:
    who = released_by(gone)
    return _name(who) if who else f"an unknown {gone.role}"


def _way(gone: End, release: Event) -> str:
    """Say how an end's release came about."""
    if not has_died(release):
        if release.flags & EventFlag.KERNEL_THREAD:
            if is_nobodys(release):
                why = "no process is known to have had it open: a kernel thread dropped it"
                return f"hung up ({why}, as what was sent in a message and never received)"
            return "hung up (a kernel thread dropped its last descriptor)"
        if release.flags & EventFlag.EXITING:
            return f"hung up (its thread {release.tid} exited)"
        if has_executed(release):
            heir = _heir(gone, release, till=", until it executed another program")
            return f"hung up{heir or ' (it executed another program)'}"
        return f"hung up{_heir(gone, release)}"
    number = release.exit_code & 0x7F
    if number:
        return f"was killed by {signal_name(number)}{_sent_by(release, number)}{_heir(gone, release)}"
    return f"exited with status {release.exit_code >> 8 & 0xFF}{_handled(release)}{_heir(gone, release)}"


def _sent_by(release: Event, number: int) -> str:
    sender = sender_of(release)
    if sender is None or sender.signal != number:
        return ""
    if sender.flags & SenderFlag.OOM:
        return ", sent by the kernel's OOM killer"
    name = signal_name(number)
    if sender.flags & SenderFlag.KERNEL:
        if name in _FAULTS:
            return ", a fault of its own"
        if name in _TIMERS:
            return ", a timer of its own"
        return ", sent by the kernel"
    if sender.pid == (release.owner_pid or release.pid):
        # The kernel sends SIGPIPE in the name of who wrote (unix_stream_sendmsg()).
        return ", a broken write of its own" if name == "SIGPIPE" else ", sent by itself"
    who = f", sent by {escape_comm(sender.comm)}[{sender.pid}]"
    # Worth a word only where it is another user's.
    return f"{who} (uid {sender.uid})" if sender.uid not in (release.uid, 0) else who


def _handled(release: Event) -> str:
    sender = sender_of(release)
    if sender is None:
        return ""
    name = signal_name(sender.signal)
    # It is blocked by who takes it with sigwait(3) or from a signalfd(2).
    if not (sender.flags & SenderFlag.HANDLED or (sender.flags & SenderFlag.BLOCKED and name in _REQUESTS)):
        return ""
    before = duration(max(release.start - sender.time, 0))
    if sender.flags & SenderFlag.KERNEL:
        return f", {before} after {name} from the kernel"
    if sender.pid == (release.owner_pid or release.pid):
        return f", {before} after {name} from itself"
    return f", {before} after {name} from {escape_comm(sender.comm)}[{sender.pid}]"


def _heir(gone: End, release: Event, *, till: str = "") -> str:
    """Say that another process than the socket's user had its last descriptor, inherited by fork(2) or handed over.

    till: until when it had it.
    """
    user = gone.process
    if user is None or user.tid is None or release.owner_pid:
        return ""
    if not gone.transferred_by or release.pid in gone.transferred_by:
        return ""
    return f" (it held the last descriptor of what {_name(user)} used{till})"


def _end(end: End) -> str:
    return _name(end.process) if end.process else f"an unknown {end.role}"


def _name(process: Process | None) -> str:
    if process is None or not process.pid:
        return "an unknown process"
    return f"{process.comm}[{process.pid}]"
