"""A stage for scenarios: real processes that talk over real Unix sockets, in an order that the scenario sets.

The tracer never traces itself, and the tests run in the tracer's process; so whatever is to be seen happens in forked
children. Nothing sleeps: who has to wait for another takes a baton that the other passes.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

# proc_pid_syscall(5): of a thread that sleeps in send(2) it begins with the number of sendto(2).
_SENDTO = "44 "


class Baton:
    """Passed from one process to another: take() returns once pass_on() has been called."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def __del__(self) -> None:
        # There are hundreds of them in a run.
        os.close(self._read)
        os.close(self._write)

    def pass_on(self) -> None:
        """Let one taker go on."""
        os.write(self._write, b"x")

    def take(self) -> None:
        """Wait until it is passed."""
        assert os.read(self._read, 1) == b"x"

    def fileno(self) -> int:
        """Return the descriptor from which it can be read that it was passed on."""
        return self._read


class Player:
    """A forked child that plays one part."""

    def __init__(self, part: Callable[[], None]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                part()
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                os._exit(99)
            os._exit(0)

    def end(self) -> int:
        """Wait for its end; returns the wait status, and fails if the part raised."""
        _, status = os.waitpid(self.pid, 0)
        assert status != 99 << 8, "a part failed; its traceback stands in the output"
        return status


def listener(path: Path | str, *, kind: socket.SocketKind = socket.SOCK_STREAM, backlog: int = 8) -> socket.socket:
    """Return a listening socket."""
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(str(path))
    server.listen(backlog)
    return server


def client(path: Path | str, *, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a connected socket."""
    connected = socket.socket(socket.AF_UNIX, kind)
    connected.connect(str(path))
    return connected


def talk(
    path: Path | str,
    server_part: Callable[[socket.socket], None],
    client_part: Callable[[socket.socket], None],
    *,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> tuple[int, int]:
    """Play one connection: a server process accepts it, a client process makes it; returns both pids.

    The server's end is left open when its part ends, unless it closes it: then its exit releases it.
    """
    listening = Baton()

    def serve() -> None:
        with listener(path, kind=kind) as waiting:
            listening.pass_on()
            accepted, _ = waiting.accept()
        server_part(accepted)
        os._exit(0)

    def call() -> None:
        listening.take()
        client_part(client(path, kind=kind))

    server, caller = Player(serve), Player(call)
    server.end()
    caller.end()
    return server.pid, caller.pid


def receive(end: socket.socket, count: int) -> None:
    """Read exactly so many bytes."""
    while count:
        data = end.recv(count)
        assert data, "the peer hung up too early"
        count -= len(data)


def wait_for_hangup(end: socket.socket) -> None:
    """Return once the peer has hung up, without reading or writing anything (POLLHUP, unix_poll())."""
    poll = select.poll()
    poll.register(end, select.POLLHUP)
    assert poll.poll(60_000), "the peer does not hang up"


def wait_until_the_peer_waits_for_room(end: socket.socket) -> None:
    """Return once whoever opened the other end sleeps in a write: then the queue is full, and nothing more comes."""
    peer, _, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    while not Path(f"/proc/{peer}/syscall").read_text().startswith(_SENDTO):
        os.sched_yield()


def fails(operation: Callable[[], object]) -> int:
    """Return the errno an operation fails with."""
    try:
        operation()
    except OSError as error:
        return error.errno or 0
    raise AssertionError("it did not fail")
