"""Records as the kernel writes them, without a kernel: generated connections, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count, islice
from operator import itemgetter
from random import Random
from typing import Any

from hangup.tracer.record.layout import pack
from tests import stories
from tests.recorder import Recorder
from tests.stories import CLASSIC_ANSWER, CLIENT_SOCK, Story, Task, classic_request

# How many connections are open at a time; the same addresses come back at once, as they do under load.
_OPEN = 64
_BATCH = 1024


def answered(**options: Any) -> Story:
    """Return the connection of the classic failure when it goes well: the answer is read and both ends close."""
    story = classic_request(**options)
    client, server = story.client, story.server
    for size in CLASSIC_ANSWER:
        server.write(size)
        client.read(size)
    server.release()
    client.read()
    client.release()
    return story


class Records:
    """Records of connection after connection, the same addresses again and again. As good as endless."""

    def __init__(self, goes_well: Callable[..., Story] = answered) -> None:
        """Make what is repeated; goes_well: nineteen connections of twenty, the others fail."""
        self._templates = []
        for options in _addresses():
            both = stories.seeds_failure(**options), goes_well(**options)
            self._templates.append(tuple([pack(event) for event in story.events] for story in both))

    def connections(self) -> Iterator[list[bytes]]:
        """Yield the records of one connection after the other."""
        for number in count():
            fails, goes_well = self._templates[number % _OPEN]
            # Twenty does not divide the number of addresses: each has both.
            yield fails if number % 20 == 7 else goes_well

    def interleaved(self) -> Iterator[bytes]:
        """Yield records of connections that are open at the same time."""
        connections = self.connections()
        while True:
            several = [list(reversed(connection)) for connection in islice(connections, _OPEN)]
            while several:
                for connection in several:
                    yield connection.pop()
                several = [connection for connection in several if connection]


def lifelike(connections: int, *, failing: float = 0.05, seed: int = 1) -> list[bytes]:
    """Return records of the classic load as a host has them: at any times, by several processes, at various addresses.

    Addresses come back as those that a kernel frees and gives out again, inode numbers and connections count up. Five
    are open at a time. What `Records` yields again and again is compressed better than this. failing: how many of one.
    """
    random = Random(seed)
    clients = [Task("httpd", 4711 + number, 4720 + 7 * number) for number in range(5)]
    servers = [Task("uwsgi", 815 + number, uid=998, gid=998) for number in range(4)]
    socks = [CLIENT_SOCK + random.randrange(1 << 20) * 0x480 for _ in range(64)]
    inodes = [CLIENT_SOCK + (1 << 32) + random.randrange(1 << 20) * 0x40 for _ in range(64)]
    begins = [(5 * 10**12 + number * 13_000, number) for number in range(5)]
    records: list[tuple[int, bytes]] = []
    inode_number = 48_500
    for number in range(1, connections + 1):
        now, lane = heappop(begins)
        inode_number += 2 + random.randrange(3)
        # The one that is free for longest.
        sock, peer, inode, peer_inode = (free.pop(0) for free in (socks, socks, inodes, inodes))
        goes: Callable[..., Story] = stories.seeds_failure if random.random() < failing else answered
        client, server = random.choice(clients), random.choice(servers)
        story = goes(client=client, server=server, client_sock=sock, server_sock=peer, inode_number=inode_number)
        cpus = {sock: random.randrange(4), peer: random.randrange(4)}
        real = {0: 0, story.client.inode: inode, story.server.inode: peer_inode}
        for event in story.events:
            start = now
            # Mostly some microseconds, sometimes many.
            now += int(random.lognormvariate(9.2, 0.8))
            known = event._replace(start=start + random.randrange(now - start), end=now, connection=number)
            known = known._replace(inode=real[event.inode], peer_inode=real[event.peer_inode], cpu=cpus[event.sock])
            records.append((now, pack(known)))
        socks += random.sample([sock, peer], 2)
        inodes += [inode, peer_inode]
        heappush(begins, (now + int(random.lognormvariate(11, 0.5)), lane))
    return [record for _, record in sorted(records, key=itemgetter(0))]


def histories() -> Iterator[bytes]:
    """Yield what a kernel that records hands over of connections that fail, one after the other, without an end."""
    templates = [Recorder().record(stories.seeds_failure(**options).events) for options in _addresses()]
    for number in count():
        yield from templates[number % _OPEN]


def _addresses() -> Iterator[dict[str, int]]:
    for number in range(_OPEN):
        base = CLIENT_SOCK + number * 0x1000
        yield {"client_sock": base, "server_sock": base + 0x800, "inode_number": 1000 + 2 * number}


class Stream:
    """A source like the ring buffer's: records in memory, handed over some hundred at a time."""

    def __init__(self, records: Iterable[bytes]) -> None:
        self._records = iter(records)
        self.drained = False
        """Whether all have been read."""

    def read(self, timeout: float) -> list[bytes]:  # noqa: ARG002 - it never makes wait
        """Return the next records."""
        records = list(islice(self._records, _BATCH))
        self.drained = len(records) < _BATCH
        return records

    def opening(self) -> Sequence[bytes]:
        """Return that nothing is known before."""
        return ()

    def counts(self) -> Sequence[bytes]:
        """Return that nothing was counted."""
        return ()

    def losses(self) -> Sequence[bytes]:
        """Return that nothing was lost."""
        return ()
