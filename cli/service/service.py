"""The main loop of `hangup serve`: alerts to the sinks, counts to systemd, and new settings without losing state."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

from hangup.cli.output import note
from hangup.cli.reporters.filter_text import uncounted_text
from hangup.cli.reporters.losses import losses_text
from hangup.cli.service.configuration import ConfigurationError
from hangup.cli.service.limit import AlertKind, Limit
from hangup.cli.service.settings import Settings, keys
from hangup.cli.service.sinks import OpenMetrics, Sinks
from hangup.cli.service.systemd import Systemd
from hangup.cli.sinks.alert_file import AlertFile
from hangup.cli.sinks.metrics import Snapshot
from hangup.cli.wake import Wake
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter, filter_of, shorthand, understood
from hangup.tracer.tracer import QUIET_SECONDS, Alert, Tracer
from hangup.tracer.units import counted
from hangup.tracer.verdicts import Kind

# How often systemd is told the counts, and what was held back is looked at.
TELL_SECONDS = 1.0


class Signals:
    """SIGTERM and SIGINT end the service, SIGHUP has it read its settings again; each interrupts a waiting poll."""

    def __init__(self) -> None:
        self.ending = False
        self.reload = False

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, self._reload)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.ending = True

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True


def filter_of_settings(settings: Settings) -> Filter:
    """Return which connections the settings ask for."""
    of_keys = shorthand(
        comms=settings.comm,
        paths=settings.path,
        ignored_comms=settings.ignore_comm,
        ignored_paths=settings.ignore_path,
        uids=settings.uid,
        cgroups=settings.cgroup,
    )
    of_text = [understood(settings.filter, Subject.CONNECTIONS)] if settings.filter else []
    return filter_of([*of_text, *of_keys], Subject.CONNECTIONS)


class Service:
    """What runs from when the probes are attached until they are taken away."""

    def __init__(
        self,
        tracer: Tracer,
        settings: Settings,
        *,
        read: Callable[[], Settings],
        systemd: Systemd,
        open_metrics: Callable[[Callable[[], Snapshot]], OpenMetrics],
    ) -> None:
        """Open the sinks. read: reads the settings again. Raises HangupError."""
        self._tracer = tracer
        self._settings = settings
        self._read = read
        self._systemd = systemd
        self._limit = Limit(failures=settings.failures, burst=settings.burst, interval=settings.interval)
        self._alerts: Counter[str] = Counter()
        self._held_back: Counter[str] = Counter()
        # What was told last.
        self._losses = tracer.losses()
        self._file_errors = 0
        self._file_fails = False
        self._told_at = float("-inf")
        self._reloaded = True
        self._reload_time = time.time()
        # What is selected changes only when the service is started again.
        self._uncounted = "" if settings.stream else uncounted_text(filter_of_settings(settings))
        # Assigned first: whoever scrapes asks for a snapshot at once.
        self._sinks = Sinks(open_metrics(self.snapshot))
        self._sinks.open(settings)

    def snapshot(self) -> Snapshot:
        """Return what the metrics show. It is called by other threads."""
        tracer = self._tracer
        return Snapshot(
            statistics=tracer.statistics,
            losses=self._losses.by_cause,
            open_endpoints=tracer.open_endpoints,
            probes=tracer.flavour,
            functions=len(tracer.functions),
            ring=tracer.ring,
            alerts=dict(self._alerts),
            held_back=dict(self._held_back),
            sink_errors=self._sinks.errors,
            reload_successful=self._reloaded,
            reload_time=self._reload_time,
        )

    def run(self, signals: Signals) -> None:
        """Run until a signal ends it, then lose nothing of the end."""
        tracer = self._tracer
        self._tell_uncounted()
        self._systemd.ready(self._status())
        try:
            with Wake() as wake:
                tracer.wake_by(wake.descriptor)
                while not signals.ending:
                    for alert in tracer.poll(min(QUIET_SECONDS, self._systemd.patience)):
                        self._alert(alert)
                    wake.clear()
                    if signals.reload:
                        signals.reload = False
                        self._reload()
                    self._systemd.alive(time.monotonic())
                    self._tell()
            self._systemd.stopping()
            tracer.stop()
            for alert in tracer.alerts():
                self._alert(alert)
            self._tell(ending=True)
        finally:
            self._sinks.close()

    def _alert(self, alert: Alert) -> None:
        kind = alert.verdict.kind
        self._systemd.alive(time.monotonic())
        self._alerts[kind.label] += 1
        key = alert.key
        if self._limit.takes(AlertKind(kind, key.client, key.server), time.monotonic()):
            self._sinks.alert(alert, self._tracer.clocks)
        else:
            self._held_back[kind.label] += 1

    def _tell(self, *, ending: bool = False) -> None:
        now = time.monotonic()
        if now - self._told_at < TELL_SECONDS and not ending:
            return
        self._told_at = now
        for held in self._limit.ended(now, all_of_them=ending):
            self._sinks.held_back(held)
        losses = self._tracer.losses()
        if losses.total > self._losses.total:
            self._sinks.losses(losses)
        self._losses = losses
        self._tell_of_file()
        self._systemd.status(self._status())

    def _tell_of_file(self) -> None:
        """Say once that alerts cannot be written, also if they can again by now, and once that they can again."""
        file = self._sinks.file
        errors = self._sinks.errors[AlertFile.name]
        if file and errors > self._file_errors and not self._file_fails:
            self._file_fails = True
            note(f"{shown_path(self._settings.file)} takes no alerts ({file.problem})")
        if self._file_fails and (file is None or not file.fails):
            self._file_fails = False
            note("alerts are written again")
        self._file_errors = errors

    def _tell_uncounted(self) -> None:
        if self._uncounted:
            note(self._uncounted)

    def _status(self) -> str:
        tracer = self._tracer
        alerts = sum(self._alerts.values())
        return (
            f"{tracer.flavour or 'capture'}, {len(tracer.functions)} functions; {counted(alerts, 'alert')} "
            f"({sum(self._held_back.values())} held back), "
            f"{counted(tracer.statistics.total.connections, 'connection')}; {losses_text(self._losses)}"
        )

    def _reload(self) -> None:
        self._systemd.reloading()
        try:
            settings = self._read()
            self._sinks.open(settings)
        except ConfigurationError as error:
            for line in error.lines:
                note(line)
            self._reloaded = False
        except HangupError as error:
            note(str(error))
            self._reloaded = False
        else:
            self._apply(settings)
            self._reloaded = True
            self._reload_time = time.time()
        note("reloaded" if self._reloaded else "not reloaded: everything stays as it was")
        self._tell_uncounted()
        self._systemd.ready(self._status())

    def _apply(self, settings: Settings) -> None:
        for key in keys():
            if key.restart and getattr(settings, key.name) != getattr(self._settings, key.name):
                note(f"{key.table}.{key.name} takes effect when the service is started again")
        self._settings = settings
        self._tracer.latent = wants_latent(settings)
        self._tracer.verdicts = verdicts_of(settings)
        self._limit.failures, self._limit.burst = settings.failures, settings.burst
        self._limit.interval = settings.interval


def verdicts_of(settings: Settings) -> frozenset[Kind]:
    """Return which verdicts are alerts; empty: all that can be."""
    return frozenset(Kind.named(label) for label in settings.verdict)


def wants_latent(settings: Settings) -> bool:
    """Return whether latent hang-ups are alerts: asked for, or named among the verdicts."""
    return settings.latent or Kind.LATENT.label in settings.verdict
