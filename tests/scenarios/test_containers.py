"""Processes in containers are named on the host's terms and on their own, however soon they are gone."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hangup.tracer.host.inventory import snapshot
from hangup.tracer.record.layout import Event, Operation
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Alert, Tracer
from tests.scenarios.containers import Container, control_group, enter_network
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton, Player, client, fails, listener, receive, wait_for_hangup
from tests.scenarios.watched import watch

# A folder that every machine has and no test uses: where a container finds what it shares with the host.
INSIDE = Path("/mnt")

SLICE = "hangup-test.slice"
ID = "4f1d2a6be09c7358" * 4
OTHER = "9be07c1a44d25f63" * 4


class Two:
    """A connection between two containers, each in a network namespace of its own, that the tracer finds open.

    The client has ended its sending before: what it then writes fails, and the server never does anything again.
    """

    def __init__(self, shared: Path, server_cgroup: Path, client_cgroup: Path) -> None:
        self.path = INSIDE / "older"
        listening, connected, self.write, self.failed, self.end = (Baton() for _ in range(5))

        def serve() -> None:
            with listener(self.path) as waiting:
                listening.pass_on()
                accepted, _ = waiting.accept()
            receive(accepted, 5)
            connected.pass_on()
            self.end.take()
            accepted.close()

        def call() -> None:
            listening.take()
            end = client(self.path)
            end.sendall(b"hello")
            end.shutdown(socket.SHUT_WR)
            self.write.take()
            assert fails(lambda: end.send(b"lost")) == errno.EPIPE
            self.failed.pass_on()
            self.end.take()

        self.server = Container(serve, shared=shared, inside=INSIDE, cgroup=server_cgroup)
        self.client = Container(call, shared=shared, inside=INSIDE, cgroup=client_cgroup, depth=2)
        connected.take()

    def finish(self) -> None:
        """Let both go."""
        for _ in range(2):
            self.end.pass_on()
        self.server.end()
        self.client.end()


@pytest.fixture(scope="module", params=exact_flavours())
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Two]]:
    """Connect two containers before the tracer is started."""
    with (
        control_group(SLICE, f"cri-containerd-{ID}.scope") as one,
        control_group(SLICE, r"machine-old\x2dweb.scope", "payload", "system.slice", "app.service") as other,
    ):
        two = Two(tmp_path_factory.mktemp("shared"), one, other)
        yield request.param, two
        two.finish()


class Seen:
    """A tracer, and what it has seen in this test."""

    def __init__(self, flavour: str) -> None:
        self.events: list[Event] = []
        self.tracer = Tracer(probes=flavour, on_operation=self._keep)

    def _keep(self, operation: Traced) -> None:
        self.events.append(operation.event)

    def alerts(self, path: Path) -> list[Alert]:
        """Return the alerts about connections to a path till now."""
        # The second look is after what became of the one that was hurt has been waited for.
        return [alert for _ in range(2) for alert in self.tracer.poll(0.2) if alert.path == str(path)]


@pytest.fixture(scope="module")
def tracing(older: tuple[str, Two]) -> Iterator[Seen]:
    """Trace, from one start of the tracer for all tests: it takes long in an emulated guest."""
    seen = Seen(older[0])
    with seen.tracer:
        yield seen
        assert seen.tracer.losses().total == 0


@pytest.fixture
def seen(tracing: Seen) -> Seen:
    """Forget what was seen before."""
    list(tracing.tracer.poll(0))
    tracing.events.clear()
    return tracing


class Broken:
    """A server in a container hangs up on a client outside; the test says when."""

    def __init__(self, shared: Path, cgroup: Path, *, depth: int = 1) -> None:
        listening, answered, self.break_it, self._write = (Baton() for _ in range(4))
        self.inside = INSIDE / "socket"
        report, self._report = os.pipe()

        def serve() -> None:
            with listener(self.inside) as waiting:
                listening.pass_on()
                accepted, _ = waiting.accept()

            def answer() -> None:
                os.write(self._report, f"{os.getpid()} {threading.get_native_id()} ".encode())
                receive(accepted, 7)
                accepted.sendall(b"answer")

            worker = threading.Thread(target=answer)
            worker.start()
            worker.join()
            answered.pass_on()
            signal.pause()

        def call() -> None:
            listening.take()
            end = client(shared / "socket")
            end.sendall(b"request")
            wait_for_hangup(end)
            self._write.take()
            assert fails(lambda: end.send(b"lost")) == errno.EPIPE

        self.server = Container(serve, shared=shared, inside=INSIDE, cgroup=cgroup, depth=depth)
        self.client = Player(call)
        answered.take()
        self.inner_pid, self.inner_tid = map(int, os.read(report, 40).split())

    def kill_server(self) -> None:
        """Kill the container's process; with it nobody is left in its cgroup."""
        os.kill(self.server.player, signal.SIGKILL)
        self.server.end()

    def break_client(self) -> None:
        """Let the client write to nobody."""
        self._write.pass_on()
        self.client.end()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_server_in_a_container_is_named_on_both_terms_when_it_and_its_cgroup_are_gone(
    seen: Seen, tmp_path: Path, depth: int
) -> None:
    with control_group(SLICE, f"docker-{ID}.scope") as cgroup:
        broken = Broken(tmp_path, cgroup, depth=depth)
        # As the tracer would look within a tenth of a second.
        assert seen.alerts(broken.inside) == []
        broken.kill_server()
    assert not cgroup.exists()
    broken.break_client()
    (alert,) = seen.alerts(broken.inside)
    assert isinstance(alert.server, Process)
    assert isinstance(alert.client, Process)
    assert alert.server.pid == broken.server.player
    # The container's first process is the one that waits.
    assert alert.server.inner_pid == broken.inner_pid == 2
    assert alert.server.cgroup is not None
    assert alert.server.cgroup.path == f"/{SLICE}/docker-{ID}.scope"
    assert (alert.server.unit, alert.server.container) == (f"docker-{ID}.scope", ID[:12])
    assert alert.server.cgroup.runtime == "docker"
    assert alert.client.pid == alert.client.inner_pid == broken.client.pid
    assert alert.client.container is None
    threads = {
        (event.inner_pid, event.inner_tid)
        for event in seen.events
        if event.operation == Operation.READ and event.pid == broken.server.player
    }
    assert threads == {(broken.inner_pid, broken.inner_tid)}
    assert broken.inner_tid != broken.inner_pid


def test_a_cgroup_that_was_gone_before_anybody_looked_is_not_known_and_no_error(seen: Seen, tmp_path: Path) -> None:
    with control_group(SLICE, f"docker-{OTHER}.scope") as cgroup:
        broken = Broken(tmp_path, cgroup)
        broken.kill_server()
    broken.break_client()
    (alert,) = seen.alerts(broken.inside)
    assert isinstance(alert.server, Process)
    assert (alert.server.pid, alert.server.inner_pid) == (broken.server.player, 2)
    assert alert.server.cgroup is None


def test_the_holder_of_an_older_connection_is_named_on_both_terms_too(seen: Seen, older: tuple[str, Two]) -> None:
    _, two = older
    two.write.pass_on()
    two.failed.take()
    (alert,) = seen.alerts(two.path)
    assert alert.server is not None
    assert alert.server.tid is None
    assert (alert.server.pid, alert.server.inner_pid) == (two.server.player, 2)
    assert (alert.server.container, alert.server.unit) == (ID[:12], f"cri-containerd-{ID}.scope")
    assert isinstance(alert.client, Process)
    assert (alert.client.pid, alert.client.inner_pid) == (two.client.player, 2)
    assert (alert.client.container, alert.client.unit) == ("old-web", "app.service")


def hangup(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "hangup", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def listed(path: Path, *, before: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], str]:
    """Return what `hangup peers --json` says of connections to a path, and what it says beside that."""
    done = hangup("peers", "--json", "--path", str(path), before=before)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [record for record in found if record["record"] == "connection"], done.stderr


def test_peers_finds_both_ends_of_a_connection_between_two_network_namespaces(older: tuple[str, Two]) -> None:
    _, two = older
    (connection,), _ = listed(two.path)
    ends = {role: connection[role]["processes"] for role in ("client", "server")}
    assert {role: [process["pid"] for process in processes] for role, processes in ends.items()} == {
        "client": [two.client.player],
        "server": [two.server.player],
    }
    assert [ends[role][0]["inner_pid"] for role in ends] == [2, 2]
    assert (ends["server"][0]["container"], ends["server"][0]["runtime"]) == (ID[:12], "containerd")
    assert (ends["client"][0]["container"], ends["client"][0]["unit"]) == ("old-web", "app.service")
    # A server's end is made where its client is (unix_stream_connect()).
    namespace = Path(f"/proc/{two.client.player}/ns/net").stat().st_ino
    assert {connection[role]["netns"] for role in ("client", "server")} == {namespace}
    assert namespace != Path("/proc/self/ns/net").stat().st_ino


def test_without_the_capability_to_enter_them_other_network_namespaces_are_counted(older: tuple[str, Two]) -> None:
    _, two = older
    found, said = listed(two.path, before=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"))
    assert found == []
    count = re.search(r"(\d+) network namespaces could not be read", said)
    assert count
    # A machine may have more: services with PrivateNetwork=.
    assert int(count[1]) >= 2


def test_a_network_namespace_that_only_a_mount_keeps_is_found(tmp_path: Path) -> None:
    name = "hangup-test"
    listening, end = Baton(), Baton()

    def serve() -> None:
        home = Path("/proc/self/ns/net")
        descriptor = os.open(home, os.O_RDONLY)
        enter_network(Path("/run/netns") / name)
        waiting = listener(tmp_path / "socket")
        enter_network(Path(f"/proc/self/fd/{descriptor}"))
        listening.pass_on()
        end.take()
        waiting.close()

    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        player = Player(serve)
        listening.take()
        (found,) = (entry for entry in snapshot().sockets.values() if entry.path == str(tmp_path / "socket"))
        assert found.netns == (Path("/run/netns") / name).stat().st_ino
        assert [holder.pid for holder in found.holders] == [player.pid]
        end.pass_on()
        player.end()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_watch_tells_what_the_library_knows(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with control_group(SLICE, f"libpod-{OTHER}.scope", "container") as cgroup:
        with watch(tmp_path / "output", "--no-fail") as found:
            broken = Broken(shared, cgroup)
            broken.kill_server()
            broken.break_client()
        (alert,) = found.alerts_about(broken.inside)
        server, outside = alert["server"], alert["client"]
    assert (server["pid"], server["inner_pid"]) == (broken.server.player, 2)
    assert (server["container"], server["runtime"]) == (OTHER[:12], "podman")
    assert (server["unit"], server["cgroup"]) == (f"libpod-{OTHER}.scope", f"/{SLICE}/libpod-{OTHER}.scope/container")
    assert (outside["pid"], outside["inner_pid"], outside["container"]) == (broken.client.pid, broken.client.pid, None)
    assert {operation["inner_pid"] for operation in alert["timeline"]} == {2, broken.client.pid}


def test_hangup_itself_refuses_to_run_in_a_containers_pid_namespace() -> None:
    done = hangup("watch", before=("unshare", "--pid", "--fork", "--mount-proc"))
    assert done.returncode == 125
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "pid namespace" in line
    assert "--pid=host" in line
