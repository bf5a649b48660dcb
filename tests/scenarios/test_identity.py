"""A daemon that drops root and executes something else: what it was when it connected is one command of README's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hangup.cli.reporters.alert_json import alert_line
from hangup.tracer.record.layout import IDENTITY_TYPE, TYPE
from hangup.tracer.story.identity import change_of
from hangup.tracer.tracer import Alert, Tracer
from tests.captures import read_file
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton, Player, client, listener, receive, wait_for_hangup

README = Path(__file__).parents[2] / "README.md"
_COMMAND = re.compile(r"<!-- identity: [^\n]* -->\n +(.*?)\n<!-- end -->", re.DOTALL)

# nobody and nogroup: no user of the host's that anything is run as.
_NOBODY = 65534

# What the daemon executes: it asks something on the connection that it has inherited, and gets no answer.
_SUCCESSOR = """\
import socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
end.sendall(b"what do you say")
end.recv(3)
"""


@pytest.fixture(params=exact_flavours())
def flavour(request: pytest.FixtureRequest) -> str:
    """Return the kinds of probes, one after the other."""
    return str(request.param)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that nobody may enter but for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def drop_root() -> None:
    """Become nobody, for good."""
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)


@dataclass(frozen=True)
class Played:
    """What has happened."""

    daemon: int
    """The pid of the daemon."""
    before: Path
    after: Path


def play(folder: Path, *, root_first: bool = True) -> Played:
    """Have a daemon connect, drop root, connect again and execute something; or drop root and then connect."""
    before, after = folder / "before", folder / "after"
    ready = Baton()

    def serve() -> None:
        with listener(before) as one, listener(after) as other:
            for path in (before, after):
                path.chmod(0o777)
            ready.pass_on()
            kept = one.accept()[0] if root_first else None
            other.accept()[0].close()
            if kept is not None:
                receive(kept, len(b"what do you say"))
                kept.close()

    def be_daemon() -> None:
        ready.take()
        first = client(before) if root_first else None
        drop_root()
        second = client(after)
        wait_for_hangup(second)
        second.close()
        if first is not None:
            first.set_inheritable(True)
            os.execv(sys.executable, [sys.executable, "-c", _SUCCESSOR, str(first.fileno())])  # noqa: S606 - it is what is looked at

    server, daemon = Player(serve), Player(be_daemon)
    server.end()
    daemon.end()
    return Played(daemon.pid, before, after)


def command() -> str:
    """Return README's command."""
    [found] = _COMMAND.findall(README.read_text())
    return str(found)


def traced(capture: Path, *arguments: str) -> list[str]:
    """Return the lines of `hangup trace` of a capture."""
    words = [sys.executable, "-m", "hangup", "trace", "-r", str(capture), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def calls(lines: list[str], pid: int) -> list[tuple[str, str]]:
    """Return the calls of a process, each with the uid that it had then."""
    found = [line.split() for line in lines]
    return [(call, uid) for who, call, uid in found if who == str(pid)]


@pytest.mark.parametrize("root_first", [True, False], ids=["connects first", "drops root first"])
def test_before_or_after_it_dropped_root_is_one_command(flavour: str, root_first: bool, open_folder: Path) -> None:
    capture = open_folder / "capture.hup"
    with Tracer(probes=flavour, stream=True, keep=capture) as tracer:
        played = play(open_folder, root_first=root_first)
        tracer.stop()
        for _ in tracer.alerts():
            pass
    [quoted] = re.findall(r"'(.*)'", command())
    lines = traced(capture, quoted, "-p", "%proc.pid %evt.type %user.uid")
    nobody = str(_NOBODY)
    dropped = [("setresuid", nobody), ("connect", nobody)]
    expected = [("connect", "0"), *dropped, ("execve", nobody)] if root_first else dropped
    assert calls(lines, played.daemon) == expected
    # The other end of what the server does is no line of the daemon's.
    text = [line for line in traced(capture, quoted) if line.split()[1].endswith(f"[{played.daemon}]")]
    [setresuid] = [line for line in text if " setresuid " in line]
    assert f"uid 0 -> {nobody}, no capabilities left" in setresuid
    connects = [str(played.before), "setresuid", str(played.after)] if root_first else ["setresuid", str(played.after)]
    assert [word for line in text for word in connects if word in line] == connects
    if root_first:
        assert sys.executable in text[-1]


def names(alert: Alert) -> list[tuple[str, int, int]]:
    """Return what an alert says of who its processes have become: by which call, and the user ids."""
    assert alert.story is not None
    return [(change.call, change.before.uid, change.after.uid) for change in alert.story.identity.changes]


def test_the_story_of_what_it_inherited_tells_it_both_ways_and_from_a_file(flavour: str, open_folder: Path) -> None:
    told: dict[str, list[str]] = {}
    with (
        Tracer(probes=flavour, stream=True, keep=open_folder / "streamed") as streamed,
        Tracer(probes=flavour, keep=open_folder / "recorded") as recorded,
    ):
        played = play(open_folder)
        for name, tracer in (("streamed", streamed), ("recorded", recorded)):
            tracer.stop()
            alerts = list(tracer.alerts())
            [alert] = [alert for alert in alerts if alert.path == str(played.before)]
            dropped = [("setresgid", 0, 0), ("setresuid", 0, _NOBODY)]
            assert names(alert) == [*dropped, ("execve", _NOBODY, _NOBODY)], name
            assert alert.story is not None
            executed = alert.story.identity.changes[-1]
            assert executed.file == sys.executable
            assert not executed.after.capabilities
            told[name] = [alert_line(each, tracer.clocks) for each in alerts]
    for name, lines in told.items():
        command = [sys.executable, "-m", "tests.replay", "--hide-proc", str(open_folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        again = done.stdout.splitlines()[: len(lines)]
        assert list(map(json.loads, again)) == list(map(json.loads, lines))


def test_who_has_no_connection_is_not_told_of_while_the_kernel_records(flavour: str, open_folder: Path) -> None:
    """A storm of programs that have none costs the reader nothing."""
    capture = open_folder / "capture.hup"
    with Tracer(probes=flavour, keep=capture) as tracer:
        loop = ["/bin/sh", "-c", "for i in 1 2 3 4 5; do /bin/true; done"]
        subprocess.run(loop, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        tracer.stop()
        assert list(tracer.alerts()) == []
    records, _ = read_file(capture)
    assert not [record for record in records if record[TYPE] == IDENTITY_TYPE]


def test_what_execve_itself_changes_is_told_with_it(flavour: str, open_folder: Path) -> None:
    """The saved user id becomes the effective one (bprm_creds_from_file(), begin_new_exec())."""
    path = open_folder / "socket"
    ready = Baton()

    def serve() -> None:
        with listener(path) as waiting:
            ready.pass_on()
            receive(waiting.accept()[0], 1)

    def execute() -> None:
        ready.take()
        end = client(path)
        os.setresuid(0, _NOBODY, 0)
        os.dup2(end.fileno(), 1)
        os.execv("/bin/echo", ["echo"])  # noqa: S606 - it is what is looked at

    capture = open_folder / "capture.hup"
    with Tracer(probes=flavour, stream=True, keep=capture) as tracer:
        server, player = Player(serve), Player(execute)
        server.end()
        player.end()
        tracer.stop()
        list(tracer.alerts())
    records, _ = read_file(capture)
    changes = [change_of(record) for record in records if record[TYPE] == IDENTITY_TYPE]
    _, executed = [change for change in changes if change.event.pid == player.pid]
    assert (executed.call, executed.file, executed.event.leader.rstrip(b"\0")) == ("execve", "/bin/echo", b"echo")
    assert (executed.before.suid, executed.after.suid) == (0, _NOBODY)
    assert executed.before.euid == executed.after.euid == _NOBODY
    assert executed.comm_before != "echo"
