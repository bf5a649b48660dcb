"""The COMMAND of `watch` and `trace`: which words of the command line it is, and how it alone is looked at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from hangup.cli.capture import READ, is_file, words_of
from hangup.cli.child import look_up
from hangup.cli.follow import Followed
from hangup.cli.options import is_filter
from hangup.tracer.filter.filter import Filter
from hangup.tracer.selection import Selection

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class RunsCommand(click.Command):
    """A verb with the arguments [FILTER] [--] [COMMAND ...]; options may stand on both sides of FILTER."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments: a filter is one of -f, a capture one of -r if that is given, the rest is COMMAND."""
        while option := self._option_for(ctx, args):
            place, name = option
            args = [*args[:place], name, *args[place:]]
        return super().parse_args(ctx, args)

    def _option_for(self, ctx: click.Context, args: list[str]) -> tuple[int, str] | None:
        """Return where COMMAND would begin, and of which option its first word is; None: it is COMMAND."""
        # It takes away from the list what it reads.
        found, _, _ = self.make_parser(ctx).parse_args(list(args))
        words = found.get("command_line")
        # Where there are none versions of click say so in different ways.
        if not isinstance(words, list | tuple) or not words:
            return None
        place = len(args) - len(words)
        if args[:place][-1:] == ["--"]:
            return None
        if not isinstance(found.get("read"), list):
            return (place, "-f") if is_filter(words[0]) else None
        # Where a capture is read there can be no COMMAND: what is wrong with it is wrong with a filter.
        *_, last = words_of(self, args[:place])
        return place, READ[0] if is_file(words[0], is_behind=last.is_of_read) else "-f"


class RunCommand:
    """COMMAND, and the cgroup that it is started in while the context lasts, if only its connections are wanted."""

    def __init__(self, words: tuple[str, ...], *, follow: bool) -> None:
        """words: none where there is no COMMAND. Nothing happens yet."""
        self.words = words
        self._followed = Followed() if follow else None

    def __enter__(self) -> RunCommand:
        """Make the cgroup. Raises HangupError if that cannot be done."""
        if self._followed:
            self._followed.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: TracebackType | None) -> None:
        if self._followed:
            self._followed.__exit__(kind, value, traceback)

    def selected(self, selection: Selection) -> Selection:
        """Return a selection, and of that only what is COMMAND's, if that is wanted."""
        return replace(selection, cgroups=(self._followed.path,)) if self._followed else selection

    def starting(self) -> AbstractContextManager[None]:
        """Return the context that it is started within."""
        return self._followed.starting() if self._followed else nullcontext()

    @property
    def until(self) -> str:
        """When the run ends, in words that follow what is done till then."""
        return f" while {self.words[0]} runs" if self.words else "; Ctrl-C ends"


def command_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --follow and the arguments of a RunsCommand; the verb gets `run_command`."""

    @click.option(
        "--follow",
        is_flag=True,
        help="Only connections of COMMAND and of what it starts: these get a cgroup of their own.",
    )
    @click.argument(
        "command_line",
        metavar="[FILTER] [--] [COMMAND ...]",
        nargs=-1,
        type=click.UNPROCESSED,
        shell_complete=_complete_file,
    )
    @wraps(function)
    def with_command(*args: Any, wanted: Filter, follow: bool, command_line: tuple[str, ...], **rest: Any) -> Any:
        if command_line:
            look_up(command_line[0])
        elif follow:
            raise click.UsageError("--follow is for a COMMAND, and there is none")
        if follow and wanted.selection.cgroups:
            raise click.UsageError("--follow selects by the cgroup that it makes, and another is named")
        return function(*args, wanted=wanted, run_command=RunCommand(command_line, follow=follow), **rest)

    return with_command


def _complete_file(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete COMMAND's words as file names."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when a shell asks

    return [CompletionItem(incomplete, type="file")]
