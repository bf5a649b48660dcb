"""What records have told of processes and sockets is said of the time and of the one that it was told of."""

from __future__ import annotations

import pytest

from hangup.tracer.record.facts import Cgroup, ProcessFact, SocketFact
from hangup.tracer.record.layout import SocketFlag
from hangup.tracer.story import known as module
from hangup.tracer.story.known import Known, Recent
from hangup.tracer.story.process import Process
from tests.identities import executed
from tests.stories import Task

SECOND = 10**9
UNIT = Cgroup("/system.slice/app.service", "app.service")
OTHER_UNIT = Cgroup("/system.slice/other.service", "other.service")


def known_of(*facts: ProcessFact | SocketFact) -> Known:
    known = Known()
    for fact in facts:
        known.take(fact)
    return known


def called(known: Known, pid: int, seen: int) -> str:
    return known.process(pid, seen).comm


def meets(known: Known, pid: int, comm: str, when: int) -> None:
    known.meet(pid, comm, when)


def test_a_process_that_nobody_has_told_of_has_no_name() -> None:
    assert Known().process(7, SECOND) == Process(7, "?")


def test_a_process_is_told_with_its_place_and_its_pid_there() -> None:
    known = known_of(ProcessFact(10 * SECOND, 7, "nginx", 3, 0, UNIT, SECOND))
    assert known.process(7, 5 * SECOND) == Process(7, "nginx", inner_pid=3, cgroup=UNIT)


def test_a_name_that_an_operation_told_is_kept() -> None:
    known = Known()
    meets(known, 7, "nginx", SECOND)
    assert called(known, 7, SECOND) == "nginx"
    assert called(known, 7, 5 * SECOND) == "nginx"


def test_a_process_that_began_later_is_not_taken_for_the_one_that_had_its_pid() -> None:
    known = Known()
    meets(known, 7, "sh", 40 * SECOND)
    known.take(ProcessFact(100 * SECOND, 7, "stranger", start=70 * SECOND))
    assert called(known, 7, 40 * SECOND) == "sh"
    assert called(known, 7, 100 * SECOND) == "stranger"


def test_where_a_later_process_belongs_is_not_said_of_an_earlier_one() -> None:
    known = known_of(
        ProcessFact(40 * SECOND, 7, "sh", 3, 0, UNIT, SECOND),
        ProcessFact(100 * SECOND, 7, "sh", 4, 0, OTHER_UNIT, 70 * SECOND),
    )
    assert known.process(7, 40 * SECOND) == Process(7, "sh")
    assert known.process(7, 100 * SECOND) == Process(7, "sh", inner_pid=4, cgroup=OTHER_UNIT)


def test_what_was_told_of_a_later_process_alone_is_not_said_of_an_earlier_one() -> None:
    known = known_of(ProcessFact(100 * SECOND, 7, "stranger", start=70 * SECOND))
    assert called(known, 7, 40 * SECOND) == "?"


def test_what_a_pid_was_called_before_it_was_called_otherwise_is_said_of_that_time() -> None:
    """Another process had the pid, or the same one executed another program."""
    known = Known()
    meets(known, 7, "sh", 10 * SECOND)
    meets(known, 7, "stranger", 20 * SECOND)
    meets(known, 7, "stranger", 30 * SECOND)
    assert called(known, 7, 10 * SECOND) == "sh"
    assert called(known, 7, 20 * SECOND) == "stranger"
    assert called(known, 7, 90 * SECOND) == "stranger"


def test_when_a_process_began_is_not_forgotten_for_what_an_operation_says() -> None:
    known = known_of(ProcessFact(100 * SECOND, 7, "stranger", start=70 * SECOND))
    meets(known, 7, "stranger", 110 * SECOND)
    assert called(known, 7, 40 * SECOND) == "?"


def test_what_is_told_late_of_an_earlier_time_is_said_of_that_time_only() -> None:
    """A history is handed over when its first operations are long past."""
    known = known_of(ProcessFact(100 * SECOND, 7, "httpd", 3, 0, UNIT))
    meets(known, 7, "sh", 10 * SECOND)
    assert called(known, 7, 10 * SECOND) == "sh"
    assert known.process(7, 100 * SECOND) == Process(7, "httpd", inner_pid=3, cgroup=UNIT)


def test_who_executes_another_program_has_its_name_from_then_on() -> None:
    known = known_of(ProcessFact(10 * SECOND, 7, "bash", 3, 0, UNIT, SECOND))
    known.change(executed(Task("python3", 7), 20 * SECOND, b"/usr/bin/python3", was="bash"))
    assert known.process(7, 19 * SECOND).comm == "bash"
    assert known.process(7, 20 * SECOND) == Process(7, "python3", inner_pid=3, cgroup=UNIT)


def test_what_a_file_tells_again_of_a_program_that_is_executed_no_more_changes_nothing() -> None:
    known = known_of(ProcessFact(10 * SECOND, 7, "bash"))
    first = executed(Task("sh", 7), 20 * SECOND, b"/bin/sh", was="bash")
    for record in (first, executed(Task("python3", 7), 30 * SECOND, b"/usr/bin/python3", was="sh"), first):
        known.change(record)
    assert [called(known, 7, when * SECOND) for when in (29, 30)] == ["sh", "python3"]


def test_programs_that_others_execute_push_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROCESSES", 3)
    known = known_of(ProcessFact(SECOND, 7, "nginx"))
    for pid in range(100, 110):
        known.change(executed(Task("true", pid), 2 * SECOND, b"/bin/true", was="sh"))
    assert called(known, 7, 3 * SECOND) == "nginx"


def test_a_cgroup_is_found_by_its_id_whoever_was_in_it() -> None:
    known = known_of(ProcessFact(SECOND, 7, "nginx", None, 77, UNIT))
    assert known.cgroup(77, 8) == UNIT
    assert known.cgroup(78, 7) is None
    assert known.placed(Process(8, "nginx", cgroup_id=77)) == Process(8, "nginx", cgroup_id=77, cgroup=UNIT)


def test_where_the_id_is_everybodys_a_process_is_found_by_its_pid() -> None:
    known = known_of(ProcessFact(SECOND, 7, "nginx", None, 1, UNIT), ProcessFact(SECOND, 8, "php", None, 1, OTHER_UNIT))
    assert (known.cgroup(1, 7), known.cgroup(1, 8), known.cgroup(1, 9), known.cgroup(0, 7)) == (
        UNIT,
        OTHER_UNIT,
        None,
        None,
    )


def test_who_was_not_seen_doing_anything_is_placed_by_its_pid_and_name() -> None:
    known = known_of(ProcessFact(SECOND, 7, "nginx", 3, 0, UNIT))
    assert known.placed(Process(7, "nginx")) == Process(7, "nginx", inner_pid=3, cgroup=UNIT)
    assert known.placed(Process(7, "php")) == Process(7, "php")
    assert known.placed(Process(8, "nginx")) == Process(8, "nginx")
    assert known.placed(None) is None


def older(**changes: object) -> list[ProcessFact | SocketFact]:
    client = SocketFact(1, SocketFlag.CLIENT, "/run/app.s", 100, 101, (7, 9))
    server = SocketFact(1, SocketFlag.SERVER, "/run/app.s", 101, 100, (8,))
    people = [ProcessFact(1, 7, "nginx", 3, 0, UNIT), ProcessFact(1, 8, "uwsgi")]
    return [*people, client._replace(**changes), server]  # type: ignore[arg-type]


def test_an_older_connection_is_known_by_either_end() -> None:
    known = known_of(*older())
    nginx, uwsgi = Process(7, "nginx", inner_pid=3, cgroup=UNIT), Process(8, "uwsgi")
    assert known.older(100) == module.Older("/run/app.s", False, False, nginx, 101, uwsgi)
    assert known.older(101) == module.Older("/run/app.s", False, True, uwsgi, 100, nginx)
    assert known.older(102) is None


def test_an_older_connection_s_holder_is_who_had_its_pid_then() -> None:
    known = known_of(*older(), ProcessFact(100 * SECOND, 7, "stranger", start=70 * SECOND))
    found = known.older(100)
    assert found is not None
    assert found.holder is not None
    assert found.holder.comm == "nginx"


def test_an_end_that_is_left_over_has_no_other() -> None:
    left = SocketFact(1, SocketFlag.CLIENT | SocketFlag.PAIR, None, 100, 0, ())
    assert known_of(left).older(100) == module.Older(None, True, False, None, 0, None)


def test_how_many_waited_is_said_of_the_connect_that_it_was_asked_for_only() -> None:
    known = known_of(SocketFact(5 * SECOND, SocketFlag.LISTENER, "/run/app.s", waiting=6, backlog=5))
    assert known.backlog("/run/app.s", 5 * SECOND) == (6, 5)
    assert known.backlog("/run/app.s", 5 * SECOND + 1) is None
    assert known.backlog("/run/other.s", 5 * SECOND) is None


def test_where_somebody_listens_somebody_has_listened() -> None:
    known = known_of(SocketFact(1, SocketFlag.LISTENER, "/run/app.s"), *older())
    assert known.listened.had("/run/app.s", 1)
    assert not known.listened.had("/run/app.s", 0)
    assert not known.listened.had("/run/other.s", 1)


def test_a_bounded_set_forgets_what_was_added_longest_ago() -> None:
    recent = Recent(3)
    for one in "abcad":
        recent.add(one, 0)
    assert [recent.had(one, 0) for one in "abcd"] == [True, False, True, True]


def test_of_when_something_began_the_earliest_time_counts() -> None:
    recent = Recent(3)
    for since in (5, 3, 4):
        recent.add("a", since)
    assert [recent.had("a", when) for when in (2, 3)] == [False, True]


@pytest.mark.parametrize("limit", ["MAX_PROCESSES", "MAX_CGROUPS", "MAX_SOCKETS", "MAX_BACKLOGS"])
def test_however_much_is_told_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, 3)
    known = Known()
    for number in range(2, 12):
        known.take(ProcessFact(SECOND, number, f"p{number}", None, number, UNIT))
        known.take(SocketFact(1, SocketFlag.CLIENT, "/x", number, 0, ()))
        known.take(SocketFact(1, SocketFlag.LISTENER, f"/{number}"))
    kept = {
        "MAX_PROCESSES": [number for number in range(2, 12) if called(known, number, SECOND) != "?"],
        "MAX_CGROUPS": [number for number in range(2, 12) if known.cgroup(number, 0)],
        "MAX_SOCKETS": [number for number in range(2, 12) if known.older(number)],
        "MAX_BACKLOGS": [number for number in range(2, 12) if known.backlog(f"/{number}", 1)],
    }
    assert kept[limit] == [9, 10, 11]
