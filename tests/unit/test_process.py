"""Processes are named from /proc, cheaply, and keep their names when they are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hangup.tracer.host.process import ProcessNames, read_cgroup, read_comm, read_inner_pid, read_start, read_uid

SECOND = 10**9
TICK = SECOND // os.sysconf("SC_CLK_TCK")


def fake_process(proc: Path, pid: int, comm: bytes, cgroup: bytes = b"0::/\n") -> None:
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "comm").write_bytes(comm + b"\n")
    (directory / "cgroup").write_bytes(cgroup)


def test_own_process_is_named() -> None:
    assert read_comm(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    assert read_uid(os.getpid()) == os.geteuid()


def test_a_hostile_comm_is_escaped(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, b"\x1b[2Jinit\n")
    assert read_comm(7, tmp_path) == r"\x1b[2Jinit\x0a"


def test_a_vanished_process_has_no_name(tmp_path: Path) -> None:
    assert read_comm(7, tmp_path) is None
    assert read_uid(7, tmp_path) is None
    assert read_cgroup(7, tmp_path) is None
    assert read_inner_pid(7, tmp_path) is None
    assert ProcessNames(proc=tmp_path).comm(7) is None


def test_a_process_keeps_its_name_after_its_end() -> None:
    names = ProcessNames()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        comm = names.comm(child.pid)
        assert comm
    assert read_comm(child.pid) is None
    assert names.comm(child.pid) == comm


def test_a_process_that_executes_another_program_has_that_ones_name() -> None:
    names = ProcessNames()
    program = "import os; os.read(0, 1); os.execvp('cat', ['cat'])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        before = names.comm(child.pid)
        child.stdin.write(b"!echo\n")
        child.stdin.flush()
        # What cat writes says that it runs.
        assert child.stdout.readline() == b"echo\n"
        assert (before, names.comm(child.pid)) == (read_own_name(sys.executable), "cat")
        child.stdin.close()
    assert names.comm(child.pid) == "cat"


def read_own_name(executable: str) -> str:
    """Return the comm that a program of this path has (TASK_COMM_LEN)."""
    return Path(executable).name[:15]


def test_a_pid_that_is_used_again_has_the_name_of_the_process_that_has_it_now(tmp_path: Path) -> None:
    names = ProcessNames(proc=tmp_path)
    fake_process(tmp_path, 7, b"sh")
    assert names.comm(7) == "sh"
    (tmp_path / "7" / "comm").write_bytes(b"nginx\n")
    assert names.comm(7) == "nginx"


def test_a_name_that_an_event_told_is_kept_when_its_process_is_gone(tmp_path: Path) -> None:
    names = ProcessNames(proc=tmp_path)
    names.learn(7, "nginx")
    assert names.comm(7) == "nginx"
    fake_process(tmp_path, 7, b"another")
    assert names.comm(7) == "another"


def test_a_process_that_began_later_is_not_taken_for_the_one_that_had_its_pid(tmp_path: Path) -> None:
    names = ProcessNames(proc=tmp_path)
    now = time.monotonic_ns()
    names.learn(7, "sh", seen=now - 60 * SECOND)
    fake_process(tmp_path, 7, b"stranger")
    began(tmp_path, 7, now - 30 * SECOND)
    assert names.comm(7, seen=now - 60 * SECOND) == "sh"
    assert names.comm(7, seen=now) == "stranger"
    # The first one's name is not known any more; the second one's would be a lie.
    assert names.comm(7, seen=now - 60 * SECOND) is None
    (tmp_path / "7" / "comm").unlink()
    (tmp_path / "7" / "stat").unlink()
    assert names.comm(7, seen=now - 60 * SECOND) is None
    assert names.comm(7, seen=now) == "stranger"


def test_what_an_event_of_a_later_process_said_is_not_said_of_an_earlier_one(tmp_path: Path) -> None:
    names = ProcessNames(proc=tmp_path)
    now = time.monotonic_ns()
    names.learn(7, "stranger", seen=now)
    fake_process(tmp_path, 7, b"stranger")
    began(tmp_path, 7, now - 30 * SECOND)
    assert names.comm(7, seen=now - 60 * SECOND) is None


def test_what_a_pid_was_called_before_it_was_called_otherwise_is_said_of_that_time(tmp_path: Path) -> None:
    """Both are gone: another process had the pid, or the same one executed another program."""
    names = ProcessNames(proc=tmp_path)
    names.learn(7, "sh", seen=10 * SECOND)
    names.learn(7, "stranger", seen=20 * SECOND)
    names.learn(7, "stranger", seen=30 * SECOND)
    assert names.comm(7, seen=10 * SECOND) == "sh"
    assert names.comm(7, seen=20 * SECOND) == "stranger"
    assert names.comm(7) == "stranger"


def test_when_a_process_began_is_not_forgotten_for_what_an_event_says(tmp_path: Path) -> None:
    names = ProcessNames(proc=tmp_path)
    now = time.monotonic_ns()
    fake_process(tmp_path, 7, b"stranger")
    began(tmp_path, 7, now - 30 * SECOND)
    assert names.comm(7, seen=now) == "stranger"
    names.learn(7, "stranger", seen=now)
    (tmp_path / "7" / "comm").unlink()
    (tmp_path / "7" / "stat").unlink()
    assert names.comm(7, seen=now - 60 * SECOND) is None


def test_our_own_process_began_before_now_and_a_child_after_that() -> None:
    before = time.monotonic_ns()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        own, childs = read_start(os.getpid()), read_start(child.pid)
    assert own is not None
    assert childs is not None
    # To the tick, and from one clock to the other.
    assert own <= before
    assert before - 20 * TICK <= childs <= time.monotonic_ns()
    assert read_start(child.pid) is None


@pytest.mark.parametrize("comm", [b"x", b") S 1 (", b"a b) R 9 9 9", b""])
def test_a_comm_does_not_hide_when_its_process_began(tmp_path: Path, comm: bytes) -> None:
    fake_process(tmp_path, 7, comm)
    now = time.monotonic_ns()
    began(tmp_path, 7, now, comm)
    found = read_start(7, tmp_path)
    assert found is not None
    assert now - 2 * TICK <= found <= now


def began(proc: Path, pid: int, when: int, comm: bytes = b"x") -> None:
    """Write when a process began, in ns of CLOCK_MONOTONIC."""
    ticks = (when + time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // TICK
    before = b"S 1 " + b"0 " * 17
    (proc / str(pid) / "stat").write_bytes(b"%d (%b) %b%d 4096 12\n" % (pid, comm, before, ticks))


def test_the_memory_is_bounded_and_forgets_the_least_used(tmp_path: Path) -> None:
    names = ProcessNames(limit=3, proc=tmp_path)
    for pid in (1, 2, 3):
        names.learn(pid, f"p{pid}")
    assert names.comm(1) == "p1"
    names.learn(4, "p4")
    assert len(names) == 3
    assert names.comm(2) is None
    assert [names.comm(pid) for pid in (1, 3, 4)] == ["p1", "p3", "p4"]


def test_the_cgroup_is_that_of_the_hierarchy_that_says_most(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, b"nginx", b"0::/system.slice/nginx.service\n")
    fake_process(tmp_path, 2, b"hybrid", b"4:cpu:/x.service\n1:name=systemd:/system.slice/cron.service\n0::/\n")
    fake_process(tmp_path, 3, b"legacy", b"3:cpu,cpuacct:/\n2:memory:/docker/a:b\n")
    fake_process(tmp_path, 4, b"nowhere", b"1:name=systemd:/\n0::/\n")
    fake_process(tmp_path, 5, b"zombie", b"0::/gone (deleted)\n")
    found = [read_cgroup(pid, tmp_path) for pid in range(1, 6)]
    assert found == [b"/system.slice/nginx.service", b"/system.slice/cron.service", b"/docker/a:b", b"/", b"/gone"]


def test_the_inner_pid_is_the_last_of_those_that_a_process_has(tmp_path: Path) -> None:
    for pid, line in {1: "NSpid:\t1\n", 2: "NSpid:\t3012\t40\t7\n", 3: ""}.items():
        fake_process(tmp_path, pid, b"x")
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nPid:\t{pid}\n{line}NSpgid:\t3012\t5\n")
    assert [read_inner_pid(pid, tmp_path) for pid in (1, 2, 3)] == [1, 7, None]
    assert read_inner_pid(os.getpid()) == os.getpid()
