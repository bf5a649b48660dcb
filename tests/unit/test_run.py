"""The run itself: it ends when it should, loses nothing of the end, and tells when it is ready."""

from __future__ import annotations

import os
import select
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import click
import pytest

from hangup.cli.child import CommandNotStartedError, User, environment_for, invoking_user
from hangup.cli.exit_status import ExitStatus
from hangup.cli.ready import Ready
from hangup.cli.run import Signals, first_interrupt_for, run
from hangup.tracer.tracer import Alert


class FakeTracer:
    """Yields what is given, calls `meanwhile` at every look, and remembers the order of things."""

    def __init__(
        self, alerts: Iterable[str] = (), left: Iterable[str] = (), meanwhile: Callable[[], None] | None = None
    ):
        self._alerts = list(alerts)
        self._left = list(left)
        self._meanwhile = meanwhile or (lambda: None)
        self.said: list[str] = []

    def poll(self, timeout: float) -> Iterator[Alert]:
        """Yield all there is."""
        assert 0 <= timeout <= 1
        self._meanwhile()
        alerts, self._alerts = self._alerts, []
        return cast("Iterator[Alert]", iter(alerts))

    def wake_by(self, descriptor: int) -> None:
        """Remember it."""
        self.woken_by = descriptor

    def stop(self) -> None:
        """Remember it."""
        self.said.append("stopped")

    exhausted = False

    def alerts(self) -> Iterator[Alert]:
        """Yield what is left."""
        return cast("Iterator[Alert]", iter(self._left))

    def show(self, alert: Alert) -> None:
        """Remember an alert."""
        self.said.append(str(alert))


def run_shown(tracer: FakeTracer, **options: object) -> int | None:
    return run(tracer, on_alert=tracer.show, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_what_is_left_is_drained_after_the_probes_are_gone(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    tracer = FakeTracer(["first"], ["last"], meanwhile=lambda: os.kill(os.getpid(), number))
    assert run_shown(tracer, on_ready=lambda: tracer.said.append("ready")) is None
    assert tracer.said == ["ready", "first", "stopped", "last"]
    assert signal.getsignal(number) is before


def test_a_signal_right_before_a_look_wakes_it_and_no_later_one() -> None:
    woken: list[bool] = []

    def look() -> None:
        os.kill(os.getpid(), signal.SIGCHLD)
        # As it is when the ring buffer is about to be waited for.
        woken.append(bool(select.select([tracer.woken_by], [], [], 0)[0]))

    tracer = FakeTracer(meanwhile=look)
    run_shown(
        tracer,
        duration=0.01,
        after_batch=lambda: woken.append(bool(select.select([tracer.woken_by], [], [], 0)[0])),
    )
    # Afterwards, when everything is taken, the descriptor is no more.
    assert woken[:2] == [True, False]


def test_a_signal_that_is_ignored_on_purpose_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.received
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_again_does_not_wait_for_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.1, 3.0])
    with Signals():
        monkeypatch.setattr("hangup.cli.run.time.monotonic", lambda: next(times))
        os.kill(os.getpid(), signal.SIGINT)
        # timeout(1) sends a signal twice at once.
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_where_ctrl_c_is_for_somebody_else_too_the_second_one_ends_and_the_third_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 0.1, 3.0, 3.1, 6.0])
    with Signals(lets_end=lambda: True) as signals:
        monkeypatch.setattr("hangup.cli.run.time.monotonic", lambda: next(times))
        for is_received in (False, False, True, True):
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.received == is_received
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_while_a_pipe_is_read_the_second_ctrl_c_interrupts_and_otherwise_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    times = iter([0.0, 0.1, 3.0, 4.0])
    monkeypatch.setattr("hangup.cli.run.time.monotonic", lambda: next(times))
    with first_interrupt_for(lambda: True):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with first_interrupt_for(lambda: False), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_again_leaves_the_library_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0])
    reached: list[str] = []

    def read() -> None:
        monkeypatch.setattr("hangup.cli.run.time.monotonic", lambda: next(times))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("records")

    tracer = FakeTracer(["an alert"], meanwhile=read)
    with pytest.raises(KeyboardInterrupt):
        run_shown(tracer)
    assert reached == ["records"]
    assert tracer.said == []


def test_a_duration_ends_the_run() -> None:
    tracer = FakeTracer(["first"], ["last"])
    assert run_shown(tracer, duration=0.01) is None
    assert tracer.said == ["first", "stopped", "last"]


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), (["false"], 1), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_a_command_ends_the_run_with_its_own_status(command: list[str], status: int) -> None:
    tracer = FakeTracer(left=["last"])
    assert run_shown(tracer, command=command) == status
    assert tracer.said == ["stopped", "last"]


def test_a_command_starts_when_the_probes_are_attached(tmp_path: Path) -> None:
    marker = tmp_path / "ready"
    command = ["sh", "-c", f"test -e {marker}"]
    assert run_shown(FakeTracer(), on_ready=marker.touch, command=command) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_to_the_command(number: signal.Signals) -> None:
    tracer = FakeTracer(meanwhile=lambda: os.kill(os.getpid(), number))
    assert run_shown(tracer, command=["sleep", "600"]) == 128 + number


def test_the_end_of_the_duration_ends_the_command() -> None:
    assert run_shown(FakeTracer(), command=["sleep", "600"], duration=0.01) == 128 + signal.SIGTERM


def test_a_command_does_not_outlive_a_run_that_fails(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    found: list[int] = []

    def reader_gone() -> None:
        found.append(int(pid.read_text()))
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_shown(FakeTracer(), command=["sh", "-c", f"echo $$ > {pid}; exec sleep 600"], after_batch=reader_gone)
    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)


@pytest.mark.parametrize(
    ("name", "mode", "status"),
    [
        ("missing", None, ExitStatus.COMMAND_NOT_FOUND),
        ("plain", 0o644, ExitStatus.COMMAND_NOT_RUN),
        ("no-format", 0o755, ExitStatus.COMMAND_NOT_RUN),
    ],
)
def test_a_command_that_cannot_be_started_ends_as_in_a_shell(
    tmp_path: Path, name: str, mode: int | None, status: int
) -> None:
    path = tmp_path / name
    if mode is not None:
        path.write_bytes(b"\0neither script nor program")
        path.chmod(mode)
    with pytest.raises(CommandNotStartedError) as raised:
        run_shown(FakeTracer(), command=[str(path)])
    assert raised.value.exit_status == status
    assert str(raised.value).startswith(f"cannot run {path}: ")


def test_only_root_by_sudo_has_a_user_to_go_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    monkeypatch.setattr("hangup.cli.child.os.geteuid", lambda: 0)
    user = invoking_user(sudo)
    assert user is not None
    assert (user.uid, user.gid) == (65534, 65534)
    assert 65534 in user.groups
    assert invoking_user({}) is None
    assert invoking_user({"SUDO_UID": "0", "SUDO_GID": "0"}) is None
    assert invoking_user({"SUDO_UID": "many", "SUDO_GID": "1"}) is None
    monkeypatch.setattr("hangup.cli.child.os.geteuid", lambda: 1000)
    assert invoking_user(sudo) is None


def test_a_user_of_no_list_is_gone_back_to_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangup.cli.child.os.geteuid", lambda: 0)
    user = invoking_user({"SUDO_UID": "4000000", "SUDO_GID": "4000001", "SUDO_USER": "guest"})
    assert user == User(4_000_000, 4_000_001, (4_000_001,), "guest", "/")


def test_the_environment_is_kept_but_for_what_sudo_set_to_root() -> None:
    user = User(1000, 1000, (1000,), "alice", "/home/alice")
    roots = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "PATH": "/bin", "SUDO_UID": "1000"}
    assert environment_for(user, roots) == {
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "PATH": "/bin",
        "SUDO_UID": "1000",
    }
    own = {"HOME": "/srv/test", "USER": "bob"}
    assert environment_for(user, own) == own


def test_the_command_runs_as_the_user_who_called_sudo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65533")
    status = run_shown(FakeTracer(), command=["sh", "-c", "id -u; id -g; id -G"])
    assert status == 0
    uid, gid, groups = capfd.readouterr().out.splitlines()
    assert (uid, gid) == ("65534", "65533")
    assert "0" not in groups.split()


def test_a_ready_file_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.write_text("an earlier run's\n")
    ready = Ready(path)
    assert not path.exists()
    ready.report("fentry")
    assert path.read_text() == f"{os.getpid()} fentry\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_ready_descriptor_gets_the_line_and_its_end() -> None:
    read, write = os.pipe()
    Ready(descriptor=write).report("kprobe")
    with os.fdopen(read) as file:
        assert file.read() == f"{os.getpid()} kprobe\n"


def test_what_cannot_be_reported_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(click.UsageError, match="no ordinary file"):
        Ready(tmp_path / "fifo")
    with pytest.raises(click.UsageError, match="no ordinary file"):
        Ready(tmp_path)
    with pytest.raises(click.UsageError, match="no directory"):
        Ready(tmp_path / "nowhere" / "file")
    with pytest.raises(click.UsageError, match="descriptor 1000 is not open"):
        Ready(descriptor=1000)
