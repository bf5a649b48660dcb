"""What the files of one capture are called: FILE, or if there are several FILE.00001 and so on."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path

PIPE = Path("-")
"""What names standard input, or standard output."""

# So many files are in the order in which a shell lists them.
_DIGITS = 5


def name_of(path: Path) -> str:
    """Return what a capture that is read is called where something is said of it, escaped."""
    return "standard input" if path == PIPE else shown_path(path)


def numbered(path: Path, number: int) -> Path:
    """Return what the file of a number is called, from 1 on."""
    return path.with_name(f"{path.name}.{number:0{_DIGITS}d}")


def numbered_files(path: Path) -> list[Path]:
    """Return the files of a capture that has several, in their order; none if there are none.

    Raises OSError if the folder cannot be read.
    """
    name = re.compile(rf"{re.escape(path.name)}\.(\d{{{_DIGITS},}})")
    with os.scandir(path.parent) as entries:
        found = [(int(match[1]), match[0]) for each in entries if (match := name.fullmatch(each.name))]
    return [path.parent / each for _, each in sorted(found)]


def make_way(path: Path, *, force: bool) -> None:
    """See that there is no capture of this name, of one file or of several, or with force remove it.

    Of both it would not be known which one is meant. Raises HangupError if there is one, OSError if it cannot be
    removed. What is no file stays.
    """
    there = [path] if os.path.lexists(path) else []
    # Whoever may write to a folder need not be allowed to list it.
    with suppress(PermissionError):
        there += numbered_files(path)
    for file in there:
        if not (force and stat.S_ISREG(file.lstat().st_mode)):
            raise HangupError(f"there is a file {shown_path(file)} already", "name a new one, or say --force")
    for file in there:
        # Another file comes, not the old one anew: whoever has that open must not read the new one.
        file.unlink()
