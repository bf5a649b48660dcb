"""`hangup peers -r` lists what was open while a capture was made."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.recorded import Moment, WrongTimeError
from hangup.tracer.capture.files import write_capture
from hangup.tracer.record.facts import Cgroup, HostFact, ProcessFact, SocketFact, pack_fact
from hangup.tracer.record.layout import SocketFlag, pack
from tests.stories import SHUT_WR, Story, Task, established
from tests.unit.playback import CLOCKS

SECOND = 10**9


pytestmark = pytest.mark.usefixtures("utc")


def story(number: int, seconds: int, path: str) -> Story:
    return established(
        start=seconds * SECOND,
        inode_number=100 * number,
        client_sock=0x1000 * number,
        server_sock=0x1000 * number + 0x800,
        path=path,
    )


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Return a capture that begins at 00:00:00 by the wall clock: /first is open from 1 to 20 s, /second from 10 s on.

    An older one is open from the beginning to the end; another one is at rest.
    """
    first, second = story(1, 1, "/first"), story(2, 10, "/second")
    first.client.write(300)
    first.server.read(100)
    second.client.write(16)
    second.client.shutdown(SHUT_WR)
    first.now = 20 * SECOND
    first.server.release()
    older = Story(older=True, inode_number=300, client_sock=0x3000, server_sock=0x3800, start=5 * SECOND)
    older.client.write(8)
    wall = CLOCKS.wall(SECOND)
    facts = [
        pack_fact(HostFact(0, 0, wall, 0)),
        pack_fact(ProcessFact(0, 815, "uwsgi", cgroup=Cgroup("/system.slice/app.service", "app.service"))),
        pack_fact(SocketFact(0, SocketFlag.CLIENT, "/older", 300, 301, (4711,))),
        pack_fact(SocketFact(0, SocketFlag.SERVER, "/older", 301, 300, (815,))),
        pack_fact(SocketFact(0, SocketFlag.SERVER, "/rest", 401, 400, (815,))),
        pack_fact(SocketFact(0, SocketFlag.CLIENT, "/rest", 400, 401, (4711,))),
        pack_fact(SocketFact(0, SocketFlag.LISTENER, "/second", 7, waiting=1, backlog=128)),
    ]
    events = sorted((event for each in (first, second, older) for event in each.events), key=lambda event: event.end)
    path = tmp_path / "capture"
    write_capture(path, [*facts, *map(pack, events)])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(hangup, ["peers", *map(str, arguments)])


def connections(*arguments: object) -> dict[str, dict[str, object]]:
    """Return the lines of --json, by path."""
    result = run("--json", *arguments)
    assert result.exit_code == ExitStatus.OK, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {line["path"]: line for line in lines if line["record"] == "connection"}


@pytest.mark.parametrize(
    ("at", "paths"),
    [
        ("+0s", {"/older", "/rest"}),
        ("+5s", {"/older", "/rest", "/first"}),
        ("00:00:12", {"/older", "/rest", "/first", "/second"}),
        ("2026-01-01 00:00:12.5", {"/older", "/rest", "/first", "/second"}),
        ("2026-01-01T00:00:09", {"/older", "/rest", "/first"}),
        ("+1h", {"/older", "/rest", "/first", "/second"}),
    ],
)
def test_what_was_open_at_a_time_is_listed(at: str, paths: set[str], capture: Path) -> None:
    assert set(connections("-r", capture, "--at", at)) == paths


def test_without_a_time_the_end_of_the_capture_is_meant(capture: Path) -> None:
    found = connections("-r", capture)
    assert set(found) == {"/older", "/rest", "/first", "/second"}
    assert found["/first"]["state"] == "hung up"
    assert found["/first"]["server"] is None


def test_both_ends_are_told_as_far_as_they_were_seen(capture: Path) -> None:
    found = connections("-r", capture, "--at", "+15s")
    server = found["/first"]["server"]
    assert isinstance(server, dict)
    assert (server["inode"], server["unread"], server["shutdown"]) == (101, 200, 0)
    [holder] = server["processes"]
    assert holder | {"cgroup": None} == {
        "pid": 815,
        "comm": "uwsgi",
        "uid": 998,
        "descriptor": 7,
        "inner_pid": 815,
        "cgroup": None,
        "unit": holder["unit"],
        "container": None,
        "runtime": None,
    }
    second = found["/second"]
    assert isinstance(second["client"], dict)
    assert isinstance(second["server"], dict)
    assert (second["client"]["shutdown"], second["server"]["shutdown"]) == (2, 1)
    rest = found["/rest"]["server"]
    assert isinstance(rest, dict)
    assert (rest["processes"][0]["comm"], rest["processes"][0]["descriptor"]) == ("uwsgi", None)


def test_it_is_printed_like_that_of_this_host(capture: Path) -> None:
    lines = run("-r", capture, "--at", "+15s", "--path", "/second").output.splitlines()
    assert lines == [
        "/second  ? listens  backlog 1 of 128",
        "  httpd[4711]:7  uwsgi[815]:7, 16 bytes unread (app.service)",
    ]
    rest = run("-r", capture, "--path", "/rest").output.splitlines()
    assert rest == ["/rest  listener not known", "  httpd[4711]  uwsgi[815] (app.service)"]
    assert "no connection or listener matches" in run("-r", capture, "--comm", "nginx").output


def test_a_socket_that_was_released_and_one_that_came_later_with_its_address_are_told_apart(tmp_path: Path) -> None:
    one, other = story(1, 1, "/one"), story(1, 2, "/other")
    one.client.release()
    one.server.release()
    write_capture(tmp_path / "capture", [pack(event) for each in (one, other) for event in each.events])
    assert set(connections("-r", tmp_path / "capture")) == {"/other"}


def test_who_listens_is_not_known_of_a_listener_that_came_after_the_beginning(capture: Path) -> None:
    assert "/first  listener not known" in run("-r", capture, "--at", "+15s").output.splitlines()
    assert "no listener" not in run("-r", capture, "--at", "+15s").output


def test_of_what_type_a_socket_is_that_was_not_seen_in_use_is_not_known(capture: Path) -> None:
    lines = [json.loads(line) for line in run("-r", capture, "--json").stdout.splitlines() if line.startswith("{")]
    types = {(line["record"], line["path"]): line["type"] for line in lines}
    assert types[("listener", "/second")] is None
    assert types[("connection", "/rest")] is None
    assert types[("connection", "/second")] == "stream"


@pytest.mark.parametrize("survivor", ["client", "server"])
def test_a_socketpair_stays_one_when_an_end_has_gone(survivor: str, tmp_path: Path) -> None:
    pair = Story()
    pair.socketpair()
    pair.client.write(8)
    pair.server.read(8)
    (pair.server if survivor == "client" else pair.client).release()
    write_capture(tmp_path / "capture", map(pack, pair.events))
    assert run("-r", tmp_path / "capture").output.splitlines()[0] == "(socketpairs)"


@pytest.mark.parametrize(
    ("facts", "heading"),
    [
        ([(300, 301), (301, 300)], "(socketpairs)"),
        # The other end has gone since.
        ([(300, 301)], "(socketpairs)"),
        # Of a survivor the kernel does not say whose it was.
        ([(300, 0)], "(path not known)"),
    ],
)
def test_an_older_socketpair_is_told_as_one_if_both_ends_were_seen(
    facts: list[tuple[int, int]], heading: str, tmp_path: Path
) -> None:
    flags = SocketFlag.CLIENT | SocketFlag.PAIR
    records = [pack_fact(SocketFact(0, flags, None, *inodes, (4711,))) for inodes in facts]
    write_capture(tmp_path / "capture", records)
    assert run("-r", tmp_path / "capture").output.splitlines()[0] == heading


def test_a_connect_that_nobody_has_accepted_is_told_so(tmp_path: Path) -> None:
    waiting = Story(path="/run/app.s", client=Task("nginx", 5))
    waiting.connect()
    write_capture(tmp_path / "capture", map(pack, waiting.events))
    [found] = connections("-r", tmp_path / "capture").values()
    assert (found["state"], found["server"]) == ("not accepted", None)


def test_a_capture_of_what_went_wrong_says_that_it_has_no_more(tmp_path: Path) -> None:
    write_capture(tmp_path / "capture", [pack_fact(HostFact(0, 0, 0, 0, recording=True))])
    result = run("-r", tmp_path / "capture")
    assert result.output.splitlines()[-1] == (
        "hangup: the capture has only what was open when it began, and what went wrong"
    )


def test_a_time_before_the_capture_is_one_line(capture: Path) -> None:
    result = run("-r", capture, "--at", "2025-12-31 23:59:59")
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert result.output == (
        "hangup: the capture begins later than that, at 2026-01-01 00:00:00.000000: name a time within it\n"
    )


@pytest.mark.parametrize(("at", "is_later"), [("+1h", True), ("23:00:00", True), ("+5s", False), ("+0s", False)])
def test_a_time_after_the_capture_is_said_to_be_one(at: str, is_later: bool, capture: Path) -> None:
    result = run("-r", capture, "--at", at)
    assert result.exit_code == ExitStatus.OK
    assert ("hangup: the capture ends before that, at 2026-01-01 00:00:" in result.output) == is_later
    assert "ends before" not in run("-r", capture).output


def test_of_a_damaged_capture_what_is_whole_is_listed(capture: Path) -> None:
    os.truncate(capture, capture.stat().st_size - 1)
    result = run("-r", capture)
    assert result.exit_code == ExitStatus.DAMAGED
    assert "/second" in result.output
    assert "it was cut short" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00:00", "+", "+5x", "10:15", "2026-13-01 00:00:00", "2026-13-01T00:00:00", "00:00:00.x"]
)
def test_what_is_no_time_is_refused(text: str, capture: Path) -> None:
    with pytest.raises(WrongTimeError, match=f"^{re.escape(repr(text))} is not a time$"):
        Moment(text)
    result = run("-r", capture, "--at", text)
    assert result.exit_code == ExitStatus.USAGE
    assert result.output.splitlines()[-1].endswith("is not a time; write it like 10:15:00 or +30s")


def test_a_time_of_day_may_be_of_the_day_after_the_capture_began(tmp_path: Path) -> None:
    late = story(1, 10, "/late")
    wall = CLOCKS.wall(0) + 86_395 * SECOND
    write_capture(tmp_path / "capture", [pack_fact(HostFact(0, 0, wall, 0)), *map(pack, late.events)])
    assert set(connections("-r", tmp_path / "capture", "--at", "00:00:01")) == set()
    assert set(connections("-r", tmp_path / "capture", "--at", "00:00:10")) == {"/late"}


def test_a_time_is_for_captures_only() -> None:
    result = run("--at", "+5s")
    assert result.exit_code == ExitStatus.USAGE
    assert result.output.splitlines()[-1] == "Error: --at is for a capture, and -r names none"
