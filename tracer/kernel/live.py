"""The live source: what the probes record, and beside it all that only this host knows, in one stream of records.

Whoever reads the stream need not ask this host anything, so that a capture of it says the same anywhere. What is learnt
of a record stands before that: who its processes are when they are first seen, how many wait for a listener that turned
somebody away, what had been counted when a listener was missing.
"""

from __future__ import annotations

import errno
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from hangup.tracer.errors import HangupError
from hangup.tracer.escape import escape_comm, escape_socket_path
from hangup.tracer.host.cgroups import Cgroups
from hangup.tracer.host.clocks import HostClocks, Instant
from hangup.tracer.host.inventory import Inventory, Listeners, snapshot
from hangup.tracer.host.look import BOOT_ID, KERNEL_RELEASE, look_up, open_before, read_text
from hangup.tracer.host.process import PROC
from hangup.tracer.kernel import preflight
from hangup.tracer.kernel.compiler import Flavour
from hangup.tracer.kernel.probes import ENDPOINTS, Probes
from hangup.tracer.kernel.ring import RingFill
from hangup.tracer.record.facts import (
    MAX_TOLD,
    CountsFact,
    HostFact,
    LostFact,
    ProcessFact,
    SocketFact,
    pack_fact,
)
from hangup.tracer.record.layout import (
    WHO,
    Event,
    History,
    Loss,
    Operation,
    RecordType,
    SocketFlag,
    type_of,
    unpack,
    unpack_history,
    unpack_user,
    users_of,
)
from hangup.tracer.selection import Selection, escape_cgroup
from hangup.tracer.version import VERSION

# After so long, in ns, it is looked again who is there: a process may have another name by then, or a pid another
# process.
_AGAIN_NS = 5_000_000_000

# So many pairs of a process and its peer are remembered as seen.
_MOST_SEEN = 16_384

# So often it is told what the kernel has counted if nobody asks, in ns: a capture may be cut short.
_COUNT_NS = 10_000_000_000

# When a process began is known to a tick of 10 ms, and is reckoned from two clocks: that near it is the same, in ns.
_SAME_NS = 20_000_000

# Because somebody missed a listener, what the kernel has counted is taken over again after so long, in ns, or so many
# times what that took: a storm of such connects is no reason to do nothing else.
_COUNTED_NS = 2_000_000
_COUNTED_SHARE = 20


_who: Callable[[bytes], bytes] = itemgetter(WHO)


class Host(NamedTuple):
    """Who is asked about this host."""

    proc: Path
    cgroups: Cgroups
    listeners: Listeners
    clocks: HostClocks
    now: Callable[[], int]
    """ns of CLOCK_MONOTONIC."""


def this_host(proc: Path = PROC) -> Host:
    """Return where the host is asked whose /proc this is."""
    return Host(proc, Cgroups(proc=proc), Listeners(proc=proc), HostClocks(), time.monotonic_ns)


def attach(
    *,
    flavour: str = "auto",
    recording: bool = False,
    selection: Selection | None = None,
    endpoints: int = ENDPOINTS,
    snaplen: int = 0,
) -> LiveSource:
    """Attach the probes, then learn what is open already; the arguments are those of `Probes`.

    Raises HangupError if this host cannot do it.
    """
    preflight.require()
    probes = Probes(flavour=flavour, recording=recording, selection=selection, endpoints=endpoints, snaplen=snaplen)
    inventory = None
    try:
        # After attaching: what is opened in between is seen by both, what is open before by one.
        inventory = snapshot()
    except (HangupError, OSError):
        # As `hangup doctor` says: what is older than the tracer stays unnamed.
        pass
    except BaseException:
        probes.close()
        raise
    return LiveSource(probes, inventory, recording=recording, selection=probes.selection)


class LiveSource:
    """This host's records."""

    def __init__(
        self,
        probes: Probes,
        inventory: Inventory | None = None,
        *,
        recording: bool = False,
        selection: Selection | None = None,
        host: Host | None = None,
    ) -> None:
        """probes: attached, and closed with this. inventory: what is open already. host: who is asked.

        selection: what the probes select by, cgroups by their paths.
        """
        self._probes = probes
        self._recording = recording
        self._selection = selection or Selection()
        self._host = host or this_host()
        self._inventory = inventory
        # Who did something, and who is at the other end (WHO), as it stands in the records.
        self._seen: set[bytes] = set()
        self._doers: set[int] = set()
        self._others: set[int] = set()
        self._looked_again = self._host.now()
        # By pid: all but when that was.
        self._told: OrderedDict[int, ProcessFact] = OrderedDict()
        self._lost: dict[Loss, int] = {}
        # What has been told of each row that the kernel counts in.
        self._counted: dict[tuple[bytes, ...], tuple[int, int]] = {}
        self._counted_at = 0
        self._count_again = 0
        self._lock = Lock()

    def close(self) -> None:
        """Take the probes away, and forget what they recorded."""
        with self._lock:
            self._probes.close()

    def stop(self) -> None:
        """Take the probes away; what they have recorded can still be read."""
        self._probes.detach()

    def wake_by(self, descriptor: int) -> None:
        """Let whatever comes to be read from this descriptor end the waiting as well, until it is closed."""
        self._probes.wake_by(descriptor)

    @property
    def flavour(self) -> Flavour:
        """How the probes are attached."""
        return self._probes.flavour

    @property
    def functions(self) -> tuple[str, ...]:
        """The kernel functions that are probed."""
        return self._probes.attached

    @property
    def ring(self) -> RingFill:
        """How full the ring buffer was before the last read. Any thread may ask."""
        return self._probes.ring

    def open_endpoints(self) -> int | None:
        """Return how many endpoints the kernel keeps a history of now. Any thread may ask."""
        # They may be taken away meanwhile.
        with self._lock:
            return self._probes.open_endpoints()

    @property
    def drained(self) -> bool:
        """Whether everything that has been recorded by now has been read."""
        return self._probes.drained

    def opening(self) -> list[bytes]:
        """Return what is known before anything is read: the host, and what is open already."""
        records = self._clocks()
        if self._inventory is not None:
            records += [pack_fact(fact) for fact in open_before(self._inventory, self._host.now())]
            self._inventory = None
        return records

    def read(self, timeout: float) -> list[bytes]:
        """Return the next records of the probes (see `Probes.read`), and what is to be known of them before."""
        records = self._probes.read(timeout)
        # Whatever is judged of these records knows of the losses till now.
        told = [*self._clocks(), *self.losses()]
        if self._recording and self._host.now() - self._counted_at >= _COUNT_NS:
            told += self.counts()
        return [*told, *self._introduced(records)]

    def counts(self) -> list[bytes]:
        """Return how many connections have ended well since that was told last. Any thread may ask."""
        if not self._recording:
            return []
        with self._lock:
            now = self._host.now()
            self._counted_at = now
            told = [pack_fact(fact) for fact in self._more_counted(now)]
            done = self._host.now()
            self._count_again = done + max(_COUNTED_NS, _COUNTED_SHARE * (done - now))
            return told

    def losses(self) -> list[bytes]:
        """Return what was lost, by each cause of which more was lost since that was told last."""
        totals = self._probes.losses()
        causes = [cause for cause, total in totals.items() if total != self._lost.get(cause, 0)]
        if not causes:
            return []
        now = self._host.now()
        periods = self._probes.lost_periods()
        self._lost = totals
        return [
            pack_fact(LostFact(now, cause, totals[cause], tuple(one for one in periods if one.cause == cause)))
            for cause in causes
        ]

    def _clocks(self) -> list[bytes]:
        instant = self._host.clocks.look()
        return [] if instant is None else [pack_fact(self._fact(instant))]

    def _fact(self, instant: Instant) -> HostFact:
        proc = self._host.proc
        return HostFact(
            *instant,
            kernel=read_text(KERNEL_RELEASE, proc),
            boot=read_text(BOOT_ID, proc),
            version=VERSION,
            probes=self.flavour,
            functions=self.functions,
            recording=self._recording,
            snaplen=self._probes.snaplen,
            pids=tuple(sorted(self._selection.pids)),
            uids=tuple(sorted(self._selection.uids)),
            cgroups=tuple(map(escape_cgroup, self._selection.cgroups)),
        )

    def _more_counted(self, now: int) -> Iterator[CountsFact]:
        for row in self._probes.counted():
            kind = bytes((bool(row.ready), row.latent, row.pair))
            key = (row.client, row.server, row.path[: row.path_length], kind)
            known = self._counted.get(key)
            connections, operations = known or (0, 0)
            # They are counted one after the other, and may be looked at between. A row of none says who has listened.
            if (row.connections, row.operations) == (connections, operations) and (known or not row.ready):
                continue
            self._counted[key] = row.connections, row.operations
            yield CountsFact(
                now, row._replace(connections=row.connections - connections, operations=row.operations - operations)
            )

    def _introduced(self, records: list[bytes]) -> list[bytes]:
        """Return the records, each behind what was learnt of it."""
        now = self._host.now()
        if now - self._looked_again >= _AGAIN_NS:
            self._look_again(now)
        seen = self._seen
        # This is all that is done for most of them.
        if seen.issuperset(map(_who, records)):
            return records
        unseen = [number for number, record in enumerate(records) if record[WHO] not in seen]
        introduced: list[bytes] = []
        begin = 0
        for number in unseen:
            learnt = list(self._learn(records[number], now))
            is_told = type_of(records[number]) == RecordType.USER
            if learnt or is_told:
                introduced += records[begin:number]
                introduced += learnt
                # That was all that it had to say.
                begin = number + is_told
        introduced += records[begin:]
        return introduced

    def _look_again(self, now: int) -> None:
        self._looked_again = now
        for known in (self._seen, self._doers, self._others):
            known.clear()

    def _learn(self, record: bytes, now: int) -> Iterator[bytes]:
        kind = type_of(record)
        if kind == RecordType.OPERATION:
            if record[WHO] in self._seen:
                return
            event = unpack(record)
            if event.peer_pid and not event.owner_pid:
                # A connect that fails has nobody at its other end, and a kernel thread works for many: these are looked
                # at each time.
                self._see(record[WHO], now)
            # With an owner the leader is that one's.
            comm = event.comm if event.owner_pid else event.leader
            yield from self._doer(event.pid, event.cgroup, comm, event.inner_pid, event.end)
            yield from self._other(event.peer_pid, now)
            yield from self._other(event.owner_pid, now)
            if event.operation == Operation.CONNECT and event.result < 0:
                yield from self._missed(event)
        elif kind == RecordType.USER:
            user = unpack_user(record)
            yield from self._doer(user.pid, user.cgroup, user.leader, user.inner_pid, now)
        elif kind == RecordType.HISTORY:
            handed = unpack_history(record)
            for history in (handed.one, handed.other):
                if history is not None:
                    yield from self._users(history, now)

    def _users(self, history: History, now: int) -> Iterator[bytes]:
        for user in users_of(history):
            # It may have been called something else by the time that this was handed over.
            yield from self._doer(user.pid, user.cgroup, user.leader, user.inner_pid, history.start)
        yield from self._other(history.opener_pid, now)
        yield from self._other(history.owner_pid, now)

    def _see(self, who: bytes, now: int) -> None:
        if len(self._seen) >= _MOST_SEEN:
            self._look_again(now)
        self._seen.add(who)

    def _doer(self, pid: int, cgroup: int, leader: bytes, inner_pid: int, when: int) -> Iterator[bytes]:
        """Tell of a process that has done something: only its cgroup is to be looked up."""
        if not pid:
            return
        self._doers.add(pid)
        found = self._host.cgroups.cgroup(cgroup, pid)
        yield from self._tell(ProcessFact(when, pid, escape_comm(leader), inner_pid or None, cgroup, found))

    def _other(self, pid: int, now: int) -> Iterator[bytes]:
        """Tell of a process that has not been seen doing anything lately."""
        if not pid or pid in self._doers or pid in self._others:
            return
        self._others.add(pid)
        fact = look_up(pid, now, self._host.proc)
        if fact is not None:
            yield from self._tell(fact)

    def _tell(self, fact: ProcessFact) -> Iterator[bytes]:
        known = self._told.get(fact.pid)
        told = fact
        if known is not None:
            # Who was seen doing something has no start, and who was looked up has no id of its cgroup.
            is_same = not fact.start or abs(fact.start - known.start) < _SAME_NS
            start = known.start if known.start and is_same else fact.start
            told = fact._replace(cgroup_id=fact.cgroup_id or known.cgroup_id, start=start)
            if known._replace(when=told.when) == told:
                return
        # In the order in which they were told, as whoever reads forgets them (MAX_PROCESSES, tracer/story/known.py).
        self._told.pop(fact.pid, None)
        self._told[fact.pid] = told
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        yield pack_fact(told)

    def _missed(self, event: Event) -> Iterator[bytes]:
        """Tell what is to be known of a connect that failed."""
        if event.result == -errno.EAGAIN:
            path = escape_socket_path(event.address)
            if path is None:
                return
            backlog = self._host.listeners.backlog(path, event.pid, event.end)
            if backlog is not None:
                yield pack_fact(
                    SocketFact(event.end, SocketFlag.LISTENER, path, waiting=backlog.waiting, backlog=backlog.backlog)
                )
        elif event.result in (-errno.ENOENT, -errno.ECONNREFUSED) and self._count_again <= self._host.now():
            # Who has listened there is known of connections that ended well, too.
            yield from self.counts()
