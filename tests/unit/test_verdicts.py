"""Every verdict by a minimal story; what it says, the figures it rests on, and when it doubts."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hangup.tracer.record import Event, EventFlag, Operation
from hangup.tracer.story.connection import Connection
from hangup.tracer.story.endpoints import Concluded, ConnectFailed, Endpoints, Failed
from hangup.tracer.verdicts import Kind, Verdict, _duration, judge_conclusion, judge_connect, judge_failure
from tests import stories
from tests.stories import MICROSECOND, SEQPACKET, SHUT_RD, SHUT_RDWR, SHUT_WR, UWSGI, Story, Task, established


def verdicts(events: list[Event], *, lost_before: int = 0, lost: int = 0) -> list[Verdict]:
    """Return the verdicts on a story, in their order."""
    judged = []
    for occurrence in Endpoints(losses=lambda: lost_before).feed(events):
        if isinstance(occurrence, Failed):
            judged.append(judge_failure(occurrence.endpoint, occurrence.event, losses=lost))
        elif isinstance(occurrence, ConnectFailed):
            judged.append(judge_connect(occurrence.event, occurrence.path))
        elif isinstance(occurrence, Concluded) and occurrence.connection.failed is None:
            judged.append(judge_conclusion(occurrence.connection, losses=lost))
    return judged


def verdict(story: Story, *, lost_before: int = 0, lost: int = 0) -> Verdict:
    (judged,) = verdicts(story.events, lost_before=lost_before, lost=lost)
    return judged


def unread_write() -> Story:
    story = established()
    story.client.write(300)
    story.server.read(100)
    story.server.release()
    story.wait(79 * MICROSECOND)
    story.client.write(8, error=errno.EPIPE)
    return story


def unread_read() -> Story:
    story = established()
    story.client.write(300)
    story.server.write(20)
    story.server.release()
    story.client.read(20)
    story.client.read(error=errno.ECONNRESET)
    return story


def unread_by_the_client() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(1)
    story.client.release()
    story.server.write(5, error=errno.EPIPE)
    return story


def reset_without_a_count() -> Story:
    """Tell of a write that came between the count and the end of the release."""
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.release()
    story.client.read(error=errno.ECONNRESET)
    return story


def unanswered() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    return story


def exited() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.release(exit_status=3)
    story.client.write(8, error=errno.EPIPE)
    return story


def killed() -> Story:
    story = established()
    story.client.write(300)
    story.server.read(100)
    story.server.release(killed_by=signal.SIGSEGV)
    story.client.write(8, error=errno.EPIPE)
    return story


def killed_with_a_core() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(2)
    story.server.release(killed_by=signal.SIGABRT | 0x80)
    story.client.write(8, error=errno.EPIPE)
    return story


def never_accepted() -> Story:
    story = Story()
    story.connect()
    story.client.write(300)
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.read(error=errno.ECONNRESET)
    return story


def own_shutdown() -> Story:
    story = established()
    story.client.write(300)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    return story


def own_shutdown_after_the_other_direction() -> Story:
    story = established()
    story.client.shutdown(SHUT_RD)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    return story


def own_shutdown_before_the_hangup() -> Story:
    story = established()
    story.client.shutdown(SHUT_RDWR)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    return story


def peer_shutdown() -> Story:
    story = established()
    story.server.shutdown(SHUT_RD)
    story.client.write(8, error=errno.EPIPE)
    return story


def peer_shutdown_then_hangup() -> Story:
    story = established()
    story.server.shutdown(SHUT_RDWR)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    return story


def peer_shutdown_before_our_own() -> Story:
    story = established()
    story.server.shutdown(SHUT_RD)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    return story


def own_shutdown_after_the_hangup() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.release()
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    return story


def peer_s_other_shutdown() -> Story:
    """Tell of the usual lingering close: the peer ends sending, then hangs up."""
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(5)
    story.server.shutdown(SHUT_WR)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    return story


def unseen() -> Story:
    story = Story(older=True)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.events.pop(0)
    return story


def refused() -> Story:
    story = Story()
    story.connect(error=errno.ECONNREFUSED)
    return story


def backlog_full() -> Story:
    story = Story(path=b"\0app")
    story.connect(error=errno.EAGAIN)
    return story


def connect_failed() -> Story:
    story = Story(path="/run/\x1b[2Jgone")
    story.connect(error=errno.ENOENT)
    return story


def heir() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(5)
    story.server.release(by=Task("helper", 900), exit_status=0)
    story.client.write(8, error=errno.EPIPE)
    return story


def heir_that_closes() -> Story:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(5)
    story.server.release(by=Task("helper", 900))
    story.client.write(8, error=errno.EPIPE)
    return story


@dataclass
class Case:
    """A story and what is to be said of it."""

    story: Callable[[], Story]
    kind: Kind
    sentence: str


CASES = [
    Case(
        stories.seeds_failure,
        Kind.ANSWERED,
        "uwsgi[815] read 723 bytes, answered 94 bytes and hung up; "
        "89 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        unread_write,
        Kind.UNREAD,
        "uwsgi[815] hung up with 200 bytes unread; 99 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        unread_read,
        Kind.UNREAD,
        "uwsgi[815] hung up with 300 bytes unread, 20 bytes answered; "
        "30 µs later httpd[4711]'s read failed with ECONNRESET",
    ),
    Case(
        unread_by_the_client,
        Kind.UNREAD,
        "httpd[4711] hung up with 1 byte unread, 300 bytes answered; "
        "20 µs later uwsgi[815]'s write of 5 bytes failed with EPIPE",
    ),
    Case(
        reset_without_a_count,
        Kind.UNREAD,
        "uwsgi[815] hung up while more came in; 20 µs later httpd[4711]'s read failed with ECONNRESET",
    ),
    Case(
        unanswered,
        Kind.UNANSWERED,
        "uwsgi[815] hung up without an answer; 20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        exited,
        Kind.EXITED,
        "uwsgi[815] exited with status 3 without an answer; "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        killed,
        Kind.KILLED,
        "uwsgi[815] was killed by SIGSEGV with 200 bytes unread; "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        killed_with_a_core,
        Kind.KILLED,
        "uwsgi[815] read 300 bytes, answered 2 bytes and was killed by SIGABRT; "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        never_accepted,
        Kind.NEVER_ACCEPTED,
        "uwsgi[815] closed the listener without accepting; 20 µs later httpd[4711]'s read failed with ECONNRESET",
    ),
    *(
        Case(
            story,
            Kind.OWN_SHUTDOWN,
            "httpd[4711] had ended sending itself (shutdown); its write of 8 bytes failed with EPIPE",
        )
        for story in (own_shutdown, own_shutdown_after_the_other_direction, own_shutdown_before_the_hangup)
    ),
    *(
        Case(
            story,
            Kind.PEER_SHUTDOWN,
            "uwsgi[815] had ended receiving (shutdown); httpd[4711]'s write of 8 bytes failed with EPIPE",
        )
        for story in (peer_shutdown, peer_shutdown_then_hangup, peer_shutdown_before_our_own)
    ),
    Case(
        own_shutdown_after_the_hangup,
        Kind.UNANSWERED,
        "uwsgi[815] hung up without an answer; 30 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        peer_s_other_shutdown,
        Kind.ANSWERED,
        "uwsgi[815] read 300 bytes, answered 5 bytes and hung up; "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        heir,
        Kind.EXITED,
        "uwsgi[815] read 300 bytes, answered 5 bytes; helper[900] exited with status 0 "
        "(it held the last descriptor of what uwsgi[815] used); "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        heir_that_closes,
        Kind.ANSWERED,
        "uwsgi[815] read 300 bytes, answered 5 bytes; helper[900] hung up "
        "(it held the last descriptor of what uwsgi[815] used); "
        "20 µs later httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(
        unseen,
        Kind.UNSEEN,
        "an unknown server had hung up unseen; httpd[4711]'s write of 8 bytes failed with EPIPE",
    ),
    Case(refused, Kind.REFUSED, "nobody listens on /run/app.s: it refused httpd[4711]"),
    Case(backlog_full, Kind.BACKLOG_FULL, "the backlog of @app was full: it turned httpd[4711] away"),
    Case(connect_failed, Kind.CONNECT_FAILED, r"httpd[4711] could not connect to /run/\x1b[2Jgone (ENOENT)"),
    Case(
        stories.latent,
        Kind.LATENT,
        "uwsgi[815] hung up with 2000 bytes from httpd[4711] unread, 120 bytes answered; nobody failed this time",
    ),
    Case(stories.clean, Kind.CLEAN, "hung up with nothing unread"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story.__name__)
def test_a_story_has_its_verdict(case: Case) -> None:
    story = case.story()
    # Whose peer is nameless is told by what nobody has seen of it.
    if case.kind is Kind.UNSEEN:
        story.events = [event._replace(peer_pid=0) for event in story.events]
    judged = verdict(story)
    assert (judged.kind, judged.sentence) == (case.kind, case.sentence)


def test_every_verdict_has_a_story() -> None:
    assert {case.kind for case in CASES} == set(Kind)


def test_what_fails_is_an_alert_and_what_passes_is_not() -> None:
    assert [kind for kind in Kind if not kind.is_alert] == [Kind.CONNECT_FAILED, Kind.LATENT, Kind.CLEAN]
    assert all(kind.meaning.endswith((".", "for.")) for kind in Kind)
    assert [kind.value for kind in Kind] == [kind.label for kind in Kind]


def test_the_figures_of_the_seeds_failure() -> None:
    figures = verdict(stories.seeds_failure()).figures
    assert (figures.sent_bytes, figures.read_bytes, figures.unread_bytes) == (723, 723, 0)
    assert (figures.answered_bytes, figures.failed_bytes) == (94, 8)
    assert figures.gap == 89 * MICROSECOND


def test_a_failure_is_certain_when_all_of_it_was_recorded() -> None:
    for case in CASES:
        if case.kind is not Kind.UNSEEN:
            assert verdict(case.story(), lost_before=5, lost=5).certain


# ---- unread bytes: what the kernel counted, and what was written and not read


def hung_up(story: Story, *, counted: int, flags: int = 0) -> Story:
    story.client.write(300)
    story.server.read(100)
    story.server.release(unread_bytes=counted, flags=flags)
    story.client.write(8, error=errno.EPIPE)
    return story


@pytest.mark.parametrize(("counted", "expected"), [(0, 200), (200, 200), (201, 201)])
def test_unread_is_what_was_counted_or_what_was_written_and_not_read(counted: int, expected: int) -> None:
    assert verdict(hung_up(established(), counted=counted)).figures.unread_bytes == expected


def test_unread_is_what_was_counted_when_a_read_may_have_been_lost() -> None:
    judged = verdict(hung_up(established(), counted=0), lost=1)
    assert judged.figures.unread_bytes == 0
    assert judged.kind is Kind.UNANSWERED


def test_unread_is_what_was_counted_when_the_connection_is_older_than_the_tracer() -> None:
    assert verdict(hung_up(Story(older=True), counted=150)).figures.unread_bytes == 150


def test_unread_is_what_was_counted_of_messages_for_their_ends_may_be_cut_off() -> None:
    assert verdict(hung_up(established(type=SEQPACKET), counted=0)).figures.unread_bytes == 0


def test_a_latent_hangup_is_one_whoever_hangs_up() -> None:
    story = established()
    story.server.write(50)
    story.client.release()
    story.server.release()
    judged = verdict(story)
    assert judged.kind is Kind.LATENT
    assert judged.sentence == "httpd[4711] hung up with 50 bytes from uwsgi[815] unread; nobody failed this time"


def test_what_the_survivor_leaves_unread_is_no_hangup() -> None:
    story = established()
    story.client.write(50)
    story.client.release()
    story.server.release()
    assert verdict(story).kind is Kind.CLEAN


# ---- doubts


def test_losses_while_the_connection_was_open_are_a_doubt() -> None:
    assert verdict(stories.clean(), lost_before=2, lost=3).doubts == ("1 record was lost while it was open",)
    assert verdict(unread_write(), lost_before=2, lost=4).doubts == ("2 records were lost while it was open",)


def test_a_connection_without_its_beginning_is_a_doubt() -> None:
    (judged,) = verdicts(stories.clean(older=True).events[2:])
    assert judged.doubts == (
        "its beginning was not recorded: the connection is older than the tracer, or a record was lost",
    )
    assert not judged.certain


def test_an_unseen_hangup_is_a_doubt() -> None:
    assert verdict(unseen()).doubts[-1] == "the hang-up was not recorded"


def test_an_unseen_shutdown_is_a_doubt_for_both_ends_look_the_same_after_either() -> None:
    for shutter in ("client", "server"):
        story = established()
        getattr(story, shutter).shutdown(SHUT_WR if shutter == "client" else SHUT_RD)
        story.client.write(8, error=errno.EPIPE)
        story.events = [event for event in story.events if event.operation != Operation.SHUTDOWN]
        judged = verdict(story)
        assert judged.kind is Kind.PEER_SHUTDOWN
        assert judged.doubts == ("the shutdown was not recorded: it may have been the process's own",)


def test_a_queue_that_was_not_counted_to_its_end_is_a_doubt_unless_all_was_recorded() -> None:
    flag = int(EventFlag.UNREAD_AT_LEAST)
    assert verdict(hung_up(established(), counted=150, flags=flag)).certain
    judged = verdict(hung_up(Story(older=True), counted=150, flags=flag))
    assert judged.doubts[-1] == "more bytes were unread than were counted"


def test_a_shutdown_has_no_gap() -> None:
    for story in (own_shutdown_before_the_hangup(), peer_shutdown_then_hangup()):
        assert verdict(story).figures.gap is None


def test_names_cannot_forge_a_sentence() -> None:
    story = established(server=Task("uw\x1b[31m\n", UWSGI.pid))
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    sentence = verdict(story).sentence
    assert sentence.isprintable()
    assert sentence.startswith(r"uw\x1b[31m\x0a[815] hung up")


def test_a_connection_that_is_not_over_is_not_misjudged() -> None:
    assert judge_conclusion(Connection(1, 2, 1)).kind is Kind.CLEAN


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (89_000, "89 µs"),
        (999_999, "1 ms"),
        (1_250_000, "1.25 ms"),
        (3_100_000_000, "3.1 s"),
        (4_000_000_000_000, "4000 s"),
    ],
)
def test_times_are_in_the_unit_that_suits_them(nanoseconds: int, text: str) -> None:
    assert _duration(nanoseconds) == text
