"""What a machine does all day while the service watches: an alert is a true failure, and stands here by name.

The boot, a login, sudo, an installation, cron, a reload, a bus with its clients, Python's worker processes. Whoever
adds a verdict has to keep them as quiet as they are.
"""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest

from hangup.cli.sinks.journal import ALERT_ID, HELD_BACK_ID
from tests.scenarios import stage
from tests.vm.machine import UNIT, Journal, Metrics, reconfigured, run, running, until


@dataclass(frozen=True)
class TrueFailure:
    """A failure that is real and nobody's worry: the alert on it is right, and comes with what the machine does.

    Names and path are patterns, as for fnmatch.
    """

    verdict: str
    client: str
    server: str
    path: str
    why: str

    def covers(self, alert: dict[str, str]) -> bool:
        """Whether an entry of the journal is about this failure; one that counts what was held back names no path."""
        return (
            alert["HANGUP_VERDICT"] == self.verdict
            and fnmatchcase(alert.get("HANGUP_CLIENT_COMM", "?"), self.client)
            and fnmatchcase(alert.get("HANGUP_SERVER_COMM", "?"), self.server)
            and ("HANGUP_HELD_BACK" in alert or fnmatchcase(alert.get("HANGUP_PATH", "-"), self.path))
        )


_MANAGERS_SOCKET = "/tmp/pymp-*/listener-*"

TRUE_FAILURES = (
    TrueFailure(
        "gave-up",
        "python3",
        "python3",
        _MANAGERS_SOCKET,
        "A manager of Python's multiprocessing answers its own shutdown twice (Server.shutdown() and then "
        "handle_request()); the second answer meets a client that has its answer and has left.",
    ),
    TrueFailure(
        "listener-gone",
        "python3",
        "?",
        _MANAGERS_SOCKET,
        "A child that was forked after the manager's end says good-bye to it, for the proxy that it inherited "
        "(BaseProxy._decref()).",
    ),
    TrueFailure(
        "exited",
        "dbus-send",
        "dbus-daemon",
        "*",
        "The bus tells each client its name after the answer to its Hello, in a message of its own. dbus-send does not "
        "wait for that: on a slow machine it has sent its signal and left before that has come.",
    ),
)


def unexplained(entries: list[dict[str, str]]) -> list[str]:
    """Return what no true failure covers, each with its story: who reads it has to judge it."""
    return [
        "\n".join([entry["MESSAGE"], f"[{entry['HANGUP_VERDICT']}]", entry.get("HANGUP_STORY", "")])
        for entry in entries
        if not any(known.covers(entry) for known in TRUE_FAILURES)
    ]


# ---- the boot ----------------------------------------------------------------


def test_every_alert_since_the_boot_is_a_true_failure() -> None:
    # A boot that nothing else was tested in yet (`python -m tests.vagrant reboot SUITE` makes one), and the service as
    # it was installed: what the burst had it hold back stands in the journal too, by verdict and names.
    told = [entry for one in (ALERT_ID, HELD_BACK_ID) for entry in Journal.since(0, f"MESSAGE_ID={one}")]
    # Nothing that the service missed is why it is quiet.
    metrics = Metrics()
    assert metrics.total("hangup_losses_total") == 0
    assert metrics.total("hangup_connections_total") > 0
    assert not unexplained(told)


# ---- what it does then -------------------------------------------------------


def _log_in() -> None:
    """Log in by ssh, with a terminal and without."""
    keys = Path("/home/vagrant/.ssh/authorized_keys")
    before = keys.read_text()
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        keys.write_text(before + key.with_suffix(".pub").read_text())
        try:
            options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes")
            ssh = ("ssh", "-i", str(key), *(f"-o{option}" for option in options), "-q")
            run(*ssh, "vagrant@127.0.0.1", "id")
            run(*ssh, "-tt", "vagrant@127.0.0.1", "sudo id")
        finally:
            keys.write_text(before)


def _sudo() -> None:
    """Run a command as somebody else who runs one as root, and one that fails."""
    run("sudo", "--non-interactive", "--user", "vagrant", "sudo", "--non-interactive", "id")
    run("sudo", "--non-interactive", "--user", "vagrant", "false", status=1)


_CONTROL = """\
Package: hangup-noise
Version: {version}
Architecture: all
Maintainer: nobody <nobody@hangup.example>
Description: a package that brings a service
"""
_SCRIPT = "#!/bin/sh\nset -e\nsystemctl daemon-reload\nsystemctl {} hangup-noise.service\n"
_SERVICE = "[Service]\nExecStart=sleep infinity\n"


def _install() -> None:
    """Install a package with a service, a newer version of it, and purge it."""
    apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy")
    with tempfile.TemporaryDirectory() as folder:
        # apt reads it as its own user.
        Path(folder).chmod(0o755)
        for version in ("1", "2"):
            tree = Path(folder) / version
            (tree / "DEBIAN").mkdir(parents=True)
            (tree / "DEBIAN" / "control").write_text(_CONTROL.format(version=version))
            for name, verb in (("postinst", "restart"), ("prerm", "stop")):
                script = tree / "DEBIAN" / name
                script.write_text(_SCRIPT.format(verb))
                script.chmod(0o755)
            unit = tree / "usr" / "lib" / "systemd" / "system" / "hangup-noise.service"
            unit.parent.mkdir(parents=True)
            unit.write_text(_SERVICE)
            deb = Path(folder) / f"{version}.deb"
            run("dpkg-deb", "--build", "--root-owner-group", str(tree), str(deb))
            run(*apt, "install", str(deb))
        run(*apt, "purge", "hangup-noise")


def _cron() -> None:
    """Have cron run something, once a minute."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        table = Path("/etc/cron.d/hangup-noise")
        table.write_text(f"* * * * * root touch {done}\n")
        try:
            until(done.exists, "that cron runs its table")
        finally:
            table.unlink()


def _nginx() -> None:
    """Start a server, reload it while it serves, and stop it."""
    run("systemctl", "start", "nginx.service")
    try:
        for _ in range(3):
            run("ab", "-q", "-n", "20", "-c", "4", "http://127.0.0.1/")
            run("systemctl", "reload", "nginx.service")
        run("ab", "-q", "-n", "20", "-c", "4", "http://127.0.0.1/")
    finally:
        run("systemctl", "stop", "nginx.service")


# The first thing that the bus has for a client is its name.
_LISTENS = """
said=$(mktemp)
dbus-monitor --session >$said &
until grep -q NameAcquired $said; do kill -0 $!; done
rm $said
"""


def _bus() -> None:
    """Ask the machine's bus, and one of our own that comes and goes with its clients."""
    ask = ("--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames")
    run("dbus-send", "--system", *ask)
    run("dbus-send", "--system", "/", "org.hangup.Noise.NobodyListens")
    run("busctl", "--no-pager", "list")
    run("sudo", "--non-interactive", "--user", "vagrant", "systemctl", "--no-pager", "status", UNIT)
    run("dbus-run-session", "--", "dbus-send", "--session", *ask)
    # Its bus goes away under a client that has said hello and waits for whatever comes.
    run("dbus-run-session", "--", "sh", "-c", _LISTENS)


_WORKERS = """
import asyncio, concurrent.futures, multiprocessing

def square(number):
    return number * number

def child(end):
    end.send([end.recv() * 2])

def main():
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert sum(pool.map(square, range(100))) == 328350
        with context.Manager() as manager:
            shared = manager.dict()
            shared["a"] = 1
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
                assert list(executor.map(square, range(4))) == [0, 1, 4, 9]
            assert shared["a"] == 1
        ours, other = context.Pipe()
        process = context.Process(target=child, args=(other,))
        process.start()
        ours.send(21)
        assert ours.recv() == [42]
        process.join()
        queue = context.Queue()
        feeder = context.Process(target=queue.put, args=(b"x" * 300000,))
        feeder.start()
        assert len(queue.get()) == 300000
        feeder.join()
    asyncio.run(subprocesses())

async def subprocesses():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await process.communicate(b"hello"))[0] == b"hello"

if __name__ == "__main__":
    main()
"""


def _workers() -> None:
    """Let Python's pools, managers, pipes and queues come and go."""
    with tempfile.TemporaryDirectory() as folder:
        # From a file: the methods other than fork import it anew.
        program = Path(folder) / "workers.py"
        program.write_text(_WORKERS)
        run(sys.executable, str(program))


def _look_up_names() -> None:
    """Ask for people and hosts, of services that are not installed either (nscd)."""
    run("getent", "passwd", "vagrant")
    run("getent", "hosts", "localhost")
    run("logger", "hangup's tests were here")
    run("loginctl", "--no-pager", "list-sessions", status=None)


@dataclass(frozen=True)
class Activity:
    """Something that the machine does, and who is seen on a Unix connection while it does."""

    do: Callable[[], None]
    seen: frozenset[str]


ACTIVITIES = {
    "an ssh login": Activity(_log_in, frozenset({"sshd"})),
    # It asks nobody but nscd, whose path is ignored.
    "sudo": Activity(_sudo, frozenset()),
    "an installation": Activity(_install, frozenset({"apt-get"})),
    "cron": Activity(_cron, frozenset()),
    "a reload of nginx": Activity(_nginx, frozenset({"nginx"})),
    "a bus and its clients": Activity(_bus, frozenset({"dbus-daemon", "dbus-send"})),
    "python's worker processes": Activity(_workers, frozenset({"python3"})),
    "looking up names": Activity(_look_up_names, frozenset()),
}


@pytest.fixture(scope="module")
def every_alert() -> Iterator[None]:
    """Have the service tell every alert, and not so many of a kind."""
    running()
    with reconfigured("[thresholds]\nburst = 1000000\n"):
        yield


@contextmanager
def _client_of_a_server_that_hangs_up(path: Path) -> Iterator[None]:
    """Break a connection on purpose; its client does nothing more while the context lasts."""
    with stage.listener(path) as listening, stage.client(path) as client:
        client.send(b"123")
        accepted, _ = listening.accept()
        accepted.close()
        assert stage.fails(partial(client.send, b"4")) == errno.EPIPE
        yield


def _told_since(begun: int) -> list[dict[str, str]]:
    """Return every alert since then, as soon as the service has told of what happened before now."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
        path = Path(folder) / "last.s"
        # Alerts come in the order of what happened, except that one may wait for what the survivor does next: so the
        # client of this one does nothing.
        with _client_of_a_server_that_hangs_up(path):
            until(lambda: Journal.since(begun, f"MESSAGE_ID={ALERT_ID}", f"HANGUP_PATH={path}"), "the last alert")
        alerts = Journal.since(begun, f"MESSAGE_ID={ALERT_ID}")
        return [alert for alert in alerts if alert.get("HANGUP_PATH") != str(path)]


@pytest.mark.usefixtures("every_alert")
@pytest.mark.parametrize("name", ACTIVITIES)
def test_every_alert_while_the_machine_works_is_a_true_failure(name: str) -> None:
    activity = ACTIVITIES[name]
    begun, before = Journal.now(), Metrics()
    activity.do()
    alerts = _told_since(begun)
    after = Metrics()

    def connections(**labels: str) -> float:
        return after.total("hangup_connections_total", **labels) - before.total("hangup_connections_total", **labels)

    # Shown with -rP, or when it fails.
    print(f"{name}: {connections():.0f} connections, {len(alerts)} alerts")
    assert not unexplained(alerts)
    # Quiet because nothing failed, not because nothing was seen.
    for comm in activity.seen:
        assert connections(client=comm) + connections(server=comm) > 0, comm
    assert after.total("hangup_losses_total") == before.total("hangup_losses_total")
    assert after.total("hangup_alerts_held_back_total") == before.total("hangup_alerts_held_back_total")
