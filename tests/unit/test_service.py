"""The service's main loop on told stories: what reaches the sinks, and what new settings change."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.service import sinks as sinks_module
from hangup.cli.service.configuration import ConfigurationError
from hangup.cli.service.service import Service, Signals, verdicts_of, wants_latent
from hangup.cli.service.settings import Settings
from hangup.cli.service.systemd import Systemd, watchdog_seconds
from hangup.cli.sinks import alert_file
from hangup.cli.sinks.journal import ALERT_ID, HELD_BACK_ID, LOSSES_ID, Journal
from hangup.cli.sinks.metrics import Snapshot
from hangup.tracer.errors import HangupError
from hangup.tracer.record.layout import Loss
from hangup.tracer.tracer import QUIET_SECONDS, Tracer
from tests.stories import Story, clean, latent, seeds_failure
from tests.unit.playback import Playback
from tests.unit.test_journal import parsed
from tests.unit.test_watch import assert_described


class Stand:
    """A service under test: what it told systemd and the journal, and its settings as they are read the next time."""

    def __init__(self, tracer: Tracer, settings: Settings, journald: socket.socket) -> None:
        self.told: list[str] = []
        self.read: Callable[[], Settings] = lambda: settings
        self.servers: list[str] = []
        self._journald = journald
        self.service = Service(
            tracer,
            settings,
            read=self._read_again,
            systemd=Systemd(self.told.append, 30.0),
            open_metrics=lambda _snapshot: self._open,
        )

    def _read_again(self) -> Settings:
        return self.read()

    def _open(self, listen: str) -> Any:
        servers = self.servers

        class Server:
            errors = 0

            def start(self) -> None:
                servers.append(listen)

            def stop(self) -> None:
                servers.remove(listen)

        if listen == "taken":
            raise HangupError("the address is taken", "take another")
        return Server()

    def run(self, between: Callable[[], object] = lambda: None) -> None:
        """Run it until it has seen everything; `between`: called before the end."""
        with Signals() as signals:
            poll = self.service._tracer.poll

            def and_end(timeout: float) -> Iterator[Any]:
                yield from poll(timeout)
                between()
                signals.ending = not signals.reload

            self.service._tracer.poll = and_end  # type: ignore[method-assign]
            self.service.run(signals)

    def entries(self, message_id: str | None = None) -> list[dict[str, str]]:
        """Return what the journal has got since the last time."""
        found = []
        while True:
            try:
                found.append(parsed(self._journald.recv(1 << 20)))
            except BlockingIOError:
                return [one for one in found if message_id is None or one.get("MESSAGE_ID") == message_id]


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stand]]:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        journald.setblocking(False)

        class Here(Journal):
            def __init__(self) -> None:
                super().__init__(path)

        monkeypatch.setattr(sinks_module, "Journal", Here)
        tracers = []

        def make(*stories: Story, losses: Mapping[Loss, int] | None = None, **settings: Any) -> Stand:
            source = Playback([event for story in stories for event in story.events], losses)
            wanted = Settings(**{"metrics": "", **settings})
            tracer = Tracer(source=source, latent=wants_latent(wanted), verdicts=verdicts_of(wanted))
            tracers.append(tracer)
            return Stand(tracer.__enter__(), wanted, journald)

        yield make
        for tracer in tracers:
            tracer.__exit__(None, None, None)


def test_alerts_reach_the_journal_and_the_file(stand: Callable[..., Stand], tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    standing = stand(clean(), seeds_failure(), file=str(file))
    standing.run()
    [entry] = standing.entries()
    assert entry["MESSAGE_ID"] == ALERT_ID
    assert len(file.read_text().splitlines()) == 1


def test_beyond_the_burst_alerts_are_counted_and_the_count_is_told_at_the_end(stand: Callable[..., Stand]) -> None:
    standing = stand(*[seeds_failure() for _ in range(5)], burst=2)
    standing.run()
    entries = standing.entries()
    assert [entry["MESSAGE_ID"] for entry in entries] == [ALERT_ID, ALERT_ID, HELD_BACK_ID]
    assert entries[-1]["HANGUP_HELD_BACK"] == "3"
    snapshot = standing.service.snapshot()
    assert snapshot.alerts == {"answered": 5}
    assert snapshot.held_back == {"answered": 3}


def test_only_the_verdicts_that_are_asked_for_are_alerts(stand: Callable[..., Stand]) -> None:
    standing = stand(seeds_failure(), verdict=("unread",))
    standing.run()
    assert standing.entries() == []


def test_losses_are_told_once(stand: Callable[..., Stand]) -> None:
    losses = {Loss.RING_FULL: 0}
    standing = stand(seeds_failure(), losses=losses)
    standing.run(lambda: losses.update({Loss.RING_FULL: 7}))
    [entry] = standing.entries(LOSSES_ID)
    assert entry["HANGUP_LOST_RING_FULL"] == "7"


def test_a_file_as_the_only_sink_has_what_was_held_back_and_what_was_lost(
    stand: Callable[..., Stand], tmp_path: Path
) -> None:
    file = tmp_path / "alerts.jsonl"
    told = [seeds_failure() for _ in range(5)]
    standing = stand(*told, losses={Loss.RING_FULL: 7}, burst=2, journal=False, file=str(file))
    standing.run()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    # What is lost is told within a second, what is held back at the end of the interval.
    assert [line["record"] for line in lines] == ["alert", "alert", "losses", "held_back"]
    *_, lost, held = lines
    kind = ("answered", "httpd", "uwsgi")
    assert (held["verdict"], held["client"], held["server"], held["held_back"], held["sent"]) == (*kind, 3, 2)
    assert (lost["lost"], lost["lost_by_cause"]["ring_full"]) == (7, 7)
    assert_described(alert_file.HELD_BACK, held)
    assert_described(alert_file.LOSSES, lost)
    assert standing.entries() == []


def test_systemd_hears_that_it_is_ready_alive_and_stopping(stand: Callable[..., Stand]) -> None:
    standing = stand(seeds_failure())
    standing.run()
    assert standing.told[0].startswith("READY=1\nSTATUS=")
    assert "WATCHDOG=1" in standing.told
    assert "STOPPING=1" in standing.told
    # What came at the very end is in it.
    assert "1 alert (0 held back), 1 connection; nothing lost" in standing.told[-1]


def reload_once() -> Callable[[], None]:
    """Return what asks for a reload the first time it is called."""
    asked: list[bool] = []

    def ask() -> None:
        if not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGHUP)

    return ask


def test_new_settings_replace_what_has_changed_and_nothing_else(
    stand: Callable[..., Stand], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standing = stand(seeds_failure(), metrics="127.0.0.1:1")
    standing.read = lambda: Settings(
        comm=("nginx",), latent=True, burst=3, metrics="127.0.0.1:2", file=str(tmp_path / "new")
    )
    service = standing.service
    standing.run(reload_once())
    assert service._tracer.selection.comms == ()
    assert "selection.comm takes effect when the service is started again" in capsys.readouterr().err
    assert service._tracer.latent
    assert (tmp_path / "new").exists()
    assert [
        message.split("\n")[0].split("=")[0] for message in standing.told if "1\n" in message or "ING" in message
    ] == [
        "READY",
        "RELOADING",
        "READY",
        "STOPPING",
    ]
    assert service.snapshot().reload_successful


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ({"filter": "verdict.gap > 0"}, True),
        ({"filter": "verdict.gap > 0", "stream": True}, False),
        ({"filter": "verdict=killed", "uid": (33,)}, False),
    ],
)
def test_that_connections_are_not_counted_is_said_at_the_start_and_at_a_reload(
    stand: Callable[..., Stand], capsys: pytest.CaptureFixture[str], settings: dict[str, Any], is_said: bool
) -> None:
    standing = stand(seeds_failure(), **settings)
    # What is read anew selects from the next start on.
    standing.read = lambda: Settings(metrics="")
    standing.run(reload_once())
    said = "connections that end well are not counted: the kernel does not tell verdict.gap of them; --stream does"
    assert capsys.readouterr().err.count(f"hangup: {said}\n") == (2 if is_said else 0)


@pytest.mark.parametrize("problem", ["configuration", "address"])
def test_settings_that_cannot_be_had_change_nothing(
    stand: Callable[..., Stand], capsys: pytest.CaptureFixture[str], problem: str
) -> None:
    standing = stand(seeds_failure(), metrics="127.0.0.1:1", comm=("httpd",))

    def wrong() -> Settings:
        if problem == "configuration":
            raise ConfigurationError(["hangup.toml:3: sinks.metrics: is wrong", "hangup.toml:4: also"])
        return Settings(metrics="taken", comm=("other",))

    standing.read = wrong
    servers: list[list[str]] = []
    snapshots: list[Snapshot] = []
    ask = reload_once()

    def between() -> None:
        ask()
        servers.append(list(standing.servers))
        snapshots.append(standing.service.snapshot())

    standing.run(between)
    assert servers[-1] == ["127.0.0.1:1"]
    assert not snapshots[-1].reload_successful
    assert standing.service._settings.comm == ("httpd",)
    said = capsys.readouterr().err
    assert "not reloaded: everything stays as it was" in said
    assert ("hangup.toml:3: sinks.metrics: is wrong\nhangup: hangup.toml:4" in said) == (problem == "configuration")


def test_all_sinks_are_closed_at_the_end(stand: Callable[..., Stand]) -> None:
    standing = stand(latent(), metrics="127.0.0.1:1")
    assert standing.servers == ["127.0.0.1:1"]
    standing.run()
    assert standing.servers == []


def test_the_watchdog_is_told_three_times_as_often_as_it_asks() -> None:
    told: list[str] = []
    systemd = Systemd(told.append, 30.0)
    for second in range(31):
        systemd.alive(float(second))
    assert told == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize(("asks", "waits"), [(None, QUIET_SECONDS), (30.0, QUIET_SECONDS), (1.5, 0.5)])
def test_it_waits_no_longer_than_the_watchdog_may(
    stand: Callable[..., Stand], asks: float | None, waits: float
) -> None:
    standing = stand(seeds_failure())
    standing.service._systemd = Systemd(standing.told.append, asks)
    waited: list[float] = []
    poll = standing.service._tracer.poll

    def noted(timeout: float) -> Iterator[Any]:
        waited.append(timeout)
        return poll(timeout)

    standing.service._tracer.poll = noted  # type: ignore[method-assign]
    standing.run()
    assert set(waited) == {waits}


def test_it_is_woken_by_a_signal_that_comes_right_before_it_waits(
    stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = stand(seeds_failure())
    descriptors: list[int] = []
    woken: list[bool] = []
    monkeypatch.setattr(standing.service._tracer, "wake_by", descriptors.append)

    def between() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        woken.append(bool(select.select(descriptors, [], [], 0)[0]))

    standing.run(between)
    assert woken == [True]


def test_a_status_is_told_when_it_changes() -> None:
    told: list[str] = []
    systemd = Systemd(told.append, None)
    for status in ("a", "a", "b"):
        systemd.status(status)
    systemd.alive(0.0)
    assert told == ["STATUS=a", "STATUS=b"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_systemd_says_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], seconds: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds


def test_latent_ones_asked_for_are_alerts_whatever_other_verdicts_are() -> None:
    assert wants_latent(Settings(latent=True, verdict=("unread",)))
    assert wants_latent(Settings(verdict=("latent",)))
    assert not wants_latent(Settings(verdict=("unread",)))


def test_both_kinds_that_are_asked_for_reach_the_journal(stand: Callable[..., Stand]) -> None:
    standing = stand(latent(), seeds_failure(), latent=True, verdict=("answered",))
    standing.run()
    assert sorted(entry["HANGUP_VERDICT"] for entry in standing.entries(ALERT_ID)) == ["answered", "latent"]


def test_a_sink_that_cannot_be_opened_leaves_the_others_as_they_were(
    stand: Callable[..., Stand], tmp_path: Path
) -> None:
    standing = stand(metrics="127.0.0.1:1")
    sinks = standing.service._sinks
    sinks._earlier_errors["journal"] = 3
    with pytest.raises(HangupError):
        sinks.open(Settings(metrics="taken", file=str(tmp_path / "new")))
    assert sinks.file is None
    assert standing.servers == ["127.0.0.1:1"]
    assert sinks.errors == {"journal": 3, "file": 0, "metrics": 0}
    sinks.close()
    assert standing.servers == []
    assert sinks.errors == {"journal": 3, "file": 0, "metrics": 0}
