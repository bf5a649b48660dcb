"""What goes wrong on real hosts, each on purpose: nothing that is watched suffers, nothing is lost in silence."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.sinks.journal import ALERT_ID
from hangup.tracer.path_pattern import path_pattern
from tests.scenarios import servers, stage
from tests.vm.machine import (
    METRICS,
    UNIT,
    Journal,
    Metrics,
    configured,
    kernel_objects,
    main_pid,
    reconfigured,
    restarted,
    run,
    show,
    stop,
    until,
    until_the_kernel_holds_nothing,
)

STATE = Path("/var/lib/hangup")
ALERTS = STATE / "alerts.jsonl"

FLAVOURS = ("kprobe", "fentry")

UNREAD_BYTES = 10
FAILED_BYTES = 4
REQUESTS = 1000


def configuration(probes: str, *, stream: bool = False, file: Path = ALERTS, journal: bool = False) -> str:
    """Return a configuration that holds no alert back: these tests look at every single one.

    systemd breaks connections of its own, with every systemctl.
    """
    return (
        f"[selection]\nprobes = '{probes}'\nstream = {str(stream).lower()}\nignore_comm = ['systemd']\n"
        f"[thresholds]\nburst = 1000000\n"
        f"[sinks]\nfile = '{file}'\nfile_size = '1G'\njournal = {str(journal).lower()}\n"
    )


@pytest.fixture(scope="module")
def without() -> tuple[int, int, int]:
    """Return how a load ends that nobody watches."""
    stop()
    until_the_kernel_holds_nothing()
    return failures_under_load()


@pytest.fixture(scope="module", params=FLAVOURS)
def probes(request: pytest.FixtureRequest, without: tuple[int, int, int]) -> Iterator[str]:
    """Run the service with one kind of probes, for all tests that want that."""
    assert without[0] == REQUESTS
    flavour: str = request.param
    with configured(configuration(flavour)):
        yield flavour
        assert_lived_within_its_memory()


def assert_lived_within_its_memory() -> None:
    """See that the service, whatever the tests have done to it, has lived within MemoryMax=."""
    events = Path(f"/sys/fs/cgroup/system.slice/{UNIT}/memory.events").read_text()
    assert "oom_kill 0\n" in events


@pytest.fixture
def stream(probes: str) -> Iterator[None]:
    """Have the service record every operation, and afterwards what went wrong again."""
    with restarted(configuration(probes, stream=True)):
        yield
        assert_lived_within_its_memory()


# What has nothing to do with how the probes are attached.
one_flavour = pytest.mark.parametrize("probes", ["fentry"], indirect=True)


@pytest.fixture(autouse=True)
def no_alerts_of_an_earlier_test() -> None:
    """Begin each test with an empty file, which the service goes on appending to."""
    if ALERTS.exists():
        os.truncate(ALERTS, 0)


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a path for a listener."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
        yield Path(folder) / "fault.s"


def break_connections(path: Path, count: int) -> None:
    """Break so many connections to a path, one after the other: UNREAD_BYTES are not read, FAILED_BYTES fail."""
    for _ in range(count):
        path.unlink(missing_ok=True)
        Connections(path, 1).break_all()


class Connections:
    """So many connections to a path, open at once until they are broken, all in the same way."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        with stage.listener(path, backlog=128) as listening:
            # One after the other: a backlog takes no more than net.core.somaxconn.
            self._pairs = [(stage.client(path), listening.accept()[0]) for _ in range(count)]

    def break_all(self) -> None:
        """Break all: UNREAD_BYTES are not read, FAILED_BYTES fail."""
        for client, _ in self._pairs:
            client.send(b"x" * UNREAD_BYTES)
        for _, server in self._pairs:
            server.close()
        for client, _ in self._pairs:
            assert stage.fails(partial(client.send, b"y" * FAILED_BYTES)) == errno.EPIPE
            client.close()


def alerts(path: Path) -> list[dict[str, Any]]:
    """Return the alerts in the file that are about a path."""
    return [alert for alert in _lines(ALERTS) if alert["path"] == str(path)]


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the alerts in a file, as far as they are written to the end."""
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
    # What was lost has lines of its own there.
    return [line for line in lines if line["record"] == "alert"]


def until_alerts(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the alerts about a path as soon as there are so many."""
    until(lambda: len(alerts(path)) >= count, f"{count} alerts about {path}")
    return alerts(path)


def assert_right(found: list[dict[str, Any]]) -> None:
    """See that each alert says what break_connections() did."""
    for alert in found:
        assert alert["verdict"] == "unread"
        assert alert["figures"]["unread_bytes"] == UNREAD_BYTES
        assert alert["figures"]["failed_bytes"] == FAILED_BYTES


def failures_under_load(during: Callable[[], object] | None = None) -> tuple[int, int, int]:
    """Send requests to servers that do not fail; return how many were answered, failed, and failed in nginx's log.

    during: called while the load runs; that it still runs afterwards is part of the test.
    """
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder, servers.nginx_to_uwsgi(Path(folder)) as scenario:
        loads: list[servers.Load] = []
        loading = threading.Thread(
            target=lambda: loads.append(
                servers.load(scenario.url, Path(folder), requests=REQUESTS, concurrency=5, body_bytes=3000)
            )
        )
        loading.start()
        if during:
            during()
            assert loading.is_alive(), "the load was over too early"
        loading.join()
        [load] = loads
        return load.complete, load.failed + load.not_2xx, len(scenario.failures())


def test_killed_under_load_it_costs_the_traced_servers_nothing(probes: str, without: tuple[int, int, int]) -> None:
    assert show("StatusText").startswith(probes)
    pid, programs = main_pid(), kernel_objects().programs
    before = Metrics().total("hangup_connections_total")

    def kill() -> None:
        until(lambda: Metrics().total("hangup_connections_total") > before + 50, "that the load is seen")
        os.kill(pid, signal.SIGKILL)

    assert failures_under_load(kill) == without == (REQUESTS, 0, 0)
    until(lambda: not kernel_objects().programs & programs, "that the probes are gone")
    until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", "that it is started again")


_BURST = """
import os, socket, sys
one, other = socket.socketpair()
for _ in range(int(sys.argv[1]) // 2):
    one.send(b"x")
    other.recv(1)
"""


@one_flavour
@pytest.mark.usefixtures("stream")
def test_a_burst_that_overflows_the_ring_is_counted_and_makes_verdicts_uncertain_and_none_wrong(path: Path) -> None:
    before = Metrics()
    # Open before, broken after: whatever was lost may have been theirs.
    witnesses = Connections(path.with_name("witnesses.s"), 5)
    # On each of two cpus more is recorded than the reader, which shares them, can read.
    bursts = [subprocess.Popen([sys.executable, "-c", _BURST, "500000"]) for _ in range(2)]
    broken = 0
    while any(burst.poll() is None for burst in bursts):
        break_connections(path, 10)
        broken += 10
    assert [burst.returncode for burst in bursts] == [0, 0]
    until(lambda: Metrics().total("hangup_ring_bytes") == 0, "that everything is read")
    witnesses.break_all()
    uncertain = until_alerts(witnesses.path, 5)
    assert_right(uncertain)
    for alert in uncertain:
        assert any("lost while it was open" in doubt for doubt in alert["doubts"])
    after = Metrics()
    lost = after.total("hangup_losses_total") - before.total("hangup_losses_total")
    assert after.total("hangup_losses_total", cause="ring_full") > before.total(
        "hangup_losses_total", cause="ring_full"
    )
    assert "LOST" in show("StatusText")
    found = alerts(path)
    # Each connection is told, or something of it was lost.
    assert broken - len(found) <= lost
    assert len(found) <= broken
    for alert in found:
        if not alert["doubts"]:
            assert_right([alert])
        assert alert["figures"]["failed_bytes"] in (FAILED_BYTES, 0)

    # And when there is room again, nothing is uncertain.
    os.truncate(ALERTS, 0)
    break_connections(path, 5)
    certain = until_alerts(path, 5)
    assert_right(certain)
    assert [alert["doubts"] for alert in certain if alert["doubts"]] == []


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Allow so many open files, here and in children."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(before[1], count)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_five_thousand_connections_at_once_are_all_told_apart(path: Path, probes: str) -> None:
    assert show("StatusText").startswith(probes)
    count = 5000
    with descriptors(3 * count):
        before = Metrics()
        connections = Connections(path, count)
        opened = Metrics()
        # Four share a place in the kernel's table: of so many a few may find none.
        given_up = lost_since(before, "history_given_up")
        assert opened.total("hangup_open_endpoints") >= 2 * count - given_up
        assert given_up < count / 100
        connections.break_all()
        found = until_alerts(path, count)
        assert_right(found)
        assert len({alert["connection"] for alert in found}) == len(found) == count
        # It is not known whose histories they were.
        assert bool([alert for alert in found if alert["doubts"]]) == bool(given_up)
        assert lost_since(before) == lost_since(before, "history_given_up")


def lost_since(before: Metrics, *causes: str) -> float:
    """Return how much was lost since a scrape, to these causes or to any."""
    after, name = Metrics(), "hangup_losses_total"
    if not causes:
        return after.total(name) - before.total(name)
    return sum(after.total(name, cause=cause) - before.total(name, cause=cause) for cause in causes)


_BLOCKED = """
import socket, sys, threading
threading.stack_size(1 << 16)
pairs = [socket.socketpair() for _ in range(int(sys.argv[1]))]
threads = [threading.Thread(target=pair[0].recv, args=(1,)) for pair in pairs]
for thread in threads:
    thread.start()
print("started", flush=True)
sys.stdin.readline()
for pair in pairs:
    pair[1].send(b"x")
for thread in threads:
    thread.join()
"""


def test_a_thousand_threads_asleep_in_read_return_unmissed(path: Path, probes: str) -> None:
    assert show("StatusText").startswith(probes)
    count = 1000
    with (
        descriptors(4 * count),
        subprocess.Popen(
            [sys.executable, "-c", _BLOCKED, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as blocked,
    ):
        assert blocked.stdin
        assert blocked.stdout
        assert blocked.stdout.readline() == "started\n"
        until(lambda: _in_read(blocked.pid) >= count, "that all threads sleep in read")
        before = Metrics()
        break_connections(path, 5)
        blocked.stdin.write("go\n")
        blocked.stdin.flush()
        assert blocked.wait() == 0
        # Its end has released all of them: each is a socketpair, a write, a read and two releases.
        pairs = {"path": "(socketpair)", "verdict": "clean"}
        operations = before.total("hangup_operations_total", **pairs) + 5 * count
        until(lambda: Metrics().total("hangup_operations_total", **pairs) >= operations, "that every read is recorded")
        found = until_alerts(path, 5)
        assert_right(found)
        assert [alert["doubts"] for alert in found if alert["doubts"]] == []
        assert Metrics().total("hangup_losses_total") == before.total("hangup_losses_total")


def _in_read(pid: int) -> int:
    """Return how many threads of a process are inside recvfrom(2), by their system call's number."""
    recvfrom = "45"
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            count += (task / "syscall").read_text().split()[0] == recvfrom
    return count


@contextmanager
def clock_stepped(seconds: int) -> Iterator[None]:
    """Step the wall clock, and back again."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - seconds)


@one_flavour
@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_stepped_by_an_hour_harms_neither_times_nor_gaps(path: Path, seconds: int) -> None:
    pid = main_pid()
    break_connections(path, 1)
    until_alerts(path, 1)
    with clock_stepped(seconds):
        now = time.time()
        break_connections(path, 1)
        found = until_alerts(path, 2)
        told = datetime.fromisoformat(found[-1]["time"]).timestamp()
        assert now - 1 <= told <= time.time() + 1
        assert 0 <= found[-1]["figures"]["gap_ns"] < 60 * 10**9
    break_connections(path, 1)
    assert_right(until_alerts(path, 3))
    assert main_pid() == pid


@one_flavour
def test_a_journal_that_stalls_stops_neither_tracing_nor_metrics(path: Path, probes: str) -> None:
    with reconfigured(configuration(probes, journal=True)):
        journald = int(show("MainPID", "systemd-journald.service"))
        before = Metrics()
        os.kill(journald, signal.SIGSTOP)
        try:
            # More than its socket's queue holds.
            count = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 200
            break_connections(path, count)
            assert_right(until_alerts(path, count))
            after = Metrics()
            assert after.total("hangup_broken_writes_total") == before.total("hangup_broken_writes_total") + count
            errors = "hangup_sink_errors_total"
            assert after.total(errors, sink="journal") > before.total(errors, sink="journal")
        finally:
            os.kill(journald, signal.SIGCONT)
        now = Journal.now()
        break_connections(path, 1)
        until(lambda: Journal.since(now, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}"), "the next alert")


@one_flavour
@pytest.mark.usefixtures("probes")
def test_metrics_readers_that_stall_stop_neither_tracing_nor_other_readers(path: Path) -> None:
    host, port = METRICS.split(":")
    with ExitStack() as stack:
        for _ in range(40):
            silent = stack.enter_context(socket.create_connection((host, int(port))))
            silent.send(b"GET /metrics HTTP/1.1\r\n")
        break_connections(path, 3)
        assert_right(until_alerts(path, 3))
        until(_is_scraped, "that another reader is served")


def _is_scraped() -> bool:
    with suppress(OSError):
        return bool(Metrics().text)
    return False


@one_flavour
def test_a_full_disk_costs_lines_of_the_alert_file_which_are_counted_and_nothing_else(path: Path, probes: str) -> None:
    full = STATE / "full"
    full.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(full))
    try:
        file = full / "alerts.jsonl"
        with reconfigured(configuration(probes, file=file, journal=True)):
            now, missed_before = Journal.now(), Metrics().total("hangup_sink_errors_total", sink="file")
            break_connections(path, 1)
            until(lambda: len(_lines(file)) == 1, "the first line")
            filler = full / "filler"
            with filler.open("wb", buffering=0) as filling, suppress(OSError):
                while True:
                    filling.write(b"x" * 4096)
            break_connections(path, 20)
            until(
                lambda: len(Journal.since(now, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}")) == 21,
                "that the journal has all of them",
            )
            missed = Metrics().total("hangup_sink_errors_total", sink="file") - missed_before
            assert missed > 0
            assert len(_lines(file)) == 21 - missed
            filler.unlink()
            break_connections(path, 1)
            until(lambda: len(_lines(file)) == 22 - missed, "the next line")
            assert_right(_lines(file))
            said = f"{file} takes no alerts (No space left on device)", "alerts are written again"
            for text in said:
                until(
                    lambda text=text: any(text in entry["MESSAGE"] for entry in Journal.since(now)),  # type: ignore[misc]
                    f"{text!r} in the journal",
                )
    finally:
        run("umount", "--lazy", str(full))


@one_flavour
@pytest.mark.usefixtures("probes")
def test_two_instances_at_once_see_the_same_and_do_not_share_an_address(path: Path) -> None:
    refused = subprocess.run(
        ["hangup", "serve", "--no-journal", "--metrics", METRICS], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 125
    assert refused.stderr.splitlines()[-1].startswith(f"hangup: cannot serve metrics on {METRICS}")
    assert "Traceback" not in refused.stderr
    other, listen = "hangup-second.service", "127.0.0.1:9755"
    run(
        *("systemd-run", "--unit", other, "--service-type", "notify", "--property", "TimeoutStartSec=180"),
        *("hangup", "serve", "--config", "/dev/null", "--no-journal", "--metrics", listen),
    )
    try:
        expected = [
            (address, Metrics(address).total("hangup_broken_writes_total", path=_pattern(path)) + 20)
            for address in (METRICS, listen)
        ]
        break_connections(path, 20)
        for address, count in expected:
            until(partial(_has_broken_writes, address, path, count), f"20 more broken writes at {address}")
        assert Metrics(listen).total("hangup_losses_total") == 0
    finally:
        stop(other)
    # The one that is left goes on.
    assert kernel_objects().programs
    break_connections(path, 1)
    assert_right(until_alerts(path, 21))


def _pattern(path: Path) -> str:
    return path_pattern(str(path))


def _has_broken_writes(listen: str, path: Path, count: float) -> bool:
    return Metrics(listen).total("hangup_broken_writes_total", path=_pattern(path)) == count


@one_flavour
@pytest.mark.usefixtures("probes")
def test_with_hidepid_a_connection_older_than_the_service_has_its_names(path: Path) -> None:
    run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        older = Connections(path, 1)
        run("systemctl", "restart", UNIT)
        older.break_all()
        [alert] = until_alerts(path, 1)
        comm = Path("/proc/self/comm").read_text().strip()
        assert (alert["client"]["comm"], alert["server"]["comm"]) == (comm, comm)
        assert alert["verdict"] == "unread"
        assert alert["doubts"]
    finally:
        run("mount", "-o", "remount,hidepid=0", "/proc")
