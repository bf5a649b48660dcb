"""`hangup trace`: one line for each operation on a Unix connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal, get_args

import click

from hangup.cli import terminal
from hangup.cli.capture import Capture, capture_options
from hangup.cli.command_line import RunCommand, RunsCommand, command_options
from hangup.cli.ended import Ended
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import addresses_option, filter_options, json_option, run_options
from hangup.cli.output import Output, note
from hangup.cli.ready import Ready
from hangup.cli.reporters.line_format import FormattedLines, LineFormat, parsed
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.operation import OperationRows, operation_rows
from hangup.cli.reporters.operation_json import operation_lines
from hangup.cli.reporters.summary_json import summary_lines
from hangup.cli.reporters.sysdig import SysdigLines
from hangup.cli.reporters.times import ZEROS, Zero
from hangup.cli.run import run
from hangup.tracer.clocks import Clocks
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import BUFFER
from hangup.tracer.filter.filter import Filter
from hangup.tracer.kernel.probes import MOST_SNAPLEN
from hangup.tracer.record.layout import RecordType
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.places import Changed, Placed, Where
from hangup.tracer.tracer import Tracer
from hangup.tracer.units import counted

# So many lines are made and written at once: a batch may be of any size.
_LINES = 1024

_IDENTITY = int(RecordType.IDENTITY)

_where: Callable[[Placed], Where] = itemgetter(1)


Layout = Literal["text", "sysdig", "json"]

OperatedLines = Callable[[Sequence[Operated], Clocks], list[str]]
"""Given operations, and what makes wall-clock times of the records', returns the lines that can be printed."""


class _Printer:
    """Prints operations as they come, whole batches at a time."""

    def __init__(self, output: Output, capture: Capture, rows: OperationRows) -> None:
        self._output = output
        self._capture = capture
        self._rows = rows
        self.lines: OperatedLines = lambda _operated, _clocks: []
        """Makes the lines where there are not `rows`."""
        self.clocks = Clocks()
        """Makes wall-clock times of the operations'."""
        self.operations_told = 0
        self.changes_told = 0
        """How many operations, and changes of who did some, were printed or only counted."""
        self.after_batch()

    def operations(self, operated: Sequence[Operated]) -> None:
        """Print operations in another layout than the text."""
        for begin in range(0, len(operated), _LINES):
            some = operated[begin : begin + _LINES]
            self.print(self.lines(some, self.clocks))
            changes = sum(brief[0] == _IDENTITY for _, brief, _ in some)
            self.add(len(some) - changes, changes)

    def places(self, placed: Sequence[Placed]) -> None:
        """Print operations as lines of text."""
        self.print(self._rows(placed, self.clocks, self._width))
        self.count(placed)

    def count(self, placed: Sequence[Placed]) -> None:
        """Print nothing of them, and count them."""
        # Not by a line of Python for each, which is as much as an eightieth of all that is done for it.
        changes = list(map(type, map(_where, placed))).count(Changed)
        self.add(len(placed) - changes, changes)

    def add(self, operations: int, changes: int) -> None:
        """Print nothing, and count so many more."""
        self.operations_told += operations
        self.changes_told += changes

    @property
    def told(self) -> str:
        """How many there were, in words."""
        changes = counted(self.changes_told, "change of identity", "changes of identity")
        return counted(self.operations_told, "operation") + (f", {changes}" if self.changes_told else "")

    def print(self, lines: Sequence[str]) -> None:
        """Print these lines."""
        if lines:
            self._capture.progress.hide()
            self._output.line("\n".join(lines))

    def after_batch(self) -> None:
        """Hand over what was printed; see whether somebody reads it; look at the terminal again."""
        self._output.flush()
        self._output.require_reader()
        self._capture.show_progress()
        self._width = terminal.columns(self._output.file)


def _takers(printer: _Printer, *, is_shown: bool, is_text: bool, is_all: bool) -> dict[str, Any]:
    """Return what a Tracer is to call; is_all: whether everything passes that is recorded."""
    if is_shown:
        return {"on_places": printer.places} if is_text else {"on_operations": printer.operations}
    # Where all pass, nothing need be made of them.
    return {"on_count": printer.add} if is_all else {"on_places": printer.count}


def _line_format(ctx: click.Context, param: click.Parameter, text: str | None) -> LineFormat | None:
    try:
        return None if text is None else parsed(text)
    except FilterError as error:
        raise click.BadParameter(error.pointed, ctx, param) from None


class _Connection(click.IntRange):
    """A connection's number, as lines have it or without the #."""

    name = "number of a connection"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: Any = value.removeprefix("#") if isinstance(value, str) else value
        return super().convert(number, param, ctx)


def _require_times(line_format: LineFormat | None, *, as_json: bool) -> None:
    """Raise click.UsageError if no time that is printed is as -t has it."""
    if as_json:
        raise click.UsageError("-t changes nothing in JSON: its times are in UTC")
    if line_format is not None and not line_format.has("evt.outputtime"):
        raise click.UsageError("-t changes nothing in this -p: of times only %evt.outputtime is as -t has it")


def _wants_payload(wanted: Filter, line_format: LineFormat | None, *, is_recorded: bool) -> bool:
    """Return whether somebody asks for what is read and written. Raises click.UsageError if it is not recorded."""
    wants = BUFFER in wanted.names or (line_format is not None and line_format.has(BUFFER))
    if wants and not is_recorded:
        raise click.UsageError(f"{BUFFER} is what -s records, as in -s 80, which is not given")
    return wants


@click.command("trace", cls=RunsCommand, context_settings={"allow_interspersed_args": False})
@filter_options(Subject.OPERATIONS)
@run_options
@addresses_option
@click.option(
    "--format",
    "layout",
    type=click.Choice(get_args(Layout)),
    help="A line of text for each operation, as without it; sysdig's two lines, with the kernel's addresses; or JSON.",
)
@click.option(
    "-p",
    "line_format",
    metavar="FORMAT",
    callback=_line_format,
    help="Print each operation so: %FIELD stands for a field, %20FIELD for 20 characters of it; with a * before it all "
    "operations, not only those that have every field. `hangup fields` lists them.",
)
@click.option(
    "-t",
    "zero",
    type=click.Choice(ZEROS, case_sensitive=False),
    help="What times count from: the day, here (as without it) or in UTC; the first line; or the line before.",
)
@click.option(
    "-c",
    "connections",
    type=_Connection(1, (1 << 64) - 1),
    multiple=True,
    metavar="CONNECTION",
    help="Only this connection, by its number: 12, or '#12' as it is printed.",
)
@click.option(
    "-s",
    "--snaplen",
    type=click.IntRange(1, MOST_SNAPLEN),
    metavar="BYTES",
    help="Record the first BYTES of what is read and written, too, each time.",
)
@json_option
@capture_options("snaplen", "probes", "duration", "ready_file", "ready_fd", "follow", "command_line", alerts=False)
@command_options
def command(
    *,
    wanted: Filter,
    probes: str,
    duration: float | None,
    ready: Ready,
    addresses: bool,
    layout: Layout | None,
    line_format: LineFormat | None,
    zero: Zero | None,
    snaplen: int | None,
    as_json: bool,
    capture: Capture,
    quiet: bool,
    run_command: RunCommand,
) -> None:
    """Print every operation on a Unix connection.

    One line each, when it has ended: the time, the process (with /thread if that is another), the system call with
    its descriptor and what came of it, the number of the connection (#12; - if there is none), the process at the other
    end, and the path. On a terminal the last two are left out where they do not fit, but not the path where a
    connection begins; in a pipe they are always there. Operations are printed in the order they were recorded. It ends
    at Ctrl-C, SIGTERM, after --duration, with COMMAND, or with -r at the end of the capture (while that comes by a pipe
    only the second Ctrl-C ends it: the first one is for whoever writes).

    A process that changes its user or group ids or its capabilities, or executes another program (setuid(2), capset(2),
    execve(2) and the like) has a line of its own for that, once it was seen on a connection; what it had done of that
    before stands right before its first operation.

    FILTER says which operations are printed, as in sysdig: `evt.failed=true and proc.name=httpd`; `hangup fields` lists
    what it can ask for. With --format sysdig each operation is two lines, one where it began and one where it ended, in
    the layout and the order of sysdig's; they are held back for a second, for what began earlier to stand before them.

    With -s the first bytes of what is read and written are recorded as well, as they are in the process's memory when
    the call has ended: a line of text has them below it, `--format sysdig` has them as data=, and `evt.buffer contains
    'POST /'` asks for them. They are of every connection that the kernel selects, whatever else FILTER asks for, also
    in a capture: mind whose they are. Not recorded are those of io_uring, sendfile, splice, sendmmsg, recvmmsg and
    32-bit programs, and of a vector those behind its 8th part.

    COMMAND, with `--` between FILTER and it, is run as `hangup watch` does it, once the probes are attached: as the
    user who called sudo, with the environment as it is here. Signals are passed on to it, and SIGTERM after --duration.
    If it fails, its own status becomes hangup's. 125 is hangup's own failure, of whatever kind; 126 and 127 say that
    COMMAND could not be run.

    A capture of `watch` without --stream has the operations of connections that went wrong: the first and the last ones
    that the kernel had kept till then, and all from then on.
    """
    if sum([as_json, layout is not None, line_format is not None]) > 1:
        raise click.UsageError("of --json, --format and -p only one can be")
    as_json = as_json or layout == "json"
    has_payload = snaplen is not None or capture.is_read
    wants_payload = _wants_payload(wanted, line_format, is_recorded=has_payload)
    if zero is not None:
        _require_times(line_format, as_json=as_json)
    zero = zero or "local"
    output = Output()
    printer = _Printer(output, capture, operation_rows(addresses=addresses, zero=zero, payload=has_payload))
    sysdig = SysdigLines(zero=zero)
    # Nothing but the capture goes to standard output then.
    is_shown = not (quiet or capture.is_piped)
    # Who reads lines of text does not see how connections went.
    is_text = not as_json and layout != "sysdig" and line_format is None
    selection = wanted.selection_of_read if capture.is_read else run_command.selected(wanted.selection)
    status: int | None = None
    # The kernel then tells of nothing else.
    is_all = wanted.rest is None and selection.selects_all and not capture.is_read
    ended: Ended | None = None

    def say(how: str) -> None:
        if not as_json:
            note(f"tracing with {how}{run_command.until}")

    def after_batch() -> None:
        # What a capture holds is as old as it is: there later records say how far it has come.
        if tracer.ring is not None:
            printer.print(sysdig.ready(time.monotonic_ns(), printer.clocks))
        printer.after_batch()

    with (
        run_command,
        capture,
        capture.ends_when_full(),
        Tracer(
            selection=selection,
            only=wanted.rest,
            probes=probes,
            snaplen=snaplen or 0,
            on_run_end=lambda: printer.print(sysdig.end_run(printer.clocks)),
            **_takers(printer, is_shown=is_shown, is_text=is_text, is_all=is_all),
            **capture.tracer_options(),
        ) as tracer,
    ):
        printer.clocks = tracer.clocks
        if as_json:
            objects = operation_lines(payload=has_payload)
            printer.lines = lambda operated, clocks: objects(operated, clocks, tracer.cgroup)
        elif line_format is not None:
            printer.lines = FormattedLines(line_format, tracer.find_cgroup, zero=zero).lines
        else:
            printer.lines = sysdig.lines
        with capture.ends_when_full():
            status = run(
                tracer,
                on_alert=lambda _alert: None,
                after_batch=after_batch,
                on_ready=lambda: capture.begin(tracer, ready, say),
                duration=duration,
                command=run_command.words,
                starting=run_command.starting(),
                reads_pipe=lambda: capture.reads_pipe,
            )
        ended = capture.ended(tracer)
    printer.print(sysdig.rest(printer.clocks))
    output.flush()
    if wants_payload and not tracer.snaplen:
        note(f"no {BUFFER} in it: what is read or written was not recorded (trace -s)")
    if ended is not None and as_json:
        for line in summary_lines(ended):
            output.line(line)
        output.flush()
    elif ended is not None:
        if sysdig.late:
            note(f"{counted(sysdig.late, 'line')} later than in order: these calls lasted longer than is waited for")
        note(f"{printer.told}; {losses_text(ended.losses)}")
    click.get_current_context().exit(capture.end(status or ExitStatus.OK))
