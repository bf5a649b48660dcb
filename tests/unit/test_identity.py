"""Processes that become somebody else: what is kept of that, and how it is shown."""

from __future__ import annotations

import errno
import json
import re
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.reporters.identity import change_text
from hangup.cli.reporters.line_format import FormattedLines, parsed
from hangup.cli.reporters.operation import operation_rows
from hangup.cli.reporters.operation_json import operation_lines
from hangup.cli.reporters.page.sequence import sequence
from hangup.cli.reporters.sysdig import SysdigLines
from hangup.tracer.capture.standing import Standing
from hangup.tracer.field import FilterField
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.fields import FIELDS
from hangup.tracer.filter.filter import understood
from hangup.tracer.record.facts import ProcessFact, is_whole, pack_fact
from hangup.tracer.record.layout import (
    OPERATION_AT,
    Credentials,
    Event,
    Operation,
    RecordType,
    pack,
    type_of,
    unpack_identity,
)
from hangup.tracer.story import identity as module
from hangup.tracer.story.aftermath import WAIT
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.identity import Changes, change_of
from hangup.tracer.story.places import Changed, Placed
from hangup.tracer.tracer import Alert, Tracer
from tests.identities import ALL, allowed, changed, executed
from tests.stories import HTTPD, MICROSECOND, UWSGI, Story, Task, established, seeds_failure
from tests.unit.playback import CLOCKS
from tests.unit.sources import Records

NGINX = Task("nginx", 412)
ROOT = replace(NGINX, uid=0, gid=0)

# include/uapi/linux/capability.h
_NET_RAW = 1 << 13


pytestmark = pytest.mark.usefixtures("utc")


def dropped(when: int, task: Task = NGINX) -> bytes:
    """Return that a process has dropped root."""
    return changed(task, when, allowed(0), allowed(33))


def in_order(events: Sequence[Event], *changes: bytes) -> list[bytes]:
    """Return records by their times."""
    return sorted([*map(pack, events), *changes], key=lambda record: int.from_bytes(record[8:16], "little"))


def twice() -> list[bytes]:
    """Return a process that connects as root, drops root and connects again, and what it does then."""
    first = established(path="/run/before", client=ROOT)
    second = established(
        path="/run/after", client=NGINX, start=first.now + 100 * MICROSECOND, client_sock=0x10, server_sock=0x20
    )
    first.now = second.now
    first.client.task = NGINX
    first.client.write(8)
    return in_order([*first.events, *second.events], dropped(second.events[0].start - 50 * MICROSECOND))


def alerts_of(records: Sequence[bytes], **options: Any) -> list[Alert]:
    with Tracer(source=Records(records), **options) as tracer:
        return list(tracer.alerts())


def placed(records: Sequence[bytes], text: str | None = None, **options: Any) -> list[str]:
    """Return trace's lines; text: a filter's."""
    rows = operation_rows()
    lines: list[str] = []

    def show(found: Sequence[Placed]) -> None:
        lines.extend(rows(found, CLOCKS, 100))

    only = None if text is None else understood(text, Subject.OPERATIONS)
    alerts_of(records, on_places=show, only=only, **options)
    return lines


def operated(records: Sequence[bytes], text: str | None = None) -> list[Operated]:
    found: list[Operated] = []
    only = None if text is None else understood(text, Subject.OPERATIONS)
    alerts_of(records, on_operations=found.extend, only=only)
    return found


@pytest.mark.parametrize("first", [0, 3], ids=["before", "between"])
def test_changes_that_are_only_counted_are_those_that_are_shown(first: int) -> None:
    told, shown = [0, 0], [0, 0]

    def count(operations: int, changes: int) -> None:
        told[0] += operations
        told[1] += changes

    def show(found: Sequence[Placed]) -> None:
        changes = sum(isinstance(where, Changed) for _, where, _ in found)
        shown[0] += len(found) - changes
        shown[1] += changes

    records = [pack(event) for event in seeds_failure().events]
    records[first:first] = [dropped(5, HTTPD), dropped(6, Task("cron", 77)), dropped(7, UWSGI)]
    # Whose only connect fails was on no connection.
    refused = established(client=Task("cron", 77)).events[0]._replace(result=-errno.ECONNREFUSED, peer=0, peer_pid=0)
    records += [pack(refused), dropped(9, Task("cron", 77))]
    alerts_of([*twice(), *records], on_count=count)
    alerts_of([*twice(), *records], on_places=show)
    assert told == shown
    assert shown[1] == 3


# ---- the record


def credentials() -> st.SearchStrategy[Credentials]:
    number = st.integers(0, 2**32 - 1)
    return st.builds(Credentials, st.integers(0, 2**64 - 1), *[number] * 8)


@given(credentials(), credentials(), st.binary(max_size=107))
def test_a_record_comes_back_as_it_was(before: Credentials, after: Credentials, file: bytes) -> None:
    record = changed(NGINX, 5, before, after, file=file)
    found = unpack_identity(record)
    assert (found.before, found.after, found.file) == (before, after, file)
    assert (found.event.pid, found.event.end, found.event.uid) == (412, 5, after.uid)
    assert int.from_bytes(record[:4], "little") == len(record)
    assert is_whole(record)


def test_what_is_cut_off_is_no_record() -> None:
    record = dropped(5)
    assert not any(is_whole(record[:length]) for length in range(len(record) - 7))


def test_an_operation_is_no_change_of_identity() -> None:
    record = bytearray(dropped(5))
    record[OPERATION_AT] = int(Operation.READ)
    assert not is_whole(bytes(record))


@given(st.binary(max_size=107), st.binary(max_size=16))
def test_what_a_program_is_called_cannot_reach_the_terminal_as_it_is(file: bytes, comm: bytes) -> None:
    found = change_of(changed(replace(NGINX, comm="x"), 5, allowed(0), allowed(0), file=file, was="y"))
    assert change_text(found).isprintable()
    named = found._replace(event=found.event._replace(comm=comm.ljust(16, b"\0")))
    assert change_text(named).isprintable()


# ---- words


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (allowed(0), allowed(33), "uid 0 -> 33, gid 0 -> 33, no capabilities left"),
        (allowed(0, 33), allowed(33), "uid 0 -> 33, no capabilities left"),
        (allowed(0), allowed(0)._replace(egid=33, fsgid=33), "effective gid 0 -> 33, saved gid still 0"),
        (allowed(0)._replace(egid=33, fsgid=33), allowed(0), "effective gid 33 -> 0"),
        (
            allowed(0),
            allowed(0)._replace(euid=33),
            "effective uid 0 -> 33, saved uid still 0, filesystem uid still 0",
        ),
        (allowed(0), allowed(0)._replace(fsuid=33), "filesystem uid 0 -> 33"),
        (allowed(0), allowed(0)._replace(uid=65534), "real uid 0 -> 65534, effective uid still 0"),
        (allowed(0)._replace(uid=65534), allowed(0), "real uid 65534 -> 0"),
        (
            allowed(0),
            allowed(33, 0, ALL)._replace(suid=0),
            "real uid 0 -> 33, effective uid 0 -> 33, saved uid still 0",
        ),
        (allowed(0)._replace(euid=33, fsuid=33), allowed(33, 0, ALL), "real uid 0 -> 33, saved uid 0 -> 33"),
        (allowed(0), allowed(0)._replace(suid=33), "saved uid 0 -> 33, effective uid still 0"),
        (
            allowed(33),
            allowed(33)._replace(euid=0, suid=0, fsuid=0),
            "effective uid 33 -> 0, saved uid 33 -> 0",
        ),
        (
            allowed(0),
            allowed(33, 0, ALL)._replace(fsuid=0),
            "real uid 0 -> 33, effective uid 0 -> 33, saved uid 0 -> 33, filesystem uid still 0",
        ),
        (allowed(0)._replace(fsuid=5), allowed(33, 0, ALL), "uid 0 -> 33, filesystem uid 5 -> 33"),
        (allowed(33), allowed(33, capabilities=_NET_RAW), "got cap_net_raw"),
        (allowed(0), allowed(0, capabilities=ALL & ~_NET_RAW), "lost cap_net_raw"),
        (allowed(33), allowed(33, capabilities=1 << 63), "got capability 63"),
        (allowed(33), allowed(33, capabilities=ALL), "got 41 capabilities"),
    ],
)
def test_what_has_changed_is_said_and_nothing_else(before: Credentials, after: Credentials, text: str) -> None:
    assert change_text(change_of(changed(NGINX, 5, before, after))) == text


# arch/x86/entry/syscalls/syscall_64.tbl
@pytest.mark.parametrize(
    ("syscall", "text"),
    [
        (272, "got 41 capabilities in a user namespace of its own"),
        (308, "got 41 capabilities in another user namespace"),
        (126, "got 41 capabilities"),
    ],
)
def test_capabilities_in_another_user_namespace_are_not_told_as_power_on_the_host(syscall: int, text: str) -> None:
    record = changed(NGINX, 5, allowed(33), allowed(33, capabilities=ALL), syscall=syscall)
    assert change_text(change_of(record)) == text


# ---- what is kept


def test_of_a_process_the_last_changes_are_kept_and_the_others_counted() -> None:
    changes = Changes()
    changes.meet(412)
    for number in range(1, 21):
        changes.take(changed(NGINX, number, allowed(number), allowed(number + 1)))
    told = changes.told([_seen(NGINX, 1)], 1)
    assert [change.when for change in told.changes] == list(range(13, 21))
    assert told.not_kept == 12
    assert changes.told([_seen(NGINX, 30)], 15).not_kept == 0


def test_what_each_thread_does_for_itself_is_kept_once() -> None:
    changes = Changes()
    changes.meet(412)
    for tid in range(412, 500):
        changes.take(dropped(tid, NGINX.thread(tid)))
    assert len(changes.told([_seen(NGINX, 1)], 1).changes) == 1


def test_threads_that_have_names_of_their_own_do_one_thing_for_all_of_them_too() -> None:
    changes = Changes()
    changes.meet(412)
    for number in range(3):
        changes.take(dropped(10 + number, replace(NGINX.thread(412 + number), comm=f"pool-{number}")))
    assert len(changes.told([_seen(NGINX, 1)], 1).changes) == 1


def test_a_thread_that_does_the_same_much_later_does_it_for_itself() -> None:
    changes = Changes()
    changes.meet(412)
    changes.take(dropped(1))
    changes.take(dropped(2_000_000_000, NGINX.thread(413)))
    assert [change.when for change in changes.told([_seen(NGINX, 1)], 1).changes] == [1, 2_000_000_000]


def test_each_time_a_program_executes_itself_again_is_told() -> None:
    changes = Changes()
    changes.meet(412)
    for when in (10, 20, 30):
        changes.take(executed(NGINX, when, b"/usr/sbin/nginx", was="nginx"))
    assert [change.when for change in changes.told([_seen(NGINX, 5)], 5).changes] == [10, 20, 30]


def test_a_new_process_with_the_same_pid_has_not_done_what_the_earlier_one_did() -> None:
    changes = Changes()
    changes.meet(412)
    changes.take(dropped(10))
    changes.take(dropped(1000))
    assert changes.told([_seen(NGINX, 2000)], 1500) == ((change_of(dropped(1000)),), 0)
    # Of the earlier one's connection it is said that there was more.
    assert changes.told([_seen(ROOT, 5)], 5).not_kept == 1
    for when in range(2000, 2000 + module.MOST_OF_EACH):
        changes.take(executed(NGINX, when, b"/bin/x", was="nginx"))
    assert changes.told([_seen(NGINX, 500)], 500).not_kept == 1


def test_of_whoever_is_seen_on_a_connection_later_no_fewer_are_kept() -> None:
    changes = Changes()
    for when in range(1, 6):
        changes.take(executed(NGINX, when, b"/bin/x", was="nginx"))
    changes.meet(412)
    assert [change.when for change in changes.told([_seen(NGINX, 10)], 1).changes] == [1, 2, 3, 4, 5]


def test_what_is_kept_of_as_many_processes_as_there_is_room_for_fits_beside_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = 32
    room = module.MOST_SEEN + module.MOST_OTHERS
    monkeypatch.setattr(module, "MOST_SEEN", module.MOST_SEEN // share)
    monkeypatch.setattr(module, "MOST_OTHERS", module.MOST_OTHERS // share)
    longest = b"/" + b"x" * 106
    tracemalloc.start()
    try:
        changes = Changes()
        for pid in range(1, room // share + 1):
            if pid <= module.MOST_SEEN:
                changes.meet(pid)
            for when in range(1, module.MOST_OF_EACH + 1):
                changes.take(executed(Task("x", pid), when, longest, was=f"y{when}") + bytes(64))
        used = tracemalloc.get_traced_memory()[0] * share
    finally:
        tracemalloc.stop()
    # The whole process may have 40 MiB.
    assert used < 12 << 20


def test_what_all_threads_do_for_themselves_is_the_first_thread_s_whichever_came_first() -> None:
    changes = Changes()
    changes.meet(412)
    for when, tid in enumerate((415, 412, 413), 10):
        changes.take(dropped(when, NGINX.thread(tid)))
    [change] = changes.told([_seen(NGINX, 1)], 1).changes
    assert change.event.tid == 412


def test_a_storm_of_others_does_not_push_out_who_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OTHERS", 3)
    monkeypatch.setattr(module, "MOST_SEEN", 2)
    changes = Changes()
    changes.take(dropped(1))
    changes.meet(412)
    for pid in range(1000, 1100):
        changes.take(executed(Task("true", pid), 2, b"/bin/true", was="sh"))
    assert len(changes.told([_seen(NGINX, 1)], 1).changes) == 1
    assert len(changes._others) == 3
    for pid in (1097, 1098, 1099):
        changes.meet(pid)
    assert len(changes._seen) == 2
    assert not changes.told([_seen(NGINX, 1)], 1).changes


def test_the_last_change_before_a_connection_is_told_if_it_made_who_was_seen_then() -> None:
    changes = Changes()
    changes.take(dropped(10))
    changes.meet(412)
    assert [change.when for change in changes.told([_seen(NGINX, 20)], 15).changes] == [10]
    # An earlier process had this pid.
    assert changes.told([_seen(ROOT, 20)], 15).changes == ()


def test_the_last_change_before_a_connection_is_told_of_who_has_called_itself_something_else_since() -> None:
    changes = Changes()
    changes.take(dropped(10))
    changes.meet(412)
    renamed = replace(NGINX, comm="worker")
    assert [change.when for change in changes.told([_seen(renamed, 20)], 15).changes] == [10]


def test_an_execve_before_a_connection_is_told_of_who_is_called_as_it_says() -> None:
    changes = Changes()
    changes.take(executed(NGINX, 10, b"/usr/sbin/nginx", was="sh"))
    changes.meet(412)
    assert [change.when for change in changes.told([_seen(NGINX, 20)], 15).changes] == [10]
    assert changes.told([_seen(replace(NGINX, comm="cron"), 20)], 15).changes == ()


def _seen(task: Task, when: int) -> Event:
    story = Story(client=task, start=when)
    return story.connect()


# ---- trace


def test_the_lines_stand_between_the_operations() -> None:
    assert [line[16:] for line in placed(twice()) if "nginx[412]" in line[:36] or "setresuid" in line] == [
        "nginx[412]       connect(7)     #1   /run/before",
        "nginx[412]       setresuid      uid 0 -> 33, gid 0 -> 33, no capabilities left",
        "nginx[412]       connect(7)     #2   uwsgi[815] /run/after",
        "nginx[412]       write(7) 8     #1   uwsgi[815] /run/before",
    ]


def test_what_a_process_had_become_before_is_told_before_its_first_operation() -> None:
    story = established(client=NGINX)
    records = [dropped(5), executed(Task("cron", 99), 6, b"/usr/sbin/cron", was="sh"), *map(pack, story.events)]
    lines = placed(records)
    assert ["setresuid" in line for line in lines] == [True, False, False]
    found = [brief[12] for _, brief, _ in operated(records)]
    assert found[0] == 0
    assert 0 not in found[1:]


def test_who_has_met_nobody_is_not_shown_becoming_somebody_else() -> None:
    story = Story(client=NGINX)
    story.connect(error=errno.ENOENT)
    records = [dropped(5), *map(pack, story.events)]
    assert ["setresuid" in line for line in placed(records)] == [False]
    assert [brief[12] for _, brief, _ in operated(records)] == [story.events[0].operation]


def test_what_a_file_tells_again_is_shown_once() -> None:
    records = twice()
    [change] = [each for each in records if type_of(each) == RecordType.IDENTITY]
    assert placed([*records, change]) == placed(records)


def test_what_was_forgotten_and_is_told_again_where_a_file_begins_is_not_taken_as_new() -> None:
    story = established(client=ROOT)
    change = dropped(story.now)
    executions = [
        executed(replace(NGINX, comm=f"p{number}"), story.now + number, b"/bin/p", was=f"p{number - 1}")
        for number in range(1, module.MOST_OF_EACH + 2)
    ]
    first = [*map(pack, story.events), change, *executions]
    told = Standing()
    told.learn(first)
    before = len(story.events)
    story.wait(MICROSECOND)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    rest = list(map(pack, story.events[before:]))
    one_file, two_files = [*first, *rest], [*first, *told.records(), *rest]
    assert change in told.records()
    assert placed(two_files) == placed(one_file)
    [of_one], [of_two] = alerts_of(one_file), alerts_of(two_files)
    assert of_two.story == of_one.story


def test_what_a_thread_did_as_others_had_is_not_taken_as_new_where_a_file_tells_it_again() -> None:
    story = established(client=ROOT)
    changes = [dropped(story.now + number, NGINX.thread(412 + number)) for number in range(3)]
    records = [*map(pack, story.events), *changes]
    assert placed([*records, changes[-1]]) == placed(records)


def test_a_new_process_with_the_pid_of_one_that_was_seen_is_not_shown() -> None:
    story = established(client=ROOT)
    story.client.release()
    compiler = executed(Task("cc1", 412, uid=1000), story.now + 1, b"/usr/lib/gcc/cc1", was="sh", uid=1000)
    assert not any("execve" in line for line in placed(in_order(story.events, compiler)))
    assert all(brief[12] for _, brief, _ in operated(in_order(story.events, compiler)))


def test_what_another_thread_was_seen_as_makes_no_new_process() -> None:
    story = established(client=ROOT)
    # It has dropped root already, its first thread not yet.
    story.client.write(8, by=NGINX.thread(413))
    assert any("setresuid" in line for line in placed([*map(pack, story.events), dropped(story.now + 1)]))


def test_who_was_never_seen_on_a_connection_is_not_shown() -> None:
    records = [*map(pack, seeds_failure().events), dropped(2_000_000_000)]
    assert not any("setresuid" in line for line in placed(records))
    assert all(brief[12] for _, brief, _ in operated(records))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evt.type=setresuid", ["setresuid"]),
        ("evt.type in (connect, setresuid)", ["connect", "setresuid", "connect"]),
        ("proc.pid=412 and evt.type!=write", ["connect", "setresuid", "connect"]),
        ("user.uid=0", ["connect"]),
        ("user.uid=33 and proc.name=nginx", ["setresuid", "connect", "write"]),
        ("evt.failed=true", []),
        ("conn.path=/run/after and proc.name=nginx", ["connect"]),
        ("fd.num=7 and proc.pid=412", ["connect", "connect", "write"]),
        ("fd.type=unix and evt.type=setresuid", []),
        ("evt.dur >= 0 and evt.type=setresuid", []),
    ],
)
def test_filters_ask_for_changes_by_who_and_by_which_call(text: str, expected: list[str]) -> None:
    calls = ("connect", "setresuid", "write")
    lines = placed(twice(), text)
    assert [
        next(call for call in calls if f" {call}" in line) for line in lines if "uwsgi[815]  " not in line
    ] == expected
    view = FormattedLines(parsed("%evt.type"), lambda *_: None)
    assert view.lines(operated(twice(), text), CLOCKS) == [line for line in expected if line]


@pytest.mark.parametrize("field", [field for field in FIELDS if field.of_operation and not field.of_changes])
def test_what_is_not_known_of_a_change_is_not_printed_of_it(field: FilterField) -> None:
    view = FormattedLines(parsed(f"*%{field.name}"), lambda *_: None)
    record = dropped(5)
    [found] = [each for each in operated(twice()) if each[1][12] == 0]
    assert view.lines([(record, *found[1:])], CLOCKS) == ["<NA>"]


def test_sysdig_s_lines_have_what_it_became() -> None:
    def lines(client: Task, *changes: bytes) -> list[str]:
        view = SysdigLines()
        story = established(client=client)
        found = view.lines(operated(in_order(story.events, *changes)), CLOCKS)
        whole = [line.split(" ", 2)[2] for line in found + view.rest(CLOCKS)]
        return [line for line in whole if "connect" not in line and "accept" not in line]

    assert lines(ROOT, dropped(2_000_000_000)) == [
        "0 nginx (412) > setresuid ruid=33 euid=33 suid=33",
        "0 nginx (412) < setresuid res=0",
    ]
    assert lines(NGINX, executed(replace(NGINX, comm="cat"), 2_000_000_000, b"/bin/cat", was="nginx")) == [
        "0 cat (412) > execve filename=/bin/cat",
        "0 cat (412) < execve res=0 exe=/bin/cat args= tid=412 pid=412 comm=cat uid=33",
    ]


def test_a_line_of_json_has_all_of_it() -> None:
    lines = operation_lines()(operated(twice()), CLOCKS, lambda *_: None)
    [found] = [each for each in map(json.loads, lines) if each["record"] == "identity"]
    assert (found["syscall"], found["pid"], found["comm"], found["file"]) == ("setresuid", 412, "nginx", None)
    assert (found["before"]["uid"], found["after"]["uid"]) == (0, 33)
    assert (found["before"]["capabilities"], found["after"]["capabilities"]) == ("000001ffffffffff", "0" * 16)


# ---- alerts


def hurt() -> list[bytes]:
    """Return a process that drops root and executes something between a request and what it is hurt by."""
    story = established(client=ROOT)
    story.client.write(8)
    story.server.read()
    story.wait(200 * MICROSECOND)
    cat = replace(NGINX, comm="cat")
    changes = [
        dropped(story.now - 100 * MICROSECOND),
        executed(cat, story.now - 50 * MICROSECOND, b"/bin/cat", was="nginx"),
    ]
    story.server.release()
    story.client.task = cat
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    earlier = executed(UWSGI, 500_000_000, b"/usr/bin/uwsgi", was="sh", uid=998)
    return in_order(story.events, *changes, earlier)


def test_an_alert_s_timeline_has_them_in_order() -> None:
    [alert] = alerts_of(hurt())
    block = alert_block(alert, CLOCKS, width=80)
    rows = block[block.index("connect") :].splitlines()
    before = [line.strip() for line in block.splitlines() if line.strip().startswith("before")]
    assert before == ["before  uwsgi[815] execve: /usr/bin/uwsgi, was sh"]
    [setresuid] = [number for number, line in enumerate(rows) if "nginx[412] setresuid: uid 0 -> 33" in line]
    [execve] = [number for number, line in enumerate(rows) if "cat[412] execve: /bin/cat, was nginx" in line]
    [hangup] = [number for number, line in enumerate(rows) if "HANG-UP" in line]
    assert setresuid < execve < hangup
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize(("tid", "who"), [(412, "nginx[412]"), (414, "nginx[412/414]")])
def test_an_alert_s_timeline_says_which_thread_it_was_if_not_the_first(tid: int, who: str) -> None:
    story = established(client=ROOT)
    story.client.write(8)
    story.server.read()
    story.wait(200 * MICROSECOND)
    change = dropped(story.now - 100 * MICROSECOND, NGINX.thread(tid))
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    [alert] = alerts_of(in_order(story.events, change))
    assert f" {who} setresuid: uid 0 -> 33" in alert_block(alert, CLOCKS, width=80)


def connected_after_execve() -> list[bytes]:
    """Return a connect to who was known by another name before it executed its program."""
    told = pack_fact(ProcessFact(1_000_000_000, UWSGI.pid, "bash"))
    execve = executed(UWSGI, 2_000_000_000, b"/usr/bin/uwsgi", was="bash")
    return [told, execve, *map(pack, established(client=NGINX, start=3_000_000_000).events)]


def test_the_first_connect_to_who_has_executed_another_program_names_that() -> None:
    records = connected_after_execve()
    assert [line[16:] for line in placed(records) if " connect(" in line] == [
        "nginx[412]       connect(7)     #1   uwsgi[815] /run/app.s"
    ]
    lines = operation_lines()(operated(records), CLOCKS, lambda *_: None)
    [found] = [each for each in map(json.loads, lines) if each.get("operation") == "connect"]
    assert (found["peer_comm"], found["peer_pid"]) == ("uwsgi", 815)


def test_json_and_the_page_have_them_too() -> None:
    [alert] = alerts_of(hurt())
    found = json.loads(alert_line(alert, CLOCKS))
    assert [each["syscall"] for each in found["identity"]] == ["execve", "setresuid", "execve"]
    assert found["identity_not_kept"] == 0
    drawing = sequence(alert)
    assert drawing is not None
    texts = [text.text for text in drawing.texts]
    assert any(text.startswith("nginx[412] setresuid: uid 0 -> 33") for text in texts)


def restless(processes: int) -> list[bytes]:
    """Return that many processes that write once each, and execute several programs after that."""
    story = established(client=NGINX)
    changes = []
    for number in range(processes):
        task = Task(f"w{number}", 5000 + number)
        story.client.write(8, by=task)
        story.server.read()
        for program in range(module.MOST_OF_EACH):
            story.wait(MICROSECOND)
            changes.append(executed(task, story.now, b"/bin/%d" % program, was=f"{program}"))
    story.server.release()
    story.client.write(80, error=errno.EPIPE)
    story.client.release()
    return in_order(story.events, *changes)


def test_of_many_changes_the_first_and_the_last_are_shown_and_the_others_counted() -> None:
    [alert] = alerts_of(restless(50))
    block = alert_block(alert, CLOCKS, width=80)
    [left_out] = [line for line in block.splitlines() if "not shown" in line]
    operations, changes = (int(number) for number in re.findall(r"\d+", left_out))
    assert changes + block.count(" execve: ") == 50 * module.MOST_OF_EACH
    shown = re.findall(r"\d (?:ms|µs|s)? +(?:connect|accept4|write|read|close)", block)
    assert operations + len(shown) == 2 + 100 + 3
    drawing = sequence(alert)
    assert drawing is not None
    assert [text.text for text in drawing.texts if "not shown" in text.text] == [left_out.strip(" .")]


def test_where_nothing_but_changes_is_left_out_no_operation_is_counted() -> None:
    story = established(client=NGINX)
    changes = []
    tasks = [Task("w", 5000 + number) for number in range(5)]
    for task in tasks:
        story.client.write(8, by=task)
    for task in tasks:
        for program in range(module.MOST_OF_EACH):
            story.wait(MICROSECOND)
            changes.append(executed(task, story.now, b"/bin/x", was=f"{program}"))
    story.server.release()
    story.client.write(80, error=errno.EPIPE)
    [alert] = alerts_of(in_order(story.events, *changes))
    [left_out] = [line for line in alert_block(alert, CLOCKS, width=80).splitlines() if "not shown" in line]
    assert re.fullmatch(r" *\.\.\. \d+ changes of who its processes are not shown \.\.\.", left_out)


def test_a_change_in_the_middle_of_a_silence_stands_between_the_two_parts_of_it() -> None:
    story = established(client=ROOT)
    story.client.write(8)
    story.server.read()
    story.wait(2_000_000_000)
    change = dropped(story.now)
    story.wait(3_000_000_000)
    story.server.release()
    story.client.write(80, error=errno.EPIPE)
    story.client.release()
    late = executed(replace(NGINX, comm="cat"), story.now + 900_000_000, b"/bin/cat", was="nginx")
    [alert] = alerts_of(in_order(story.events, change, late))
    words = ("silence", "setresuid", "HANG-UP", "execve")
    rows = alert_block(alert, CLOCKS, width=80).split("connect", 1)[1].splitlines()
    found = [word for line in rows for word in words if word in line]
    assert found[:4] == ["silence", "setresuid", "silence", "HANG-UP"]
    assert [line.strip(" -") for line in rows if "silence" in line][:2] == ["2 s of silence", "3 s of silence"]


def test_a_change_that_comes_after_an_alert_was_due_is_none_of_it() -> None:
    story = established(client=ROOT)
    story.client.write(8)
    story.server.read()
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    records = list(map(pack, story.events))
    [alert] = alerts_of([*records, dropped(story.now + WAIT)])
    assert alert.story is not None
    assert alert.story.identity.changes == ()
    [alert] = alerts_of([*records, dropped(story.now + WAIT - MICROSECOND)])
    assert alert.story is not None
    assert len(alert.story.identity.changes) == 1


def test_what_stands_behind_a_record_in_the_ring_makes_no_difference() -> None:
    story = established(client=ROOT)
    story.client.write(8)
    story.server.read()
    change = dropped(story.now)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    [of_file] = alerts_of([*in_order(story.events, change), change])
    [of_ring] = alerts_of([*in_order(story.events, change + b"rest"), change])
    assert of_ring.story == of_file.story


def test_a_failed_connect_has_none() -> None:
    story = Story(path="/run/gone.s", client=HTTPD)
    story.connect(error=errno.ECONNREFUSED)
    [alert] = alerts_of(list(map(pack, story.events)))
    assert json.loads(alert_line(alert, CLOCKS))["identity"] == []
