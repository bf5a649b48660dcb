"""What a record says beyond its operation, as the probes themselves write it.

Who sent the fatal signal, whose socket a kernel thread released, which error waited, who is selected, and when what
was lost.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hangup.tracer.kernel.kprobes import TRACEFS
from hangup.tracer.kernel.probes import FEWEST_ENDPOINTS, Probes
from hangup.tracer.record.layout import (
    Event,
    EventFlag,
    Loss,
    Operation,
    RecordType,
    Sender,
    SenderFlag,
    sender_of,
    type_of,
    unpack,
    unpack_history,
    users_of,
)
from hangup.tracer.selection import Selection
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.ring import Ring, is_available
from tests.scenarios.stage import Baton, Player, client, fails, listener, receive

_LIMIT = 60.0
_libc = ctypes.CDLL(None, use_errno=True)


class Records:
    """The records of attached probes, read until what a test wants is among them."""

    def __init__(self, probes: Probes) -> None:
        self.probes = probes
        self.events: list[Event] = []

    def more(self) -> None:
        """Read what there is."""
        self.events += map(unpack, self.probes.read(0.1))

    def wait(self, wanted: Callable[[Event], bool], count: int = 1) -> list[Event]:
        """Return the first events of this kind, as soon as there are so many."""
        deadline = time.monotonic() + _LIMIT
        while True:
            found = [event for event in self.events if wanted(event)]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"only {len(found)} of {count} records came"
            self.more()

    def release_by(self, pid: int) -> Event:
        """Return a release by a process that it was found doing."""
        return self.releases_by(pid, 1)[0]

    def exit_of(self, pid: int) -> Event:
        """Return a release by the exit of a process."""
        return self.wait(lambda event: event.pid == pid and bool(event.flags & EventFlag.EXITING))[0]

    def releases_by(self, pid: int, count: int) -> list[Event]:
        """Return so many of them."""
        return self.wait(lambda event: event.operation == Operation.RELEASE and event.pid == pid, count)


@pytest.fixture(scope="module", params=exact_flavours())
def records(request: pytest.FixtureRequest) -> Iterator[Records]:
    """Probes of each kind, for all tests of this module that need no others."""
    with Probes(flavour=request.param) as probes:
        yield Records(probes)


def text(name: bytes) -> str:
    """Return a name out of a record."""
    return name.split(b"\0")[0].decode()


# ---- who sent the signal ---------------------------------------------------------------------------------------------


class Victim(Player):
    """A process that holds a connection to itself and lives on until its part ends it."""

    def __init__(self, part: Callable[[], None] = lambda: None) -> None:
        ready = Baton()

        def hold() -> None:
            # pytest's: it handles what is to kill.
            faulthandler.disable()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            self.ends = socket.socketpair()
            part()
            ready.pass_on()
            time.sleep(_LIMIT)

        super().__init__(hold)
        if part.__name__ != "ends_itself":
            ready.take()


def death(records: Records, victim: Player) -> tuple[int, Sender | None]:
    """Wait for a victim's end; returns its exit status as its release has it, and who sent the signal."""
    _, status = os.waitpid(victim.pid, 0)
    released = records.exit_of(victim.pid)
    assert released.exit_code == status
    return status, sender_of(released)


def by_kill(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    return os.getpid()


def by_a_command(pid: int) -> int:
    shell = subprocess.Popen(["sh", "-c", f"kill -9 {pid}; exit 0"])
    shell.wait()
    return shell.pid


def by_another_user(pid: int) -> int:
    def kill() -> None:
        os.setuid(1000)
        os.kill(pid, signal.SIGHUP)

    player = Player(kill)
    player.end()
    return player.pid


def by_a_thread(pid: int) -> int:
    thread = threading.Thread(target=lambda: os.kill(pid, signal.SIGTERM))
    thread.start()
    thread.join()
    return os.getpid()


def by_tgkill(pid: int) -> int:
    assert _libc.syscall(234, pid, pid, int(signal.SIGQUIT)) == 0
    return os.getpid()


def by_pidfd(pid: int) -> int:
    signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGINT)
    return os.getpid()


def by_the_first_of_two(pid: int) -> int:
    # It cannot die before both were sent.
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGTERM)
    by_a_command_with(pid, "TERM")
    os.kill(pid, signal.SIGCONT)
    return os.getpid()


def by_a_command_with(pid: int, name: str) -> None:
    subprocess.run(["sh", "-c", f"kill -{name} {pid}"], check=True)


def by_one_after_another_that_harms_nobody(pid: int) -> int:
    by_a_command_with(pid, "URG")
    by_a_command_with(pid, "WINCH")
    os.kill(pid, signal.SIGTERM)
    return os.getpid()


@pytest.mark.parametrize(
    ("number", "kill"),
    [
        (signal.SIGKILL, by_kill),
        (signal.SIGKILL, by_a_command),
        (signal.SIGHUP, by_another_user),
        (signal.SIGTERM, by_a_thread),
        (signal.SIGQUIT, by_tgkill),
        (signal.SIGINT, by_pidfd),
        (signal.SIGTERM, by_the_first_of_two),
        (signal.SIGTERM, by_one_after_another_that_harms_nobody),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_release_names_the_process_that_sent_the_fatal_signal(
    records: Records, number: signal.Signals, kill: Callable[[int], int]
) -> None:
    before = time.monotonic_ns()
    victim = Victim(lambda: os.setuid(1000) if kill is by_another_user else None)
    who = kill(victim.pid)
    status, sender = death(records, victim)
    assert status & 0x7F == number
    assert sender is not None
    assert (sender.signal, sender.pid, sender.flags) == (number, who, 0)
    assert before < sender.time <= records.exit_of(victim.pid).start
    assert sender.uid == (1000 if kill is by_another_user else 0)
    own = Path("/proc/self/comm").read_text().strip()
    assert text(sender.comm) == ("sh" if kill is by_a_command else own)


def faults() -> None:
    ctypes.string_at(8)


def alarms() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def sets_a_timer() -> None:
    timer = ctypes.c_void_p()
    event = (ctypes.c_byte * 64)()
    struct.pack_into("=Qii", event, 0, 0, int(signal.SIGUSR1), 0)
    _libc.timer_create(1, event, ctypes.byref(timer))
    _libc.timer_settime(timer, 0, struct.pack("=4q", 0, 0, 0, 50_000_000), None)


def aborts() -> None:
    _libc.abort()


def writes_to_nobody() -> None:
    one, other = socket.socketpair()
    other.close()
    _libc.write(one.fileno(), b"x", 1)


def starves() -> None:
    group = cgroup("small")
    (group / "memory.max").write_text(str(24 << 20))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    kept = [bytearray(os.urandom(1 << 20)) for _ in range(200)]
    del kept


def cgroup(name: str) -> Path:
    """Make a cgroup of the unified hierarchy with a memory controller; skips where there is none."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if roots:
        root = roots[0]
    else:
        root = Path("/tmp/cgroup2")
        root.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(root)], check=True)
    (root / "cgroup.subtree_control").write_text("+memory")
    group = root / f"hangup-{name}"
    group.mkdir(exist_ok=True)
    return group


KERNEL = SenderFlag.KERNEL


@pytest.mark.parametrize(
    ("number", "dies", "flags"),
    [
        (signal.SIGSEGV, faults, KERNEL),
        (signal.SIGALRM, alarms, KERNEL),
        (signal.SIGUSR1, sets_a_timer, KERNEL),
        (signal.SIGABRT, aborts, 0),
        (signal.SIGPIPE, writes_to_nobody, 0),
        (signal.SIGKILL, starves, KERNEL | SenderFlag.OOM),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_the_kernel_or_the_process_itself_sent_is_told_from_another_process(
    records: Records, number: signal.Signals, dies: Callable[[], None], flags: int
) -> None:
    def ends_itself() -> None:
        dies()

    if dies is starves:
        cgroup("small")
    victim = Victim(ends_itself)
    status, sender = death(records, victim)
    assert status & 0x7F == number
    assert sender is not None
    assert (sender.signal, sender.flags) == (number, flags)
    if not flags:
        assert sender.pid == victim.pid


def test_an_exit_after_a_handled_signal_names_its_sender(records: Records) -> None:
    def handle() -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(3))

    victim = Victim(handle)
    os.kill(victim.pid, signal.SIGTERM)
    status, sender = death(records, victim)
    assert status == 3 << 8
    assert sender is not None
    assert (sender.signal, sender.pid, sender.flags) == (signal.SIGTERM, os.getpid(), SenderFlag.HANDLED)


def test_who_sends_itself_the_signal_that_it_handled_was_told_to_by_another(records: Records) -> None:
    def again(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    victim = Victim(lambda: (signal.signal(signal.SIGTERM, again), None)[1])
    os.kill(victim.pid, signal.SIGTERM)
    status, sender = death(records, victim)
    assert status == signal.SIGTERM
    assert sender is not None
    assert (sender.signal, sender.pid) == (signal.SIGTERM, os.getpid())


def test_a_signal_that_was_blocked_keeps_its_sender_and_its_time(records: Records) -> None:
    blocked, unblock = Baton(), Baton()

    def ends_itself() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        blocked.pass_on()
        unblock.take()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    victim = Victim(ends_itself)
    blocked.take()
    os.kill(victim.pid, signal.SIGTERM)
    unblock.pass_on()
    status, sender = death(records, victim)
    assert status == signal.SIGTERM
    assert sender is not None
    assert (sender.pid, sender.flags) == (os.getpid(), SenderFlag.BLOCKED)


def test_a_signal_read_from_a_descriptor_is_a_reason_for_the_exit(records: Records) -> None:
    def waits() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

        def leave() -> None:
            signal.sigwait([signal.SIGTERM])
            os._exit(4)

        threading.Thread(target=leave).start()

    victim = Victim(waits)
    os.kill(victim.pid, signal.SIGTERM)
    status, sender = death(records, victim)
    assert status == 4 << 8
    assert sender is not None
    assert (sender.pid, sender.signal) == (os.getpid(), signal.SIGTERM)


def test_an_exit_that_nobody_asked_for_names_nobody(records: Records) -> None:
    def leaves() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))

    victim = Victim(leaves)
    os.kill(victim.pid, signal.SIGUSR1)
    assert death(records, victim) == (7 << 8, None)


def test_strict_seccomp_kills_without_a_sender(records: Records) -> None:
    def ends_itself() -> None:
        _libc.prctl(22, 1, 0, 0, 0)
        _libc.getppid()

    status, sender = death(records, Victim(ends_itself))
    assert status == signal.SIGKILL
    assert sender is None


def test_the_parents_death_sends_the_signal(records: Records) -> None:
    reading, writing = os.pipe()

    def orphan() -> None:
        _libc.prctl(1, int(signal.SIGUSR1))
        socket.socketpair()
        kept = socket.socketpair()
        os.write(writing, struct.pack("=I", os.getpid()))
        signal.pause()
        del kept

    go = Baton()

    def parent() -> None:
        Player(orphan)
        go.take()
        os._exit(0)

    player = Player(parent)
    (pid,) = struct.unpack("=I", os.read(reading, 4))
    go.pass_on()
    player.end()
    released = records.wait(
        lambda event: (
            event.operation == Operation.RELEASE and event.pid == pid and bool(event.flags & EventFlag.EXITING)
        )
    )[0]
    sender = sender_of(released)
    assert sender is not None
    assert (sender.signal, sender.pid) == (signal.SIGUSR1, player.pid)


def test_a_listeners_death_names_its_killer_for_clients_it_never_accepted(records: Records, tmp_path: Path) -> None:
    listening, connected = Baton(), Baton()

    def listen() -> None:
        kept = listener(tmp_path / "socket")
        listening.pass_on()
        time.sleep(_LIMIT)
        del kept

    def call() -> None:
        listening.take()
        end = client(tmp_path / "socket")
        connected.pass_on()
        end.recv(1)

    server, caller = Player(listen), Player(lambda: suppressed(call))
    connected.take()
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)
    caller.end()
    released = records.release_by(server.pid)
    sender = sender_of(released)
    assert released.flags & EventFlag.EMBRYO
    assert sender is not None
    assert (sender.signal, sender.pid) == (signal.SIGKILL, os.getpid())


def suppressed(part: Callable[[], None]) -> None:
    """Play a part that the other end's hang-up may break."""
    with suppress(OSError):
        part()


# ---- whose socket it was ---------------------------------------------------------------------------------------------


def test_a_kernel_threads_release_says_whose_socket_it_was_and_how_that_process_went(records: Records) -> None:
    if not is_available():
        pytest.skip("this kernel has no io_uring")
    ready = Baton()
    reading, writing = os.pipe()

    def use() -> None:
        one, other = socket.socketpair()
        os.write(writing, struct.pack("=Q", os.fstat(one.fileno()).st_ino))
        ring = Ring()
        ring.register([one.fileno()])
        ring.send(one.fileno(), b"by io_uring")
        receive(other, 11)
        one.close()
        ready.pass_on()
        time.sleep(_LIMIT)

    player = Player(use)
    (inode,) = struct.unpack("=Q", os.read(reading, 8))
    ready.take()
    os.kill(player.pid, signal.SIGTERM)
    os.waitpid(player.pid, 0)
    released = records.wait(lambda event: event.operation == Operation.RELEASE and event.inode_number == inode)[0]
    if not released.flags & EventFlag.KERNEL_THREAD:
        assert released.pid == player.pid, "somebody else released it"
        pytest.skip("on this kernel the process itself releases what its ring held")
    assert not released.flags & EventFlag.EXITING
    assert released.owner_pid == player.pid
    assert text(released.leader) == Path("/proc/self/comm").read_text().strip()
    assert released.flags & EventFlag.OWNER_EXITED
    assert released.exit_code == signal.SIGTERM
    sender = sender_of(released)
    assert sender is not None
    assert (sender.signal, sender.pid) == (signal.SIGTERM, os.getpid())


def test_a_thread_with_a_name_of_its_own_is_told_with_its_process(records: Records) -> None:
    def work() -> None:
        def named() -> None:
            _libc.prctl(15, b"worker", 0, 0, 0)  # PR_SET_NAME
            one, other = socket.socketpair()
            one.send(b"x")
            other.recv(1)

        thread = threading.Thread(target=named)
        thread.start()
        thread.join()

    player = Player(work)
    player.end()
    (read,) = records.wait(lambda event: event.pid == player.pid and event.operation == Operation.READ)
    assert text(read.comm) == "worker"
    assert text(read.leader) == Path("/proc/self/comm").read_text().strip()
    assert read.tid != read.pid


@pytest.mark.parametrize("flavour", exact_flavours())
def test_behind_a_name_there_is_nothing_of_whoever_was_kept_in_the_same_place_before(flavour: str) -> None:
    def work() -> None:
        _libc.prctl(15, b"fifteen-letters", 0, 0, 0)  # PR_SET_NAME
        for one, other in [socket.socketpair() for _ in range(400)]:
            one.send(b"x")
            other.recv(1)
            for end in (one, other):
                end.close()
        _libc.prctl(15, b"short", 0, 0, 0)
        for one, other in [socket.socketpair() for _ in range(20)]:
            one.send(b"x")
            other.recv(1)
            other.close()
            assert fails(lambda one=one: one.send(b"x")) == errno.EPIPE  # type: ignore[misc]

    with Probes(flavour=flavour, recording=True, endpoints=FEWEST_ENDPOINTS) as probes:
        Player(work).end()
        handed = [unpack_history(record) for record in probes.read(0.1) if type_of(record) == RecordType.HISTORY]
    histories = [history for each in handed for history in (each.one, each.other) if history is not None]
    assert len(histories) == 40
    assert {user.comm for history in histories for user in users_of(history)} == {b"short".ljust(16, b"\0")}
    # Who releases an end that he has used is taken for himself.
    assert not any(history.release_flags & EventFlag.FIRST_USE for history in histories)


# ---- what waited, and who had an address -----------------------------------------------------------------------------


def test_a_release_says_which_error_nobody_was_told(records: Records) -> None:
    def told() -> None:
        one, other = socket.socketpair()
        one.send(b"never read")
        other.close()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        one.close()

    def untold() -> None:
        one, other = socket.socketpair()
        one.send(b"never read")
        other.close()
        one.close()

    for part, expected in ((told, [0, 0]), (untold, [0, errno.ECONNRESET])):
        player = Player(part)
        player.end()
        releases = records.releases_by(player.pid, 2)
        assert [release.size for release in releases] == expected


def test_releases_and_failures_say_which_end_has_an_address(records: Records, tmp_path: Path) -> None:
    listening, gone = Baton(), Baton()

    def serve() -> None:
        with listener(tmp_path / "socket") as waiting:
            listening.pass_on()
            end, _ = waiting.accept()
        end.close()
        gone.pass_on()

    def call() -> None:
        listening.take()
        end = client(tmp_path / "socket")
        gone.take()
        with pytest.raises(BrokenPipeError):
            end.send(b"x")
        end.close()

    server, caller = Player(serve), Player(call)
    server.end()
    caller.end()
    released = records.release_by(server.pid)
    bound = EventFlag.BOUND | EventFlag.PEER_BOUND
    assert released.flags & bound == EventFlag.BOUND
    records.release_by(caller.pid)
    of_client = [event for event in records.events if event.pid == caller.pid]
    by_operation = {Operation(event.operation): event.flags & bound for event in of_client}
    assert by_operation == {
        Operation.CONNECT: 0,
        Operation.WRITE: EventFlag.PEER_BOUND,
        Operation.RELEASE: EventFlag.PEER_BOUND,
    }


def hang_up() -> None:
    """Leave a release."""
    one, other = socket.socketpair()
    one.close()
    other.close()


# ---- who is selected -------------------------------------------------------------------------------------------------


def test_whoever_connects_to_the_tracer_itself_leaves_no_record(records: Records, tmp_path: Path) -> None:
    def call() -> None:
        end = client(tmp_path / "metrics")
        end.sendall(b"GET /metrics")
        end.close()

    with listener(tmp_path / "metrics") as waiting:
        player = Player(call)
        end, _ = waiting.accept()
        receive(end, 12)
        assert end.recv(1) == b""
        end.close()
        player.end()
    marker = Player(hang_up)
    marker.end()
    records.release_by(marker.pid)
    assert [event for event in records.events if event.pid == player.pid] == []


@pytest.mark.parametrize("flavour", exact_flavours())
def test_what_a_client_writes_before_the_selected_process_accepts_is_recorded(flavour: str, tmp_path: Path) -> None:
    listening, may_accept, written = Baton(), Baton(), Baton()

    # The listener is its parent's, who is not selected: only the accept tells who serves.
    waiting_player: list[Player] = []

    def accept(waiting: socket.socket) -> None:
        may_accept.take()
        end, _ = waiting.accept()
        receive(end, 5)
        end.close()

    reading, writing = os.pipe()

    def own() -> None:
        with listener(tmp_path / "socket") as waiting:
            waiting_player.append(Player(lambda: accept(waiting)))
            os.write(writing, struct.pack("=I", waiting_player[0].pid))
            listening.pass_on()
            waiting_player[0].end()

    def call() -> None:
        listening.take()
        end = client(tmp_path / "socket")
        end.send(b"early")
        written.pass_on()
        assert end.recv(1) == b""
        end.close()

    owner = Player(own)
    (worker,) = struct.unpack("=I", os.read(reading, 4))
    with Probes(flavour=flavour, selection=Selection(pids=frozenset({worker}))) as probes:
        caller = Player(call)
        written.take()
        may_accept.pass_on()
        caller.end()
        owner.end()
        records = Records(probes)
        records.release_by(caller.pid)
        records.release_by(worker)
    seen = [Operation(event.operation) for event in records.events if event.pid == caller.pid]
    assert seen == [Operation.CONNECT, Operation.WRITE, Operation.READ, Operation.RELEASE]


def test_more_than_a_thousand_processes_can_be_selected() -> None:
    go = Baton()

    def talk() -> None:
        go.take()
        hang_up()

    player, other = Player(talk), Player(talk)
    with Probes(
        flavour="kprobe", selection=Selection(pids=frozenset([*range(1_000_000, 1_001_500), player.pid]))
    ) as probes:
        go.pass_on()
        go.pass_on()
        player.end()
        other.end()
        records = Records(probes)
        records.release_by(player.pid)
        assert {event.pid for event in records.events} == {player.pid}


# ---- what was lost, and when -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_ring")
def test_a_full_ring_says_when_it_was_full() -> None:
    rounds = 5_003
    start, may_end = Baton(), Baton()

    def burst() -> None:
        for _ in range(2):
            start.take()
            one, other = socket.socketpair()
            for _ in range(rounds):
                one.send(b"x")
                other.recv(1)
            done.pass_on()
        # What it releases when it ends finds an empty ring.
        may_end.take()

    done = Baton()
    player = Player(burst)
    with Probes(flavour=exact_flavours()[0], selection=Selection(pids=frozenset({player.pid}))) as probes:
        assert probes.lost_periods() == []
        bounds = []
        for _ in range(2):
            begun = time.monotonic_ns()
            start.pass_on()
            done.take()
            bounds.append((begun, time.monotonic_ns()))
            while probes.read(0):
                pass
        may_end.pass_on()
        player.end()
        periods = probes.lost_periods()
        lost = probes.losses()
    assert {period.cause for period in periods} == {Loss.RING_FULL}
    assert sum(period.count for period in periods) == lost[Loss.RING_FULL] > 0
    assert periods == sorted(periods, key=lambda period: period.since)
    for period in periods:
        assert period.since <= period.until
        assert any(begun < period.since and period.until < ended for begun, ended in bounds)
    # What is between the bursts was not lost.
    assert all(any(begun < period.since < ended for period in periods) for begun, ended in bounds)


def test_returns_that_a_kretprobe_missed_are_counted_even_if_the_thread_never_comes_back() -> None:
    threads = 40
    start, asleep = Baton(), Baton()

    def pool() -> None:
        start.take()
        pairs = [socket.socketpair() for _ in range(threads)]
        workers = [threading.Thread(target=other.recv, args=(1,), daemon=True) for _, other in pairs]
        for worker in workers:
            worker.start()
        while not all(sleeps_in_recvfrom(worker.native_id) for worker in workers):
            os.sched_yield()
        asleep.pass_on()
        signal.pause()

    player = Player(pool)
    with Probes(flavour="kprobe", selection=Selection(pids=frozenset({player.pid})), kretprobe_slots=8) as probes:
        start.pass_on()
        asleep.take()
        os.kill(player.pid, signal.SIGKILL)
        os.waitpid(player.pid, 0)
        records = Records(probes)
        records.wait(lambda event: event.operation == Operation.RELEASE and event.pid == player.pid, count=2 * threads)
        reads = sum(event.operation == Operation.READ for event in records.events)
        missed = probes.losses()[Loss.MISSED_RETURN]
        # Not left to whoever gets the thread's number next.
        by_probes = probes._counts()[Loss.MISSED_RETURN]
        profile = (TRACEFS[0] / "kprobe_profile").read_text()
        periods = [period for period in probes.lost_periods() if period.cause == Loss.MISSED_RETURN]
    assert reads < threads
    assert reads + missed == threads, profile
    assert by_probes == missed
    assert sum(period.count for period in periods) >= missed


def sleeps_in_recvfrom(tid: int | None) -> bool:
    """Whether a thread is blocked in recvfrom(2)."""
    return Path(f"/proc/self/task/{tid}/syscall").read_text().split()[0] == "45"
