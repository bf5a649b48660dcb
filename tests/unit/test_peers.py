"""`hangup peers` prints both ends of real connections, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import peers
from hangup.cli.json_lines import HEADER
from hangup.cli.main import hangup
from hangup.tracer import unix_diag
from hangup.tracer.cgroups import read_process_cgroup
from hangup.tracer.inventory import Connection, Holder, Inventory, Socket, snapshot
from hangup.tracer.process import read_inner_pid
from hangup.tracer.selection import Selection


def end(inode: int, *holders: Holder, path: str | None = None, unread: int = 0) -> Socket:
    return Socket(inode, inode ^ 1, path, "stream", "established", unread, 0, 4026531833, holders)


NGINX = Holder(812, "nginx", 33, 14)
WORKERS = [Holder(900 + number, "php-fpm8.2", 33, 5) for number in range(5)]
CONNECTIONS = [
    Connection(end(10, NGINX), end(11, *WORKERS, path="/run/php/fpm.sock", unread=4096), "/run/php/fpm.sock", "open"),
    Connection(end(12), None, "@\\x1b[2J[red]:smile:", "not accepted"),
    Connection(None, end(15, NGINX, path="/run/app", unread=8), "/run/app", "hung up"),
    Connection(end(16, NGINX), end(17, NGINX), None, "open"),
]


def printed(width: int | None = None) -> str:
    output = io.StringIO()
    peers.show(CONNECTIONS, output, width=width)
    return output.getvalue().removesuffix("\n")


def test_a_pipe_gets_one_whole_line_for_each_connection() -> None:
    fields = [line.split("  ") for line in printed().splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in fields]
    workers = ", ".join(f"php-fpm8.2[{900 + number}]:5" for number in range(5))
    assert cells == [
        ["PATH", "CLIENT", "UNREAD", "SERVER", "UNREAD"],
        ["/run/php/fpm.sock", "nginx[812]:14", "0", workers, "4096"],
        ["@\\x1b[2J[red]:smile:", "?", "0", "(not accepted)", "-"],
        ["/run/app", "(hung up)", "-", "nginx[812]:14", "8"],
        ["(socketpair)", "nginx[812]:14", "0", "nginx[812]:14", "0"],
    ]


def test_a_terminal_gets_folded_cells_and_only_a_few_of_many_holders() -> None:
    assert printed(width=80) == (
        "PATH                  CLIENT         UNREAD  SERVER                       UNREAD\n"
        "/run/php/fpm.sock     nginx[812]:14       0  php-fpm8.2[900]:5,             4096\n"
        "                                             php-fpm8.2[901]:5,\n"
        "                                             php-fpm8.2[902]:5 +2\n"
        "@\\x1b[2J[red]:smile:  ?                   0  (not accepted)                    -\n"
        "/run/app              (hung up)           -  nginx[812]:14                     8\n"
        "(socketpair)          nginx[812]:14       0  nginx[812]:14                     0"
    )


def test_a_long_path_is_folded_and_not_cut() -> None:
    path = "/run/" + "x" * 103
    output = io.StringIO()
    peers.show([Connection(end(10, NGINX), end(11, NGINX), path, "open")], output, width=80)
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.split(" ")[0] for line in lines[1:]) == path


def test_what_could_not_be_read_is_said() -> None:
    assert peers.incomplete(Inventory({})) == ""
    assert peers.incomplete(Inventory({}, 2, 1)) == "2 processes and 1 network namespace"


def test_either_end_can_be_selected() -> None:
    def paths(selection: Selection) -> list[str | None]:
        return [connection.path for connection in peers.select(CONNECTIONS, selection)]

    assert paths(Selection(pids=frozenset({904}))) == ["/run/php/fpm.sock"]
    assert paths(Selection(comms=("nginx",))) == ["/run/php/fpm.sock", "/run/app", None]
    assert paths(Selection(paths=("/run/*",), comms=("php*",))) == ["/run/php/fpm.sock"]


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
    (line,) = (json.loads(line) for line in result.stdout.splitlines() if line.startswith("{"))
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
    assert list(line)[2:] == [field.name for field, _ in peers.CONNECTION_FIELDS]
    assert list(line)[:2] == [field.name for field in HEADER]


def test_the_options_select_a_real_connection(connection: tuple[str, socket.socket, socket.socket]) -> None:
    name, client, server = connection
    row = f"[{os.getpid()}]:{client.fileno()}", "4096", f"[{os.getpid()}]:{server.fileno()}"
    for arguments in (["--pid", str(os.getpid())], ["--path", name], ["--path", "/*/s", "--path", name]):
        (found,) = (line for line in run(*arguments).stdout.splitlines() if line.startswith(name + " "))
        assert all(part in found for part in row)
    assert name not in run("--path", "/nowhere").output
    assert name not in run("--pid", str(2**30)).output


def test_without_privileges_connections_are_listed_but_not_whose_they_are(
    connection: tuple[str, socket.socket, socket.socket],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give up root")
    # All is imported before root is given up: the interpreter may be installed where nobody else may read.
    program = (
        "import os, sys\n"
        "from hangup.cli.commands import peers\n"
        "from hangup.tracer.inventory import snapshot\n"
        "from hangup.tracer.selection import Selection\n"
        "peers.show([], open(os.devnull, 'w')); snapshot()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "inventory = snapshot()\n"
        "peers.show([*peers.select(inventory.connections(), Selection(paths=(sys.argv[1],)))], sys.stdout)\n"
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
    assert row.split() == [connection[0], "?", "0", "?", "4096"]
    assert "process" in unread


def test_a_snapshot_of_this_host_is_shown_whole(connection: tuple[str, socket.socket, socket.socket]) -> None:
    assert connection[0] in run().output
    assert len(run("--json").stdout.splitlines()) >= 1
    assert list(snapshot().connections())
