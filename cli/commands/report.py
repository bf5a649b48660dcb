"""`hangup report`: what a capture says, as a page to hand to somebody."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hangup.cli import new_file
from hangup.cli.capture import Capture, ReadsFiles, read_option
from hangup.cli.child import owner_of_files
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import FILE, filter_options
from hangup.cli.output import note
from hangup.cli.reporters.page.collected import Collected
from hangup.cli.reporters.page.content import Source, page
from hangup.cli.reporters.page.render import html
from hangup.cli.reporters.summary import left_out_text
from hangup.cli.verdict_options import verdict_options
from hangup.tracer.capture.names import name_of
from hangup.tracer.capture.reader import is_one_of
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter
from hangup.tracer.tracer import Tracer
from hangup.tracer.units import size
from hangup.tracer.verdicts import Kind

_STANDARD_OUTPUT = Path("-")


@click.command("report", cls=ReadsFiles)
@read_option(required=True)
@click.option(
    "-o",
    "--output",
    type=FILE,
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
    read: tuple[Path, ...],
    output: Path,
    force: bool,
    draw_all: bool,
    latent: bool,
    harmless: bool,
    verdicts: frozenset[Kind],
    wanted: Filter,
) -> int:
    """Write what a capture says as a page to hand to somebody.

    The page is one HTML file that loads nothing and runs nothing: how many connections failed and by which verdicts,
    when, how long after the hang-up, who talks to whom, and of each kind of alert the first three with both ends'
    operations as a sequence diagram, the next ten as a line each, and how many more there were. 300 are drawn at most;
    --all draws all of them. Times are UTC. FILTER (`hangup fields`) says which connections are looked at and counted.

    It needs no privileges, and nothing of the host on which the capture was made. The file is readable by its owner
    alone, which is whoever called sudo, as it names processes, users and paths: whoever may see these, give it to them.
    """
    if output != _STANDARD_OUTPUT:
        if is_one_of(output, *read):
            problem = f"{shown_path(output)} is the capture that is read"
            raise HangupError(problem, "name another file for the page")
        new_file.check(output, force=force)
    collected = Collected(draw_all=draw_all)
    with (
        Capture(read) as capture,
        Tracer(
            selection=wanted.selection_to_judge,
            only=wanted.rest,
            latent=latent,
            harmless=harmless,
            verdicts=verdicts,
            **capture.tracer_options(),
        ) as tracer,
    ):
        for alert in capture.alerts(tracer):
            collected.add(alert, tracer.clocks)
        ended = capture.ended(tracer)
    if ended.statistics.left_out:
        note(left_out_text(ended.statistics.left_out))
    names = [name_of(Path(path.name)) for path in read]
    source = Source(names, tracer.host, tracer.recorded.span or (0, 0))
    content = html(page(collected, ended, source)).encode()
    if output == _STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        new_file.write(output, content, force=force, owner=owner_of_files())
        written = shown_path(output)
        note(f"wrote {written} ({size(len(content))}), readable by you alone: it names processes, users and paths")
    return capture.end(ExitStatus.OK)
