"""Many connections at once, played by forked processes that log what they met: what the recorder is held to.

A client's log says of each operation that failed in which process and on which descriptor it was, by which error, and
the inode number of its socket, which no other socket of the machine has had (get_next_ino(), fs/inode.c). Messages have
MESSAGE bytes, and the first one says what the server is to do: whatever becomes of a connection is the client's choice.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from hangup.tracer.names import error_name
from tests.scenarios.stage import Baton, Player, client, listener, receive, wait_for_hangup

MESSAGE = 64

ANSWER = b"a".ljust(MESSAGE)
ANSWER_AND_CLOSE = b"x".ljust(MESSAGE)
CLOSE = b"c".ljust(MESSAGE)
"""Without an answer."""

_BACKLOG = 1024
# `make test` is content with few; the storm that hangup is meant for has as many as this.
STORM = 20_000
CONNECTIONS = int(os.environ.get("RECORDER_CONNECTIONS", "2000"))

_DESCRIPTORS = 65_536
# So many turns of an empty loop take some tenths of a millisecond in an emulated guest: as long as the server needs.
_MOST_TURNS = 2000


class Way(Enum):
    """How a connection goes."""

    GOOD = "two requests, each with its answer; then the server closes, and the client after it"
    NOTHING = "the client connects and closes"
    ANSWERED = "the server answers and closes, and the client writes when it has"
    UNANSWERED = "the server reads a request and closes, and the client writes when it has"
    ANSWERED_RACE = "the server answers and closes while the client writes: that fails, or it does not"
    UNANSWERED_RACE = "the server reads a request and closes while the client writes"

    @property
    def is_answered(self) -> bool:
        """Whether the server answers the last request."""
        return self in (Way.GOOD, Way.ANSWERED, Way.ANSWERED_RACE)

    @property
    def is_race(self) -> bool:
        """Whether the client does not wait until the server has closed."""
        return self in (Way.ANSWERED_RACE, Way.UNANSWERED_RACE)


class Failure(NamedTuple):
    """An operation that failed, as its process has logged it."""

    pid: int
    descriptor: int
    inode_number: int
    error: str
    answered: bool
    """Whether the server answers the request before it."""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts that are right; which of these, time alone tells."""
        return ("answered", "reused") if self.answered else ("unanswered",)


class Witness(Player):
    """A forked child that plays a part, and tells what failed in it."""

    def __init__(self, part: Callable[[], list[Failure]]) -> None:
        read, write = os.pipe()

        def play() -> None:
            os.close(read)
            failures = part()
            with os.fdopen(write, "w") as report:
                json.dump(failures, report)

        super().__init__(play)
        os.close(write)
        self._report = os.fdopen(read)

    def failures(self) -> list[Failure]:
        """Wait for its end; return what failed."""
        with self._report:
            text = self._report.read()
        self.end()
        return [Failure(*fields) for fields in json.loads(text)]


class Flag:
    """Raised by one process, seen by all that were forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def put_up(self) -> None:
        """Raise it."""
        self._memory[0] = 1

    @property
    def is_up(self) -> bool:
        """Whether it was raised."""
        return self._memory[0] == 1


class InStep:
    """Two tasks that wait for each other at each step, without the kernel's help: they go on in the same instant."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def step(self, task: int, number: int) -> None:
        """Go on when the other task has come to this step, too. task: 0 or 1."""
        memory, step = self._memory, number & 0xFF
        memory[task] = step
        # The other one may be a step ahead by the time that this is looked at.
        while memory[1 - task] not in (step, (step + 1) & 0xFF):
            pass


# ---- the server ------------------------------------------------------------------------------------------------------


@contextmanager
def serving(path: Path, *, processes: int = 2) -> Iterator[None]:
    """Serve a path by so many processes; in the end wait until they have nobody left to serve."""
    with listener(path, backlog=_BACKLOG) as waiting:
        waiting.setblocking(False)
        overs = [Baton() for _ in range(processes)]
        servers = [Player(lambda over=over: _serve(waiting, over)) for over in overs]  # type: ignore[misc]
    try:
        yield
    finally:
        for over in overs:
            over.pass_on()
        for server in servers:
            server.end()


def _serve(waiting: socket.socket, over: Baton) -> None:
    _allow_descriptors()
    ends: dict[int, socket.socket] = {}
    ending = False
    with select.epoll() as poll:
        for each in (waiting, over):
            poll.register(each, select.EPOLLIN)
        while ends or not ending:
            ready = [descriptor for descriptor, _ in poll.poll()]
            for descriptor in ready:
                end = ends.get(descriptor)
                if end is not None and not _is_served_on(end):
                    del ends[descriptor]
                    end.close()
            # After the others: a new connection may get the descriptor of one that was closed just now.
            with suppress(BlockingIOError):
                while True:
                    end, _ = waiting.accept()
                    ends[end.fileno()] = end
                    poll.register(end, select.EPOLLIN)
            if over.fileno() in ready:
                ending = True
                poll.unregister(over)


def _is_served_on(end: socket.socket) -> bool:
    """Do what the client wants; return whether it may want more."""
    message = end.recv(MESSAGE)
    if message in (b"", CLOSE):
        return False
    end.send(message)
    return message == ANSWER


# ---- clients: each returns what failed -------------------------------------------------------------------------------


def call(path: Path, ways: Sequence[Way], at_once: int = 1) -> list[Failure]:
    """Make connections that go these ways, so many at once."""
    failures: list[Failure] = []
    for first in range(0, len(ways), at_once):
        calls = [(client(path), way) for way in ways[first : first + at_once]]
        talking = [(end, way) for end, way in calls if way is not Way.NOTHING]
        for end, _ in talking:
            end.send(ANSWER)
        for end, way in talking:
            receive(end, MESSAGE)
            end.send(ANSWER_AND_CLOSE if way.is_answered else CLOSE)
            if way.is_race:
                for _ in range(random.randrange(_MOST_TURNS)):
                    pass
                failures += _last_word(end, way.is_answered)
        for end, way in talking:
            if way.is_answered:
                receive(end, MESSAGE)
            if way is Way.GOOD:
                assert end.recv(1) == b""
            elif not way.is_race:
                wait_for_hangup(end)
                failures += _last_word(end, way.is_answered)
        for end, _ in calls:
            end.close()
    return failures


def gather(path: Path, count: int, failing: int, together: Baton, go: Baton) -> list[Failure]:
    """Make so many connections, all open at once; then one in `failing` fails, and the others end well.

    together: passed on when all are open and were used. go: taken before any ends.
    """
    _allow_descriptors()
    ends = []
    for _ in range(count):
        ends.append(client(path))
        _exchange(ends[-1])
    together.pass_on()
    go.take()
    failures = [failure for end in ends[::failing] for failure in _be_left(end)]
    for number, end in enumerate(ends):
        if number % 3 == 1 and number % failing:
            end.send(ANSWER_AND_CLOSE)
            receive(end, MESSAGE)
        end.close()
    return failures


def be_busy(path: Path, count: int, failing: int, started: Baton, attached: Flag) -> list[Failure]:
    """Use so many connections all the time; when the flag is up one in `failing` fails, and the others go on.

    started: passed on when all are open and in use.
    """
    ends = [client(path) for _ in range(count)]
    for end in ends:
        _exchange(end)
    started.pass_on()
    while not attached.is_up:
        for end in ends:
            _exchange(end)
    failures: list[Failure] = []
    for number, end in enumerate(ends):
        if number % failing:
            _exchange(end)
        else:
            failures += _be_left(end)
    failures += call(path, ways(100, failing), at_once=20)
    for number, end in enumerate(ends):
        if number % failing:
            _exchange(end)
        end.close()
    return failures


def ways(count: int, failing: int) -> list[Way]:
    """Return how so many connections go: one in `failing` fails for sure, and another one perhaps."""
    certain = (Way.ANSWERED, Way.UNANSWERED)
    races = (Way.ANSWERED_RACE, Way.UNANSWERED_RACE)
    return [
        certain[number // failing % 2]
        if number % failing == 0
        else races[number // failing % 2]
        if number % failing == failing // 2
        else Way.GOOD
        for number in range(count)
    ]


def _exchange(end: socket.socket) -> None:
    end.send(ANSWER)
    receive(end, MESSAGE)


def _be_left(end: socket.socket) -> list[Failure]:
    end.send(CLOSE)
    wait_for_hangup(end)
    return _last_word(end, answered=False)


def _last_word(end: socket.socket, answered: bool) -> list[Failure]:
    """Send one more message, and log it if it fails."""
    try:
        end.send(ANSWER)
    except OSError as error:
        return [
            Failure(os.getpid(), end.fileno(), os.fstat(end.fileno()).st_ino, error_name(error.errno or 0), answered)
        ]
    return []


def _allow_descriptors() -> None:
    """Allow this process as many open files as any part needs."""
    most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# ---- many writers of one socket --------------------------------------------------------------------------------------


class Writers(NamedTuple):
    """Tasks that write to the same connections."""

    tasks: int
    connections: int
    messages: int
    """By each, to each connection."""
    threads: bool = False
    """They are threads of one process, else processes that have inherited its sockets."""
    reads_meanwhile: bool = True
    """The server reads while they write, else when all have written: then that has to fit."""

    @property
    def bytes(self) -> int:
        """What is written to each connection."""
        return self.tasks * self.messages * MESSAGE


def write_together(path: Path, writers: Writers) -> list[Failure]:
    """Let them all write to each connection at once, and once more when the server has read everything and closed.

    Two of them begin on each connection in the same instant.
    """
    listening = Baton()
    written = [Baton() for _ in range(writers.tasks)]

    def serve() -> None:
        with listener(path, backlog=_BACKLOG) as waiting:
            listening.pass_on()
            ends = [waiting.accept()[0] for _ in range(writers.connections)]
        if not writers.reads_meanwhile:
            for baton in written:
                baton.take()
        for end in ends:
            receive(end, writers.bytes)
            end.close()

    server = Player(serve)
    listening.take()
    caller = Witness(lambda: _write_all(path, writers, written))
    failures = caller.failures()
    server.end()
    return failures


def _write_all(path: Path, writers: Writers, written: Sequence[Baton]) -> list[Failure]:
    ends = [client(path) for _ in range(writers.connections)]
    in_step = InStep() if writers.tasks == 2 else None

    def write(task: int) -> list[Failure]:
        for number, end in enumerate(ends):
            if in_step:
                in_step.step(task, number + 1)
            for _ in range(writers.messages):
                end.send(ANSWER)
        written[task].pass_on()
        failures = []
        for end in ends:
            wait_for_hangup(end)
            failures += _last_word(end, answered=False)
        return failures

    if not writers.threads:
        witnesses = [Witness(lambda task=task: write(task)) for task in range(writers.tasks)]  # type: ignore[misc]
        return [failure for witness in witnesses for failure in witness.failures()]
    failures: list[Failure] = []
    threads = [Thread(target=lambda task=task: failures.extend(write(task))) for task in range(writers.tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


# ---- what was found --------------------------------------------------------------------------------------------------


def disagreements(failures: Sequence[Failure], alerts: Sequence[dict[str, Any]]) -> list[str]:
    """Return where the clients' logs and the alerts about their connections differ, one line each.

    Each connection that failed has one alert, about its first failure, and no other connection has any. What is said of
    it is right; only of what is doubted, it may be wrong.
    """
    logged: dict[int, list[Failure]] = {}
    for failure in failures:
        logged.setdefault(failure.inode_number, []).append(failure)
    found = Counter(alert["client"]["inode_number"] for alert in alerts)
    differences = [f"{logged[number][0]} is not found" for number in logged.keys() - found.keys()]
    differences += [f"socket {number} has {count} alerts" for number, count in found.items() if count > 1]
    for alert in alerts:
        number, failed = alert["client"]["inode_number"], alert["failed"]
        of_socket = logged.get(number, [])
        what = {name: failed[name] for name in ("pid", "descriptor", "error")}
        if not any(what == {name: getattr(failure, name) for name in what} for failure in of_socket):
            differences.append(f"socket {number}: {what} is told, {of_socket} are in the log")
        elif not alert["doubts"] and alert["verdict"] not in of_socket[0].verdicts:
            differences.append(f"socket {number}: {alert['verdict']} is told of {of_socket[0]}: {alert['sentence']}")
    return differences
