"""What the scenarios share: how many requests they send, where their sockets are, what the kernel says of a failure."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hangup.tracer.kernel import kprobes, probes

_KERNEL_LINES = 25


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Put into the report of a test that failed what the kernel has logged last, and which kprobes it has."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("kernel", _kernel_state()))


def _kernel_state() -> str:
    log = subprocess.run(["dmesg", "--level=emerg,alert,crit,err,warn"], capture_output=True, text=True, check=False)
    said = log.stdout.splitlines()[-_KERNEL_LINES:]
    for path in (Path("/sys/kernel/debug/kprobes/list"), kprobes.TRACEFS[0] / "kprobe_profile", Path("/proc/loadavg")):
        said += [f"{path}:", *(path.read_text().splitlines() if path.exists() else ["(there is none)"])]
    return "\n".join(said)


@pytest.fixture(scope="session")
def requests_to_send() -> int:
    """How many requests one scenario sends: `make test` is content with few."""
    return int(os.environ.get("SCENARIO_REQUESTS", "200"))


@pytest.fixture
def small_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the probes a sixteenth of their ring buffer, some 5,700 records: without KVM 16 MiB take half a minute."""
    monkeypatch.setattr(probes, "_RING_BYTES", 1 << 20)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose name is short: of a glob so much decides in the kernel as fits into 64 bits."""
    with TemporaryDirectory(prefix="hangup-") as name:
        yield Path(name)
