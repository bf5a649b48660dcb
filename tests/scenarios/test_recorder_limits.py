"""The recorder where it has no room for all, comes late, is killed, or has nothing to say: each kind of probes.

The clients' own logs (tests/scenarios/crowd.py) are the truth.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hangup.tracer.kernel.kprobes import TRACEFS
from hangup.tracer.kernel.probes import ENDPOINTS, FEWEST_ENDPOINTS, PROBED
from hangup.tracer.statistics import OTHER
from tests.scenarios.crowd import (
    CONNECTIONS,
    STORM,
    Failure,
    Flag,
    Way,
    Witness,
    be_busy,
    call,
    disagreements,
    gather,
    serving,
)
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.stage import Baton
from tests.scenarios.watched import Watch, start, watch

FLAVOURS = exact_flavours()

_LIMIT = 60.0
_BPFFS = Path("/sys/fs/bpf")
_KPROBES = Path("/sys/kernel/debug/kprobes/list")

# include/uapi/linux/bpf.h: enum bpf_cmd; arch/x86/entry/syscalls/syscall_64.tbl
_NEXT_ID = {"program": 11, "map": 12, "link": 31}
_BPF = 321


def failures_of(witnesses: list[Witness]) -> list[Failure]:
    """Wait for all of them; return what failed."""
    return [failure for witness in witnesses for failure in witness.failures()]


def lost(found: Watch) -> dict[str, int]:
    """Return what was lost, by cause."""
    return {cause: count for cause, count in found.total["lost_by_cause"].items() if count}


# ---- no room for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "endpoints", "connections", "failing"),
    [
        *((flavour, FEWEST_ENDPOINTS, 2_000, 20) for flavour in FLAVOURS),
        pytest.param(
            FLAVOURS[0],
            ENDPOINTS,
            ENDPOINTS // 2 + 1_000,
            100,
            marks=pytest.mark.skipif(CONNECTIONS < STORM, reason="takes minutes: make test-kernels"),
        ),
    ],
)
def test_with_more_endpoints_open_than_histories_each_failure_is_found_and_what_was_given_up_counted_and_doubted(
    flavour: str, endpoints: int, connections: int, failing: int, tmp_path: Path
) -> None:
    path, clients = tmp_path / "socket", 4
    with watch(tmp_path / "output", "--probes", flavour, "--history", str(endpoints)) as found:
        together, go = [Baton() for _ in range(clients)], [Baton() for _ in range(clients)]
        with serving(path):
            witnesses = [
                Witness(lambda batons=batons: gather(path, connections // clients, failing, *batons))  # type: ignore[misc]
                for batons in zip(together, go, strict=True)
            ]
            for baton in together:
                baton.take()
            for baton in go:
                baton.pass_on()
            failures = failures_of(witnesses)
    assert len(failures) == clients * len(range(0, connections // clients, failing))
    alerts = found.alerts_about(path)
    assert disagreements(failures, alerts) == []
    # All were open at once, and each had been used: at least so many found no room.
    assert lost(found).keys() == {"history_given_up"}
    assert lost(found)["history_given_up"] >= 2 * connections - endpoints
    assert any("lost while it was open" in doubt for alert in alerts for doubt in alert["doubts"])


# ---- too late --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_attached_to_a_thousand_busy_connections_it_finds_what_fails_from_then_on_and_nothing_else(
    flavour: str, tmp_path: Path
) -> None:
    path, connections, clients, failing = tmp_path / "socket", 1_000, 2, 20
    started, attached = [Baton() for _ in range(clients)], Flag()
    with ExitStack() as stack:
        stack.enter_context(serving(path))
        witnesses = [
            Witness(lambda each=each: be_busy(path, connections // clients, failing, each, attached))  # type: ignore[misc]
            for each in started
        ]
        for baton in started:
            baton.take()
        with watch(tmp_path / "output", "--probes", flavour) as found:
            attached.put_up()
            failures = failures_of(witnesses)
    assert len(failures) >= connections // failing
    alerts = found.alerts_about(path)
    assert disagreements(failures, alerts) == []
    assert lost(found) == {}
    older = [alert for alert in alerts if any("older than hangup" in doubt for doubt in alert["doubts"])]
    # And of the new ones, that began when it was there, all is known.
    assert len(older) == connections // failing
    assert len([alert for alert in alerts if not alert["doubts"]]) == len(failures) - len(older)


# ---- nothing to say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_while_nothing_fails_it_sleeps_however_much_goes_on(flavour: str, tmp_path: Path) -> None:
    path, connections = tmp_path / "socket", 2_000
    ways = [Way.NOTHING if number % 10 == 0 else Way.GOOD for number in range(connections)]
    with watch(tmp_path / "output", "--probes", flavour) as found:
        begun, before = time.monotonic(), switches(found.pid)
        with serving(path):
            assert Witness(lambda: call(path, ways, at_once=20)).failures() == []
        woken, seconds = switches(found.pid) - before, time.monotonic() - begun
    # It looks at what wakes nobody once a second, and once more here and there.
    assert woken <= seconds + 5
    assert woken < connections / 10
    assert lost(found) == {}
    counted = {row["path"]: row["connections"] for row in found.rows if row["path"] in (str(path), OTHER)}
    assert sum(counted.values()) == connections, counted


def switches(pid: int) -> int:
    """Return how often a process has given up its processor to wait for something, all its threads together."""
    lines = [line for task in Path(f"/proc/{pid}/task").iterdir() for line in (task / "status").read_text().split("\n")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_killed_it_leaves_no_program_map_link_or_pin_and_what_it_leaves_in_tracefs_the_next_start_takes_away(
    flavour: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    before, pins = kernel_ids(), pinned()
    with start("--probes", flavour, output=output) as process:
        ours = kernel_ids() - before
        assert {kind for kind, _ in ours} >= {"program", "map"}
        assert bool(armed_kprobes()) == (flavour == "kprobe")
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The kernel frees them some time after their last user is gone (RCU).
        deadline = time.monotonic() + _LIMIT
        while left := (ours & kernel_ids()) or armed_kprobes():
            assert time.monotonic() < deadline, f"these are left: {left}"
            os.sched_yield()
    assert pinned() == pins
    # Names of return probes stay behind, switched off.
    assert set(tracefs_probes()) == ({process.pid} if flavour == "kprobe" else set())
    killed = process.pid
    with start("--probes", flavour, output=output):
        assert killed not in tracefs_probes()
    assert tracefs_probes() == []


def kernel_ids() -> set[tuple[str, int]]:
    """Return the kind and the id of each BPF object in the kernel (BPF_PROG_GET_NEXT_ID and its like, bpf(2))."""
    return {(kind, number) for kind, command in _NEXT_ID.items() for number in _ids(command)}


def _ids(command: int) -> Iterator[int]:
    library = ctypes.CDLL(None, use_errno=True)
    # union bpf_attr: start_id, next_id, open_flags
    attributes = (ctypes.c_uint32 * 3)()
    while library.syscall(_BPF, command, ctypes.byref(attributes), ctypes.sizeof(attributes)) == 0:
        yield attributes[1]
        attributes[0] = attributes[1]
    # ENOENT: that was the last one. EINVAL: a kernel before 5.8 has no links that can be counted.
    assert ctypes.get_errno() in (errno.ENOENT, errno.EINVAL), os.strerror(ctypes.get_errno())


def pinned() -> set[Path]:
    """Return what is pinned."""
    return set(_BPFFS.rglob("*"))


def tracefs_probes() -> list[int]:
    """Return whose the probes in tracefs are: the pid at the end of each name of hangup's."""
    lines = (TRACEFS[0] / "kprobe_events").read_text().splitlines()
    return [int(line.split()[0].rpartition("_")[2]) for line in lines if "/hangup_" in line]


def armed_kprobes() -> list[str]:
    """Return the kprobes on functions that hangup attaches to, but for those that are switched off."""
    lines = _KPROBES.read_text().splitlines()
    functions = tuple(f" {probed.function}" for probed in PROBED)
    return [line for line in lines if "[DISABLED]" not in line and any(each in line for each in functions)]
