"""Connections of which some fail, between two Python processes: the load of the parts that wait for single alerts."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from tests.scenarios.stage import Baton, Player, client, listener, wait_for_hangup

# The classic connection: 16, 699 and 8 bytes, an answer of five writes.
_REQUEST = (b"x" * 16, b"x" * 699, b"x" * 8)
_ANSWER = (8, 43, 8, 11, 24)
# The first byte of a request whose last write is to come too late.
_HASTY = b"!"

OPERATIONS = 1 + 1 + 3 + 3 + 5 + 5 + 1 + 2
"""connect, accept, three writes and reads, five and five, the end that is read, two releases"""

HASTY_OPERATIONS = 1 + 1 + 3 + 2 + 5 + 2
"""The same without the last write's read and without reading the answer."""


class HastyLoad:
    """A server and a client process: connections, the last of them hasty."""

    def __init__(self, folder: Path, connections: int, *, per_second: float = 0.0, one_hasty_in: int = 0) -> None:
        """Start both; the client waits for go(). per_second: connections; 0: as many as there can be."""
        path = folder / f"load.{time.monotonic_ns()}"
        self._connections = connections
        self._go = Baton()
        self._waiting = listener(path)
        reading, self._report = os.pipe()
        self._server = Player(lambda: _serve(self._waiting, connections))
        self._client = Player(lambda: self._ask_all(path, per_second, one_hasty_in))
        os.close(self._report)
        self._waiting.close()
        self._reports = os.fdopen(reading)

    def _ask_all(self, path: Path, per_second: float, one_hasty_in: int) -> None:
        broken = []
        self._go.take()
        begun = time.monotonic_ns()
        for number in range(1, self._connections + 1):
            if per_second:
                # The load's pace, not a wait for anything.
                due = begun / 1e9 + number / per_second
                time.sleep(max(due - time.monotonic(), 0))
            if number == self._connections or (one_hasty_in and number % one_hasty_in == 0):
                broken.append(_ask_hastily(path))
            else:
                _ask(path)
        with os.fdopen(self._report, "w") as report:
            json.dump([begun, time.monotonic_ns(), broken], report)

    def go(self) -> None:
        """Let the client begin."""
        self._go.pass_on()

    def end(self) -> tuple[int, int, list[int]]:
        """Wait for both; return when the client began and ended, and when it began each broken write, in ns."""
        with self._reports as reports:
            begun, ended, broken = json.load(reports)
        self._client.end()
        self._server.end()
        return begun, ended, broken


def _serve(waiting: socket.socket, connections: int) -> None:
    """Answer so many connections; hang up on the hasty ones before their last bytes have come."""
    for _ in range(connections):
        accepted, _ = waiting.accept()
        first = accepted.recv(16)
        accepted.recv(699)
        if not first.startswith(_HASTY):
            accepted.recv(8)
        for size in _ANSWER:
            accepted.send(b"y" * size)
        accepted.close()


def _ask(path: Path) -> None:
    """Make one connection that goes well."""
    end = client(path)
    for data in _REQUEST:
        end.send(data)
    for size in _ANSWER:
        end.recv(size)
    end.recv(1)
    end.close()


def _ask_hastily(path: Path) -> int:
    """Make one connection whose last write is broken, and return when that write was begun."""
    end = client(path)
    end.send(_HASTY + _REQUEST[0][1:])
    end.send(_REQUEST[1])
    wait_for_hangup(end)
    begun = time.monotonic_ns()
    try:
        end.send(_REQUEST[2])
    except BrokenPipeError:
        end.close()
        return begun
    raise AssertionError("the write was not broken")
