"""What the service tells systemd, where systemd does not listen."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from hangup.cli.service.systemd import notifier


def test_a_service_manager_that_does_not_listen_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def notify(state: str) -> None:
        said.append(state)
        raise ConnectionRefusedError(111, "Connection refused")

    daemon = ModuleType("systemd.daemon")
    daemon.notify = notify  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", ModuleType("systemd"))
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    notifier()("READY=1")
    assert said == ["READY=1"]
