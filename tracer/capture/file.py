"""Where records come from: the probes of this host, or a capture file. What follows cannot tell which.

A capture file is a line of JSON (what it is, the record's version and layout), then the records, each behind its
length in two bytes, as the kernel wrote them, and at its end what was lost meanwhile: JSON, its length and a mark.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.layout import Loss

_MAGIC = "hangup capture"
_LENGTH = struct.Struct("<H")
_HEADER_MAX = 4096
_BATCH = 4096
# The last bytes of a capture: how long the JSON before them is.
_FOOTER = struct.Struct("<I4s")
_FOOTER_MARK = b"LOST"
_LOST_MAX = 1 << 20
_LARGEST = (1 << 64) - 1


class LostPeriod(NamedTuple):
    """A time in which records were lost."""

    cause: Loss
    since: int
    """ns, CLOCK_MONOTONIC, as the records' times are."""
    until: int
    """ns, CLOCK_MONOTONIC; what was lost at that very time belongs to it."""
    count: int  # type: ignore[assignment] # tuple's method of that name is not missed
    """How many were lost."""


class Source(Protocol):
    """A stream of records (bpf/record.h), in the order in which the kernel wrote them."""

    def read(self, timeout: float) -> list[bytes]:
        """Return the next records, if not all there are; none after `timeout` seconds without any, or at the end."""

    @property
    def drained(self) -> bool:
        """Whether everything that has been recorded by now has been read."""

    def losses(self) -> Mapping[Loss, int]:
        """Return how many records are missing, by cause."""

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when they were lost: all periods so far, the oldest first."""


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
        """Whether the file was cut short, or goes on with what is no record: nothing is read from there on."""
        self._losses: dict[Loss, int] = {}
        self._periods: list[LostPeriod] = []
        self._end = self._read_end()

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
        position = self._file.tell()
        for _ in range(_BATCH):
            if position == self._end:
                break
            prefix = read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                self.truncated = True
                break
            (length,) = _LENGTH.unpack(prefix)
            data = read(length)
            position += _LENGTH.size + length
            if len(data) < length or not record.is_whole(data) or (self._end is not None and position > self._end):
                self.truncated = True
                break
            records.append(data)
        return records

    @property
    def drained(self) -> bool:
        """Whether it has been read to its end, or to where it was cut short."""
        return self.truncated or self._file.tell() == self._end

    def losses(self) -> Mapping[Loss, int]:
        """Return what was lost when the capture was made."""
        return self._losses

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when it was lost."""
        return self._periods

    def _read_end(self) -> int | None:
        """Learn what was lost; returns where the records end, None if the file was cut before its end."""
        start = self._file.tell()
        try:
            size = self._file.seek(0, os.SEEK_END)
            if size - start < _FOOTER.size:
                return None
            self._file.seek(size - _FOOTER.size)
            length, mark = _FOOTER.unpack(self._file.read(_FOOTER.size))
            end: int = size - _FOOTER.size - length
            if mark != _FOOTER_MARK or length > _LOST_MAX or end < start:
                return None
            self._file.seek(end)
            self._losses, self._periods = _parse_lost(self._file.read(length))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        else:
            return end
        finally:
            self._file.seek(start)


def write_capture(
    path: Path,
    records: Iterable[bytes],
    *,
    losses: Mapping[Loss, int] | None = None,
    periods: Sequence[LostPeriod] = (),
) -> None:
    """Write records to a new capture file, readable by its owner only; FileExistsError if there is such a file.

    losses, periods: what the source of the records says when the last of them has been read.
    """
    header = {"format": _MAGIC, "version": record.VERSION, "size": record.SIZE}
    with open(path, "xb", opener=_private) as file:
        file.write(json.dumps(header).encode() + b"\n")
        for data in records:
            file.write(_LENGTH.pack(len(data)) + data)
        lost = _format_lost(losses or {}, periods)
        file.write(lost + _FOOTER.pack(len(lost), _FOOTER_MARK))


def _format_lost(losses: Mapping[Loss, int], periods: Sequence[LostPeriod]) -> bytes:
    # Causes by name: a number is another one's when one is added.
    return json.dumps(
        {
            "losses": {cause.name: count for cause, count in losses.items()},
            "periods": [[cause.name, since, until, count] for cause, since, until, count in periods],
        }
    ).encode()


def _parse_lost(text: bytes) -> tuple[dict[Loss, int], list[LostPeriod]]:
    """Return what _format_lost() was given; any of the exceptions that _read_end() catches if it is something else."""
    lost = json.loads(text)
    losses = {Loss[cause]: _number(count) for cause, count in lost["losses"].items()}
    periods = [
        LostPeriod(Loss[cause], _number(since), _number(until), _number(count))
        for cause, since, until, count in lost["periods"]
    ]
    return losses, periods


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError("not a number of 64 bits")
    return value


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
