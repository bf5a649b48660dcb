"""What the files of one capture are called: FILE, or if there are several FILE.00001 and so on."""

from __future__ import annotations

import re
from pathlib import Path

PIPE = Path("-")
"""What names standard input, or standard output."""

# So many files are in the order in which a shell lists them.
_DIGITS = 5


def numbered(path: Path, number: int) -> Path:
    """Return what the file of a number is called, from 1 on."""
    return path.with_name(f"{path.name}.{number:0{_DIGITS}d}")


def numbered_files(path: Path) -> list[Path]:
    """Return the files of a capture that has several, in their order; none if there are none.

    Raises OSError if the folder cannot be read.
    """
    name = re.compile(rf"{re.escape(path.name)}\.(\d{{{_DIGITS},}})")
    found = [(int(match[1]), each) for each in path.parent.iterdir() if (match := name.fullmatch(each.name))]
    return [each for _, each in sorted(found)]
