"""What systemd itself makes of a container and of a scope is named as systemctl and machinectl name it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.watched import watch
from tests.vm.machine import run, until

MACHINE = "hangup-web"

# It answers and hangs up; or, told to stay, when the file "end" is there.
SERVER = """
import os, socket, sys, time
folder, stays = sys.argv[1], len(sys.argv) > 2
waiting = socket.socket(socket.AF_UNIX)
waiting.bind(f"{folder}/socket")
waiting.listen()
open(f"{folder}/ready", "w").close()
end, _ = waiting.accept()
end.recv(7)
end.sendall(b"answer")
while stays and not os.path.exists(f"{folder}/end"):
    time.sleep(0.1)
end.close()
"""

# Its last write is to nobody.
CLIENT = """
import errno, select, socket, sys
end = socket.socket(socket.AF_UNIX)
end.connect(sys.argv[1] + "/socket")
end.sendall(b"request")
end.recv(6)
open(sys.argv[1] + "/answered", "w").close()
poll = select.poll()
poll.register(end, select.POLLHUP)
poll.poll()
try:
    end.send(b"another request")
except BrokenPipeError:
    sys.exit(0)
sys.exit("it was not broken")
"""

PYTHON = ("/usr/bin/python3", "-c")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder for the socket, open to everybody."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@contextmanager
def nspawn(shared: Path, *arguments: str) -> Iterator[None]:
    """Run the server in a container of systemd-nspawn's, with this machine's own /usr and a network of its own."""
    command = ["systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", f"--machine={MACHINE}", "--as-pid2"]
    command += ["--private-network", "--console=pipe", f"--bind={shared}:/shared"]
    with subprocess.Popen([*command, *PYTHON, SERVER, "/shared", *arguments], stdin=subprocess.DEVNULL) as process:
        until(lambda: (shared / "ready").exists() or process.poll() is not None, "that the container listens")
        assert process.poll() is None
        yield
        assert process.wait(120) == 0


def test_a_container_of_nspawns_and_a_transient_scope_are_named(shared: Path, tmp_path: Path) -> None:
    with watch(tmp_path / "output", "--no-fail") as found, nspawn(shared):
        # By its name in the container is the socket known; the client goes another way to it.
        run("systemd-run", "--quiet", "--scope", "--unit=hangup-client", *PYTHON, CLIENT, str(shared))
    (alert,) = found.alerts_about(Path("/shared/socket"))
    server, client = alert["server"], alert["client"]
    assert (server["container"], server["runtime"]) == (MACHINE, "machined")
    assert server["unit"] == r"machine-hangup\x2dweb.scope"
    assert server["cgroup"].startswith("/machine.slice/")
    assert server["inner_pid"] == 2
    assert server["pid"] != 2
    assert (client["unit"], client["container"]) == ("hangup-client.scope", None)
    assert client["inner_pid"] == client["pid"]


def test_an_instance_of_the_nspawn_service_is_named_by_its_machine(shared: Path, tmp_path: Path) -> None:
    unit = f"systemd-nspawn@{MACHINE}.service"
    # The template boots an image; this instance of it runs our server on this machine's /usr.
    override = Path("/run/systemd/system") / f"{unit}.d" / "hangup-test.conf"
    override.parent.mkdir()
    program = shared / "server.py"
    program.write_text(SERVER)
    override.write_text(
        "[Service]\nExecStart=\n"
        "ExecStart=systemd-nspawn --quiet --keep-unit --directory=/ --volatile=yes --machine=%i --as-pid2 "
        f"--private-network --console=pipe --bind={shared}:/shared /usr/bin/python3 /shared/server.py /shared\n"
    )
    run("systemctl", "daemon-reload")
    try:
        with watch(tmp_path / "output", "--no-fail") as found:
            run("systemctl", "start", unit)
            until((shared / "ready").exists, "that the container listens")
            run(*PYTHON, CLIENT, str(shared))
        (alert,) = found.alerts_about(Path("/shared/socket"))
        server = alert["server"]
        assert (server["container"], server["runtime"], server["unit"]) == (MACHINE, "systemd-nspawn", unit)
        assert server["inner_pid"] == 2
    finally:
        run("systemctl", "stop", unit)
        override.unlink()
        override.parent.rmdir()
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", unit, status=None)


def peers(path: str) -> list[dict[str, Any]]:
    """Return what the installed hangup says of the connections to a path."""
    found = [json.loads(line) for line in run("hangup", "peers", "--json", "--path", path).splitlines()]
    return [record for record in found if record["record"] == "connection"]


def test_peers_joins_a_service_with_a_private_network_and_a_container(shared: Path) -> None:
    client = "hangup-private.service"
    with nspawn(shared, "stay"):
        service = ("systemd-run", "--quiet", "--collect", f"--unit={client}", "--property=PrivateNetwork=yes")
        run(*service, *PYTHON, CLIENT, str(shared))
        until((shared / "answered").exists, "that the service is connected")
        (connection,) = peers("/shared/socket")
        (shared / "end").touch()
    (server,) = connection["server"]["processes"]
    (process,) = connection["client"]["processes"]
    assert (server["container"], server["inner_pid"]) == (MACHINE, 2)
    assert (process["unit"], process["container"]) == (client, None)
    own = Path("/proc/self/ns/net").stat().st_ino
    # Both ends are in the client's namespace (unix_stream_connect()).
    assert connection["server"]["netns"] == connection["client"]["netns"] != own
