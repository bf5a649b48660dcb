"""What the probes select by process in the kernel, and how they count what they could not record; both kinds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hangup.tracer.kernel.btf import Btf
from hangup.tracer.kernel.kprobes import TRACEFS
from hangup.tracer.kernel.probes import KRETPROBE_SLOTS, PROBED, Probes, preempts_programs
from hangup.tracer.record.layout import Event, Loss, Operation, unpack
from hangup.tracer.selection import Selection
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Tracer
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton, Player, client, listener, receive


@contextmanager
def tracing(flavour: str, *pids: int) -> Iterator[tuple[Tracer, list[Event]]]:
    """Trace; yields the tracer and what it has seen."""
    events: list[Event] = []

    def keep(operation: Traced) -> None:
        events.append(operation.event)

    with Tracer(probes=flavour, pids=pids, on_operation=keep) as tracer:
        yield tracer, events


@pytest.mark.parametrize("flavour", exact_flavours())
def test_a_selected_process_is_traced_with_its_peer_and_nobody_else_is(flavour: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listening, serving, start_wanted, start_other = Baton(), Baton(), Baton(), Baton()

    def serve() -> None:
        with listener(path) as waiting:
            listening.pass_on()
            # An accept that is entered before the probes are attached is not recorded.
            serving.take()
            for _ in range(2):
                end, _ = waiting.accept()
                receive(end, 7)
                end.sendall(b"answer")
                end.close()

    def call(start: Baton) -> None:
        start.take()
        end = client(path)
        end.sendall(b"request")
        receive(end, 6)
        end.close()

    server = Player(serve)
    wanted, other = Player(lambda: call(start_wanted)), Player(lambda: call(start_other))
    listening.take()
    with tracing(flavour, wanted.pid) as (tracer, events):
        serving.pass_on()
        start_wanted.pass_on()
        wanted.end()
        start_other.pass_on()
        other.end()
        server.end()
        list(tracer.poll(0.2))
        seen = Counter((event.pid, Operation(event.operation)) for event in events)
        total = tracer.statistics.total.connections
    # Bytes may come in any number of reads, but there is one of each here: the messages are small.
    expected = {(wanted.pid, operation): 1 for operation in (Operation.CONNECT, Operation.READ, Operation.WRITE)}
    expected |= {(server.pid, operation): 1 for operation in (Operation.ACCEPT, Operation.READ, Operation.WRITE)}
    expected |= {(pid, Operation.RELEASE): 1 for pid in (wanted.pid, server.pid)}
    assert seen == expected
    assert total == 1


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("flavour", exact_flavours())
def test_a_full_ring_buffer_is_counted_to_the_last_operation_and_makes_verdicts_uncertain(flavour: str) -> None:
    rounds = 5_003
    traced, made, overflow, hang_up = Baton(), Baton(), Baton(), Baton()

    def burst() -> None:
        overflow.take()
        one, other = socket.socketpair()
        for _ in range(rounds):
            one.send(b"x")
            other.recv(1)
        # A hang-up that breaks a write, of which there is no room to record anything.
        other.close()
        one.close()

    def broken() -> None:
        traced.take()
        one, other = socket.socketpair()
        made.pass_on()
        hang_up.take()
        other.close()
        with pytest.raises(BrokenPipeError):
            one.send(b"more than a farewell")

    # Only these two: whatever else the machine does would be counted along.
    bursting, witness = Player(burst), Player(broken)
    with tracing(flavour, bursting.pid, witness.pid) as (tracer, events):
        traced.pass_on()
        made.take()
        list(tracer.poll(0.2))
        overflow.pass_on()
        bursting.end()
        list(tracer.poll(0.2))
        hang_up.pass_on()
        witness.end()
        (alert,) = [alert for _ in range(2) for alert in tracer.poll(0.2)]
        assert alert.client is not None
        assert alert.client.pid == witness.pid
        assert not alert.verdict.certain
        lost = tracer.losses().by_cause["ring_full"]
        assert lost > 0
        # The burst's and the witness's socketpair and releases, and the broken write.
        assert len(events) + lost == 2 * rounds + 3 + 4


@pytest.mark.parametrize("flavour", exact_flavours())
def test_returns_that_a_kretprobe_has_no_room_for_are_counted_and_fexit_misses_none(flavour: str) -> None:
    threads = 53
    start = Baton()

    def pool() -> None:
        start.take()
        pairs = [socket.socketpair() for _ in range(threads)]

        def work(end: socket.socket) -> None:
            # Blocked in the first till all are: then there are more inside than a kretprobe has slots.
            receive(end, 1)
            receive(end, 1)

        workers = [threading.Thread(target=work, args=(other,)) for _, other in pairs]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 120
        while not all(sleeps_in_recvfrom(worker.native_id) for worker in workers):
            assert time.monotonic() < deadline, "not every thread gets to sleep"
            os.sched_yield()
        for one, _ in pairs:
            one.send(b"xy")
        for worker in workers:
            worker.join()

    def traced(slots: int) -> tuple[int, int]:
        # Only its operations: whatever else the machine does would be counted along.
        player = Player(pool)
        with Probes(
            flavour=flavour, selection=Selection(pids=frozenset({player.pid})), kretprobe_slots=slots
        ) as probes:
            start.pass_on()
            player.end()
            reads = sum(unpack(record).operation == Operation.READ for record in probes.read(0.2))
            return reads, probes.losses()[Loss.MISSED_RETURN]

    reads, missed = traced(slots=8)
    assert reads + missed == 2 * threads
    assert (missed > 0) == (flavour == "kprobe")
    # With the slots that hangup asks for there is room.
    assert traced(KRETPROBE_SLOTS) == (2 * threads, 0)


def test_return_probes_leave_nothing_behind_not_even_of_a_killed_process() -> None:
    def probes_of_ours() -> list[str]:
        return [line for line in (TRACEFS[0] / "kprobe_events").read_text().splitlines() if "hangup_" in line]

    attached, killed = Baton(), Baton()

    def die() -> None:
        with Probes(flavour="kprobe"):
            attached.pass_on()
            killed.take()

    player = Player(die)
    attached.take()
    assert len(probes_of_ours()) == sum(probed.leave is not None for probed in PROBED if probed.function in available())
    os.kill(player.pid, signal.SIGKILL)
    os.waitpid(player.pid, 0)
    with Probes(flavour="kprobe"):
        assert f"_{player.pid} " not in "\n".join(probes_of_ours())
    assert probes_of_ours() == []


def sleeps_in_recvfrom(tid: int | None) -> bool:
    """Whether a thread is blocked in recvfrom(2); one that runs shows no number (proc_pid_syscall(5))."""
    recvfrom = "45"
    return Path(f"/proc/self/task/{tid}/syscall").read_text().split()[0] == recvfrom


def available() -> set[str]:
    """Return which of the probed functions this kernel has."""
    with Btf.vmlinux() as btf:
        return {probed.function for probed in PROBED if btf.has_function(probed.function)}


def test_watch_runs_a_command_as_the_user_who_called_sudo_and_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SUDO_USER": "nobody", "SUDO_UID": "65534", "SUDO_GID": "65534"}.items():
        monkeypatch.setenv(name, value)
    load = (
        "import os, socket; one, other = socket.socketpair(); other.close();"
        "print(os.getresuid(), os.getresgid(), os.environ['KEPT'], flush=True); one.send(b'x')"
    )
    watch = [sys.executable, "-m", "hangup", "watch"]
    done = subprocess.run(
        [*watch, "--", sys.executable, "-c", load],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "KEPT": "this"},
        check=False,
    )
    assert "(65534, 65534, 65534) (65534, 65534, 65534) this" in done.stdout
    assert "write of 1 byte failed with EPIPE" in done.stdout
    # Python's own status for the BrokenPipeError: a command's that failed goes first.
    assert done.returncode == 1

    quiet = subprocess.run([*watch, "--", "sh", "-c", "exit 7"], stdin=subprocess.DEVNULL, check=False)
    assert quiet.returncode == 7


@pytest.mark.skipif(not preempts_programs(), reason="this kernel does not preempt fentry programs: they miss nothing")
def test_what_a_preempted_fentry_program_misses_is_counted() -> None:
    rounds, processes = 2003, 8

    def burst() -> None:
        one, other = socket.socketpair()
        for _ in range(rounds):
            one.send(b"x")
            other.recv(1)

    with tracing("fentry") as (tracer, events):
        for player in [Player(burst) for _ in range(processes)]:
            player.end()
        tracer.stop()
        # One look takes no more than a part of what has come.
        list(tracer.alerts())
        missed = (2 * rounds + 3) * processes - len(events)
        lost = tracer.losses().by_cause
    assert lost["ring_full"] == 0
    # Of an operation the program at its entry or the one at its return may be skipped, or both.
    assert missed <= lost["skipped"]
    assert (missed > 0) == (lost["skipped"] > 0)
