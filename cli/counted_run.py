"""What was counted in a run, of a capture or of what `watch --json` printed: whoever compares two need not know which.

Both are read to their end, with little memory, and neither is trusted: somebody else may have written them.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from hangup.cli.capture import Capture
from hangup.cli.json_lines import SCHEMA
from hangup.cli.run import first_interrupt_for
from hangup.tracer.capture.names import PIPE, name_of
from hangup.tracer.capture.reader import Damage, NoCaptureError
from hangup.tracer.comparison import Counted, Run, run_of
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import escaped
from hangup.tracer.filter.compile import over_connections
from hangup.tracer.filter.connected import counted
from hangup.tracer.filter.filter import Filter
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.statistics import MAX_NAMES, OTHER, Statistics
from hangup.tracer.tracer import SOCKETPAIR, UNKNOWN, Tracer
from hangup.tracer.units import counted as counted_of
from hangup.tracer.verdicts import Kind

# An alert with its whole story is some 50 kB.
_LONGEST_LINE = 16 << 20
# No run has more rows: those of MAX_NAMES clients, servers and paths, and of the others.
_MOST_ROWS = (MAX_NAMES + 1) * len(Kind)
_LARGEST = 1 << 62
# What stands in the place of a path where there is none.
_WITHOUT_PATH = (UNKNOWN, SOCKETPAIR, OTHER)


class IncompleteError(HangupError):
    """What `--json` printed is not whole, or was printed by another hangup."""

    exit_status = NoCaptureError.exit_status


def read_run(path: Path, wanted: Filter) -> tuple[Run, Damage | None]:
    """Return what was counted of the connections that are wanted, and where a capture ceases to be one, if it does.

    path: a capture, what `--json` printed, or PIPE, which is either. Raises HangupError if it can be read as neither.
    """
    begun = b""
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_opened(path))
            is_pipe = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            with first_interrupt_for(lambda: is_pipe):
                looked_at = file.peek(1)
                if _begins_with_json(looked_at):
                    return _of_json(path, file, wanted), None
            if path == PIPE or is_pipe:
                # It is not read again. And whoever writes a named pipe needs a reader meanwhile: it stays open.
                begun = looked_at
        except FileNotFoundError:
            # It may be the name of several files: whoever reads captures knows.
            pass
        except OSError as error:
            remedy = "name a capture, or what `hangup watch --json` printed"
            raise HangupError(f"cannot read {name_of(path)} ({error.strerror})", remedy) from None
        return _of_capture(path, wanted, begun)


def _opened(path: Path) -> BufferedReader:
    return os.fdopen(0, "rb", closefd=False) if path == PIPE else path.open("rb")


def _begins_with_json(data: bytes) -> bool:
    """Whether this is how `--json` begins, and no capture (docs/capture-format.md).

    With 2>&1 what hangup says of the run itself may stand before it.
    """
    return data.startswith((b"{", b"hangup: "))


def _of_capture(path: Path, wanted: Filter, begun: bytes = b"") -> tuple[Run, Damage | None]:
    statistics = Statistics(pattern=path_pattern)
    with (
        Capture((path,), begun=begun) as capture,
        Tracer(
            selection=wanted.selection_to_judge, only=wanted.rest, statistics=statistics, **capture.tracer_options()
        ) as tracer,
    ):
        for _ in capture.alerts(tracer):
            pass
        assert capture.source is not None
        damage = capture.source.damage
        left_out = tracer.statistics.left_out
    _require_all(path, left_out)
    rows = (
        Counted(
            key.client,
            key.server,
            key.path,
            key.kind,
            row.connections,
            row.harmless,
            row.gaps.percentile(50) if row.gaps.count else None,
            row.gaps.maximum if row.gaps.count else None,
        )
        for key, row in statistics.rows.items()
    )
    return run_of(rows, lost=tracer.losses().total), damage


def _of_json(path: Path, file: IO[bytes], wanted: Filter) -> Run:
    passes = over_connections(wanted.tree) if wanted.tree is not None else lambda _: True
    rows: list[Counted] = []
    lost: int | None = None
    for number, record in _records(path, file):
        try:
            if record.get("record") == "summary":
                row = _row(record)
                path_of = None if row.path in _WITHOUT_PATH else row.path
                if passes(counted(path_of, row.client, row.server, row.kind.label)):
                    rows.append(row)
            elif record.get("record") == "total":
                lost = _count(record, "lost")
                _require_all(path, _count(record, "left_out"))
                if record["interrupted"]:
                    raise IncompleteError(
                        f"{name_of(path)} is of a capture that was not read to its end",
                        "let `hangup watch --json` read it whole",
                    )
        except (KeyError, TypeError, ValueError):
            raise IncompleteError(
                f"line {number} of {name_of(path)} has no counts as this hangup knows them",
                "read it with the hangup that wrote it",
            ) from None
        if len(rows) > _MOST_ROWS:
            raise IncompleteError(
                f"{name_of(path)} has more counts than one run can have", "give each run a file of its own"
            )
    if lost is None:
        raise IncompleteError(
            f"{name_of(path)} ends without the counts of its run",
            "let `hangup watch --json` come to its end, by Ctrl-C, SIGTERM or --duration",
        )
    return run_of(rows, lost=lost)


def _require_all(path: Path, left_out: int) -> None:
    """Raise HangupError if connections were left out: nobody can say then how many of a thousand failed."""
    if left_out:
        raise HangupError(
            f"{name_of(path)} leaves out {counted_of(left_out, 'connection')} that ended well",
            "record with --stream, or without what only that tells",
        )


def _records(path: Path, file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines that have counts, with their numbers."""
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
        # Alerts are long, and nothing in them is asked for.
        if b'"summary"' not in line[:100] and b'"total"' not in line[:100]:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise IncompleteError(f"line {number} of {name_of(path)} is no JSON", "was it cut off there?")
        schema = record.get("schema")
        if schema != SCHEMA:
            raise IncompleteError(
                f"line {number} of {name_of(path)} is not of schema {SCHEMA}", "read it with the hangup that wrote it"
            )
        yield number, record


def _row(record: dict[str, Any]) -> Counted:
    return Counted(
        _text(record, "client"),
        _text(record, "server"),
        _text(record, "path"),
        Kind.named(record["verdict"]),
        _count(record, "connections"),
        _count(record, "harmless"),
        None if record["gap_p50_ns"] is None else _count(record, "gap_p50_ns"),
        None if record["gap_max_ns"] is None else _count(record, "gap_max_ns"),
    )


def _text(record: dict[str, Any], name: str) -> str:
    """Return a name, escaped as hangup itself does, whoever wrote it. Raises KeyError, TypeError."""
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return escaped(value.encode("utf-8", "surrogatepass"))


def _count(record: dict[str, Any], name: str) -> int:
    """Return a number of things. Raises KeyError, TypeError, ValueError."""
    value = record[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(name)
    if not 0 <= value < _LARGEST:
        raise ValueError(name)
    return value
