"""The sinks that the settings ask for, opened together and replaced when the settings are read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock

from hangup.cli.service.limit import HeldBack
from hangup.cli.service.settings import Settings
from hangup.cli.sinks.alert_file import AlertFile
from hangup.cli.sinks.journal import Journal
from hangup.cli.sinks.metrics import MetricsServer
from hangup.tracer.clocks import Clocks
from hangup.tracer.tracer import Alert, Losses

_NAMES = (Journal.name, AlertFile.name, "metrics")

OpenMetrics = Callable[[str], MetricsServer]
"""Given an address, returns a server of the metrics that is not started yet."""


class Sinks:
    """The journal, the file and the metrics, each as far as it is wanted."""

    def __init__(self, open_metrics: OpenMetrics) -> None:
        """Open none yet."""
        self._open_metrics = open_metrics
        self._settings: Settings | None = None
        self._journal: Journal | None = None
        self._file: AlertFile | None = None
        self._metrics: MetricsServer | None = None
        # Counters do not start again when a sink is opened anew; those who scrape count while we replace.
        self._earlier_errors: Counter[str] = Counter()
        self._lock = Lock()

    def close(self) -> None:
        """Close all."""
        self._replace(None, None, None)

    def open(self, settings: Settings) -> None:
        """Open what the settings ask for; what is open already and stays the same is not touched.

        Raises HangupError, and leaves everything as it was then.
        """
        before = self._settings
        journal, file, metrics = self._journal, self._file, self._metrics
        opened: list[Journal | AlertFile] = []
        try:
            if before is None or settings.journal != before.journal:
                journal = Journal() if settings.journal else None
                opened += [journal] if journal else []
            if before is None or _of_file(settings) != _of_file(before):
                file = _alert_file(settings)
                opened += [file] if file else []
            if before is None or settings.metrics != before.metrics:
                metrics = self._server(settings)
        except BaseException:
            for sink in opened:
                sink.close()
            raise
        self._replace(journal, file, metrics)
        self._settings = settings

    def alert(self, alert: Alert, clocks: Clocks) -> None:
        """Send an alert to all; clocks: what makes wall-clock times of its times."""
        if self._journal:
            self._journal.alert(alert, clocks)
        if self._file:
            self._file.alert(alert, clocks)

    def held_back(self, held: HeldBack) -> None:
        """Tell what was counted instead of sent."""
        if self._journal:
            self._journal.held_back(held)
        if self._file:
            self._file.held_back(held)

    def losses(self, losses: Losses) -> None:
        """Tell what was not seen."""
        if self._journal:
            self._journal.losses(losses)
        if self._file:
            self._file.losses(losses)

    @property
    def errors(self) -> dict[str, int]:
        """How many messages each sink did not take, by its name. Any thread may ask."""
        with self._lock:
            errors = Counter(dict.fromkeys(_NAMES, 0))
            errors.update(self._earlier_errors)
            for name, sink in self._by_name().items():
                errors[name] += sink.errors if sink else 0
        return dict(errors)

    @property
    def file(self) -> AlertFile | None:
        """The file, if there is one."""
        return self._file

    def _server(self, settings: Settings) -> MetricsServer | None:
        if not settings.metrics:
            return None
        server = self._open_metrics(settings.metrics)
        server.start()
        return server

    def _by_name(self) -> dict[str, Journal | AlertFile | MetricsServer | None]:
        return dict(zip(_NAMES, (self._journal, self._file, self._metrics), strict=True))

    def _replace(self, journal: Journal | None, file: AlertFile | None, metrics: MetricsServer | None) -> None:
        before = self._by_name()
        with self._lock:
            self._journal, self._file, self._metrics = journal, file, metrics
            gone = {name: sink for name, sink in before.items() if sink and sink is not self._by_name()[name]}
            for name, sink in gone.items():
                self._earlier_errors[name] += sink.errors
        for sink in gone.values():
            if isinstance(sink, Journal | AlertFile):
                sink.close()
            else:
                sink.stop()


def _of_file(settings: Settings) -> tuple[str, int, int]:
    return settings.file, settings.file_size, settings.file_count


def _alert_file(settings: Settings) -> AlertFile | None:
    if not settings.file:
        return None
    return AlertFile(settings.file, size=settings.file_size, count=settings.file_count)
