"""Nothing foreign raises: /proc, cgroups, mounts, netlink and records may hold whatever others put there.

The tracer is root's and runs for good. A name that somebody chose, or an answer that a newer kernel gives, costs at
most what it says itself.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hangup.cli.ended import Ended
from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.reporters.page.collected import Collected
from hangup.cli.reporters.page.content import Source, page
from hangup.cli.reporters.page.render import html
from hangup.cli.reporters.summary import summary_text
from hangup.cli.reporters.summary_json import summary_lines
from hangup.tracer import names
from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.host import inventory, mounts, unix_diag
from hangup.tracer.host.cgroups import Hierarchy, parse, read_process_cgroup
from hangup.tracer.host.inventory import read_holders
from hangup.tracer.host.process import read_cgroup, read_comm, read_inner_pid, read_start
from hangup.tracer.kernel.preflight import Host, check_lockdown, check_pid_namespace, check_privileges, check_proc
from hangup.tracer.kernel.probes import preempts_programs
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import Cgroup, Fact, pack_fact
from hangup.tracer.tracer import Tracer
from tests import stories
from tests.stories import Story
from tests.unit.pages import read as read_page
from tests.unit.test_facts import FACTS

# bytes.splitlines() and str.splitlines() end a line at each of these; the kernel at the first one only.
LINE_ENDS = ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Return what a file of the kernel's could hold: samples, cut and joined anywhere, and rubbish between them."""
    parts = st.one_of(
        st.sampled_from([*samples, *(end.encode() for end in LINE_ENDS), b"\0", b":", b" ", b"/", b"\\777", b"\\000"]),
        st.sampled_from(samples).flatmap(lambda sample: st.integers(0, len(sample)).map(lambda end: sample[:end])),
        st.binary(max_size=30),
        st.just(b"9" * 5000),
    )
    return st.lists(parts, max_size=8).map(b"".join)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("end", LINE_ENDS[1:])
def test_a_cgroups_name_may_hold_what_ends_a_line_elsewhere(tmp_path: Path, end: str) -> None:
    put(tmp_path / "7" / "cgroup", f"0::/a{end}b.slice\n".encode())
    assert read_cgroup(7, tmp_path) == f"/a{end}b.slice".encode()
    found = read_process_cgroup(7, tmp_path)
    assert found is not None
    assert found.path.startswith("/a\\x")


@pytest.mark.parametrize("end", LINE_ENDS[1:])
def test_a_mounts_name_may_hold_what_ends_a_line_elsewhere(end: str) -> None:
    line = f"30 22 0:26 / /mnt/a{end}b rw - cgroup2 cgroup2 rw\n".encode()
    assert list(mounts.parse(line)) == [mounts.Mount(b"/", f"/mnt/a{end}b".encode(), b"cgroup2")]


@in_one_folder
@given(lines(b"0::/a.slice/b.service\n", b"1:name=systemd:/x (deleted)\n", b"3:cpu,cpuacct:/\n"))
def test_any_cgroup_file_is_read(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "7" / "cgroup", content)
    found = read_process_cgroup(7, tmp_path)
    assert isinstance(found, Cgroup)
    assert found.path.isprintable()


@in_one_folder
@given(
    lines(b"Name:\tx\n", b"NSpid:\t3012\t40\t7\n", b"NSpid:\t", b"Pid:\t3012\n"),
    lines(b"12 (sh) S 1 ", b"12 (a) b) R ", b"0 " * 20, b"12345 "),
    st.binary(max_size=40),
)
def test_any_file_of_a_process_is_read(tmp_path: Path, status: bytes, stat: bytes, comm: bytes) -> None:
    for name, content in (("status", status), ("stat", stat), ("comm", comm)):
        put(tmp_path / "7" / name, content)
    for number in (read_inner_pid(7, tmp_path), read_start(7, tmp_path)):
        assert number is None or number >= 0
    shown = read_comm(7, tmp_path)
    assert shown is not None
    assert shown.isprintable()


@in_one_folder
@given(
    lines(
        b"30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        b"31 22 0:4 net:[4026532200] /run/netns/a\\040b rw - nsfs nsfs rw\n",
    )
)
@example(b"1 2 3 net:[1] /\\000 rw - nsfs\n4 5 6 / /\\000 rw - cgroup2\n")
@example(b"1 2 3 / /\\777 rw - cgroup2 x rw\n")
def test_any_mountinfo_is_read(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "self" / "mountinfo", content)
    mounts.read_mounts(tmp_path)
    assert isinstance(inventory.other_namespaces(tmp_path, 1), dict)
    with suppress(OSError):
        assert Hierarchy(tmp_path).path(1 << 63) is None


@given(st.binary(max_size=300))
def test_any_path_of_a_cgroup_is_parsed(path: bytes) -> None:
    assert parse(path).path.startswith("/")


def test_only_numbers_are_taken_for_pids_and_descriptors(tmp_path: Path) -> None:
    for pid in ("7", "self", "²", "٣", "9" * 200):
        (tmp_path / pid / "fd").mkdir(parents=True)
    put(tmp_path / "7" / "comm", b"x\n")
    for descriptor in ("5", "x", "٣"):
        (tmp_path / "7" / "fd" / descriptor).symlink_to("socket:[77]")
    (tmp_path / "7" / "fd" / "6").symlink_to("socket:[77] (deleted)")
    holders, unreadable = read_holders([77], tmp_path)
    assert [(holder.pid, holder.descriptor) for holder in holders[77]] == [(7, 5)]
    assert unreadable == 0


@in_one_folder
@given(
    lines(
        b"CapEff:\t000001ffffffffff\n",
        b"0 0 4294967295\n",
        b"proc /proc proc rw,hidepid=2 0 0\n",
        b"[none] integrity confidentiality\n",
        b"none voluntary (full)\n",
        b"Linux version 6.1 PREEMPT",
        b"40\n",
    )
)
def test_any_file_of_the_kernels_is_looked_at(tmp_path: Path, content: bytes) -> None:
    proc, system = tmp_path / "proc", tmp_path / "sys"
    kernels = ["sys/kernel/cap_last_cap", "cmdline", "version"]
    for name in ["self/status", "self/uid_map", "self/mounts", *kernels]:
        put(proc / name, content)
    for name in ("security/lockdown", "debug/sched/preempt", "debug/kprobes/enabled"):
        put(system / "kernel" / name, content)
    host = Host(proc=proc, sys=system)
    for check in (check_proc, check_pid_namespace, check_privileges, check_lockdown):
        assert check(host).state in ("ok", "warn", "fail")
    assert preempts_programs(system, proc) in (True, False)


def test_nobodys_mount_can_pass_itself_off_as_proc(tmp_path: Path) -> None:
    """A mount's source and place are chosen by users too (FUSE): they may hold what ends a line elsewhere."""
    proc = tmp_path / "proc"
    forged = "\r".join(["x", f"proc {proc} proc rw,hidepid=invisible 0 0".replace(" ", "\u00a0")])
    put(proc / "self" / "status", b"CapEff:\t0\n")
    put(proc / "self" / "mounts", f"a@b:{forged} /mnt fuse.sshfs rw 0 0\nproc {proc} proc rw 0 0\n".encode())
    assert check_proc(replace(Host(), proc=proc)).state == "ok"


def test_a_link_of_a_namespace_without_a_sensible_number_is_none(tmp_path: Path) -> None:
    link = tmp_path / "self" / "ns" / "pid"
    link.parent.mkdir(parents=True)
    link.symlink_to("pid:[" + "9" * 3000 + "]")
    assert Host(proc=tmp_path).pid_namespace() is None


# ---- netlink


class Answers:
    """A netlink socket that gives these datagrams, each with its sender's port."""

    def __init__(self, datagrams: Iterable[tuple[bytes, int]]) -> None:
        self._datagrams = list(datagrams)

    def send(self, data: bytes) -> int:
        """Take the request."""
        return len(data)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        """Give the next one, and at the end the end of the list."""
        if not self._datagrams:
            return message(b"\0\0\0\0", kind=unix_diag.NLMSG_DONE), (0, 0)
        data, port = self._datagrams.pop(0)
        return data, (port, 0)


def message(body: bytes, kind: int = unix_diag.SOCK_DIAG_BY_FAMILY, length: int | None = None) -> bytes:
    """Return a netlink message (struct nlmsghdr) that says it is so long."""
    return struct.pack("=IHHII", 16 + len(body) if length is None else length, kind, 0, 1, 0) + body


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    """Return a netlink attribute (struct nlattr) that says it is so long."""
    return struct.pack("=HH", 4 + len(value) if length is None else length, kind) + value + bytes(-len(value) % 4)


def told(inode: int, *attributes: bytes) -> bytes:
    """Return the message about one socket (struct unix_diag_msg)."""
    return message(struct.pack("=BBBBIQ", socket.AF_UNIX, 1, 1, 0, inode, 0) + b"".join(attributes))


def read(*datagrams: tuple[bytes, int]) -> list[unix_diag.DiagSocket]:
    return unix_diag.read_sockets(Answers(datagrams))  # type: ignore[arg-type]


NAMED = told(
    77, attribute(0, b"/run/app.s"), attribute(2, struct.pack("=I", 78)), attribute(4, struct.pack("=II", 5, 6))
)

ATTRIBUTES = st.builds(
    attribute,
    st.integers(0, 8) | st.integers(0, 0xFFFF),
    st.binary(max_size=20),
    st.none() | st.integers(0, 40) | st.just(0xFFFF),
)
MESSAGES = st.one_of(
    st.builds(lambda inode, some: told(inode, *some), st.integers(0, 0xFFFFFFFF), st.lists(ATTRIBUTES, max_size=5)),
    st.builds(message, st.binary(max_size=40), st.sampled_from([0, 1, 3, 4, 20, 99]), st.none() | st.integers(0, 100)),
    st.integers(0, len(NAMED)).map(lambda end: NAMED[:end]),
    st.binary(max_size=60),
)


def assert_sound(sockets: Iterable[unix_diag.DiagSocket]) -> None:
    for one in sockets:
        numbers = (one.inode, one.receive_queue, one.send_queue, one.shutdown, *one.pending)
        assert all(isinstance(number, int) for number in numbers)
        assert one.peer_inode is None or isinstance(one.peer_inode, int)
        assert one.path is None or one.path.isprintable()


@given(st.lists(st.lists(MESSAGES, max_size=4).map(b"".join), max_size=4))
@example([told(5, attribute(3, b"12345"))])
@example([told(5, attribute(2, b""))])
@example([told(5, attribute(4, b"\1"))])
@example([message(b"", length=0), b"", b"\0" * 16])
def test_any_answer_of_the_kernel_is_read_to_its_end(datagrams: list[bytes]) -> None:
    # Rubbish can also look like a refusal.
    with suppress(OSError, unix_diag.UnixDiagMissingError):
        assert_sound(read(*((data, 0) for data in datagrams)))


@given(MESSAGES)
def test_what_is_not_understood_costs_itself_alone(rubbish: bytes) -> None:
    # What looks like the end of the list, or a refusal, is taken for that.
    assume(not any(struct.pack("=H", kind) in rubbish for kind in (unix_diag.NLMSG_DONE, unix_diag.NLMSG_ERROR)))
    assert {77, 79} <= {one.inode for one in read((NAMED, 0), (rubbish, 0), (told(79), 0))}


def test_the_messages_beside_one_that_is_cut_are_kept() -> None:
    half = told(5, attribute(2, b"\1"), attribute(3, b"12345"))
    assert {one.inode for one in read((half + NAMED, 0))} >= {77}
    [named] = [one for one in read((half + NAMED, 0)) if one.inode == 77]
    assert (named.path, named.peer_inode, named.receive_queue, named.send_queue) == ("/run/app.s", 78, 5, 6)


def test_only_the_kernel_is_listened_to() -> None:
    """Root of a network namespace of its own may send to any netlink socket there (netlink_sendmsg())."""
    forged = told(99, attribute(0, b"/run/forged"))
    end = message(b"\0\0\0\0", kind=unix_diag.NLMSG_DONE)
    assert [one.inode for one in read((forged, 4711), (end, 4711), (NAMED, 0))] == [77]


def test_a_refusal_is_an_error_however_short_it_is() -> None:
    for body in (struct.pack("=i", -22), struct.pack("=i", -22) + b"rest of the request"):
        with pytest.raises(OSError, match="refused the list"):
            read((message(body, kind=unix_diag.NLMSG_ERROR), 0))
    for body in (b"", b"\0", struct.pack("=i", -(1 << 31)), struct.pack("=i", 5)):
        with pytest.raises(OSError, match="Input/output error"):
            read((message(body, kind=unix_diag.NLMSG_ERROR), 0))
    with pytest.raises(unix_diag.UnixDiagMissingError):
        read((message(struct.pack("=i", -2), kind=unix_diag.NLMSG_ERROR), 0))


def test_a_namespace_whose_list_is_refused_is_counted_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_files: list[Path]) -> list[unix_diag.DiagSocket]:
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(unix_diag, "read_sockets", lambda _connection: [])
    monkeypatch.setattr(inventory, "other_namespaces", lambda *_: {5: [Path("/proc/1/ns/net")]})
    monkeypatch.setattr(inventory, "_read_namespace", refuse)
    assert inventory.snapshot().unreadable_namespaces == 1


# ---- records


@given(st.binary(max_size=record.SIZE * 2))
def test_a_record_is_unpacked_or_refused_as_too_short(data: bytes) -> None:
    try:
        event = record.unpack(data)
    except struct.error:
        assert len(data) < record.SIZE
    else:
        assert len(event.address) <= len(data) - record.SIZE
        assert all(len(one) for one in (names.syscall_name(event.syscall), names.error_name(abs(event.result))))
        assert names.signal_name(event.exit_code & 0x7F)


@in_one_folder
@given(st.lists(st.one_of(*FACTS.values()), max_size=12), st.randoms(use_true_random=False), st.booleans())
def test_a_capture_may_tell_anything_of_a_host(tmp_path: Path, facts: list[Fact], random: Random, pids: bool) -> None:
    told = [*map(pack_fact, facts), *(record.pack(event) for event in stories.seeds_failure().events)]
    older = Story(older=True)
    older.client.write(8, error=errno.EPIPE)
    older.client.release()
    told += [record.pack(event) for event in older.events]
    random.shuffle(told)
    path = tmp_path / "capture"
    path.unlink(missing_ok=True)
    write_capture(path, told)
    collected = Collected()
    with FileSource(path) as source, Tracer(source=source, latent=True, pids=[815] if pids else []) as tracer:
        for alert in tracer.alerts():
            collected.add(alert, tracer.clocks)
            json.loads(alert_line(alert, tracer.clocks))
            assert all(line.isprintable() for line in alert_block(alert, tracer.clocks, width=80).splitlines())
        assert source.damage is None
        ended = Ended(tracer.statistics, tracer.losses(), 0.0, tracer.flavour, len(tracer.functions))
        for line in summary_lines(ended):
            json.loads(line)
        assert all(line.isprintable() for line in summary_text(ended, width=80).splitlines())
        about = Source(["capture"], tracer.host, tracer.recorded.span or (0, 0))
        read_page(html(page(collected, ended, about)))
