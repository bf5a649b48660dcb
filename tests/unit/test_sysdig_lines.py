"""`hangup trace --format sysdig`: what egrep and awk were written for goes on working."""

from __future__ import annotations

import errno
import re
import subprocess
from collections.abc import Iterable

import pytest

from hangup.cli.reporters import sysdig as module
from hangup.cli.reporters.sysdig import LOOK_AHEAD, SysdigLines, type_of
from hangup.cli.reporters.times import Zero
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import over_operations
from hangup.tracer.filter.filter import understood
from hangup.tracer.record.layout import SEQPACKET, Event, EventFlag, brief_of, pack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.tracer import Tracer
from tests.stories import SHUT_WR, Story, Task, established, seeds_failure
from tests.unit.playback import CLOCKS, Playback

CLIENT, SERVER = "ffff880108bcc440", "ffff880108bcba80"
PATH = "/tmp/helloFastCGI.s"


pytestmark = pytest.mark.usefixtures("utc")


def operated(*stories: Story) -> list[Operated]:
    found: list[Operated] = []
    source = Playback(event for story in stories for event in story.events)
    with Tracer(source=source, on_operations=found.extend) as tracer:
        for _ in tracer.alerts():
            pass
    return found


def lines(*stories: Story, zero: Zero = "local") -> list[str]:
    view = SysdigLines(zero=zero)
    found = view.lines(operated(*stories), CLOCKS)
    return found + view.rest(CLOCKS)


def arguments_of(event: Event, place: Place | None = None) -> list[str]:
    """Return what stands behind the type in both lines of an operation."""
    view = SysdigLines()
    record = pack(event)
    found = view.lines([(record, brief_of(record), place or Place("client", 1, "/run/a.s", False))], CLOCKS)
    return [line.split(" ", 7)[7] for line in found + view.rest(CLOCKS)]


def test_the_classic_failure_is_listed_in_sysdig_s_layout() -> None:
    story = seeds_failure()
    for event in story.events:
        assert event.cpu == 0
    found = lines(story)
    end = f"fd=7(<u>{CLIENT}->{SERVER} {PATH})"
    other = f"fd=7(<u>{SERVER}->{CLIENT} {PATH})"
    assert found[:8] == [
        "1 00:00:00.000000000 0 httpd (4713) > connect fd=7(<u>)",
        f"2 00:00:00.000010000 0 httpd (4713) < connect res=0 tuple={CLIENT}->{SERVER} {PATH}",
        "3 00:00:00.000010000 0 uwsgi (817) > accept4 flags=0",
        f"4 00:00:00.000020000 0 uwsgi (817) < accept4 {other} tuple={SERVER}->{CLIENT} {PATH} "
        "queuepct=<NA> queuelen=<NA> queuemax=<NA>",
        f"5 00:00:00.000020000 0 httpd (4713) > writev {end} size=16",
        "6 00:00:00.000030000 0 httpd (4713) < writev res=16 data=",
        f"7 00:00:00.000030000 0 uwsgi (817) > read {other} size=4096",
        "8 00:00:00.000040000 0 uwsgi (817) < read res=16 data=",
    ]
    assert found[-6:-2] == [
        f"27 00:00:00.000130000 0 uwsgi (817) > close {other}",
        "28 00:00:00.000130000 0 uwsgi (817) < close res=0",
        f"29 00:00:00.000209000 0 httpd (4713) > writev {end} size=8",
        "30 00:00:00.000219000 0 httpd (4713) < writev res=-32(EPIPE) data=",
    ]
    assert len(found) == 2 * len(story.events)


def egrep(pattern: str, text: Iterable[str]) -> list[str]:
    done = subprocess.run(["grep", "-E", pattern], input="\n".join(text), capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_the_classic_searches_find_what_they_find_in_sysdig_s_listing() -> None:
    other = established(start=2_000_000_000, client=Task("curl", 77), path="/run/other.s")
    other.client.shutdown(SHUT_WR)
    # Elsewhere in memory, as connections that are open at the same time are.
    moved = [event._replace(sock=event.sock + 64, peer=event.peer + 64) for event in other.events]
    other.events[:] = moved
    found = lines(seeds_failure(), other)
    assert len(egrep("(connect|writev|close|read|PIPE)", found)) == len(found) - len(
        egrep("accept|shutdown| write ", found)
    )
    of_address = egrep(f"({CLIENT}|EPIPE)", found)
    assert [line.split()[0] for line in of_address][-2:] == ["30", "31"]
    assert not egrep("curl|other", of_address)
    # How much did the server read? By awk, as one would.
    awk = '$4 == "uwsgi" && $6 == "<" && $7 == "read" { sub(/res=/, "", $8); sum += $8 } END { print sum }'
    done = subprocess.run(["awk", awk], input="\n".join(found), capture_output=True, text=True, check=True)
    assert done.stdout == f"{16 + 699 + 8}\n"


@pytest.mark.parametrize(
    ("syscall", "before", "after"),
    [
        (1, "size=8", "res=8 data="),
        (20, "size=8", "res=8 data="),
        (44, "size=8 tuple=NULL", "res=8 data="),
        (46, "size=8 tuple=NULL", "res=8 data="),
    ],
)
def test_each_call_that_writes_has_its_own_arguments(syscall: int, before: str, after: str) -> None:
    event = established().client.write(8, syscall=syscall)
    assert arguments_of(event) == [f"fd=7(<u>{CLIENT}->{SERVER} /run/a.s) {before}", after]


@pytest.mark.parametrize(
    ("syscall", "before", "after"),
    [
        (0, " size=100", "res=8 data="),
        (19, "", "res=8 size=100 data="),
        (45, " size=100", "res=8 data= tuple=NULL"),
        (47, "", "res=8 size=8 data= tuple=NULL"),
    ],
)
def test_each_call_that_reads_has_its_own_arguments(syscall: int, before: str, after: str) -> None:
    story = established()
    story.client.write(8)
    event = story.server.read(8, syscall=syscall)._replace(size=100)
    assert arguments_of(event) == [f"fd=7(<u>{SERVER}->{CLIENT} /run/a.s){before}", after]


def test_other_operations_have_theirs() -> None:
    story = established()
    assert arguments_of(story.client.shutdown(SHUT_WR))[0].endswith(" how=1(SHUT_WR)")
    pair = Story()
    pair.socketpair()
    event = pair.events[0]._replace(type=SEQPACKET, descriptor=5)
    ends = f"{event.sock:x}->{event.peer:x}"
    assert arguments_of(event) == [
        "domain=1(AF_LOCAL) type=5 proto=0",
        f"res=0 fd1=5(<u>{ends} /run/a.s) source={event.sock:x} peer={event.peer:x}",
    ]
    refused = Story(path="/run/a.s")
    failed = refused.connect(error=errno.ECONNREFUSED)
    assert arguments_of(failed)[1] == f"res=-111(ECONNREFUSED) tuple={failed.sock:x}->{failed.peer:x} /run/a.s"


def test_a_beginning_stands_where_the_call_began() -> None:
    story = established()
    story.client.write(4)
    waiting = story.server.read(4)
    story.events[-1] = waiting._replace(start=story.events[0].start + 5)
    found = lines(story)
    assert [line.split()[5:7] for line in found[:3]] == [[">", "connect"], [">", "read"], ["<", "connect"]]
    assert [int(line.split()[0]) for line in found] == list(range(1, len(found) + 1))
    times = [line.split()[1] for line in found]
    assert times == sorted(times)


def took(start: int, end: int) -> Operated:
    story = established()
    event = story.client.write(4)._replace(start=start, end=end)
    return pack(event), brief_of(pack(event)), Place("client", 1, "/run/a.s", False)


def directions(found: list[str]) -> str:
    return "".join(line.split()[5] for line in found)


def test_lines_are_held_back_no_longer_than_that_and_what_comes_later_is_counted() -> None:
    view = SysdigLines(zero="relative")
    assert view.lines([took(10, 20)], CLOCKS) == []
    assert view.ready(LOOK_AHEAD, CLOCKS) == []
    assert directions(view.ready(LOOK_AHEAD + 10, CLOCKS)) == ">"
    assert directions(view.lines([took(15, LOOK_AHEAD + 30)], CLOCKS)) == "><"
    assert view.late == 0
    assert directions(view.lines([took(5, LOOK_AHEAD + 40)], CLOCKS)) == ">"
    assert view.late == 1
    assert directions(view.rest(CLOCKS)) == "<<"


def test_no_more_lines_are_held_back_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 10)
    view = SysdigLines()
    found = view.lines([took(10 + number, 20 + number) for number in range(100)], CLOCKS)
    assert len(found) == 190
    assert len(view.rest(CLOCKS)) == 10


def test_names_and_paths_of_processes_are_escaped() -> None:
    story = established(client=Task("\x1b[2J", 7), path="/run/\x1b[31m\n2 x (1) < writev")
    story.client.write(4)
    for line in lines(story):
        assert line.isprintable()
        assert re.match(r"[0-9]+ [0-9:.]+ 0 (\\x1b\[2J|uwsgi) ", line)


def test_times_count_from_what_was_asked_for() -> None:
    assert [line.split()[1] for line in lines(seeds_failure(), zero="relative")][:3] == [
        "0.000000000",
        "0.000010000",
        "0.000010000",
    ]


def test_who_is_killed_in_the_middle_of_a_call_releases_its_sockets_by_its_exit() -> None:
    story = established()
    # nanosleep(2), which has no descriptor: what its registers hold is none.
    event = story.server.release(killed_by=9, syscall=35, descriptor=12, flags=int(EventFlag.EXITING))
    assert type_of(event) == "exit"
    before, _ = arguments_of(event)
    assert before.startswith("fd=-1(<u>")
    for text, passes in (("evt.type=exit", True), ("evt.type=nanosleep", False), ("fd.num=12", False)):
        asked = over_operations(understood(text, Subject.OPERATIONS), lambda *_: None)
        assert asked(pack(event), Place("server", 1, "/run/a.s", False)) == passes, text
