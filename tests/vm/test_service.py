"""The life of the service: boot, ready, a load that breaks, new settings, killed and started again, stopped.

nginx's own log is the truth: the journal, what was held back from it and the metrics have to agree with it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from hangup.cli.sinks.journal import ALERT_ID, HELD_BACK_ID
from tests.scenarios import servers, stage
from tests.scenarios.server_logs import LoggedFailure
from tests.vm.machine import (
    CONFIGURATION,
    UNIT,
    Journal,
    Metrics,
    configured,
    kernel_objects,
    main_pid,
    reconfigured,
    reload,
    run,
    running,
    show,
    stop,
    until,
    until_the_kernel_holds_nothing,
)

BURST = 7

KEPT = Path("/var/cache/hangup")


@dataclass(frozen=True)
class Load:
    """A load that broke, and what was told of it."""

    failures: list[LoggedFailure]
    alerts: list[dict[str, str]]
    held_back: int
    before: Metrics
    after: Metrics
    requests: int


def test_after_boot_the_service_is_ready_and_was_started_once() -> None:
    assert run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    until(lambda: show("ActiveState") == "active", "that the service is active")
    assert show("NRestarts") == "0"
    # By the boot itself, which a target that wants it waits for (`python -m tests.vagrant reboot SUITE` makes one).
    since = "ActiveEnterTimestampMonotonic"
    assert int(show(since)) <= int(show(since, "multi-user.target"))
    assert kernel_objects().programs
    status = show("StatusText")
    assert "functions" in status
    assert "nothing lost" in status


@pytest.fixture(scope="module")
def load(requests_to_send: int) -> Load:
    """Break connections while the service is limited to a few alerts in an interval."""
    running()
    with reconfigured(f"[thresholds]\nburst = {BURST}\ninterval = '5s'\n"):
        begun, before = Journal.now(), Metrics()
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder, servers.nginx_to_uwsgi(Path(folder)) as scenario:
            servers.load(scenario.url, Path(folder), requests=requests_to_send, body_bytes=300_000)
            failures = scenario.failures()

        def told() -> tuple[int, int]:
            held = sum(int(one["HANGUP_HELD_BACK"]) for one in Journal.since(begun, f"MESSAGE_ID={HELD_BACK_ID}"))
            return len(Journal.since(begun, f"MESSAGE_ID={ALERT_ID}")), held

        # What was held back is told at the end of its interval.
        until(lambda: sum(told()) >= len(failures), "that every failure was told or counted in the journal")
        return Load(
            failures,
            Journal.since(begun, f"MESSAGE_ID={ALERT_ID}"),
            told()[1],
            before,
            Metrics(),
            requests_to_send,
        )


def test_journal_and_what_it_was_spared_are_the_failures_in_nginxs_log(load: Load) -> None:
    assert len(load.failures) >= 0.9 * load.requests
    assert len(load.alerts) + load.held_back == len(load.failures)
    assert load.held_back > 0
    # All of one verdict on one pair of programs: no interval has more than the burst.
    assert len(load.alerts) >= BURST
    assert {alert["HANGUP_VERDICT"] for alert in load.alerts} == {"unread"}


def test_metrics_are_the_failures_in_nginxs_log(load: Load) -> None:
    logged = Counter(failure.operation for failure in load.failures)

    def grown(name: str, **labels: str) -> float:
        return load.after.total(name, **labels) - load.before.total(name, **labels)

    labels = {"client": "nginx", "server": "uwsgi", "verdict": "unread"}
    assert grown("hangup_broken_writes_total", **labels) == logged["write"]
    assert grown("hangup_reset_reads_total", **labels) == logged["read"]
    assert grown("hangup_connections_total", client="nginx", server="uwsgi") == load.requests
    assert grown("hangup_alerts_total", verdict="unread") == len(load.failures)
    assert grown("hangup_alerts_held_back_total", verdict="unread") == load.held_back
    assert grown("hangup_gap_seconds_count") <= len(load.failures)
    assert load.after.total("hangup_losses_total") == 0
    assert load.after.total("hangup_sink_errors_total") == 0


def test_the_journal_finds_alerts_by_their_fields(load: Load) -> None:
    for alert in load.alerts:
        assert alert["HANGUP_CLIENT_COMM"] == "nginx"
        assert alert["HANGUP_SERVER_COMM"] == "uwsgi"
        assert int(alert["HANGUP_UNREAD_BYTES"]) > 0
        assert alert["HANGUP_STORY"].count("\n") > 5
        assert alert["_SYSTEMD_UNIT"] == UNIT
        # The journal itself looks the other process up, by the pid that it is given.
        assert alert["OBJECT_COMM"] == "uwsgi"
    explained = run("journalctl", "--catalog", "--lines", "1", f"MESSAGE_ID={ALERT_ID}", "--unit", UNIT)
    assert "left while the other still needed it" in explained


_SERVER = """
import signal, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
accepted, _ = listening.accept()
accepted.recv(1)
accepted.close()
signal.pause()
"""


def test_an_alert_stands_in_the_journal_of_the_unit_that_hung_up_too() -> None:
    unit = "hangup-test-server.service"
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
        path = Path(folder) / "app.s"
        begun = Journal.now()
        running()
        run("systemd-run", "--unit", unit, sys.executable, "-c", _SERVER, str(path))
        try:
            until(path.exists, "that the server listens")
            with stage.client(path) as client:
                client.send(b"123")
                stage.wait_for_hangup(client)
                assert stage.fails(partial(client.send, b"4")) == errno.EPIPE
            [alert] = until(lambda: Journal.since(begun, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}"), "the alert")
            assert alert["HANGUP_SERVER_UNIT"] == unit
            assert alert["OBJECT_SYSTEMD_UNIT"] == unit
            # As anybody asks: `journalctl -u uwsgi`.
            assert alert["MESSAGE"] in run("journalctl", "--boot", "--output", "cat", "--unit", unit)
        finally:
            stop(unit)


def test_new_settings_cost_neither_probes_nor_counts() -> None:
    running()
    original = CONFIGURATION.read_text()
    pid, held, counted = main_pid(), kernel_objects(), Metrics().total("hangup_connections_total")
    begun = Journal.now()
    try:
        CONFIGURATION.write_text("[thresholds]\nburst = 3\n")
        reload()
        assert [entry["MESSAGE"] for entry in Journal.since(begun) if "hangup:" in entry["MESSAGE"]] == [
            "hangup: reloaded"
        ]
        CONFIGURATION.write_text("[thresholds]\n\nburst = 'three'\n")
        begun = Journal.now()
        reload()
        messages = [entry["MESSAGE"] for entry in Journal.since(begun)]
        assert any(f"{CONFIGURATION}:3: thresholds.burst: 'three'" in message for message in messages)
        assert Metrics().total("hangup_config_last_reload_successful") == 0
    finally:
        CONFIGURATION.write_text(original)
        reload()
    metrics = Metrics()
    assert metrics.total("hangup_config_last_reload_successful") == 1
    assert metrics.total("hangup_connections_total") >= counted
    assert (main_pid(), kernel_objects()) == (pid, held)


def test_what_the_first_start_compiled_is_roots_alone_and_the_next_one_takes_it() -> None:
    running()

    def files() -> dict[str, int]:
        # What is written anew is another file.
        return {path.name: path.stat().st_ino for path in KEPT.iterdir()}

    assert (KEPT.stat().st_uid, KEPT.stat().st_mode & 0o777) == (0, 0o700)
    before = files()
    assert len(before) >= 2
    run("systemctl", "restart", UNIT)
    assert files() == before
    assert Metrics().total("hangup_probed_functions") > 0


def test_the_unit_is_as_confined_as_the_document_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    (figure,) = re.findall(r"`systemd-analyze security hangup` says (\d+\.\d)", text)
    # Older ones know fewer directives: the figure is a limit.
    run("systemd-analyze", "security", f"--threshold={round(float(figure) * 10)}", UNIT)


def test_it_lives_within_the_limits_of_its_unit_and_with_few_capabilities() -> None:
    running()
    assert Path(f"/sys/fs/cgroup/system.slice/{UNIT}/memory.max").read_text().strip() == show("MemoryMax")
    events = dict(
        line.split() for line in Path(f"/sys/fs/cgroup/system.slice/{UNIT}/memory.events").read_text().splitlines()
    )
    assert (events["max"], events["oom_kill"]) == ("0", "0")
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{main_pid()}/status").read_text().splitlines() if ":" in line
    )
    # CAP_BPF 39, CAP_SYS_PTRACE 19, CAP_DAC_READ_SEARCH 2 (include/uapi/linux/capability.h)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 39 | 1 << 19 | 1 << 2
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("probes", ["kprobe", "fentry"])
def test_killed_it_comes_back_and_stopped_it_leaves_nothing_in_the_kernel(probes: str) -> None:
    with configured(f"[selection]\nprobes = '{probes}'\n"):
        assert show("StatusText").startswith(probes)
        pid, held, restarts = main_pid(), kernel_objects(), int(show("NRestarts"))
        assert held.programs
        os.kill(pid, signal.SIGKILL)
        until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", "that it is started again")
        assert int(show("NRestarts")) == restarts + 1
        until(lambda: not kernel_objects().programs & held.programs, "that the killed one's programs are gone")
        until(lambda: not kernel_objects().maps & held.maps, "that the killed one's maps are gone")
        # Those that a killed one leaves in tracefs are cleared by the next.
        assert not kernel_objects().events & held.events
        assert len(kernel_objects().programs) == len(held.programs)
        assert Metrics().total("hangup_probed_functions") > 0

        stop()
        assert show("Result") == "success"
        until_the_kernel_holds_nothing()
        assert not Path("/run/hangup").exists()


def test_a_wrong_configuration_keeps_it_from_starting_and_is_not_tried_again() -> None:
    original = CONFIGURATION.read_text()
    stop()
    begun = Journal.now()
    try:
        CONFIGURATION.write_text("[sinks]\nmetrics = '0.0.0.0:9754'\n")
        run("systemctl", "start", UNIT, status=1)
        assert show("ExecMainStatus") == "2"
        assert show("ActiveState") == "failed"
        messages = [entry["MESSAGE"] for entry in Journal.since(begun)]
        assert any(f"{CONFIGURATION}:2: sinks.metrics: " in message for message in messages)
        assert not any("Traceback" in message for message in messages)
    finally:
        CONFIGURATION.write_text(original)
