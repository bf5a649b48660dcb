"""`hangup doctor` shows each check with its remedy, and its status says whether watch works."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import doctor
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.tracer.kernel.preflight import Check

GOOD = [Check("privileges", "ok", "root"), Check("fentry", "warn", "no fentry; kprobes are used", "nothing to mend")]
BAD = [*GOOD, Check("bcc", "fail", "the bcc Python module is missing", "apt install python3-bpfcc")]


def run(monkeypatch: pytest.MonkeyPatch, results: list[Check], *arguments: str) -> Result:
    monkeypatch.setattr(doctor, "checks", lambda: iter(results))
    return CliRunner().invoke(hangup, ["doctor", *arguments])


def shown(results: list[Check], width: int | None) -> str:
    output = io.StringIO()
    doctor.show(results, output, width=width)
    return output.getvalue().removesuffix("\n")


def test_each_line_says_what_to_do() -> None:
    assert shown(BAD, None) == (
        "ok    privileges  root\n"
        "warn  fentry      no fentry; kprobes are used\n"
        "                  -> nothing to mend\n"
        "fail  bcc         the bcc Python module is missing\n"
        "                  -> apt install python3-bpfcc\n"
        "\n"
        "hangup watch does not work here until this is mended."
    )


def test_a_narrow_terminal_folds_what_was_found_under_itself() -> None:
    assert shown(BAD[2:], 40).splitlines()[:3] == [
        "fail  bcc  the bcc Python module is",
        "           missing",
        "           -> apt install python3-bpfcc",
    ]


def test_warnings_alone_end_with_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, GOOD)
    assert result.exit_code == ExitStatus.OK
    assert result.output.splitlines()[-1] == "hangup watch works here."


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_failed_check_ends_with_status_3(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    assert run(monkeypatch, BAD, *arguments).exit_code == ExitStatus.CANNOT_RUN


def test_json_has_one_line_for_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.loads(line) for line in run(monkeypatch, BAD, "--json").output.splitlines()]
    assert lines[0] == {
        "schema": 1,
        "record": "check",
        "name": "privileges",
        "state": "ok",
        "found": "root",
        "remedy": None,
    }
    assert [line["state"] for line in lines] == ["ok", "warn", "fail"]
