"""How hangup tells whoever started it that it watches now: a file, or a descriptor, and no sleeping.

What is written is one line: the pid, and how the probes are attached. The file appears whole, by being renamed; a
file that an earlier run left there is removed at the start, so that it cannot be taken for this run's.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from hangup.tracer.escape import shown_path


class Ready:
    """A file and a descriptor to report to; either may be missing."""

    def __init__(self, path: Path | None = None, descriptor: int | None = None) -> None:
        """Check both, and remove an older file. Raises click.UsageError."""
        self._path = path
        self._descriptor = descriptor
        if descriptor is not None:
            try:
                os.fstat(descriptor)
            except OSError:
                raise click.UsageError(f"--ready-fd: descriptor {descriptor} is not open") from None
        if path is None:
            return
        shown = shown_path(path)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise click.UsageError(f"--ready-file: {shown} is no ordinary file; use --ready-fd for anything else")
            path.unlink()
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise click.UsageError(f"--ready-file: there is no directory {shown_path(path.parent)}") from None
        except OSError as error:
            raise click.UsageError(f"--ready-file: cannot replace {shown} ({error.strerror})") from None

    def report(self, flavour: str) -> None:
        """Say that all that happens from now on is seen."""
        line = f"{os.getpid()} {flavour}\n"
        if self._path is not None:
            try:
                _write(self._path, line)
            except OSError as error:
                message = f"--ready-file: cannot write {shown_path(self._path)} ({error.strerror})"
                raise click.UsageError(message) from None
        if self._descriptor is not None:
            try:
                os.write(self._descriptor, line.encode())
            except OSError as error:
                message = f"--ready-fd: cannot write to descriptor {self._descriptor} ({error.strerror})"
                raise click.UsageError(message) from None
            # Who reads to the end is served as well; but standard output and error are still needed.
            if self._descriptor > 2:
                os.close(self._descriptor)
            self._descriptor = None


def _write(path: Path, line: str) -> None:
    # It brings the compressors along (shutil), and most starts have no such file.
    import tempfile  # noqa: PLC0415

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
            # It says nothing secret, and who waits for it is often not root.
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
