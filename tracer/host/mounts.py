"""What is mounted where: proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# mangle(), fs/proc_namespace.c: blank, tab, new line, backslash and # in octal.
_MANGLED = re.compile(rb"\\([0-3][0-7]{2})")


class Mount(NamedTuple):
    """One mount. Names are bytes, as the kernel has them."""

    root: bytes
    """What of the file system is mounted: / for all of it; of a namespace's file its name, net:[4026532200]."""
    point: bytes
    kind: bytes
    """The file system's type."""


def read_mounts(proc: Path) -> list[Mount]:
    """Return our mounts, in order, none if that cannot be read."""
    try:
        return list(parse((proc / "self" / "mountinfo").read_bytes()))
    except OSError:
        return []


def parse(mountinfo: bytes) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo file; a line that is none is left out.

    Only a new line ends one, and only a blank parts its fields: a mount's name may hold a carriage return.
    """
    for line in mountinfo.split(b"\n"):
        fields, _, rest = line.partition(b" - ")
        parts = fields.split(b" ")
        if len(parts) < 5:
            continue
        mount = Mount(_unmangled(parts[3]), _unmangled(parts[4]), _unmangled(rest.split(b" ", 1)[0]))
        # No file's name holds a NUL; one that did could not be opened.
        if not any(b"\0" in name for name in mount):
            yield mount


def _unmangled(name: bytes) -> bytes:
    return _MANGLED.sub(lambda match: bytes([int(match[1], 8)]), name)
