"""`--follow` tells of COMMAND and its descendants, and of nobody else; in the end its cgroup is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.exit_status import ExitStatus
from hangup.tracer.host.cgroups import Hierarchy
from tests.scenarios.selecting import break_one
from tests.scenarios.stage import Player


def cgroups() -> Path:
    """Return where the cgroups are."""
    return Path(os.fsdecode(Hierarchy().mount))


def play(folder: Path) -> None:
    """Be the COMMAND: break a connection, and have another broken by who has left its cgroup."""

    def elsewhere() -> None:
        (cgroups() / "cgroup.procs").write_text("0")
        break_one(str(folder / "outside"))

    break_one(str(folder / "inside"))
    Player(elsewhere).end()


def follow(verb: str, folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Have COMMAND followed; return the status and what was printed."""
    command = [sys.executable, "-m", "hangup", verb, "--json", "--follow", *options]
    command += ["--", sys.executable, "-m", "tests.scenarios.test_followed", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert list(cgroups().glob("hangup-*")) == [], done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_only_command_and_what_it_starts_is_looked_at(folder: Path, options: tuple[str, ...]) -> None:
    status, records = follow("watch", folder, *options)
    assert status == ExitStatus.ALERTS
    assert [each["path"] for each in records if each["record"] == "alert"] == [str(folder / "inside")]
    assert {each["path"] for each in records if each["record"] == "summary"} == {str(folder / "inside")}


def test_trace_prints_only_what_command_and_what_it_starts_do(folder: Path) -> None:
    status, records = follow("trace", folder)
    assert status == ExitStatus.OK
    operations = [each for each in records if each["record"] == "operation"]
    assert {each["path"] for each in operations} == {str(folder / "inside")}
    assert [each["error"] for each in operations if each["error"]] == ["EPIPE"]
    assert records[-1]["record"] == "total"


if __name__ == "__main__":
    play(Path(sys.argv[1]))
