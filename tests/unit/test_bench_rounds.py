"""How a tracer's own work is told from what it does at times anyway, on a clock that is ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench import rounds
from tests.bench.data import Row
from tests.bench.loads import LOADS, Played
from tests.bench.tools import TOOLS, Running, Tool


@dataclass
class _Tracer(Running):
    """A tracer that runs so many ns in each second to come, and nothing after that."""

    seconds: list[int] = field(default_factory=list)
    now: float = 0.0

    def own(self) -> int:
        whole = int(self.now)
        return sum(self.seconds[:whole])

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def clock(self) -> int:
        """Return the time, in ns."""
        return int(self.now * 1e9)


def _caught_up(monkeypatch: pytest.MonkeyPatch, seconds: list[int], *, sleeps: bool) -> float:
    tracer = _Tracer(process=object(), seconds=seconds)  # type: ignore[arg-type]
    monkeypatch.setattr("tests.bench.rounds.time.sleep", tracer.sleep)
    monkeypatch.setattr("tests.bench.rounds.time.monotonic_ns", tracer.clock)
    return rounds._catch_up(tracer, 0.001, sleeps=sleeps)


def test_a_tracer_that_had_nothing_to_work_off_costs_nothing_after_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _caught_up(monkeypatch, [3_000_000, 900_000], sleeps=True) == 0


def test_what_a_tracer_works_off_after_the_load_is_counted_without_what_it_does_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = [500_000_000, 200_000_000, 1_000_000]
    assert _caught_up(monkeypatch, work, sleeps=True) == sum(work) - 3 * 1_000_000
    assert _caught_up(monkeypatch, [3_000_000, 900_000], sleeps=False) == 3_000_000 - 1_000_000


def test_without_a_tracer_nothing_is_waited_for() -> None:
    assert rounds._catch_up(Running(), 0.0, sleeps=True) == 0


def test_what_is_known_is_kept_after_each_start_also_why_something_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.bench.rounds.time.sleep", lambda _seconds: None)
    monkeypatch.setattr(rounds, "play", lambda _program, _load, count, **_: Played(0, 5 * count, count, 0))
    absent = Tool("absent", "", "other", TOOLS["none"].start, needs="no-such-program")
    kept: list[Sequence[Row]] = []
    rounds.rounds(
        [TOOLS["none"], absent],
        [LOADS["solo"]],
        starts=1,
        repeats=2,
        longer=False,
        folder=tmp_path,
        say=lambda _line: None,
        keep=kept.append,
    )
    assert [[(row.tracer, row.median("each"), bool(row.missing)) for row in rows] for rows in kept] == [
        [("none", 5.0, False)],
        [("none", 5.0, False), ("absent", None, True)],
    ]
