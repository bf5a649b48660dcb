"""The inventory names both ends of real connections, and says what it could not read."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hangup.tracer.host import inventory, unix_diag
from hangup.tracer.host.inventory import (
    Backlog,
    Connection,
    Inventory,
    Listeners,
    Socket,
    read_holders,
    read_listeners,
    snapshot,
)


@pytest.fixture(autouse=True)
def _kernel_lists_sockets() -> None:
    try:
        unix_diag.check()
    except unix_diag.UnixDiagMissingError as error:
        pytest.skip(error.problem)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def inode(end: socket.socket) -> int:
    return os.fstat(end.fileno()).st_ino


def listen(stack: ExitStack, name: str | bytes, kind: int = socket.SOCK_STREAM) -> socket.socket:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
    listener.bind(name)
    listener.listen(5)
    return listener


def connect(stack: ExitStack, name: str | bytes, kind: int = socket.SOCK_STREAM) -> socket.socket:
    client = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
    client.connect(name)
    return client


def accept(stack: ExitStack, listener: socket.socket) -> socket.socket:
    return stack.enter_context(listener.accept()[0])


def connection_of(end: socket.socket) -> Connection:
    connection = snapshot().connection(inode(end))
    assert connection is not None
    return connection


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_connection_has_a_client_and_a_server_with_the_path(stack: ExitStack, tmp_path: Path, kind: int) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name, kind)
    client = connect(stack, name, kind)
    server = accept(stack, listener)
    for end in (client, server):
        connection = connection_of(end)
        assert connection.client is not None
        assert connection.server is not None
        assert connection.client.inode == inode(client)
        assert connection.server.inode == inode(server)
        assert connection.path == name
        assert connection.state == "open"
        assert [(holder.pid, holder.descriptor) for holder in connection.client.holders] == [
            (os.getpid(), client.fileno())
        ]
        assert connection.client.holders[0].uid == os.geteuid()
        assert connection.client.holders[0].comm == Path("/proc/self/comm").read_text().strip()


def test_the_listener_itself_is_in_no_connection(stack: ExitStack, tmp_path: Path) -> None:
    listener = listen(stack, str(tmp_path / "s"))
    now = snapshot()
    entry = now.socket(inode(listener))
    assert entry is not None
    assert (entry.state, entry.type, entry.path) == ("listening", "stream", str(tmp_path / "s"))
    assert now.connection(inode(listener)) is None


def test_a_listener_has_its_backlog_and_is_full_when_one_more_than_that_waits(stack: ExitStack, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name)
    assert read_listeners()[name] == Backlog(0, 5)
    for waiting in range(1, 6):
        connect(stack, name)
        assert read_listeners()[name] == Backlog(waiting, 5)
        assert not read_listeners()[name].full
    connect(stack, name)
    late = stack.enter_context(socket.socket(socket.AF_UNIX))
    late.setblocking(False)
    with pytest.raises(BlockingIOError):
        late.connect(name)
    assert read_listeners()[name] == Backlog(6, 5)
    assert read_listeners()[name].full
    (found,) = (entry for entry in snapshot().listeners() if entry.path == name)
    assert (found.inode, found.receive_queue, found.send_queue) == (inode(listener), 6, 5)


def test_of_two_listeners_with_one_path_the_one_with_less_room_is_told(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen(stack, str(path))
    for _ in range(3):
        connect(stack, str(path))
    path.unlink()
    listen(stack, str(path))
    connect(stack, str(path))
    assert read_listeners()[str(path)] == Backlog(3, 5)


def test_only_listeners_are_listed_as_such(stack: ExitStack, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name)
    connect(stack, name)
    server = accept(stack, listener)
    listener.close()
    assert name not in read_listeners()
    assert inode(server) in snapshot().sockets
    assert inode(server) not in {entry.inode for entry in snapshot().listeners()}


def test_a_bound_client_is_still_the_client(stack: ExitStack, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name)
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.bind(str(tmp_path / "client"))
    client.connect(name)
    server = accept(stack, listener)
    connection = connection_of(server)
    assert [end.inode for end in connection.ends] == [inode(client), inode(server)]
    assert connection.path == name


def test_unread_bytes_are_counted_at_the_end_that_has_yet_to_read_them(stack: ExitStack) -> None:
    one, other = socket.socketpair()
    stack.enter_context(one)
    stack.enter_context(other)
    one.sendall(b"x" * 700)
    now = snapshot()
    entries = now.socket(inode(one)), now.socket(inode(other))
    assert [entry.receive_queue for entry in entries if entry] == [0, 700]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_socketpair_is_one_connection_without_a_path(stack: ExitStack, kind: int) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    stack.enter_context(one)
    stack.enter_context(other)
    found = [
        connection
        for connection in snapshot().connections()
        if {end.inode for end in connection.ends} == {inode(one), inode(other)}
    ]
    assert [(connection.path, connection.state) for connection in found] == [(None, "open")]


def test_an_abstract_name_is_shown_with_an_at_sign_and_escaped(stack: ExitStack) -> None:
    name = b"\0hangup-test-%d\0\xff\n" % os.getpid()
    listener = listen(stack, name)
    client = connect(stack, name)
    accept(stack, listener)
    assert connection_of(client).path == rf"@hangup-test-{os.getpid()}\x00\xff\x0a"


def test_a_connect_that_is_not_accepted_yet_is_told_from_a_hang_up(stack: ExitStack, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name)
    client = connect(stack, name)
    waiting = connection_of(client)
    assert (waiting.state, waiting.path, waiting.server) == ("not accepted", name, None)
    accept(stack, listener).close()
    survivor = connection_of(client)
    assert (survivor.state, survivor.server) == ("hung up", None)
    assert survivor.client is not None
    assert survivor.client.shutdown == 3


def test_a_server_whose_client_hung_up_keeps_the_path(stack: ExitStack, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    listener = listen(stack, name)
    client = connect(stack, name)
    server = accept(stack, listener)
    client.send(b"unread")
    client.close()
    survivor = connection_of(server)
    assert (survivor.state, survivor.path, survivor.client) == ("hung up", name, None)
    assert survivor.server is not None
    assert survivor.server.receive_queue == 6


def test_the_clients_of_a_datagram_socket_are_no_connections(stack: ExitStack, tmp_path: Path) -> None:
    log = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    log.bind(str(tmp_path / "log"))
    client = connect(stack, str(tmp_path / "log"), socket.SOCK_DGRAM)
    now = snapshot()
    assert now.connection(inode(client)) is None
    assert now.connection(inode(log)) is None
    peer = now.peer(inode(client))
    assert peer is not None
    assert peer.path == str(tmp_path / "log")


def test_an_inherited_descriptor_is_a_second_holder(stack: ExitStack) -> None:
    one, other = socket.socketpair()
    stack.enter_context(one)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[other.fileno()]) as child:
        number = inode(other)
        descriptor = other.fileno()
        other.close()
        entry = snapshot().socket(number)
        assert entry is not None
        assert [(holder.pid, holder.descriptor) for holder in entry.holders] == [(child.pid, descriptor)]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to make a network namespace")
def test_sockets_of_other_network_namespaces_are_found() -> None:
    name = f"\0hangup-test-{os.getpid()}"
    program = (
        "import socket, sys\n"
        f"listener = socket.socket(socket.AF_UNIX); listener.bind({name!r}); listener.listen()\n"
        "print('listening', flush=True); sys.stdin.read()"
    )
    own = Path("/proc/self/ns/net").stat().st_ino
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        paths = {entry.path: entry for entry in snapshot().sockets.values()}
        entry = paths["@" + name[1:]]
        assert entry.netns == Path(f"/proc/{child.pid}/ns/net").stat().st_ino != own
        assert [holder.pid for holder in entry.holders] == [child.pid]
        assert "@" + name[1:] not in {entry.path for entry in snapshot(namespaces=False).sockets.values()}
    assert Path("/proc/thread-self/ns/net").stat().st_ino == own


def test_processes_that_may_not_be_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (1, 2, 3):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"p{pid}\n")
    (tmp_path / "1" / "fd" / "5").symlink_to("socket:[77]")
    (tmp_path / "3" / "fd" / "6").symlink_to("socket:[77]")
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).endswith("/2/fd"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    holders, unreadable = read_holders([77], tmp_path)
    assert [(holder.pid, holder.comm, holder.descriptor) for holder in holders[77]] == [(1, "p1", 5), (3, "p3", 6)]
    assert unreadable == 1


def test_processes_and_descriptors_that_vanish_meanwhile_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2" / "fd").mkdir(parents=True)
    (tmp_path / "2" / "fd" / "5").symlink_to("socket:[77]")
    assert read_holders([77], tmp_path) == ({}, 0)


def test_namespaces_that_may_not_be_entered_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(files: list[Path]) -> list[unix_diag.DiagSocket]:
        raise PermissionError(1, "Operation not permitted", str(files[0]))

    monkeypatch.setattr(inventory, "other_namespaces", lambda *_: {5: [Path("/proc/1/ns/net")]})
    monkeypatch.setattr(inventory, "_read_namespace", refuse)
    assert snapshot().unreadable_namespaces == 1


def test_a_namespace_that_vanishes_meanwhile_has_no_sockets_and_is_no_error(tmp_path: Path) -> None:
    assert inventory._read_namespace([tmp_path / "1" / "ns" / "net", tmp_path / "netns"]) == []


def test_a_process_that_ends_while_its_namespace_is_opened_is_not_one_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.touch()

    def refuse(path: Path, _flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert inventory._read_namespace([tmp_path / "gone"]) == []
    with pytest.raises(PermissionError):
        inventory._read_namespace([tmp_path / "gone", there])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to enter a network namespace")
def test_any_file_of_a_namespace_will_do(stack: ExitStack, tmp_path: Path) -> None:
    listen(stack, str(tmp_path / "s"))
    found = inventory._read_namespace([tmp_path / "gone", Path("/proc/self/ns/net")])
    assert str(tmp_path / "s") in {entry.path for entry in found}


def test_namespaces_are_found_by_their_processes_and_by_their_mounts(tmp_path: Path) -> None:
    def namespace(path: Path, same_as: Path | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if same_as:
            path.hardlink_to(same_as)
        else:
            path.touch()
        return path

    own = namespace(tmp_path / "1" / "ns" / "net")
    namespace(tmp_path / "2" / "ns" / "net", own)
    other = namespace(tmp_path / "3" / "ns" / "net")
    kept = namespace(tmp_path / "run" / "netns" / "x")
    (tmp_path / "4").mkdir()
    namespace(tmp_path / "self" / "mountinfo").write_text(
        f"30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        f"31 22 0:4 net:[4026532200] {kept} rw - nsfs nsfs rw\n"
        f"32 22 0:4 mnt:[4026532201] {tmp_path}/mnt rw - nsfs nsfs rw\n"
    )
    found = inventory.other_namespaces(tmp_path, own.stat().st_ino)
    assert found == {other.stat().st_ino: [other], kept.stat().st_ino: [kept]}


def test_a_refused_request_is_an_error_and_not_an_empty_list(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    # No kernel lists the sockets of a family that does not exist: sock_diag_lock_handler answers EINVAL.
    monkeypatch.setattr(socket, "AF_UNIX", 200)
    connection = stack.enter_context(unix_diag.open_socket())
    with pytest.raises(OSError, match="refused the list"):
        unix_diag.read_sockets(connection)


def test_lookups_of_unknown_inodes_give_nothing() -> None:
    empty = Inventory({})
    assert empty.socket(1) is None
    assert empty.peer(1) is None
    assert empty.connection(1) is None
    assert list(empty.connections()) == []


def test_a_stream_whose_peer_changed_during_the_list_is_left_out() -> None:
    def entry(number: int, peer: int | None) -> Socket:
        return Socket(number, peer, None, "stream", "established", 0, 0, netns=1)

    assert list(Inventory({1: entry(1, 2), 2: entry(2, 3)}).connections()) == [
        Connection(entry(2, 3), None, None, "hung up")
    ]


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    """Return a /proc in which 10 lives where we do, 20 in another network namespace, and nobody else."""
    for name in ("thread-self", "10", "20"):
        (tmp_path / name / "ns").mkdir(parents=True)
    (tmp_path / "thread-self/ns/net").touch()
    (tmp_path / "10/ns/net").hardlink_to(tmp_path / "thread-self/ns/net")
    (tmp_path / "20/ns/net").touch()
    return tmp_path


@pytest.mark.parametrize(("client", "found"), [(10, Backlog(6, 5)), (20, None), (30, None)])
def test_the_backlog_is_told_only_of_a_client_that_lives_in_our_network_namespace(
    processes: Path, client: int, found: Backlog | None
) -> None:
    listeners = Listeners(lambda: {"/run/app.s": Backlog(6, 5)}, processes)
    assert listeners.backlog("/run/app.s", client, 1) == found
    assert listeners.backlog("/run/other.s", client, 1) is None


def test_under_a_storm_the_listeners_are_read_once_in_a_while(processes: Path) -> None:
    times: list[int] = []

    def read() -> dict[str, Backlog]:
        times.append(now)
        return {}

    listeners = Listeners(read, processes)
    for now in (5, 99_000_000, 100_000_005, 100_000_006):
        listeners.backlog("/run/app.s", 10, now)
    assert times == [5, 100_000_005]


def test_of_pyroute2_only_what_is_used_is_imported_and_who_wants_it_whole_has_it_afterwards() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from hangup.tracer.host import unix_diag\n"
            "unix_diag._codec()\n"
            "print(sorted(name for name in sys.modules if name.startswith('pyroute2')))\n"
            "import pyroute2\n"
            "print(pyroute2.IPRoute.__name__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    used = ["pyroute2.common", "pyroute2.netlink", "pyroute2.netlink.exceptions"]
    assert done.stdout.splitlines() == [str(used), "IPRoute"]
