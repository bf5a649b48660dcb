"""Alerts with their whole stories in a file: the JSON Lines of `hangup watch --json`, in files of bounded size.

What was counted instead of written, and what was not seen at all, stands there too: a file may be the only sink.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from hangup.cli import json_lines
from hangup.cli.clock import utc
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.service.limit import HeldBack
from hangup.tracer.clocks import Clocks
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path
from hangup.tracer.field import Field
from hangup.tracer.tracer import Alert, Losses

_TIME: Field[object] = Field(
    "time",
    "string",
    "when it was written, by the wall clock: RFC 3339, UTC, microseconds",
    lambda _: utc(time.time_ns()),
)

HELD_BACK: tuple[Field[HeldBack], ...] = (
    _TIME,
    Field("verdict", "string", "the verdict; docs/verdicts.md explains each", lambda held: held.kind.verdict.label),
    Field(
        "client",
        "string",
        "the client's name, escaped; `?` if not known, `(other)` for all beyond 1000 pairs",
        lambda held: held.kind.client,
    ),
    Field("server", "string", "the server's name, likewise", lambda held: held.kind.server),
    Field("held_back", "number", "how many alerts of this kind were counted instead", lambda held: held.count),
    Field("sent", "number", "how many alerts of this kind were written in the same time", lambda held: held.sent),
    Field("seconds", "number", "how long that time was", lambda held: round(held.seconds, 3), unit="s"),
)
"""How many alerts were counted instead of written."""

LOSSES: tuple[Field[Losses], ...] = (
    _TIME,
    Field(
        "lost",
        "number",
        "how much is missing since the service was started, all causes together",
        lambda losses: losses.total,
    ),
    Field(
        "lost_by_cause",
        "counts",
        "how much by each cause, all named; they are listed under *The counts*",
        lambda losses: losses.by_cause,
    ),
)
"""What was not seen."""

_held_back_line = json_lines.line("held_back", HELD_BACK)
_losses_line = json_lines.line("losses", LOSSES)


class _WholeLines(io.FileIO):
    """A file that takes a text whole or not at all: on a full disk no half a line stays for the next to follow."""

    def write(self, text: Any) -> int:
        """Append a text. Raises OSError."""
        data = text.encode("ascii")
        before = self.seek(0, os.SEEK_END)
        written = super().write(data)
        if written != len(data):
            # write(2) says ENOSPC only when not even one byte found room.
            self.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written


class _Rotating(RotatingFileHandler):
    """Renames and begins anew; only the owner may read the files, and what goes wrong is raised."""

    def _open(self) -> Any:
        return _WholeLines(
            self.baseFilename, "a", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600)
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's own name
        """Raise what logging would print."""
        raise  # noqa: PLE0704 - it is called from an except clause


class AlertFile:
    """Appends alerts; a full disk costs alerts in this file, which are counted, and nothing else."""

    name = "file"

    def __init__(self, path: str, *, size: int, count: int) -> None:
        """Open it. size: when it is renamed, in bytes; count: how many renamed ones are kept. Raises HangupError."""
        self.errors = 0
        """How many lines could not be written."""
        self.problem: str | None = None
        """Why the last of these was not; None: all were written."""
        self.fails = False
        """Whether the last line was not written."""
        try:
            self._handler = _Rotating(path, maxBytes=size, backupCount=count)
        except OSError as error:
            raise HangupError(
                f"cannot write {shown_path(path)} ({error.strerror})",
                f"is {shown_path(Path(path).parent)} there, root's own, and in ReadWritePaths= of the unit? "
                "The service has given up root's right to write everywhere; /var/lib/hangup is its place",
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def alert(self, alert: Alert, clocks: Clocks) -> None:
        """Append an alert; clocks: what makes wall-clock times of its times."""
        self._append(alert_line(alert, clocks))

    def held_back(self, held: HeldBack) -> None:
        """Append how many alerts were counted instead of written."""
        self._append(_held_back_line(held, json_lines.no_times))

    def losses(self, losses: Losses) -> None:
        """Append what was not seen so far."""
        self._append(_losses_line(losses, json_lines.no_times))

    def _append(self, line: str) -> None:
        try:
            self._handler.emit(logging.LogRecord("hangup", logging.WARNING, "", 0, line, None, None))
        except OSError as error:
            self.errors += 1
            self.problem = error.strerror
            self.fails = True
        else:
            self.fails = False
