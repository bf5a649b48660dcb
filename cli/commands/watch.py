"""`hangup watch`: explains every connection that ends in a hang-up, at once, and sums up at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import click

from hangup.cli import terminal
from hangup.cli.capture import Capture, capture_options
from hangup.cli.command_line import RunCommand, RunsCommand, command_options
from hangup.cli.ended import Ended
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import addresses_option, filter_options, json_option, key_option, run_options
from hangup.cli.output import Output, note
from hangup.cli.ready import Ready
from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.reporters.alerts import Alerts
from hangup.cli.reporters.filter_text import uncounted_text
from hangup.cli.reporters.summary import summary_text
from hangup.cli.reporters.summary_json import summary_lines
from hangup.cli.run import run
from hangup.cli.service.settings import Settings, keys
from hangup.cli.verdict_options import verdict_options
from hangup.tracer.clocks import Clocks
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind

_KEYS = {key.name: key for key in keys()}


@click.command("watch", cls=RunsCommand, context_settings={"allow_interspersed_args": False})
@filter_options(Subject.CONNECTIONS)
@verdict_options
@click.option("--all", "show_all", is_flag=True, help="Show every alert in full, however many are alike.")
@addresses_option
@click.option("--no-fail", is_flag=True, help="Alerts do not change the exit status.")
@key_option(_KEYS["stream"])
@key_option(_KEYS["history"])
@run_options
@json_option
@capture_options(
    *("probes", "duration", "ready_file", "ready_fd", "follow", "stream", "history", "command_line"), alerts=True
)
@command_options
def command(
    *,
    wanted: Filter,
    latent: bool,
    harmless: bool,
    verdicts: frozenset[Kind],
    show_all: bool,
    addresses: bool,
    no_fail: bool,
    stream: bool | None,
    history: int | None,
    probes: str,
    duration: float | None,
    ready: Ready,
    as_json: bool,
    capture: Capture,
    quiet: bool,
    run_command: RunCommand,
) -> None:
    """Explain every connection that ends in a hang-up.

    Prints each one at once: what happened in one sentence, what it cost, who was at both ends, and what both did till
    then. Of alerts that are alike (verdict, programs, path) the first three are printed so, the next ten as one line
    each, and the rest is counted; --all and --json print all of them. Connections of systemd's own that every systemctl
    breaks are ignored, unless --ignore-path says what is. At the end a table counts all connections by what became of
    them. It ends at Ctrl-C, SIGTERM, after --duration, with COMMAND, or with -r at the end of the capture (while that
    comes by a pipe only the second Ctrl-C ends it: the first one is for whoever writes); and with status 122 if there
    was an alert.

    FILTER (`hangup fields`) says which connections are looked at and counted; `--` stands between it and COMMAND.

    COMMAND is run as the user who called sudo, with the environment as it is here but HOME, USER and LOGNAME of that
    user in place of root's. The probes are attached before it starts. Signals are passed on to it, and SIGTERM after
    --duration. If it fails, its own status becomes hangup's, whether there was an alert or not. 125 is hangup's own
    failure, of whatever kind; 126 and 127 say that COMMAND could not be run.
    """
    paint, columns = terminal.painter, terminal.columns
    shown = _Shown(capture, as_json=as_json, show_all=show_all, quiet=quiet, addresses=addresses)
    defaults = Settings()
    stream = defaults.stream if stream is None else stream
    uncounted = uncounted_text(wanted)
    if uncounted and not capture.is_read and not stream:
        note(uncounted)
    status: int | None = None
    ended: Ended | None = None

    def say(how: str) -> None:
        if not as_json:
            note(f"watching with {how}{run_command.until}")

    with (
        run_command,
        capture,
        capture.ends_when_full(),
        Tracer(
            selection=run_command.selected(wanted.selection_to_judge),
            only=wanted.rest,
            probes=probes,
            stream=stream,
            history=history or defaults.history,
            latent=latent,
            harmless=harmless,
            verdicts=verdicts,
            **capture.tracer_options(),
        ) as tracer,
    ):
        shown.clocks = tracer.clocks
        with capture.ends_when_full():
            status = run(
                tracer,
                on_alert=shown.alert,
                after_batch=shown.after_batch,
                on_ready=lambda: capture.begin(tracer, ready, say),
                duration=duration,
                command=run_command.words,
                starting=run_command.starting(),
                reads_pipe=lambda: capture.reads_pipe,
            )
        ended = capture.ended(tracer)
    shown.end()
    if ended is not None:
        file = shown.output.file
        for text in summary_lines(ended) if as_json else [summary_text(ended, width=columns(file), paint=paint(file))]:
            shown.output.line(text)
        shown.output.flush()
        if not status and ended.statistics.alerts and not no_fail:
            status = ExitStatus.ALERTS
    click.get_current_context().exit(capture.end(status or ExitStatus.OK))


class _Shown:
    """Prints alerts as they come, if they are to be shown."""

    def __init__(self, capture: Capture, *, as_json: bool, show_all: bool, quiet: bool, addresses: bool) -> None:
        self._capture = capture
        self._standard = Output()
        # Nothing but the capture goes to standard output then.
        self.output = Output(sys.stderr) if capture.is_piped else self._standard
        self._is_shown = not (quiet or capture.is_piped)
        self._as_json = as_json
        self._alerts = Alerts(self._block, show_all=show_all)
        self._addresses = addresses
        self._paint = terminal.painter(self.output.file)
        self.clocks = Clocks()
        """Makes wall-clock times of the alerts'."""

    def alert(self, alert: Alert) -> None:
        """Print an alert, and have what is around it written if that is wanted."""
        self._capture.mark(alert.when)
        if not self._is_shown:
            return
        shown = (
            [alert_line(alert, self.clocks)]
            if self._as_json
            else self._alerts.shown(alert, self.clocks, time.monotonic())
        )
        self._print(shown)

    def after_batch(self) -> None:
        """Print what has become of those that are only counted; see whether somebody reads it."""
        self._print(self._alerts.counts(time.monotonic(), ending=False))
        self._standard.require_reader()
        self._capture.show_progress()

    def end(self) -> None:
        """Print what is left of them."""
        self._print(self._alerts.counts(time.monotonic(), ending=True))
        self._standard.require_reader()

    def _print(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._capture.progress.hide()
            self.output.line(text)
            self.output.flush()

    def _block(self, alert: Alert, clocks: Clocks) -> str:
        width = terminal.columns(self.output.file)
        return alert_block(alert, clocks, width=width, paint=self._paint, addresses=self._addresses)
