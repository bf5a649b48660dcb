"""`hangup watch`: explains every connection that ends in a hang-up, at once, and sums up at the end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from hangup.cli import terminal
from hangup.cli.child import look_up
from hangup.cli.ended import Ended
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import addresses_option, filter_options, json_option, key_option, run_options
from hangup.cli.output import Output, note
from hangup.cli.ready import Ready
from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.reporters.alerts import Alerts
from hangup.cli.reporters.summary import summary_text
from hangup.cli.reporters.summary_json import summary_lines
from hangup.cli.run import run
from hangup.cli.service.settings import Settings, keys
from hangup.cli.verdict_options import verdict_options
from hangup.tracer.clocks import Clocks
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.connected import uncounted
from hangup.tracer.filter.filter import Filter
from hangup.tracer.selection import IGNORED_PATHS
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete_file(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete COMMAND's words as file names."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when a shell asks

    return [CompletionItem(incomplete, type="file")]


_KEYS = {key.name: key for key in keys()}


@click.command("watch", context_settings={"allow_interspersed_args": False})
@filter_options(Subject.CONNECTIONS)
@verdict_options
@click.option("--all", "show_all", is_flag=True, help="Show every alert in full, however many are alike.")
@addresses_option
@click.option("--no-fail", is_flag=True, help="Alerts do not change the exit status.")
@key_option(_KEYS["stream"])
@key_option(_KEYS["history"])
@run_options
@json_option
@click.argument(
    "command_line",
    metavar="[FILTER] [--] [COMMAND ...]",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=_complete_file,
)
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
    command_line: tuple[str, ...],
) -> None:
    """Explain every connection that ends in a hang-up.

    Prints each one at once: what happened in one sentence, what it cost, who was at both ends, and what both did till
    then. Of alerts that are alike (verdict, programs, path) the first three are printed so, the next ten as one line
    each, and the rest is counted; --all and --json print all of them. Connections of systemd's own that every systemctl
    breaks are ignored, unless --ignore-path says what is. At the end a table counts all connections by what became of
    them. It ends at Ctrl-C, SIGTERM, after --duration or with COMMAND, and with status 122 if there was an alert.

    FILTER (`hangup fields`) says which connections are looked at and counted; `--` stands between it and COMMAND.

    COMMAND is run as the user who called sudo, with the environment as it is here but HOME, USER and LOGNAME of that
    user in place of root's. The probes are attached before it starts. Signals are passed on to it, and SIGTERM after
    --duration. If it fails, its own status becomes hangup's, whether there was an alert or not. 125 is hangup's own
    failure, of whatever kind; 126 and 127 say that COMMAND could not be run.
    """
    if command_line:
        look_up(command_line[0])
    output = Output()
    paint = terminal.painter(output.file)

    def block(alert: Alert, clocks: Clocks) -> str:
        return alert_block(alert, clocks, width=terminal.columns(output.file), paint=paint, addresses=addresses)

    alerts = Alerts(block, show_all=show_all)

    def show(alert: Alert) -> None:
        clocks = tracer.clocks
        for text in [alert_line(alert, clocks)] if as_json else alerts.shown(alert, clocks, time.monotonic()):
            output.line(text)
        output.flush()

    def look_around(*, ending: bool = False) -> None:
        for text in alerts.counts(time.monotonic(), ending=ending):
            output.line(text)
            output.flush()
        output.require_reader()

    defaults = Settings()
    if not (defaults.stream if stream is None else stream) and wanted.rest is not None and uncounted(wanted.rest):
        note(
            "connections that end well are not counted: the kernel does not tell "
            f"{' or '.join(uncounted(wanted.rest))} of them; --stream does"
        )
    with Tracer(
        selection=replace(wanted.selection, ignored_paths=wanted.selection.ignored_paths or IGNORED_PATHS),
        only=wanted.rest,
        probes=probes,
        stream=defaults.stream if stream is None else stream,
        history=history or defaults.history,
        latent=latent,
        harmless=harmless,
        verdicts=verdicts,
    ) as tracer:
        began = time.monotonic()

        def attached() -> None:
            flavour = tracer.flavour or "capture"
            if not as_json:
                until = f" while {command_line[0]} runs" if command_line else "; Ctrl-C ends"
                note(f"watching with {flavour} ({len(tracer.functions)} functions){until}")
            ready.report(flavour)

        status = run(
            tracer,
            on_alert=show,
            after_batch=look_around,
            on_ready=attached,
            duration=duration,
            command=command_line,
        )
        ended = Ended(
            tracer.statistics, tracer.losses(), time.monotonic() - began, tracer.flavour, len(tracer.functions)
        )
    look_around(ending=True)
    if as_json:
        for line in summary_lines(ended):
            output.line(line)
    else:
        output.line(summary_text(ended, width=terminal.columns(output.file), paint=paint))
    output.flush()
    if not status and ended.statistics.alerts and not no_fail:
        status = ExitStatus.ALERTS
    click.get_current_context().exit(status or ExitStatus.OK)
