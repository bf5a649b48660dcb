"""The frame of the `hangup` command: finds the verb, and turns whatever goes wrong into one line and a status.

A verb is a module of `cli.commands` whose click command is called `command`. Only the verb that is asked for is
imported: on a slow machine the imports are most of the start.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from hangup.cli.exit_status import ExitStatus
from hangup.cli.interrupts import Interrupts
from hangup.tracer.errors import HangupError, missing_module
from hangup.tracer.version import VERSION

# Each verb's line of help stands here as well, so that `hangup --help` imports none of them; a test compares.
VERBS = {
    "watch": "Explain every connection that ends in a hang-up.",
    "trace": "Print every operation on a Unix connection.",
    "peers": "List every Unix connection with the processes at both ends.",
    "fields": "List what filters can ask for.",
    "report": "Write what a capture says as a page to hand to somebody.",
    "diff": "Compare what failed before a change with what fails after it.",
    "explain": "Say what a verdict means and what to do about it.",
    "serve": "Watch for good, as a systemd service.",
    "doctor": "Say what this host has and lacks, and what to do about it.",
}


# What goes wrong in these has a status that is not taken for the COMMAND's, which may be any of the usual ones.
_RUN_A_COMMAND = ("watch", "trace")


# A full disk below the output is nobody's fault here.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Frame(click.Group):
    """The group of verbs. `main` never returns, and shows no traceback unless HANGUP_TRACEBACK is set."""

    _verb: str | None = None
    """What was asked for, once that is known."""
    _interrupts = Interrupts()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the verbs in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module and return its command. Raises UsageError, with a suggestion, if there is none."""
        if cmd_name not in VERBS:
            if not ctx.resilient_parsing:
                # Imported only when somebody mistyped.
                from hangup.cli.suggestion import did_you_mean  # noqa: PLC0415

                near = did_you_mean(cmd_name, VERBS)
                ctx.fail(f"there is no command {cmd_name!r}{near or ' (`hangup --help` lists them)'}")
            return None
        command = import_module(f"hangup.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        self._interrupts.take()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the exit statuses."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status.value), status.meaning) for status in ExitStatus])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,  # noqa: ARG002 - the same however it was called
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - it always is
        windows_expand_args: bool = True,  # noqa: ARG002
        **extra: Any,
    ) -> NoReturn:
        """Run the verb that the arguments name, and exit."""
        # click's own standalone mode answers a broken pipe with status 1, and that is a command's.
        run = super().main
        _open_what_is_closed()
        _buffer_output()
        for stream in (sys.stdout, sys.stderr):
            # A locale that lacks a character of somebody's path is no reason to stop.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self._verb = None
        interrupts = self._interrupts = Interrupts()
        try:
            status = self._status_of(lambda: run(args, "hangup", complete_var, standalone_mode=False, **extra))
            interrupts.leave()
        except KeyboardInterrupt:
            # It came where click does not look for it, as while it was said what had gone wrong.
            status = ExitStatus.INTERRUPTED
            interrupts.leave()
        sys.exit(interrupts.status(status))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; whatever goes wrong from here on is that one's."""
        self._verb = args[0]
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments; it is here that --help prints."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:
            _abandon_output()
            raise click.exceptions.Exit(ExitStatus.BROKEN_PIPE) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb, and see to it that the reader has everything before success is reported."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_output()
            ctx.exit(ExitStatus.BROKEN_PIPE)
        return result

    def _status_of(self, run: Callable[[], Any]) -> int:
        """Run the command; return the status to end with, having said in one line what went wrong, if anything did."""
        try:
            result = run()
        except click.ClickException as error:
            error.show()
            return self._failed(ExitStatus.USAGE)
        except click.Abort:
            # click makes it of Ctrl-C, in a verb that does not handle that itself.
            return ExitStatus.INTERRUPTED
        except HangupError as error:
            _complain(str(error), error)
            return error.exit_status
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (missing := missing_module(error)):
                _complain(str(missing), error)
                return missing.exit_status
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                # Or what waits to be written would fail once more when Python ends, with a traceback.
                _abandon_output()
                _complain(f"cannot write: {os.strerror(error.errno)}", error)
                return ExitStatus.CANNOT_RUN
            # Whatever it is, the text may quote what a traced process chose.
            text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()
            printable = "".join(character for character in text if character.isprintable())
            _complain(
                f"a fault of hangup itself ({type(error).__name__}: {printable}): "
                "please report it with the output of the same command under HANGUP_TRACEBACK=1",
                error,
            )
            return self._failed(ExitStatus.FAULT)
        return result if isinstance(result, int) else ExitStatus.OK

    def _failed(self, status: ExitStatus) -> ExitStatus:
        return ExitStatus.CANNOT_RUN if self._verb in _RUN_A_COMMAND else status


def _complain(line: str, error: BaseException) -> None:
    if os.environ.get("HANGUP_TRACEBACK"):
        traceback.print_exception(error)
    click.echo(f"hangup: {line}", err=True)


def _open_what_is_closed() -> None:
    """Open /dev/null in the place of each standard stream that is closed: whatever is opened next would be it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free. A COMMAND has it, too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # They are None if they were closed at the start.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _buffer_output() -> None:
    """Buffer standard output where PYTHONUNBUFFERED or -u has it written straight to its descriptor.

    There a write that a full disk or a reader who goes away has cut short is not gone on with, and raises nothing.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout.flush()
        sys.stdout = open(sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115


def _abandon_output() -> None:
    """Keep the interpreter from writing what is still buffered to a pipe that nobody reads, or to a full disk."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        return


@click.group(
    cls=Frame,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, "--version", message="hangup %(version)s")
def hangup() -> None:
    """Say who hung up on whom: a live tracer for Unix-domain connections."""


def main() -> NoReturn:
    """Run the command with the arguments of this process."""
    hangup.main()
    raise AssertionError("Frame.main never returns")


if __name__ == "__main__":
    main()
