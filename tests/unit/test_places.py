"""Places tells where each operation was as `Endpoints` does, though it looks at less of it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random

import pytest

from hangup.tracer.record.facts import ProcessFact, SocketFact, pack_fact, unpack_fact
from hangup.tracer.record.layout import (
    Event,
    EventFlag,
    RecordType,
    SocketFlag,
    pack,
    type_of,
    unpack,
    unpack_history,
)
from hangup.tracer.selection import Participant, Selection
from hangup.tracer.story import places as module
from hangup.tracer.story.endpoints import ConnectFailed, Endpoints
from hangup.tracer.story.known import Known
from hangup.tracer.story.places import Placed, Places
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.story.recall import recalled
from tests import stories
from tests.recorder import Recorder
from tests.stories import HTTPD, UWSGI, Story, Task, established, seeds_failure

Told = tuple[Process, str, int | None, str | None, bool, str | None, int | None]
"""Who did an operation, and where: at whose end, number, path, whether a pair, whom with."""


def told(placed: Iterable[Placed]) -> list[Told]:
    return [
        (where.process, where.role, where.number, where.path, where.pair, where.peer_comm, where.peer_pid)
        for _, where, _ in placed
    ]


def told_by_endpoints(events: Sequence[Event], known: Known) -> tuple[list[Told], int]:
    """Return the same by the other way, and how many connections were stale."""
    endpoints = Endpoints(known, operations=lambda _connection: True)
    found: list[Told] = []
    for event in events:
        for occurrence in endpoints.feed([pack(event)]):
            if isinstance(occurrence, ConnectFailed):
                found.append((process_of(occurrence.event), "client", None, occurrence.path, False, None, None))
        for _, _, place in endpoints.operated():
            found.append((process_of(event), *place))
    return found, endpoints.stale


def pair() -> Story:
    story = Story(client=Task("sshd", 812), server=Task("sshd", 813))
    story.socketpair()
    story.client.write(64)
    story.server.read(64)
    story.client.release(exit_status=0)
    story.server.release()
    return story


def handed_on() -> Story:
    """Return a connection whose ends are used by one process and thread after the other."""
    story = established()
    story.client.write(8)
    for task in (Task("worker", 816), Task("uwsgi", 815, 817), UWSGI, Task("worker", 816)):
        story.server.task = task
        story.server.read(4)
        story.client.write(4)
        story.server.write(1)
    story.server.release()
    story.server.task = UWSGI
    story.client.read(4)
    story.client.task = Task("sh", 900)
    story.client.release()
    return story


def refused() -> Story:
    story = Story(path="/run/gone.s")
    story.connect(error=errno.ECONNREFUSED)
    return story


MADE: list[Callable[[], Story]] = [*stories.STORIES.values(), seeds_failure, pair, handed_on, refused]


def moved(story: Story, number: int) -> list[Event]:
    """Return a story's events on other sockets, by number."""
    by = number << 32
    return [
        event._replace(
            sock=event.sock + by, peer=event.peer + by if event.peer else 0, inode_number=event.inode_number + number
        )
        for event in story.events
    ]


@pytest.mark.parametrize("seed", range(60))
def test_it_tells_the_same_of_connections_that_are_open_at_once_and_of_which_records_are_missing(seed: int) -> None:
    random = Random(seed)
    several = [moved(random.choice(MADE)(), number % 4) for number in range(8)]
    missing = random.choice([0, 0.02, 0.2])
    events: list[Event] = []
    while several:
        one = random.choice(several[:3])
        event = one.pop(0)
        if random.random() >= missing:
            events.append(event)
        several = [each for each in several if each]
    knows, knew = Known(), Known()
    for known in (knows, knew):
        known.take(ProcessFact(1, 815, "uwsgi"))
    places = Places(knows)
    expected, stale = told_by_endpoints(events, knew)
    found = []
    while events:
        some = random.randrange(1, 40)
        found += told(places.feed([pack(event) for event in events[:some]]))
        del events[:some]
    assert found == expected
    assert places.stale == stale


def told_of_records(records: Sequence[bytes]) -> tuple[list[Told], list[Told]]:
    """Return what `Places` tells of records, and what `Endpoints` does."""
    endpoints = Endpoints(Known(), operations=lambda _connection: True)
    expected: list[Told] = []
    for record in records:
        for occurrence in endpoints.feed([record]):
            if isinstance(occurrence, ConnectFailed):
                expected.append((process_of(occurrence.event), "client", None, occurrence.path, False, None, None))
        expected += [(process_of(unpack(record)), *place) for record, _, place in endpoints.operated()]
    return told(Places(Known()).feed(records)), expected


@pytest.mark.parametrize("seed", range(40))
def test_it_tells_the_same_of_what_a_kernel_that_records_hands_over(seed: int) -> None:
    random = Random(seed)
    several = [moved(random.choice(MADE)(), number % 4) for number in range(8)]
    events: list[Event] = []
    while several:
        one = random.choice(several[:3])
        events.append(one.pop(0))
        several = [each for each in several if each]
    found, expected = told_of_records(Recorder().record(events))
    assert found == expected
    assert len(found) > 3


def test_an_operation_that_stood_in_the_history_too_is_shown_once() -> None:
    history, *later = Recorder().record(seeds_failure().events)
    assert type_of(history) == RecordType.HISTORY
    kept = [each for each in recalled(unpack_history(history)) if isinstance(each, Event)]
    again = [pack(each._replace(flags=each.flags | EventFlag.OVERTAKEN)) for each in kept]
    found, expected = told_of_records([history, *again, *later])
    assert found == expected
    assert len(found) == len(kept) + len(later)


def test_who_does_an_operation_is_not_whoever_did_a_later_one_of_the_same_block() -> None:
    story = established()
    for task in (HTTPD, Task("other", 7), HTTPD):
        story.client.task = task
        story.client.write(1)
    placed = Places().feed([pack(event) for event in story.events])
    assert [where.process.comm for _, where, _ in placed[-3:]] == ["httpd", "other", "httpd"]


def test_a_connection_that_was_open_before_has_the_path_and_the_holder_that_are_known() -> None:
    story = established()
    story.client.write(16)
    [*_, write] = story.events
    known = Known()
    known.take(ProcessFact(1, 815, "uwsgi"))
    known.take(SocketFact(1, SocketFlag.CLIENT, None, inode_number=write.inode_number, peer_inode_number=99))
    known.take(SocketFact(1, SocketFlag.SERVER, "/run/app.s", inode_number=99, holders=(815,)))
    [(_, where, _)] = Places(known).feed([pack(write)])
    expected, _ = told_by_endpoints([write], known)
    assert told([(None, where, b"")]) == expected  # type: ignore[list-item]
    assert (where.peer_comm, where.peer_pid) == ("uwsgi", 815)


def selects(selection: Selection) -> Callable[[str | None, Collection[Process]], bool]:
    return lambda path, users: selection.matches(
        path, [Participant(user.pid, name) for user in users for name in user.names]
    )


def test_operations_are_shown_of_selected_connections_from_when_they_are_known_to_be() -> None:
    story = established()
    story.client.write(1)
    story.server.read(1)
    story.server.write(2)
    records = [pack(event) for event in story.events]
    assert len(Places(selects=selects(Selection(paths=("/run/*",)))).feed(records)) == len(records)
    assert Places(selects=selects(Selection(paths=("/tmp/*",)))).feed(records) == []
    assert Places(selects=selects(Selection(ignored_comms=("httpd",)))).feed(records) == []
    assert len(Places(selects=selects(Selection(comms=("uwsgi",)))).feed(records)) == len(records) - 1


def test_of_a_connection_that_nobody_has_selected_the_path_is_known_when_somebody_uses_it_who_is() -> None:
    story = established()
    story.client.write(1)
    connect, accept, write = (event._replace(connection=7) for event in story.events)
    places = Places()
    assert len(places.feed([pack(connect)])) == 1
    dropped = accept._replace(flags=accept.flags | EventFlag.UNSELECTED, address=connect.address)
    assert places.feed([pack(dropped)]) == []
    [(_, where, _)] = places.feed([pack(write)])
    assert where.path == "/run/app.s"


def test_what_a_thread_did_after_a_failure_is_not_shown() -> None:
    [*_, last] = seeds_failure().events
    assert Places().feed([pack(last._replace(flags=last.flags | EventFlag.AFTERMATH))]) == []


def test_other_records_are_handed_on_when_it_is_their_turn() -> None:
    known = Known()
    heard: list[bytes] = []

    def take(record: bytes) -> None:
        heard.append(record)
        fact = unpack_fact(record)
        assert isinstance(fact, ProcessFact)
        known.take(fact)

    story = established()
    story.client.write(1)
    [*_, write] = story.events
    fact = pack_fact(ProcessFact(1, 815, "uwsgi"))
    [(_, where, _)] = Places(known, on_other=take).feed([fact, pack(write)])
    assert heard == [fact]
    assert where.peer_comm == "uwsgi"


def test_of_too_many_connections_one_that_was_not_used_lately_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
    places = Places()
    used = moved(established(), 0)
    places.feed([pack(event) for event in used])
    for number in range(1, 6):
        places.feed([pack(event) for event in moved(established(), number)])
    assert places.evicted == 3


def test_a_record_that_is_too_short_for_an_operation_is_none() -> None:
    [first, *_] = seeds_failure().events
    with pytest.raises(struct.error):
        Places().feed([pack(first)[:100]])
