"""The data file of the measurements: what was measured, on what, by which command. No conclusion is drawn in it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """What was measured of one tracer under one load; or of hangup alone, where there is no load."""

    load: str
    """A name of `loads.LOADS`; of other parts: what was done."""
    tracer: str
    """A name of `tools.TOOLS`."""
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Every single value, by what it is. The part that measures them says what they mean, and their units."""
    lost: Mapping[str, int] | None = None
    """What the tracer says that it lost, by cause, of all loads that it saw in the same runs; None: it does not say."""
    missing: str = ""
    """Why it was not measured; empty: it was."""

    def median(self, name: str) -> float | None:
        """Return the median of what was measured; None: it was not."""
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def spread(self, name: str) -> tuple[float, float]:
        """Return by how much the least and the greatest value differ from the median, as fractions of it."""
        values = self.values[name]
        middle = statistics.median(values)
        return min(values) / middle - 1, max(values) / middle - 1


@dataclass(frozen=True)
class Run:
    """What was measured together: one boot of a guest, or one command on this machine."""

    part: str
    """"cost", "wall", "start", "latency", "preempted" or "native"."""
    kernel: str
    """Its name in tests/kernels.toml; empty: none of them is measured."""
    release: str
    cpus: int
    clock: str
    """What times are: "instructions" (of a guest whose clock counts them, one each ns) or "time"."""
    command: str
    commit: str
    date: str
    versions: Mapping[str, str]
    rows: Sequence[Row]

    def key(self, row: Row) -> tuple[str, str, str, str]:
        """Return what a row replaces: what was measured before of the same."""
        return self.part, self.kernel, row.load, row.tracer


def merged(runs: Iterable[Run], new: Iterable[Run]) -> list[Run]:
    """Return what is known now: each new row in the place of the old one, and no run that has no row left."""
    new = list(new)
    replaced = {run.key(row) for run in new for row in run.rows}
    kept = [replace(run, rows=[row for row in run.rows if run.key(row) not in replaced]) for run in runs]
    return sorted([*(run for run in kept if run.rows), *new], key=lambda run: (run.part, run.kernel))


def find(runs: Iterable[Run], part: str, kernel: str, load: str, tracer: str) -> tuple[Run, Row] | None:
    """Return what was measured of a tracer under a load; None: nothing. It may be a missing one."""
    for run in runs:
        for row in run.rows:
            if run.key(row) == (part, kernel, load, tracer):
                return run, row
    return None


def to_text(runs: Sequence[Run]) -> str:
    """Return the data as JSON, each row on a line: a measurement that is made again changes that line."""
    lines = ["{", f'"schema": {SCHEMA},', '"runs": [']
    for number, run in enumerate(runs):
        head = asdict(run)
        rows = [_row(row) for row in head.pop("rows")]
        lines.append("{")
        lines += [f"{json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
        lines.append('"rows": [')
        lines += [f"{json.dumps(row)}{',' if row is not rows[-1] else ''}" for row in rows]
        lines.append("]}" + ("," if number < len(runs) - 1 else ""))
    return "\n".join([*lines, "]}", ""])


def from_text(text: str) -> list[Run]:
    """Read what `to_text()` wrote. Raises ValueError where it is something else."""
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"the data has schema {content['schema']}, not {SCHEMA}: measure again")
        return [Run(**{**run, "rows": [Row(**row) for row in run["rows"]]}) for run in content["runs"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no data of tests.bench ({error!r})") from None


def load(path: Path) -> list[Run]:
    """Read a data file; one that is not there has nothing in it. Raises ValueError."""
    return from_text(path.read_text()) if path.exists() else []


def add(path: Path, new: Iterable[Run]) -> None:
    """Put what was measured into a data file."""
    path.write_text(to_text(merged(load(path), new)))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what says nothing, and values with no more digits than they are worth."""
    row = {name: value for name, value in row.items() if value not in ("", None) and (value or name != "values")}
    if "values" in row:
        row["values"] = {name: [_rounded(value) for value in values] for name, values in row["values"].items()}
    return row


def _rounded(value: float) -> float:
    return int(value) if abs(value) >= 1e6 else float(f"{value:.7g}")
