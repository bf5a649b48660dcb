"""Processes are named from /proc, cheaply, and keep their names when they are gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hangup.tracer.host.process import read_cgroup, read_comm, read_inner_pid, read_uid

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


def began(proc: Path, pid: int, when: int, comm: bytes = b"x") -> None:
    """Write when a process began, in ns of CLOCK_MONOTONIC."""
    ticks = (when + time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // TICK
    before = b"S 1 " + b"0 " * 17
    (proc / str(pid) / "stat").write_bytes(b"%d (%b) %b%d 4096 12\n" % (pid, comm, before, ticks))


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
