"""`hangup serve` on a real kernel, as systemd starts it: ready, alerts, metrics, new settings, fewer rights, the end.

A socket stands for systemd's; the service under the real one is tested in the VM (tests/vm).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangup.cli.service.privileges import KEPT
from tests.scenarios import stage
from tests.scenarios.flavours import exact_flavours

_LIMIT = 120.0
# include/uapi/linux/capability.h
_NUMBERS = {"dac_read_search": 2, "sys_ptrace": 19, "bpf": 39}


class Serving:
    """A running `hangup serve` and what it tells systemd."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.configuration = folder / "hangup.toml"
        self.alerts = folder / "alerts.jsonl"
        self.configuration.write_text(f"[sinks]\njournal = false\nmetrics = ''\nfile = '{self.alerts}'\n")
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(folder / "notify"))
        self._notices.settimeout(_LIMIT)
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hangup", "serve", "--config", str(self.configuration), *arguments],
                env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def until_told(self, what: str) -> str:
        """Return the first message to systemd from now on that has this in it."""
        while True:
            told = self._notices.recv(4096).decode()
            if what in told:
                return told

    def end(self) -> int:
        """End it, and return its exit status."""
        self.process.terminate()
        return self.process.wait(_LIMIT)

    def close(self) -> None:
        """Let nothing stay behind, whatever the test came to."""
        self.process.kill()
        self.process.wait()
        self._notices.close()


@pytest.fixture(params=exact_flavours())
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serving]:
    running = Serving(tmp_path, "--probes", request.param, "--metrics", "127.0.0.1:9754")
    try:
        assert running.until_told("READY=1").split("STATUS=")[1].startswith(request.param)
        yield running
    finally:
        running.close()


def scrape() -> dict[str, float]:
    """Return the samples of the service's metrics, by what stands before their values."""
    with urllib.request.urlopen("http://127.0.0.1:9754/metrics", timeout=_LIMIT) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def open_endpoints() -> int:
    return int(scrape()["hangup_open_endpoints"])


def test_the_service_from_ready_to_its_end(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "app.s"

    def serve(end: socket.socket) -> None:
        stage.receive(end, 1)
        end.close()

    def call(end: socket.socket) -> None:
        end.send(b"123")
        stage.wait_for_hangup(end)
        assert stage.fails(lambda: end.send(b"4567")) == errno.EPIPE

    stage.talk(path, serve, call)
    assert "1 alert (0 held back)" in serving.until_told("1 alert")
    [alert] = [json.loads(line) for line in serving.alerts.read_text().splitlines()]
    assert (alert["verdict"], alert["figures"]["unread_bytes"], alert["figures"]["failed_bytes"]) == ("unread", 2, 4)
    metrics = scrape()
    assert metrics['hangup_alerts_total{verdict="unread"}'] == 1
    assert metrics['hangup_records_total{type="history"}'] > 0
    assert metrics["hangup_ring_size_bytes"] > 0

    before = open_endpoints()
    pairs = [socket.socketpair() for _ in range(200)]
    for one, other in pairs:
        one.send(b"x")
        other.recv(1)
    opened = open_endpoints()
    for one, other in pairs:
        one.close()
        other.close()
    closed = open_endpoints()
    # Other processes open and close some meanwhile, but not hundreds.
    assert opened - before > 300
    assert opened - closed > 300

    rights = [
        line.split()[1]
        for line in Path(f"/proc/{serving.process.pid}/status").read_text().splitlines()
        if line.startswith(("CapPrm", "CapEff"))
    ]
    assert [int(right, 16) for right in rights] == [sum(1 << _NUMBERS[name] for name in KEPT)] * 2

    serving.configuration.write_text("[sinks]\njournal = false\n\nfile = 3\n")
    serving.process.send_signal(signal.SIGHUP)
    serving.until_told("RELOADING=1")
    serving.until_told("READY=1")
    assert f"{serving.configuration}:4: sinks.file: 3 is not a string" in serving.output.read_text()
    serving.configuration.write_text(f"[sinks]\njournal = false\nfile = '{tmp_path}/other.jsonl'\n")
    serving.process.send_signal(signal.SIGHUP)
    serving.until_told("RELOADING=1")
    serving.until_told("READY=1")
    path.unlink()
    stage.talk(path, serve, call)
    assert "2 alerts" in serving.until_told("2 alerts")
    assert len((tmp_path / "other.jsonl").read_text().splitlines()) == 1

    assert serving.end() == 0
    assert "Traceback" not in serving.output.read_text()
