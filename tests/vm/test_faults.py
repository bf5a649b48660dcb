"""What goes wrong on real hosts, each on purpose: nothing that is watched suffers, nothing is lost in silence."""

from __future__ import annotations

import errno
import json
import os
import re
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

from cli.sinks.journal import ALERT_ID
from tests.scenarios import servers, stage
from tests.vm.machine import (
    UNIT,
    Journal,
    Metrics,
    configured,
    kernel_objects,
    main_pid,
    run,
    show,
    until,
)

STATE = Path("/var/lib/hangup")
ALERTS = STATE / "alerts.jsonl"

# Everything is told: these tests compare every single alert.
EVERYTHING = f"[thresholds]\nburst = 1000000\n[sinks]\nfile = '{ALERTS}'\nfile_size = '1G'\n"
FLAVOURS = ("kprobe", "fentry")

UNREAD_BYTES = 10
FAILED_BYTES = 4


@pytest.fixture(autouse=True)
def no_alerts_of_an_earlier_test() -> None:
    """Begin each test with an empty file."""
    ALERTS.unlink(missing_ok=True)


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a path for a listener."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
        yield Path(folder) / "fault.s"


def configuration(probes: str = "auto") -> str:
    return EVERYTHING + f"[selection]\nprobes = '{probes}'\n"


def break_connections(path: Path, count: int) -> None:
    """Break so many connections to a path, one after the other: UNREAD_BYTES are not read, FAILED_BYTES fail."""
    path.unlink(missing_ok=True)
    with stage.listener(path) as listening:
        for _ in range(count):
            with stage.client(path) as client:
                accepted, _ = listening.accept()
                client.send(b"x" * UNREAD_BYTES)
                accepted.close()
                assert stage.fails(partial(client.send, b"y" * FAILED_BYTES)) == errno.EPIPE


def alerts(path: Path) -> list[dict[str, Any]]:
    """Return the alerts in the file that are about a path."""
    lines = ALERTS.read_text().splitlines() if ALERTS.exists() else []
    return [alert for alert in map(json.loads, lines) if alert["path"] == str(path)]


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


def failures_under_load(during: Callable[[], object]) -> tuple[int, int, int]:
    """Send requests to servers that do not fail; return how many were answered, failed, and failed in nginx's log."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder, servers.nginx_to_uwsgi(Path(folder)) as scenario:
        loads: list[servers.Load] = []
        loading = threading.Thread(
            target=lambda: loads.append(
                servers.load(scenario.url, Path(folder), requests=1000, concurrency=5, body_bytes=3000)
            )
        )
        loading.start()
        during()
        loading.join()
        [load] = loads
        return load.complete, load.failed + load.not_2xx, len(scenario.failures())


@pytest.mark.parametrize("probes", FLAVOURS)
def test_killed_under_load_it_costs_the_traced_servers_nothing(probes: str) -> None:
    with configured(configuration(probes)):
        run("systemctl", "stop", UNIT)
        without = failures_under_load(lambda: None)
        run("systemctl", "start", UNIT)
        pid, programs = main_pid(), kernel_objects().programs

        def kill() -> None:
            before = Metrics().total("hangup_connections_total")
            until(lambda: Metrics().total("hangup_connections_total") > before + 50, "that the load is seen")
            os.kill(pid, signal.SIGKILL)
            until(lambda: not kernel_objects().programs & programs, "that the probes are gone")

        assert failures_under_load(kill) == without == (1000, 0, 0)
        until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", "that it is started again")


_BURST = """
import os, socket, sys
one, other = socket.socketpair()
for _ in range(int(sys.argv[1]) // 2):
    one.send(b"x")
    other.recv(1)
"""


def test_a_burst_that_overflows_the_ring_is_counted_and_makes_verdicts_uncertain_and_none_wrong(path: Path) -> None:
    with configured(configuration()):
        before = Metrics()
        # Two cpus, each with more to record than the reader, which shares them, can read.
        bursts = [subprocess.Popen([sys.executable, "-c", _BURST, "500000"]) for _ in range(2)]
        broken = 0
        while any(burst.poll() is None for burst in bursts):
            break_connections(path, 10)
            broken += 10
        assert [burst.returncode for burst in bursts] == [0, 0]
        break_connections(path, 5)
        lost = until(lambda: Metrics().total("hangup_losses_total", cause="ring_full"), "that losses are counted")

        # The last ones were broken when there was room again, and are read last.
        until(lambda: len([alert for alert in alerts(path) if not alert["doubts"]]) > 0, "alerts without doubt")
        until(lambda: Metrics().total("hangup_ring_bytes") == 0, "that everything is read")
        found = alerts(path)
        assert lost > 0
        assert len(found) <= broken + 5
        assert_right([alert for alert in found if not alert["doubts"]])
        # What is known of an uncertain one is still about a connection that broke, and says why it is uncertain.
        for alert in found:
            assert alert["figures"]["failed_bytes"] == FAILED_BYTES
            assert all(doubt for doubt in alert["doubts"])
        missing = broken + 5 - len(found)
        assert missing <= lost
        after = Metrics()
        assert after.total("hangup_operations_total") >= before.total("hangup_operations_total")
        assert "LOST" in show("StatusText")


@pytest.mark.parametrize("probes", FLAVOURS)
def test_five_thousand_connections_at_once_are_all_told_apart(path: Path, probes: str) -> None:
    count = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * count, max(hard, 3 * count)))
    try:
        with configured(configuration(probes)):
            listening = stage.listener(path, backlog=128)
            pairs = []
            for _ in range(count):
                client = stage.client(path)
                pairs.append((client, listening.accept()[0]))
            for client, _ in pairs:
                client.send(b"x" * UNREAD_BYTES)
            for _, server in pairs:
                server.close()
            for client, _ in pairs:
                assert stage.fails(partial(client.send, b"y" * FAILED_BYTES)) == errno.EPIPE
                client.close()
            listening.close()
            found = until_alerts(path, count)
            assert_right(found)
            assert len({alert["connection"] for alert in found}) == len(found) == count
            assert [alert["doubts"] for alert in found if alert["doubts"]] == []
            assert Metrics().total("hangup_losses_total") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


@pytest.mark.parametrize("probes", FLAVOURS)
def test_a_thousand_threads_asleep_in_read_return_unmissed(path: Path, probes: str) -> None:
    count = 1000
    resource_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * count, max(resource_limit[1], 4 * count)))
    try:
        with (
            configured(configuration(probes)),
            subprocess.Popen(
                [sys.executable, "-c", _BLOCKED, str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as blocked,
        ):
            assert blocked.stdin
            assert blocked.stdout
            assert blocked.stdout.readline() == "started\n"
            tasks = Path(f"/proc/{blocked.pid}/task")
            until(
                lambda: (
                    sum("unix_stream" in _wchan(task) or "wait" in _wchan(task) for task in tasks.iterdir()) >= count
                ),
                "that all threads sleep in read",
            )
            before = Metrics().total("hangup_recorded_operations_total", operation="read")
            break_connections(path, 5)
            blocked.stdin.write("go\n")
            blocked.stdin.flush()
            assert blocked.wait() == 0
            until(
                lambda: Metrics().total("hangup_recorded_operations_total", operation="read") >= before + count,
                "that every read is recorded",
            )
            found = until_alerts(path, 5)
            assert_right(found)
            assert [alert["doubts"] for alert in found if alert["doubts"]] == []
            assert Metrics().total("hangup_losses_total") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, resource_limit)


def _wchan(task: Path) -> str:
    with suppress(OSError):
        return (task / "wchan").read_text()
    return ""


@contextmanager
def clock_stepped(seconds: int) -> Iterator[None]:
    """Step the wall clock, and back again."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - seconds)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_stepped_by_an_hour_harms_neither_times_nor_gaps(path: Path, seconds: int) -> None:
    with configured(configuration()):
        pid = main_pid()
        break_connections(path, 1)
        until_alerts(path, 1)
        with clock_stepped(seconds):
            now = time.time()
            break_connections(path, 1)
            found = until_alerts(path, 2)
            told = datetime.fromisoformat(found[-1]["time"]).timestamp()
            assert now - 1 <= told <= time.time() + 1
            assert found[-1]["figures"]["gap_ns"] < 60 * 10**9
            assert_right(found)
        break_connections(path, 1)
        assert_right(until_alerts(path, 3))
        assert main_pid() == pid


def test_a_journal_that_stalls_stops_neither_tracing_nor_metrics(path: Path) -> None:
    with configured(configuration()):
        journald = int(show("MainPID", "systemd-journald.service"))
        before = Metrics().total("hangup_alerts_total")
        os.kill(journald, signal.SIGSTOP)
        try:
            # More than its socket's queue holds (net.unix.max_dgram_qlen).
            count = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 500
            break_connections(path, count)
            assert_right(until_alerts(path, count))
            assert Metrics().total("hangup_alerts_total") == before + count
            missed = Metrics().total("hangup_sink_errors_total", sink="journal")
            assert missed > 0
        finally:
            os.kill(journald, signal.SIGCONT)
        cursor = Journal.cursor()
        break_connections(path, 1)
        until(lambda: Journal.since(cursor, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}"), "the next alert")


def test_metrics_readers_that_stall_stop_neither_tracing_nor_other_readers(path: Path) -> None:
    with configured(configuration()), ExitStack() as stack:
        address = ("127.0.0.1", 9754)
        for _ in range(40):
            silent = stack.enter_context(socket.create_connection(address))
            silent.send(b"GET /metrics HTTP/1.1\r\n")
        break_connections(path, 3)
        assert_right(until_alerts(path, 3))
        until(lambda: _scraped() is not None, "that another reader is served")


def _has_broken_writes(listen: str, count: float) -> bool:
    return Metrics(listen).total("hangup_broken_writes_total") == count


def _scraped() -> Metrics | None:
    with suppress(OSError):
        return Metrics()
    return None


def test_a_full_disk_costs_lines_of_the_alert_file_which_are_counted_and_nothing_else(path: Path) -> None:
    STATE.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(STATE))
    try:
        with configured(configuration()):
            filler = STATE / "filler"
            break_connections(path, 1)
            until_alerts(path, 1)
            with filler.open("wb") as file, suppress(OSError):
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
            cursor = Journal.cursor()
            break_connections(path, 20)
            until(
                lambda: len(Journal.since(cursor, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}")) == 20,
                "that the journal has all of them",
            )
            missed = Metrics().total("hangup_sink_errors_total", sink="file")
            assert missed > 0
            assert len(alerts(path)) == 21 - missed
            filler.unlink()
            break_connections(path, 1)
            assert_right(until_alerts(path, 22 - int(missed)))
            until(
                lambda: any("again" in entry["MESSAGE"] for entry in Journal.since(cursor)),
                "that it says that the file is written again",
            )
    finally:
        run("umount", "--lazy", str(STATE))


def test_with_hidepid_a_connection_older_than_the_service_has_its_names(path: Path) -> None:
    run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        with stage.listener(path) as listening:
            client = stage.client(path)
            accepted, _ = listening.accept()
            with configured(configuration()):
                client.send(b"x" * UNREAD_BYTES)
                accepted.close()
                assert stage.fails(partial(client.send, b"y" * FAILED_BYTES)) == errno.EPIPE
                [alert] = until_alerts(path, 1)
        comm = Path("/proc/self/comm").read_text().strip()
        assert (alert["client"]["comm"], alert["server"]["comm"]) == (comm, comm)
        assert alert["verdict"] == "unread"
        assert alert["doubts"]
    finally:
        run("mount", "-o", "remount,hidepid=0", "/proc")


def test_two_instances_at_once_see_the_same_and_do_not_share_an_address(path: Path) -> None:
    with configured(configuration()):
        refused = subprocess.run(
            ["hangup", "serve", "--no-journal", "--metrics", "127.0.0.1:9754"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 3
        assert re.fullmatch(r"hangup: .*127\.0\.0\.1:9754.*", refused.stderr.strip().splitlines()[-1])
        other = "hangup-second.service"
        run(
            *("systemd-run", "--unit", other, "--service-type", "notify", "--property", "TimeoutStartSec=180"),
            *("hangup", "serve", "--no-journal", "--metrics", "127.0.0.1:9755"),
        )
        try:
            before = Metrics(), Metrics("127.0.0.1:9755")
            break_connections(path, 20)
            for scraped, listen in zip(before, ("127.0.0.1:9754", "127.0.0.1:9755"), strict=True):
                expected = scraped.total("hangup_broken_writes_total") + 20
                until(partial(_has_broken_writes, listen, expected), f"20 broken writes at {listen}")
                assert Metrics(listen).total("hangup_losses_total") == 0
        finally:
            run("systemctl", "stop", other)
        # The one that is left goes on.
        assert kernel_objects().programs
        break_connections(path, 1)
        assert_right(until_alerts(path, 21))
