"""`hangup`, and `python3 -m hangup`: the command, whose first line sees to it that Ctrl-C ends it quietly."""

from __future__ import annotations

# signal and typing take longer than all else here, and until it is done Ctrl-C shows a traceback.
import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # Nothing has been done yet that has to be undone (cli/interrupts.py).
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main() -> NoReturn:
    """Run the command with the arguments of this process."""
    # Not before the above.
    try:
        from hangup.cli.main import main  # noqa: PLC0415
    except ModuleNotFoundError as error:
        import sys  # noqa: PLC0415

        from hangup.tracer.errors import missing_module  # noqa: PLC0415

        missing = missing_module(error)
        if missing is None:
            raise
        sys.stderr.write(f"hangup: {missing}\n")
        sys.exit(missing.exit_status)
    main()


if __name__ == "__main__":
    main()
