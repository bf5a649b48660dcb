"""`hangup trace`: one line for each operation on a Unix connection."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from hangup.cli import terminal
from hangup.cli.ended import Ended
from hangup.cli.options import addresses_option, json_option, run_options, selection_options
from hangup.cli.output import Output, note
from hangup.cli.ready import Ready
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.operation import operation_row
from hangup.cli.reporters.operation_json import operation_line
from hangup.cli.reporters.summary_json import summary_lines
from hangup.cli.run import run
from hangup.tracer.clocks import Clocks
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Event
from hangup.tracer.selection import Selection
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Tracer
from hangup.tracer.units import counted

# A batch is written at once, but no more lines than these: it may be of any size.
_LINES = 1024


class _Printer:
    """Prints operations as they come, whole batches at a time."""

    def __init__(self, output: Output, *, as_json: bool, addresses: bool) -> None:
        self._output = output
        self._row = operation_row(addresses=addresses)
        self._json = operation_line() if as_json else None
        self.cgroup: Callable[[Event], Cgroup | None] = lambda _event: None
        """Finds the cgroup of who did an operation."""
        self.clocks = Clocks()
        """Makes wall-clock times of the operations'."""
        self.count = 0
        self._lines: list[str] = []
        self.after_batch()

    def operation(self, traced: Traced) -> None:
        """Print one operation."""
        if self._json:
            self._lines.append(self._json(traced, self.clocks, self.cgroup(traced.event)))
        else:
            self._lines.append(self._row(traced, self.clocks, self._width))
        if len(self._lines) >= _LINES:
            self._write()

    def _write(self) -> None:
        if self._lines:
            self._output.line("\n".join(self._lines))
            self.count += len(self._lines)
            self._lines.clear()

    def after_batch(self) -> None:
        """Hand over what was printed; see whether somebody reads it; look at the terminal again."""
        self._write()
        self._output.flush()
        self._output.require_reader()
        self._width = terminal.columns(self._output.file)


@click.command("trace")
@selection_options
@run_options
@addresses_option
@json_option
def command(
    *,
    selection: Selection,
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
    printer = _Printer(output, as_json=as_json, addresses=addresses)
    with Tracer(selection=selection, probes=probes, on_operation=printer.operation) as tracer:
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
