"""`hangup trace`: one line for each operation on a Unix connection."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from hangup.cli import terminal
from hangup.cli.ended import Ended
from hangup.cli.options import addresses_option, filter_options, json_option, run_options
from hangup.cli.output import Output, note
from hangup.cli.ready import Ready
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.operation import operation_rows
from hangup.cli.reporters.operation_json import CgroupOf, operation_lines
from hangup.cli.reporters.summary_json import summary_lines
from hangup.cli.run import run
from hangup.tracer.clocks import Clocks
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import Filter
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.places import Placed
from hangup.tracer.tracer import Tracer
from hangup.tracer.units import counted

# So many lines are made and written at once: a batch may be of any size.
_LINES = 1024


class _Printer:
    """Prints operations as they come, whole batches at a time."""

    def __init__(self, output: Output, *, addresses: bool) -> None:
        self._output = output
        self._rows = operation_rows(addresses=addresses)
        self._objects = operation_lines()
        self.cgroup: CgroupOf = lambda _cgroup_id, _pid: None
        """Finds the cgroup of who did an operation."""
        self.clocks = Clocks()
        """Makes wall-clock times of the operations'."""
        self.count = 0
        self.after_batch()

    def operations(self, operated: Sequence[Operated]) -> None:
        """Print operations as JSON."""
        for begin in range(0, len(operated), _LINES):
            self._print(self._objects(operated[begin : begin + _LINES], self.clocks, self.cgroup))

    def places(self, placed: Sequence[Placed]) -> None:
        """Print operations as lines of text."""
        self._print(self._rows(placed, self.clocks, self._width))

    def _print(self, lines: Sequence[str]) -> None:
        if lines:
            self._output.line("\n".join(lines))
        self.count += len(lines)

    def after_batch(self) -> None:
        """Hand over what was printed; see whether somebody reads it; look at the terminal again."""
        self._output.flush()
        self._output.require_reader()
        self._width = terminal.columns(self._output.file)


@click.command("trace")
@filter_options(Subject.OPERATIONS)
@run_options
@addresses_option
@json_option
@click.argument("filter_text", metavar="[FILTER]", required=False)
def command(
    *,
    wanted: Filter,
    probes: str,
    duration: float | None,
    ready: Ready,
    addresses: bool,
    as_json: bool,
) -> None:
    """Print every operation on a Unix connection.

    One line each, when it has ended: the time, the process (with /thread if that is another), the system call with
    its descriptor and what came of it, the number of the connection (#12; - if there is none), the process at the other
    end, and the path. On a terminal the last two are left out where they do not fit, but not the path where a
    connection begins; in a pipe they are always there. Operations are printed in the order they were recorded. It ends
    at Ctrl-C, SIGTERM or after --duration.
    """
    output = Output()
    printer = _Printer(output, addresses=addresses)
    # Who reads lines does not see how connections went.
    with Tracer(
        selection=wanted.selection,
        only=wanted.rest,
        probes=probes,
        on_operations=printer.operations if as_json else None,
        on_places=None if as_json else printer.places,
    ) as tracer:
        began = time.monotonic()
        printer.cgroup = tracer.cgroup
        printer.clocks = tracer.clocks

        def attached() -> None:
            flavour = tracer.flavour or "capture"
            if not as_json:
                note(f"tracing with {flavour} ({len(tracer.functions)} functions); Ctrl-C ends")
            ready.report(flavour)

        run(
            tracer,
            on_alert=lambda _alert: None,
            after_batch=printer.after_batch,
            on_ready=attached,
            duration=duration,
        )
        ended = Ended(
            tracer.statistics, tracer.losses(), time.monotonic() - began, tracer.flavour, len(tracer.functions)
        )
    if as_json:
        for line in summary_lines(ended):
            output.line(line)
        output.flush()
    else:
        note(f"{counted(printer.count, 'operation')}; {losses_text(ended.losses)}")
