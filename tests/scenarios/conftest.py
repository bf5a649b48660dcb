"""What the scenarios share: how many requests they send."""

import os

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
