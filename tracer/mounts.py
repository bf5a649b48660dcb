"""What is mounted where: proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# mangle(), fs/proc_namespace.c: blank, tab, new line, backslash and # in octal.
_MANGLED = re.compile(rb"\\([0-7]{3})")


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
    """Yield the mounts of a mountinfo file."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        _, _, _, root, point, *_ = fields.split(b" ")
        yield Mount(_unmangled(root), _unmangled(point), _unmangled(rest.split(b" ", 1)[0]))


def _unmangled(name: bytes) -> bytes:
    return _MANGLED.sub(lambda match: bytes([int(match[1], 8)]), name)
