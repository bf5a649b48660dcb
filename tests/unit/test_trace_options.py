"""How `hangup trace` prints: --format, -p, -t and -c."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli import clock
from hangup.cli.commands import trace
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.tracer.tracer import Tracer
from tests.stories import Task, established, seeds_failure
from tests.unit.playback import Playback


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    # Seconds of other tests, in another time zone.
    clock._local_second.cache_clear()
    other = established(start=2_000_000_000, client=Task("curl", 77), path="/run/other.s")

    def replay(**options: Any) -> Tracer:
        return Tracer(source=Playback([*seeds_failure().events, *other.events]), **options)

    monkeypatch.setattr(trace, "Tracer", replay)
    yield
    monkeypatch.undo()
    time.tzset()
    clock._local_second.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, ["trace", "--duration", "0.01", *arguments])


def lines(*arguments: str) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0
    return [line for line in result.stdout.splitlines() if not line.startswith("hangup: ")]


@pytest.mark.parametrize(
    ("zero", "first"),
    [
        ("local", "09:00:01.000010 "),
        ("UTC", "00:00:01.000010 "),
        ("utc", "00:00:01.000010 "),
        ("relative", "       0.000000 "),
        ("delta", "       0.000000 "),
    ],
)
def test_times_count_from_what_is_asked_for(zero: str, first: str) -> None:
    assert lines("-t", zero)[0].startswith(first + "httpd[4711/4713] connect(7)")


def test_times_of_the_next_lines_are_since_the_first_or_since_the_one_before() -> None:
    assert [line.split()[0] for line in lines("-t", "relative")[:3]] == ["0.000000", "0.000010", "0.000020"]
    assert [line.split()[0] for line in lines("-t", "delta")[:3]] == ["0.000000", "0.000010", "0.000010"]


def test_text_is_what_is_printed_without_a_format() -> None:
    assert lines("--format", "text") == lines()


def test_json_can_be_asked_for_in_both_ways() -> None:
    found = [json.loads(line) for line in lines("--format", "json", "evt.res=EPIPE") if '"operation"' in line]
    assert [each["error"] for each in found if each["record"] == "operation"] == ["EPIPE"]
    assert lines("--format", "json", "evt.res=EPIPE")[0] == lines("--json", "evt.res=EPIPE")[0]


def test_sysdig_s_lines_are_all_printed_at_the_end_at_the_latest() -> None:
    found = lines("--format", "sysdig", "-t", "UTC", "evt.res=EPIPE")
    assert [line.split()[:7] for line in found] == [
        ["1", "00:00:01.000209000", "0", "httpd", "(4713)", ">", "writev"],
        ["2", "00:00:01.000219000", "0", "httpd", "(4713)", "<", "writev"],
    ]
    assert "hangup: 1 operation; " in run("--format", "sysdig", "evt.res=EPIPE").output


def test_a_format_names_fields() -> None:
    assert lines("-p", "%proc.name %evt.rawres", "evt.failed=true") == ["httpd -32"]


def test_of_a_format_s_times_one_counts_from_what_is_asked_for() -> None:
    assert lines("-t", "relative", "-p", "%evt.outputtime")[0] == "0.000000000"


def test_one_connection_can_be_followed() -> None:
    numbers = {json.loads(line)["connection"] for line in lines("--json") if '"record":"operation"' in line}
    assert len(numbers) == 2
    for number in numbers:
        found = {json.loads(line).get("connection") for line in lines("--json", "-c", str(number))}
        assert lines("-c", f"#{number}") == lines("-c", str(number)) != lines()
        assert found - {None} == {number}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--format", "sysdig"), "of --json, --format and -p only one can be"),
        (("-p", "%proc.name", "--format", "json"), "of --json, --format and -p only one can be"),
        (("--json", "-t", "delta"), "-t changes nothing in JSON"),
        (
            ("-t", "delta", "-p", "%evt.time"),
            "-t changes nothing in this -p: of times only %evt.outputtime is as -t has it",
        ),
        (("-p", "%proc.nam"), "column 2 of the format: there is no field 'proc.nam'; did you mean proc.name"),
        (("-t", "yesterday"), "'yesterday' is not one of"),
        (("-c", "0"), "0 is not in the range"),
        (("-c", "#"), "'' is not a valid number of a connection"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert said in result.output
