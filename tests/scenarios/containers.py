"""Containers as the kernel knows them: processes in namespaces and a cgroup of their own.

What a container runtime adds to that (images, seccomp, a registry) hangup never looks at; what it calls its cgroups is
all that tells one from another.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hangup.tracer.host.mounts import read_mounts
from tests.scenarios.stage import Player

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
# include/uapi/linux/mount.h
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Give the caller namespaces of its own (unshare(2); Python's comes with 3.12)."""
    _check(_libc.unshare(flags))


def enter_network(path: Path) -> None:
    """Move the calling thread into the network namespace of a file (setns(2))."""
    descriptor = os.open(path, os.O_RDONLY)
    _check(_libc.setns(descriptor, CLONE_NEWNET))
    os.close(descriptor)


def mount(source: str, target: str, flags: int) -> None:
    """Mount without a file system: to bind, or to change how mounts spread (mount(2))."""
    _check(_libc.mount(source.encode(), target.encode(), None, flags, None))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Container(Player):
    """A forked child that plays one part in pid, mount and network namespaces of its own, as their process 2.

    shared: a folder that it finds at `inside`. cgroup: one that is there. depth: how many pid namespaces it is in below
    the host's. `pid` is what is to be waited for; the part runs as `player`, on the host's terms.
    """

    def __init__(
        self, part: Callable[[], None], *, shared: Path, inside: Path, cgroup: Path | None = None, depth: int = 1
    ) -> None:
        told, tell = os.pipe()

        def enter() -> None:
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text("0")
            unshare(CLONE_NEWNS | CLONE_NEWNET)
            mount("", "/", MS_REC | MS_PRIVATE)
            mount(str(shared), str(inside), MS_BIND)
            for _ in range(depth):
                unshare(CLONE_NEWPID)
                _go_on_in_child()
            # The namespace's first process stays: with it all others would go.
            _go_on_in_child()
            # /proc is still the host's, and calls us as the host does.
            os.write(tell, str(Path("/proc/self").readlink()).encode())
            part()

        super().__init__(enter)
        os.close(tell)
        self.player = int(os.read(told, 20))
        os.close(told)


def _go_on_in_child() -> None:
    """Fork; the parent does nothing but wait, and ends as its child did."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


@contextmanager
def control_group(*names: str) -> Iterator[Path]:
    """Make a cgroup of these names, one below the other; those that were not there before are removed in the end."""
    root = next(mount.point for mount in read_mounts(Path("/proc")) if mount.kind == b"cgroup2")
    path = Path(os.fsdecode(root))
    made = []
    for name in names:
        path /= name
        if not path.exists():
            path.mkdir()
            made.append(path)
    try:
        yield path
    finally:
        for each in reversed(made):
            each.rmdir()
