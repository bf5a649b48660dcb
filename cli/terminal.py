"""The one place that knows the terminal: its width, its colours, and what to do without one.

On a terminal a table is as wide as the terminal and long cells are folded. In a pipe or a file nothing is folded or
cut, so that a line stays a line for whoever reads it, and nothing is coloured (rich honours NO_COLOR and TERM=dumb on
a terminal). Text from traced processes is given to rich as `rich.text.Text`, never as a string: rich would take
square brackets in a string for its own markup.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wider than any line can get; a path has at most 108 bytes, each spelled with at most 4 characters.
UNFOLDED_WIDTH = 1 << 16


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Return a console for standard output or `file`; `width` (columns) is for tests.

    rich is imported here: `--json` and `--help` do without it.
    """
    from rich.console import Console  # noqa: PLC0415

    stream = file or sys.stdout
    if width is None and not stream.isatty():
        width = UNFOLDED_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def plain_table() -> Table:
    """Return an empty table in the house style: no frame, a bold heading, two blanks between columns."""
    from rich.table import Table  # noqa: PLC0415

    return Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def print_table(console: Console, table: Table) -> None:
    """Print a table, in a pipe without the blanks that fill up its last column."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


Paint = Callable[[str, str], str]
"""Given a style and a text, returns the text in that style."""

# ECMA-48 select graphic rendition; what rich calls these styles too.
_CODES = {"bold": "1", "dim": "2", "bold red": "1;31", "bold yellow": "1;33", "yellow": "33"}


def plain(_style: str, text: str) -> str:
    """Return the text as it is."""
    return text


def colour(style: str, text: str) -> str:
    """Return the text in a style, for a terminal."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def painter(file: IO[str]) -> Paint:
    """Return what paints text for this file: with styles on a terminal that has them and wants them (no-color.org).

    This is for what must be shown at once: rich takes milliseconds for a block, and a second to be imported in a guest.
    """
    wanted = file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
    return colour if wanted else plain


def columns(file: IO[str]) -> int:
    """Return how wide the file's terminal is now; without a terminal, wider than any line."""
    if not file.isatty():
        return UNFOLDED_WIDTH
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
