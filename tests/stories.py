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

A `Script` says only what depends on what; `interleaved` makes of many scripts one of the orders of records that the
kernel allows.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hangup.tracer.record.layout import Event, EventFlag, Operation
from hangup.tracer.story.symptom import Symptom

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

# See record_entry() in bpf/hangup.c: these stand in the ring before anything that follows from them.
RECORDED_AT_ENTRY = (Operation.SHUTDOWN, Operation.RELEASE)


@dataclass(frozen=True)
class Task:
    """Who does an operation."""

    comm: str
    pid: int
    tid: int = 0
    """0: the first thread."""
    uid: int = 33
    gid: int = 33
    inner_pid: int = 0
    """0: it is in the initial pid namespace; else it has one thread."""
    cgroup: int = 1
    """The id of its cgroup; 1 is the root's."""

    def thread(self, tid: int) -> Task:
        """Return another thread of the same process."""
        return replace(self, tid=tid)

    @property
    def numbers(self) -> dict[str, int]:
        """What a record says of which task it is, but for its user."""
        tid = self.tid or self.pid
        return {
            "pid": self.pid,
            "tid": tid,
            "inner_pid": self.inner_pid or self.pid,
            "inner_tid": self.inner_pid or tid,
            "cgroup": self.cgroup,
        }


HTTPD = Task("httpd", 4711, 4713)
UWSGI = Task("uwsgi", 815, 817, uid=998, gid=998)


def event(operation: Operation, **fields: Any) -> Event:
    """Return an event with these fields; those that are not given are what says least."""
    defaults: dict[str, Any] = dict.fromkeys(Event._fields, 0)
    del defaults["leader"]
    defaults |= {
        "operation": int(operation),
        "syscall": _SYSCALLS[operation],
        "descriptor": -1,
        "type": STREAM,
        "comm": b"".ljust(16, b"\0"),
        "address": b"",
        "sender": b"",
    }
    made = Event(**{"leader": fields.get("comm", defaults["comm"]), **defaults, **fields})
    if made.sender:
        made = made._replace(flags=made.flags | EventFlag.SENDER, address=b"")
    return made


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
        shutdown = self._record(Operation.SHUTDOWN, by, 0, size=how, **fields)
        bits = how + 1
        self.shutdown_bits |= bits
        # One's receiving is the other's sending.
        self.other.shutdown_bits |= (bits & 1) << 1 | bits >> 1
        return shutdown

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
            "end": start if operation in RECORDED_AT_ENTRY else story.now,
            "sock": self.sock,
            "peer": other.sock,
            "inode": self.inode if self.has_inode else 0,
            "peer_inode": other.inode if other.has_inode else 0,
            "inode_number": self.inode_number if self.has_inode else 0,
            "unread_messages": len(self.queue),
            **task.numbers,
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


def exchange(story: Story, times: int) -> None:
    """Have a client ask and a server answer, so many times."""
    for _ in range(times):
        story.client.write(10)
        story.server.read()
        story.server.write(20)
        story.client.read()


CLASSIC_ANSWER = (8, 43, 8, 11, 24)
"""What uWSGI writes in the classic failure, in bytes."""


def classic_request(**options: Any) -> Story:
    """Return what httpd asks uWSGI by FastCGI, read, and not answered yet."""
    story = established(**{"path": "/tmp/helloFastCGI.s", **options})
    for size in (16, 699, 8):
        story.client.write(size, syscall=20)
        story.server.read(size)
    return story


def seeds_failure(**options: Any) -> Story:
    """Return the classic failure: uWSGI has answered and hung up when httpd sends its empty FCGI_STDIN record."""
    story = classic_request(**options)
    client, server = story.client, story.server
    for size in CLASSIC_ANSWER:
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
    # Nobody has taken the error that the hang-up left behind.
    story.client.release(size=errno.ECONNRESET)
    return story


STORIES: dict[str, Callable[..., Story]] = {"seed's failure": seeds_failure, "clean": clean, "latent": latent}


# ---- any order that causes allow


@dataclass
class Step:
    """One operation of a `Script`. Other steps are named by their place in it."""

    end: str
    """"client" or "server"."""
    operation: Operation
    result: int = 0
    causes: tuple[int, ...] = ()
    """Steps that have had their effect before this one has."""
    after: tuple[int, ...] = ()
    """Steps that have had their effect before this one begins."""
    after_record: tuple[int, ...] = ()
    """Steps that have been recorded before this one begins."""
    thread: int = 0
    """Which of its end's threads does it: the steps of a thread come one after the other."""
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def phases(self) -> tuple[str, ...]:
        """What happens, in this order. Some are recorded when they begin."""
        if self.operation in RECORDED_AT_ENTRY:
            return ("record", "effect")
        return ("start", "effect", "record")


@dataclass
class Script:
    """What a connection's processes do, as far as one thing depends on another; and what is to be concluded."""

    steps: list[Step] = field(default_factory=list)
    unread: int = 0
    """Bytes that the end that hangs up first leaves unread."""
    written: dict[str, int] = field(default_factory=lambda: {"client": 0, "server": 0})
    read: dict[str, int] = field(default_factory=lambda: {"client": 0, "server": 0})
    gone: str = "server"
    """The end that hangs up first."""
    symptom: Symptom | None = None
    """How the survivor was hurt first; None: it was not."""
    label: str = "clean"
    """The verdict."""

    def add(self, end: str, operation: Operation, result: int = 0, **options: Any) -> int:
        """Add a step and return its place."""
        self.steps.append(Step(end, operation, result, **options))
        return len(self.steps) - 1


_OTHER = {"client": "server", "server": "client"}


def random_script(random: Random) -> Script:
    """Return a connection from its connect to its second release, whose outcome is settled by its causes."""
    return _Author(random).script


class _Author:
    """Writes a script by chance."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.script = script = Script()
        self.queues: dict[str, list[list[int]]] = {"client": [], "server": []}
        """What was sent to each end and is unread: step and bytes of each message."""
        self.early: tuple[int, ...] = ()
        """A write of the client's other thread that its first thread has not waited for yet."""
        self.connect = script.add("client", Operation.CONNECT)
        self.accepted = random.random() < 0.9
        if self.accepted:
            script.add("server", Operation.ACCEPT, causes=(self.connect,))
        script.gone = random.choice(("client", "server")) if self.accepted else "server"
        self.survivor = _OTHER[script.gone]
        self.asked = False
        """Whether the client has sent something that the server has not begun to answer."""
        self.pending = 0
        """The survivor's sk_err when it is released."""

        self.talk()
        script.unread = self.unread(script.gone)
        self.how: dict[str, Any] = {}
        if not self.accepted:
            self.how = {"flags": int(EventFlag.EMBRYO)}
        elif random.random() < 0.3:
            self.how = {"flags": int(EventFlag.EXITING), "exit_code": random.choice((0, 1 << 8, 9, 11 | 0x80))}
        hangup = self.shut_down() if self.accepted and random.random() < 0.2 else self.hang_up()
        self.add(self.survivor, Operation.RELEASE, after=(hangup,), fields={"size": self.pending})

    def add(self, end: str, operation: Operation, result: int = 0, **options: Any) -> int:
        """Add a step; the client's waits for its other thread."""
        if end == "client" and self.early:
            options["after_record"] = (*options.get("after_record", ()), *self.early)
            self.early = ()
        return self.script.add(end, operation, result, **options)

    def write(self, end: str, **options: Any) -> int:
        size = self.random.randint(1, 999)
        place = self.add(end, Operation.WRITE, size, **options)
        self.script.written[end] += size
        self.queues[_OTHER[end]].append([place, size])
        return place

    def read(self, end: str, size: int, *, peek: bool = False) -> None:
        """Read bytes that are there: after the writes that brought them."""
        causes, wanted = [], size
        for message in list(self.queues[end]):
            taken = min(wanted, message[1])
            causes.append(message[0])
            wanted -= taken
            if not peek:
                message[1] -= taken
                if not message[1]:
                    self.queues[end].remove(message)
            if not wanted:
                break
        self.script.read[end] += 0 if peek else size
        options = {"fields": {"message_flags": MSG_PEEK}} if peek else {}
        self.add(end, Operation.READ, size, causes=tuple(causes), **options)

    def unread(self, end: str) -> int:
        return sum(size for _, size in self.queues[end])

    def talk(self) -> None:
        """Let the client ask and the server answer, some times over; it may stop anywhere."""
        random = self.random
        if random.random() < 0.3:
            # Another thread need not wait for the connect to return.
            self.early = (self.write("client", thread=1, causes=(self.connect,)),)
            self.asked = True
        for _ in range(random.randint(0, 3)):
            for _ in range(random.randint(1, 3)):
                self.write("client")
            self.asked = True
            if not self.accepted or not self.hear("server"):
                return
            for _ in range(random.randint(1, 3)):
                self.write("server")
            self.asked = False
            if not self.hear("client"):
                return

    def hear(self, end: str) -> bool:
        """Let an end read what it was sent, in pieces; return whether it has read all of it, and goes on."""
        while self.unread(end):
            if self.random.random() < 0.15:
                return False
            there = self.unread(end)
            size = there if self.random.random() < 0.5 else self.random.randint(1, there)
            self.read(end, size, peek=self.random.random() < 0.2)
        return self.random.random() < 0.8

    def shut_down(self) -> int:
        """Let a shutdown, its own or the peer's, break the survivor's write; then hang up."""
        script = self.script
        own = self.random.random() < 0.5
        ender, what = (self.survivor, SHUT_WR) if own else (script.gone, SHUT_RD)
        shutdown = self.add(ender, Operation.SHUTDOWN, fields={"size": what})
        failed = self.add(self.survivor, Operation.WRITE, -errno.EPIPE, after=(shutdown,), fields={"size": 8})
        script.symptom, script.label = Symptom.BROKEN_WRITE, "own-shutdown" if own else "peer-shutdown"
        return self.add(script.gone, Operation.RELEASE, fields=self.how, after_record=(failed,))

    def hang_up(self) -> int:
        """Hang up; the survivor may read what is left, and may fail."""
        script, random, survivor = self.script, self.random, self.survivor
        # What the survivor wrote arrived: it had its effect before the hang-up had.
        arrived = tuple(
            place
            for place, step in enumerate(script.steps)
            if step.end == survivor and step.operation is Operation.WRITE
        )
        begun = () if self.accepted else (self.connect,)
        hangup = self.add(script.gone, Operation.RELEASE, causes=arrived, fields=self.how, after=begun)
        if random.random() < 0.7 and self.unread(survivor):
            self.read(survivor, self.unread(survivor))
        if not self.unread(survivor) and random.random() < 0.4:
            reset = script.unread or not self.accepted
            self.add(
                survivor,
                Operation.READ,
                -errno.ECONNRESET if reset else 0,
                causes=(hangup,),
                fields={"size": 4096},
            )
            script.symptom = Symptom.RESET_READ if reset else Symptom.CUT_READ if self.misses() else None
        if random.random() < 0.5:
            self.add(survivor, Operation.WRITE, -errno.EPIPE, causes=(hangup,), fields={"size": 8})
            script.symptom = script.symptom or Symptom.BROKEN_WRITE
        if script.unread and script.symptom is not Symptom.RESET_READ:
            # Nobody has taken the error that the hang-up left behind.
            self.pending = errno.ECONNRESET
        script.label = self.conclusion()
        return hangup

    def misses(self) -> bool:
        """Whether the survivor, at the end of the stream, misses something."""
        if self.survivor == "server" or not self.script.written["client"]:
            return False
        return self.asked or bool(self.how.get("exit_code"))

    def conclusion(self) -> str:
        script = self.script
        if not script.symptom:
            return "latent" if script.unread else "clean"
        if not self.accepted:
            return "never-accepted"
        if self.how.get("exit_code", 0) & 0x7F:
            return "killed"
        if self.how:
            return "exited"
        if script.gone == "client":
            return "gave-up"
        if script.unread:
            return "unread"
        return "unanswered" if self.asked or not script.written["server"] else "answered"


class _Played:
    """A script that is being played: what the kernel knows of its two ends."""

    def __init__(self, script: Script, addresses: int, number: int) -> None:
        base = CLIENT_SOCK + addresses * 0x1_0000
        self.script = script
        self.story = Story(
            path=f"/run/{number}.s",
            # Every other pair of addresses is used the other way round next time.
            client_sock=base + (number % 2) * 0x800,
            server_sock=base + (1 - number % 2) * 0x800,
            inode_number=1000 + 2 * number,
        )
        self.story.client.has_inode = True
        self.unread = {"client": 0, "server": 0}
        self.starts: dict[int, int] = {}

    def play(self, place: int, phase: str, now: int) -> Event | None:
        """Let a phase of a step happen; return its record."""
        step = self.script.steps[place]
        end = getattr(self.story, step.end)
        if phase == "start":
            self.starts[place] = now
        elif phase == "effect":
            self._take_effect(step, end)
        else:
            return self._record(step, end, self.starts.get(place, now), now)
        return None

    def _take_effect(self, step: Step, end: End) -> None:
        if step.operation is Operation.ACCEPT:
            end.has_inode = True
        elif step.operation is Operation.WRITE:
            self.unread[_OTHER[step.end]] += max(step.result, 0)
        elif step.operation is Operation.READ and "message_flags" not in step.fields:
            self.unread[step.end] -= max(step.result, 0)
        elif step.operation is Operation.RELEASE:
            end.dead = True
            end.has_inode = False

    def _record(self, step: Step, end: End, start: int, now: int) -> Event:
        fields: dict[str, Any] = {"size": max(step.result, 0), "result": step.result, **step.fields}
        if step.operation in (Operation.CONNECT, Operation.ACCEPT):
            fields["address"] = self.story.address
        elif step.operation is Operation.RELEASE:
            fields["unread_bytes"] = self.unread[step.end]
        by = end.task.thread(end.task.pid + step.thread)
        return end._record(step.operation, by, 0, **{"start": start, "end": now, **fields})


def interleaved(scripts: Sequence[Script], addresses: Sequence[int], random: Random) -> list[Event]:
    """Return the records of several connections, in one of the orders that causes allow.

    addresses: which pair of kernel addresses each connection has. A later connection of the same pair begins when both
    ends of the earlier one are released: the survivor keeps its dead peer's struct sock (unix_release_sock()).
    """
    played = [
        _Played(script, pair, number) for number, (script, pair) in enumerate(zip(scripts, addresses, strict=True))
    ]
    waits: dict[tuple[int, int, str], set[tuple[int, int, str]]] = {}
    users: dict[int, int] = {}
    for number, script in enumerate(scripts):
        last: dict[tuple[str, int], tuple[int, int, str]] = {}
        earlier = users.get(addresses[number])
        for place, step in enumerate(script.steps):
            first, *_, end = ((number, place, phase) for phase in step.phases)
            before = None
            for phase in step.phases:
                waits[number, place, phase] = {before} if before else set()
                before = (number, place, phase)
            thread = (step.end, step.thread)
            if thread in last:
                waits[first].add(last[thread])
            last[thread] = end
            waits[number, place, "effect"] |= {(number, cause, "effect") for cause in step.causes}
            waits[first] |= {(number, cause, "effect") for cause in step.after}
            waits[first] |= {(number, cause, "record") for cause in step.after_record}
            if earlier is not None and step.operation is Operation.CONNECT:
                released = enumerate(scripts[earlier].steps)
                waits[first] |= {
                    (earlier, other, "effect") for other, step in released if step.operation is Operation.RELEASE
                }
        users[addresses[number]] = number

    events = []
    now = 1_000_000_000
    # Some are slow: between an operation's effect and its record the other end may have read, answered and left.
    pace: dict[tuple[int, str, int], int] = {}
    while waits:
        ready = [point for point, causes in waits.items() if causes.isdisjoint(waits)]
        weights = []
        for number, place, _ in ready:
            step = scripts[number].steps[place]
            weights.append(pace.setdefault((number, step.end, step.thread), random.choice((1, 1, 10))))
        (point,) = random.choices(ready, weights)
        del waits[point]
        now += MICROSECOND
        number, place, phase = point
        record = played[number].play(place, phase, now)
        if record is not None:
            events.append(record)
    return events
