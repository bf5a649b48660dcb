"""Processes are named from /proc, cheaply, and keep their names when they are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hangup.tracer.process import ProcessNames, read_cgroup, read_comm, read_inner_pid, read_uid


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


def test_what_an_event_says_replaces_what_was_known(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, b"sh")
    names = ProcessNames(proc=tmp_path)
    assert names.comm(7) == "sh"
    names.learn(7, "nginx")
    assert names.comm(7) == "nginx"


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
