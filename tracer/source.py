"""Where records come from: the probes of this host, or a capture file. What follows cannot tell which.

A capture file is a line of JSON (what it is, the record's version and layout) and then the records, each behind its
length in two bytes, as the kernel wrote them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from hangup.tracer import record
from hangup.tracer.errors import HangupError
from hangup.tracer.record import Loss

_MAGIC = "hangup capture"
_LENGTH = struct.Struct("<H")
_HEADER_MAX = 4096
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class LostPeriod:
    """A time in which records were lost, in ns of CLOCK_MONOTONIC, both ends included."""

    cause: Loss
    since: int
    until: int
    count: int


class Source(Protocol):
    """A stream of records (bpf/event.h), in the order in which the kernel wrote them."""

    def read(self, timeout: float) -> list[bytes]:
        """Return the next records; none after `timeout` seconds without any, or at the end."""

    def losses(self) -> Mapping[Loss, int]:
        """Return how many records are missing, by cause."""

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when that was, the oldest first."""


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
        except (ValueError, AttributeError, RecursionError):
            known = False
        if not known:
            self._file.close()
            raise HangupError(f"{path} is not a hangup capture", "name a file that hangup has written")
        if header.get("version") != record.VERSION or header.get("size") != record.SIZE:
            self._file.close()
            version = header.get("version")
            # Whatever else somebody may have put there is not for the terminal.
            named = version if isinstance(version, int) and 0 < version < 1000 else "unknown"
            raise HangupError(
                f"{path} has records of version {named}, this hangup reads {record.VERSION}",
                "read it with the hangup that wrote it",
            )
        self.truncated = False
        """Whether the file ends in the middle of a record, or goes on with none: nothing is read from there on."""

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, timeout: float) -> list[bytes]:  # noqa: ARG002 - a file never makes wait
        """Return some thousand records, none at the end."""
        records: list[bytes] = []
        if self.truncated:
            return records
        read = self._file.read
        for _ in range(_BATCH):
            prefix = read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                self.truncated = bool(prefix)
                break
            (length,) = _LENGTH.unpack(prefix)
            data = read(length)
            if len(data) < length or length < record.SIZE:
                self.truncated = True
                break
            records.append(data)
        return records

    def losses(self) -> Mapping[Loss, int]:
        """Return nothing: a capture is as complete as the source it was written from."""
        return {}

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return none."""
        return ()


def write_capture(path: Path, records: Iterable[bytes]) -> None:
    """Write records to a new capture file, readable by its owner only; FileExistsError if there is such a file."""
    header = {"format": _MAGIC, "version": record.VERSION, "size": record.SIZE}
    with open(path, "xb", opener=_private) as file:
        file.write(json.dumps(header).encode() + b"\n")
        for data in records:
            file.write(_LENGTH.pack(len(data)) + data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
