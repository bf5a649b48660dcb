"""What the files of one capture are called: FILE, or if there are several FILE.00001 and so on."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from hangup.tracer.capture.format import MAGIC
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path

PIPE = Path("-")
"""What names standard input, or standard output."""

# So many files are in the order in which a shell lists them.
_DIGITS = 5
_PADDED_BELOW = 10 ** (_DIGITS - 1)
# Whoever begins a file each second comes so far in four months. A date has eight digits.
_MOST_FIRST = 10_000_000


def name_of(path: Path) -> str:
    """Return what a capture that is read is called where something is said of it, escaped."""
    return "standard input" if path == PIPE else shown_path(path)


def numbered(path: Path, number: int) -> Path:
    """Return what the file of a number is called, from 1 on."""
    return path.with_name(f"{path.name}.{number:0{_DIGITS}d}")


def numbered_files(path: Path) -> list[Path]:
    """Return the files of a capture that has several, in their order; none if there are none.

    Somebody else may have put a number behind the name, a date (FILE.20261126) or a pid. One that is padded with zeros
    is ours; another one is if it follows the one before, or if it is the first: of many files only the last ones may be
    kept. Raises OSError if the folder cannot be read.
    """
    name = re.compile(rf"{re.escape(path.name)}\.([0-9]{{{_DIGITS}}}|[1-9][0-9]{{{_DIGITS},}})")
    with os.scandir(path.parent) as entries:
        found = sorted((int(match[1]), match[0]) for each in entries if (match := name.fullmatch(each.name)))
    files: list[Path] = []
    last = 0
    for number, each in found:
        if number < _PADDED_BELOW or number == last + 1 or (not files and number < _MOST_FIRST):
            files.append(path.parent / each)
            last = number
    return files


def make_way(path: Path, *, force: bool) -> None:
    """See that there is no capture of this name, of one file or of several, or with force remove it.

    Of both it would not be known which one is meant. Raises HangupError if there is one, OSError if it cannot be
    removed. What is no capture stays.
    """
    there = [path] if os.path.lexists(path) else []
    # Whoever may write to a folder need not be allowed to list it.
    with suppress(PermissionError):
        there += numbered_files(path)
    for file in there:
        if not _is_capture(file):
            raise HangupError(f"{shown_path(file)} is there already and is no capture", "name a new one")
    if there and not force:
        raise HangupError(f"there is a file {shown_path(there[0])} already", "name a new one, or say --force")
    for file in there:
        # Another file comes, not the old one anew: whoever has that open must not read the new one.
        file.unlink()


def _is_capture(path: Path) -> bool:
    """Whether it is a file that begins as a capture, as far as it goes: nothing may have been written to it."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with path.open("rb") as file:
        return MAGIC.startswith(file.read(len(MAGIC)))
