"""`hangup report`: what a capture says, as a page to hand to somebody."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from hangup.cli import new_file
from hangup.cli.ended import Ended
from hangup.cli.options import filter_options
from hangup.cli.output import note
from hangup.cli.reporters.page.collected import Collected
from hangup.cli.reporters.page.content import Source, page
from hangup.cli.reporters.page.render import html
from hangup.cli.verdict_options import verdict_options
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.escape import escape
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter
from hangup.tracer.selection import IGNORED_PATHS
from hangup.tracer.tracer import Tracer
from hangup.tracer.units import size
from hangup.tracer.verdicts import Kind

_STANDARD_OUTPUT = Path("-")


@click.command("report")
@click.option(
    "-r",
    "--read",
    "captures",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="The capture to report on.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Write the page to this file; - is standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@click.option("--all", "draw_all", is_flag=True, help="Draw every alert, however many are alike.")
@verdict_options
@filter_options(Subject.CONNECTIONS)
@click.argument("filter_text", metavar="[FILTER]", required=False)
def command(
    *,
    captures: tuple[Path, ...],
    output: Path,
    force: bool,
    draw_all: bool,
    latent: bool,
    harmless: bool,
    verdicts: frozenset[Kind],
    wanted: Filter,
) -> None:
    """Write what a capture says as a page to hand to somebody.

    The page is one HTML file that loads nothing and runs nothing: how many connections failed and by which verdicts,
    when, how long after the hang-up, who talks to whom, and of each kind of alert the first three with both ends'
    operations as a sequence diagram, the next ten as a line each, and how many more there were. 300 are drawn at most;
    --all draws all of them. Times are UTC. FILTER (`hangup fields`) says which connections are looked at and counted.

    It needs no privileges, and nothing of the host on which the capture was made. The file is readable by its owner
    alone, as it names processes, users and paths: whoever may see these, give it to them.
    """
    if len(captures) > 1:
        raise click.UsageError("one capture at a time, so far")
    if output != _STANDARD_OUTPUT:
        new_file.check(output, force=force)
    collected = Collected(draw_all=draw_all)
    with (
        FileSource(*captures) as source,
        Tracer(
            source=source,
            selection=replace(wanted.selection, ignored_paths=wanted.selection.ignored_paths or IGNORED_PATHS),
            only=wanted.rest,
            latent=latent,
            harmless=harmless,
            verdicts=verdicts,
        ) as tracer,
    ):
        for alert in tracer.alerts():
            collected.add(alert, tracer.clocks)
    begin, end = tracer.span or (0, 0)
    ended = Ended(tracer.statistics, tracer.losses(), (end - begin) / 10**9, tracer.flavour, len(tracer.functions))
    names = [escape(os.fsencode(capture.name)) for capture in captures]
    content = html(page(collected, ended, Source(names, tracer.host, (begin, end), tracer.clocks))).encode()
    if output == _STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return
    new_file.write(output, content, force=force)
    written = escape(os.fsencode(output))
    note(f"wrote {written} ({size(len(content))}), readable by you alone: it names processes, users and paths")
