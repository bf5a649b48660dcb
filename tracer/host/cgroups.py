"""Where a process belongs: its control group, and the systemd unit and the container that its cgroup's path names.

Records carry the id of the cgroup of their moment. `Cgroups` finds its path while it is there and remembers it when it
is gone: a container that is thrown away takes its cgroup along. What a path means (`parse`) is agreed upon by who makes
cgroups, systemd and the container runtimes; the kernel knows of neither units nor containers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hangup.tracer.escape import escape
from hangup.tracer.host.mounts import read_mounts
from hangup.tracer.host.process import PROC, read_cgroup
from hangup.tracer.record.facts import ROOT, Cgroup


@lru_cache(maxsize=1024)
def parse(path: bytes) -> Cgroup:
    """Return what a cgroup's path names; `path` as /proc/PID/cgroup has it."""
    components = [component for component in path.split(b"/") if component]
    unit = name = runtime = None
    unit_is_container = False
    start = 0
    # From the host to the container, to a container in that: each may have a systemd, whose units begin there.
    for place in range(len(components)):
        found = _container(components, place)
        if found is None:
            continue
        name, runtime = found
        around = _unit(components[start : place + 1])
        if around is not None:
            unit, unit_is_container = around, around.encode() == _unescape(components[place])
        start = place + 1
        if start < len(components) and components[start] in _PAYLOADS:
            start += 1
    within = _unit(components[start:])
    if within is not None:
        unit, unit_is_container = within, False
    return Cgroup("/" + "/".join(map(escape, components)), unit, name, runtime, unit_is_container)


# ---- systemd's names -------------------------------------------------------------------------------------------------

# unit_name_is_valid() in systemd's src/basic/unit-name.c, without templates, of the types that have cgroups.
_UNIT = re.compile(rb"(?!@)[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\@-]+)?\.(?:service|scope|socket|mount|swap)")
_SLICE = re.compile(rb"[A-Za-z0-9:_.\\-]+\.slice")
_USER_MANAGER = re.compile(rb"user@[0-9]+\.service|session-[A-Za-z0-9]+\.scope")
_UNIT_NAME_MAX = 255


def _unit(components: Sequence[bytes]) -> str | None:
    """Return the unit that a path names, by the rules of cg_path_get_unit() and cg_path_get_user_unit().

    These are in systemd's src/basic/cgroup-util.c: it is what comes right after the slices; what is below it is the
    unit's own business. The second one goes on behind a user's manager or session.
    """
    place = _skip_slices(components, 0)
    if place == len(components):
        return None
    unit = _unescape(components[place])
    if len(unit) > _UNIT_NAME_MAX or not _UNIT.fullmatch(unit):
        return None
    if _USER_MANAGER.fullmatch(unit):
        place = _skip_slices(components, place + 1)
        if place < len(components):
            inner = _unescape(components[place])
            if len(inner) <= _UNIT_NAME_MAX and _UNIT.fullmatch(inner):
                unit = inner
    # The characters of a unit's name need no escaping, and the backslashes are systemd's.
    return unit.decode("ascii")


def _skip_slices(components: Sequence[bytes], place: int) -> int:
    while place < len(components) and _SLICE.fullmatch(_unescape(components[place])):
        place += 1
    return place


def _unescape(component: bytes) -> bytes:
    """cg_unescape(): a unit whose name would clash with a file of the kernel's (cpu.service) has a _ in front."""
    return component.removeprefix(b"_")


# ---- the runtimes' names ---------------------------------------------------------------------------------------------

# docker-ID.scope, libpod-ID, ID; and kubepods-....slice:cri-containerd:ID, where the two drivers were mixed.
_CONTAINER_ID = re.compile(rb"(?:(?:.*:)?(?P<prefix>[a-z][a-z0-9_.-]*)[:-])?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_RUNTIMES = {
    b"docker": "docker",
    b"libpod": "podman",
    b"cri-containerd": "containerd",
    b"nerdctl": "containerd",
    b"crio": "cri-o",
}
# Each container's monitor has a cgroup of the container's id (libpod-conmon-ID.scope), and is no part of it.
_MONITOR = b"conmon"
_LXC = b"lxc.payload."
_MACHINE = re.compile(rb"machine-(?P<name>.+)\.scope")
_NSPAWN = re.compile(rb"systemd-nspawn@(?P<name>.+)\.service")
# libvirt's virtual machines are registered, too: QEMU is a program of the host.
_VIRTUAL_MACHINE = b"qemu-"
# systemd-nspawn, crun and Proxmox's LXC put the container into a cgroup below its own.
_PAYLOADS = (b"payload", b"container", b"ns")
_SUPERVISOR = b"supervisor"


def _container(components: Sequence[bytes], place: int) -> tuple[str, str | None] | None:
    """Return name and runtime of the container that a component of a path begins."""
    component = components[place]
    if components[place + 1 : place + 2] == [_SUPERVISOR]:
        # What runs a container is not in it.
        return None
    match = _CONTAINER_ID.fullmatch(component)
    if match:
        prefix = match["prefix"]
        if prefix is not None and prefix.endswith(_MONITOR):
            return None
        runtime = _RUNTIMES.get(prefix, prefix.decode()) if prefix else _runtime_of_parents(components[:place])
        return match["id"][:12].decode(), runtime
    if component.startswith(_LXC) and component != _LXC:
        return escape(component.removeprefix(_LXC)), "lxc"
    if place and components[place - 1] == b"lxc":
        return escape(component), "lxc"
    match = _NSPAWN.fullmatch(component)
    if match:
        # systemd-nspawn@.service has --machine=%i: as it is, not unescaped.
        return escape(match["name"]), "systemd-nspawn"
    match = _MACHINE.fullmatch(component)
    if match:
        # machined escapes the name (machine_start_scope(), src/machine/machine.c).
        name = unescape_unit_name(match["name"])
        return None if name.startswith(_VIRTUAL_MACHINE) else (escape(name), "machined")
    return None


def _runtime_of_parents(parents: Sequence[bytes]) -> str | None:
    if any(parent.startswith(b"kubepods") for parent in parents):
        return "kubernetes"
    return _RUNTIMES.get(parents[-1]) if parents else None


def unescape_unit_name(name: bytes) -> bytes:
    r"""Undo unit_name_escape() (systemd-escape(1)): ``-`` was ``/``, and ``\xNN`` the byte of that number."""
    parts = re.split(rb"(\\x[0-9a-f]{2})", name)
    return b"".join(
        bytes([int(part[2:], 16)]) if number % 2 else part.replace(b"-", b"/") for number, part in enumerate(parts)
    )


# ---- by id -----------------------------------------------------------------------------------------------------------


class Cgroups:
    """The cgroups lately seen, by the id that bpf_get_current_cgroup_id() gives, at most `limit` of them.

    An id is never used again (kernfs_new_node() counts up 64 bits), so that what is known of one stays true.
    """

    def __init__(self, limit: int = 4096, proc: Path = PROC, find: Callable[[int], bytes | None] | None = None) -> None:
        """find: the path of the cgroup with an id, None if there is none; PermissionError if we may not ask."""
        self._limit = limit
        self._proc = proc
        self._find = find or Hierarchy(proc).path
        self._known: OrderedDict[int, Cgroup | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, number: int, pid: int) -> None:
        """Look a cgroup up while it is there; `pid` is a process in it. Costs nothing for one that is known."""
        if number > ROOT and number not in self._known:
            with suppress(ProcessLookupError):
                self._known[number] = self._look_up(number, pid)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)

    def cgroup(self, number: int, pid: int) -> Cgroup | None:
        """Return the cgroup with this id, in which a process was; None if it was gone before anybody looked."""
        if number <= ROOT:
            # On a host with cgroup v1 the unified hierarchy may have a root and nothing else: then /proc knows more.
            return read_process_cgroup(pid, self._proc) if number else None
        self.learn(number, pid)
        return self._known.get(number)

    def _look_up(self, number: int, pid: int) -> Cgroup | None:
        try:
            path = self._find(number)
        except OSError:
            # Without CAP_DAC_READ_SEARCH; a process can be asked as long as it lives.
            cgroup = read_process_cgroup(pid, self._proc)
            if cgroup is None:
                # The cgroup may well be there: the next process in it can be asked.
                raise ProcessLookupError from None
            return cgroup
        return None if path is None else parse(path)


def read_process_cgroup(pid: int, proc: Path = PROC) -> Cgroup | None:
    """Return the cgroup that a process is in now, None if there is no such process."""
    path = read_cgroup(pid, proc)
    return None if path is None else parse(path)


# include/linux/exportfs.h
_FILEID_KERNFS = 0xFE
# struct file_handle (include/linux/fs.h): how many bytes the handle has, its type, the handle.
_HANDLE = struct.Struct("=IiQ")
_HANDLE_BYTES = 8


class Hierarchy:
    """The unified hierarchy, as far as it is mounted."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._mount: bytes | None = None

    @property
    def mount(self) -> bytes:
        """Where it is mounted. Raises FileNotFoundError where it is not."""
        if self._mount is None:
            mounts = read_mounts(self._proc)
            self._mount = next(
                (mount.point for mount in mounts if mount.kind == b"cgroup2" and mount.root == b"/"), None
            )
            if self._mount is None:
                raise FileNotFoundError(errno.ENOENT, "no unified hierarchy is mounted")
        return self._mount

    def path(self, number: int) -> bytes | None:
        """Return the path of the cgroup with this id below the mount, None if there is no such cgroup (any more).

        A cgroup's id is the file handle of its directory (kernfs_encode_fh(), fs/kernfs/mount.c), which
        open_by_handle_at(2) opens without a search. Raises OSError: PermissionError without CAP_DAC_READ_SEARCH,
        FileNotFoundError where no unified hierarchy is mounted.
        """
        found = _path_of_handle(self.mount, _HANDLE.pack(_HANDLE_BYTES, _FILEID_KERNFS, number))
        return found and (found.removeprefix(self.mount) or b"/")


def _path_of_handle(mount: bytes, handle: bytes) -> bytes | None:
    """Open a file handle and return where it is, None if it is stale: the directory was removed."""
    libc = ctypes.CDLL(None, use_errno=True)
    directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = libc.open_by_handle_at(directory, handle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        code = ctypes.get_errno()
    finally:
        os.close(directory)
    if descriptor < 0:
        if code == errno.ESTALE:
            return None
        raise OSError(code, os.strerror(code))
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}".encode())  # noqa: PTH115 - bytes
    finally:
        os.close(descriptor)
    # Removed since it was opened, which does not make its name another.
    return path if os.path.lexists(path) else path.removesuffix(_DELETED)


# prepend_path(), fs/d_path.c
_DELETED = b" (deleted)"
