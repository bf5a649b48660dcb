"""`hangup peers` prints both ends of real connections, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import peers
from hangup.cli.json_lines import HEADER
from hangup.cli.main import hangup
from hangup.cli.reporters.peers import peers_text
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import filter_of, shorthand, understood
from hangup.tracer.host import unix_diag
from hangup.tracer.host.cgroups import parse, read_process_cgroup
from hangup.tracer.host.inventory import Connection, Holder, Inventory, Socket, snapshot
from hangup.tracer.host.process import read_inner_pid
from tests.unit.snapshots import check


def end(inode: int, *holders: Holder, path: str | None = None, unread: int = 0) -> Socket:
    return Socket(inode, inode ^ 1, path, "stream", "established", unread, 0, 4026531833, holders)


def listener(inode: int, *holders: Holder, path: str, waiting: int = 0, backlog: int = 511) -> Socket:
    return Socket(inode, None, path, "stream", "listening", waiting, backlog, 4026531833, holders)


NGINX = Holder(812, "nginx", 33, 14, 812, parse(b"/system.slice/nginx.service"))
FPM = parse(b"/system.slice/php8.2-fpm.service")
DOCKER = parse(b"/system.slice/docker-" + b"0123456789abcdef" * 4 + b".scope")
WORKERS = [Holder(900 + number, "php-fpm8.2", 33, 5, 900 + number, FPM) for number in range(5)]
CONNECTIONS = [
    Connection(end(10, NGINX), end(11, *WORKERS, path="/run/php/fpm.sock", unread=4096), "/run/php/fpm.sock", "open"),
    Connection(end(12), None, "@\\x1b[2J[red]:smile:", "not accepted"),
    Connection(None, end(15, NGINX, path="/run/app", unread=8), "/run/app", "hung up"),
    Connection(end(16, NGINX), end(17, NGINX), None, "open", pair=True),
]
LISTENERS = [listener(20, *WORKERS, path="/run/php/fpm.sock", waiting=512)]


def at(holder: Holder, descriptor: int) -> Holder:
    return replace(holder, descriptor=descriptor)


def many() -> list[Connection]:
    """Return a pool's connections: many of the same two processes, some of which have unread bytes."""
    worker = at(WORKERS[0], 4)
    inside = Holder(950, "app", 33, 9, 7, DOCKER)
    path = "/run/php/fpm.sock"
    found = [
        Connection(
            end(100 + 2 * n, at(NGINX, 30 - 2 * n)), end(101 + 2 * n, at(worker, 40 + n), path=path), path, "open"
        )
        for n in range(11)
    ]
    found.append(Connection(end(200, at(NGINX, 99)), end(201, at(worker, 98), path=path, unread=219_264), path, "open"))
    found.append(Connection(end(202, inside), end(203, worker, path=path), path, "open"))
    found.append(Connection(end(204, at(inside, 8)), None, path, "not accepted"))
    return [*found, *CONNECTIONS]


def text(connections: Sequence[Connection] = CONNECTIONS, width: int | None = None) -> str:
    return peers_text(LISTENERS, connections, width=width)


def test_a_terminal_gets_the_connections_below_their_paths_in_80_columns() -> None:
    shown = text(many(), 80)
    check("peers-80", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_pipe_gets_one_whole_line_for_each_listener_and_connection() -> None:
    shown = text(width=None)
    check("peers-pipe", shown)
    assert (
        "  "
        + "nginx[812]:14 (nginx.service)  "
        + ", ".join(f"php-fpm8.2[{900 + number}]:5" for number in range(5))
        + ", 4096 bytes unread"
        in shown.splitlines()
    )


def test_a_wide_terminal_has_the_listener_beside_its_path() -> None:
    first = text(width=160).splitlines()[3]
    assert first == (
        "/run/php/fpm.sock  php-fpm8.2[900]:5, php-fpm8.2[901]:5, php-fpm8.2[902]:5 +2 listen  "
        "backlog full, 512 of 511  php8.2-fpm.service"
    )


def test_descriptors_of_one_process_are_in_numeric_order_and_together() -> None:
    path = "/run/s"
    held = Connection(end(10, at(NGINX, 11), at(NGINX, 5), at(NGINX, 8)), end(11, path=path), path, "open")
    assert "  nginx[812]:5,8,11 (nginx.service)  ?" in peers_text([], [held], width=None).splitlines()


def test_many_connections_of_the_same_two_processes_are_one_line_but_not_those_with_unread_bytes() -> None:
    lines = text(many()).splitlines()
    folded = [line for line in lines if line.endswith(" 11 connections")]
    assert len(folded) == 1
    assert "nginx[812]:10,12,14,16,18,20,22,24,26,28,30 " in folded[0]
    assert [line for line in lines if line.endswith(" 219 kB unread")]
    few = many()[8:]
    assert not [line for line in text(few).splitlines() if line.endswith(" connections")]


def test_every_connection_is_shown_or_counted_once() -> None:
    rows = [line for line in text(many()).splitlines() if line.startswith("  ")]
    counts = [int(match[1]) if (match := re.search(r" (\d+) connections$", row)) else 1 for row in rows]
    assert sum(counts) == len(many())


def test_a_path_keeps_its_line_and_is_not_cut() -> None:
    path = "/run/" + "x" * 103
    shown = peers_text(
        [listener(20, NGINX, path=path)], [Connection(end(10, NGINX), end(11, NGINX), path, "open")], width=80
    )
    assert shown.splitlines()[0] == path
    assert max(map(len, shown.splitlines()[1:])) <= 80


def test_a_listener_without_connections_is_shown() -> None:
    assert peers_text([listener(20, NGINX, path="@app", backlog=5)], [], width=None) == (
        "@app  nginx[812]:14 listens  backlog 0 of 5  nginx.service\n"
    )


def test_what_could_not_be_read_is_said() -> None:
    assert peers.incomplete(Inventory({})) == ""
    assert peers.incomplete(Inventory({}, 2, 1)) == "2 processes and 1 network namespace"


def test_either_end_can_be_selected() -> None:
    def paths(**options: Any) -> list[str | None]:
        wanted = filter_of(shorthand(**options), Subject.OPEN)
        return [connection.path for connection in peers.select(CONNECTIONS, wanted)]

    assert paths(pids=[904]) == ["/run/php/fpm.sock"]
    assert paths(comms=["nginx"]) == ["/run/php/fpm.sock", "/run/app", None]
    assert paths(paths=["/run/*"], comms=["php*"]) == ["/run/php/fpm.sock"]
    assert paths(uids=[998]) == []
    assert paths(uids=[33]) == ["/run/php/fpm.sock", "/run/app", None]
    assert paths(uids=[33], cgroups=["php8.2-fpm.service"]) == ["/run/php/fpm.sock"]
    assert paths(ignored_comms=["php*"], ignored_paths=["@*"]) == ["/run/app", None]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("conn.unread>4kB", ["/run/php/fpm.sock"]),
        ("conn.unread>0", ["/run/php/fpm.sock", "/run/app"]),
        ("not conn.client.pid exists", ["@\\x1b[2J[red]:smile:", "/run/app"]),
        ("conn.server.unit=php8.2-fpm.service", ["/run/php/fpm.sock"]),
        ("conn.client.comm=nginx and not conn.path exists", [None]),
        ("fd.ino=15", ["/run/app"]),
        ("fd.name contains app and user.uid=33", ["/run/app"]),
        ("proc.vpid=904", ["/run/php/fpm.sock"]),
    ],
)
def test_what_is_open_passes_filters(text: str, paths: list[str | None]) -> None:
    wanted = filter_of([understood(text, Subject.OPEN)], Subject.OPEN)
    assert [connection.path for connection in peers.select(CONNECTIONS, wanted)] == paths


def test_a_listener_passes_by_its_path_and_who_listens_or_is_that_of_a_connection_that_passes() -> None:
    def listeners(text: str, connections: Sequence[Connection] = ()) -> int:
        wanted = filter_of([understood(text, Subject.OPEN)], Subject.OPEN)
        return len(list(peers.select_listeners(LISTENERS, connections, wanted)))

    assert listeners("conn.server.comm=php-fpm8.2") == 1
    assert listeners("conn.path glob *fpm*") == 1
    assert listeners("conn.client.comm=nginx") == 0
    assert listeners("conn.client.comm=nginx", CONNECTIONS[:1]) == 1
    assert listeners("conn.unread exists") == 0


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, ["peers", *arguments])


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[tuple[str, socket.socket, socket.socket]]:
    try:
        unix_diag.check()
    except unix_diag.UnixDiagMissingError as error:
        pytest.skip(error.problem)
    name = str(tmp_path / "s")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(name)
        listener.listen()
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(name)
        server = stack.enter_context(listener.accept()[0])
        client.sendall(b"x" * 4096)
        yield name, client, server


def test_json_names_both_ends_of_a_real_connection(connection: tuple[str, socket.socket, socket.socket]) -> None:
    name, client, server = connection
    result = run("--json", "--path", name)
    assert result.exit_code == 0
    # click 8.1's runner mixes in what went to standard error.
    listening, line = (json.loads(line) for line in result.stdout.splitlines() if line.startswith("{"))
    comm = Path("/proc/self/comm").read_text().strip()
    cgroup = read_process_cgroup(os.getpid())
    assert cgroup

    def expected(socket_end: socket.socket, unread: int) -> dict[str, object]:
        return {
            "inode": os.fstat(socket_end.fileno()).st_ino,
            "netns": Path("/proc/self/ns/net").stat().st_ino,
            "unread": unread,
            "shutdown": 0,
            "processes": [
                {
                    "pid": os.getpid(),
                    "comm": comm,
                    "uid": os.geteuid(),
                    "descriptor": socket_end.fileno(),
                    "inner_pid": read_inner_pid(os.getpid()),
                    "cgroup": cgroup.path,
                    "unit": cgroup.unit,
                    "container": cgroup.container,
                    "runtime": cgroup.runtime,
                },
            ],
        }

    assert line == {
        "schema": 1,
        "record": "connection",
        "state": "open",
        "path": name,
        "type": "stream",
        "client": expected(client, 0),
        "server": expected(server, 4096),
    }
    assert list(line)[2:] == [field.name for field in peers.CONNECTION]
    assert {key: listening[key] for key in ("record", "path", "type", "waiting")} == {
        "record": "listener",
        "path": name,
        "type": "stream",
        "waiting": 0,
    }
    assert listening["backlog"] > 0
    assert [process["pid"] for process in listening["processes"]] == [os.getpid()]
    assert list(listening)[2:] == [field.name for field in peers.LISTENER]
    assert list(line)[:2] == [field.name for field in HEADER]


def test_the_options_select_a_real_connection(connection: tuple[str, socket.socket, socket.socket]) -> None:
    name, client, server = connection
    row = f"[{os.getpid()}]:{client.fileno()}", "4096 bytes unread", f"[{os.getpid()}]:{server.fileno()}"
    for arguments in (
        ["--pid", str(os.getpid())],
        ["--uid", str(os.geteuid()), "--path", name],
        ["--uid", pwd.getpwuid(os.geteuid()).pw_name, "--cgroup", "/", "--path", name],
        ["--path", name],
        ["--path", "/*/s", "--path", name],
    ):
        lines = run(*arguments).stdout.splitlines()
        (heading,) = (number for number, line in enumerate(lines) if line.startswith(name + " "))
        assert "listens  backlog 0 of " in lines[heading]
        assert all(part in lines[heading + 1] for part in row)


def test_no_match_is_said_in_one_line_and_is_no_failure(connection: tuple[str, socket.socket, socket.socket]) -> None:
    for arguments in (
        ["--path", "/nowhere"],
        ["--pid", str(2**22)],
        ["--uid", str(2**30)],
        ["--cgroup", "/nowhere"],
        ["--path", "/nowhere", "--json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hangup", "peers", *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.splitlines()[0] == "hangup: no connection or listener matches"
        assert connection[0] not in done.stderr


def test_without_privileges_connections_are_listed_but_not_whose_they_are(
    connection: tuple[str, socket.socket, socket.socket],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give up root")
    # All is imported before root is given up: the interpreter may be installed where nobody else may read.
    program = (
        "import os, sys\n"
        "from hangup.cli.commands import peers\n"
        "from hangup.tracer.host.inventory import snapshot\n"
        "from hangup.tracer.filter.check import Subject\n"
        "from hangup.tracer.filter.filter import filter_of, shorthand\n"
        "snapshot()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "inventory = snapshot()\n"
        "wanted = filter_of(shorthand(paths=[sys.argv[1]]), Subject.OPEN)\n"
        "connections = [*peers.select(inventory.connections(), wanted)]\n"
        "print(peers.peers_text([], connections, width=None), end='')\n"
        "print(peers.incomplete(inventory))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, connection[0]],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    _, row, unread = done.stdout.splitlines()
    assert row.split() == ["?", "?,", "4096", "bytes", "unread"]
    assert "process" in unread


def test_a_snapshot_of_this_host_is_shown_whole(connection: tuple[str, socket.socket, socket.socket]) -> None:
    assert connection[0] in run().output
    assert len(run("--json").stdout.splitlines()) >= 1
    assert list(snapshot().connections())
