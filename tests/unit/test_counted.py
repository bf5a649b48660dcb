"""What the kernel has counted is taken over once, of who was selected, and never more than it says."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.record.facts import CountsFact, ProcessFact, SocketFact, pack_fact
from hangup.tracer.record.layout import Counted, Event, SocketFlag
from hangup.tracer.selection import Selection
from hangup.tracer.statistics import OTHER, Key
from hangup.tracer.tracer import Tracer
from hangup.tracer.verdicts import Kind
from tests.captures import counted
from tests.stories import MILLISECOND, Story
from tests.unit.both_ways import Kernel, recording
from tests.unit.sources import Records, live, no_host


def others(connections: int, operations: int = 0) -> Counted:
    return counted(connections, operations, client="", server="", path=b"", ready=0)


class Table(Kernel):
    """A kernel that has counted these."""

    def __init__(self, *rows: Counted, events: Sequence[Event] = ()) -> None:
        super().__init__(events)
        self.rows = rows
        self.asked = 0

    def counted(self) -> Sequence[Counted]:
        """Return the rows as they are now."""
        self.asked += 1
        return list(self.rows)


CLEAN = Key("nginx", "uwsgi", "/run/app.s", Kind.CLEAN)


def counts(tracer: Tracer) -> dict[Key, tuple[int, int]]:
    return {key: (row.connections, row.operations) for key, row in tracer.statistics.counts().rows.items()}


def test_only_what_has_come_since_is_added() -> None:
    kernel = Table(counted(5, 40))
    with recording(kernel) as tracer:
        assert counts(tracer) == {CLEAN: (5, 40)}
        assert counts(tracer) == {CLEAN: (5, 40)}
        kernel.rows = (counted(7, 60), counted(1, 4, latent=1))
        assert counts(tracer) == {CLEAN: (7, 60), CLEAN._replace(kind=Kind.LATENT): (1, 4)}
        assert tracer.statistics.total.latent == 1


def test_operations_that_are_added_after_their_connection_are_not_left_out() -> None:
    kernel = Table(counted(5, 40))
    with recording(kernel) as tracer:
        counts(tracer)
        # The table may be looked at between the two.
        kernel.rows = (counted(6, 40),)
        assert counts(tracer) == {CLEAN: (6, 40)}
        kernel.rows = (counted(6, 48),)
        assert counts(tracer) == {CLEAN: (6, 48)}


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4)))
def test_however_often_it_is_taken_over_the_sums_are_the_kernels(steps: list[list[int]]) -> None:
    def rows(totals: list[int]) -> tuple[Counted, ...]:
        return (
            others(totals[0]),
            counted(totals[1]),
            counted(totals[2], client="", server="", path=b""),
            counted(totals[3], client="", server="", path=b"", pair=1),
        )

    kernel = Table()
    sums = [0] * 4
    with recording(kernel) as tracer:
        for step in steps:
            sums = [total + more for total, more in zip(sums, step, strict=True)]
            kernel.rows = rows(sums)
            assert sum(connections for connections, _ in counts(tracer).values()) == sum(sums)
        assert tracer.statistics.total.connections == sum(sums)


def test_what_there_was_no_row_for_is_told_as_all_others() -> None:
    with recording(Table(others(9, 90), counted(1, 3))) as tracer:
        assert counts(tracer) == {Key(OTHER, OTHER, OTHER, Kind.CLEAN): (9, 90), CLEAN: (1, 3)}


def test_who_is_not_known_and_where_there_is_no_path_is_told_so() -> None:
    unknown = counted(1, 2, client="", path=b"")
    pair = counted(1, 2, client="sh", server="cat", path=b"", pair=1)
    abstract = counted(1, 2, path=b"\0name")
    odd = counted(1, 2, client="a\x1bb", path=b"/run/\xff\n")
    with recording(Table(unknown, pair, abstract, odd)) as tracer:
        assert set(counts(tracer)) == {
            Key("?", "uwsgi", "?", Kind.CLEAN),
            Key("sh", "cat", "(socketpair)", Kind.CLEAN),
            Key("nginx", "uwsgi", "@name", Kind.CLEAN),
            Key("a\\x1bb", "uwsgi", "/run/\\xff\\x0a", Kind.CLEAN),
        }


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(), {"/run/app.s", "/run/other.s", "(socketpair)"}),
        (Selection(paths=("/run/o*",)), {"/run/other.s"}),
        (Selection(ignored_paths=("*.s",)), {"(socketpair)"}),
        # Of all else the kernel has decided.
        (Selection(comms=("uwsgi",)), {"/run/app.s", "/run/other.s", "(socketpair)"}),
        (Selection(ignored_comms=("uwsgi",)), {"/run/app.s", "/run/other.s", "(socketpair)"}),
        (Selection(pids=frozenset({4711})), {"/run/app.s", "/run/other.s", "(socketpair)"}),
        (Selection(uids=frozenset({33}), cgroups=("/app.slice",), paths=("*/app.s",)), {"/run/app.s"}),
    ],
)
def test_only_what_is_selected_by_path_is_counted(selection: Selection, selected: set[str]) -> None:
    rows = (
        counted(1),
        counted(1, server="php", path=b"/run/other.s"),
        counted(1, client="sh", server="cat", path=b"", pair=1),
    )
    with recording(Table(*rows), selection=selection) as tracer:
        assert {key.path for key in counts(tracer)} == selected
        # And it stays so.
        assert {key.path for key in counts(tracer)} == selected


def test_who_listened_only_later_had_not_listened() -> None:
    early = Story(path="/run/app.s", start=2_000 * MILLISECOND)
    early.connect(error=errno.ENOENT)
    with recording(Table(counted(1, ready=2_500 * MILLISECOND), events=early.events)) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == []


def test_where_connections_ended_somebody_had_listened() -> None:
    later = Story(path="/run/app.s", start=2_000 * MILLISECOND)
    later.connect(error=errno.ENOENT)
    elsewhere = Story(path="/run/else.s", start=2_000 * MILLISECOND)
    elsewhere.connect(error=errno.ENOENT)
    with recording(Table(counted(1), events=[*later.events, *elsewhere.events])) as tracer:
        assert [alert.path for alert in tracer.alerts() if alert.verdict.kind is Kind.LISTENER_GONE] == ["/run/app.s"]


def test_what_there_was_no_row_for_is_not_told_where_paths_are_selected() -> None:
    with recording(Table(others(9, 90), counted(1, 3)), selection=Selection(paths=("/run/*",))) as tracer:
        assert counts(tracer) == {CLEAN: (1, 3)}


def test_where_connections_ended_that_are_not_selected_somebody_had_listened_as_well() -> None:
    later = Story(path="/run/app.s", start=2_000 * MILLISECOND)
    later.connect(error=errno.ENOENT)
    selection = Selection(comms=("httpd",))
    # The kernel has not counted them.
    with recording(Table(counted(0), events=later.events), selection=selection) as tracer:
        assert [alert.verdict.kind for alert in tracer.alerts()] == [Kind.LISTENER_GONE]
        assert {key.kind for key in counts(tracer)} == {Kind.LISTENER_GONE}


def test_a_storm_of_connects_that_fail_takes_the_table_over_for_a_small_part_of_the_time() -> None:
    story = Story(path="/run/app.s", start=2_000 * MILLISECOND)
    for _ in range(10_000):
        story.connect(error=errno.ENOENT)
    passed = 0

    class Slow(Table):
        def counted(self) -> Sequence[Counted]:
            nonlocal passed
            passed += 10 * MILLISECOND
            return super().counted()

    def now() -> int:
        # Whatever else is done takes its time, too.
        nonlocal passed
        passed += MILLISECOND // 10
        return 2_000 * MILLISECOND + passed

    kernel = Slow(counted(1), events=story.events)
    source = live(kernel, recording=True, host=no_host()._replace(now=now))
    with Tracer(source=source) as tracer:
        list(tracer.alerts())
    assert 0 < kernel.asked * 10 * MILLISECOND < passed / 10


def test_a_stream_is_not_asked_what_it_has_counted() -> None:
    kernel = Table(counted(1))
    with Tracer(source=live(kernel)) as tracer:
        assert counts(tracer) == {}
    assert kernel.asked == 0


def test_what_ended_till_the_end_is_counted_and_can_be_asked_for_after_it() -> None:
    kernel = Table(counted(5, 40))
    with recording(kernel) as tracer:
        assert counts(tracer) == {CLEAN: (5, 40)}
        kernel.rows = (counted(6, 50),)
    kernel.rows = ()
    assert counts(tracer) == {CLEAN: (6, 50)}


def counted_of_older(*rows: Counted, **options: Any) -> dict[Key, tuple[int, int]]:
    """Return what is counted, with what was told of connections that were open when tracing began.

    nginx is a client of uwsgi, sh of two servers called app, and init's is the first end of a socketpair with nginx.
    """
    names = ("nginx", "uwsgi", "sh", "app", "init")
    records = [pack_fact(ProcessFact(1, pid, comm)) for pid, comm in enumerate(names, 1)]
    number = 100
    for client, server, path in ((1, 2, "/run/app.s"), (3, 4, "/run/a"), (3, 4, "/run/b"), (5, 1, None)):
        flags = SocketFlag.PAIR if path is None else SocketFlag(0)
        number += 2
        records.append(pack_fact(SocketFact(1, flags | SocketFlag.CLIENT, path, number, number + 1, (client,))))
        records.append(pack_fact(SocketFact(1, flags | SocketFlag.SERVER, path, number + 1, number, (server,))))
    records += [pack_fact(CountsFact(2, each)) for each in rows]
    with Tracer(source=Records(records), **options) as tracer:
        assert not list(tracer.alerts())
        return counts(tracer)


def test_an_older_connection_whose_ends_the_kernel_took_for_each_other_has_its_path_and_its_roles() -> None:
    taken = counted(3, 30, client="uwsgi", server="nginx", path=b"")
    assert counted_of_older(taken, counted(1, 5)) == {CLEAN: (4, 35)}
    assert counted_of_older(taken, selection=Selection(paths=("/run/app.s",))) == {CLEAN: (3, 30)}
    latent = counted_of_older(counted(1, 5, client="uwsgi", server="nginx", path=b"", latent=1))
    assert latent == {CLEAN._replace(kind=Kind.LATENT): (1, 5)}


def test_an_older_socketpair_is_counted_as_one() -> None:
    pair = Key("init", "nginx", "(socketpair)", Kind.CLEAN)
    for client, server in (("init", "nginx"), ("nginx", "init")):
        assert counted_of_older(counted(1, 5, client=client, server=server, path=b"")) == {pair: (1, 5)}


@pytest.mark.parametrize("names", [("app", "sh"), ("nginx", "sh"), ("?", "uwsgi")])
def test_where_it_is_not_known_which_older_connection_it_was_its_path_is_not_said(names: tuple[str, str]) -> None:
    taken = counted(1, 5, client=names[0], server=names[1], path=b"")
    assert counted_of_older(taken) == {Key(*names, "?", Kind.CLEAN): (1, 5)}


@pytest.mark.parametrize("ask", [counts, lambda tracer: tracer.statistics.total])
def test_any_threads_may_ask_at_once(ask: Callable[[Tracer], object]) -> None:
    kernel = Table(counted(0))
    # What a kernel has counted never becomes less.
    counting = Lock()
    with recording(kernel) as tracer:

        def scrape() -> None:
            for number in range(200):
                with counting:
                    kernel.rows = (counted(max(number, kernel.rows[0].connections)),)
                ask(tracer)

        threads = [Thread(target=scrape) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kernel.rows = (counted(1000),)
        assert tracer.statistics.total.connections == 1000
