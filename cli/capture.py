"""What `watch` and `trace` have in common when they write a capture, or read one in the place of this host."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from hangup.cli import new_file
from hangup.cli.child import owner_of_files
from hangup.cli.ended import Ended
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import FILE, is_filter, seconds_of
from hangup.cli.output import note
from hangup.cli.progress import Progress
from hangup.cli.ready import Ready
from hangup.cli.run import first_interrupt_for
from hangup.tracer.capture.around import Around
from hangup.tracer.capture.files import File, Pipe
from hangup.tracer.capture.names import PIPE
from hangup.tracer.capture.reader import FileSource, is_there
from hangup.tracer.capture.rotation import Rotated, Series
from hangup.tracer.capture.writer import Output, WriteError, Writer
from hangup.tracer.escape import shown_path
from hangup.tracer.tracer import QUIET_SECONDS, Alert, Tracer

_UNITS = {"": 10**6, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST = 1 << 50

# What is to be written around an alert is around those that come so soon after it, too, in ns: in a storm of them not
# each one needs to be told.
_MARK_NS = 100_000_000

_DEFAULT_MEMORY = "64M"

READ = ("-r", "--read")
"""The option that names captures."""


class Capture:
    """The capture that is read or written, if one is, while the context lasts."""

    def __init__(
        self, read: tuple[Path, ...] = (), output: Output | None = None, name: str = "", *, begun: bytes = b""
    ) -> None:
        """read: the files; begun: what was read of the first one already. output: where to write, and its name."""
        self._read = read
        self._begun = begun
        self.is_read = bool(read)
        """Whether a capture is read in the place of this host."""
        self._name = name
        self._writer = Writer(output, name=name) if output else None
        self.is_piped = isinstance(output, Pipe)
        """Whether standard output is what is written to: nothing else may be."""
        self._is_around = isinstance(output, Around)
        self._marked: int | None = None
        self.source: FileSource | None = None
        """What is read; None: this host is watched."""
        self.progress = Progress()
        """How far it has been read; to be hidden before anything is printed."""
        self._opened = ExitStack()
        self._failed: WriteError | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Capture:
        """Open what is read. Raises HangupError if it is no capture that can be.

        From then on the first Ctrl-C does not end the reading of a pipe: see `first_interrupt_for`.
        """
        if self._read:
            self.source = self._opened.enter_context(closing(FileSource(*self._read, begun=self._begun)))
            self._opened.enter_context(first_interrupt_for(lambda: self.reads_pipe))
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        self.progress.hide()
        self._opened.close()

    def show_progress(self) -> None:
        """Show how far it has been read, if that takes long."""
        if self.source:
            self.progress.show(self.source.position, self.source.size)

    @property
    def reads_pipe(self) -> bool:
        """Whether what is read now is a pipe that has not come to its end."""
        return self.source is not None and self.source.is_pipe and not self.source.drained

    def tracer_options(self) -> dict[str, Any]:
        """Return what a Tracer has to be told of it."""
        if self.source:
            return {"source": self.source}
        return {"keep": self._writer} if self._writer else {}

    def begin(self, tracer: Tracer, ready: Ready, say: Callable[[str], None]) -> None:
        """Say that this host is watched from now on, if it is; ready: is told so, too. say: is told how."""
        if self.source:
            return
        self._began = time.monotonic()
        flavour = tracer.flavour or "capture"
        say(f"{flavour} ({len(tracer.functions)} functions)")
        ready.report(flavour)

    def ended(self, tracer: Tracer) -> Ended:
        """Return what there is to sum up: what was seen here, or where the capture was made."""
        seconds = tracer.recorded.nanoseconds / 10**9 if self.source else time.monotonic() - self._began
        return Ended(
            tracer.statistics,
            tracer.losses(),
            seconds,
            tracer.flavour,
            len(tracer.functions),
            interrupted=self.source is not None and self.source.interrupted,
        )

    def alerts(self, tracer: Tracer) -> Iterator[Alert]:
        """Yield all alerts of what is read, and show how far it has been read meanwhile."""
        while not tracer.exhausted:
            yield from tracer.poll(QUIET_SECONDS)
            self.show_progress()
        yield from tracer.alerts()
        self.progress.hide()

    def mark(self, when: int) -> None:
        """Take it that there was an alert, at a time in ns of CLOCK_MONOTONIC."""
        if self._writer and self._is_around and (self._marked is None or when - self._marked >= _MARK_NS):
            self._marked = when
            self._writer.mark(when)

    @contextmanager
    def ends_when_full(self) -> Iterator[None]:
        """Have what is inside end where the capture cannot be written any more; `end` raises that."""
        try:
            yield
        except WriteError as error:
            self._failed = self._failed or error

    def end(self, status: int) -> int:
        """Say what is wrong with the capture; return the status to end with, which is `status` if nothing is.

        Raises WriteError if it could not be written.
        """
        if self._failed:
            raise self._failed
        if self._is_around and self._marked is None:
            note(f"there was no alert: nothing was written to {shown_path(self._name)}")
        if self.source and self.source.interrupted:
            if self.source.is_pipe:
                note("interrupted: the pipe had not been read to its end")
            else:
                note(f"interrupted: {self.source.position / self.source.size:.0%} of the capture had been read")
        if self.source and self.source.damage:
            note(str(self.source.damage))
            return ExitStatus.DAMAGED
        return status


def readable(ctx: click.Context, param: click.Parameter, files: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
    """Return the files that an option or an argument names. Raises BadParameter where none can come."""
    pipes = (files if isinstance(files, tuple) else (files,)).count(PIPE)
    if pipes and os.isatty(0):
        raise click.BadParameter("standard input is a terminal, and no capture comes from there", ctx, param)
    if pipes > 1:
        raise click.BadParameter("standard input can be read only once, and - is there twice", ctx, param)
    return files


def read_option(*, required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option that names captures; required: the verb cannot look at this host."""
    what = "Read a capture" if required else "Read a capture in the place of this host"
    return click.option(
        *READ,
        "read",
        callback=readable,
        type=FILE,
        multiple=True,
        required=required,
        metavar="FILE",
        help=f"{what}, - from a pipe. There may be several, one behind the other; of a capture in several files FILE "
        "is the name without the numbers.",
    )


class Word(NamedTuple):
    """A word of a command line that is an argument, an option or an option's value."""

    place: int
    """Which of the words it is; of an option with its value the word of that."""
    option: click.Option | None
    """None: it is an argument, or of an option that there is not."""
    is_argument: bool

    @property
    def is_of_read(self) -> bool:
        """Whether it is the value of the option that names captures."""
        return self.option is not None and READ[0] in self.option.opts


def words_of(command: click.Command, args: Sequence[str]) -> Iterator[Word]:
    """Yield the words of a command line, with the options in every spelling: -r X, -rX, -qrX, --read X, --read=X."""
    options = {
        name: option
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    left = iter(enumerate(args))
    for place, word in left:
        if word == "--":
            return
        if not word.startswith("-") or word == str(PIPE):
            yield Word(place, None, is_argument=True)
            continue
        name, is_attached, _ = word.partition("=")
        if not word.startswith("--"):
            # Of several in one word only the last one has a value.
            at = next((at for at, letter in enumerate(word) if _has_value(options.get(f"-{letter}"))), len(word) - 1)
            name, is_attached = f"-{word[at]}", word[at + 1 :]
        option = options.get(name)
        value = next(left, None) if _has_value(option) and not is_attached else None
        yield Word(value[0] if value else place, option, is_argument=False)


def _has_value(option: click.Option | None) -> bool:
    return option is not None and not option.is_flag and not option.count


def is_file(word: str, *, is_behind: bool) -> bool:
    """Whether an argument is a capture, where -r names another one; is_behind: it stands right behind a capture."""
    return bool(word) and (is_there(Path(word)) or (is_behind and not is_filter(word)))


class ReadsFiles(click.Command):
    """A verb with `read_option`: `-r a.hup b.hup` is what a shell makes of `-r *.hup`, and means both."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, of which captures are files of -r, too, where that is given."""
        words = list(words_of(self, args))
        files: list[int] = []
        is_behind = False
        for word in words if any(word.is_of_read for word in words) else []:
            is_behind = is_file(args[word.place], is_behind=is_behind) if word.is_argument else word.is_of_read
            if word.is_argument and is_behind:
                files.append(word.place)
        read = [[READ[0], word] if place in files else [word] for place, word in enumerate(args)]
        return super().parse_args(ctx, [word for some in read for word in some])


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read a size: in millions of bytes, as tcpdump and sysdig have it, or with its unit (512K, 100M, 1G)."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([KMG]?)", value.strip())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 0 < size <= _LARGEST:
        raise click.BadParameter(f"{value!r} is not a size; write it like 100, 512K, 100M or 1G", ctx, param)
    return size


_WRITE_OPTIONS = (
    click.option(
        "-w",
        "--write",
        "write",
        type=FILE,
        metavar="FILE",
        help="Write a capture to this new file while showing what is seen; - writes it to standard output, and nothing "
        "else there.",
    ),
    click.option(
        "--force", is_flag=True, help="Replace the capture FILE, or FILE.00001 and so on, if it is there already."
    ),
    click.option(
        "-C",
        "--rotate-size",
        callback=_size,
        metavar="SIZE",
        help="Go on with another file (FILE.00001, ...) when one has this size: so many million bytes, or 512K, 1G.",
    ),
    click.option(
        "-G",
        "--rotate-time",
        callback=seconds_of,
        metavar="TIME",
        help="Go on with another file when one has been written for so long: 60, 5m, 1h.",
    ),
    click.option(
        "-W",
        "--rotate-count",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep only the last N of these files.",
    ),
)

_AROUND_OPTIONS = (
    click.option(
        "--around",
        callback=seconds_of,
        metavar="TIME",
        help="Write only what was recorded so long before an alert and after it, a file for each: FILE.00001, ...",
    ),
    click.option(
        "--around-memory",
        callback=_size,
        default=_DEFAULT_MEMORY,
        show_default=True,
        metavar="SIZE",
        help="As much of what came before is kept in memory for that.",
    ),
)

_quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show nothing but the summary.")


def capture_options(*not_with_read: str, alerts: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds -w, -r and what belongs to them; the verb gets them as one `capture`, and `quiet`.

    not_with_read: the verb's other parameters that make no sense when a capture is read. alerts: whether there are any,
    around which something may be written.
    """
    options = (*_WRITE_OPTIONS, *(_AROUND_OPTIONS if alerts else ()))

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_capture(*args: Any, **given: Any) -> Any:
            ctx = click.get_current_context()
            names = [name for name in _NAMES if name in given]
            written = {name: given.pop(name) for name in names}
            read = given.pop("read")
            if read:
                _refuse(ctx, (*names, *not_with_read), "is for watching this host, and -r reads a capture")
                capture = Capture(read)
            elif written["write"] is None:
                _refuse(ctx, names, "says how -w writes, which is not given")
                capture = Capture()
            else:
                _check_write(ctx, names, written["write"])
                name = "standard output" if written["write"] == PIPE else str(written["write"])
                capture = Capture((), _output(**written), name)
            return function(*args, capture=capture, **given)

        made = _quiet_option(with_capture)
        for option in reversed(options):
            made = option(made)
        return read_option()(made)

    return add


_NAMES = ("write", "force", "rotate_size", "rotate_time", "rotate_count", "around", "around_memory")


# What prints, or runs what may.
_PRINTING = ("as_json", "layout", "line_format", "command_line")


def _refuse(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise UsageError if one of these parameters was given."""
    for parameter in ctx.command.params:
        name = str(parameter.name)
        is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in names and is_given and ctx.params[name] != ():
            said = parameter.opts[-1] if isinstance(parameter, click.Option) else "COMMAND"
            raise click.UsageError(f"{said} {why}", ctx)


def _check_write(ctx: click.Context, names: Iterable[str], path: Path) -> None:
    """Raise UsageError if what was given beside -w cannot be."""
    if path == PIPE:
        _refuse(ctx, set(names) - {"write"}, "is for files, and -w - is a pipe")
        _refuse(ctx, _PRINTING, "would write to standard output, too, where -w - writes the capture")
        if os.isatty(1):
            raise click.UsageError("-w - writes to standard output, which is a terminal: let it be a pipe or a file")
    elif ctx.params.get("around") is not None:
        _refuse(ctx, ("rotate_size", "rotate_time"), "is for a capture of everything, and --around is given")
    else:
        _refuse(ctx, ("around_memory",), "is for --around, which is not given")
        if not (ctx.params["rotate_size"] or ctx.params["rotate_time"]):
            _refuse(ctx, ("rotate_count",), "says how many files are kept: with -C or -G there are several")


def _output(
    *,
    write: Path,
    force: bool,
    rotate_size: int | None,
    rotate_time: float | None,
    rotate_count: int | None,
    around: float | None = None,
    around_memory: int = 0,
) -> Output:
    """Return where the capture goes."""
    if write == PIPE:
        return Pipe()
    # Whether there may be a file is seen when it is made; what is none is never replaced.
    new_file.check(write, force=True)
    owner = owner_of_files()
    if around is None and rotate_size is None and rotate_time is None:
        return File(write, force=force, owner=owner)
    series = Series(write, force=force, count=rotate_count, owner=owner)
    if around is None:
        return Rotated(series, size=rotate_size, seconds=rotate_time)
    return Around(series, nanoseconds=round(around * 10**9), memory=around_memory)
