"""The file source: the records of one capture, of one file or of several, or of a pipe."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from hangup.tracer.capture.format import FormatError, OtherVersionError, Told
from hangup.tracer.capture.names import PIPE, name_of, numbered_files
from hangup.tracer.capture.parser import Parser
from hangup.tracer.errors import HangupError

# Whoever writes a pipe lets records lie for a second (BLOCK_SECONDS, writer.py): what was recorded together with those
# that have come has come after so long.
_SILENT_SECONDS = 2.0

# So much is read at a time.
_AT_ONCE = 1 << 18

_REMEDY = "name a capture file"


class NoCaptureError(HangupError):
    """Nothing of a file can be read: it is no capture, or of a version that is not known."""

    exit_status = 65


class Damage(NamedTuple):
    """Where a capture ceases to be one."""

    path: Path
    offset: int
    """Where the block, or the header, begins that is not whole: in bytes from the beginning of the file."""
    what: str
    """What is wrong, in words that follow upon "it was cut short"."""
    files_left: int
    """How many files after it were not read."""

    def __str__(self) -> str:
        left = f"; {self.files_left} more not read" if self.files_left else ""
        return f"{name_of(self.path)} can be read up to byte {self.offset}: {self.what}{left}"


class FileSource:
    """The records of a capture: of some files one after the other, each of which stands on its own.

    Those of a pipe come when they are written, by a hangup that may still be running.
    """

    def __init__(self, *paths: Path, begun: bytes = b"") -> None:
        """Open the first file, or PIPE. Raises HangupError if it is no capture that can be read.

        A path that is not there, but is with numbers behind it (names.py), stands for all of these in their order.
        begun: how the first begins, if that was read already and is not to be had again.
        """
        # What is read would have been shown, before it was found that the next one is not there.
        check_names(*paths)
        self.damage: Damage | None = None
        """Where the capture ceases to be one; None: it has not been found to. Nothing is read from there on."""
        self._left = [file for path in paths for file in _files_of(path)]
        self.size = sum(map(_size_of, self._left))
        """Bytes of all files; of a pipe 0."""
        self.position = 0
        """How many of them have been read."""
        self.interrupted = False
        """Whether it was stopped before its end."""
        self._parser = Parser()
        self._descriptor: int | None = None
        self._path = PIPE
        self._is_pipe = False
        self._heard = 0.0
        self._wakes: int | None = None
        self._ended = False
        self._is_of_other_version = False
        # What was read of the first file to see that it is one.
        self._ahead: list[bytes] | None = None
        try:
            self._open_next()
            self._take_in(begun)
            while self._parser.record_version is None and not self._ended:
                self._ahead = self._step(None)
        except BaseException:
            self.close()
            raise
        if self.damage and not self.damage.offset:
            raise NoCaptureError(
                f"cannot read {name_of(self._path)}: at its byte 0, {self.damage.what}",
                "read it with the hangup that wrote it, or a later one"
                if self._is_of_other_version
                else "name a file that hangup has written with -w",
            )

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open, if one is."""
        # Standard input is not ours.
        if self._descriptor:
            os.close(self._descriptor)
        self._descriptor = None
        self._ended = True

    def wake_by(self, descriptor: int) -> None:
        """Let whatever comes to be read from this descriptor end the waiting for a pipe."""
        self._wakes = descriptor

    def stop(self) -> None:
        """Take it that this is the end."""
        self.interrupted = not self._ended
        self._ended = True

    def opening(self) -> Sequence[bytes]:
        """Return nothing: it stands at the beginning of the file."""
        return ()

    def read(self, timeout: float) -> list[bytes]:
        """Return some thousand records, none at the end. A pipe may make wait, for `timeout` seconds at most.

        Raises HangupError if the file cannot be read any more.
        """
        if self._ended:
            return []
        records, self._ahead = self._ahead, None
        while not records and not self._ended:
            records = self._step(timeout)
            if records is None:
                break
        return records or []

    @property
    def told(self) -> Told:
        """Whether the records that were read last had been told before."""
        return self._parser.told

    @property
    def drained(self) -> bool:
        """Whether it has been read to its end, or to where it is damaged."""
        return self._ended

    @property
    def is_pipe(self) -> bool:
        """Whether what is read now is a pipe."""
        return self._is_pipe

    @property
    def silent(self) -> bool:
        """Whether a pipe has given nothing for so long that nothing more comes of what had been recorded by then."""
        return self._is_pipe and time.monotonic() - self._heard >= _SILENT_SECONDS

    def counts(self) -> Sequence[bytes]:
        """Return nothing: what was counted stands in the file."""
        return ()

    def losses(self) -> Sequence[bytes]:
        """Return nothing: what was lost stands in the file."""
        return ()

    def _step(self, timeout: float | None) -> list[bytes] | None:
        """Return some records, or none yet; None: a pipe had nothing to be read for `timeout` seconds.

        timeout: None: it is waited for ever.
        """
        try:
            records = self._parser.take()
            if records is None:
                if not self._is_readable(timeout):
                    return None
                data = self._read()
                self._take_in(data)
                if not data:
                    self._parser.end()
                    self._open_next()
        except FormatError as error:
            self.damage = Damage(self._path, self._parser.offset, str(error), len(self._left))
            self._is_of_other_version = isinstance(error, OtherVersionError)
            self._ended = True
            return []
        return records or []

    def _open_next(self) -> None:
        if not self._left:
            self._ended = True
            return
        self.close()
        self._ended = False
        self._path = self._left.pop(0)
        self._parser = Parser()
        try:
            self._descriptor = 0 if self._path == PIPE else os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._descriptor).st_mode
        except OSError as error:
            self._fail(error, _REMEDY)
        self._is_pipe = not stat.S_ISREG(mode)

    def _is_readable(self, timeout: float | None) -> bool:
        if not self._is_pipe or self._descriptor is None:
            return True
        readable = select.poll()
        for descriptor in (self._descriptor, self._wakes):
            if descriptor is not None:
                readable.register(descriptor, select.POLLIN)
        found = readable.poll(None if timeout is None else timeout * 1000)
        return any(descriptor == self._descriptor for descriptor, _ in found)

    def _read(self) -> bytes:
        assert self._descriptor is not None
        try:
            data = os.read(self._descriptor, max(_AT_ONCE, self._parser.wanted))
        except OSError as error:
            self._fail(error, "is its disk still there?")
        return data

    def _take_in(self, data: bytes) -> None:
        self._parser.feed(data)
        self.position += len(data)
        self._heard = time.monotonic()

    def _fail(self, error: OSError, remedy: str) -> NoReturn:
        raise _cannot_read(self._path, error, remedy) from None


def check_names(*paths: Path) -> None:
    """Raise HangupError if one of some captures, or a file of one that has several, is not there to be read."""
    for file in [file for path in paths for file in _files_of(path) if file != PIPE]:
        try:
            if stat.S_ISDIR(file.stat().st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not os.access(file, os.R_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise _cannot_read(file, error, _REMEDY) from None


def is_there(path: Path) -> bool:
    """Whether a capture of this name is there, of one file or of several, or it is a pipe."""
    return path == PIPE or any(os.path.lexists(file) and not file.is_dir() for file in (path, *_numbered(path)))


def is_one_of(file: Path, *paths: Path) -> bool:
    """Whether a file, by whatever name, is one of some captures', or standard input of which one is read."""
    with suppress(OSError):
        found = file.lstat()
        return any(
            os.path.samestat(found, os.fstat(0) if each == PIPE else each.stat())
            for path in paths
            for each in _files_of(path)
        )
    return False


def _cannot_read(path: Path, error: OSError, remedy: str) -> HangupError:
    if isinstance(error, PermissionError):
        remedy = "read it with sudo, or let its owner give it to you (chown)"
    return HangupError(f"cannot read {name_of(path)} ({error.strerror})", remedy)


def _files_of(path: Path) -> list[Path]:
    """Return the files that a name stands for; whether they are there is another question.

    Raises HangupError if it may be one file or several.
    """
    files = _numbered(path)
    if files and os.path.lexists(path):
        raise HangupError(
            f"{name_of(path)} may be the file of that name or {name_of(Path(files[0].name))} and those after it",
            "move it or them to another name",
        )
    return files or [path]


def _numbered(path: Path) -> list[Path]:
    with suppress(OSError):
        return [] if path == PIPE else numbered_files(path)
    return []


def _size_of(path: Path) -> int:
    with suppress(OSError):
        return 0 if path == PIPE else path.stat().st_size
    return 0
