"""Metrics as their readers have them: promtool finds no fault, and a real Prometheus knows what two services counted.

Two hangups on one host stand for two hosts: each sees everything.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hangup.tracer.path_pattern import path_pattern
from tests.scenarios import stage
from tests.scenarios.test_serve import Serving

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus" / "hangup.rules.yml"

# An emulated guest takes its time.
_LIMIT = 240.0
_SCRAPE_SECONDS = 3
_BROKEN = 20
_LATENT = 3

# What stays empty when all is well.
_EMPTY = {"Losses by cause"}


def promtool(*arguments: str, given: bytes = b"") -> str:
    """Return what promtool says; it must be content."""
    done = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, check=False, timeout=_LIMIT, cwd=RULES.parent
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def until(what: str, holds: Callable[[], Any]) -> Any:
    """Ask again and again, until there is an answer."""
    deadline = time.monotonic() + _LIMIT
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"not to be seen: {what}"
        time.sleep(0.5)
    return answer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=_LIMIT) as answer:  # noqa: S310 - all are http:
        data: bytes = answer.read()
        return data


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    address: str

    def api(self, path: str, **parameters: str) -> Any:
        """Return what its API answers."""
        answer = json.loads(read(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success"
        return answer["data"]

    def by_instance(self, query: str) -> dict[str, float]:
        """Return the value of an expression on each instance."""
        found = self.api("query", query=query)["result"]
        values = {one["metric"]["instance"]: float(one["value"][1]) for one in found}
        assert len(values) == len(found), query
        return values


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Run Prometheus with the rules of contrib/, scraping these targets as the job that the rules expect."""
    configuration = folder / "prometheus.yml"
    configuration.write_text(
        json.dumps(
            {
                "global": {
                    "scrape_interval": f"{_SCRAPE_SECONDS}s",
                    "scrape_timeout": f"{_SCRAPE_SECONDS}s",
                    "evaluation_interval": f"{_SCRAPE_SECONDS}s",
                },
                "rule_files": [str(RULES)],
                "scrape_configs": [{"job_name": "hangup", "static_configs": [{"targets": targets}]}],
            }
        )
    )
    listen = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={listen}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    log = process.stderr
    try:
        said = []
        for line in log:
            said.append(line)
            if "ready to receive web requests" in line:
                break
        else:
            pytest.fail("Prometheus ended: " + "".join(said))
        # Nobody reads on, and a full pipe would stop it.
        threading.Thread(target=lambda: list(log), daemon=True).start()
        yield Prometheus(f"http://{listen}")
    finally:
        process.terminate()
        process.wait(_LIMIT)


def play(path: Path) -> None:
    """Have connections break and hang-ups stay latent, as many as the test expects."""
    path.unlink(missing_ok=True)
    listening = stage.Baton()

    def serve() -> None:
        with stage.listener(path) as server:
            listening.pass_on()
            for _ in range(_BROKEN + _LATENT):
                connection, _ = server.accept()
                assert connection.recv(1) == b"1"
                connection.close()

    def call() -> None:
        listening.take()
        with socket.socket(socket.AF_UNIX) as client:
            assert stage.fails(lambda: client.connect(f"{path}.missing")) == errno.ENOENT
        for number in range(_BROKEN + _LATENT):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.send(b"123")
                stage.wait_for_hangup(client)
                if number < _BROKEN:
                    assert stage.fails(lambda: client.send(b"4567")) == errno.EPIPE

    for player in [stage.Player(serve), stage.Player(call)]:
        player.end()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[list[str]]:
    """Run two services; returns where their metrics are."""
    with ExitStack() as stack:
        addresses = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            addresses.append(f"127.0.0.1:{free_port()}")
            serving = Serving(folder, "--metrics", addresses[-1])
            stack.callback(serving.close)
            serving.until_told("READY=1")
        yield addresses


def test_promtool_finds_no_fault_in_the_rules_and_they_do_what_their_tests_say() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES.name)
    assert "SUCCESS" in promtool("test", "rules", "hangup.rules.test.yml")
    assert "SUCCESS" in promtool("check", "config", "scrape.yml")


def test_a_real_prometheus_knows_what_two_services_counted(served: list[str], tmp_path: Path) -> None:
    path = tmp_path / "app.s"
    selector = f'{{path="{path_pattern(str(path))}"}}'

    def wanted(count: int) -> dict[str, float]:
        return dict.fromkeys(served, float(count))

    with prometheus(tmp_path, served) as scraping:
        # What grows after the first scrape is seen growing.
        everywhere = until("both are up", lambda: len(up := scraping.by_instance('up{job="hangup"} == 1')) == 2 and up)
        assert set(everywhere) == set(served)
        play(path)
        until("the broken writes", lambda: _total(scraping, "hangup_broken_writes_total", selector) == wanted(_BROKEN))
        # The first ones came with their series, all at once.
        failures = f"round(sum by (instance) (client_server_path:hangup_failures:rate5m{selector}) * 300)"
        until("the first failures", lambda: scraping.by_instance(failures) == wanted(_BROKEN))
        play(path)
        until("more", lambda: _total(scraping, "hangup_broken_writes_total", selector) == wanted(2 * _BROKEN))
        until("all", lambda: _total(scraping, "hangup_connections_total", selector) == wanted(2 * (_BROKEN + _LATENT)))
        assert _total(scraping, "hangup_latent_hangups_total", selector) == wanted(2 * _LATENT)
        assert _total(scraping, "hangup_reset_reads_total", selector) == wanted(0)
        gaps = scraping.by_instance('sum by (instance) (hangup_gap_seconds_bucket{le="+Inf"})')
        assert all(count >= 2 * _BROKEN for count in gaps.values())
        assert scraping.by_instance("sum by (instance) (hangup_losses_total)") == wanted(0)
        assert all(scraping.by_instance("sum by (instance) (hangup_probed_functions)").values())
        full = scraping.by_instance("hangup_ring_highest_bytes / hangup_ring_size_bytes")
        assert all(0 < part < 1 for part in full.values())

        # They know it from both services' own words, in which promtool finds no fault.
        for address in served:
            words = read(f"http://{address}/metrics")
            (own,) = re.findall(
                rf"^hangup_broken_writes_total{{.*{re.escape(selector[1:-1])}.*}} (.*)$", words.decode(), re.M
            )
            assert float(own) == 2 * _BROKEN
            assert promtool("check", "metrics", given=words) == ""

        until("the alerts", lambda: _firing(scraping, "HangupAlerts") == set(served))
        groups = scraping.api("rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}

        dashboard = json.loads((CONTRIB / "grafana" / "hangup.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h")
                query = re.sub(r"\$(instance|client|server)\b", ".*", query)
                if panel["title"] in _EMPTY:
                    assert _result(scraping, query) == []
                else:
                    until(panel["title"], partial(_result, scraping, query))


def _result(scraping: Prometheus, query: str) -> Any:
    return scraping.api("query", query=query)["result"]


def _total(scraping: Prometheus, name: str, selector: str) -> dict[str, float]:
    return scraping.by_instance(f"sum by (instance) ({name}{selector})")


def _firing(scraping: Prometheus, alert: str) -> set[str]:
    return {
        one["labels"]["instance"]
        for one in scraping.api("alerts")["alerts"]
        if (one["labels"]["alertname"], one["state"]) == (alert, "firing")
    }
