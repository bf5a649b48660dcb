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
    from hangup.cli.main import main  # noqa: PLC0415 - not before the above

    main()


if __name__ == "__main__":
    main()
