"""Mounts are read as the kernel spells them."""

from __future__ import annotations

from pathlib import Path

from hangup.tracer.host.mounts import Mount, parse, read_mounts

MOUNTINFO = (
    b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    b"30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
    b"31 22 0:4 net:[4026532200] /run/netns/a\\040b rw - nsfs nsfs rw\n"
    b"32 22 0:27 /x\\134y /mnt rw - fuse.sshfs host:/ - rw\n"
)


def test_roots_points_and_kinds_are_told_without_the_kernels_escapes() -> None:
    assert list(parse(MOUNTINFO)) == [
        Mount(b"/", b"/", b"ext4"),
        Mount(b"/", b"/sys/fs/cgroup", b"cgroup2"),
        Mount(b"net:[4026532200]", b"/run/netns/a b", b"nsfs"),
        Mount(b"/x\\y", b"/mnt", b"fuse.sshfs"),
    ]


def test_our_own_mounts_have_a_root_and_proc() -> None:
    found = read_mounts(Path("/proc"))
    assert b"proc" in {mount.kind for mount in found if mount.point == b"/proc"}
    assert b"/" in {mount.point for mount in found}


def test_without_proc_there_is_nothing(tmp_path: Path) -> None:
    assert read_mounts(tmp_path) == []
