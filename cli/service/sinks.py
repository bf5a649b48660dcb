"""The sinks that the settings ask for, opened together and replaced when the settings are read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cli.service.limit import HeldBack
from cli.service.settings import Settings
from cli.sinks.alert_file import AlertFile
from cli.sinks.journal import Journal
from cli.sinks.metrics import MetricsServer
from tracer.tracer import Alert, Losses

_METRICS = "metrics"

OpenMetrics = Callable[[str], MetricsServer]
"""Given an address, returns a server of the metrics that is not started yet."""


class Sinks:
    """The journal, the file and the metrics, each as far as it is wanted."""

    def __init__(self, settings: Settings, open_metrics: OpenMetrics) -> None:
        """Open them. Raises HangupError, and leaves none open then."""
        self._open_metrics = open_metrics
        self._settings = settings
        self._journal: Journal | None = None
        self._file: AlertFile | None = None
        self._metrics: MetricsServer | None = None
        # Counters do not start again when a sink is opened anew.
        self._earlier_errors: Counter[str] = Counter()
        try:
            self._journal = Journal() if settings.journal else None
            self._file = _alert_file(settings)
            self._metrics = self._server(settings)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all."""
        self._replace_journal(None)
        self._replace_file(None)
        self._replace_metrics(None)

    def apply(self, settings: Settings) -> None:
        """Open what is new in the settings and close what is gone; the others are not touched.

        Raises HangupError, and goes on as before then.
        """
        before = self._settings
        journal, file = self._journal, self._file
        if settings.journal != before.journal:
            journal = Journal() if settings.journal else None
        of_file = (settings.file, settings.file_size, settings.file_count)
        if of_file != (before.file, before.file_size, before.file_count):
            file = _alert_file(settings)
        if settings.metrics != before.metrics:
            # The new one first: an address that cannot be had must not cost the old one.
            self._replace_metrics(self._server(settings))
        if journal is not self._journal:
            self._replace_journal(journal)
        if file is not self._file:
            self._replace_file(file)
        self._settings = settings

    def alert(self, alert: Alert, offset: int) -> None:
        """Send an alert to all; offset: what makes a wall-clock time of its times, in ns."""
        if self._journal:
            self._journal.alert(alert, offset)
        if self._file:
            self._file.alert(alert, offset)

    def held_back(self, held: HeldBack) -> None:
        """Tell what was counted instead of sent."""
        if self._journal:
            self._journal.held_back(held)

    def losses(self, losses: Losses) -> None:
        """Tell what was not seen."""
        if self._journal:
            self._journal.losses(losses)

    @property
    def errors(self) -> dict[str, int]:
        """How many messages each sink did not take, by its name."""
        errors = Counter({Journal.name: 0, AlertFile.name: 0, _METRICS: 0})
        errors.update(self._earlier_errors)
        for sink in (self._journal, self._file):
            if sink:
                errors[sink.name] += sink.errors
        if self._metrics:
            errors[_METRICS] += self._metrics.errors
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

    def _replace_journal(self, journal: Journal | None) -> None:
        if self._journal:
            self._earlier_errors[Journal.name] += self._journal.errors
            self._journal.close()
        self._journal = journal

    def _replace_file(self, file: AlertFile | None) -> None:
        if self._file:
            self._earlier_errors[AlertFile.name] += self._file.errors
            self._file.close()
        self._file = file

    def _replace_metrics(self, metrics: MetricsServer | None) -> None:
        if self._metrics:
            self._earlier_errors[_METRICS] += self._metrics.errors
            self._metrics.stop()
        self._metrics = metrics


def _alert_file(settings: Settings) -> AlertFile | None:
    if not settings.file:
        return None
    return AlertFile(settings.file, size=settings.file_size, count=settings.file_count)
