"""Makes the events of connections, as the probes would have recorded them: what the tests and the bench feed on.

A `Story` is one connection told operation by operation. It keeps the time, both queues and what the kernel would know
of both ends, so that a story says only what happens:

    story = Story(path="/run/app.s")
    story.connect()
    story.accept()
    story.client.write(16)
    story.server.read(16)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.events

Each of these returns its event, too, and takes any field of the event by name to say otherwise.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracer.record import Event, EventFlag, Operation

STREAM, SEQPACKET = 1, 5
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
MSG_PEEK = 2

MICROSECOND = 1000
MILLISECOND = 1000 * MICROSECOND

# Kernel addresses of the first story; later ones of a test may take the same: that is what address reuse is.
CLIENT_SOCK = 0xFFFF880108BCC440
SERVER_SOCK = 0xFFFF880108BCBA80

_SYSCALLS = {
    Operation.CONNECT: 42,
    Operation.ACCEPT: 288,
    Operation.SOCKETPAIR: 53,
    Operation.READ: 0,
    Operation.WRITE: 1,
    Operation.SHUTDOWN: 48,
    Operation.RELEASE: 3,
}


@dataclass(frozen=True)
class Task:
    """Who does an operation."""

    comm: str
    pid: int
    tid: int = 0
    """0: the first thread."""
    uid: int = 33
    gid: int = 33

    def thread(self, tid: int) -> Task:
        """Return another thread of the same process."""
        return Task(self.comm, self.pid, tid, self.uid, self.gid)


HTTPD = Task("httpd", 4711, 4713)
UWSGI = Task("uwsgi", 815, 817, uid=998, gid=998)


def event(operation: Operation, **fields: Any) -> Event:
    """Return an event with these fields; those that are not given are what says least."""
    defaults: dict[str, Any] = dict.fromkeys(Event._fields, 0)
    defaults |= {
        "operation": int(operation),
        "syscall": _SYSCALLS[operation],
        "descriptor": -1,
        "type": STREAM,
        "comm": b"".ljust(16, b"\0"),
        "address": b"",
    }
    made = Event(**{**defaults, **fields})
    return made._replace(address_length=len(made.address))


class End:
    """One end of a story's connection."""

    def __init__(self, story: Story, task: Task, sock: int, inode: int, inode_number: int) -> None:
        self.story = story
        self.task = task
        self.sock = sock
        self.inode = inode
        self.inode_number = inode_number
        self.descriptor = 7
        self.queue: deque[int] = deque()
        """The sizes of the messages that were sent to this end and are unread."""
        self.has_inode = False
        self.shutdown_bits = 0
        self.dead = False

    @property
    def other(self) -> End:
        """The other end."""
        return self.story.server if self is self.story.client else self.story.client

    def write(self, size: int, *, error: int = 0, by: Task | None = None, took: int = 0, **fields: Any) -> Event:
        """Write so many bytes; error: the errno it fails with."""
        if not error:
            self.other.queue.append(fields.get("result", size))
        return self._record(Operation.WRITE, by, took, **{"size": size, "result": -error or size, **fields})

    def read(
        self,
        size: int | None = None,
        *,
        peek: bool = False,
        error: int = 0,
        by: Task | None = None,
        took: int = 0,
        **fields: Any,
    ) -> Event:
        """Read so many bytes: all that is there, if it is not said."""
        size = sum(self.queue) if size is None and not error else size or 0
        if not error and not peek:
            self._take(size)
        fields = {"size": 4096, "result": -error or size, "message_flags": MSG_PEEK if peek else 0, **fields}
        return self._record(Operation.READ, by, took, **fields)

    def shutdown(self, how: int, *, by: Task | None = None, **fields: Any) -> Event:
        """End receiving, sending or both; what that sets at either end is read from unix_shutdown()."""
        bits = how + 1
        self.shutdown_bits |= bits
        # One's receiving is the other's sending.
        self.other.shutdown_bits |= (bits & 1) << 1 | bits >> 1
        return self._record(Operation.SHUTDOWN, by, 0, size=how, **fields)

    def release(
        self,
        *,
        exit_status: int | None = None,
        killed_by: int | None = None,
        by: Task | None = None,
        **fields: Any,
    ) -> Event:
        """Drop the last reference: by close(2), by the process's exit (exit_status), or a signal (killed_by)."""
        if exit_status is not None or killed_by is not None:
            fields = {"flags": int(EventFlag.EXITING), "exit_code": killed_by or (exit_status or 0) << 8, **fields}
            # exit_group, or none: a signal's victim may be in any system call.
            fields = {"syscall": 231 if exit_status is not None else 0, "descriptor": -1, **fields}
        fields = {"unread_bytes": sum(self.queue), **fields}
        released = self._record(Operation.RELEASE, by, 0, **fields)
        self.dead = True
        self.has_inode = False
        self.shutdown_bits = self.other.shutdown_bits = 3
        self.queue.clear()
        return released

    def _take(self, size: int) -> None:
        while size > 0 and self.queue:
            first = self.queue.popleft()
            if first > size:
                self.queue.appendleft(first - size)
            size -= first

    def _record(self, operation: Operation, by: Task | None, took: int, **fields: Any) -> Event:
        story, other, task = self.story, self.other, by or self.task
        start = story.now
        story.now += max(took, story.step)
        made = {
            "start": start,
            # A release is recorded when it begins.
            "end": start if operation is Operation.RELEASE else story.now,
            "sock": self.sock,
            "peer": other.sock,
            "inode": self.inode if self.has_inode else 0,
            "peer_inode": other.inode if other.has_inode else 0,
            "inode_number": self.inode_number if self.has_inode else 0,
            "unread_messages": len(self.queue),
            "pid": task.pid,
            "tid": task.tid or task.pid,
            "uid": task.uid,
            "gid": task.gid,
            "peer_pid": other.task.pid,
            "descriptor": self.descriptor,
            "type": story.type,
            "shutdown": self.shutdown_bits,
            "peer_shutdown": other.shutdown_bits,
            "comm": task.comm.encode()[:15].ljust(16, b"\0"),
            **fields,
        }
        made["flags"] = int(made.get("flags", 0)) | (EventFlag.PEER_DEAD if other.dead else 0)
        recorded = event(operation, **made)
        story.events.append(recorded)
        return recorded


class Story:
    """One connection, told operation by operation; `events` is what was recorded of it."""

    def __init__(
        self,
        *,
        path: str | bytes = "/run/app.s",
        client: Task = HTTPD,
        server: Task = UWSGI,
        client_sock: int = CLIENT_SOCK,
        server_sock: int = SERVER_SOCK,
        inode_number: int = 48_500,
        type: int = STREAM,  # noqa: A002 - the event's word
        start: int = 1_000_000_000,
        step: int = 10 * MICROSECOND,
        older: bool = False,
    ) -> None:
        """Begin one; path: an abstract name begins with NUL. older: it is open already when tracing begins.

        start: when its first operation begins, in ns; step: how long each operation takes.
        """
        self.address = path.encode() if isinstance(path, str) else path
        self.type = type
        self.now = start
        self.step = step
        self.events: list[Event] = []
        self.client = End(self, client, client_sock, client_sock + 0x1000_0000, inode_number)
        self.server = End(self, server, server_sock, server_sock + 0x1000_0000, inode_number + 1)
        self.client.has_inode = self.server.has_inode = older

    def connect(self, *, error: int = 0, by: Task | None = None, **fields: Any) -> Event:
        """Connect the client; error: the errno it fails with, then there is no server."""
        self.client.has_inode = True
        if error:
            fields = {"result": -error, "peer": 0, "peer_inode": 0, "peer_pid": 0, **fields}
        return self.client._record(Operation.CONNECT, by, 0, **{"address": self.address, **fields})

    def accept(self, *, by: Task | None = None, **fields: Any) -> Event:
        """Accept it."""
        self.server.has_inode = True
        return self.server._record(Operation.ACCEPT, by, 0, **{"address": self.address, **fields})

    def socketpair(self, *, by: Task | None = None, **fields: Any) -> Event:
        """Make a socketpair instead: the first of the two is `client`."""
        self.client.has_inode = self.server.has_inode = True
        return self.client._record(Operation.SOCKETPAIR, by, 0, **fields)

    def wait(self, nanoseconds: int) -> None:
        """Let time pass."""
        self.now += nanoseconds


def established(**options: Any) -> Story:
    """Return a story whose connection is accepted."""
    story = Story(**options)
    story.connect()
    story.accept()
    return story


def seeds_failure(**options: Any) -> Story:
    """Return the classic failure: uWSGI has answered and hung up when httpd sends its empty FCGI_STDIN record."""
    story = established(**{"path": "/tmp/helloFastCGI.s", **options})
    client, server = story.client, story.server
    for size in (16, 699, 8):
        client.write(size, syscall=20)
        server.read(size)
    for size in (8, 43, 8, 11, 24):
        server.write(size)
    hangup = server.release()
    story.now = hangup.start + 89 * MICROSECOND - story.step
    client.write(8, error=errno.EPIPE, syscall=20)
    client.release()
    return story


def clean(**options: Any) -> Story:
    """Return a request and its answer, both read, and both ends closed."""
    story = established(**options)
    story.client.write(300)
    story.server.read()
    story.server.write(1200)
    story.client.read()
    story.server.release()
    story.client.read()
    story.client.release()
    return story


def latent(**options: Any) -> Story:
    """Return a hang-up with bytes unread after which the other end did not fail."""
    story = established(**options)
    story.client.write(3000)
    story.server.read(1000)
    story.server.write(120)
    story.server.release()
    story.client.read(120)
    story.client.release()
    return story


STORIES: dict[str, Callable[..., Story]] = {"seed's failure": seeds_failure, "clean": clean, "latent": latent}
