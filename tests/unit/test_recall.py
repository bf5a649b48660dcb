"""What the kernel keeps of a connection tells the story that a stream of its operations would have told.

tests/recorder.py stands for the kernel: bpf/history.h and bpf/hangup.c, condition for condition.
"""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.cli.reporters.alert import alert_block
from hangup.tracer.record.facts import ProcessFact, SocketFact
from hangup.tracer.record.layout import (
    FIRST_MOMENTS,
    LAST_MOMENTS,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_WAITALL,
    Event,
    EventFlag,
    Handed,
    History,
    HistoryState,
    KeptMoment,
    Operation,
    RecordType,
    SocketFlag,
    moments_of,
    pack,
    pack_history,
    pack_moments,
    pack_users,
    type_of,
    unpack_history,
    users_of,
)
from hangup.tracer.statistics import Key, RowCounts
from hangup.tracer.story.endpoints import Endpoints, Suffered
from hangup.tracer.story.known import Known
from hangup.tracer.story.recall import UNKNOWN_USER, Omitted, recalled
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind
from tests import stories
from tests.recorder import Kept, Recorder
from tests.records import unpack_all
from tests.stories import (
    HTTPD,
    MILLISECOND,
    SEQPACKET,
    SHUT_WR,
    UWSGI,
    End,
    Story,
    Task,
    established,
    exchange,
    interleaved,
    random_script,
)
from tests.unit.both_ways import (
    Kernel,
    assert_both_ways_agree,
    differences,
    essence,
    recorded,
    recording,
    sharpened,
    streamed,
)
from tests.unit.playback import CLOCKS
from tests.unit.sources import Records
from tests.unit.verdict_examples import EXAMPLES, HARMLESS, two_victims

SECOND = 1000 * MILLISECOND
KEPT = FIRST_MOMENTS + LAST_MOMENTS
KWORKER = Task("kworker/1:0", 44, uid=0)


def history_of(records: Sequence[bytes]) -> Handed:
    """Return the only histories among records."""
    (found,) = (unpack_history(record) for record in records if type_of(record) == RecordType.HISTORY)
    return found


def alerts_of(records: Sequence[bytes]) -> list[Alert]:
    with Tracer(source=Records(records), latent=True, harmless=True) as tracer:
        return list(tracer.alerts())


def counts_of(tracer: Tracer) -> dict[Key, RowCounts]:
    return {key: row.counts for key, row in tracer.statistics.rows.items()}


def rows_both_ways(events: Sequence[Event], recorder: Recorder) -> tuple[dict[Key, RowCounts], dict[Key, RowCounts]]:
    """Return what is counted of a stream, and of the same operations by the recorder."""
    found = []
    for tracer in (
        Tracer(source=Records(map(pack, events)), latent=True, harmless=True),
        recording(Kernel(events, recorder=recorder)),
    ):
        with tracer:
            list(tracer.alerts())
            found.append(counts_of(tracer))
    return found[0], found[1]


# ---- stories are judged both ways


@pytest.mark.parametrize(
    "example",
    [each for some in (*EXAMPLES.values(), HARMLESS, (two_victims,)) for each in some],
    ids=lambda each: each.__name__,
)
def test_every_story_that_the_document_quotes_is_told_both_ways(example: Callable[[], Story | Sequence[Story]]) -> None:
    told = example()
    assert_both_ways_agree([event for story in ([told] if isinstance(told, Story) else told) for event in story.events])


@settings(max_examples=100)
@given(
    st.randoms(use_true_random=False),
    st.randoms(use_true_random=False),
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
)
def test_any_order_of_records_gives_the_same_alerts_and_the_same_counts_both_ways(
    told: Random, played: Random, addresses: list[int]
) -> None:
    events = interleaved([random_script(told) for _ in addresses], addresses, played)
    kernel = Kernel(events)
    with Tracer(source=Records(map(pack, events)), latent=True, harmless=True) as tracer:
        expected = by_path(tracer.alerts())
        rows = counts_of(tracer)
    with recording(kernel) as tracer:
        found = by_path(tracer.alerts())
        assert tracer._endpoints.open == 0
        assert tracer.losses().total == 0
        assert counts_of(tracer) == rows
    assert found == expected, "\n".join(differences(found, expected))
    assert kernel.recorder.histories == {}


def by_path(alerts: Any) -> list[dict[str, object]]:
    said = [essence(alert, times=False) for alert in alerts]
    return sorted(said, key=lambda one: (str(one["path"]), str(one["survivor"])))


def talk(random: Random) -> Story:
    """Return a connection of few operations or of hundreds, that ends anyhow; one operation comes after the other."""
    kind = random.choice(("accepted",) * 8 + ("older", "pair"))
    story = Story(older=kind == "older")
    if kind == "pair":
        story.socketpair()
    elif kind == "accepted":
        story.connect()
        story.accept()
    asker = story.client
    for _ in range(random.choice((0, 1, 2, 3, 10, 40))):
        say(random, asker)
        if random.random() < 0.1:
            story.wait(SECOND)
        if random.random() < 0.9:
            say(random, asker.other)
        if random.random() < 0.05:
            asker = asker.other
    end(random, story)
    return story


def say(random: Random, writer: End) -> None:
    """Let one end write, and the other one read it, or most of it."""
    reader = writer.other
    for _ in range(random.choice((1, 1, 2, 3, 9, 25))):
        size = random.randint(50, 500)
        writer.write(size, result=50 if random.random() < 0.05 else size)
        if random.random() < 0.05:
            writer.write(10, error=errno.EAGAIN)
        if random.random() < 0.2:
            reader.read(random.randint(1, sum(reader.queue)), peek=random.random() < 0.3)
    while sum(reader.queue) and random.random() < 0.97:
        reader.read(random.randint(1, sum(reader.queue)))


def end(random: Random, story: Story) -> None:
    """Let one end go, and the other one notice, or not."""
    if random.random() < 0.3:
        story.wait(SECOND)
    ends = (story.client, story.server)
    if random.random() < 0.15:
        random.choice(ends).shutdown(random.choice((0, 1, 2)))
    gone = random.choice(ends)
    survivor = gone.other
    unread = bool(gone.queue)
    how: dict[str, Any] = random.choice(({}, {}, {"exit_status": 0}, {"exit_status": 1}, {"killed_by": 9}))
    gone.release(**how, by=Task("heir", 444) if random.random() < 0.1 else None)
    story.wait(random.choice((1000, MILLISECOND)))
    if random.random() < 0.6 and survivor.queue:
        survivor.read()
    notices = random.random()
    if notices < 0.4:
        survivor.write(random.choice((5, 80)), error=errno.EPIPE)
    elif notices < 0.6 and unread:
        survivor.read(error=errno.ECONNRESET)
        unread = False
    elif notices < 0.8 and not survivor.queue:
        survivor.read(0)
    if random.random() < 0.8:
        survivor.release(size=errno.ECONNRESET if unread and random.random() < 0.7 else 0)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_a_connection_of_any_length_is_judged_and_counted_alike_both_ways(random: Random) -> None:
    story = talk(random)
    assert_both_ways_agree(story.events)
    expected, found = rows_both_ways(sharpened(story.events), Recorder())
    assert found == expected


def test_the_generated_talks_are_long_enough_to_leave_gaps_and_end_in_many_ways() -> None:
    random = Random(1)
    kinds, gaps = set(), 0
    for _ in range(300):
        for alert in recorded(talk(random).events):
            kinds.add(alert.verdict.kind)
            assert alert.story is not None
            gaps += bool(alert.story.client.gaps or alert.story.server.gaps)
    assert gaps > 50
    assert kinds >= {Kind.KILLED, Kind.EXITED, Kind.UNREAD, Kind.ANSWERED, Kind.GAVE_UP, Kind.LATENT, Kind.REUSED}


class _Patient(stories._Author):
    """Writes scripts of many exchanges."""

    def talk(self) -> None:
        """Let the client ask and the server answer, so often that not all of it is kept."""
        random = self.random
        for _ in range(random.randint(8, 25)):
            for end in ("client", "server")[: 1 + self.accepted]:
                for _ in range(random.randint(1, 3)):
                    self.write(end)
                self.asked = end == "client"
                reader = "server" if end == "client" else "client"
                if not self.accepted or (not self.hear(reader) and random.random() < 0.1):
                    return
                if self.unread(reader):
                    self.read(reader, self.unread(reader))


def test_records_that_come_in_another_order_beside_a_gap_give_the_same_verdicts() -> None:
    """Which turn was whose is a guess then, but a good one."""
    gaps = 0
    for seed in range(150):
        random = Random(seed)
        events = interleaved([_Patient(random).script], [0], random)
        expected, found = streamed(events), recorded(events)
        assert [(one.verdict.kind, one.verdict.symptom, one.verdict.consequence) for one in found] == [
            (one.verdict.kind, one.verdict.symptom, one.verdict.consequence) for one in expected
        ], seed
        gaps += any(one.story and one.story.client.gaps and one.story.server.gaps for one in found)
    assert gaps > 50


# ---- gaps


def busy(exchanges: int = 3000) -> Story:
    """Return thousands of exchanges, after which the server dies in the middle of one."""
    story = established()
    exchange(story, exchanges)
    story.client.write(11)
    story.server.read()
    story.server.write(5)
    story.server.release(killed_by=signal.SIGKILL)
    story.client.write(12, error=errno.EPIPE)
    story.client.release()
    return story


def test_of_thousands_of_operations_the_totals_and_the_turns_are_exact() -> None:
    story = busy()
    one = history_of(Recorder().record(story.events)).one
    assert (one.operations, one.entered) == (6002, 6002)
    assert (one.turns, one.writes, one.reads) == (3001, 3001, 3000)
    (alert,) = recorded(story.events)
    told = alert.story
    assert told is not None
    assert (told.client.written_bytes, told.client.read_bytes) == (30_011, 60_000)
    assert (told.server.written_bytes, told.server.read_bytes) == (60_005, 30_011)
    # The one that failed and the release came after the hand-over.
    assert told.client.operations == 6002 + 2
    figures = alert.verdict.figures
    assert (figures.sent_bytes, figures.read_bytes, figures.answered_bytes, figures.unread_bytes) == (11, 11, 5, 0)
    assert alert.verdict.certain
    assert_both_ways_agree(story.events)


def test_operations_that_were_not_kept_are_told_as_such_where_they_were() -> None:
    (alert,) = recorded(busy().events)
    told = alert.story
    assert told is not None
    assert [(gap.after, gap.operations) for gap in told.client.gaps] == [(FIRST_MOMENTS, 6002 - KEPT)]
    assert sum(moment.role == "client" for moment in told.timeline) == KEPT + 2
    assert "operations of the client not kept" in alert_block(alert, CLOCKS, width=100)


@pytest.mark.parametrize("more", range(-1, 3))
def test_an_end_of_a_few_operations_more_than_are_kept_has_a_gap_of_these(more: int) -> None:
    story = established()
    for _ in range(KEPT + more - 1):
        story.client.write(10)
    story.server.release()
    story.client.write(12, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert alert.story is not None
    assert alert.story.client.operations_not_kept == max(more, 0)
    assert alert.story.client.written_bytes == 10 * (KEPT + more - 1)
    assert alert.verdict.figures.sent_bytes == 10 * (KEPT + more - 1)


def test_whose_turn_began_among_what_was_not_kept_is_known() -> None:
    story = established()
    story.client.write(7)
    story.server.read()
    story.server.write(9)
    story.client.read()
    # One request, and an answer that is longer than what is kept.
    story.client.write(100)
    story.server.read()
    for _ in range(50):
        story.server.write(10)
        story.client.read()
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    figures = alert.verdict.figures
    assert (figures.sent_bytes, figures.answered_bytes) == (100, 500)
    assert_both_ways_agree(story.events)


def test_when_an_end_wrote_last_is_known_though_that_was_not_kept() -> None:
    story = established()
    for _ in range(2):
        story.client.write(7)
        story.server.read()
        story.server.write(9)
        story.client.read()
    # Nothing but attempts to read for a second.
    for _ in range(50):
        story.wait(20 * MILLISECOND)
        story.server.read(error=errno.EAGAIN)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert alert.verdict.kind is Kind.REUSED
    assert_both_ways_agree(story.events)


def test_what_was_short_of_room_before_the_gap_is_not_short_of_it_after() -> None:
    story = established()
    story.client.write(7)
    story.server.read()
    story.server.write(9, error=errno.EAGAIN)
    for _ in range(50):
        story.server.write(9)
        story.client.read()
        story.client.write(7)
        story.server.read()
    story.server.write(9)
    story.client.read()
    for _ in range(LAST_MOMENTS):
        story.server.read(error=errno.EAGAIN)
    story.wait(SECOND)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    assert_both_ways_agree(story.events)


def test_a_read_that_hurt_nobody_hurts_nobody_when_what_came_before_it_is_not_known() -> None:
    """In the kernel the answer was complete; what is kept of it is not."""
    story = established()
    for _ in range(20):
        story.client.write(7)
        story.server.read()
        story.server.write(9)
        story.client.read()
    story.server.shutdown(SHUT_WR)
    for _ in range(3):
        story.client.read(0)
    story.client.write(7)
    story.server.release()
    story.client.read(error=errno.ECONNRESET)
    (alert,) = recorded(story.events)
    assert alert.verdict.symptom is Symptom.RESET_READ
    assert_both_ways_agree(story.events)


# ---- users


def passed_around(*tasks: Task) -> Story:
    """Return a connection whose server's end one task after the other writes to."""
    story = established()
    for number, task in enumerate(tasks):
        story.client.write(10)
        story.server.read(by=task)
        story.server.write(100 + number, by=task)
        story.client.read()
    story.server.release(by=tasks[-1])
    story.client.write(30, error=errno.EPIPE)
    return story


def test_a_few_users_are_all_known() -> None:
    workers = [Task("worker", 900 + number, uid=998, cgroup=7) for number in range(2)]
    story = passed_around(*workers)
    server = history_of(Recorder().record(story.events)).other
    assert server is not None
    assert [(user.pid, user.cgroup) for user in users_of(server)] == [(815, 1), (900, 7), (901, 7)]
    assert not server.state & HistoryState.USERS_LOST
    assert_both_ways_agree(story.events)


def test_of_many_users_the_first_and_the_last_ones_are_known_and_that_there_were_more() -> None:
    workers = [Task("worker", 900 + number) for number in range(50)]
    story = passed_around(*workers)
    server = history_of(Recorder().record(story.events)).other
    assert server is not None
    assert [user.pid for user in users_of(server)] == [815, 948, 949]
    assert server.state & HistoryState.USERS_LOST
    (alert,) = recorded(story.events)
    (other,) = streamed(story.events)
    assert alert.verdict.kind is other.verdict.kind
    assert alert.server is not None
    assert alert.server.pid == 949
    assert essence(alert)["figures"] == essence(other)["figures"]


def answer(story: Story, *tasks: Task) -> None:
    """Have each of these, one after the other, take a request and answer it."""
    for task in tasks:
        story.client.write(10)
        story.server.read(by=task)
        story.server.write(100, by=task)
        story.client.read()


def test_who_released_an_end_is_not_said_to_have_only_inherited_it_where_users_are_missing() -> None:
    story = established()
    answer(story, Task("worker", 900), Task("a", 901), Task("b", 902), Task("c", 903))
    # It did more than that, which is not known any more.
    story.server.release(by=Task("worker", 900), exit_status=1)
    story.client.read(0)
    (alert,) = recorded(story.events)
    assert alert.verdict.kind is Kind.EXITED
    assert [one.verdict.kind for one in streamed(story.events)] == [Kind.EXITED]


@pytest.mark.parametrize("later", [Task("worker", 815, 817, uid=998), Task("uwsgi", 815, 817, uid=33)])
def test_who_has_another_name_or_user_by_the_time_it_leaves_is_told_as_who_it_is_then(later: Task) -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    story.server.write(20)
    story.server.release(by=later)
    story.client.write(30, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert alert.server is not None
    assert (alert.server.comm, alert.server.uid) == (later.comm, later.uid)
    assert_both_ways_agree(story.events)


def test_who_leaves_under_another_name_is_not_said_to_have_only_inherited_its_end() -> None:
    story = established()
    answer(story, *[UWSGI] * 10, Task("worker", 900), *[UWSGI] * 10)
    # What it did is among the operations that are not kept.
    story.server.release(by=Task("renamed", 900), exit_status=1)
    story.client.read(0)
    (alert,) = recorded(story.events)
    assert alert.verdict.kind is Kind.EXITED
    assert [one.verdict.kind for one in streamed(story.events)] == [Kind.EXITED]


def test_who_leaves_under_another_name_after_its_connection_was_handed_over_has_not_only_inherited_its_end() -> None:
    story = established()
    answer(story, *[UWSGI] * 10, Task("worker", 900), *[UWSGI] * 10)
    story.server.write(30, error=errno.EPIPE)
    story.server.release(by=Task("renamed", 900), exit_status=1)
    story.client.read(0)
    expected = [(Kind.PEER_SHUTDOWN, "server"), (Kind.EXITED, "client")]
    for alerts in (recorded(story.events), streamed(story.events)):
        assert [(alert.verdict.kind, alert.verdict.victim) for alert in alerts] == expected


def test_an_operation_of_a_user_that_there_is_not_is_somebodys() -> None:
    handed = history_of(Recorder().record(stories.seeds_failure().events))
    first, last = moments_of(handed.one)
    moments = pack_moments([moment._replace(user=7) for moment in first + last])
    events = list(recalled(handed._replace(one=handed.one._replace(moments=moments), other=None)))
    assert {event.leader for event in events if isinstance(event, Event)} == {UNKNOWN_USER.leader}


# ---- the order of records


def split(events: Sequence[Event]) -> tuple[list[bytes], list[bytes]]:
    """Return the records of a story before and after the first HISTORY, this one at the end of the former."""
    records = Recorder().record(events)
    place = [type_of(record) for record in records].index(RecordType.HISTORY) + 1
    return records[:place], records[place:]


def test_a_failure_for_whose_histories_there_is_no_room_is_told_when_its_end_is_released() -> None:
    for refused in (1, 2):
        recorder = Recorder()
        recorder.no_room = refused
        records = recorder.record(stories.seeds_failure().events)
        alerts = alerts_of(records)
        if refused == 1:
            (alert,) = alerts
            assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.ANSWERED, Symptom.BROKEN_WRITE)
        else:
            # Nor is it counted as one that ended well: what was lost is.
            assert not records
            assert not recorder.counted()


def test_a_late_told_failure_behind_operations_that_were_not_kept_is_one() -> None:
    story = established()
    for _ in range(100):
        story.client.write(1)
        story.server.read(1)
    story.client.write(1)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    recorder = Recorder()
    recorder.no_room = 1
    (alert,) = alerts_of(recorder.record(story.events))
    assert alert.verdict.symptom is Symptom.BROKEN_WRITE


def test_a_connection_that_both_ends_hand_over_in_the_same_instant_is_one() -> None:
    story = stories.seeds_failure()
    before, after = split(story.events)
    for place in range(len(after)):
        found = alerts_of([*before, *after[:place], before[-1], *after[place:]])
        assert [essence(alert) for alert in found] == [essence(alert) for alert in recorded(story.events)]


def overtaken(event: Event) -> bytes:
    """Return the record of an operation whose connection was handed over in the instant in which it ended."""
    return pack(event._replace(flags=event.flags | EventFlag.OVERTAKEN))


def test_an_operation_that_its_connections_hand_over_has_overtaken_is_taken_once_if_it_stands_in_the_history() -> None:
    story = stories.seeds_failure()
    before, after = split(story.events)
    kept = story.events[: len(story.events) - len(after)]
    for event in kept:
        found = alerts_of([*before, overtaken(event), *after])
        assert [essence(alert) for alert in found] == [essence(alert) for alert in recorded(story.events)]


def test_an_operation_that_its_connections_hand_over_has_overtaken_is_taken_if_it_stands_not_in_the_history() -> None:
    story = established()
    story.client.write(100)
    story.server.read(60)
    late = story.server.read(40)
    story.server.shutdown(socket.SHUT_WR)
    story.client.read(0)
    story.client.release()
    story.server.release()
    (expected,) = recorded(story.events)
    before, after = split([event for event in story.events if event is not late])
    (alert,) = alerts_of([*before, overtaken(late), *after])
    assert alert.story is not None
    assert alert.story.server.read_bytes == 100
    assert alert.verdict.kind is expected.verdict.kind
    assert alert.verdict.certain
    # What failed is judged without what is told behind it.
    (alert,) = alerts_of([*before, after[0], overtaken(late), *after[1:]])
    assert not alert.verdict.certain


def test_a_release_that_a_hand_over_has_overtaken_begins_no_connection_where_both_ends_were_gone_by_then() -> None:
    story = stories.latent()
    records = Recorder().record(story.events)
    for release in (event for event in story.events if event.operation == Operation.RELEASE):
        with Tracer(source=Records([*records, overtaken(release)]), latent=True, harmless=True) as tracer:
            assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.LATENT]
            assert tracer._endpoints.open == 0
            assert tracer.statistics.total.connections == 1


def test_an_operation_that_a_hand_over_has_overtaken_is_doubted_where_sums_may_have_it_already() -> None:
    story = busy()
    before, after = split(story.events)
    late = story.events[-len(after) - 1]
    for end in (late.end, late.end + 1):
        (alert,) = alerts_of([*before, overtaken(late._replace(end=end)), *after])
        assert not alert.verdict.certain


def test_a_write_that_was_recorded_after_the_read_of_its_bytes_began_before_it() -> None:
    story = established()
    write = story.client.write(300, took=50_000)
    story.now = write.start + 20_000
    read = story.server.read()
    story.server.write(120)
    story.now = write.end + 1000
    story.server.release()
    story.client.read(120)
    story.client.write(30, error=errno.EPIPE)
    events = sorted(story.events, key=lambda event: event.end)
    assert events.index(read) < events.index(write)
    (alert,) = recorded(events)
    assert alert.story is not None
    (told,) = (each.event for each in alert.story.timeline if each.event.result == 300 and each.role == "client")
    assert told.end == write.end
    assert told.start < read.end
    assert alert.verdict.kind is Kind.ANSWERED
    assert (alert.verdict.figures.sent_bytes, alert.verdict.figures.answered_bytes) == (300, 120)
    assert_both_ways_agree(events, times=False)


def drained_after_a_long_write(*, exchanges: int, drains: int, answer: int) -> Story:
    """Return a server that reads a long write till its end before it closes, though it has answered that before."""
    story = established()
    exchange(story, exchanges)
    begun = story.now
    write = story.client.write(1_000_000, took=50 * MILLISECOND)
    story.now = begun + MILLISECOND
    story.server.read(600_000)
    if answer:
        story.server.write(answer)
    story.server.read(300_000)
    # What the queue has room for is there when the write ends.
    story.now = write.end + story.step
    for _ in range(drains):
        story.server.read(100_000 // drains)
    if answer:
        story.client.read(answer)
    story.server.release()
    story.client.write(30, error=errno.EPIPE)
    story.client.release()
    story.events.sort(key=lambda event: event.end)
    return story


@pytest.mark.parametrize("drains", [20, 40])
@pytest.mark.parametrize("exchanges", [1, 4, 40])
def test_who_may_have_been_answered_in_a_long_write_is_judged_with_a_doubt(exchanges: int, drains: int) -> None:
    story = drained_after_a_long_write(exchanges=exchanges, drains=drains, answer=120)
    (expected,), (alert,) = streamed(story.events), recorded(story.events)
    assert expected.verdict.kind is Kind.ANSWERED
    assert alert.verdict.kind is Kind.ANSWERED or not alert.verdict.certain


@pytest.mark.parametrize("drains", [20, 40])
@pytest.mark.parametrize("exchanges", [4, 40])
def test_who_was_not_answered_in_a_long_write_is_judged_without_a_doubt(exchanges: int, drains: int) -> None:
    story = drained_after_a_long_write(exchanges=exchanges, drains=drains, answer=0)
    for alerts in (streamed(story.events), recorded(story.events)):
        assert [(alert.verdict.kind, alert.verdict.certain) for alert in alerts] == [(Kind.UNANSWERED, True)]


def answered_while_it_asks(*, exchanges: int, reads: int, sent: int = 1_000_000, answers: int = 1) -> Story:
    """Return a client that is answered, and hung up on, while its one long write still waits for room.

    exchanges: how many there were before; reads: in how many the server takes what it reads of it; sent: how much the
    write had sent when it returned; answers: in how many writes it is answered.
    """
    story = established()
    exchange(story, exchanges)
    begun = story.now
    write = story.client.write(1_000_000, result=sent, shutdown=3, took=50 * MILLISECOND)
    story.now = begun + MILLISECOND
    for _ in range(reads):
        story.server.read(600_000 // reads if sent < 1_000_000 else 1_000_000 // reads)
    for _ in range(answers):
        story.server.write(120)
    story.server.release()
    story.now = write.end + story.step
    story.client.read(120 * answers)
    story.events.sort(key=lambda event: event.end)
    return story


def asked_while_it_pushes(*, exchanges: int, reads: int, answered: bool = False) -> Story:
    """Return a server whose one thread still pushes when another one has read a request, and which then hangs up.

    exchanges: how many there were before; reads: in how many the client takes what it reads of it before it asks.
    """
    story = established()
    exchange(story, exchanges)
    begun = story.now
    push = story.server.write(1_000_000, took=50 * MILLISECOND)
    story.now = begun + MILLISECOND
    for _ in range(reads):
        story.client.read(100_000 // reads)
    story.client.write(10)
    story.server.read(by=UWSGI.thread(818))
    story.now = push.end + story.step
    if answered:
        story.server.write(20)
    story.client.read()
    story.server.release()
    story.client.read(0)
    story.client.release()
    story.events.sort(key=lambda event: event.end)
    return story


@pytest.mark.parametrize("exchanges", [0, 1, 20])
@pytest.mark.parametrize("reads", [1, 10, 100])
def test_what_was_pushed_since_before_the_request_is_no_answer(exchanges: int, reads: int) -> None:
    """may_be_cut() goes by when a turn's first write ended."""
    story = asked_while_it_pushes(exchanges=exchanges, reads=reads)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.UNANSWERED, Symptom.CUT_READ)
    assert [each.verdict.kind for each in streamed(story.events)] == [Kind.UNANSWERED]
    if reads == 1 and exchanges <= 1:
        # Where some operations are not kept, it is a guess.
        assert_both_ways_agree(story.events, times=False)


@pytest.mark.parametrize("exchanges", [0, 1, 20])
def test_what_is_said_after_such_a_push_is_an_answer(exchanges: int) -> None:
    story = asked_while_it_pushes(exchanges=exchanges, reads=1, answered=True)
    assert not streamed(story.events)
    assert not recorded(story.events)


@pytest.mark.parametrize("exchanges", [0, 1, 2])
@pytest.mark.parametrize("reads", [1, 3, 10])
def test_a_write_that_was_cut_short_by_who_had_answered_meanwhile_is_told_as_answered(
    exchanges: int, reads: int
) -> None:
    """As nginx answers 413, and closes."""
    story = answered_while_it_asks(exchanges=exchanges, reads=reads, sent=800_000)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.UNREAD, Symptom.SHORT_WRITE)
    figures = alert.verdict.figures
    assert (figures.sent_bytes, figures.answered_bytes) == (800_000, 120)
    assert alert.verdict.consequence.answer == "read in full"
    assert alert.verdict.certain
    assert_both_ways_agree(story.events, times=False)


@pytest.mark.parametrize("exchanges", [0, 1, 20])
@pytest.mark.parametrize("reads", [1, 10, 100])
@pytest.mark.parametrize("answers", [1, 10])
def test_who_was_answered_while_it_still_wrote_lacks_nothing(exchanges: int, reads: int, answers: int) -> None:
    story = answered_while_it_asks(exchanges=exchanges, reads=reads, answers=answers)
    story.client.read(0)
    story.client.release()
    assert not streamed(story.events)
    assert not recorded(story.events)


@pytest.mark.parametrize("exchanges", [1, 20])
@pytest.mark.parametrize("reads", [1, 10, 100])
def test_what_fails_after_an_answer_that_came_while_it_was_asked_for_is_told_so(exchanges: int, reads: int) -> None:
    story = answered_while_it_asks(exchanges=exchanges, reads=reads)
    story.client.write(30, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.figures.answered_bytes) == (Kind.ANSWERED, 120)
    # Whose turn it was is reckoned from what is left where not all operations were kept, and the kernel was misled.
    assert alert.verdict.certain == (2 + 2 * exchanges + reads <= KEPT)


def test_a_long_write_that_the_one_that_left_had_only_begun_to_read_has_no_answer() -> None:
    story = established()
    write = story.client.write(1_000_000, result=300_000, shutdown=3, took=SECOND)
    story.now = write.start + MILLISECOND
    story.server.read(1000)
    story.server.release()
    story.events.sort(key=lambda event: event.end)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.figures.answered_bytes) == (Kind.UNREAD, 0)
    assert_both_ways_agree(story.events, times=False)


def test_of_an_end_that_is_older_than_the_probes_bytes_do_not_say_when_a_write_began() -> None:
    """What was in the queue then was written before."""
    story = Story(older=True)
    story.server.queue.append(50)
    story.server.read(50)
    story.server.write(20)
    story.client.read()
    write = story.client.write(10)
    story.server.release()
    story.client.write(12, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert alert.story is not None
    (told,) = (each.event for each in alert.story.timeline if each.event.size == write.size)
    assert told.start == told.end
    assert not alert.verdict.certain


def test_bytes_that_were_only_looked_at_say_nothing_of_the_order() -> None:
    story = established()
    story.server.read(100, peek=True)
    first = story.client.write(100)
    begun = story.now
    second = story.client.write(100, took=SECOND)
    story.now = begun
    read = story.server.read(200)
    story.now = second.end
    story.server.release()
    story.client.write(12, error=errno.EPIPE)
    (alert,) = recorded(sorted(story.events, key=lambda event: event.end))
    assert alert.story is not None
    told = [each.event for each in alert.story.timeline if each.event.size == 100]
    # The first one ended before it was read; the second one is in what the read took.
    assert [event.start for event in told] == [first.end, read.end - 1]


def nothing_kept(sock: int, peer: int) -> History:
    handed = history_of(Recorder().record(stories.seeds_failure().events))
    zeros = dict.fromkeys(History._fields, 0) | {
        "users": pack_users([]),
        "moments": pack_moments([]),
        "sender": bytes(len(handed.one.sender)),
    }
    return History(**zeros)._replace(sock=sock, peer=peer)  # type: ignore[arg-type]


def test_the_order_by_bytes_reaches_over_what_was_not_kept() -> None:
    """Of the last writes and reads it is known where in the stream they are: the totals are."""
    story = established()
    for _ in range(40):
        story.client.write(10)
        story.server.read()
    late = story.client.write(10, took=50_000)
    story.now = late.start + 20_000
    read = story.server.read()
    story.now = late.end
    story.server.release()
    story.client.write(12, error=errno.EPIPE)
    (alert,) = recorded(sorted(story.events, key=lambda event: event.end))
    assert alert.story is not None
    (last,) = (each.event for each in alert.story.timeline if each.event.end == late.end and each.event.size == 10)
    assert last.start == read.end - 1


class TwoThreads(Recorder):
    """Two threads end an operation in the same instant: note() has a place for one of them (bpf/history.h)."""

    def __init__(self, first: Event) -> None:
        super().__init__()
        self._first = first

    def _note(self, history: Kept, event: Event, *rest: int) -> None:
        super()._note(history, event, *rest)
        if event is self._first:
            history.operations -= 1


def test_whose_shutdown_it_was_is_doubted_where_one_is_not_kept() -> None:
    story = established()
    for _ in range(FIRST_MOMENTS):
        story.client.write(10)
        story.server.read()
    story.client.shutdown(socket.SHUT_WR)
    for _ in range(LAST_MOMENTS + 1):
        story.server.write(10)
        story.client.read()
    story.server.shutdown(socket.SHUT_WR)
    story.client.write(60, error=errno.EPIPE)
    story.client.release()
    story.server.release()
    (stream,) = streamed(story.events)
    assert (stream.verdict.kind, stream.verdict.certain) == (Kind.OWN_SHUTDOWN, True)
    (alert,) = recorded(story.events)
    assert alert.verdict.kind is Kind.PEER_SHUTDOWN
    assert not alert.verdict.certain


@pytest.mark.parametrize("messages", [1, 8, 40])
@pytest.mark.parametrize("lost", [0, 3, -1])
def test_what_two_threads_write_in_the_same_instant_is_counted_and_its_order_doubted(messages: int, lost: int) -> None:
    story = established()
    writes = [story.client.write(10) for _ in range(messages)]
    story.server.read()
    story.server.release()
    story.client.write(12, error=errno.EPIPE)
    (alert,) = alerts_of(TwoThreads(writes[lost % messages]).record(story.events))
    assert alert.story is not None
    client = alert.story.client
    assert client.written_bytes == 10 * messages
    # The connect is another one, and the one that failed stands behind the histories.
    assert client.operations == 1 + messages + 1
    assert client.operations_not_kept == max(1, 1 + messages - KEPT)
    assert alert.verdict.kind is Kind.UNANSWERED
    figures = alert.verdict.figures
    assert (figures.sent_bytes, figures.read_bytes, figures.unread_bytes) == (10 * messages, 10 * messages, 0)
    assert alert.verdict.doubts == ("two operations of one end ended in the same instant: one of them is only counted",)


@pytest.mark.parametrize("notices", [10, KEPT, 100])
def test_a_client_that_leaves_any_number_of_notices_unread_hurts_nobody(notices: int) -> None:
    story = established()
    story.client.write(8)
    story.server.read()
    story.server.write(6)
    story.client.read()
    push(story, notices)
    story.client.release()
    story.server.read(error=errno.ECONNRESET)
    assert_both_ways_agree(story.events)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.consequence.harmless) == (Kind.GAVE_UP, True)
    assert alert.verdict.doubts == ()


def push(story: Story, notices: int) -> None:
    story.wait(SECOND)
    for _ in range(notices):
        story.server.write(6)
    story.wait(MILLISECOND)


def test_notices_that_may_be_an_answer_s_rest_are_doubted_where_that_is_not_kept() -> None:
    story = established()
    for _ in range(KEPT):
        story.client.write(8)
        story.server.read()
        story.server.write(6)
        story.client.read()
    push(story, KEPT)
    story.client.release()
    story.server.read(error=errno.ECONNRESET)
    (alert,) = recorded(story.events)
    assert (alert.verdict.kind, alert.verdict.consequence.harmless) == (Kind.GAVE_UP, False)
    assert alert.verdict.doubts == ("what was left unread may have been sent unasked: when it was sent is not kept",)


# ---- other kinds of connections


def over_a_socketpair() -> Story:
    story = Story(path=b"", client=Task("parent", 50), server=Task("child", 51))
    story.socketpair()
    return story


def test_a_socketpair_is_one_operation_of_its_first_end() -> None:
    story = over_a_socketpair()
    story.client.write(30)
    story.server.release(killed_by=signal.SIGKILL)
    story.client.write(8, error=errno.EPIPE)
    handed = history_of(Recorder().record(story.events))
    assert handed.other is not None
    assert handed.one.state & HistoryState.PAIR
    assert [moment.operation for moment in moments_of(handed.one)[0]] == [Operation.SOCKETPAIR, Operation.WRITE]
    assert [moment.operation for moment in moments_of(handed.other)[0]] == [Operation.RELEASE]
    (alert,) = recorded(story.events)
    assert alert.story is not None
    assert (alert.story.pair, alert.story.complete, alert.path) == (True, True, None)
    assert alert.key.path == "(socketpair)"
    assert_both_ways_agree(story.events)


def test_a_death_is_an_alert_whichever_end_of_a_socketpair_asks() -> None:
    """may_be_cut() takes the second end for a server, which is owed nothing."""
    story = over_a_socketpair()
    story.server.write(30)
    story.client.read()
    story.client.release(killed_by=signal.SIGKILL)
    story.server.read(0)
    with recording(Kernel(story.events, recorder=Recorder())) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.KILLED]


@pytest.mark.parametrize("answers", [0, 1, 2])
@pytest.mark.parametrize("polls", [FIRST_MOMENTS, 3 * KEPT])
@pytest.mark.parametrize("first", ["client", "server"])
def test_who_asks_on_a_socketpair_is_known_though_its_first_write_is_not_kept(
    first: str, polls: int, answers: int
) -> None:
    story = over_a_socketpair()
    asker: End = getattr(story, first)
    for _ in range(polls):
        asker.read(error=errno.EAGAIN)
    for _ in range(answers):
        asker.write(8)
        asker.other.read()
        asker.other.write(6)
        asker.read()
    asker.write(8)
    asker.other.read()
    asker.other.release(killed_by=signal.SIGKILL)
    asker.read(0)
    assert_both_ways_agree(story.events)
    (alert,) = recorded(story.events)
    assert alert.verdict.figures.sent_bytes == 8
    assert alert.story is not None
    assert alert.verdict.victim is not None
    assert alert.story.end(alert.verdict.victim).sock == asker.sock


def older(story: Story, path: str | None = "/run/app.s") -> Known:
    """Return what was told of it, as it was open already."""
    known = Known()
    for end in (story.client, story.server):
        known.take(ProcessFact(1, end.task.pid, end.task.comm))
        flags = SocketFlag.SERVER if end is story.server else SocketFlag.CLIENT
        if path is None:
            flags |= SocketFlag.PAIR
        known.take(SocketFact(1, flags, path, end.inode_number, end.other.inode_number, (end.task.pid,)))
    return known


@pytest.mark.parametrize("first", ["client", "server"])
def test_an_older_connection_has_its_ends_from_the_inventory(first: str) -> None:
    story = Story(older=True)
    if first == "server":
        story.server.write(5)
    story.client.write(8)
    story.server.release()
    story.client.write(9, error=errno.EPIPE)
    endpoints = Endpoints(older(story))
    list(endpoints.feed(unpack_all(Recorder().record(story.events))))
    (suffered,) = (one for one in endpoints.settle() if isinstance(one, Suffered))
    connection = suffered.aftermath.connection
    assert (connection.path, connection.pair, connection.complete) == ("/run/app.s", False, False)
    assert (connection.client.sock, connection.server.sock) == (story.client.sock, story.server.sock)
    assert suffered.aftermath.endpoint.role == "client"


def test_the_path_that_the_kernel_tells_of_an_older_connection_stays_where_the_inventory_has_none() -> None:
    story = Story(older=True)
    story.server.write(5)
    story.server.release()
    story.client.write(9, error=errno.EPIPE)
    recorder = Recorder()
    recorder.addresses[story.server.sock] = b"/run/kernel.s"
    endpoints = Endpoints(older(story, path=None))
    list(endpoints.feed(unpack_all(recorder.record(story.events))))
    (suffered,) = endpoints.settle()
    assert (suffered.aftermath.connection.path, suffered.aftermath.connection.pair) == ("/run/kernel.s", False)


def test_a_connection_whose_other_end_had_gone_before_is_one_of_one_history() -> None:
    story = Story(older=True)
    story.server.release()
    story.client.write(103, error=errno.EPIPE)
    story.client.release()
    handed = history_of(Recorder().record(story.events[1:]))
    assert handed.other is None
    assert_both_ways_agree(story.events[1:])


# ---- what it cost


def cut(story: Story, *, release: bool = True) -> Story:
    story.client.write(300)
    story.server.read()
    story.server.release(exit_status=7)
    story.client.read(0)
    if release:
        story.client.release()
    return story


@pytest.mark.parametrize("path", ["/run/app.s", "/run/other.s"])
def test_a_connect_of_who_was_hurt_is_recorded_for_that_alone(path: str) -> None:
    story = cut(established())
    following = established(path=path, client_sock=0x3000, server_sock=0x4000, start=story.now)
    following.client.write(5)
    following.client.release()
    following.server.read()
    following.server.release()
    events = [*story.events, *following.events]
    flags = [event.flags for event in unpack_all(Recorder().record(events)) if isinstance(event, Event)]
    assert [bool(flag & EventFlag.AFTERMATH) for flag in flags] == [False, False, True]
    assert_both_ways_agree(events)
    with recording(Kernel(events)) as tracer:
        (alert,) = tracer.alerts()
        assert alert.verdict.consequence.afterwards == ("connected again" if path == "/run/app.s" else "closed")
        # Nothing but that is made of it: the connection itself is counted in the kernel.
        assert tracer._endpoints.open == 0
        assert tracer.statistics.total.connections == 2


@pytest.mark.parametrize(
    "between",
    [lambda end: end.write(5), lambda end: end.read(error=errno.EAGAIN), lambda end: end.shutdown(SHUT_WR)],
    ids=["write", "read", "shutdown"],
)
def test_a_connect_after_something_else_is_no_second_try(between: Callable[[End], object]) -> None:
    elsewhere = established(client_sock=0x5000, server_sock=0x6000, start=500_000_000)
    story = cut(established())
    elsewhere.now = story.now
    began = len(elsewhere.events)
    between(elsewhere.client)
    following = Story(client_sock=0x3000, server_sock=0x4000, start=elsewhere.now)
    following.connect()
    events = [*elsewhere.events[:began], *story.events, *elsewhere.events[began:], *following.events]
    assert recorded(events)[0].verdict.consequence.afterwards == "closed"
    assert_both_ways_agree(events)


def test_what_a_later_history_tells_of_the_thread_is_not_what_it_did_after_the_failure() -> None:
    """A pool of two connections to a server that dies: both are broken, one after the other."""
    first = established()
    second = established(client_sock=0x3000, server_sock=0x4000, start=first.now, inode_number=90_000)
    for story in (first, second):
        story.client.write(300)
        story.server.read()
    for story in (first, second):
        story.now = second.now
        story.server.release(killed_by=signal.SIGKILL)
    began = len(first.events), len(second.events)
    first.now = second.now + MILLISECOND
    first.client.write(30, error=errno.EPIPE)
    first.client.release()
    second.now = first.now
    second.client.write(30, error=errno.EPIPE)
    second.client.release()
    events = sorted(first.events[: began[0]] + second.events[: began[1]], key=lambda event: event.end)
    events += first.events[began[0] :] + second.events[began[1] :]
    assert [alert.verdict.consequence.afterwards for alert in recorded(events)] == ["closed", "closed"]
    assert_both_ways_agree(events)


def test_how_the_survivor_ended_is_known_when_a_kernel_thread_drops_its_descriptor() -> None:
    """fill_owner() looks in a map that nobody fills while recording, but for operations after a hand-over."""
    story = established()
    story.client.write(300, flags=int(EventFlag.IO_URING))
    story.server.read(100)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    kworker = Task("kworker/1:0", 44, uid=0)
    flags = int(EventFlag.KERNEL_THREAD | EventFlag.OWNER_EXITED)
    story.client.release(by=kworker, flags=flags, owner_pid=4711, leader=b"httpd".ljust(16, b"\0"), exit_code=9)
    with recording(Kernel(story.events, recorder=Recorder())) as tracer:
        (alert,) = tracer.alerts()
    assert alert.verdict.consequence.afterwards == "killed"


def test_whose_end_a_kernel_thread_dropped_is_known_where_the_ring_was_made_after_the_accept() -> None:
    story = established()
    before = len(story.events)
    story.client.write(8)
    story.server.read(message_flags=MSG_DONTWAIT, flags=int(EventFlag.IO_URING))
    flags = int(EventFlag.KERNEL_THREAD | EventFlag.OWNER_EXITED)
    leader = b"uwsgi".ljust(16, b"\0")
    story.server.release(by=KWORKER, flags=flags, owner_pid=UWSGI.pid, leader=leader, exit_code=signal.SIGKILL)
    story.client.read(0)
    with recording(Kernel(story.events[:before], story.events[before:])) as tracer:
        (alert,) = tracer.alerts()
    (expected,) = streamed(story.events)
    assert essence(alert) == essence(expected)
    assert alert.verdict.kind is Kind.KILLED


# ---- what the kernel side has to be careful about


def test_what_another_thread_wrote_before_connect_returned_is_kept() -> None:
    """begun() makes a history anew where one has begun already."""
    story = established()
    story.events.clear()
    story.client.write(100, by=HTTPD.thread(4799))
    story.connect()
    story.accept()
    story.client.write(30)
    story.server.read(130)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    with recording(Kernel(story.events, recorder=Recorder())) as tracer:
        (alert,) = tracer.alerts()
    assert alert.verdict.figures.sent_bytes == 130


def test_a_first_write_begins_a_turn_also_if_what_was_heard_before_it_is_recorded_later() -> None:
    """wrote() forgets that, if it has heard something of an end that has not written, as far as it knows."""
    story = established()
    question = story.client.write(30, took=50_000)
    story.now = question.start + 10_000
    story.server.read()
    story.server.write(20)
    story.now = question.end
    story.client.read()
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    events = sorted(story.events, key=lambda event: event.end)
    server = history_of(Recorder().record(events)).other
    assert server is not None
    assert (server.turns, server.turn_bytes) == (1, 20)


def test_a_request_is_not_answered_by_the_rest_of_a_greeting() -> None:
    """may_be_cut() asks who wrote last; an answer is a turn that began later."""
    story = established()
    story.server.write(20)
    story.client.write(30)
    story.server.write(20)
    story.server.shutdown(SHUT_WR)
    story.client.read()
    story.client.read(0)
    assert [alert.verdict.kind for alert in streamed(story.events)] == [Kind.PEER_SHUTDOWN]
    with recording(Kernel(story.events, recorder=Recorder())) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.PEER_SHUTDOWN]


def test_a_connection_is_counted_under_who_used_it_and_not_under_who_closed_it() -> None:
    """count_ended() takes the last user of any kind."""
    story = stories.clean()
    story.events.pop()
    story.client.release(by=Task("heir", 444))
    expected, found = rows_both_ways(story.events, Recorder())
    assert found == expected


@pytest.mark.parametrize("end", ["client", "server"])
def test_an_end_that_nobody_used_is_not_counted_under_the_kernel_thread_that_dropped_it(end: str) -> None:
    story = Story(path=b"", client=Task("parent", 50), server=Task("parent", 50))
    story.socketpair()
    dropped: End = getattr(story, end)
    dropped.release(by=KWORKER, flags=int(EventFlag.KERNEL_THREAD), syscall=-1)
    dropped.other.release()
    expected, found = rows_both_ways(story.events, Recorder())
    assert found == expected
    assert [(key.client, key.server) for key in found] == [("parent", "parent")]


@pytest.mark.parametrize("end", ["client", "server"])
def test_an_older_end_of_which_nothing_but_its_end_is_seen_is_not_counted_under_a_kernel_thread(end: str) -> None:
    story = Story(older=True)
    dropped: End = getattr(story, end)
    dropped.other.release()
    dropped.release(by=KWORKER, flags=int(EventFlag.KERNEL_THREAD), syscall=-1)
    _, found = rows_both_ways(story.events, Recorder())
    assert all("kworker" not in name for key in found for name in (key.client, key.server))


def test_messages_of_which_a_read_dropped_the_end_have_not_been_left_unread() -> None:
    """released() compares bytes written with bytes read, whatever the socket's type."""
    story = established(type=SEQPACKET)
    story.client.write(300)
    story.server.read(100)
    story.server.queue.clear()
    story.server.release()
    story.client.release()
    recorder = Recorder()
    # So many have been told in this second that this one is only counted.
    recorder._latent = (story.events[-1].end >> 30, 64)
    expected, found = rows_both_ways(story.events, recorder)
    assert found == expected


def test_a_thread_that_ends_itself_is_not_told_as_its_process_s_exit() -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    # exit(2): a process ends by exit_group(2).
    story.server.release(exit_status=0, syscall=60)
    story.client.read(0)
    story.client.release(exit_status=0, syscall=60)
    (alert,) = streamed(story.events)
    assert alert.verdict.kind is Kind.UNANSWERED
    assert alert.verdict.sentence.startswith("uwsgi[815] hung up (its thread 817 exited) ")
    assert alert.verdict.consequence.afterwards == "closed"
    assert_both_ways_agree(story.events)


@pytest.mark.parametrize("answered", [0, 100])
@pytest.mark.parametrize("thread", [817, 815], ids=["another thread", "the leader"])
def test_a_thread_that_ends_itself_with_a_status_is_told_as_its_process_s_exit_and_doubted(
    thread: int, answered: int
) -> None:
    story = established(server=UWSGI.thread(thread))
    story.client.write(10)
    story.server.read()
    if answered:
        story.server.write(answered)
    story.server.release(exit_status=3, syscall=60)
    if answered:
        story.client.read()
    story.client.read(0)
    story.client.release(exit_status=3, syscall=60)
    (alert,) = streamed(story.events)
    assert alert.verdict.kind is Kind.EXITED
    assert "uwsgi[815] exited with status 3" in alert.verdict.sentence
    assert alert.verdict.consequence.afterwards == "exited"
    doubted = "it was a thread that exited: its process may have gone on" in alert.verdict.doubts
    assert doubted is (thread != 815)
    assert_both_ways_agree(story.events)


@pytest.mark.parametrize("syscall", [60, 231], ids=["exit(2)", "exit_group(2)"])
def test_a_client_that_exits_without_a_request_is_an_alert_whichever_way_it_exits(syscall: int) -> None:
    story = established()
    story.client.release(exit_status=0, syscall=syscall, descriptor=-1)
    story.server.write(20, error=errno.EPIPE)
    story.server.release()
    (alert,) = streamed(story.events)
    assert not alert.verdict.consequence.harmless
    assert_both_ways_agree(story.events)


def test_a_process_that_is_killed_while_a_thread_of_it_exits_was_killed() -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    story.server.release(killed_by=9, syscall=60)
    story.client.read(0)
    assert [alert.verdict.kind for alert in streamed(story.events)] == [Kind.KILLED]


def waiting_for_all(*, answer: int = 40, **how: Any) -> Story:
    """Return a client that waits for 4,096 bytes and gets fewer, for the server goes so."""
    story = established()
    story.client.write(10)
    story.server.read()
    begun = story.now
    if answer:
        story.server.write(answer)
    story.server.release(**how)
    story.client.read(answer, message_flags=MSG_WAITALL, start=begun)
    story.client.release()
    return story


@pytest.mark.parametrize("how", [{"killed_by": 9}, {"exit_status": 1}])
def test_who_waits_for_all_of_its_answer_and_gets_part_of_it_from_one_that_dies_is_told_so(how: dict[str, int]) -> None:
    story = waiting_for_all(**how)
    (alert,) = streamed(story.events)
    assert alert.verdict.symptom is Symptom.CUT_READ
    assert alert.verdict.kind is (Kind.KILLED if "killed_by" in how else Kind.EXITED)
    assert alert.verdict.sentence.endswith("read of 4096 bytes met the end of the stream after 40 bytes")
    assert_both_ways_agree(story.events)


def test_a_buffer_that_is_larger_than_the_answer_is_filled_as_far_as_that_goes() -> None:
    # Many wait for all of a large buffer to get whatever comes until the other end closes.
    for story in (waiting_for_all(), waiting_for_all(exit_status=0)):
        assert streamed(story.events) == []
        assert_both_ways_agree(story.events)


@pytest.mark.parametrize(
    "fields",
    [
        {"message_flags": MSG_WAITALL | MSG_DONTWAIT},
        {"message_flags": MSG_WAITALL | MSG_PEEK},
        {"result": 4096},
        # A message is all that one read gets (unix_dgram_recvmsg()).
        {"type": SEQPACKET},
    ],
)
def test_a_read_that_does_not_wait_or_gets_all_it_waits_for_has_not_met_the_end(fields: dict[str, Any]) -> None:
    *before, read, close = waiting_for_all(killed_by=9).events
    events = [*before, read._replace(**fields), close]
    kind = fields.get("type", read.type)
    assert streamed([event._replace(type=kind) for event in events]) == []


def test_a_read_that_a_signal_cuts_short_before_the_other_end_dies_has_not_met_the_end() -> None:
    story = waiting_for_all(killed_by=9)
    *before, release, read, close = story.events
    early = read._replace(end=release.start)
    assert streamed([*before, early, release, close]) == []


def test_what_somebody_did_who_is_not_kept_any_more_is_not_put_down_to_who_came_after() -> None:
    story = established()
    for task in (UWSGI, Task("a", 901), Task("b", 902)):
        story.client.write(10)
        story.server.read(by=task)
        story.server.write(100, by=task)
        story.client.read()
    story.client.write(10)
    story.server.release(by=Task("heir", 444))
    story.client.write(30, error=errno.EPIPE)
    (alert,) = recorded(story.events)
    assert alert.story is not None
    assert 444 not in alert.story.server.transferred_by


def test_an_answer_that_comes_late_is_no_last_word_where_what_was_before_is_not_kept() -> None:
    story = established()
    for _ in range(KEPT):
        story.client.write(30)
        story.server.read()
        story.server.write(12)
        story.client.read()
    for _ in range(3):
        story.client.write(30)
    for _ in range(LAST_MOMENTS - 4):
        story.server.read(5)
    story.wait(SECOND)
    for size in (136, 204, 50):
        story.server.write(size)
        story.client.read()
    story.server.release(exit_status=1)
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    assert_both_ways_agree(story.events)
    endpoints = Endpoints()
    list(endpoints.feed([history_of(Recorder().record(story.events))]))
    (connection,) = endpoints._connections.values()
    assert connection.server.silence == 0


@pytest.mark.xfail(strict=True, reason="that an end had been silent is not kept, where that was long ago")
def test_a_last_word_after_a_silence_is_one_also_where_the_silence_is_not_kept() -> None:
    story = established()
    for _ in range(2):
        story.client.write(300)
        story.server.read()
        story.server.write(120)
        story.client.read()
    story.wait(SECOND)
    for _ in range(KEPT + 1):
        story.server.write(9)
        story.client.read()
    story.server.release(exit_status=1)
    story.client.read(0)
    story.client.release()
    assert streamed(story.events) == []
    assert recorded(story.events) == []


# ---- hostile histories

_numbers = st.sampled_from([0, 1, 2, 5, 22, 23, 0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1])


@st.composite
def _histories(draw: st.DrawFn) -> History:
    handed = history_of(Recorder().record(stories.seeds_failure().events))
    history = draw(st.sampled_from([handed.one, handed.other]))
    assert history is not None
    widths = {
        "state": 32,
        "release_flags": 16,
        "type": 8,
        "user": 8,
        "users_kept": 8,
        "operations": 32,
        "entered": 32,
        "turns": 32,
    }
    changes: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from([*widths, "sock", "peer", "read_bytes", "turn_start", "last_write"]))):
        changes[name] = draw(_numbers) & (1 << widths.get(name, 64)) - 1
    moments = [
        KeptMoment(
            draw(_numbers),
            draw(st.sampled_from([0, 1, 300, -32, -104, -11, -(1 << 31), (1 << 31) - 1])),
            draw(st.sampled_from([0, 2, 4096, (1 << 32) - 1])),
            draw(st.sampled_from([0, MSG_PEEK])),
            draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 255])),
            draw(st.sampled_from([0, 1, 255])),
            draw(st.sampled_from([0, 3, 255])),
            0,
        )
        for _ in range(draw(st.integers(0, KEPT)))
    ]
    if moments:
        changes["moments"] = pack_moments(moments)
    return history._replace(**changes)


@settings(max_examples=200)
@given(st.lists(st.tuples(_histories(), st.none() | _histories(), st.integers(0, 2)), max_size=3))
def test_any_histories_are_told_and_stop_nothing(many: list[tuple[History, History | None, int]]) -> None:
    good = stories.seeds_failure(client_sock=0x100, server_sock=0x200)
    rubbish = [pack_history(Handed(9, number, one, other, b"/run/x")) for one, other, number in many]
    records = [*rubbish, *map(pack, stories.clean().events), *rubbish, *map(pack, good.events)]
    found = [alert for alert in alerts_of(records) if alert.path == "/tmp/helloFastCGI.s"]
    assert [alert.verdict.kind for alert in found][-1:] == [Kind.ANSWERED]


def test_histories_of_two_connections_are_not_those_of_one() -> None:
    one = history_of(Recorder().record(stories.seeds_failure().events))
    other = history_of(Recorder().record(stories.seeds_failure(client_sock=0x100, server_sock=0x200).events))
    assert other.other is not None
    list(Endpoints().feed([one._replace(other=other.other)]))


def test_a_gap_of_an_end_that_is_not_there_is_nobodys() -> None:
    assert list(Endpoints().feed([Omitted(1, 2, 3, 4, 5, 6, 7)])) == []


def test_what_is_kept_of_all_connections_stays_counted_where_operations_are_missing() -> None:
    endpoints, recorder = Endpoints(), Recorder()
    for number in range(3):
        base = 0xFFFF_8801_0000_0000 + number * 0x1000
        story = established(client_sock=base, server_sock=base + 0x800)
        for _ in range(100):
            story.client.write(1)
            story.server.read(1)
        story.client.write(1)
        story.server.release()
        story.client.write(8, error=errno.EPIPE)
        list(endpoints.feed(unpack_all(recorder.record(story.events))))
        assert endpoints.open == number + 1
        kept = sum(len(end.kept) for one in endpoints._connections.values() for end in (one.client, one.server))
        assert endpoints._kept >= kept
    for connection in list(endpoints._connections.values()):
        endpoints._forget(connection)
    assert endpoints._kept == 0


def test_a_number_that_the_kernel_gave_is_nobody_elses() -> None:
    endpoints = Endpoints()
    story = established(client_sock=0x1000, server_sock=0x1800)
    story.client.write(1)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    list(endpoints.feed(unpack_all(Recorder().record(story.events))))
    ((number, kept),) = endpoints._connections.items()
    for base in range(0x2000, 0x2000 + (number + 3) * 0x1000, 0x1000):
        list(endpoints.feed(established(client_sock=base, server_sock=base + 0x800).events))
    assert endpoints._connections[number] is kept
    assert len({id(each) for each in endpoints._connections.values()}) == number + 4


def test_who_was_killed_in_an_answer_may_have_worked_in_what_was_not_kept() -> None:
    worker = Task("worker", 900)
    story = established(path="/run/app.s")
    for number in range(14):
        by = worker if number == 4 else UWSGI
        story.client.write(10)
        story.server.read(by=by)
        story.server.write(5, by=by)
        story.client.read()
    story.client.write(10)
    story.server.read()
    story.server.write(1000)
    story.server.release(by=worker, killed_by=9)
    story.client.read(1000)
    story.client.read()
    story.client.release()
    assert [alert.verdict.kind for alert in recorded(story.events)] == [Kind.KILLED]
    assert [alert.verdict.kind for alert in streamed(story.events)] == [Kind.KILLED]


def test_an_end_whose_beginning_is_not_known_has_left_nothing_that_is_not_in_its_queue() -> None:
    recorder = Recorder()
    story = established(path="/run/app.s")
    story.client.write(300)
    story.server.read()
    story.server.write(1200)
    story.client.read()
    story.client.write(5)
    assert recorder.record(story.events) == []
    before = len(story.events)
    # take_history() has given its place to another one.
    del recorder.histories[story.server.sock]
    story.server.read()
    story.server.write(9)
    story.client.read()
    story.server.release()
    story.client.release()
    assert recorder.record(story.events[before:]) == []
    assert [row.latent for row in recorder.counted()] == [0]
