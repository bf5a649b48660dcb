"""Each verdict of docs/verdicts.md made to happen with real sockets on a real kernel, with both kinds of probes."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.reporters.alert_json import alert_line
from hangup.tracer.field import Field
from hangup.tracer.fields import ALERT, FIGURES, OPERATION, SENDER
from hangup.tracer.names import syscall_name
from hangup.tracer.record.layout import Event, EventFlag, Operation
from hangup.tracer.statistics import Key
from hangup.tracer.story.operation import syscall_of
from hangup.tracer.story.story import Traced
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind
from tests.replay import summary
from tests.said import said
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.ring import Ring, is_available
from tests.scenarios.stage import (
    Baton,
    Player,
    client,
    fails,
    listener,
    receive,
    talk,
    wait_for_hangup,
    wait_until_the_peer_waits_for_room,
)

# include/uapi/asm-generic/socket.h: beyond net.core.wmem_max, for root.
SO_SNDBUFFORCE = 32
# proc_pid_syscall(5): what sigwait(3) waits in begins with its number.
_RT_SIGTIMEDWAIT = "128 "


# Two tracers look at the clock, and at a queue, in two instants: the programs of one run after those of the other. So
# what one end does while the other one hangs up, shuts down or writes is told differently by the two: batons keep the
# ends of a scenario apart, and one that was hurt closes before the other one ends.
_DURATION = re.compile(r"[0-9.]+ (ns|µs|ms|s|min|h)\b")
_TOLD: tuple[Field[Any], ...] = (*ALERT, *OPERATION, *FIGURES, *SENDER)
_INSTANTS = {field.name for field in _TOLD if field.type == "time" or field.unit == "ns"} | {"unread_messages"}
# They give numbers of their own, and totals go on till a story is told.
_OF_TRACER = ("connection", "client", "server")


# Where a connection is handed over in the middle of what the other end keeps, on another processor.
_AT_ONCE = "two operations of one end ended in the same instant: one of them is only counted"


def told(alert: Alert) -> dict[str, object]:
    """Return what an alert says, in which two ways of watching agree: all that the recorder keeps."""
    return {
        **said(ALERT, alert, without={*_INSTANTS, *_OF_TRACER}),
        "doubts": [doubt for doubt in alert.verdict.doubts if doubt != _AT_ONCE],
        "sentence": _DURATION.sub("TIME", alert.verdict.sentence),
        "client": alert.client,
        "server": alert.server,
    }


class Watching(Tracer):
    """A tracer that keeps what it reads in a file, and remembers what it has told of it."""

    def __init__(self, capture: Path, **options: Any) -> None:
        super().__init__(latent=True, keep=capture, **options)
        self.capture = capture
        self.told: list[str] = []

    def poll(self, timeout: float) -> Iterator[Alert]:
        """Yield alerts, and remember them as they are shown."""
        for alert in super().poll(timeout):
            self.told.append(alert_line(alert, self.clocks))
            yield alert

    def end(self) -> None:
        """Take the probes away, and tell what is left."""
        self.stop()
        self.told += [alert_line(alert, self.clocks) for alert in self.alerts()]


class Seen:
    """What a tracer has seen since the last scenario."""

    def __init__(self, flavour: str, folder: Path) -> None:
        self.events: list[Event] = []
        self.tracer = Watching(folder / "streamed", probes=flavour, on_operation=self._keep)
        self.recorder = Watching(folder / "recorded", probes=flavour)
        self._attached = ExitStack()

    def __enter__(self) -> Seen:
        for tracer in (self.tracer, self.recorder):
            self._attached.enter_context(tracer)
            self._attached.callback(tracer.end)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Tell what is left, and take the probes away; the second time there is nothing to do."""
        self._attached.close()

    def _keep(self, operation: Traced) -> None:
        self.events.append(operation.event)

    def alerts(self, path: Path | str | None) -> list[Alert]:
        """Return the alerts about connections to a path till now; None: about socketpairs."""
        # What has ended is recorded: one look at the ring buffer gets all of it. What the one that was hurt does next
        # is waited for, a tenth of a second: the second look is after that.
        wanted = None if path is None else str(path)
        streamed = [alert for _ in range(2) for alert in self.tracer.poll(0.2) if alert.path == wanted]
        recorded = [alert for _ in range(2) for alert in self.recorder.poll(0.1) if alert.path == wanted]
        assert len(recorded) == len(streamed)
        for one, other in zip(map(told, recorded), map(told, streamed), strict=True):
            assert {name: (one[name], other[name]) for name in one if one[name] != other[name]} == {}
        return streamed

    def the_alert(self, path: Path | str | None) -> Alert:
        """Return the only alert about a path."""
        (alert,) = self.alerts(path)
        return alert

    def of(self, pid: int, *operations: Operation) -> list[Event]:
        """Return what a process did, in order."""
        return [event for event in self.events if event.pid == pid and event.operation in operations]


@pytest.fixture(scope="module", params=exact_flavours())
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OlderConnection]:
    """Open a connection before the tracer is started."""
    connection = OlderConnection(tmp_path_factory.mktemp("older") / "socket", request.param)
    yield connection
    connection.end()


class OlderGoodEnd:
    """A connection that is open before the tracer, and ends well; the server is seen first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listening, self._connected, self._go = (Baton() for _ in range(3))
        self._finished = False

        def serve() -> None:
            assert _libc.prctl(_PR_SET_NAME, b"olderserver", 0, 0, 0) == 0
            with listener(path) as waiting:
                self._listening.pass_on()
                accepted, _ = waiting.accept()
            self._connected.pass_on()
            self._go.take()
            accepted.sendall(b"hello")
            accepted.close()

        def call() -> None:
            assert _libc.prctl(_PR_SET_NAME, b"olderclient", 0, 0, 0) == 0
            self._listening.take()
            end = client(path)
            receive(end, 5)
            assert end.recv(1) == b""
            end.close()

        self._players = Player(serve), Player(call)
        self._connected.take()

    def finish(self) -> None:
        """Let it end, if it has not."""
        if not self._finished:
            self._finished = True
            self._go.pass_on()
            for player in self._players:
                player.end()


class OlderConnection:
    """A connection that is open before the tracer; finish() lets the server close and the client write."""

    def __init__(self, path: Path, flavour: str) -> None:
        self.path = path
        self.flavour = flavour
        self.another = OlderGoodEnd(path.with_name("another"))
        self._listening, self._connected, self._go, self._closed = (Baton() for _ in range(4))
        self._finished = False

        def serve() -> None:
            with listener(path) as waiting:
                self._listening.pass_on()
                accepted, _ = waiting.accept()
            receive(accepted, 5)
            self._connected.pass_on()
            self._go.take()
            accepted.close()
            self._closed.pass_on()

        def call() -> None:
            self._listening.take()
            end = client(path)
            end.sendall(b"hello")
            self._closed.take()
            assert fails(lambda: end.send(b"lost")) == errno.EPIPE

        self.server, self.client = Player(serve), Player(call)
        self._connected.take()

    def finish(self) -> None:
        """Let it break."""
        self._finished = True
        self._go.pass_on()
        self.server.end()
        self.client.end()

    def end(self) -> None:
        """Let it end if no test did, and so the other one."""
        if not self._finished:
            self.finish()
        self.another.finish()


@pytest.fixture(scope="module")
def seen(older: OlderConnection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Trace, from one start of the tracer for all scenarios: it takes long in an emulated guest."""
    with Seen(older.flavour, tmp_path_factory.mktemp("captures")) as watching:
        yield watching
    assert watching.tracer.losses().total == 0
    assert watching.recorder.losses().total == 0


@pytest.fixture(autouse=True)
def _only_this_scenario(seen: Seen) -> None:
    for tracer in (seen.tracer, seen.recorder):
        for _ in tracer.poll(0):
            pass
    seen.events.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where to listen."""
    return tmp_path / "socket"


def broken_after(request: bytes) -> Callable[[socket.socket], None]:
    """Return a client that sends this, waits for the hang-up and then breaks a write."""

    def call(end: socket.socket) -> None:
        end.sendall(request)
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"x")) == errno.EPIPE

    return call


def test_a_peer_that_closes_with_bytes_unread_is_told_with_their_exact_number(seen: Seen, path: Path) -> None:
    sent = Baton()

    def serve(end: socket.socket) -> None:
        sent.take()
        receive(end, 3)
        end.close()

    def call(end: socket.socket) -> None:
        end.sendall(b"0123456789")
        end.sendall(b"0123456789")
        sent.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"lost")) == errno.EPIPE

    server, caller = talk(path, serve, call)
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.UNREAD
    assert alert.verdict.figures.unread_bytes == 17
    assert alert.verdict.figures.read_bytes == 3
    assert alert.verdict.figures.sent_bytes == 20
    assert alert.verdict.figures.failed_bytes == 4
    assert alert.verdict.certain
    assert alert.server is not None
    assert alert.client is not None
    assert (alert.client.pid, alert.server.pid) == (caller, server)
    assert alert.verdict.figures.gap is not None
    assert alert.verdict.figures.gap > 0


def test_a_peer_that_answers_and_closes_while_we_still_write_is_told_so(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        end.close()

    talk(path, serve, broken_after(b"request"))
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.ANSWERED
    assert alert.verdict.figures.unread_bytes == 0
    assert alert.verdict.figures.answered_bytes == 6


def test_a_peer_that_closes_without_an_answer_is_told_so(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.close()

    talk(path, serve, broken_after(b"request"))
    assert seen.the_alert(path).verdict.kind is Kind.UNANSWERED


def test_a_reset_read_is_found_too(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        end.close()

    def call(end: socket.socket) -> None:
        end.send(b"unread")

    received = Baton()

    def serve_late(end: socket.socket) -> None:
        received.take()
        serve(end)

    def call_and_read(end: socket.socket) -> None:
        call(end)
        received.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.recv(10)) == errno.ECONNRESET

    talk(path, serve_late, call_and_read)
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.UNREAD
    assert alert.failed is not None
    assert alert.verdict.symptom is Symptom.RESET_READ
    assert seen.tracer.statistics.total.reset_reads >= 1


def test_a_peer_that_exits_is_told_with_its_status(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 1)
        os._exit(7)

    talk(path, serve, broken_after(b"x"))
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.EXITED
    assert "exited with status 7" in alert.verdict.sentence


def test_a_peer_that_is_killed_is_told_with_the_signals_name(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    talk(path, serve, broken_after(b"x"))
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.KILLED
    assert "SIGKILL" in alert.verdict.sentence


def test_our_own_shutdown_is_not_blamed_on_the_peer(seen: Seen, path: Path) -> None:
    closed = Baton()

    def serve(end: socket.socket) -> None:
        wait_for_end(end)
        closed.take()

    def call(end: socket.socket) -> None:
        end.shutdown(socket.SHUT_WR)
        assert fails(lambda: end.send(b"x")) == errno.EPIPE
        end.close()
        closed.pass_on()

    talk(path, serve, call)
    assert seen.the_alert(path).verdict.kind is Kind.OWN_SHUTDOWN


def wait_for_end(end: socket.socket) -> None:
    """Read until the peer sends no more."""
    while end.recv(1000):
        pass


def test_a_peer_that_ended_receiving_has_not_hung_up(seen: Seen, path: Path) -> None:
    shut, done = Baton(), Baton()

    def serve(end: socket.socket) -> None:
        end.shutdown(socket.SHUT_RD)
        shut.pass_on()
        done.take()

    def call(end: socket.socket) -> None:
        shut.take()
        assert fails(lambda: end.send(b"x")) == errno.EPIPE
        end.close()
        done.pass_on()

    talk(path, serve, call)
    assert seen.the_alert(path).verdict.kind is Kind.PEER_SHUTDOWN


def test_an_inherited_descriptor_keeps_the_connection_open_until_its_heir_closes_it(seen: Seen, path: Path) -> None:
    closed, written = Baton(), Baton()
    heirs: list[int] = []
    told, tell = os.pipe()

    def serve(end: socket.socket) -> None:
        receive(end, 1)

        def inherit() -> None:
            written.take()
            end.close()

        heir = Player(inherit)
        os.write(tell, str(heir.pid).encode())
        end.close()
        closed.pass_on()
        heir.end()

    def call(end: socket.socket) -> None:
        end.send(b"x")
        closed.take()
        # The parent has closed it, but this is no hang-up: it is written, and stays unread.
        assert end.send(b"still open") == 10
        written.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"x")) == errno.EPIPE

    server, _ = talk(path, serve, call)
    heirs.append(int(os.read(told, 20)))
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.UNREAD
    assert alert.verdict.figures.unread_bytes == 10
    (release,) = seen.of(heirs[0], Operation.RELEASE)
    assert f"[{heirs[0]}]" in alert.verdict.sentence
    assert f"[{server}]" in alert.verdict.sentence
    assert syscall_name(release.syscall) == "close"


def test_a_socket_without_listener_refuses(seen: Seen, path: Path) -> None:
    def call() -> None:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(path))
            assert fails(lambda: client(path)) == errno.ECONNREFUSED

    Player(call).end()
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.REFUSED
    assert alert.story is None


def test_a_full_backlog_turns_away_who_does_not_wait(seen: Seen, path: Path) -> None:
    def call() -> None:
        with listener(path, backlog=0):
            waiting = client(path)
            impatient = socket.socket(socket.AF_UNIX)
            impatient.setblocking(False)
            assert fails(lambda: impatient.connect(str(path))) == errno.EAGAIN
            turned_away.pass_on()
            asked.take()
            waiting.close()

    turned_away, asked = Baton(), Baton()
    caller = Player(call)
    turned_away.take()
    alert = seen.the_alert(path)
    asked.pass_on()
    caller.end()
    assert alert.verdict.kind is Kind.BACKLOG_FULL
    # One more than the backlog may wait: unix_recvq_full().
    assert "(1 waited, the backlog is 0)" in alert.verdict.sentence


def test_a_path_where_somebody_listened_before_is_an_alert(seen: Seen, path: Path) -> None:
    def call() -> None:
        with listener(path) as waiting, client(path) as end:
            waiting.accept()[0].close()
            end.recv(1)
        path.unlink()
        assert fails(lambda: client(path)) == errno.ENOENT

    Player(call).end()
    assert [alert.verdict.kind for alert in seen.alerts(path)] == [Kind.LISTENER_GONE]


def test_who_may_not_connect_is_an_alert(seen: Seen, path: Path) -> None:
    def call() -> None:
        with listener(path):
            path.chmod(0o600)
            os.setuid(65534)
            # Its folder is root's, too.
            assert fails(lambda: client(path)) == errno.EACCES

    Player(call).end()
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.NOT_PERMITTED
    assert "uid 65534" in alert.verdict.sentence


def test_a_missing_path_is_counted_and_no_alert(seen: Seen, path: Path) -> None:
    def call() -> None:
        assert fails(lambda: client(path)) == errno.ENOENT

    Player(call).end()
    assert not seen.alerts(path)
    assert any(key.path == str(path) and key.kind is Kind.CONNECT_FAILED for key in seen.tracer.statistics.rows)


def test_an_abstract_name_is_missed_only_where_somebody_had_listened(seen: Seen, path: Path) -> None:
    name, shown = f"\0{path}", f"@{path}"

    def call_nobody() -> None:
        assert fails(lambda: client(name)) == errno.ECONNREFUSED

    def call_somebody() -> None:
        with listener(name) as waiting, client(name) as end:
            waiting.accept()[0].close()
            end.recv(1)
        assert fails(lambda: client(name)) == errno.ECONNREFUSED

    Player(call_nobody).end()
    assert not seen.alerts(shown)
    assert any(key.path == shown and key.kind is Kind.CONNECT_FAILED for key in seen.tracer.statistics.rows)
    Player(call_somebody).end()
    assert [alert.verdict.kind for alert in seen.alerts(shown)] == [Kind.LISTENER_GONE]


def test_a_listener_that_closes_without_accepting_is_told_so(seen: Seen, path: Path) -> None:
    def call() -> None:
        waiting = listener(path)
        end = client(path)
        end.send(b"nobody reads this")
        waiting.close()
        assert fails(lambda: end.send(b"x")) == errno.EPIPE

    Player(call).end()
    assert seen.the_alert(path).verdict.kind is Kind.NEVER_ACCEPTED


def test_a_hangup_with_bytes_unread_that_nobody_noticed_is_latent(seen: Seen, path: Path) -> None:
    sent = Baton()

    def serve(end: socket.socket) -> None:
        sent.take()
        end.close()

    def call(end: socket.socket) -> None:
        end.send(b"unread")
        sent.pass_on()
        wait_for_hangup(end)
        end.close()

    talk(path, serve, call)
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.LATENT
    assert alert.verdict.figures.unread_bytes == 6


def test_a_connection_that_loses_nothing_is_no_alert(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        end.close()

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        wait_for_end(end)

    talk(path, serve, call)
    assert not seen.alerts(path)
    assert any(key.path == str(path) and key.kind is Kind.CLEAN for key in seen.tracer.statistics.rows)


def test_a_peer_that_dies_while_it_is_waited_for_is_told_though_nothing_fails(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        os.kill(os.getpid(), signal.SIGKILL)

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        assert end.recv(10) == b""

    server, _ = talk(path, serve, call)
    alert = seen.the_alert(path)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.KILLED, Symptom.CUT_READ)
    assert "was killed by SIGKILL, sent by itself" in alert.verdict.sentence
    assert f"[{server}]" in alert.verdict.sentence


def test_a_thread_that_exits_with_descriptors_of_its_own_is_not_told_as_its_process_s_exit(
    seen: Seen, path: Path
) -> None:
    met_end = Baton()

    def serve(end: socket.socket) -> None:
        receive(end, 7)
        has_its_own, is_last = threading.Event(), threading.Event()

        def work() -> None:
            assert _libc.unshare(_CLONE_FILES) == 0
            has_its_own.set()
            is_last.wait()

        thread = threading.Thread(target=work)
        thread.start()
        has_its_own.wait()
        end.close()
        is_last.set()
        met_end.take()

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        assert end.recv(10) == b""
        end.close()
        met_end.pass_on()

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.UNANSWERED
    assert re.search(r" hung up \(its thread [0-9]+ exited\) ", verdict.sentence)


def test_who_waits_for_all_of_an_answer_and_gets_part_of_it_is_told_though_nothing_fails(
    seen: Seen, path: Path
) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"part")
        os._exit(3)

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        assert end.recv(100, socket.MSG_WAITALL) == b"part"

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert (verdict.kind, verdict.symptom) == (Kind.EXITED, Symptom.CUT_READ)
    assert verdict.sentence.endswith("read of 100 bytes met the end of the stream after 4 bytes")


def test_an_empty_message_may_have_been_the_answer(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 10)
        end.send(b"")

    def call(end: socket.socket) -> None:
        end.send(b"a request.")
        wait_for_hangup(end)
        assert end.recv(10) == b""
        assert end.recv(10) == b""

    talk(path, serve, call, kind=socket.SOCK_SEQPACKET)
    assert all(alert.verdict.doubts for alert in seen.alerts(path))


def test_who_sent_the_signal_is_told(seen: Seen, path: Path) -> None:
    received = Baton()
    told, tell = os.pipe()

    def serve(end: socket.socket) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        receive(end, 7)
        os.write(tell, str(os.getpid()).encode())
        received.pass_on()
        signal.pause()

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        received.take()
        os.kill(int(os.read(told, 20)), signal.SIGTERM)
        assert end.recv(10) == b""

    _, caller = talk(path, serve, call)
    alert = seen.the_alert(path)
    sentence = alert.verdict.sentence
    assert "was killed by SIGTERM, sent by " in sentence
    assert f"[{caller}], " in sentence
    # Not pause(2), in which it was.
    assert alert.hangup is not None
    assert syscall_of(alert.hangup.event) == "exit"


def test_a_signal_that_was_handled_before_the_exit_is_told(seen: Seen, path: Path) -> None:
    received = Baton()
    told, tell = os.pipe()

    def serve(end: socket.socket) -> None:
        # One that comes before this waits for it would leave it asleep in pause(2).
        signaled, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
        receive(end, 7)
        os.write(tell, str(os.getpid()).encode())
        received.pass_on()
        os.read(signaled, 1)

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        received.take()
        os.kill(int(os.read(told, 20)), signal.SIGTERM)
        assert end.recv(10) == b""

    _, caller = talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.EXITED
    assert "exited with status 1" in verdict.sentence
    assert "after SIGTERM from " in verdict.sentence
    assert f"[{caller}]" in verdict.sentence


def test_a_signal_that_the_process_waited_for_before_its_exit_is_told(seen: Seen, path: Path) -> None:
    received = Baton()
    told, tell = os.pipe()

    def serve(end: socket.socket) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        receive(end, 7)
        os.write(tell, str(os.getpid()).encode())
        received.pass_on()
        signal.sigwait([signal.SIGTERM])

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        received.take()
        server = int(os.read(told, 20))
        while not Path(f"/proc/{server}/syscall").read_text().startswith(_RT_SIGTIMEDWAIT):
            pass
        os.kill(server, signal.SIGTERM)
        assert end.recv(10) == b""

    _, caller = talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.EXITED
    assert "exited with status 0" in verdict.sentence
    assert "after SIGTERM from " in verdict.sentence
    assert f"[{caller}]" in verdict.sentence


def test_an_error_that_an_event_loop_asked_for_is_a_failure(seen: Seen, path: Path) -> None:
    sent = Baton()

    def serve(end: socket.socket) -> None:
        sent.take()
        end.close()

    def call(end: socket.socket) -> None:
        end.send(b"unread")
        sent.pass_on()
        wait_for_hangup(end)
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        end.close()

    talk(path, serve, call)
    alert = seen.the_alert(path)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.UNREAD, Symptom.TOLD)


def test_a_blocked_write_that_is_cut_short_is_a_failure(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 1)
        wait_until_the_peer_waits_for_room(end)
        end.close()

    def call(end: socket.socket) -> None:
        assert end.send(bytes(4 << 20)) < 4 << 20

    talk(path, serve, call)
    alert = seen.the_alert(path)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.UNREAD, Symptom.SHORT_WRITE)


def answer_early(end: socket.socket) -> None:
    """Answer who still waits for room for the rest of its request."""
    receive(end, 100)
    wait_until_the_peer_waits_for_room(end)
    end.sendall(b"early")


def test_a_write_that_is_cut_short_by_who_has_answered_meanwhile_is_told_with_the_answer(
    seen: Seen, path: Path
) -> None:
    """As nginx answers 413 to a request that is too large, and closes."""

    def serve(end: socket.socket) -> None:
        answer_early(end)
        end.close()

    def call(end: socket.socket) -> None:
        assert end.send(bytes(4 << 20)) < 4 << 20
        receive(end, 5)

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert (verdict.kind, verdict.symptom) == (Kind.UNREAD, Symptom.SHORT_WRITE)
    assert verdict.figures.answered_bytes == 5
    assert verdict.consequence.answer == "read in full"


def test_who_is_answered_while_it_still_writes_lacks_nothing_at_the_end_of_the_stream(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        answer_early(end)
        assert len(end.recv((1 << 20) - 100, socket.MSG_WAITALL)) == (1 << 20) - 100
        end.close()

    def call(end: socket.socket) -> None:
        assert end.send(bytes(1 << 20)) == 1 << 20
        receive(end, 5)
        assert end.recv(1) == b""

    talk(path, serve, call)
    assert not seen.alerts(path)


def test_what_fails_after_an_answer_to_an_unfinished_write_is_told_with_that_answer(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        answer_early(end)
        assert len(end.recv((1 << 20) - 100, socket.MSG_WAITALL)) == (1 << 20) - 100
        end.close()

    def call(end: socket.socket) -> None:
        exchange(end)
        assert end.send(bytes(1 << 20)) == 1 << 20
        receive(end, 5)
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"another request")) == errno.EPIPE

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.ANSWERED
    assert (verdict.figures.sent_bytes, verdict.figures.answered_bytes) == (1 << 20, 5)


def test_a_client_that_gives_up_is_told_as_the_cause_of_the_servers_failure(seen: Seen, path: Path) -> None:
    received = Baton()

    def serve(end: socket.socket) -> None:
        receive(end, 7)
        received.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"answer")) == errno.EPIPE

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        received.take()
        end.close()

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.GAVE_UP
    assert "sent 7 bytes, waited " in verdict.sentence
    assert "answer of 6 bytes failed with EPIPE" in verdict.sentence


def exchange(end: socket.socket) -> None:
    """Ask, and read the answer."""
    end.sendall(b"request")
    receive(end, 6)


def test_a_connection_that_was_closed_idle_and_is_used_again_is_told_so(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        # This is the silence that the verdict is about.
        time.sleep(0.15)
        end.close()

    def call(end: socket.socket) -> None:
        exchange(end)
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"another request")) == errno.EPIPE

    talk(path, serve, call)
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.REUSED
    assert verdict.consequence.answer == "read in full"


def test_a_farewell_to_one_that_is_gone_is_counted_and_no_alert(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        end.close()

    def call(end: socket.socket) -> None:
        exchange(end)
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"Xbye!")) == errno.EPIPE
        end.close()

    talk(path, serve, call)
    assert not seen.alerts(path)
    (row,) = [row for key, row in seen.tracer.statistics.rows.items() if key.path == str(path)]
    assert (row.broken_writes, row.harmless) == (1, 1)


def say_last_words(end: socket.socket) -> None:
    """Answer a request, then send as much as TLS's close_notify, and say that this was all."""
    receive(end, 7)
    end.sendall(b"answer")
    end.sendall(bytes(31))
    end.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("reads", [True, False])
def test_last_words_to_one_that_had_ended_sending_are_counted_and_no_alert(
    seen: Seen, path: Path, *, reads: bool
) -> None:
    """Whether the server reads them, and so how they fail, is by accident."""
    ended, said = Baton(), Baton()

    def serve(end: socket.socket) -> None:
        say_last_words(end)
        ended.pass_on()
        said.take()
        if reads:
            receive(end, 31)
        end.close()

    def call(end: socket.socket) -> None:
        exchange(end)
        receive(end, 31)
        ended.take()
        end.sendall(bytes(31))
        said.pass_on()
        wait_for_hangup(end)
        if reads:
            assert end.recv(1) == b""
        else:
            assert fails(lambda: end.recv(1)) == errno.ECONNRESET
        end.close()

    talk(path, serve, call)
    assert not seen.alerts(path)
    for tracer in (seen.tracer, seen.recorder):
        (row,) = [row for key, row in tracer.statistics.rows.items() if key.path == str(path)]
        assert (row.cut_reads, row.reset_reads, row.harmless) == (int(reads), int(not reads), 1)


def test_who_has_met_the_end_of_the_stream_is_owed_nothing_for_what_it_sends_after_that(seen: Seen, path: Path) -> None:
    sent = Baton()

    def serve(end: socket.socket) -> None:
        say_last_words(end)
        sent.take()
        receive(end, 3000)
        end.close()

    def call(end: socket.socket) -> None:
        exchange(end)
        receive(end, 31)
        assert end.recv(1) == b""
        end.sendall(bytes(3000))
        assert end.recv(1) == b""
        sent.pass_on()
        wait_for_hangup(end)
        end.close()

    talk(path, serve, call)
    assert not seen.alerts(path)
    for tracer in (seen.tracer, seen.recorder):
        assert [key.kind for key in tracer.statistics.rows if key.path == str(path)] == [Kind.CLEAN]


def test_a_thread_that_shuts_down_what_another_serves_is_named_to_both_victims(seen: Seen, path: Path) -> None:
    shut, written = Baton(), Baton()

    def serve(end: socket.socket) -> None:
        receive(end, 7)
        killer = threading.Thread(target=end.shutdown, args=(socket.SHUT_RDWR,), name="killer")
        killer.start()
        killer.join()
        assert fails(lambda: end.send(b"answer")) == errno.EPIPE
        shut.pass_on()
        written.take()

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        shut.take()
        assert fails(lambda: end.send(b"x")) == errno.EPIPE
        end.close()
        written.pass_on()

    talk(path, serve, call)
    first, second = seen.alerts(path)
    assert (first.verdict.kind, first.verdict.victim) == (Kind.OWN_SHUTDOWN, "server")
    assert (second.verdict.kind, second.verdict.victim) == (Kind.PEER_SHUTDOWN, "client")
    assert "thread " in first.verdict.sentence
    assert "(after " in second.verdict.sentence


def test_a_listener_that_is_killed_is_told_with_the_signal(seen: Seen, path: Path) -> None:
    listening, connected = Baton(), Baton()

    def serve() -> None:
        waiting = listener(path)
        listening.pass_on()
        connected.take()
        assert waiting.fileno() >= 0
        os.kill(os.getpid(), signal.SIGKILL)

    def call() -> None:
        listening.take()
        end = client(path)
        end.send(b"nobody reads this")
        connected.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.recv(1)) == errno.ECONNRESET

    server, caller = Player(serve), Player(call)
    server.end()
    caller.end()
    verdict = seen.the_alert(path).verdict
    assert verdict.kind is Kind.NEVER_ACCEPTED
    assert "which listened, was killed by SIGKILL" in verdict.sentence


def test_seqpacket_and_abstract_names_are_traced(seen: Seen) -> None:
    name = "\0hangup test"
    sent = Baton()

    def serve(end: socket.socket) -> None:
        sent.take()
        end.recv(2)  # the rest of the packet is gone with it
        end.close()

    def call(end: socket.socket) -> None:
        end.send(b"packet")
        end.send(b"unread")
        sent.pass_on()
        wait_for_hangup(end)
        # unix_dgram_sendmsg() looks at sk_err, which the hang-up has set, before it looks at sk_shutdown.
        assert fails(lambda: end.send(b"x")) == errno.ECONNRESET

    talk(name, serve, call, kind=socket.SOCK_SEQPACKET)
    alert = seen.the_alert("@hangup test")
    assert alert.verdict.kind is Kind.UNREAD
    assert alert.verdict.figures.unread_bytes == 6


def test_a_socketpair_is_a_connection(seen: Seen) -> None:
    def call() -> None:
        one, other = socket.socketpair()
        one.send(b"unread")
        other.close()
        assert fails(lambda: one.send(b"x")) == errno.EPIPE

    pid = Player(call).pid
    os.waitpid(pid, 0)
    (alert,) = [alert for alert in seen.alerts(None) if alert.client and alert.client.pid == pid]
    assert alert.verdict.kind is Kind.UNREAD
    assert alert.story is not None
    assert alert.story.pair


def test_unread_bytes_are_exact_however_many_messages_hold_them(seen: Seen, path: Path) -> None:
    filled = Baton()

    def serve(end: socket.socket) -> None:
        filled.take()
        receive(end, 1)
        end.close()

    def call(end: socket.socket) -> None:
        end.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20)
        for _ in range(1009):
            end.send(b"abc")
        filled.pass_on()
        wait_for_hangup(end)
        assert fails(lambda: end.send(b"x")) == errno.EPIPE

    server, _ = talk(path, serve, call)
    alert = seen.the_alert(path)
    assert alert.verdict.figures.unread_bytes == 3 * 1009 - 1
    (release,) = seen.of(server, Operation.RELEASE)
    assert release.flags & EventFlag.UNREAD_AT_LEAST
    assert release.unread_messages == 1009


def test_an_end_that_is_lost_in_a_message_is_not_put_down_to_a_kernel_thread(seen: Seen) -> None:
    def call() -> None:
        kept, lost = socket.socketpair()
        carrier, other = socket.socketpair()
        # In a queue that is reached from nowhere but itself: unix_gc() finds that when a socket is released.
        socket.send_fds(carrier, [b"x"], [lost.fileno(), other.fileno()])
        socket.send_fds(other, [b"x"], [carrier.fileno()])
        kept.send(b"unread")
        for end in (lost, carrier, other):
            end.close()
        socket.socketpair()[0].close()
        wait_for_hangup(kept)
        assert fails(lambda: kept.recv(1)) == errno.ECONNRESET

    pid = Player(call).pid
    os.waitpid(pid, 0)
    # The others that were lost are latent.
    found = [alert for alert in seen.alerts(None) if alert.client and alert.client.pid == pid]
    (alert,) = [alert for alert in found if alert.failed is not None]
    assert alert.verdict.kind is Kind.UNREAD
    assert [each.server and each.server.pid for each in found] == [pid] * len(found)


def test_a_prime_number_of_operations_is_seen_one_by_one(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        for _ in range(997):
            receive(end, 1)
            end.send(b"ab")
        end.close()

    def call(end: socket.socket) -> None:
        for _ in range(997):
            end.send(b"x")
            receive(end, 2)
        end.close()

    server, caller = talk(path, serve, call)
    assert not seen.alerts(path)
    for pid, sent in ((server, 2), (caller, 1)):
        assert [event.result for event in seen.of(pid, Operation.WRITE)] == [sent] * 997
        assert len(seen.of(pid, Operation.READ)) == 997


def test_what_one_thread_pushes_while_another_one_reads_a_request_is_no_answer(seen: Seen, path: Path) -> None:
    heard = Baton()

    def serve(end: socket.socket) -> None:
        def read() -> None:
            receive(end, 14)
            heard.pass_on()

        reader = threading.Thread(target=read)
        reader.start()
        assert end.send(b"p" * 1_000_000) == 1_000_000
        reader.join()
        end.close()

    def call(end: socket.socket) -> None:
        assert len(end.recv(100_000, socket.MSG_WAITALL)) == 100_000
        end.sendall(b"a long request")
        heard.take()
        assert len(end.recv(900_000, socket.MSG_WAITALL)) == 900_000
        assert end.recv(1) == b""

    talk(path, serve, call)
    alert = seen.the_alert(path)
    assert (alert.verdict.kind, alert.verdict.symptom) == (Kind.UNANSWERED, Symptom.CUT_READ)


def test_notices_that_nobody_reads_are_harmless_however_many_there_are(seen: Seen, path: Path) -> None:
    pushed, gone = Baton(), Baton()

    def serve(end: socket.socket) -> None:
        receive(end, 7)
        end.sendall(b"answer")
        time.sleep(0.2)
        for _ in range(30):
            end.sendall(b"notice")
        pushed.pass_on()
        gone.take()
        assert fails(lambda: end.recv(1)) == errno.ECONNRESET

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        receive(end, 6)
        pushed.take()
        end.close()
        gone.pass_on()

    talk(path, serve, call)
    assert not seen.alerts(path)


def test_who_asks_on_a_socketpair_is_known_however_often_it_has_looked_before(seen: Seen) -> None:
    asked = Baton()

    def work() -> None:
        parents, childs = socket.socketpair()

        def answer() -> None:
            parents.close()
            receive(childs, 8)
            childs.sendall(b"answer")
            asked.take()
            receive(childs, 8)
            os.kill(os.getpid(), signal.SIGKILL)

        child = Player(answer)
        childs.close()
        for _ in range(30):
            assert fails(lambda: parents.recv(1, socket.MSG_DONTWAIT)) == errno.EAGAIN
        parents.sendall(b"request1")
        receive(parents, 6)
        parents.sendall(b"request2")
        asked.pass_on()
        assert parents.recv(1) == b""
        os.waitpid(child.pid, 0)

    pid = Player(work).pid
    os.waitpid(pid, 0)
    (alert,) = [each for each in seen.alerts(None) if each.client and each.client.pid == pid]
    assert (alert.verdict.kind, alert.verdict.victim) == (Kind.KILLED, "client")
    assert alert.verdict.figures.sent_bytes == 8


def test_sendfile_and_splice_are_writes_on_the_sockets_descriptor(seen: Seen, path: Path, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"x" * 5000)

    def call(end: socket.socket) -> None:
        with content.open("rb") as file:
            assert os.sendfile(end.fileno(), file.fileno(), 0, 5000) == 5000
        out, into = os.pipe()
        os.write(into, b"y" * 100)
        assert os.splice(out, end.fileno(), 100) == 100
        os.write(into, b"lost")
        wait_for_hangup(end)
        assert fails(lambda: os.splice(out, end.fileno(), 4)) == errno.EPIPE

    def serve(end: socket.socket) -> None:
        receive(end, 5000)
        out, into = os.pipe()
        assert os.splice(end.fileno(), into, 100) == 100
        assert len(os.read(out, 100)) == 100
        end.close()

    server, caller = talk(path, serve, call)
    alert = seen.the_alert(path)
    writes = seen.of(caller, Operation.WRITE)
    assert {syscall_name(event.syscall) for event in writes} == {"sendfile", "splice"}
    assert sum(event.result for event in writes if event.result > 0) == 5100
    assert [event.result for event in seen.of(server, Operation.READ) if syscall_name(event.syscall) == "splice"] == [
        100
    ]
    assert alert.failed is not None
    assert syscall_name(alert.failed.syscall) == "splice"
    (release,) = seen.of(caller, Operation.RELEASE)
    assert {event.descriptor for event in writes} == {writes[0].descriptor}
    assert release.sock == writes[0].sock


def test_io_uring_is_seen(seen: Seen, path: Path) -> None:
    if not is_available():
        pytest.skip("this kernel has no io_uring")

    def call(end: socket.socket) -> None:
        assert Ring().send(end.fileno(), b"by io_uring") == 11

    talk(path, lambda end: receive(end, 11), call)
    assert not seen.alerts(path)
    (write,) = [event for event in seen.events if event.operation == Operation.WRITE]
    assert write.result == 11
    assert write.flags & EventFlag.IO_URING


def test_a_ring_that_is_made_after_the_accept_has_its_process_s_ends(seen: Seen, path: Path) -> None:
    if not is_available():
        pytest.skip("this kernel has no io_uring")

    def serve(end: socket.socket) -> None:
        ring = Ring()
        ring.register([end.fileno()])
        end.close()
        assert ring.receive_registered(0, 100) == 7
        os.kill(os.getpid(), signal.SIGKILL)

    def call(end: socket.socket) -> None:
        end.sendall(b"request")
        assert end.recv(1) == b""

    talk(path, serve, call)
    alert = seen.the_alert(path)
    assert alert.verdict.kind is Kind.KILLED
    assert (alert.verdict.figures.sent_bytes, alert.verdict.figures.read_bytes) == (7, 7)


def test_who_did_it_is_known_as_of_that_instant(seen: Seen, path: Path) -> None:
    def call(end: socket.socket) -> None:
        # The kernel lets a task name itself whoever it is; /proc/self/comm is not writable after setuid(2).
        assert _libc.prctl(_PR_SET_NAME, b"short-lived", 0, 0, 0) == 0
        os.setgid(65534)
        os.setuid(65534)
        end.send(b"x")

    _, caller = talk(path, lambda end: receive(end, 1), call)
    list(seen.tracer.poll(0.2))
    (connect,) = seen.of(caller, Operation.CONNECT)
    (write,) = seen.of(caller, Operation.WRITE)
    assert (connect.uid, connect.gid) == (0, 0)
    assert (write.uid, write.gid) == (65534, 65534)
    assert write.comm.rstrip(b"\0") == b"short-lived"
    assert not Path(f"/proc/{caller}").exists()


def test_who_has_another_name_and_user_by_the_time_it_leaves_is_told_as_who_it_is_then(seen: Seen, path: Path) -> None:
    def serve(end: socket.socket) -> None:
        receive(end, 7)
        assert _libc.prctl(_PR_SET_NAME, b"renamed", 0, 0, 0) == 0
        os.setgid(65534)
        os.setuid(65534)
        end.close()

    talk(path, serve, broken_after(b"request"))
    server = seen.the_alert(path).server
    assert server is not None
    assert (server.comm, server.uid, server.gid) == ("renamed", 65534, 65534)


def test_inode_numbers_are_those_of_proc(seen: Seen, path: Path) -> None:
    told, tell = os.pipe()

    def call(end: socket.socket) -> None:
        os.write(tell, bytes(Path(f"/proc/self/fd/{end.fileno()}").readlink()))
        end.send(b"x")

    _, caller = talk(path, lambda end: receive(end, 1), call)
    list(seen.tracer.poll(0.2))
    (write,) = seen.of(caller, Operation.WRITE)
    assert os.read(told, 100).decode() == f"socket:[{write.inode_number}]"


def test_the_tracer_does_not_trace_itself(seen: Seen, path: Path) -> None:
    one, other = socket.socketpair()
    one.send(b"x")
    other.recv(1)
    with listener(path), client(path) as end:
        end.send(b"x")

    # Nor a child that holds the other end of what the tracer writes to.
    def read() -> None:
        other.recv(1)

    one.send(b"y")
    Player(read).end()
    one.close()
    other.close()
    list(seen.tracer.poll(0.2))
    assert not seen.events


def test_a_connection_older_than_the_tracer_has_its_path_its_server_and_a_doubt(
    seen: Seen, older: OlderConnection
) -> None:
    older.finish()
    alert = seen.the_alert(older.path)
    assert alert.server is not None
    assert alert.client is not None
    assert alert.server.pid == older.server.pid
    assert alert.client.pid == older.client.pid
    assert alert.verdict.kind is Kind.UNANSWERED
    assert not alert.verdict.certain


def test_a_connection_older_than_the_tracer_that_ends_well_is_counted_with_its_path_and_its_roles(
    seen: Seen, older: OlderConnection
) -> None:
    another = older.another
    another.finish()
    assert not seen.alerts(another.path)
    expected = Key("olderclient", "olderserver", str(another.path), Kind.CLEAN)
    for tracer in (seen.tracer, seen.recorder):
        rows = tracer.statistics.rows
        assert expected in rows
        assert rows[expected].connections == 1


def test_all_of_it_is_told_again_from_files_where_nothing_can_be_asked_of_the_host(seen: Seen) -> None:
    """This is the last one: it ends the tracers, and replays what they have kept of all scenarios before."""
    seen.end()
    for tracer in (seen.tracer, seen.recorder):
        command = [sys.executable, "-m", "tests.replay", "--hide-proc", str(tracer.capture)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        told, expected = done.stdout.splitlines(), [*tracer.told, *summary(tracer)]
        for one, other in zip(told, expected, strict=False):
            assert json.loads(one) == json.loads(other)
        assert len(told) == len(expected)
        assert tracer.told


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_FILES = 0x400
_PR_SET_NAME = 15
