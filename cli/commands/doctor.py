"""`hangup doctor`: what this host has and lacks, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import IO

import click

from hangup.cli import json_lines, terminal
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import json_option
from hangup.tracer.field import Field
from hangup.tracer.kernel.preflight import Check, checks

CHECK: tuple[Field[Check], ...] = (
    Field("name", "string", "what was looked at", lambda check: check.name),
    Field(
        "state",
        "string",
        '`"ok"`; `"warn"`: hangup works, but not as well; `"fail"`: it does not work',
        lambda check: check.state,
    ),
    Field("found", "string", "what is there, or what is wrong", lambda check: check.found),
    Field("remedy", "string", "what to do about it", lambda check: check.remedy, absent="if nothing is wrong"),
)
"""One line of `--json`."""

_line = json_lines.line("check", CHECK)

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Say what this host has and lacks, and what to do about it.

    Ends with status 0 if `hangup watch` will work here, with 125 if it will not.
    """
    results: list[Check] = []
    for check in checks():
        results.append(check)
        if as_json:
            click.echo(_line(check, json_lines.no_times))
    if not as_json:
        show(results, sys.stdout)
    if failures(results):
        click.get_current_context().exit(ExitStatus.CANNOT_RUN)


def failures(results: Iterable[Check]) -> int:
    """Return how many checks say that hangup does not work here."""
    return sum(check.state == "fail" for check in results)


def show(results: Sequence[Check], file: IO[str], *, width: int | None = None) -> None:
    """Print one block a check, and the conclusion; `width` (columns) is for tests."""
    from rich.text import Text  # noqa: PLC0415 - --json does without

    console = terminal.console(file, width=width)
    table = terminal.plain_table()
    table.show_header = False
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in results:
        table.add_row(Text(check.state, style=STYLES[check.state]), Text(check.name), Text(check.found))
        if check.remedy:
            table.add_row("", "", Text(f"-> {check.remedy}", style="bold" if check.state == "fail" else ""))
    terminal.print_table(console, table)
    console.print()
    failed = failures(results)
    if failed:
        these = "this is mended" if failed == 1 else f"these {failed} are mended"
        console.print(Text(f"hangup watch does not work here until {these}.", style=STYLES["fail"]))
    else:
        console.print(Text("hangup watch works here.", style=STYLES["ok"]))
