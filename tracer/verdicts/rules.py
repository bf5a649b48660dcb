"""From a story to the cause: what happened over the last exchange, not over the life of the connection.

The failing operation is a symptom: the same death is an EPIPE, an ECONNRESET or a quiet end of stream, by accident of
timing, and gets the same verdict.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from hangup.tracer.record.layout import DIED, SEQPACKET, STREAM, Event, EventFlag, Operation
from hangup.tracer.story.connection import IDLE, Role
from hangup.tracer.story.exchange import Exchange
from hangup.tracer.story.operation import has_died, is_exit_of_thread
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.story.story import End, Story
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.verdicts import sentences
from hangup.tracer.verdicts.kinds import Kind
from hangup.tracer.verdicts.verdict import Afterwards, Answer, Consequence, Figures, Verdict

_SIGPIPE = 13

FAREWELL = 8
"""A last word is no longer than this, in bytes: libpq's Terminate and MySQL's COM_QUIT have five."""

LAST_WORDS = 85
"""Nor is one that is encrypted longer than this, in bytes: TLS's close_notify takes 24 to 85, by its cipher."""

# shutdown(2)
_SHUT_WR = 1

_MAY_BE_HARMLESS = (Kind.REUSED, Kind.KILLED, Kind.EXITED, Kind.ANSWERED, Kind.GAVE_UP, Kind.PEER_SHUTDOWN)


@dataclass(frozen=True, slots=True)
class Failure:
    """An end's first failure, with what stood then and what came after."""

    role: Role
    """The end that was hurt."""
    event: Event
    """The operation that failed; of an error told by SO_ERROR the first one that shows it is gone."""
    symptom: Symptom
    exchange: Exchange
    """Whose turn it was then."""
    after: Sequence[Event] = ()
    """What that end did next, for a tenth of a second at the most."""
    reconnect: Event | None = None
    """The connect to the same path that was the next thing its thread did."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules and the sentences ask of a failure's story."""

    story: Story
    failure: Failure
    release: Event | None
    """The release of the other end, if that was before the failure."""
    unread: int
    """What the other end left unread of what was sent to it, in bytes."""
    kept_unread: int
    """What the one that was hurt had not read by then of what was sent to it, in bytes; 0: none, or it is not known."""
    lost: int
    """How many records were lost while the connection was open."""

    @property
    def victim(self) -> End:
        """The end that was hurt."""
        return self.story.end(self.failure.role)

    @property
    def gone(self) -> End:
        """The other end."""
        return self.story.other(self.failure.role)

    @property
    def exchange(self) -> Exchange:
        """Whose turn it was."""
        return self.failure.exchange

    @property
    def left(self) -> int | None:
        """When the other end left, or was shut down so that it received no more, in ns; None: it is not known."""
        shutdown = self.gone.ended_receiving
        times = [event.start for event in (self.release, shutdown) if event and event.start <= self.failure.event.end]
        return min(times, default=None)

    @property
    def died(self) -> bool:
        """Whether the other end went because its process ended."""
        return self.release is not None and has_died(self.release)

    @property
    def was_exit(self) -> bool:
        """Whether it went because its process ended, or a thread of that: it did not call close(2)."""
        return self.release is not None and bool(self.release.flags & DIED)

    @property
    def died_badly(self) -> bool:
        """Whether it did, by a signal or with a status that is not 0."""
        return self.died and self.release is not None and self.release.exit_code != 0

    @property
    def left_with_a_farewell(self) -> bool:
        """Whether the last thing the other end did before it left was to send no more than a farewell."""
        peer, left = self.exchange.peer, self.left
        last = next((event for event in reversed(self.last_of_gone) if event.start == peer.last), None)
        if left is None or last is None or last.operation != Operation.WRITE:
            return False
        return 0 < last.result <= FAREWELL and 0 <= left - last.start < IDLE

    @property
    def sent_its_last(self) -> int | None:
        """When the other end said that it sends no more, but goes on to read, in ns; None: it never did."""
        sending = self.gone.ended_sending
        return sending.start if sending is not None and sending.size == _SHUT_WR else None

    @property
    def asked_last(self) -> int:
        """When the other end began to send the end of its last turn, in ns; a farewell on its way out is no part."""
        peer = self.exchange.peer
        if self.left_with_a_farewell:
            for event in reversed(self.last_of_gone):
                if event.operation == Operation.WRITE and event.result > 0 and peer.start <= event.start < peer.last:
                    return event.start
        return peer.last

    @property
    def left_over_an_answer(self) -> bool:
        """Whether what the other end sent last was only a farewell, and it left with an earlier answer unread."""
        exchange = self.exchange
        earlier = exchange.owed_to_peer and exchange.victim.turns and self.unread
        return bool(earlier) and exchange.peer.bytes <= FAREWELL and self.left_with_a_farewell

    @property
    def last_of_gone(self) -> list[Event]:
        """The last operations of the other end; none is missing between two."""
        return _last_of(self.story, self.gone)


def _last_of(story: Story, end: End) -> list[Event]:
    """Return the last operations of an end, as far as none is missing between two."""
    told = [moment.event for moment in story.timeline if moment.role == end.role]
    return told[max((gap.after for gap in end.gaps), default=0) :]


def facts_of(story: Story, failure: Failure, lost: int) -> Facts:
    """Return what is to be known of a failure."""
    release = story.other(failure.role).release
    if release is not None and release.start > failure.event.end:
        release = None
    exchange = failure.exchange
    unread = release.unread_bytes if release else 0
    kept_unread = 0
    if _exact(story, lost):
        kept_unread = max(exchange.peer.written - exchange.victim.read, 0)
        # The queue is counted when the release begins. A write may still slip in before the kernel closes it, and a
        # very long queue is not counted to its end; what was written and not read is exact.
        unread = max(unread, exchange.victim.written - exchange.peer.read)
    return Facts(story, failure, release, unread, kept_unread, lost)


def judge_failure(story: Story, failure: Failure, *, lost: int = 0, first: Verdict | None = None) -> Verdict:
    """Return the verdict on an end's first failure.

    lost: how many records were lost while the connection was open, by any cause. first: the verdict on the failure of
    the other end, if that came before.
    """
    facts = facts_of(story, failure, lost)
    kind = _kind(facts)
    figures = _figures(facts, kind)
    consequence = _consequence(facts, kind)
    culprit = sentences.culprit(facts, kind)
    victim = process_of(failure.event)
    ends: dict[Role, Process | None] = {failure.role: victim, facts.gone.role: culprit}
    sentence = sentences.of_failure(kind, facts, figures)
    if first is not None:
        sentence += sentences.second(first)
    return Verdict(
        kind,
        failure.symptom,
        sentence,
        figures,
        consequence,
        failure.role,
        ends["client"],
        ends["server"],
        _doubts(facts, kind, consequence),
    )


def judge_latent(story: Story, *, lost: int = 0) -> Verdict:
    """Return the verdict on a connection that was closed with bytes unread, and on which nobody failed."""
    hangup = story.hangup
    assert hangup is not None, "both ends are released"
    gone, left = story.end(hangup.role), story.other(hangup.role)
    unread = hangup.event.unread_bytes
    if _exact(story, lost):
        unread = max(unread, left.written_bytes - gone.read_bytes)
    figures = Figures(
        sent_bytes=left.written_bytes,
        read_bytes=gone.read_bytes,
        unread_bytes=unread,
        unread_messages=hangup.event.unread_messages,
        answered_bytes=gone.written_bytes,
    )
    ends: dict[Role, Process | None] = {left.role: left.process, gone.role: sentences.released_by(gone)}
    return Verdict(
        Kind.LATENT,
        Symptom.NONE,
        sentences.of_latent(story, figures),
        figures,
        victim=left.role,
        client=ends["client"],
        server=ends["server"],
        doubts=(
            *_incomplete(story),
            *_overlapping(story),
            *_lost(lost),
            *_at_least(story, hangup.event, lost),
            *_exit_of_thread(hangup.event),
        ),
    )


def judge_connect(
    event: Event, path: str | None, *, known: bool = False, backlog: tuple[int, int] | None = None
) -> Verdict:
    """Return the verdict on a failed connect.

    known: whether somebody was seen listening on the path before. backlog: how many wait there of how many, if known.
    """
    error = -event.result
    # An abstract name goes with its listener, as a file does that is removed: unix_find_other() has another error for
    # it. A file that nobody listens behind is what a dead server has left.
    missing = errno.ECONNREFUSED if event.address.startswith(b"\0") else errno.ENOENT
    if error == missing:
        kind = Kind.LISTENER_GONE if known else Kind.CONNECT_FAILED
    elif error == errno.ECONNREFUSED:
        kind = Kind.REFUSED
    elif error == errno.EAGAIN:
        kind = Kind.BACKLOG_FULL
    elif error in (errno.EACCES, errno.EPERM):
        kind = Kind.NOT_PERMITTED
    else:
        kind = Kind.CONNECT_FAILED
    return Verdict(
        kind,
        Symptom.FAILED_CONNECT,
        sentences.of_connect(kind, event, path, backlog),
        victim="client",
        client=process_of(event),
    )


def _kind(facts: Facts) -> Kind:
    """Return the cause."""
    kind = _kind_of_shutdown(facts)
    if kind is not None:
        return kind
    release, exchange = facts.release, facts.exchange
    if release is None:
        return Kind.UNSEEN
    if release.flags & EventFlag.EMBRYO:
        return Kind.NEVER_ACCEPTED
    idle = _idle(facts)
    if facts.died and release.exit_code & 0x7F:
        return Kind.KILLED
    if facts.died and not idle:
        return Kind.EXITED
    if facts.unread or _reset(facts.failure):
        return Kind.GAVE_UP if exchange.requester == "peer" else Kind.UNREAD
    if idle:
        return Kind.REUSED
    if exchange.requester == "peer":
        return Kind.GAVE_UP
    return Kind.ANSWERED if exchange.answered else Kind.UNANSWERED


def _reset(failure: Failure) -> bool:
    """Whether the kernel said that bytes were unread, even if they came when they had been counted."""
    return failure.event.result == -errno.ECONNRESET or failure.symptom is Symptom.TOLD


def _idle(facts: Facts) -> bool:
    """Whether nothing was owed when the other end went: neither an answer nor the rest of one.

    It is asked of every failure. Whether a death that only the end of the stream tells of is a failure at all has been
    decided by then (`_died_idle`, story/endpoints.py), of the same silence.
    """
    exchange, release, left = facts.exchange, facts.release, facts.left
    if left is None or facts.unread or _reset(facts.failure) or exchange.asked or exchange.owed_to_peer:
        return False
    victim, peer = exchange.victim, exchange.peer
    if exchange.requester == "peer":
        # Silence alone tells the end of an answer from its middle, unless there was no room for more.
        silent = left - victim.last_end >= IDLE and not victim.held_up
        return bool(victim.turns) and peer.read >= victim.written and silent
    if not peer.turns:
        return not victim.turns and left - facts.story.start >= IDLE
    silence = left - peer.last_end
    broken = facts.failure.symptom is Symptom.BROKEN_WRITE
    if release and facts.died and release.exit_code:
        # After an earlier answer, or after one that was read and followed by a new request.
        had_been = peer.turns > 1 or (broken and victim.read >= peer.written)
        return had_been and exchange.silent_at_death(left, release.exit_code)
    # Answered and closed at once, it may be the rest of the request that fails: only time tells that from a new one.
    later = facts.failure.event.end - left
    return broken and victim.read >= peer.written and (silence >= IDLE or later >= IDLE)


def _kind_of_shutdown(facts: Facts) -> Kind | None:
    """Return whose shutdown(2) it was; None if none was the cause. What came first is the cause."""
    failure, release = facts.failure, facts.release
    before = release.start if release else failure.event.end
    own, theirs = facts.victim.ended_sending, facts.gone.ended_receiving
    own_first = own and own.start <= before and not (theirs and theirs.start < own.start)
    if failure.symptom is Symptom.BROKEN_WRITE and own_first:
        return Kind.OWN_SHUTDOWN
    if theirs and theirs.start <= before:
        return Kind.PEER_SHUTDOWN
    if release or failure.event.flags & EventFlag.PEER_DEAD:
        return None
    sending = facts.gone.ended_sending
    if failure.symptom is Symptom.CUT_READ and sending and sending.start <= before:
        return Kind.PEER_SHUTDOWN
    if failure.event.operation == Operation.WRITE and failure.event.result == -errno.EPIPE:
        # The peer lives, so there was a shutdown. Whose, the sockets do not tell: both ends have the same bits after
        # either (unix_shutdown()).
        return Kind.PEER_SHUTDOWN
    return None


def _exact(story: Story, lost: int) -> bool:
    """Whether every byte that was written and read has been recorded."""
    return story.complete and story.type == STREAM and not lost


def _figures(facts: Facts, kind: Kind) -> Figures:
    exchange, failed, release = facts.exchange, facts.failure.event, facts.release
    waited = None
    waits = not exchange.victim.turns or (exchange.owed_to_peer and not facts.left_over_an_answer)
    if release and exchange.requester == "peer" and waits:
        waited = release.start - (facts.asked_last if exchange.peer.turns else facts.story.start)
    return Figures(
        sent_bytes=exchange.victim.bytes,
        read_bytes=min(exchange.request_read, exchange.victim.bytes),
        unread_bytes=facts.unread,
        unread_messages=release.unread_messages if release else 0,
        answered_bytes=exchange.peer.bytes if exchange.answered and exchange.requester != "peer" else 0,
        failed_bytes=failed.size if failed.operation == Operation.WRITE else 0,
        # A shutdown's failure has no gap: what the peer did later, or not, did not bring it about.
        gap=failed.end - release.start
        if release and kind not in (Kind.OWN_SHUTDOWN, Kind.PEER_SHUTDOWN) and failed.operation != Operation.RELEASE
        else None,
        waited=waited,
        silence=_silence(facts, release) if release and kind in (Kind.REUSED, Kind.KILLED) and _idle(facts) else None,
    )


def _silence(facts: Facts, release: Event) -> int:
    """Return how long nothing had happened when the other end began to leave, in ns.

    What it did on its way out (a last message that nobody asked for, a shutdown) breaks no silence.
    """
    later, longest = release.start, 0
    for moment in reversed(facts.story.timeline):
        if moment.when >= release.start:
            continue
        longest = max(longest, later - moment.when)
        on_its_way = moment.event.operation in (Operation.WRITE, Operation.SHUTDOWN)
        if moment.role != facts.gone.role or not on_its_way:
            return longest
        later = moment.when
    return longest


def _consequence(facts: Facts, kind: Kind) -> Consequence:
    failure, exchange = facts.failure, facts.exchange
    afterwards = _afterwards(failure)
    answer: Answer | None = None
    lost = 0
    if exchange.requester != "peer" and exchange.answered:
        read = sum(event.result for event in failure.after if event.operation == Operation.READ and event.result > 0)
        lost = max(exchange.answer_left - read, 0)
        answer = "read in part" if exchange.answer_read + read else "never read"
        if not lost:
            # Of one who died over its answer nobody knows how much was to come.
            answer = None if kind in (Kind.KILLED, Kind.EXITED) and not _idle(facts) else "read in full"
    return Consequence(answer, lost, afterwards, _harmless(facts, kind, afterwards))


def _harmless(facts: Facts, kind: Kind, afterwards: Afterwards | None) -> bool:
    """Whether nobody misses what failed."""
    failure, exchange, release, left = facts.failure, facts.exchange, facts.release, facts.left
    said = _were_last_words(facts, afterwards) or _left_with_last_words(facts, kind)
    if said and failure.symptom is not Symptom.SHORT_WRITE and kind is not Kind.OWN_SHUTDOWN:
        return True
    if failure.symptom is Symptom.CUT_READ:
        return _was_taken_leave_of(facts, kind, afterwards)
    if left is None:
        return False
    if failure.symptom in (Symptom.RESET_READ, Symptom.TOLD):
        # Whoever asked misses its answer; a server misses nothing by it that its client left.
        only_looked = not exchange.peer.read and _only_looked(facts, kind, left)
        return only_looked or bool(_left_unasked(facts, kind, release))
    if failure.symptom is not Symptom.BROKEN_WRITE or kind not in _MAY_BE_HARMLESS:
        return False
    last_word = failure.event.size <= FAREWELL
    if exchange.requester == "peer":
        # The client left. It asked for nothing and did not wait, or it had all it had asked for.
        if not exchange.peer.turns:
            return _only_looked(facts, kind, left)
        had_all = not (exchange.owed_to_peer or facts.unread) and exchange.peer.read >= exchange.victim.written
        had_enough = _left_having_read(facts, kind) and failure.event.size <= LAST_WORDS
        return _idle(facts) or (had_all and (last_word or had_enough)) or bool(_left_unasked(facts, kind, release))
    # The server left. The client had its answer, had no more than a farewell to say, and was leaving itself.
    left_all_read = not (facts.died_badly or facts.unread)
    went_well = kind is Kind.ANSWERED or (kind in (Kind.EXITED, Kind.PEER_SHUTDOWN) and left_all_read)
    had_answer = went_well and exchange.answered and exchange.victim.read >= exchange.peer.written
    one_more = _goes_on(facts, failure.event.size, failure.event.start)
    takes_leave = last_word and not one_more and (_has_left(afterwards) or afterwards == "killed")
    return takes_leave and (_idle(facts) or had_answer)


def _goes_on(facts: Facts, size: int, since: int) -> bool:
    """Whether the one that was hurt had sent several requests of that very size, one behind the other.

    since: when it sent what failed, or what had no answer, in ns. That is one more of them then, and no farewell; but
    on an idle connection nothing tells the two apart, and farewells are what is often lost there.
    """
    if _idle(facts):
        return False
    ours = [event for event in _last_of(facts.story, facts.victim) if event.start < since and event.result > 0]
    transfers = [event for event in ours if event.operation in (Operation.READ, Operation.WRITE)]
    # What it has read since is the answer to the first ones of them.
    runs = [list(run) for writes, run in groupby(transfers, lambda event: event.operation == Operation.WRITE) if writes]
    return bool(runs) and len(runs[-1]) > 1 and all(event.result == size for event in runs[-1])


def _has_left(afterwards: Afterwards | None) -> bool:
    """Whether the one that was hurt closed or exited; one that connects again has closed before."""
    return afterwards in ("closed", "exited", "connected again")


def _was_taken_leave_of(facts: Facts, kind: Kind, afterwards: Afterwards | None) -> bool:
    """Whether what had no answer was a farewell: a few bytes after an earlier exchange, at which the other left."""
    exchange, left = facts.exchange, facts.left
    if kind is Kind.PEER_SHUTDOWN:
        shutdown = sentences.peer_shutdown(facts.gone, facts.failure.event, facts.failure.symptom)
        left = shutdown.start if shutdown else None
    said = exchange.victim
    if left is None or said.bytes > FAREWELL or _goes_on(facts, said.bytes, said.start) or not _has_left(afterwards):
        return False
    well = kind in (Kind.UNANSWERED, Kind.EXITED, Kind.PEER_SHUTDOWN) and not facts.died_badly
    had_all = exchange.peer.turns and exchange.victim.read >= exchange.peer.written
    return well and bool(had_all) and not facts.unread and left - exchange.victim.last < IDLE


def _were_last_words(facts: Facts, afterwards: Afterwards | None) -> bool:
    """Whether nothing but a few bytes was lost, said to one that ended sending, by one that had read all of that.

    No answer can come to them, and who then leaves wants none: TLS's close_notify is answered by another one. They may
    be on their way when the other end says so, but not be why it does. That had said as few words behind its answer: a
    next request to one that only shuts down is lost.
    """
    exchange, failed, ended = facts.exchange, facts.failure.event, facts.sent_its_last
    if exchange.requester == "peer" or ended is None or afterwards not in ("closed", "exited"):
        return False
    victim, peer = exchange.victim, exchange.peer
    begun, words = (victim.start, victim.bytes) if exchange.asked else (failed.start, 0)
    if facts.failure.symptom is Symptom.BROKEN_WRITE:
        words += failed.size
    if _goes_on(facts, words, begun):
        return False
    at_once = abs(begun - ended) < IDLE and not _had_read(facts, begun, ended)
    theirs = [event.result for event in _writes(facts.last_of_gone) if event.start <= ended]
    took_leave = bool(theirs) and theirs[-1] <= LAST_WORDS and theirs[-1] < peer.bytes
    # It had asked before, and what it read was an answer.
    had_all = victim.turns > exchange.asked and bool(peer.turns) and victim.read >= peer.written
    return at_once and took_leave and had_all and not facts.died_badly and facts.unread <= words <= LAST_WORDS


def _writes(events: Sequence[Event]) -> list[Event]:
    """Return those that sent something."""
    return [event for event in events if event.operation == Operation.WRITE and event.result > 0]


def _had_read(facts: Facts, since: int, until: int) -> bool:
    """Whether the other end had read anything between two times, in ns."""
    return any(
        moment.role == facts.gone.role and moment.event.operation == Operation.READ and moment.event.result > 0
        for moment in facts.story.timeline
        if since <= moment.event.end <= until
    )


def _left_with_last_words(facts: Facts, kind: Kind) -> bool:
    """Whether a client said a few bytes after its last answer, then that it sends no more, and left at once.

    It did not try to read after that. What the server said to that, and no more, may have been left unread.
    """
    exchange, ended, left = facts.exchange, facts.sent_its_last, facts.left
    if kind is not Kind.GAVE_UP or ended is None or left is None or facts.was_exit:
        return False
    victim, peer = exchange.victim, exchange.peer
    if any(event.operation == Operation.READ and peer.last < event.end <= left for event in facts.last_of_gone):
        return False
    if peer.turns < 2 or peer.bytes > LAST_WORDS or not peer.last <= ended <= left < peer.last + IDLE:
        return False
    said = 0 if exchange.owed_to_peer else victim.bytes
    lost = facts.unread + (facts.failure.event.size if facts.failure.symptom is Symptom.BROKEN_WRITE else 0)
    return peer.read >= victim.written - said and facts.unread <= said and lost <= LAST_WORDS


def _only_looked(facts: Facts, kind: Kind, left: int) -> bool:
    """Whether a client connected, asked for nothing and left at once, as health checks do."""
    exchange = facts.exchange
    asked = exchange.requester != "peer" or exchange.peer.turns
    return kind in _MAY_BE_HARMLESS and not (asked or facts.was_exit) and left - facts.story.start < IDLE


def _left_having_read(facts: Facts, kind: Kind) -> bool:
    """Whether a client closed, or exited well, at once when it had read its answer, which till then was one write.

    Of what comes in parts nobody knows whether the next one was wanted.
    """
    left = facts.left
    if kind not in (Kind.GAVE_UP, Kind.EXITED) or facts.died_badly or left is None or not facts.exchange.victim.turns:
        return False
    before = [
        moment.event
        for moment in facts.story.timeline
        if moment.role == facts.gone.role
        and moment.event.operation in (Operation.READ, Operation.WRITE)
        and moment.event.end <= left
    ]
    last = max(before, key=lambda event: event.end, default=None)
    turn = [
        event for event in _writes(_last_of(facts.story, facts.victim)) if event.start >= facts.exchange.victim.start
    ]
    read_at_once = last is not None and last.operation == Operation.READ and last.result > 0 and left - last.end < IDLE
    return read_at_once and len(turn) == 1


def _left_unasked(facts: Facts, kind: Kind, release: Event | None) -> bool | None:
    """Whether a client left nothing unread but what the server had sent on its own account, after a silence.

    None: when the server sent that is not kept. A moment later it would have been a broken write to a client that had
    all it was owed.
    """
    exchange, peer = facts.exchange, facts.exchange.peer
    if kind is not Kind.GAVE_UP or release is None or facts.was_exit:
        return False
    if not (exchange.victim.turns and peer.turns) or exchange.owed_to_peer or exchange.victim.read < peer.written:
        return False
    ours = [moment.event for moment in facts.story.timeline if moment.role == facts.victim.role]
    # Nothing that it sent is missing but between two of these: of that the sum is known.
    before_gap = min((gap.after for gap in facts.victim.gaps), default=0)
    not_kept = exchange.victim.written - sum(event.result for event in _writes(ours))
    left = facts.unread
    later: Event | None = None
    for number, event in reversed([*enumerate(ours, 1)]):
        if number == before_gap:
            left -= not_kept
            if left <= 0:
                # What was left began there, or its answer ended there.
                return None
        if event.operation != Operation.WRITE or event.start >= release.start:
            continue
        if later is not None and not left:
            # This was its answer, unless there was no room for more of it.
            went_on = event.result < event.size
            return not went_on and later.start - max(event.end, peer.last_end) >= IDLE
        left -= max(event.result, 0)
        if left < 0 or event.result <= 0:
            return False
        later = event
    return False


def _afterwards(failure: Failure) -> Afterwards | None:
    if failure.reconnect:
        return "connected again"
    operations = [failure.event, *failure.after] if failure.event.operation == Operation.RELEASE else failure.after
    release = next((event for event in operations if event.operation == Operation.RELEASE), None)
    if release is None:
        return "went on" if operations else None
    if not has_died(release):
        return "closed"
    number = release.exit_code & 0x7F
    if not number:
        return "exited"
    return "killed by SIGPIPE" if number == _SIGPIPE else "killed"


def _doubts(facts: Facts, kind: Kind, consequence: Consequence) -> tuple[str, ...]:
    doubts = [*_incomplete(facts.story), *_overlapping(facts.story), *_guessed(facts.story), *_lost(facts.lost)]
    if facts.release:
        doubts += [*_at_least(facts.story, facts.release, facts.lost), *_exit_of_thread(facts.release)]
    if facts.story.type == SEQPACKET and facts.failure.symptom is Symptom.CUT_READ:
        # unix_dgram_sendmsg() sends it; what unix_seqpacket_recvmsg() returns is 0 for both.
        doubts.append("what was read may have been an empty message, and an answer")
    if kind is Kind.UNSEEN:
        doubts.append("how the other end went was not recorded")
    elif kind is Kind.PEER_SHUTDOWN and not sentences.peer_shutdown(
        facts.gone, facts.failure.event, facts.failure.symptom
    ):
        doubts.append("the shutdown was not recorded: it may have been the process's own")
    elif kind in (Kind.PEER_SHUTDOWN, Kind.OWN_SHUTDOWN) and (
        facts.story.client.shutdown_not_kept or facts.story.server.shutdown_not_kept
    ):
        doubts.append("an earlier shutdown is not kept: that may have been it")
    elif not consequence.harmless and _left_unasked(facts, kind, facts.release) is None:
        doubts.append("what was left unread may have been sent unasked: when it was sent is not kept")
    elif (
        kind in (Kind.KILLED, Kind.EXITED)
        and facts.failure.symptom is Symptom.CUT_READ
        and facts.exchange.answered
        and not facts.unread
    ):
        doubts.append("sockets do not tell whether the answer was whole")
    return tuple(doubts)


def _incomplete(story: Story) -> tuple[str, ...]:
    if story.complete:
        return ()
    return ("its beginning was not recorded: the connection is older than hangup, or a record was lost",)


def _overlapping(story: Story) -> tuple[str, ...]:
    if not story.overlapping:
        return ()
    return ("two operations of one end ended in the same instant: one of them is only counted",)


def _guessed(story: Story) -> tuple[str, ...]:
    if not story.guessed:
        return ()
    return ("a write may have been read before it ended, and not all is kept: whose turn it was is a guess",)


def _lost(lost: int) -> tuple[str, ...]:
    if not lost:
        return ()
    return (f"{'1 record was' if lost == 1 else f'{lost} records were'} lost while it was open",)


def _at_least(story: Story, release: Event, lost: int) -> tuple[str, ...]:
    if release.flags & EventFlag.UNREAD_AT_LEAST and not _exact(story, lost):
        return ("more bytes were unread than were counted",)
    return ()


def _exit_of_thread(release: Event) -> tuple[str, ...]:
    if has_died(release) and is_exit_of_thread(release):
        return ("it was a thread that exited: its process may have gone on",)
    return ()
