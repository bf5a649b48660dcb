"""What is no failure is no alert: a message bus with its clients, multiprocessing, asyncio, reloads.

The harmless ones count here too, but by name: what stands in EXPECTED is a true failure, or truly harmless.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import more_servers, servers
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.more_servers import children, wait_until_nobody_is_connected
from tests.scenarios.watched import Watch, watch

_LIMIT = 180.0

# Verdict, client, server: operations that did fail, which these programs take in their stride. They need not come: most
# are races.
EXPECTED = {
    # A monitor is interrupted while the bus sends it the next signal.
    ("killed", "gdbus", "dbus-daemon"),
    # It wants no answer, and leaves with the bus's NameAcquired unread: the bus's next read is reset.
    ("exited", "dbus-send", "dbus-daemon"),
    # A child that was forked with such a proxy tells so a manager that has ended.
    ("listener-gone", "python3", None),
}
HARMLESS: set[tuple[str, str | None, str | None]] = {
    # Whoever has a manager shut down reads that it will and closes; then the manager answers a second time.
    ("gave-up", "python3", "python3"),
}

_PROGRAMS = {
    "multiprocessing": """\
import multiprocessing


def square(number):
    return number * number


def answer(end):
    for _ in range(3):
        end.send(square(end.recv()))
    end.close()


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(20)) == [square(number) for number in range(20)]
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        shared["a"] = 1
        assert shared["a"] == 1
        waiting = manager.Queue()
        process = multiprocessing.Process(target=waiting.put, args=("hello",))
        process.start()
        assert waiting.get() == "hello"
        process.join()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=answer, args=(theirs,))
    process.start()
    theirs.close()
    for number in range(3):
        ours.send(number)
        assert ours.recv() == square(number)
    process.join()
    ours.close()
""",
    "asyncio": """\
import asyncio
import sys


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    async with server:
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(sys.argv[1])
            for word in (b"one", b"two"):
                writer.write(word + b"\\n")
                assert await reader.readline() == word.upper() + b"\\n"
            writer.close()
            await writer.wait_closed()
        child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        assert (await child.communicate(b"hello"))[0] == b"hello"


asyncio.run(main())
""",
}


@dataclass
class Noise:
    """What was done under one `hangup watch`."""

    watch: Watch
    statuses: dict[str, int] = field(default_factory=dict)

    def run(self, name: str, *command: str, cwd: Path) -> None:
        """Run a program to its end."""
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_LIMIT, check=False)
        self.statuses[name] = done.returncode
        assert done.returncode == 0, f"{name}: {done.stderr}"


def _use_a_bus(noise: Noise, directory: Path) -> None:
    """Let clients of three libraries ask a bus for its names, and one of them call another."""
    bus = directory / "bus"
    address = f"unix:path={bus}"
    daemon = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"]
    bus_name, bus_path = "org.freedesktop.DBus", "/org/freedesktop/DBus"
    with servers.running("dbus-daemon", daemon, directory, lambda: servers.listens_at(bus)):
        to_bus = [f"--dest={bus_name}", bus_path]
        noise.run(
            "dbus-send",
            "dbus-send",
            f"--bus={address}",
            "--print-reply",
            *to_bus,
            f"{bus_name}.ListNames",
            cwd=directory,
        )
        # It does not wait for an answer.
        noise.run(
            "dbus-send, no reply", "dbus-send", f"--bus={address}", *to_bus, f"{bus_name}.ListNames", cwd=directory
        )
        call = ["--dest", bus_name, "--object-path", bus_path, "--method", f"{bus_name}.GetId"]
        noise.run("gdbus", "gdbus", "call", "--address", address, *call, cwd=directory)
        noise.run("busctl", "busctl", f"--address={address}", "--no-pager", "list", cwd=directory)
        monitor = subprocess.Popen(
            ["gdbus", "monitor", "--address", address, "--dest", bus_name], stdout=subprocess.PIPE, cwd=directory
        )
        assert monitor.stdout is not None
        assert monitor.stdout.readline()
        noise.run(
            "dbus-send again",
            "dbus-send",
            f"--bus={address}",
            "--print-reply",
            *to_bus,
            f"{bus_name}.GetId",
            cwd=directory,
        )
        monitor.send_signal(signal.SIGINT)
        monitor.wait(_LIMIT)
        monitor.stdout.close()


def _reload_nginx(noise: Noise, directory: Path) -> None:
    """Let nginx take its configuration again between requests."""
    with servers.nginx_to_uwsgi(directory) as scenario:
        noise.statuses["before the reload"] = servers.load(scenario.url, directory, requests=5).not_2xx
        (before,) = children(scenario.client.pid)
        scenario.client.send_signal(signal.SIGHUP)
        while before in children(scenario.client.pid):
            os.sched_yield()
        noise.statuses["after the reload"] = servers.load(scenario.url, directory, requests=5).not_2xx


def _reload_postgres(noise: Noise, directory: Path, initdb: subprocess.Popen[str]) -> None:
    """Let PostgreSQL take its configuration again beside a session that goes on, and ask it from a new one."""
    with more_servers.postgres(directory, initdb) as server:
        session = server.connect("admin")
        session.query("SELECT 1")
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.write("work_mem = '5MB'\n")
        server.process.send_signal(signal.SIGHUP)
        # The session, too, takes it between two queries.
        while not any(b"5MB" in content for kind, content in session.query("SHOW work_mem") if kind == b"D"):
            pass
        psql = ["psql", "-X", "-h", str(server.socket("orderly").parent), "-U", "postgres", "-c", "SELECT 1"]
        noise.run("psql after the reload", *psql, cwd=directory)
        session.close()
        # What still has a client when the server is stopped would be told so.
        for cause in ("admin", "orderly"):
            wait_until_nobody_is_connected(server.socket(cause))


@pytest.fixture(scope="module", params=exact_flavours()[-1:])
def noise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Noise:
    """Do all of it under one watch."""
    missing = [program for program in ("dbus-daemon", "gdbus", "busctl", "psql") if shutil.which(program) is None]
    if more_servers.postgres_programs() is None:
        missing.append("postgresql")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; see vagrant/servers.list")
    output = tmp_path_factory.mktemp("watch") / "output"
    with ExitStack() as stack:
        # Not below pytest's own folder, which PostgreSQL's user may not enter. Its data is made while the rest is done.
        database = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hangup-")))
        initdb = more_servers.start_initdb(database)
        stack.callback(initdb.kill)
        found = stack.enter_context(watch(output, "--probes", request.param, "--harmless"))
        made = Noise(found)
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            _use_a_bus(made, Path(folder))
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            for name, program in _PROGRAMS.items():
                script = Path(folder) / f"uses_{name}.py"
                script.write_text(program)
                made.run(name, sys.executable, str(script), str(Path(folder) / "socket"), cwd=Path(folder))
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            _reload_nginx(made, Path(folder))
        _reload_postgres(made, database, initdb)
    return made


def test_everything_goes_well(noise: Noise) -> None:
    assert set(noise.statuses.values()) == {0}


def test_there_were_connections_to_be_wrong_about(noise: Noise) -> None:
    assert noise.watch.total["connections"] > 30


def names(alert: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the client's and the server's name."""
    client, server = alert["client"], alert["server"]
    return client and client["comm"], server and server["comm"]


def test_nothing_of_it_is_an_alert(noise: Noise) -> None:
    found = [alert for alert in noise.watch.alerts if not alert["consequence"]["harmless"]]
    unnamed = [alert for alert in found if (alert["verdict"], *names(alert)) not in EXPECTED]
    assert not unnamed, "\n".join(f"{alert['path']}: {alert['sentence']}" for alert in unnamed)


def test_what_is_harmless_stands_here_by_name(noise: Noise) -> None:
    found = [alert for alert in noise.watch.alerts if alert["consequence"]["harmless"]]
    unnamed = [alert for alert in found if (alert["verdict"], *names(alert)) not in HARMLESS]
    assert not unnamed, "\n".join(f"{alert['path']}: {alert['sentence']}" for alert in unnamed)


def test_nothing_is_lost(noise: Noise) -> None:
    assert noise.watch.total["lost"] == 0
