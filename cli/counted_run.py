"""What was counted in a run, of a capture or of what `watch --json` printed: whoever compares two need not know which.

Both are read to their end, with little memory, and neither is trusted: somebody else may have written them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hangup.cli.json_lines import SCHEMA
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.comparison import Counted, Run, run_of
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import escape, escaped
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.selection import IGNORED_PATHS, Selection
from hangup.tracer.statistics import MAX_NAMES, Statistics
from hangup.tracer.tracer import Tracer
from hangup.tracer.verdicts import Kind

# An alert with its whole story is some 50 kB.
_LONGEST_LINE = 16 << 20
# No run has more rows: those of MAX_NAMES clients, servers and paths, and of the others.
_MOST_ROWS = (MAX_NAMES + 1) * len(Kind)
_LARGEST = 1 << 62


def read_run(path: Path) -> Run:
    """Return what was counted in the run that a file is of. Raises HangupError if it can be read as neither."""
    try:
        with path.open("rb") as file:
            is_json = _is_json(file.readline(_LONGEST_LINE))
    except OSError as error:
        remedy = "name a capture, or what `hangup watch --json` printed"
        raise HangupError(f"cannot read {_name(path)} ({error.strerror})", remedy) from None
    return _of_json(path) if is_json else _of_capture(path)


def _name(path: Path) -> str:
    return escape(os.fsencode(path))


def _is_json(line: bytes) -> bool:
    """Whether a file that begins with this line is of `--json`, and no capture."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "schema" in record


def _of_capture(path: Path) -> Run:
    statistics = Statistics(pattern=path_pattern)
    selection = Selection(ignored_paths=IGNORED_PATHS)
    with FileSource(path) as source, Tracer(source=source, selection=selection, statistics=statistics) as tracer:
        for _ in tracer.alerts():
            pass
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
    return run_of(rows, lost=tracer.losses().total)


def _of_json(path: Path) -> Run:
    rows: list[Counted] = []
    lost: int | None = None
    for number, record in _records(path):
        try:
            if record.get("record") == "summary":
                rows.append(_row(record))
            elif record.get("record") == "total":
                lost = _count(record, "lost")
        except (KeyError, TypeError, ValueError):
            raise HangupError(
                f"line {number} of {_name(path)} has no counts as this hangup knows them",
                "read it with the hangup that wrote it",
            ) from None
        if len(rows) > _MOST_ROWS:
            raise HangupError(f"{_name(path)} has more counts than one run can have", "give each run a file of its own")
    if lost is None:
        raise HangupError(
            f"{_name(path)} ends without the counts of its run",
            "let `hangup watch --json` come to its end, by Ctrl-C, SIGTERM or --duration",
        )
    return run_of(rows, lost=lost)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines that have counts, with their numbers."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
            # Alerts are long, and nothing in them is asked for.
            if b'"summary"' not in line[:100] and b'"total"' not in line[:100]:
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise HangupError(f"line {number} of {_name(path)} is no JSON", "was it cut off there?")
            schema = record.get("schema")
            if schema != SCHEMA:
                raise HangupError(
                    f"line {number} of {_name(path)} is not of schema {SCHEMA}", "read it with the hangup that wrote it"
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
