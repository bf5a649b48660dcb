"""The measurement's own arithmetic: what is kept of what was measured, what tracers are taken to have said."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import data, guest, inside, timed_watch, tools, watching
from tests.bench.data import Row, Run
from tests.bench.guest import PARTS
from tests.bench.loads import LOADS, Load, compile_load, play
from tests.bench.preempted import PREEMPTED
from tests.bench.server_load import family
from tests.bench.targets import more_of, ratio_of
from tests.bench.tools import TOOLS
from tests.vmtest import kernels


def run_of(*rows: Row, part: str = "cost", kernel: str = "6.1", commit: str = "old") -> Run:
    """Return a run with some rows."""
    return Run(part, kernel, f"{kernel}.0", 1, "instructions", "command", commit, "2026-01-02", {}, rows)


_names = st.sampled_from(["solo", "pair"])
_rows = st.builds(Row, _names, st.sampled_from(["none", "strace"]), missing=st.sampled_from(["", "why"]))
_runs = st.builds(
    lambda rows, part, kernel: run_of(*rows, part=part, kernel=kernel),
    st.lists(_rows, unique_by=lambda row: (row.load, row.tracer)),
    st.sampled_from(["cost", "wall"]),
    st.sampled_from(["6.1", "6.12"]),
)


def test_a_row_that_is_measured_again_takes_the_place_of_the_old_one() -> None:
    old = run_of(Row("solo", "none", {"each": [1]}), Row("solo", "strace", {"each": [2]}))
    new = run_of(Row("solo", "strace", {"each": [3]}), commit="new")
    merged = data.merged([old], [new])
    assert [(run.commit, row.tracer, row.values["each"]) for run in merged for row in run.rows] == [
        ("old", "none", [1]),
        ("new", "strace", [3]),
    ]


@given(st.lists(_runs, max_size=3), st.lists(_runs, max_size=2))
def test_nothing_stands_twice_after_any_measurement_and_nothing_new_is_dropped(old: list[Run], new: list[Run]) -> None:
    known: list[Run] = []
    for run in [*old, *new]:
        known = data.merged(known, [run])
    keys = [run.key(row) for run in known for row in run.rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == {run.key(row) for run in [*old, *new] for row in run.rows}


def test_data_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [Row("solo", "none", {"each": [1.5, 2]}, lost={}), Row("solo", "strace", missing="it is not there")]
    path = tmp_path / "data"
    data.add(path, [run_of(*rows)])
    assert [row for run in data.load(path) for row in run.rows] == rows


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99, "runs": []}', '{"schema": 1, "runs": [{"part": "cost"}]}'])
def test_a_file_that_is_no_data_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        data.from_text(text)


def test_a_ratio_is_of_medians_and_what_an_operation_takes_more_is_of_the_loads_operations() -> None:
    row = Row("solo", "strace", {"each": [100, 310, 400], "untraced": [90, 100, 101]})
    assert ratio_of(row) == 3.1
    assert more_of(row) == (310 - 100) / LOADS["solo"].operations
    assert ratio_of(Row("solo", "strace", missing="why")) is None


def test_what_a_tracer_lost_is_taken_from_its_last_words() -> None:
    assert tools.lost_in_words("3 operations; nothing lost") == {}
    assert tools.lost_in_words("STATUS=nothing lost\nSTATUS=LOST: 12 operations, as the ring was full; 1 x") == {
        "operations, as the ring was full": 12,
        "x": 1,
    }
    assert tools.lost_in_words("killed") is None
    assert tools.lost_by_others("Lost 3 events\nLOST 4 events!\n") == {"events": 7}
    assert tools.lost_by_others("Driver Events:90\nDriver Drops:8\n") == {"events": 8}
    assert tools.lost_by_others("read(3) = 1\nDriver Drops:0") == {}


def test_alerts_of_watch_are_counted_and_what_it_lost_is_in_its_last_line() -> None:
    lines = ['{"record": "alert"}', '{"record": "summary"}', '{"record": "alert"}']
    assert tools.told_by_watch("\n".join(lines)) == (2, None)
    total = '{"record": "total", "lost_by_cause": {"ring_full": 0, "skipped": 2}}'
    assert tools.told_by_watch("\n".join([*lines, total])) == (2, {"skipped": 2})


def test_an_alert_is_found_in_the_text_of_watch() -> None:
    # A test compares what README shows with what is printed.
    readme = Path(__file__).parents[2] / "README.md"
    assert watching.ALERT_LINE[False].findall(readme.read_bytes())


def test_every_function_that_a_start_is_timed_by_is_there() -> None:
    for module, path, _ in timed_watch.PHASES:
        timed_watch.owner_of(module, path)


def test_every_part_names_tracers_and_loads_that_there_are() -> None:
    for part in PARTS.values():
        assert set(part.tracers) <= set(TOOLS)
        assert set(part.loads) <= set(LOADS)


@pytest.mark.parametrize("rows", [[], [{"load": "solo", "tracer": "none", "values": {"each": [1]}}]])
def test_what_a_guest_had_when_it_was_cut_off_is_kept_and_said_to_be_cut_off(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]]
) -> None:
    def cut_off(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--results" in command and rows:
            results = Path(command[command.index("--results") + 1]) / "6.1"
            results.mkdir()
            (results / inside.ROWS).write_text(json.dumps({"versions": {}, "rows": rows}))
        return subprocess.CompletedProcess(command, 125, stdout="QEMU emulator version 1\n")

    monkeypatch.setattr(subprocess, "run", cut_off)
    monkeypatch.setattr(guest, "compile_load", lambda _program: None)
    # That is the name of what was fetched.
    monkeypatch.setattr(kernels.Kernel, "release", "6.1.0-50-amd64")
    kept: list[Run] = []
    with pytest.raises(RuntimeError, match="cut off" if rows else "nothing was measured"):
        guest.measure(PARTS["wall"].but(tracers=["none"]), "6.1", kept.append)
    assert [row for run in kept for row in run.rows] == [Row("solo", "none", {"each": [1]}) for _ in rows]


def test_the_processes_of_a_server_are_it_and_its_children() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= set(family(os.getpid()))
        assert family(child.pid) == [child.pid]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled loads."""
    path = tmp_path_factory.mktemp("load") / "load"
    try:
        compile_load(path)
    except RuntimeError as error:
        pytest.skip(str(error))
    return path


@pytest.mark.parametrize("load", [load for load in LOADS.values() if load.arguments], ids=lambda load: str(load.name))
def test_every_load_plays_and_as_many_units_fail_as_should(program: Path, load: Load) -> None:
    if load.name == "open-10000" and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 21_000:
        pytest.skip("only root may open so many descriptors here")
    played = play(program, load, 100)
    assert played.ended > played.begun
    assert played.failed == (110 // load.fails_one_in if load.fails_one_in else 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may say which task goes first")
def test_what_an_urgent_task_does_is_counted_with_what_it_interrupts(program: Path) -> None:
    count = 50_000
    assert play(program, PREEMPTED, count).units > count


def test_a_load_that_cannot_be_played_says_so(program: Path) -> None:
    with pytest.raises(RuntimeError, match="usage: load"):
        play(program, LOADS["solo"], 0)
