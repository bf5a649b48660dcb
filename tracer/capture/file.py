"""A capture file: the records of a source as they came, to be read elsewhere.

It is a line of JSON (what it is, and the records' version) and then the records (bpf/record.h), each of which begins
with its own length. The last one says that nothing is missing behind it (RECORD_END).
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import IO, TypeVar

from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import is_end, is_whole, pack_end
from hangup.tracer.source import Source

_MAGIC = "hangup capture"
_HEADER_MAX = 4096
# So much is read at a time.
_BLOCK = 1 << 20
_BATCH = 4096
_LENGTH = struct.Struct("<I")

_Records = TypeVar("_Records", bound=Sequence[bytes])


class FileSource:
    """The records of a capture file."""

    def __init__(self, path: Path) -> None:
        """Open a capture; HangupError if it is none, or of another version."""
        self._path = path
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise HangupError(f"cannot read {path} ({error.strerror})", "name a capture file") from None
        try:
            header = json.loads(self._file.readline(_HEADER_MAX))
            known = header.get("format") == _MAGIC
        except (OSError, ValueError, AttributeError, RecursionError):
            known = False
        if not known:
            self._file.close()
            raise HangupError(f"{path} is not a hangup capture", "name a file that hangup has written")
        version = header.get("version")
        if version != record.VERSION:
            self._file.close()
            # Whatever else somebody may have put there is not for the terminal.
            named = version if isinstance(version, int) and 0 < version < 1000 else "unknown"
            raise HangupError(
                f"{path} has records of version {named}, this hangup reads {record.VERSION}",
                "read it with the hangup that wrote it",
            )
        self.truncated = False
        """Whether the file was cut short, or goes on with what is no record: nothing is read from there on."""
        self._ended = False
        self._rest = b""

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def opening(self) -> Sequence[bytes]:
        """Return nothing: it stands at the beginning of the file."""
        return ()

    def read(self, timeout: float) -> list[bytes]:  # noqa: ARG002 - a file never makes wait
        """Return some thousand records, none at the end. Raises HangupError if the file cannot be read any more."""
        records: list[bytes] = []
        while not records and not self.drained:
            block = self._next(_BLOCK)
            records = self._taken(self._rest + block, is_last=not block)
        return records

    def _next(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except OSError as error:
            raise HangupError(f"cannot read {self._path} ({error.strerror})", "is its disk still there?") from None

    def _taken(self, data: bytes, *, is_last: bool) -> list[bytes]:
        """Return the whole records of some data, and keep what is left; is_last: nothing comes after it."""
        records: list[bytes] = []
        offset = 0
        while offset + _LENGTH.size <= len(data) and not self._ended:
            (length,) = _LENGTH.unpack_from(data, offset)
            if not record.SMALLEST <= length <= record.LARGEST:
                self.truncated = True
                break
            one = data[offset : offset + length]
            if len(one) < length:
                break
            if not is_whole(one):
                self.truncated = True
                break
            offset += length
            if is_end(one):
                self._ended = True
            else:
                records.append(one)
        self._rest = data[offset:]
        if self._ended:
            # Whatever stands behind the end has been put there.
            self.truncated = bool(self._rest) or bool(self._next(1))
        elif is_last:
            self.truncated = True
        return records

    @property
    def drained(self) -> bool:
        """Whether it has been read to its end, or to where it was cut short."""
        return self.truncated or self._ended

    def counts(self) -> Sequence[bytes]:
        """Return nothing: what was counted stands in the file."""
        return ()

    def losses(self) -> Sequence[bytes]:
        """Return nothing: what was lost stands in the file."""
        return ()


class Writer:
    """A new capture file. Any thread may write."""

    def __init__(self, path: Path) -> None:
        """Create it, readable by its owner only. Raises HangupError if there is such a file, or it cannot be made."""
        self._path = path
        self._lock = Lock()
        try:
            self._file = open(path, "xb", opener=_private)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise HangupError(
                f"cannot create {path} ({error.strerror})", "name a new file in a folder that can be written"
            ) from None
        self._write(json.dumps({"format": _MAGIC, "version": record.VERSION}).encode() + b"\n")

    def write(self, records: Iterable[bytes]) -> None:
        """Append records. Raises HangupError if that cannot be done, and is closed then.

        What lies behind a record's own length is not written: a slot of the ring has room for the longest address.
        """
        # What is as long as an operation without an address is nothing else.
        plain = record.SIZE
        self._write(
            b"".join([data if len(data) == plain else data[: _LENGTH.unpack_from(data)[0]] for data in records])
        )

    def close(self, *, whole: bool = True) -> None:
        """Close the file. whole: the capture ends here, and is not cut short. HangupError if that cannot be written."""
        if whole:
            self._write(pack_end(time.monotonic_ns()))
        with self._lock:
            self._file.close()

    def _write(self, data: bytes) -> None:
        with self._lock:
            if not data or self._file.closed:
                return
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self._abandon()
                raise HangupError(
                    f"cannot write {self._path} ({error.strerror})", "what was written till then can be read"
                ) from None

    def _abandon(self) -> None:
        """Close the file without its buffer, which cannot be written."""
        try:
            self._file.close()
        except OSError:
            # It is closed all the same (BufferedWriter closes the file below in any case).
            return


class WritingSource:
    """A source whose records are written to a file as they are read."""

    def __init__(self, source: Source, writer: Writer) -> None:
        """writer: is not closed with this."""
        self._source = source
        self._writer = writer

    def opening(self) -> Sequence[bytes]:
        """Return what the source knows before anything is read. Raises HangupError if it cannot be written."""
        return self._kept(self._source.opening())

    def read(self, timeout: float) -> list[bytes]:
        """Return the source's next records. Raises HangupError if they cannot be written."""
        return self._kept(self._source.read(timeout))

    @property
    def drained(self) -> bool:
        """Whether the source is."""
        return self._source.drained

    def counts(self) -> Sequence[bytes]:
        """Return what the source has counted and not told by now."""
        return self._kept(self._source.counts())

    def losses(self) -> Sequence[bytes]:
        """Return what the source has lost and not told by now."""
        return self._kept(self._source.losses())

    def _kept(self, records: _Records) -> _Records:
        self._writer.write(records)
        return records


def write_capture(path: Path, records: Iterable[bytes]) -> None:
    """Write records to a new capture file. Raises HangupError if that cannot be done."""
    writer = Writer(path)
    remaining = iter(records)
    while some := list(islice(remaining, _BATCH)):
        writer.write(some)
    writer.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
