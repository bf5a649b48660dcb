"""Every verdict by a minimal story: the same cause gives the same verdict, whatever the symptom, whoever is hurt."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import MSG_DONTWAIT, Event, EventFlag, Loss, Sender, SenderFlag, pack, pack_sender
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind, Verdict
from hangup.tracer.verdicts.rules import judge_connect
from tests import stories
from tests.stories import (
    MILLISECOND,
    SEQPACKET,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    UWSGI,
    End,
    Story,
    Task,
    established,
)
from tests.unit.both_ways import assert_both_ways_agree
from tests.unit.sources import Records, lost_records

SECOND = 1000 * MILLISECOND
MASTER = Task("uwsgi", 800, uid=998)
KWORKER = Task("kworker/1:0", 44, uid=0)


def source_of(events: Sequence[Event], lost: Sequence[LostPeriod] = ()) -> Records:
    """Return a source of records that are there already."""
    return Records([*lost_records(lost), *map(pack, events)])


def alerts(story: Story, *, lost: Sequence[LostPeriod] = (), starts: bool = True) -> list[Alert]:
    """Return everything that is concluded of a story, latent and harmless included; the recorder must agree.

    starts: also where it does not know when an operation began.
    """
    assert_both_ways_agree(story.events, lost=lost, starts=starts)
    with Tracer(source=source_of(story.events, lost), latent=True, harmless=True) as tracer:
        return list(tracer.alerts())


def verdict(story: Story, *, lost: Sequence[LostPeriod] = (), starts: bool = True) -> Verdict:
    """Return the only verdict on a story."""
    (alert,) = alerts(story, lost=lost, starts=starts)
    return alert.verdict


def signalled(number: int, by: Task = MASTER, flags: int = 0, when: int = 0) -> bytes:
    """Return what a release carries of a signal."""
    return pack_sender(Sender(when, number, 0, by.pid, by.pid, by.uid, flags, by.comm.encode().ljust(16, b"\0")))


# ---- how the one that leaves goes; the other end has not noticed yet

Leave = Callable[[Story, End], object]


def killed(_story: Story, gone: End) -> None:
    gone.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL))


def exited(_story: Story, gone: End) -> None:
    gone.release(exit_status=7)


def closed(_story: Story, gone: End) -> None:
    gone.release()


def shut_down(story: Story, gone: End) -> None:
    gone.shutdown(SHUT_RDWR)
    story.wait(MILLISECOND)
    gone.release()


# ---- where the conversation stands when it goes


def request_read(story: Story) -> None:
    story.client.write(300)
    story.server.read()


def request_unread(story: Story) -> None:
    story.client.write(300)
    story.server.read(100)


def answer_begun(story: Story) -> None:
    request_read(story)
    story.server.write(120)


def answer_unread(story: Story) -> None:
    """Let the client leave in the middle of an answer."""
    request_read(story)
    story.server.write(120)
    story.client.read(20)


def idle(story: Story) -> None:
    """Let two requests be answered, and nothing happen after that."""
    for _ in range(2):
        request_read(story)
        story.server.write(120)
        story.client.read()
    story.wait(SECOND)


# ---- what the survivor meets


def broken_write(survivor: End) -> None:
    survivor.write(30, error=errno.EPIPE)


def reset_read(survivor: End) -> None:
    survivor.read(error=errno.ECONNRESET)


def cut_read(survivor: End) -> None:
    survivor.read(sum(survivor.queue))
    survivor.read(0)


def told(survivor: End) -> None:
    """Let an event loop ask for the error and close: nothing is pending any more."""
    survivor.release(size=0)


SYMPTOMS: dict[Symptom, Callable[[End], None]] = {
    Symptom.BROKEN_WRITE: broken_write,
    Symptom.RESET_READ: reset_read,
    Symptom.CUT_READ: cut_read,
    Symptom.TOLD: told,
}
# The kernel gives an ECONNRESET exactly where bytes were unread, and no end of stream then.
RESET = (Symptom.BROKEN_WRITE, Symptom.RESET_READ, Symptom.TOLD)
QUIET = (Symptom.BROKEN_WRITE, Symptom.CUT_READ)

CAUSES: tuple[tuple[Kind, str, Callable[[Story], None], Leave, tuple[Symptom, ...]], ...] = (
    (Kind.KILLED, "server", request_read, killed, QUIET),
    (Kind.KILLED, "server", request_unread, killed, RESET),
    (Kind.KILLED, "server", answer_begun, killed, QUIET),
    (Kind.KILLED, "server", idle, killed, (Symptom.BROKEN_WRITE,)),
    (Kind.KILLED, "client", request_read, killed, (Symptom.BROKEN_WRITE,)),
    (Kind.KILLED, "client", answer_unread, killed, RESET),
    (Kind.EXITED, "server", request_read, exited, QUIET),
    (Kind.EXITED, "server", request_unread, exited, RESET),
    (Kind.EXITED, "server", answer_begun, exited, QUIET),
    (Kind.EXITED, "client", request_read, exited, (Symptom.BROKEN_WRITE,)),
    (Kind.EXITED, "client", answer_unread, exited, RESET),
    (Kind.UNANSWERED, "server", request_read, closed, QUIET),
    (Kind.UNREAD, "server", request_unread, closed, RESET),
    (Kind.ANSWERED, "server", answer_begun, closed, (Symptom.BROKEN_WRITE,)),
    (Kind.GAVE_UP, "client", request_read, closed, (Symptom.BROKEN_WRITE,)),
    (Kind.GAVE_UP, "client", answer_unread, closed, RESET),
    (Kind.REUSED, "server", idle, closed, (Symptom.BROKEN_WRITE,)),
    (Kind.REUSED, "server", idle, exited, (Symptom.BROKEN_WRITE,)),
    (Kind.REUSED, "client", idle, closed, (Symptom.BROKEN_WRITE,)),
    (Kind.PEER_SHUTDOWN, "server", request_unread, shut_down, RESET),
    (Kind.PEER_SHUTDOWN, "server", answer_begun, shut_down, (Symptom.BROKEN_WRITE,)),
    (Kind.PEER_SHUTDOWN, "client", answer_unread, shut_down, RESET),
)

TABLE = [
    pytest.param(
        kind, gone, standing, leave, symptom, id=f"{gone} {leave.__name__}, {standing.__name__}, {symptom.value}"
    )
    for kind, gone, standing, leave, symptoms in CAUSES
    for symptom in symptoms
]


@pytest.mark.parametrize(("kind", "gone", "standing", "leave", "symptom"), TABLE)
def test_the_same_cause_gives_the_same_verdict_whatever_the_symptom(
    kind: Kind, gone: str, standing: Callable[[Story], None], leave: Leave, symptom: Symptom
) -> None:
    story = established()
    standing(story)
    leaver = story.server if gone == "server" else story.client
    survivor = leaver.other
    leave(story, leaver)
    story.wait(5 * MILLISECOND)
    SYMPTOMS[symptom](survivor)
    if not survivor.dead:
        survivor.release()
    (alert,) = alerts(story)
    judged = alert.verdict
    assert (judged.kind, judged.symptom) == (kind, symptom)
    assert judged.victim == ("client" if gone == "server" else "server")
    # Both sides of the exchange stand in the sentence, and the alert names whom the sentence names.
    for process in (alert.client, alert.server):
        assert process is not None
        assert f"{process.comm}[{process.pid}]" in judged.sentence


@pytest.mark.parametrize(
    ("standing", "leave"), [(answer_begun, closed), (idle, closed), (idle, exited), (idle, killed)]
)
def test_a_connection_on_which_nothing_is_owed_may_be_closed(standing: Callable[[Story], None], leave: Leave) -> None:
    story = established()
    standing(story)
    leave(story, story.server)
    story.client.read(sum(story.client.queue))
    story.client.read(0)
    story.client.release()
    assert alerts(story) == []


def test_a_client_that_closes_when_it_has_its_answer_owes_the_server_nothing() -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    story.client.release()
    story.server.read(0)
    story.server.release()
    assert alerts(story) == []


def test_a_server_that_exits_well_after_its_answer_is_how_some_end() -> None:
    story = established()
    answer_begun(story)
    story.server.release(exit_status=0)
    story.client.read()
    story.client.read(0)
    story.client.release()
    assert alerts(story) == []


@pytest.mark.parametrize("how", [{"exit_status": 1}, {"killed_by": signal.SIGTERM}])
def test_how_a_process_went_that_only_inherited_the_connection_says_nothing_about_the_answer(
    how: dict[str, int],
) -> None:
    story = established()
    answer_begun(story)
    story.server.release(by=Task("sleep", 901), **how)
    story.client.read()
    story.client.read(0)
    story.client.release()
    assert alerts(story) == []


@pytest.mark.parametrize("how", [SHUT_WR, SHUT_RDWR])
@pytest.mark.parametrize("leave", [killed, exited])
def test_how_a_process_went_that_had_ended_its_answer_says_nothing_about_that(how: int, leave: Leave) -> None:
    story = established()
    answer_begun(story)
    story.server.shutdown(how)
    leave(story, story.server)
    story.client.read(sum(story.client.queue))
    story.client.read(0)
    story.client.release()
    assert alerts(story) == []


def test_a_process_that_only_inherited_the_connection_still_owes_what_nobody_answered() -> None:
    story = established()
    request_read(story)
    story.server.release(by=Task("sleep", 901), exit_status=1)
    story.client.read(0)
    assert verdict(story).kind is Kind.EXITED


def test_a_farewell_to_a_server_that_has_answered_and_exited_well_is_harmless() -> None:
    harmless = {}
    for status in (0, 1):
        story = established()
        answer_begun(story)
        story.client.read()
        story.server.release(exit_status=status)
        story.client.write(5, error=errno.EPIPE)
        story.client.release()
        harmless[status] = verdict(story).consequence.harmless
    assert harmless == {0: True, 1: False}


@pytest.mark.parametrize(
    ("standing", "said"), [(answer_begun, "after it had sent 120 bytes"), (lambda _story: None, "before anything")]
)
def test_who_sent_the_signal_is_not_read_as_who_had_sent_the_bytes(
    standing: Callable[[Story], None], said: str
) -> None:
    story = established()
    standing(story)
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL))
    story.client.write(30, error=errno.EPIPE)
    assert f"was killed by SIGKILL, sent by uwsgi[800], {said}" in verdict(story).sentence


def test_a_sink_that_closes_when_it_has_been_sent_all_is_no_debtor() -> None:
    story = established()
    story.client.write(300)
    story.client.shutdown(SHUT_WR)
    story.server.read()
    story.server.read(0)
    story.server.release()
    story.client.read(0)
    story.client.release()
    assert alerts(story) == []


def test_who_sent_the_signal_is_named_with_what_it_cut() -> None:
    story = established(server=Task("php-fpm", 169))
    request_unread(story)
    story.wait(2500 * MILLISECOND)
    master = Task("php-fpm", 160, uid=0)
    story.server.release(killed_by=signal.SIGTERM, sender=signalled(signal.SIGTERM, master))
    story.client.read(error=errno.ECONNRESET)
    sentence = verdict(story).sentence
    assert sentence.startswith(
        "php-fpm[169] was killed by SIGTERM, sent by php-fpm[160], 2.5 s after it had read part of the request, "
        "with 200 bytes unread; "
    )


@pytest.mark.parametrize(
    ("number", "flags", "said"),
    [
        (signal.SIGSEGV, SenderFlag.KERNEL, "killed by SIGSEGV, a fault of its own"),
        (signal.SIGALRM, SenderFlag.KERNEL, "killed by SIGALRM, a timer of its own"),
        (signal.SIGKILL, SenderFlag.KERNEL | SenderFlag.OOM, "killed by SIGKILL, sent by the kernel's OOM killer"),
        (signal.SIGKILL, 0, "killed by SIGKILL, sent by uwsgi[800]"),
    ],
)
def test_the_kernel_is_named_where_it_sent_the_signal(number: signal.Signals, flags: int, said: str) -> None:
    story = established()
    request_read(story)
    story.server.release(killed_by=number, sender=signalled(number, flags=int(flags)))
    story.client.read(0)
    assert said in verdict(story).sentence


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGPIPE, "a broken write of its own"), (signal.SIGABRT, "sent by itself")]
)
def test_who_dies_of_a_broken_write_has_not_sent_the_signal_itself(number: signal.Signals, said: str) -> None:
    story = established()
    request_read(story)
    story.server.release(killed_by=number, sender=signalled(number, by=UWSGI))
    story.client.read(0)
    assert f"was killed by {number.name}, {said}, " in verdict(story).sentence


def test_who_had_asked_it_to_end_did_not_send_the_other_signal_that_it_died_of() -> None:
    story = established()
    request_read(story)
    asked = signalled(signal.SIGTERM, flags=int(SenderFlag.HANDLED), when=story.now)
    story.server.release(killed_by=signal.SIGSEGV, sender=asked)
    story.client.read(0)
    assert "was killed by SIGSEGV, 0 ns after it had read the request" in verdict(story).sentence


@pytest.mark.parametrize(("uid", "said"), [(0, ""), (998, ""), (1000, " (uid 1000)")], ids=["root", "its own", "other"])
def test_the_sender_s_user_is_named_where_it_is_another_one(uid: int, said: str) -> None:
    story = established()
    request_read(story)
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL, Task("kill", 77, uid=uid)), uid=998)
    story.client.read(0)
    assert f"was killed by SIGKILL, sent by kill[77]{said}, " in verdict(story).sentence


def test_a_signal_that_was_handled_before_the_exit_is_named_too() -> None:
    story = established()
    request_read(story)
    sent = story.now
    story.wait(3 * MILLISECOND)
    story.server.release(exit_status=1, sender=signalled(signal.SIGTERM, flags=int(SenderFlag.HANDLED), when=sent))
    story.client.read(0)
    assert "exited with status 1, 3 ms after SIGTERM from uwsgi[800]" in verdict(story).sentence


def test_a_signal_that_was_taken_by_sigwait_or_from_a_descriptor_is_named_as_a_handled_one() -> None:
    """For that it is blocked (sigwait(3), signalfd(2)); another that is blocked, SIGUSR1 say, asks nobody to end."""
    for number, said in ((signal.SIGTERM, ", 3 ms after SIGTERM from uwsgi[800]"), (signal.SIGUSR1, "")):
        story = established()
        request_read(story)
        sent = story.now
        story.wait(3 * MILLISECOND)
        story.server.release(exit_status=1, sender=signalled(number, flags=int(SenderFlag.BLOCKED), when=sent))
        story.client.read(0)
        assert f"exited with status 1{said}" in verdict(story).sentence
        assert "SIGUSR1" not in verdict(story).sentence


def test_who_asked_itself_to_end_is_told_so_when_a_kernel_thread_drops_its_descriptor_too() -> None:
    story = established()
    request_read(story)
    story.server.release(
        by=KWORKER,
        flags=int(EventFlag.KERNEL_THREAD | EventFlag.OWNER_EXITED | EventFlag.SENDER),
        owner_pid=815,
        leader=b"uwsgi".ljust(16, b"\0"),
        exit_code=3 << 8,
        sender=signalled(signal.SIGTERM, by=UWSGI, flags=int(SenderFlag.HANDLED), when=story.now),
    )
    story.client.read(0)
    assert "after SIGTERM from itself" in verdict(story).sentence


def test_the_one_that_gave_up_is_told_with_what_it_sent_and_how_long_it_waited() -> None:
    story = established(client=Task("nginx", 206), server=Task("gunicorn", 222))
    story.client.write(103)
    story.server.read()
    story.wait(SECOND)
    story.client.release()
    story.wait(2 * SECOND)
    story.server.write(119, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.GAVE_UP
    assert judged.sentence == (
        "nginx[206] sent 103 bytes, waited 1 s for an answer and gave up; "
        "2 s later gunicorn[222]'s answer of 119 bytes failed with EPIPE"
    )


def test_who_waited_in_the_backlog_is_told_so() -> None:
    story = Story()
    story.connect()
    story.client.write(5)
    story.wait(3 * SECOND)
    story.client.release()
    story.accept()
    story.server.read()
    story.server.write(9, error=errno.EPIPE)
    assert "sent 5 bytes, waited 3 s in the backlog and gave up" in verdict(story).sentence


def test_an_idle_connection_that_is_used_again_is_told_with_both_times() -> None:
    story = established(client=Task("python3", 275), server=Task("mariadbd", 254))
    idle(story)
    story.server.release()
    story.wait(3 * SECOND)
    story.client.write(30, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.sentence == (
        "mariadbd[254] closed the connection after 1 s of silence; python3[275] used it 3 s later: "
        "its write of 30 bytes failed with EPIPE"
    )
    assert judged.figures.sent_bytes == 300


@pytest.mark.parametrize("after", [{"error": errno.EAGAIN}, {"result": 200}], ids=["nothing fits", "part of it fits"])
def test_who_dies_while_its_answer_waits_for_room_was_not_idle(after: dict[str, Any]) -> None:
    story = established()
    request_read(story)
    story.server.write(120)
    story.client.read()
    request_read(story)
    story.server.write(1000)
    story.server.write(1000, **after)
    story.wait(SECOND)
    story.server.release(exit_status=1)
    story.client.read()
    story.client.read(0)
    assert verdict(story).kind is Kind.EXITED


def test_an_answer_that_had_to_wait_for_room_has_not_been_silent() -> None:
    story = established()
    request_read(story)
    story.server.write(120)
    story.client.read()
    request_read(story)
    story.server.write(1000)
    story.server.write(1000, error=errno.EAGAIN)
    story.wait(SECOND)
    story.client.read()
    story.server.write(1000)
    story.server.write(1000, took=SECOND)  # it blocks
    story.server.write(1000)
    story.server.release(exit_status=1)
    story.client.read()
    story.client.read(0)
    # That it blocked is known by when it began: the recorder takes it for a silence.
    assert verdict(story, starts=False).kind is Kind.EXITED


@pytest.mark.parametrize(
    ("path", "survivor"), [("/run/app.s", "connected again"), ("/run/other.s", "closed")], ids=["same path", "another"]
)
def test_who_connects_next_has_connected_again_only_to_the_same_path(path: str, survivor: str) -> None:
    story = established()
    request_read(story)
    story.server.release(exit_status=7)
    story.client.read(0)
    story.client.release()
    following = Story(path=path, client_sock=0x3000, server_sock=0x4000, start=story.now, inode_number=90_000)
    following.connect()
    story.events += following.events
    assert verdict(story).consequence.afterwards == survivor


def test_the_second_request_that_is_dropped_is_judged_and_not_the_first() -> None:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.write(1200)
    story.client.read()
    story.client.write(310)
    story.server.read()
    story.server.release()
    story.client.read(0)
    judged = verdict(story)
    assert judged.kind is Kind.UNANSWERED
    assert (judged.figures.sent_bytes, judged.figures.answered_bytes) == (310, 0)


def test_a_farewell_to_one_that_is_gone_is_harmless() -> None:
    story = established()
    idle(story)
    story.server.release()
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.REUSED
    assert judged.consequence.harmless


def test_a_request_to_one_that_is_gone_is_not_harmless() -> None:
    story = established()
    idle(story)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    story.client.release()
    assert not verdict(story).consequence.harmless


def test_an_answer_that_is_thrown_away_is_not_harmless() -> None:
    judged = verdict(stories.seeds_failure())
    assert judged.kind is Kind.ANSWERED
    assert not judged.consequence.harmless
    assert (judged.consequence.answer, judged.consequence.lost_bytes) == ("never read", 94)
    assert judged.consequence.afterwards == "closed"


def test_an_answer_that_is_read_after_the_failure_is_told_so() -> None:
    story = established()
    answer_begun(story)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.read(100)
    assert verdict(story).consequence.answer == "read in part"
    story.client.read(20)
    assert verdict(story).consequence.answer == "read in full"


def test_who_dies_of_the_broken_write_is_told() -> None:
    story = established()
    request_unread(story)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release(killed_by=signal.SIGPIPE)
    assert verdict(story).consequence.afterwards == "killed by SIGPIPE"


def test_a_blocked_write_that_the_hangup_cuts_short_is_a_failure() -> None:
    story = established()
    # What it had sent by then is in the queue when the other end goes.
    story.server.queue.append(219_264)
    hangup = story.server.release()
    story.client.write(4 << 20, result=219_264, start=hangup.start - SECOND, end=hangup.start + MILLISECOND)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.UNREAD, Symptom.SHORT_WRITE)
    assert "write of 4.19 MB was cut to 219 kB" in judged.sentence


def test_a_blocked_write_that_a_shutdown_cuts_short_is_a_failure() -> None:
    story = established()
    began = story.now
    story.wait(SECOND)
    story.server.shutdown(SHUT_RDWR)
    story.client.write(4 << 20, result=219_264, start=began)
    story.server.release()
    story.client.release(size=errno.ECONNRESET)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.PEER_SHUTDOWN, Symptom.SHORT_WRITE)
    assert judged.sentence.endswith("httpd[4711]'s write of 4.19 MB was cut to 219 kB")


def test_a_write_that_does_not_wait_is_cut_by_no_hangup_that_it_meets() -> None:
    story = established()
    story.server.queue.append(219_264)
    hangup = story.server.release()
    begun, ended = hangup.start - 1000, hangup.start + 1000
    story.client.write(300_000, result=219_264, start=begun, end=ended, message_flags=MSG_DONTWAIT)
    story.client.write(80_736, error=errno.EPIPE)
    assert verdict(story).symptom is Symptom.BROKEN_WRITE


def test_a_write_that_does_not_wait_and_sends_less_is_no_failure() -> None:
    story = established()
    story.client.write(300_000, result=212_992)
    story.server.read()
    story.server.write(3)
    story.server.release()
    story.client.read()
    story.client.release()
    assert alerts(story) == []


def test_what_the_other_end_shut_down_is_told_with_what_it_left() -> None:
    story = established()
    story.client.write(100_000)
    story.server.read(4)
    shut_down(story, story.server)
    story.client.write(8, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.PEER_SHUTDOWN
    assert judged.figures.unread_bytes == 99_996
    assert (
        "(SHUT_RDWR) with 100 kB unread, without an answer, and hung up 1.01 ms after that; 1.03 ms later"
        in judged.sentence
    )


def test_a_thread_that_ends_the_connection_of_another_is_named_and_so_is_each_victim() -> None:
    killer, worker = UWSGI.thread(900), UWSGI.thread(901)
    story = established()
    story.client.write(300)
    story.server.read(by=worker)
    story.server.shutdown(SHUT_RDWR, by=killer)
    story.server.write(20, error=errno.EPIPE, by=worker)
    story.server.release(by=worker)
    story.wait(4 * SECOND)
    story.client.write(30, error=errno.EPIPE)
    first, second = alerts(story)
    assert (first.verdict.kind, first.verdict.victim) == (Kind.OWN_SHUTDOWN, "server")
    assert "thread 900 of uwsgi[815] had shut down (SHUT_RDWR) what uwsgi[815] was using" in first.verdict.sentence
    assert (second.verdict.kind, second.verdict.victim) == (Kind.PEER_SHUTDOWN, "client")
    assert "thread 900 of uwsgi[815]" in second.verdict.sentence
    assert "(after uwsgi[815]'s broken write on this connection: own-shutdown)" in second.verdict.sentence


def test_a_forked_child_that_shuts_down_is_blamed_and_not_its_parent() -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_RDWR, by=Task("child", 999))
    story.client.write(30, error=errno.EPIPE)
    (alert,) = alerts(story)
    assert alert.verdict.sentence.startswith("child[999] (not uwsgi[815], which used it) shut the connection down")
    assert alert.server is not None
    assert alert.server.comm == "child"


@pytest.mark.parametrize(
    ("leave", "went"), [(closed, "hung up 10 µs"), (killed, "was killed by SIGKILL, sent by uwsgi[800], 10 µs")]
)
def test_who_shut_down_is_not_said_to_have_hung_up_when_another_process_did(leave: Leave, went: str) -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_RDWR, by=Task("child", 999))
    leave(story, story.server)
    story.client.write(30, error=errno.EPIPE)
    assert (
        f"shut the connection down (SHUT_RDWR), without an answer, and uwsgi[815] {went} after that; "
        in verdict(story).sentence
    )


def test_our_own_shutdown_is_not_blamed_on_the_other_end() -> None:
    story = established()
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.OWN_SHUTDOWN
    assert judged.sentence.startswith("httpd[4711] had itself ended sending (SHUT_WR)")


def asked(story: Story) -> None:
    story.client.write(300)


def answered(story: Story) -> None:
    story.client.write(300)
    story.server.read()
    story.server.write(90)


def read_in_part(story: Story) -> None:
    answered(story)
    story.client.read(50)


def read(story: Story) -> None:
    answered(story)
    story.client.read()


@pytest.mark.parametrize(
    ("before", "end", "stood"),
    [
        (lambda _story: None, "client", "; its write"),
        (asked, "client", ", without an answer; its write"),
        (answered, "client", ", with 90 bytes unread, 90 bytes answered; its write"),
        (read_in_part, "client", ", with 40 bytes unread, 90 bytes answered; its write"),
        (read, "client", ", 90 bytes answered; its write"),
        (lambda _story: None, "server", "; its write"),
        (asked, "server", ", with 300 bytes unread, without an answer; its write"),
        (answered, "server", ", 90 bytes answered; its write"),
    ],
)
def test_our_own_shutdown_is_told_with_what_was_unread_and_what_was_answered(
    before: Callable[[Story], None], end: str, stood: str
) -> None:
    story = established()
    before(story)
    ours: End = getattr(story, end)
    ours.shutdown(SHUT_RDWR)
    ours.write(8, error=errno.EPIPE)
    (first, *_) = alerts(story)
    assert first.verdict.kind is Kind.OWN_SHUTDOWN
    who = {"client": "httpd[4711]", "server": "uwsgi[815]"}[end]
    assert first.verdict.sentence == (
        f"{who} had itself ended sending (SHUT_RDWR) 20 µs before{stood} of 8 bytes failed with EPIPE"
    )


def test_what_is_unread_at_our_own_shutdown_is_not_guessed() -> None:
    # What was read of it before the tracer came is not known.
    story = Story(older=True)
    answered(story)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    assert "unread" not in verdict(story).sentence


@pytest.mark.parametrize(
    ("leave", "went"),
    [
        (closed, "uwsgi[815] hung up 10 µs after that"),
        (killed, "uwsgi[815] was killed by SIGKILL, sent by uwsgi[800], 10 µs after that"),
    ],
)
@pytest.mark.parametrize(("size", "unread"), [(300, " with 300 bytes unread"), (0, "")])
def test_our_own_shutdown_is_told_with_the_hangup_that_followed(
    leave: Leave, went: str, size: int, unread: str
) -> None:
    story = established()
    if size:
        story.client.write(size)
    story.client.shutdown(SHUT_WR)
    leave(story, story.server)
    story.client.write(8, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.OWN_SHUTDOWN
    assert f", and {went}{unread}; httpd[4711]'s write of 8 bytes failed with EPIPE" in judged.sentence


def test_what_came_first_is_the_cause() -> None:
    story = established()
    story.server.shutdown(SHUT_RD)
    story.client.shutdown(SHUT_WR)
    story.client.write(8, error=errno.EPIPE)
    assert verdict(story).kind is Kind.PEER_SHUTDOWN


def test_how_the_listener_went_is_told() -> None:
    story = Story()
    story.connect()
    story.client.write(5)
    embryo = int(EventFlag.EMBRYO)
    story.server.release(flags=embryo | int(EventFlag.EXITING), exit_code=9, sender=signalled(9))
    story.client.read(error=errno.ECONNRESET)
    judged = verdict(story)
    assert judged.kind is Kind.NEVER_ACCEPTED
    assert (
        "uwsgi[815], which listened, was killed by SIGKILL, sent by uwsgi[800], before it had accepted"
        in judged.sentence
    )


def test_a_listener_that_was_closed_is_told_so() -> None:
    story = Story()
    story.connect()
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.read(error=errno.ECONNRESET)
    assert "uwsgi[815] closed the listener before it had accepted the connection" in verdict(story).sentence


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errno.ECONNREFUSED, Kind.REFUSED),
        (errno.EAGAIN, Kind.BACKLOG_FULL),
        (errno.EACCES, Kind.NOT_PERMITTED),
        (errno.EPERM, Kind.NOT_PERMITTED),
    ],
)
def test_a_connect_that_failed_is_an_alert(error: int, kind: Kind) -> None:
    story = Story(path="/run/app.s")
    story.connect(error=error)
    judged = verdict(story)
    assert judged.kind is kind
    assert "/run/app.s" in judged.sentence
    assert "httpd[4711]" in judged.sentence


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (129, "was full (129 waited, the backlog is 128): "),
        (128, "was full (the backlog is 128; 128 waited when it was looked at): "),
        (0, "was full (the backlog is 128; 0 waited when it was looked at): "),
    ],
)
def test_a_backlog_that_had_room_again_when_it_was_looked_at_is_not_told_as_the_full_one(
    waiting: int, said: str
) -> None:
    refusal = Story().connect(error=errno.EAGAIN)
    assert said in judge_connect(refusal, "/run/app.s", backlog=(waiting, 128)).sentence


def test_a_path_that_was_never_there_is_counted_by_its_error_and_no_alert() -> None:
    story = Story()
    story.connect(error=errno.ENOENT)
    with Tracer(source=source_of(story.events)) as tracer:
        assert list(tracer.alerts()) == []
        ((key, row),) = tracer.statistics.rows.items()
    assert key.kind is Kind.CONNECT_FAILED
    assert row.errors == {"ENOENT": 1}


def test_an_abstract_name_that_nobody_was_seen_listening_on_is_counted_as_a_path_that_is_not_there() -> None:
    story = Story(path="\0app")
    story.connect(error=errno.ECONNREFUSED)
    with Tracer(source=source_of(story.events)) as tracer:
        assert list(tracer.alerts()) == []
        ((key, row),) = tracer.statistics.rows.items()
    assert (key.path, key.kind) == ("@app", Kind.CONNECT_FAILED)
    assert row.errors == {"ECONNREFUSED": 1}


def test_an_abstract_name_that_went_with_its_listener_is_an_alert() -> None:
    story = stories.clean(path="\0app")
    later = Story(path="\0app", start=story.now + SECOND)
    later.connect(error=errno.ECONNREFUSED)
    story.events += later.events
    judged = verdict(story)
    assert judged.kind is Kind.LISTENER_GONE
    assert judged.sentence == (
        "@app is gone, where somebody had listened: httpd[4711] could not connect (ECONNREFUSED)"
    )


@pytest.mark.parametrize("path", ["/run/app.s", "@app", "app"])
def test_a_file_that_nobody_listens_behind_refuses_whether_or_not_somebody_had_listened(path: str) -> None:
    story = Story(path=path)
    story.connect(error=errno.ECONNREFUSED)
    assert verdict(story).kind is Kind.REFUSED
    before = stories.clean(path=path)
    later = Story(path=path, start=before.now + SECOND)
    later.connect(error=errno.ECONNREFUSED)
    before.events += later.events
    assert verdict(before).kind is Kind.REFUSED


def test_a_path_where_somebody_had_listened_and_nobody_does_is_an_alert() -> None:
    story = stories.clean()
    later = Story(start=story.now + SECOND)
    later.connect(error=errno.ENOENT)
    story.events += later.events
    assert verdict(story).kind is Kind.LISTENER_GONE


def test_whose_descriptor_a_kernel_thread_dropped_is_told() -> None:
    story = established()
    request_read(story)
    flags = int(EventFlag.KERNEL_THREAD | EventFlag.OWNER_EXITED)
    story.server.release(by=KWORKER, flags=flags, owner_pid=815, leader=b"uwsgi".ljust(16, b"\0"), exit_code=3 << 8)
    story.client.read(0)
    (alert,) = alerts(story)
    assert alert.verdict.kind is Kind.EXITED
    assert alert.verdict.sentence.startswith("uwsgi[815] exited with status 3")
    assert alert.key.server == "uwsgi"


def of_a_pair(*, used: bool) -> Story:
    """Return a socketpair whose second end was passed in a message that nobody received: unix_gc() drops it."""
    story = Story(client=Task("sh", 50), server=Task("sh", 50))
    story.socketpair()
    if used:
        story.server.write(20)
        story.client.read()
    story.client.write(9)
    story.server.release(by=KWORKER, flags=int(EventFlag.KERNEL_THREAD), syscall=-1, descriptor=-1)
    return story


@pytest.mark.parametrize("used", [False, True])
def test_an_end_that_no_process_had_open_is_not_put_down_to_the_kernel_thread_that_dropped_it(*, used: bool) -> None:
    story = of_a_pair(used=used)
    story.client.read(error=errno.ECONNRESET)
    story.client.release()
    (alert,) = alerts(story)
    assert alert.server is not None
    assert (alert.server.comm, alert.server.pid) == ("sh", 50)
    assert alert.key.server == "sh"
    assert alert.story is not None
    assert "kworker/1:0" not in [user.comm for user in alert.story.server.users]
    assert (
        "hung up (no process is known to have had it open: a kernel thread dropped it, as what was sent in a message "
        "and never received)" in alert.verdict.sentence
    )


def test_an_io_uring_worker_counts_as_its_process() -> None:
    worker = Task("iou-wrk-815", 815, 820)
    story = established()
    leader = b"uwsgi".ljust(16, b"\0")
    story.client.write(300)
    story.server.read(by=worker, leader=leader)
    story.server.release(by=worker, leader=leader)
    story.client.read(0)
    (alert,) = alerts(story)
    assert alert.server is not None
    assert (alert.server.comm, alert.server.thread, alert.key.server) == ("uwsgi", "iou-wrk-815", "uwsgi")


def test_an_heir_of_the_last_descriptor_is_told_with_who_used_it() -> None:
    story = established()
    request_unread(story)
    story.server.release(by=Task("child", 999))
    story.client.write(8, error=errno.EPIPE)
    assert "child[999] hung up (it held the last descriptor of what uwsgi[815] used)" in verdict(story).sentence


# x86: execve, execveat, and both of a 32-bit program (syscall_64.tbl, syscall_32.tbl)
EXECUTIONS = [(59, 0), (322, 0), (11, int(EventFlag.COMPAT)), (358, int(EventFlag.COMPAT))]


@pytest.mark.parametrize(("syscall", "flags"), EXECUTIONS)
def test_who_asked_and_then_executed_another_program_is_told_as_it_was_when_it_asked(syscall: int, flags: int) -> None:
    asker = Task("python3", 1470, uid=33, gid=33)
    story = established(client=asker)
    story.client.write(7)
    story.server.read()
    story.wait(30 * MILLISECOND)
    story.client.release(by=Task("sleep", 1470, uid=0, gid=0), syscall=syscall, flags=flags)
    story.server.write(100, error=errno.EPIPE)
    (alert,) = alerts(story)
    assert alert.verdict.sentence.startswith(
        "python3[1470] sent 7 bytes, waited 30 ms for an answer and executed another"
    )
    assert alert.client is not None
    assert (alert.client.comm, alert.client.thread, alert.client.uid, alert.client.gid) == (
        "python3",
        "python3",
        33,
        33,
    )


@pytest.mark.parametrize(("syscall", "flags"), EXECUTIONS)
def test_who_left_a_request_unread_for_another_program_is_told_as_it_was(syscall: int, flags: int) -> None:
    story = established()
    request_unread(story)
    story.server.release(by=Task("sleep", UWSGI.pid), syscall=syscall, flags=flags)
    story.client.write(8, error=errno.EPIPE)
    assert "uwsgi[815] hung up (it executed another program) 0 ns after" in verdict(story).sentence


@pytest.mark.parametrize(("syscall", "flags"), [(3, 0), (11, 0), (59, int(EventFlag.COMPAT))])
def test_who_closed_after_it_had_executed_another_program_is_told_as_it_is(syscall: int, flags: int) -> None:
    story = established()
    request_unread(story)
    story.server.release(by=Task("sleep", UWSGI.pid), syscall=syscall, flags=flags)
    story.client.write(8, error=errno.EPIPE)
    assert "sleep[815] hung up 0 ns after" in verdict(story).sentence


def test_who_was_killed_while_it_executed_another_program_is_told_as_killed() -> None:
    story = established()
    request_unread(story)
    story.server.release(by=Task("sleep", UWSGI.pid), syscall=59, killed_by=signal.SIGKILL)
    story.client.write(8, error=errno.EPIPE)
    assert "sleep[815] was killed by SIGKILL" in verdict(story).sentence


def test_an_heir_that_executes_another_program_is_told_with_who_used_the_end() -> None:
    story = established()
    request_unread(story)
    story.server.release(by=Task("sleep", 999), syscall=59)
    story.client.write(8, error=errno.EPIPE)
    told = "sleep[999] hung up (it held the last descriptor of what uwsgi[815] used, until it executed another program)"
    assert told in verdict(story).sentence


def test_a_hangup_with_bytes_unread_after_which_nobody_fails_is_latent() -> None:
    story = stories.established()
    request_unread(story)
    story.server.release()
    story.client.release(size=errno.ECONNRESET)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.LATENT, Symptom.NONE)
    assert judged.figures.unread_bytes == 200


def test_a_hangup_that_was_not_recorded_is_a_doubt() -> None:
    story = established()
    story.client.write(8, error=errno.EPIPE, flags=int(EventFlag.PEER_DEAD))
    judged = verdict(story)
    assert judged.kind is Kind.UNSEEN
    assert not judged.certain


def test_an_answer_that_may_have_been_whole_is_a_doubt() -> None:
    story = established()
    answer_begun(story)
    killed(story, story.server)
    cut_read(story.client)
    assert verdict(story).doubts == ("sockets do not tell whether the answer was whole",)


def test_only_what_was_lost_while_the_connection_was_open_is_a_doubt() -> None:
    story = stories.seeds_failure()
    begin, end = story.events[0].start, story.events[-2].end
    before = LostPeriod(Loss.RING_FULL, 1, begin - 1, 5)
    after = LostPeriod(Loss.RING_FULL, end + 1, end + 2, 7)
    during = LostPeriod(Loss.RING_FULL, begin, begin, 3)
    assert verdict(story, lost=[before, after]).certain
    assert verdict(story, lost=[before, during._replace(until=begin + MILLISECOND), after]).doubts == (
        "3 records were lost while it was open",
    )


def test_a_connection_without_its_beginning_is_a_doubt() -> None:
    story = Story(older=True)
    story.client.write(8)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    assert not verdict(story).certain


@pytest.mark.parametrize(("counted", "expected"), [(200, 200), (0, 200)])
def test_unread_is_what_was_counted_or_what_was_written_and_not_read(counted: int, expected: int) -> None:
    story = established()
    request_unread(story)
    story.server.release(unread_bytes=counted)
    story.client.write(8, error=errno.EPIPE)
    assert verdict(story).figures.unread_bytes == expected


def test_unread_is_what_was_counted_of_messages_for_their_ends_may_be_cut_off() -> None:
    story = established(type=SEQPACKET)
    story.client.write(300)
    story.server.read(100)
    story.server.queue.clear()
    story.server.release(unread_bytes=0)
    story.client.write(8, error=errno.EPIPE)
    assert verdict(story).figures.unread_bytes == 0


def test_a_shutdown_has_no_gap() -> None:
    story = established()
    story.server.shutdown(SHUT_RD)
    story.client.write(8, error=errno.EPIPE)
    assert verdict(story).figures.gap is None


def over_a_socketpair() -> Story:
    story = Story(path=b"", client=Task("parent", 50), server=Task("child", 51))
    story.socketpair()
    return story


@pytest.mark.parametrize("leave", [closed, lambda _story, gone: gone.release(exit_status=0)], ids=["close", "exit 0"])
@pytest.mark.parametrize("first", ["client", "server"])
def test_an_orderly_end_of_a_socketpair_may_be_the_answer_itself(first: str, leave: Leave) -> None:
    """A child is told to stop, or executes when it is told to go on; a parent has no more work for it."""
    story = over_a_socketpair()
    asker: End = getattr(story, first)
    for size in (30, 4):
        asker.write(size)
        asker.other.read()
        if size == 30:
            asker.other.write(5)
            asker.read()
    leave(story, asker.other)
    asker.read(0)
    asker.release()
    assert alerts(story) == []


@pytest.mark.parametrize("leave", [killed, exited])
def test_a_death_at_the_other_end_of_a_socketpair_is_an_alert(leave: Leave) -> None:
    story = over_a_socketpair()
    request_read(story)
    leave(story, story.server)
    story.client.read(0)
    assert verdict(story).symptom is Symptom.CUT_READ


def test_who_ends_the_other_when_it_has_an_answer_misses_nothing() -> None:
    found = {}
    for sender in (Task("httpd", 4711), MASTER):
        story = established()
        answer_begun(story)
        story.client.read()
        story.server.release(killed_by=signal.SIGTERM, sender=signalled(signal.SIGTERM, sender))
        story.client.read(0)
        story.client.release()
        found[sender.comm] = len(alerts(story))
    assert found == {"httpd": 0, "uwsgi": 1}


def test_who_ends_the_other_before_its_answer_is_told_so() -> None:
    story = established()
    request_read(story)
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL, Task("httpd", 4711)))
    story.client.read(0)
    assert verdict(story).kind is Kind.KILLED


@pytest.mark.parametrize(
    ("size", "waits", "harmless"),
    [(6, 0, True), (30, 0, False), (6, SECOND, False)],
    ids=["at once", "a request", "after a while"],
)
def test_a_farewell_that_is_answered_by_the_end_of_the_stream_is_harmless(
    size: int, waits: int, harmless: bool
) -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    story.client.write(size)
    story.server.read()
    story.wait(waits)
    story.server.release()
    story.client.read(0)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.UNANSWERED
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize(
    ("how", "size", "waits", "status", "harmless"),
    [
        (SHUT_RDWR, 6, 0, None, True),
        (SHUT_WR, 6, 0, None, True),
        (SHUT_RDWR, 30, 0, None, False),
        (SHUT_WR, 6, SECOND, None, False),
        (SHUT_RDWR, 6, 0, 1, False),
    ],
    ids=["both ways", "its own way", "a request", "after a while", "a death"],
)
def test_a_farewell_that_is_answered_by_a_shutdown_is_as_harmless(
    *, closes: bool, how: int, size: int, waits: int, status: int | None, harmless: bool
) -> None:
    """Whether the one that shuts down has closed, too, when the other reads the end of the stream is by accident."""
    story = established()
    answer_begun(story)
    story.client.read()
    story.client.write(size)
    story.server.read()
    story.wait(waits)
    story.server.shutdown(how)
    if closes or status:
        story.server.release(exit_status=status)
    story.client.read(0)
    story.client.release()
    assert verdict(story).consequence.harmless is harmless


def pipelined(*sizes: int, answered: int = 60) -> Story:
    """Return a client that has sent requests of these sizes one behind the other, and read what came of an answer."""
    story = established()
    for size in sizes:
        story.client.write(size)
    story.server.read()
    story.server.write(answered)
    story.client.read()
    return story


@pytest.mark.parametrize(
    ("sizes", "harmless"),
    [((7,) * 9, False), ((7, 7), False), ((7,), True), ((30,) * 9, True), ((4, 3), True)],
    ids=["requests", "two requests", "a request before", "a farewell behind longer ones", "a request in parts"],
)
def test_one_more_of_many_small_requests_is_no_farewell(sizes: tuple[int, ...], *, harmless: bool) -> None:
    story = pipelined(*sizes)
    story.server.release()
    story.client.write(7, error=errno.EPIPE)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.ANSWERED
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize("sizes", [(5, 5), (5,) * 9])
def test_a_farewell_on_an_idle_connection_may_have_the_size_of_the_requests_before_it(sizes: tuple[int, ...]) -> None:
    """Sync and Terminate of libpq have five bytes both."""
    story = pipelined(*sizes)
    story.wait(SECOND)
    story.server.release()
    story.wait(2 * SECOND)
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.REUSED
    assert judged.consequence.harmless


@pytest.mark.parametrize(("sizes", "harmless"), [((7,) * 9, False), ((30,) * 9, True)])
def test_one_more_of_many_small_requests_that_the_server_closes_at_is_no_farewell(
    sizes: tuple[int, ...], *, harmless: bool
) -> None:
    story = pipelined(*sizes)
    story.client.write(7)
    story.server.read()
    story.server.release()
    story.client.read(0)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.UNANSWERED
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize(("sizes", "harmless"), [((7,) * 9, False), ((30,) * 9, True)])
def test_one_more_of_many_small_requests_to_a_server_that_has_ended_sending_is_no_last_word(
    sizes: tuple[int, ...], *, harmless: bool
) -> None:
    story = pipelined(*sizes)
    story.server.write(10)
    story.server.shutdown(SHUT_WR)
    story.client.read()
    story.client.write(7)
    story.server.release()
    story.client.read(error=errno.ECONNRESET)
    story.client.release()
    assert verdict(story).consequence.harmless is harmless


def test_a_first_request_without_an_answer_is_no_farewell_however_short() -> None:
    story = established()
    story.client.write(6)
    story.server.read()
    story.server.release()
    story.client.read(0)
    story.client.release()
    assert not verdict(story).consequence.harmless


@pytest.mark.parametrize(("size", "harmless"), [(5, True), (45, False)], ids=["farewell", "request"])
@pytest.mark.parametrize("standing", [answer_begun, idle])
def test_a_farewell_is_as_harmless_to_one_that_had_shut_down_first(
    standing: Callable[[Story], None], size: int, harmless: bool
) -> None:
    story = established()
    standing(story)
    story.client.read(sum(story.client.queue))
    shut_down(story, story.server)
    story.client.write(size, error=errno.EPIPE)
    story.client.release()
    judged = verdict(story)
    assert judged.kind is Kind.PEER_SHUTDOWN
    assert judged.consequence.harmless is harmless


def has_sent_its_last(end: End, size: int = 31) -> None:
    """Let an end say a few bytes that are read, as TLS's close_notify, and that it sends no more."""
    end.write(size)
    end.other.read()
    end.shutdown(SHUT_WR)


@pytest.mark.parametrize(
    ("size", "waits", "status", "again", "harmless"),
    [
        (31, 0, None, False, True),
        (31, 0, 0, False, True),
        (300, 0, None, False, False),
        (31, SECOND, None, False, False),
        (31, 0, 1, False, False),
        (31, 0, None, True, False),
    ],
    ids=["closed", "exited", "a request", "after a while", "a death", "tried again"],
)
@pytest.mark.parametrize("symptom", [Symptom.CUT_READ, Symptom.RESET_READ, Symptom.BROKEN_WRITE, Symptom.TOLD])
def test_last_words_to_a_server_that_had_ended_sending_are_harmless(
    *, symptom: Symptom, size: int, waits: int, status: int | None, again: bool, harmless: bool
) -> None:
    """It had said that no answer comes; whether it reads them, or has gone by then, is by accident."""
    story = established()
    answer_begun(story)
    story.client.read()
    has_sent_its_last(story.server)
    story.wait(waits)
    if symptom is Symptom.BROKEN_WRITE:
        story.server.release(exit_status=status)
        story.client.write(size, error=errno.EPIPE)
    else:
        story.client.write(size)
        if symptom is Symptom.CUT_READ:
            story.server.read()
        story.server.release(exit_status=status)
        if symptom is not Symptom.TOLD:
            story.client.read(0, error=errno.ECONNRESET if symptom is Symptom.RESET_READ else 0)
    story.client.release()
    if again:
        following = Story(client_sock=0x3000, server_sock=0x4000, start=story.now, inode_number=90_000)
        following.connect()
        story.events += following.events
    judged = verdict(story)
    assert judged.symptom is symptom
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize(("reads", "harmless"), [(False, True), (True, False)])
def test_last_words_may_cross_the_end_of_what_the_other_sends_but_not_be_why_it_ends(
    *, reads: bool, harmless: bool
) -> None:
    story = established()
    answer_begun(story)
    story.server.write(31)
    story.client.read()
    story.client.write(31)
    if reads:
        story.server.read()
    story.server.shutdown(SHUT_WR)
    if not reads:
        story.server.read()
    story.server.release()
    story.client.read(0)
    story.client.release()
    assert verdict(story).consequence.harmless is harmless


def test_a_first_request_to_one_that_only_greets_and_ends_sending_is_not_said_to_be_last_words() -> None:
    story = established()
    has_sent_its_last(story.server)
    story.client.write(31)
    story.client.read(0)
    story.client.release()
    assert not verdict(story).consequence.harmless


def test_last_words_that_end_the_stream_while_the_server_still_reads_are_harmless() -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    has_sent_its_last(story.server)
    story.client.write(31)
    story.client.read(0)
    story.client.release()
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.PEER_SHUTDOWN, Symptom.CUT_READ)
    assert judged.consequence.harmless


@pytest.mark.parametrize("on_its_way", [False, True])
def test_a_next_request_to_a_server_that_only_shuts_down_is_lost_and_no_last_words(on_its_way: bool) -> None:
    story = established()
    request_read(story)
    story.server.write(4000)
    story.client.read()
    if on_its_way:
        story.client.write(60)
        story.server.shutdown(SHUT_WR)
        story.client.read(0)
        story.client.release()
        story.server.release()
    else:
        story.server.shutdown(SHUT_WR)
        story.wait(50 * MILLISECOND)
        story.client.write(60)
        story.server.release()
        story.client.read(error=errno.ECONNRESET)
        story.client.release()
    assert not verdict(story).consequence.harmless


def test_a_write_that_its_own_end_has_shut_down_is_not_said_to_be_last_words() -> None:
    story = established()
    request_read(story)
    story.client.shutdown(SHUT_WR)
    story.server.write(400)
    story.client.read()
    story.server.shutdown(SHUT_WR)
    story.client.write(60, error=errno.EPIPE)
    story.client.release()
    found = verdict(story)
    assert found.kind is Kind.OWN_SHUTDOWN
    assert not found.consequence.harmless


def test_an_answer_in_small_parts_whose_client_leaves_after_some_of_them_is_cut() -> None:
    story = established()
    request_read(story)
    for _ in range(4):
        story.server.write(40)
        story.client.read()
        story.wait(20 * MILLISECOND)
    story.client.release()
    story.server.write(40, error=errno.EPIPE)
    story.server.release()
    assert not verdict(story).consequence.harmless


def test_a_client_that_tries_to_read_after_its_last_words_waits_for_an_answer() -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    story.client.write(60)
    story.client.shutdown(SHUT_WR)
    story.server.read()
    story.client.read(error=errno.EAGAIN)
    story.wait(90 * MILLISECOND)
    story.client.release()
    story.server.write(60, error=errno.EPIPE)
    story.server.release()
    assert not verdict(story).consequence.harmless


def test_who_had_not_read_all_of_its_answer_has_said_no_last_words() -> None:
    story = established()
    answer_begun(story)
    story.server.shutdown(SHUT_WR)
    story.client.write(31)
    story.server.release()
    story.client.read(100)
    story.client.read(error=errno.ECONNRESET)
    story.client.release()
    assert not verdict(story).consequence.harmless


@pytest.mark.parametrize("size", [31, 3000])
def test_who_has_met_the_end_of_the_stream_is_owed_nothing_for_what_it_sends_after_that(size: int) -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    has_sent_its_last(story.server)
    story.client.read(0)
    story.client.write(size)
    story.client.read(0)
    story.server.read()
    story.server.release()
    story.client.read(0)
    story.client.release()
    assert not alerts(story)


@pytest.mark.parametrize("symptom", [Symptom.BROKEN_WRITE, Symptom.RESET_READ])
@pytest.mark.parametrize(
    ("size", "waits", "status", "ends", "harmless"),
    [
        (31, 0, None, True, True),
        (300, 0, None, True, False),
        (31, SECOND, None, True, False),
        (31, 0, 0, True, False),
        (31, 0, None, False, False),
    ],
    ids=["at once", "a request", "after a while", "exited", "without a word of its end"],
)
def test_a_client_that_says_last_words_ends_sending_and_leaves_harms_nobody(
    *, symptom: Symptom, size: int, waits: int, status: int | None, ends: bool, harmless: bool
) -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    story.client.write(size)
    story.server.read()
    if ends:
        story.client.shutdown(SHUT_WR)
    if symptom is Symptom.BROKEN_WRITE:
        story.wait(waits)
        story.client.release(exit_status=status)
        story.server.write(31, error=errno.EPIPE)
    else:
        story.server.write(31)
        story.wait(waits)
        story.client.release(exit_status=status)
        story.server.read(error=errno.ECONNRESET)
    story.server.release()
    assert verdict(story).consequence.harmless is harmless


@pytest.mark.parametrize(
    ("size", "status", "looks", "harmless"),
    [
        (29, None, False, True),
        (300, None, False, False),
        (29, 0, False, True),
        (29, 1, False, False),
        (29, None, True, False),
    ],
    ids=["at once", "much more", "exited", "failed", "looked for more"],
)
def test_a_client_that_closes_at_once_when_it_has_read_its_answer_misses_no_few_bytes_more(
    *, size: int, status: int | None, looks: bool, harmless: bool
) -> None:
    """A manager of Python's multiprocessing answers twice to whoever has it shut down."""
    story = established()
    request_read(story)
    story.server.write(29)
    story.client.read(4)
    story.client.read(25)
    if looks:
        story.client.read(error=errno.EAGAIN)
    story.client.release(exit_status=status)
    story.server.write(size, error=errno.EPIPE)
    story.server.release()
    judged = verdict(story)
    assert judged.kind is (Kind.GAVE_UP if status is None else Kind.EXITED)
    assert judged.consequence.harmless is harmless


def test_a_client_that_ends_sending_and_leaves_an_answer_unread_is_no_harmless_one() -> None:
    story = established()
    for _ in range(2):
        request_read(story)
        story.server.write(120)
        story.client.read(20)
    story.client.shutdown(SHUT_WR)
    story.client.release()
    story.server.read(error=errno.ECONNRESET)
    story.server.release()
    assert not verdict(story).consequence.harmless


@pytest.mark.parametrize(("size", "harmless"), [(5, True), (45, False)], ids=["farewell", "request"])
@pytest.mark.parametrize("symptom", [Symptom.BROKEN_WRITE, Symptom.CUT_READ])
def test_a_farewell_is_as_harmless_if_the_client_then_connects_again(
    symptom: Symptom, size: int, harmless: bool
) -> None:
    """As a pool does with a connection that it finds too old, and a program that does one job after the other."""
    story = established()
    idle(story)
    if symptom is Symptom.BROKEN_WRITE:
        story.server.release()
        story.client.write(size, error=errno.EPIPE)
    else:
        story.client.write(size)
        story.server.read()
        story.server.release()
        story.client.read(0)
    story.client.release()
    following = Story(client_sock=0x3000, server_sock=0x4000, start=story.now, inode_number=90_000)
    following.connect()
    story.events += following.events
    judged = verdict(story)
    assert (judged.symptom, judged.consequence.afterwards) == (symptom, "connected again")
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize("asks", [False, True])
def test_a_server_that_speaks_first_hurts_nobody_at_a_health_check_that_shuts_down(asks: bool) -> None:
    story = established()
    if asks:
        story.client.write(30)
    shut_down(story, story.client)
    story.server.write(17, error=errno.EPIPE)
    story.server.release()
    assert verdict(story).consequence.harmless is not asks


@pytest.mark.parametrize(
    ("waits", "reads", "asks", "harmless"),
    [(0, 0, 0, True), (SECOND, 0, 0, False), (0, 40, 0, False), (0, 0, 30, False)],
    ids=["at once", "after a while", "it reads", "it asks"],
)
@pytest.mark.parametrize("symptom", [Symptom.RESET_READ, Symptom.TOLD])
def test_a_health_check_is_as_harmless_if_the_greeting_was_there_before_it_left(
    symptom: Symptom, waits: int, reads: int, asks: int, *, harmless: bool
) -> None:
    story = established()
    story.server.write(104)
    if reads:
        story.client.read(reads)
    if asks:
        story.client.write(asks)
        story.server.read()
    story.wait(waits)
    story.client.release()
    SYMPTOMS[symptom](story.server)
    story.server.release()
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.GAVE_UP, symptom)
    assert judged.consequence.harmless is harmless


@pytest.mark.parametrize(
    ("farewell", "waits", "waited"), [(5, 0, "4 s"), (30, 0, "10 µs"), (5, SECOND, "1 s")], ids=["", "more", "later"]
)
def test_who_says_a_farewell_and_leaves_has_waited_since_its_request(farewell: int, waits: int, waited: str) -> None:
    """PgBouncer's query_timeout, and every client of libpq that gives up: Terminate is sent before the close."""
    story = established(client=Task("pgbouncer", 258), server=Task("postgres", 262))
    idle(story)
    story.client.write(24)
    story.server.read()
    story.wait(4 * SECOND)
    story.client.write(farewell)
    story.wait(waits)
    story.client.release()
    story.wait(2 * SECOND)
    story.server.write(65, error=errno.EPIPE)
    assert f"pgbouncer[258] sent {24 + farewell} bytes, waited {waited} for an answer and gave up" in (
        verdict(story).sentence
    )


def test_who_says_a_farewell_and_shuts_down_is_told_when_it_had_sent_its_request() -> None:
    """MySQL's client library sends COM_QUIT, shuts down and closes."""
    story = established(client=Task("php-fpm", 258), server=Task("mariadbd", 262))
    idle(story)
    story.client.write(24)
    story.server.read()
    story.wait(4 * SECOND)
    story.client.write(5)
    shut_down(story, story.client)
    story.wait(2 * SECOND)
    story.server.write(65, error=errno.EPIPE)
    assert verdict(story).sentence.startswith(
        "php-fpm[258] shut the connection down (SHUT_RDWR), 4 s after it had sent 29 bytes, "
    )


def test_who_says_a_farewell_in_the_middle_of_an_answer_is_not_told_to_have_waited_for_one() -> None:
    """PgBouncer, whose own client has left in the middle of a COPY."""
    story = established(client=Task("pgbouncer", 258), server=Task("postgres", 306))
    story.client.write(80)
    story.server.read()
    for _ in range(3):
        story.server.write(8192)
    story.client.read(8192)
    story.client.write(5)
    story.client.release()
    story.server.write(8192, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.GAVE_UP
    assert judged.sentence.startswith(
        "pgbouncer[258] read 8192 bytes of postgres[306]'s answer, left 16.4 kB unread and hung up; "
    )
    assert judged.figures.waited is None
    assert not judged.consequence.harmless


def test_a_client_that_shuts_down_before_its_answer_is_told_with_what_it_had_sent() -> None:
    story = established(client=Task("nginx", 206), server=Task("gunicorn", 222))
    story.client.write(103)
    story.server.read()
    story.wait(SECOND)
    shut_down(story, story.client)
    story.wait(2 * SECOND)
    story.server.write(119, error=errno.EPIPE)
    assert verdict(story).sentence == (
        "nginx[206] shut the connection down (SHUT_RDWR), 1 s after it had sent 103 bytes, and hung up 1.01 ms after "
        "that; 2 s later gunicorn[222]'s answer of 119 bytes failed with EPIPE"
    )


def test_a_trailer_to_a_client_that_has_all_and_shut_down_is_harmless() -> None:
    story = established()
    answer_begun(story)
    story.client.read()
    shut_down(story, story.client)
    story.server.write(5, error=errno.EPIPE)
    story.server.release()
    assert verdict(story).consequence.harmless


def test_whose_connection_its_listener_dropped_may_be_told_by_its_error_alone() -> None:
    story = Story()
    story.connect()
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.release(size=0)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.NEVER_ACCEPTED, Symptom.TOLD)


@pytest.mark.parametrize("by_itself", [False, True])
def test_who_closes_in_the_same_instant_was_told_of_no_error(by_itself: bool) -> None:
    """The other end's release has begun, and has not come to leave an error with this end."""
    story = established()
    request_unread(story)
    shutdown = story.client.shutdown(SHUT_RDWR) if by_itself else None
    story.server.release(start=story.now - 1)
    story.client.release(size=0, shutdown=3 if shutdown else 0)
    assert verdict(story).kind is Kind.LATENT


def test_who_reads_the_end_of_the_stream_where_an_error_was_left_had_been_told_of_that() -> None:
    story = established()
    request_unread(story)
    story.server.release()
    story.client.read(0)
    story.client.release()
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.UNREAD, Symptom.TOLD)


def test_who_was_told_and_shuts_down_before_it_closes_was_told_all_the_same() -> None:
    story = established()
    request_unread(story)
    story.server.release()
    story.client.shutdown(SHUT_RDWR)
    story.client.release(size=0)
    assert verdict(story).symptom is Symptom.TOLD


def test_what_a_read_cuts_off_a_message_is_not_left_unread() -> None:
    story = established(type=SEQPACKET)
    for _ in range(2):
        story.client.write(20)
        story.server.read()
        story.server.write(100)
        story.client.read(10)
    story.client.queue.clear()
    story.wait(SECOND)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.REUSED
    assert (judged.consequence.answer, judged.consequence.lost_bytes) == ("read in full", 0)


def test_a_message_that_is_not_read_is_lost() -> None:
    story = established(type=SEQPACKET)
    request_read(story)
    story.server.write(100)
    story.server.write(50)
    story.client.read(100)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    assert (verdict(story).consequence.answer, verdict(story).consequence.lost_bytes) == ("read in part", 50)


def test_a_relative_path_where_nobody_listens_may_be_in_another_folder() -> None:
    story = stories.clean(path="app.s")
    later = Story(path="app.s", start=story.now + SECOND)
    later.connect(error=errno.ENOENT)
    story.events += later.events
    assert alerts(story) == []


@pytest.mark.parametrize("standing", [lambda story: story.client.write(300), answer_begun])
def test_who_sent_the_signal_is_not_read_as_who_had_bytes_unread(standing: Callable[[Story], object]) -> None:
    story = established()
    standing(story)
    story.client.write(8)
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL))
    story.client.read(120)
    story.client.read(error=errno.ECONNRESET)
    assert "sent by uwsgi[800], with " in verdict(story).sentence


def test_names_cannot_forge_a_sentence() -> None:
    story = stories.seeds_failure(server=Task("a\x1b[2J\n; fine", 815))
    sentence = verdict(story).sentence
    assert sentence.isprintable()


def test_every_verdict_that_alerts_has_advice_on_one_line() -> None:
    for kind in Kind:
        assert kind.advice
        assert "\n" not in kind.advice
        assert Kind.named(kind.label) is kind


def test_what_came_after_the_failure_is_no_part_of_the_shutdown_that_caused_it() -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_RDWR)
    story.wait(MILLISECOND)
    story.client.write(30, error=errno.EPIPE)
    story.wait(50 * MILLISECOND)
    story.server.release()
    story.client.release()
    assert verdict(story).sentence == (
        "uwsgi[815] shut the connection down (SHUT_RDWR), without an answer; "
        "1.02 ms later httpd[4711]'s write of 30 bytes failed with EPIPE"
    )


def test_the_shutdown_that_cut_a_read_is_told_and_not_a_later_one_by_somebody_else() -> None:
    story = established()
    request_read(story)
    cut = story.server.shutdown(SHUT_WR)
    story.wait(MILLISECOND)
    story.client.read(0)
    story.wait(5 * MILLISECOND)
    story.server.shutdown(SHUT_RD, by=Task("child", 999))
    story.client.release()
    (alert,) = alerts(story)
    assert alert.verdict.sentence.startswith(
        "uwsgi[815] shut the connection down (SHUT_WR), without an answer; 1.02 ms later "
    )
    assert alert.server is not None
    assert alert.server.pid == UWSGI.pid
    assert alert.shutdown is not None
    assert alert.shutdown.start == cut.start


def test_of_two_shutdowns_a_broken_write_is_told_of_the_one_that_broke_it() -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_WR)
    story.server.shutdown(SHUT_RD)
    story.client.write(30, error=errno.EPIPE)
    assert "shut the connection down (SHUT_RD), without an answer; " in verdict(story).sentence


def test_who_shut_down_what_another_process_was_using_is_the_one_to_ask() -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_RDWR, by=Task("child", 999))
    story.server.write(30, error=errno.EPIPE)
    (alert,) = alerts(story)
    assert alert.verdict.sentence.startswith("child[999] had shut down (SHUT_RDWR) what uwsgi[815] was using")
    assert alert.culprit is not None
    assert (alert.culprit.comm, alert.culprit.pid) == ("child", 999)


BY_BASH = Task("bash", 800, uid=0)


@pytest.mark.parametrize("exchanges", [1, 2])
def test_who_was_killed_idle_is_told_with_the_silence_and_not_with_its_answer(exchanges: int) -> None:
    story = established()
    for _ in range(exchanges):
        answer_begun(story)
        story.client.read()
    story.wait(SECOND)
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL, BY_BASH))
    story.wait(3 * SECOND)
    story.client.write(30, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.KILLED
    assert judged.sentence == (
        "uwsgi[815] was killed by SIGKILL, sent by bash[800], after 1 s of silence; "
        "3 s later httpd[4711]'s write of 30 bytes failed with EPIPE"
    )
    assert judged.figures.silence == SECOND


def test_a_client_that_was_killed_idle_is_told_with_the_silence() -> None:
    story = established()
    idle(story)
    story.client.release(killed_by=signal.SIGKILL)
    story.server.write(60, error=errno.EPIPE)
    assert verdict(story).sentence.startswith("httpd[4711] was killed by SIGKILL after 1 s of silence; ")


def test_what_nobody_asked_for_is_called_no_answer() -> None:
    hows: dict[str, int | None] = {
        "was killed by SIGKILL after it had sent 80 bytes; ": signal.SIGKILL,
        "sent 80 bytes and hung up; ": None,
    }
    for said, number in hows.items():
        story = established()
        story.server.write(80)
        story.client.read()
        story.server.release(killed_by=number)
        story.client.write(30, error=errno.EPIPE)
        assert verdict(story).sentence.startswith(f"uwsgi[815] {said}")


def test_a_client_that_read_none_of_its_answer_is_told_so_in_words() -> None:
    story = established()
    answer_begun(story)
    story.client.release()
    story.server.read(error=errno.ECONNRESET)
    assert "httpd[4711] read nothing of uwsgi[815]'s answer, left 120 bytes unread and hung up" in (
        verdict(story).sentence
    )


def test_a_listener_that_was_closed_unnoticed_is_told_as_a_listener() -> None:
    story = Story()
    story.connect()
    story.client.write(5)
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.release(size=errno.ECONNRESET)
    assert verdict(story).sentence == (
        "uwsgi[815] closed the listener before it had accepted the connection, with 5 bytes from httpd[4711] unread; "
        "nobody failed this time"
    )


def _killed(story: Story, **fields: Any) -> None:
    story.server.release(killed_by=signal.SIGKILL, sender=signalled(signal.SIGKILL, BY_BASH), **fields)


def _after_a_shutdown(story: Story) -> None:
    story.server.shutdown(SHUT_RDWR)
    _killed(story)
    story.client.write(30, error=errno.EPIPE)


def _with_the_listener(story: Story) -> None:
    flags = EventFlag.EMBRYO | EventFlag.EXITING
    _killed(story, flags=int(flags), exit_code=int(signal.SIGKILL))
    story.client.write(30, error=errno.EPIPE)


def _unread(story: Story) -> None:
    story.client.write(5)
    _killed(story)
    story.client.read(error=errno.ECONNRESET)


def _unnoticed(story: Story) -> None:
    story.client.write(5)
    _killed(story)
    story.client.release(size=errno.ECONNRESET)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (_after_a_shutdown, ", 10 µs after that; "),
        (_with_the_listener, ", before it had accepted the connection; "),
        (_unread, ", with 5 bytes unread; "),
        (_unnoticed, ", with 5 bytes from httpd[4711] unread; "),
    ],
)
def test_what_follows_the_sender_of_a_signal_is_not_read_as_the_sender_s(
    happens: Callable[[Story], None], said: str
) -> None:
    story = established()
    happens(story)
    assert f"was killed by SIGKILL, sent by bash[800]{said}" in verdict(story).sentence


def test_an_exit_s_status_does_not_run_into_a_time() -> None:
    story = established()
    request_read(story)
    story.server.shutdown(SHUT_RDWR)
    story.server.release(exit_status=1)
    story.client.write(30, error=errno.EPIPE)
    assert "exited with status 1, 10 µs after that; " in verdict(story).sentence


def test_a_stop_that_met_an_idle_connection_is_told_with_its_sender_and_then_the_silence() -> None:
    story = established()
    idle(story)
    stop = signalled(signal.SIGTERM, BY_BASH, int(SenderFlag.HANDLED), story.now - 3 * MILLISECOND)
    story.server.release(exit_status=0, sender=stop)
    story.client.write(30, error=errno.EPIPE)
    assert "exited with status 0, 3 ms after SIGTERM from bash[800], after 1 s of silence; " in verdict(story).sentence


def test_a_survivor_that_is_killed_itself_has_not_exited() -> None:
    story = established()
    request_read(story)
    story.server.release()
    story.client.read(0)
    story.client.release(killed_by=signal.SIGKILL)
    assert verdict(story).consequence.afterwards == "killed"


@pytest.mark.parametrize("symptom", RESET)
def test_a_client_that_leaves_unread_only_what_came_unasked_after_a_silence_hurts_nobody(symptom: Symptom) -> None:
    # A moment later the same word would have been a broken write to a client that had all it was owed: harmless, too.
    story = established()
    idle(story)
    story.server.write(60)
    story.client.release()
    SYMPTOMS[symptom](story.server)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.GAVE_UP, symptom)
    assert judged.consequence.harmless


def _part_of_the_answer_too(story: Story) -> None:
    request_read(story)
    story.server.write(120)
    story.client.read(100)
    story.wait(SECOND)
    story.server.write(60)


def _no_silence_before_it(story: Story) -> None:
    request_read(story)
    story.server.write(120)
    story.client.read()
    story.server.write(60)


def _the_answer_to_a_new_request(story: Story) -> None:
    idle(story)
    request_read(story)
    story.server.write(60)


def _half_an_answer_after_a_silence(story: Story) -> None:
    idle(story)
    story.server.write(60)
    story.client.read(30)


def _a_new_request_on_its_way(story: Story) -> None:
    idle(story)
    story.server.write(60)
    story.client.write(300)


def _an_answer_that_had_to_wait_for_room(story: Story) -> None:
    request_read(story)
    story.server.write(1000)
    story.server.write(1000, error=errno.EAGAIN)
    story.client.read()
    story.wait(SECOND)
    story.server.write(1000)


def _an_answer_of_which_not_all_found_room(story: Story) -> None:
    request_read(story)
    story.server.write(1000, result=500)
    story.client.read()
    story.wait(SECOND)
    story.server.write(500)


def _an_answer_of_which_much_is_forgotten(story: Story) -> None:
    request_read(story)
    for _ in range(100):
        story.server.write(1)
        story.wait(20 * MILLISECOND)
    for _ in range(27):
        story.client.read()
        story.server.read(error=errno.EAGAIN)
    story.server.write(60)


@pytest.mark.parametrize(
    "standing",
    [
        _an_answer_that_had_to_wait_for_room,
        _an_answer_of_which_not_all_found_room,
        _an_answer_of_which_much_is_forgotten,
        _part_of_the_answer_too,
        _no_silence_before_it,
        _the_answer_to_a_new_request,
        _half_an_answer_after_a_silence,
        _a_new_request_on_its_way,
    ],
)
def test_a_client_that_leaves_any_of_its_answer_unread_is_no_harmless_one(standing: Callable[[Story], None]) -> None:
    story = established()
    standing(story)
    story.client.release()
    story.server.read(error=errno.ECONNRESET)
    assert not verdict(story).consequence.harmless


def test_whoever_asked_and_is_told_of_a_reset_misses_its_answer() -> None:
    story = established()
    idle(story)
    story.client.write(5)
    story.server.release()
    story.client.release(size=0)
    judged = verdict(story)
    assert (judged.kind, judged.symptom) == (Kind.UNREAD, Symptom.TOLD)
    assert not judged.consequence.harmless


@pytest.mark.parametrize("after", [{"error": errno.EAGAIN}, {"result": 200}], ids=["nothing fits", "part of it fits"])
def test_a_client_that_leaves_while_its_answer_waits_for_room_gave_up(after: dict[str, Any]) -> None:
    story = established()
    request_read(story)
    story.server.write(1000)
    story.server.write(1000, **after)
    story.wait(SECOND)
    story.client.read()
    story.client.release()
    story.server.write(1000, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.GAVE_UP
    assert not judged.consequence.harmless


def test_a_client_that_leaves_at_the_end_of_a_write_that_had_blocked_gave_up() -> None:
    story = established()
    request_read(story)
    story.server.write(300_000, took=SECOND)
    story.client.read()
    story.client.release()
    story.server.write(1000, error=errno.EPIPE)
    judged = verdict(story)
    assert judged.kind is Kind.GAVE_UP
    assert not judged.consequence.harmless
