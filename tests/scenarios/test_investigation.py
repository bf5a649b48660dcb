"""README's investigation of the classic failure, command for command, on captures that are made here.

Its commands are run as they stand there, but for what a reader would put in their place too: the URL, the pids, the
address and the number of a connection. What each of them has to show is said here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hangup.cli.exit_status import ExitStatus
from tests.scenarios import servers
from tests.scenarios.server_logs import LoggedFailure

README = Path(__file__).parents[2] / "README.md"
_COMMANDS = re.compile(r"<!-- investigation: [^\n]* -->\n(.*?)<!-- end -->", re.DOTALL)
_STEPS = (
    "record",
    "list",
    "egrep calls",
    "egrep address",
    "failed",
    "address",
    "connection",
    "watch",
    "report",
    "record mended",
    "diff",
)
_LIMIT = 900

_ADDRESS = "[0-9a-f]{16}"
_NAME = rf"<u>{_ADDRESS}->{_ADDRESS} /\S+"
_SYSDIG = re.compile(
    r"(?P<number>\d+) (?P<time>\d\d:\d\d:\d\d\.\d{9}) (?P<cpu>\d+) (?P<comm>\S+) \((?P<tid>\d+)\) "
    r"(?P<direction>[<>]) (?P<type>\w+)(?: (?P<arguments>.*))?"
)
_ARGUMENTS = {
    ("connect", ">"): r"fd=\d+\(<u>\)",
    ("connect", "<"): rf"res=0 tuple={_NAME.removeprefix('<u>')}",
    ("accept4", ">"): r"flags=0",
    ("accept4", "<"): rf"fd=\d+\({_NAME}\) tuple={_NAME.removeprefix('<u>')} queuepct=\S+ queuelen=\S+ queuemax=\S+",
    ("writev", ">"): rf"fd=\d+\({_NAME}\) size=\d+",
    ("writev", "<"): r"res=(\d+|-\d+\([A-Z]+\)) data=",
    ("read", ">"): rf"fd=\d+\({_NAME}\) size=\d+",
    ("read", "<"): r"res=(\d+|-\d+\([A-Z]+\)) data=",
    ("write", ">"): rf"fd=\d+\({_NAME}\) size=\d+",
    ("write", "<"): r"res=(\d+|-\d+\([A-Z]+\)) data=",
    ("close", ">"): rf"fd=\d+\({_NAME}\)",
    ("close", "<"): r"res=0",
}
"""What stands behind each call that these two programs do, where it begins (>) and where it ends (<)."""


@dataclass(frozen=True)
class Step:
    """A command of README's, run."""

    command: str
    status: int
    output: str
    complaints: str

    @property
    def lines(self) -> list[str]:
        """What it printed, line for line."""
        return self.output.splitlines()


@dataclass
class Investigation:
    """What a reader of README sees, step by step."""

    folder: Path
    steps: dict[str, Step] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What stands in README, and what is put in its place."""
    logged: list[LoggedFailure] = field(default_factory=list)
    """What httpd has logged of the server that is not mended."""

    def run(self, name: str, command: str) -> None:
        """Run a command as README has it."""
        words = {"sudo hangup": "hangup", **self.names}
        for readme, here in words.items():
            command = command.replace(readme, here)
        command = re.sub(r"^hangup\b", f"{shlex.quote(sys.executable)} -m hangup", command)
        environment = os.environ | {"PYTHONPATH": str(README.parent), "TZ": "UTC"}
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment,
            timeout=_LIMIT,
            check=False,
        )
        self.steps[name] = Step(command, done.returncode, done.stdout, done.stderr)
        print(f"{name}: {command}: {done.returncode}\n{done.stderr}", file=sys.stderr)


def commands() -> dict[str, str]:
    """Return README's commands by what they are for."""
    [block] = _COMMANDS.findall(README.read_text())
    found = [line.strip() for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
    return dict(zip(_STEPS, found, strict=True))


@pytest.fixture(scope="module")
def investigation(requests_to_send: int) -> Iterator[Investigation]:
    """Do what README says."""
    todo = commands()
    # Not below pytest's own folder: httpd's worker is not root, and may not enter it.
    with tempfile.TemporaryDirectory(prefix="hangup-") as name:
        found = Investigation(Path(name))
        found.names = {"-n 1000": f"-n {requests_to_send}"}
        with servers.httpd_to_fastcgi(found.folder) as scenario:
            found.names["URL"] = scenario.url
            found.run("record", todo["record"])
            found.logged = scenario.failures()
        # What a reader finds out by looking: both processes, and of one failure its socket and its connection.
        found.run(
            "look", "hangup trace -r before.hup -p '%conn.number %proc.name %proc.pid %evt.type %evt.rawres %fd.name'"
        )
        seen = [line.split() for line in found.steps["look"].lines]
        pids = {comm: pid for _, comm, pid, *_ in seen}
        found.names |= {"22000": pids["apache2"], "20881": pids["uwsgi"]}
        number, address = classic(seen)
        found.names |= {"ffff880108bcc440": address, "-c 12": f"-c {number}"}
        for step in _STEPS[1:9]:
            found.run(step, todo[step])
        found.run("layout", f"hangup trace -r before.hup --format sysdig -c {number}")
        with servers.httpd_to_fastcgi(found.folder, mended=True) as scenario:
            found.names["URL"] = scenario.url
            found.run("record mended", todo["record mended"])
        found.run("diff", todo["diff"])
        yield found


def classic(seen: list[list[str]]) -> tuple[str, str]:
    """Return the number of a connection that failed as README tells it, and the address of the socket it failed on."""
    read: dict[str, list[str]] = {}
    written: dict[str, list[str]] = {}
    for number, comm, _, call, result, name, *_ in seen:
        if (comm, call) == ("uwsgi", "read"):
            # It asks at once, and again when there is something.
            if result != "-11":
                read.setdefault(number, []).append(result)
        elif (comm, call) == ("apache2", "writev"):
            written.setdefault(number, []).append(result)
            if result == "-32" and written[number] == [*read.get(number, []), "-32"] and len(written[number]) == 4:
                return number, name.split("->")[0]
    raise AssertionError(f"uWSGI read no failed request in three pieces: {read}, {written}")


def results(lines: list[str], comm: str, call: str) -> list[str]:
    """Return what came of a process's calls, from lines in sysdig's layout."""
    found = [match for match in map(_SYSDIG.fullmatch, lines) if match is not None]
    ended = [each for each in found if (each["comm"], each["type"], each["direction"]) == (comm, call, "<")]
    return [re.sub(r"^res=(\S+).*", r"\1", each["arguments"]) for each in ended]


def test_every_command_does_what_it_is_to(investigation: Investigation) -> None:
    statuses = {name: step.status for name, step in investigation.steps.items()}
    alerted = {"record", "watch"}
    assert statuses == {name: ExitStatus.ALERTS if name in alerted else 0 for name in statuses}
    for step in investigation.steps.values():
        assert "Traceback" not in step.complaints


def test_the_capture_has_every_request_and_nothing_is_lost(investigation: Investigation, requests_to_send: int) -> None:
    connects = re.findall(r"^\d+ \S+ \d+ apache2 \(\d+\) < connect res=0", "\n".join(both(investigation)), re.MULTILINE)
    assert len(connects) == requests_to_send
    assert "nothing lost" in investigation.steps["list"].complaints


def both(investigation: Investigation) -> list[str]:
    """Return the listing of both processes."""
    return (investigation.folder / "both.txt").read_text().splitlines()


def test_the_listing_has_sysdig_s_layout_line_for_line(investigation: Investigation) -> None:
    lines = investigation.steps["layout"].lines
    assert lines
    for number, line in enumerate(lines, 1):
        found = _SYSDIG.fullmatch(line)
        assert found is not None, line
        assert int(found["number"]) == number
        expected = _ARGUMENTS[found["type"], found["direction"]]
        assert re.fullmatch(expected, found["arguments"] or ""), line
    times = [line.split()[1] for line in lines]
    assert times == sorted(times)


def test_the_listing_of_one_connection_tells_the_classic_failure(investigation: Investigation) -> None:
    lines = investigation.steps["layout"].lines
    written, read = results(lines, "apache2", "writev"), results(lines, "uwsgi", "read")
    read = [each for each in read if each != "-11(EAGAIN)"]
    parameters = written[1]
    assert written == ["16", parameters, "8", "-32(EPIPE)"]
    assert read == ["16", parameters, "8"]
    assert results(lines, "uwsgi", "close") == ["0"]
    ends = [line.split(" ", 3)[3] for line in lines]
    [hung_up] = (place for place, end in enumerate(ends) if re.match(r"uwsgi \(\d+\) > close", end))
    [broken] = (place for place, end in enumerate(ends) if "EPIPE" in end)
    assert hung_up < broken


def test_the_classic_egrep_lines_find_what_they_always_found(investigation: Investigation) -> None:
    calls = investigation.steps["egrep calls"].lines
    assert calls
    assert calls == [line for line in both(investigation) if re.search("(connect|writev|close|read|PIPE)", line)]
    address = investigation.names["ffff880108bcc440"]
    found = investigation.steps["egrep address"].lines
    assert [line for line in found if f"<u>{address}->" in line]
    failed = [line for line in found if "EPIPE" in line]
    assert len(failed) == len(investigation.logged) > 0
    assert all(re.search(r"apache2 \(\d+\) < writev res=-32\(EPIPE\) data=$", line) for line in failed)


def test_questions_to_the_capture_find_the_same(investigation: Investigation) -> None:
    failed = investigation.steps["failed"].lines
    assert len(failed) == len(investigation.logged)
    assert all("EPIPE" in line for line in failed)
    number = investigation.names["-c 12"].removeprefix("-c ")
    connection = investigation.steps["connection"].lines
    assert connection
    assert all(f" #{number} " in line for line in connection)
    assert 2 * len(connection) == len(investigation.steps["layout"].lines)
    # Others may have had that address before.
    assert set(connection) <= set(investigation.steps["address"].lines)


def test_watch_says_it_of_every_failure_in_one_command(investigation: Investigation) -> None:
    text = investigation.steps["watch"].output
    assert re.search(r"uwsgi\[\d+\] read \d+ bytes, answered \d+ bytes and hung up; ", text)
    assert re.search(r"apache2\[\d+\]'s write of 8 bytes failed with EPIPE", text)
    [row] = re.findall(r"^answered +(\d+) ", text, re.MULTILINE)
    assert int(row) == len(investigation.logged)


def test_the_page_for_the_ticket_has_the_same_count(investigation: Investigation, requests_to_send: int) -> None:
    page = investigation.folder / "before.html"
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert f"{len(investigation.logged)} of {requests_to_send} connections failed" in text


def test_the_mended_server_is_better_and_diff_says_so(investigation: Investigation, requests_to_send: int) -> None:
    [line] = (line for line in investigation.steps["diff"].lines if line.startswith("better: "))
    failed = len(investigation.logged)
    assert f"{failed} of {requests_to_send} failed before, 0 of {requests_to_send} after" in line
