"""What the scenarios share: how many requests they send, and where their sockets are."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hangup.tracer.kernel import probes


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
