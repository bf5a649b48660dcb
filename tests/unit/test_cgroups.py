"""A cgroup's path names unit and container, by systemd's rules and the runtimes' habits; an id finds the path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.host.cgroups import Cgroups, Hierarchy, parse, unescape_unit_name
from hangup.tracer.host.mounts import read_mounts
from hangup.tracer.host.process import PROC
from hangup.tracer.record.facts import ROOT, Cgroup

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4

# From systemd's own tests (src/test/test-cgroup-util.c) and from hosts: path, unit.
UNITS = {
    "/": None,
    "/system.slice": None,
    "/system.slice/nginx.service": "nginx.service",
    "/system.slice/nginx.service/worker": "nginx.service",
    "/system.slice/nginx.service/inner.service": "nginx.service",
    "/system.slice/system-uwsgi.slice/uwsgi@site.service": "uwsgi@site.service",
    "/system.slice/dev-disk\\x2dby.mount": "dev-disk\\x2dby.mount",
    "/system.slice/_cpu.service": "cpu.service",
    "/system.slice/getty@.service": None,
    "/system.slice/@x.service": None,
    "/system.slice/a b.service": None,
    "/system.slice/x\x1b.service": None,
    "/system.slice/.service": None,
    "/system.slice/" + "x" * 260 + ".service": None,
    "/system.slice/nginx.target": None,
    "/nginx.slicer": None,
    "/init.scope": "init.scope",
    "/-.slice/foo.service": "foo.service",
    "/user.slice/user-1000.slice/session-2.scope": "session-2.scope",
    "/user.slice/user-1000.slice/session-2.scope/foobar.service": "foobar.service",
    "/user.slice/user-1000.slice/user@1000.service": "user@1000.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice": "user@1000.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-1.scope/x": "app-1.scope",
    "/user.slice/user-1000.slice/user@1000.service/init.scope": "init.scope",
    "/user.slice/user-1000.slice/user@root.service/app.slice/app-1.scope": "user@root.service",
}

# Path, unit, container, runtime, whether the unit is the container's own.
CONTAINERS: list[tuple[str, str | None, str | None, str | None, bool]] = [
    (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", "0123456789ab", "docker", True),
    (f"/system.slice/docker-{ID}.scope/init.scope", "init.scope", "0123456789ab", "docker", False),
    (f"/docker/{ID}", None, "0123456789ab", "docker", False),
    (f"/system.slice/docker.service/docker/{ID}", "docker.service", "0123456789ab", "docker", False),
    (f"/system.slice/docker-{ID}.scope/docker/{OTHER}", f"docker-{ID}.scope", "fedcba987654", "docker", True),
    (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", "0123456789ab", "podman", True),
    (
        f"/machine.slice/libpod-{ID}.scope/container/system.slice/nginx.service",
        "nginx.service",
        "0123456789ab",
        "podman",
        False,
    ),
    (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope", None, None, False),
    (f"/libpod_parent/libpod-{ID}", None, "0123456789ab", "podman", False),
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"libpod-{ID}.scope",
        "0123456789ab",
        "podman",
        True,
    ),
    (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope",
        f"cri-containerd-{ID}.scope",
        "0123456789ab",
        "containerd",
        True,
    ),
    (f"/kubepods.slice/kubepods-pod1_2.slice/crio-{ID}.scope", f"crio-{ID}.scope", "0123456789ab", "cri-o", True),
    (f"/kubepods.slice/crio-conmon-{ID}.scope", f"crio-conmon-{ID}.scope", None, None, False),
    (f"/kubepods/besteffort/pod1-2/{ID}", None, "0123456789ab", "kubernetes", False),
    (
        f"/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{ID}",
        "containerd.service",
        "0123456789ab",
        "containerd",
        False,
    ),
    (
        f"/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/cri-containerd-{OTHER}.scope",
        f"cri-containerd-{OTHER}.scope",
        "fedcba987654",
        "containerd",
        True,
    ),
    (f"/new.slice/other-{ID}.scope", f"other-{ID}.scope", "0123456789ab", "other", True),
    (f"/somewhere/{ID}", None, "0123456789ab", None, False),
    (f"/{ID}", None, "0123456789ab", None, False),
    (f"/somewhere/{ID}0", None, None, None, False),
    (f"/somewhere/{ID.upper()}", None, None, None, False),
    ("/lxc.payload.web/system.slice/nginx.service", "nginx.service", "web", "lxc", False),
    ("/lxc.payload.my-web", None, "my-web", "lxc", False),
    ("/lxc.payload.\x1b[2J", None, r"\x1b[2J", "lxc", False),
    ("/lxc.monitor.web", None, None, None, False),
    ("/lxc/101/ns/system.slice/nginx.service", "nginx.service", "101", "lxc", False),
    ("/lxc.monitor/101", None, None, None, False),
    (
        "/machine.slice/systemd-nspawn@my-web.service/payload/system.slice/nginx.service",
        "nginx.service",
        "my-web",
        "systemd-nspawn",
        False,
    ),
    (
        "/machine.slice/systemd-nspawn@web.service/payload",
        "systemd-nspawn@web.service",
        "web",
        "systemd-nspawn",
        True,
    ),
    (
        "/machine.slice/systemd-nspawn@web.service/supervisor",
        "systemd-nspawn@web.service",
        None,
        None,
        False,
    ),
    (
        r"/machine.slice/machine-my\x2dweb.scope/payload",
        r"machine-my\x2dweb.scope",
        "my-web",
        "machined",
        True,
    ),
    (
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
        r"machine-qemu\x2d1\x2dvm.scope",
        None,
        None,
        False,
    ),
]


@pytest.mark.parametrize("path", UNITS)
def test_a_unit_is_found_by_systemds_rules(path: str) -> None:
    found = parse(path.encode())
    assert (found.unit, found.container) == (UNITS[path], None)


@pytest.mark.parametrize(("path", "unit", "container", "runtime", "is_container"), CONTAINERS)
def test_a_container_is_found_by_its_runtimes_habits(
    path: str, unit: str | None, container: str | None, runtime: str | None, is_container: bool
) -> None:
    assert parse(path.encode())[1:] == (unit, container, runtime, is_container)


COMPONENTS = st.one_of(
    st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"/", b"_").replace(b"\n", b"_")),
    st.sampled_from(
        [
            part.encode()
            for path in [*UNITS, *(row[0] for row in CONTAINERS)]
            for part in path.split("/")
            if part and len(part) < 200
        ]
    ),
)


@given(st.lists(COMPONENTS, max_size=8))
def test_any_path_is_safe_to_show_and_a_name_always_comes_out_of_it(components: list[bytes]) -> None:
    path = b"/" + b"/".join(components)
    found = parse(path)
    for text in (found.path, found.unit, found.container, found.runtime):
        assert text is None or (text.isprintable() and text)
    if found.unit is not None:
        assert found.unit.encode() in path
    if found.runtime is not None or found.unit_is_container:
        assert found.container is not None
    assert found == parse(path + b"/")


@given(st.lists(COMPONENTS, max_size=4), st.lists(COMPONENTS, max_size=4))
def test_what_is_inside_of_a_container_does_not_hide_it(around: list[bytes], inside: list[bytes]) -> None:
    path = b"/".join([b"", *around, f"docker-{ID}.scope".encode(), b"app", *inside])
    assert parse(path).container is not None


@given(st.binary(min_size=1))
def test_an_escaped_name_is_unescaped_as_systemd_escapes_it(name: bytes) -> None:
    plain = b":_.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def escaped(place: int, byte: int) -> bytes:
        if byte == ord("/"):
            return b"-"
        # A leading dot would hide a file.
        return bytes([byte]) if byte in plain and (place or byte != ord(".")) else b"\\x%02x" % byte

    assert unescape_unit_name(b"".join(escaped(*each) for each in enumerate(name))) == name


# ---- by id


class Tree:
    """Cgroups by id, of which some can vanish; counts how often it is asked."""

    def __init__(self, **paths: bytes) -> None:
        self.paths = {int(number.removeprefix("id")): path for number, path in paths.items()}
        self.asked: list[int] = []

    def path(self, number: int) -> bytes | None:
        """Answer as Hierarchy.path()."""
        self.asked.append(number)
        return self.paths.get(number)


def test_a_cgroup_is_remembered_when_it_is_gone() -> None:
    tree = Tree(id7=b"/system.slice/app.service")
    known = Cgroups(find=tree.path)
    known.learn(7, 1)
    tree.paths.clear()
    assert known.cgroup(7, 1) == Cgroup("/system.slice/app.service", "app.service")
    assert tree.asked == [7]


def test_one_that_was_gone_already_is_asked_for_once() -> None:
    tree = Tree()
    known = Cgroups(find=tree.path)
    assert [known.cgroup(7, os.getpid()) for _ in range(3)] == [None] * 3
    assert tree.asked == [7]


def test_one_that_was_found_by_no_process_is_asked_for_again(tmp_path: Path) -> None:
    """Who may not open a cgroup by its id finds it by the next process in it, if the first has gone."""

    def refuse(_number: int) -> bytes | None:
        raise PermissionError

    known = Cgroups(proc=tmp_path, find=refuse)
    known.learn(7, 5)
    assert known.cgroup(7, 5) is None
    (tmp_path / "6").mkdir()
    (tmp_path / "6" / "cgroup").write_bytes(b"0::/system.slice/nginx.service\n")
    found = known.cgroup(7, 6)
    assert found is not None
    assert found.unit == "nginx.service"


def test_the_memory_is_bounded_and_what_is_still_there_is_found_again() -> None:
    tree = Tree(**{f"id{number}": b"/%d.service" % number for number in range(10, 20)})
    known = Cgroups(limit=3, find=tree.path)
    for number in range(10, 20):
        known.learn(number, 1)
    assert len(known) == 3
    found = known.cgroup(10, 1)
    assert found
    assert found.unit == "10.service"


def fake_cgroup(proc: Path, pid: int, line: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(line)


def test_a_host_with_cgroup_v1_is_asked_through_the_process_each_time(tmp_path: Path) -> None:
    fake_cgroup(tmp_path, 5, "1:name=systemd:/system.slice/cron.service\n0::/\n")
    known = Cgroups(proc=tmp_path, find=Tree().path)
    known.learn(ROOT, 5)
    found = known.cgroup(ROOT, 5)
    assert found
    assert found.unit == "cron.service"
    assert known.cgroup(ROOT, 6) is None
    assert known.cgroup(0, 5) is None
    assert len(known) == 0


def test_who_may_not_open_a_cgroup_by_its_id_asks_the_process(tmp_path: Path) -> None:
    def refuse(_: int) -> bytes:
        raise PermissionError(1, "Operation not permitted")

    fake_cgroup(tmp_path, 5, "0::/system.slice/app.service\n")
    known = Cgroups(proc=tmp_path, find=refuse)
    known.learn(7, 5)
    (tmp_path / "5" / "cgroup").unlink()
    found = known.cgroup(7, 5)
    assert found
    assert found.unit == "app.service"


def unified_mount() -> Path | None:
    points = [mount.point for mount in read_mounts(PROC) if mount.kind == b"cgroup2" and mount.root == b"/"]
    return Path(os.fsdecode(points[0])) if points else None


@pytest.fixture
def real() -> Iterator[Path]:
    """Make a real cgroup; it is gone after the test in any case."""
    mount = unified_mount()
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root and cgroup v2 to make a cgroup")
    path = mount / f"hangup test (deleted)-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    yield path
    if path.exists():
        path.rmdir()


def test_a_real_cgroup_is_found_by_its_id_until_it_is_removed(real: Path) -> None:
    number = real.stat().st_ino
    hierarchy = Hierarchy()
    assert hierarchy.path(number) == b"/" + os.fsencode(real.name)
    inner = real / "inner (deleted)"
    inner.mkdir()
    assert hierarchy.path(inner.stat().st_ino) == b"/" + os.fsencode(real.name) + b"/inner (deleted)"
    inner.rmdir()
    real.rmdir()
    assert hierarchy.path(number) is None


def test_a_cgroup_that_is_removed_while_it_is_looked_up_keeps_its_name(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readlink = os.readlink

    def remove_first(path: bytes) -> bytes:
        real.rmdir()
        return readlink(path)

    monkeypatch.setattr(os, "readlink", remove_first)
    assert Hierarchy().path(real.stat().st_ino) == b"/" + os.fsencode(real.name)


def test_a_host_without_the_unified_hierarchy_says_so(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_bytes(b"30 22 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
    with pytest.raises(FileNotFoundError):
        Hierarchy(tmp_path).path(7)


def test_a_real_process_in_a_real_cgroup_is_placed_there(real: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        (real / "cgroup.procs").write_text(str(child.pid))
        by_id = Cgroups().cgroup(real.stat().st_ino, child.pid)
    assert by_id == Cgroup("/" + real.name)
