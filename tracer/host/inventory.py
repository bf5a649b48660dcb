"""Every open Unix socket of the host: who is connected to whom, which processes hold the two ends, what is unread.

Nothing here needs tracing. The kernel's list (`tracer.host.unix_diag`) says which sockets there are and how they are
connected but not whose they are; /proc says which process holds which inode but not what it is connected to. Joined
by the inode number they name both ends of every connection, also of those that were open before a tracer started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from hangup.tracer.errors import HangupError
from hangup.tracer.host import unix_diag
from hangup.tracer.host.cgroups import read_process_cgroup
from hangup.tracer.host.mounts import read_mounts
from hangup.tracer.host.process import PROC, read_comm, read_inner_pid, read_uid
from hangup.tracer.record.facts import Cgroup


@dataclass(frozen=True, slots=True)
class Holder:
    """One descriptor that keeps a socket open."""

    pid: int
    comm: str
    uid: int | None
    """None, as the descriptor: a capture does not have it."""
    descriptor: int | None
    inner_pid: int | None = None
    """Its pid in its own pid namespace."""
    cgroup: Cgroup | None = None


@dataclass(frozen=True, slots=True)
class Socket:
    """One open Unix socket with its holders; the fields it shares with `unix_diag.DiagSocket` are described there."""

    inode: int
    peer_inode: int | None
    path: str | None
    type: str | None
    """None: a capture does not have it."""
    state: str
    receive_queue: int
    send_queue: int
    netns: int
    """The inode number of its network namespace, which is also what `readlink /proc/PID/ns/net` names."""
    holders: tuple[Holder, ...] = ()
    """Empty if its holder could not be read, holds it in a thread's own table, or passed it on and it is in flight."""
    shutdown: int = 0
    pending: tuple[int, ...] = ()


State = Literal["open", "hung up", "not accepted"]


@dataclass(frozen=True, slots=True)
class Connection:
    """Two ends, or the one that is left: at least one of `client` and `server` is there.

    Of a socketpair the end with the lower inode number is called the client: it is the one made first.
    """

    client: Socket | None
    server: Socket | None
    path: str | None
    """The listener's path; None for a socketpair, and for a client whose server has hung up."""
    state: State
    """`hung up`: one end was released, its survivor is still open; `not accepted`: the server has yet to accept."""
    pair: bool = False
    """Whether it is known to be a socketpair; of a survivor the kernel does not say."""

    @property
    def ends(self) -> tuple[Socket, ...]:
        """The ends that are there, client first."""
        return tuple(end for end in (self.client, self.server) if end is not None)


@dataclass(frozen=True)
class Inventory:
    """All open Unix sockets, by inode, and what could not be read."""

    sockets: Mapping[int, Socket]
    unreadable_processes: int = 0
    """Processes whose descriptors we may not read (no CAP_SYS_PTRACE, or hidepid): their sockets have no holders."""
    unreadable_namespaces: int = 0
    """Network namespaces we may not enter (no CAP_SYS_ADMIN) or whose list is refused: their sockets are missing."""

    def socket(self, inode: int) -> Socket | None:
        """Return the socket with this inode number, None if there was none."""
        return self.sockets.get(inode)

    def peer(self, inode: int) -> Socket | None:
        """Return the other end of the socket with this inode number, None if it has none or that has no inode."""
        socket = self.sockets.get(inode)
        return self.sockets.get(socket.peer_inode) if socket and socket.peer_inode else None

    @cached_property
    def _pending(self) -> dict[int, Socket]:
        """The listener that each client whose connect is not accepted yet waits for."""
        return {inode: socket for socket in self.sockets.values() for inode in socket.pending}

    @cached_property
    def _listening(self) -> frozenset[str | None]:
        # Not told apart by namespace: a server's end lives in its client's (unix_stream_connect makes it there).
        return frozenset(socket.path for socket in self.sockets.values() if socket.state == "listening")

    def connection(self, inode: int) -> Connection | None:
        """Return the connection that this socket is an end of; None if there is no such socket or it is in none."""
        socket = self.sockets.get(inode)
        if socket is None or socket.peer_inode is None:
            return None
        peer = self.peer(inode)
        if peer is not None and peer.peer_inode == inode:
            client, server = self._roles(socket, peer)
            return Connection(client, server, server.path, "open", pair=server.path is None)
        if peer is not None or socket.type == "dgram":
            # Connected to one that is not connected back, as a log's clients are: no connection. (A stream's peer
            # can look so too if it changed while the kernel made its list.)
            return None
        listener = self._pending.get(inode)
        if listener is not None:
            return Connection(socket, None, listener.path, "not accepted")
        if socket.path is not None:
            return Connection(None, socket, socket.path, "hung up")
        return Connection(socket, None, None, "hung up")

    def connections(self) -> Iterator[Connection]:
        """Yield every connection and socketpair once, in the order of the kernel's list."""
        seen: set[int] = set()
        for inode in self.sockets:
            if inode in seen:
                continue
            connection = self.connection(inode)
            if connection is not None:
                seen.update(end.inode for end in connection.ends)
                yield connection

    def listeners(self) -> Iterator[Socket]:
        """Yield every listening socket, in the order of the kernel's list.

        Its `receive_queue` is how many connects wait and its `send_queue` is its backlog.
        """
        return (socket for socket in self.sockets.values() if socket.state == "listening")

    def _roles(self, one: Socket, other: Socket) -> tuple[Socket, Socket]:
        """Tell client and server apart.

        The server's end takes its listener's path (unix_stream_connect); a client seldom binds itself. If both have a
        path, the one somebody listens on is the server's, and failing that the one whose inode is younger: accept
        makes it after connect has begun.
        """

        def likeness(socket: Socket) -> tuple[bool, bool, int]:
            return socket.path is not None, socket.path in self._listening, socket.inode

        client, server = sorted((one, other), key=likeness)
        return client, server


class Backlog(NamedTuple):
    """How many connects waited for a listener when the kernel was asked, and how many it lets wait."""

    waiting: int
    backlog: int
    """What listen(2) was given, at most net.core.somaxconn (__sys_listen)."""

    @property
    def full(self) -> bool:
        """Whether the next connect would have to wait for room or fail with EAGAIN.

        unix_recvq_full() asks for more than the backlog, so a full one reads "129 of 128".
        """
        return self.waiting > self.backlog


def read_listeners() -> dict[str, Backlog]:
    """Return the listeners of our own network namespace by their paths (escaped, abstract names as @name).

    It costs one short list of the kernel and does not look at /proc. A listener whose file was replaced by another's
    still has its path: of several with one path the one with the least room counts. What it says is of this moment:
    between a connect that failed and this call, the server may have accepted what waited.

    Raises HangupError if the kernel cannot list its sockets, OSError if it refuses to.
    """
    found: dict[str, Backlog] = {}
    with unix_diag.open_socket() as connection:
        for entry in unix_diag.read_sockets(connection, states=unix_diag.LISTENING_ONLY):
            # A socket may have stopped listening between two parts of the list.
            if entry.path is None or entry.state != "listening":
                continue
            listener = Backlog(entry.receive_queue, entry.send_queue)
            other = found.get(entry.path)
            if other is None or listener.backlog - listener.waiting < other.backlog - other.waiting:
                found[entry.path] = listener
    return found


class Listeners:
    """How many connects wait where, as far as the clients that ask live in our own network namespace.

    Of another one's listeners the list is another: one of the same path there may have nothing to do with ours.
    """

    def __init__(self, read: Callable[[], Mapping[str, Backlog]] = read_listeners, proc: Path = PROC) -> None:
        """Ask nobody yet."""
        self._read = read
        self._proc = proc
        self._found: Mapping[str, Backlog] = {}
        self._read_at: int | None = None

    def backlog(self, path: str, client: int, when: int) -> Backlog | None:
        """Return how many wait for a listener, at about the time of a client's connect; None: not known.

        client: its pid; of a process that has ended nobody knows where it lived. when: in ns of CLOCK_MONOTONIC.
        """
        own = _namespace_number(self._proc / "thread-self" / "ns" / "net")
        if not own or _namespace_number(self._proc / str(client) / "ns" / "net") != own:
            return None
        # Under a storm of them once in a while is enough: the kernel's whole list is read each time.
        if self._read_at is None or when - self._read_at >= _LISTENERS_NS:
            self._read_at = when
            try:
                self._found = self._read()
            except (HangupError, OSError):
                self._found = {}
        return self._found.get(path)


# How old what is known of listeners and their backlogs may be, in ns.
_LISTENERS_NS = 100_000_000


def snapshot(proc: Path = PROC, *, namespaces: bool = True) -> Inventory:
    """Read all open Unix sockets of the host, of every network namespace unless `namespaces` is false.

    Privileges only widen it: without them it holds our own namespace, and holders only of our own processes.

    Raises HangupError if the kernel cannot list its sockets, OSError if it refuses to.
    """
    sockets: list[tuple[int, unix_diag.DiagSocket]] = []
    own = _namespace_number(proc / "thread-self" / "ns" / "net")
    with unix_diag.open_socket() as connection:
        sockets += [(own, entry) for entry in unix_diag.read_sockets(connection)]
    unreadable_namespaces = 0
    if namespaces:
        for number, files in other_namespaces(proc, own).items():
            try:
                sockets += [(number, entry) for entry in _read_namespace(files)]
            except OSError:
                # Whoever is root in there can fill our netlink socket (ENOBUFS): no reason to stop.
                unreadable_namespaces += 1
    wanted = {entry.inode for _, entry in sockets}
    holders, unreadable_processes = read_holders(wanted, proc)
    return Inventory(
        sockets={entry.inode: _join(number, entry, holders.get(entry.inode, ())) for number, entry in sockets},
        unreadable_processes=unreadable_processes,
        unreadable_namespaces=unreadable_namespaces,
    )


def read_holders(inodes: Iterable[int], proc: Path = PROC) -> tuple[dict[int, list[Holder]], int]:
    """Return the descriptors that hold these inodes, and how many processes could not be read.

    A process that vanishes meanwhile counts as never seen. Descriptors are those of a process's first thread; a thread
    with a table of its own (unshare(2), CLONE_FILES) is not looked at.
    """
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    holders: dict[int, list[Holder]] = {}
    unreadable = 0
    for pid in _pids(proc):
        held: list[tuple[int, int]] = []
        try:
            held = list(_held(f"{proc}/{pid}/fd", wanted))
        except PermissionError:
            unreadable += 1
        except OSError:
            continue
        if not held:
            continue
        comm, uid = read_comm(pid, proc), read_uid(pid, proc)
        if comm is None or uid is None:
            continue
        inner_pid, cgroup = read_inner_pid(pid, proc), read_process_cgroup(pid, proc)
        for descriptor, inode in held:
            holders.setdefault(inode, []).append(Holder(pid, comm, uid, descriptor, inner_pid, cgroup))
    return holders, unreadable


def _held(directory: str, wanted: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield descriptor and inode of each wanted socket in a process's table (proc_pid_fd(5))."""
    for descriptor in os.listdir(directory):  # noqa: PTH208 - plain strings: this is the loop that costs
        with suppress(FileNotFoundError):
            inode = wanted.get(os.readlink(f"{directory}/{descriptor}"))  # noqa: PTH115
            if inode is not None and _NUMBER.fullmatch(descriptor):
                yield int(descriptor), inode


# Not str.isdecimal(): that takes the digits of every script.
_NUMBER = re.compile(r"[0-9]{1,10}")


def _pids(proc: Path) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if _NUMBER.fullmatch(name))  # noqa: PTH208


def _namespace_number(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def other_namespaces(proc: Path, own: int) -> dict[int, list[Path]]:
    """Return the files of each network namespace but our own, by its number.

    Those are of the processes that live in it, and of the mounts that keep it (`ip netns`, Docker's), for either may go
    at any time. One that has neither, kept by a descriptor or by its sockets alone, is not found.
    """
    found: dict[int, list[Path]] = {}
    files = [proc / str(pid) / "ns" / "net" for pid in _pids(proc)]
    mounts = read_mounts(proc)
    files += [Path(os.fsdecode(mount.point)) for mount in mounts if mount.root.startswith(b"net:[")]
    for path in files:
        number = _namespace_number(path)
        if number not in (own, 0):
            found.setdefault(number, []).append(path)
    return found


def _read_namespace(files: Iterable[Path]) -> list[unix_diag.DiagSocket]:
    """Return the sockets of a namespace, none if it has vanished. Raises PermissionError if we may not enter it."""
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            # A file of a process that has just ended says EACCES, too (proc_ns_get_link(), fs/proc/namespaces.c).
            if isinstance(error, PermissionError) and os.path.lexists(path):
                raise
            continue
        try:
            with unix_diag.open_socket(descriptor) as connection:
                return unix_diag.read_sockets(connection)
        finally:
            os.close(descriptor)
    return []


def _join(netns: int, entry: unix_diag.DiagSocket, holders: Iterable[Holder]) -> Socket:
    return Socket(
        inode=entry.inode,
        peer_inode=entry.peer_inode,
        path=entry.path,
        type=entry.type,
        state=entry.state,
        receive_queue=entry.receive_queue,
        send_queue=entry.send_queue,
        netns=netns,
        holders=tuple(holders),
        shutdown=entry.shutdown,
        pending=entry.pending,
    )
