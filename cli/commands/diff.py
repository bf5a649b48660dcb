"""`hangup diff`: two runs side by side, before a change and after it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hangup.cli import terminal
from hangup.cli.capture import readable
from hangup.cli.counted_run import read_run
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import FILE, filter_options, json_option
from hangup.cli.output import note
from hangup.cli.reporters.difference import difference_text
from hangup.cli.reporters.difference_json import difference_lines
from hangup.tracer.capture.names import PIPE
from hangup.tracer.capture.reader import check_names
from hangup.tracer.comparison import compare
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter


@click.command("diff")
@filter_options(Subject.COUNTS)
@json_option
@click.argument("before", type=FILE, callback=readable)
@click.argument("after", type=FILE, callback=readable)
@click.argument("filter_text", metavar="[FILTER]", required=False)
def command(*, wanted: Filter, as_json: bool, before: Path, after: Path) -> int:
    """Compare what failed before a change with what fails after it.

    BEFORE and AFTER are captures, or what `hangup watch --json` printed, one of each as well; one of them may be -, a
    pipe. Of a capture in several files it is the name without the numbers. For each client, server and path: how many
    connections of a thousand failed, by which verdicts, how soon after the hang-up, and how many hang-ups were latent.
    What nobody misses anything by is no failure here. FILTER (`hangup fields`) says whose connections are compared, of
    both.

    A difference that chance explains is said to be none: of each there are the bounds between which it lies. The status
    is 1 if it got worse, in all or for a client, server and path that are in both runs, 3 if BEFORE or AFTER has no
    connections at all, as where the server never came up, and 0 otherwise. That few connections show little is said,
    too.
    """
    if before == after == PIPE:
        raise click.UsageError("only one of BEFORE and AFTER can be -, which is standard input")
    check_names(before, after)
    runs = [read_run(path, wanted) for path in (before, after)]
    comparison = compare(*[run for run, _ in runs])
    if as_json:
        for line in difference_lines(comparison):
            click.echo(line)
    else:
        click.echo(difference_text(comparison, paint=terminal.painter(sys.stdout)))
    damage = [damage for _, damage in runs if damage is not None]
    for each in damage:
        note(str(each))
    if damage:
        return ExitStatus.DAMAGED
    if not comparison.is_comparable:
        return ExitStatus.NOT_COMPARABLE
    return ExitStatus.WORSE if comparison.is_worse else ExitStatus.OK
