"""What records have told of processes and sockets, kept for as long as a story may need it.

Nobody here asks the host: a live source has written down what it knows (tracer/kernel/live.py). Of everything that can
be many what was told longest ago is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import NamedTuple, TypeVar

from hangup.tracer.record.facts import MAX_TOLD, ROOT, Cgroup, ProcessFact, SocketFact
from hangup.tracer.record.layout import SocketFlag, reader_of
from hangup.tracer.story.identity import Changes, change_of
from hangup.tracer.story.process import Process

# Between two words of a process there are at most so many others, and those that were told before and do something.
MAX_PROCESSES = 2 * MAX_TOLD
MAX_CGROUPS = MAX_TOLD
MAX_SOCKETS = 65_536
MAX_BACKLOGS = 64

# Of so many paths it is remembered that somebody listened on them.
MAX_PATHS = 4096

_read_pid = reader_of("pid")

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Recent:
    """Strings since when, a bounded number: what was added longest ago is forgotten. Any thread may add and ask."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._since: OrderedDict[str, int] = OrderedDict()

    def had(self, one: str, when: int) -> bool:
        """Whether it was so by a time, in ns of CLOCK_MONOTONIC."""
        since = self._since.get(one)
        return since is not None and since <= when

    def add(self, one: str, since: int) -> None:
        """Remember a string, and since when that is so: in ns of CLOCK_MONOTONIC, the earliest time counts."""
        with self._lock:
            self._since[one] = min(since, self._since.get(one, since))
            self._since.move_to_end(one)
            if len(self._since) > self._limit:
                self._since.popitem(last=False)

    def forget(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._since.clear()


class _Bounded(OrderedDict[_Key, _Value]):
    """A mapping of a bounded size: what was set longest ago is forgotten."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: _Key, value: _Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


class Older(NamedTuple):
    """What is known of a connection that is older than the tracer, by one of its endpoints' inode number."""

    path: str | None
    pair: bool
    is_server: bool
    """Whether the inode is the server's end."""
    holder: Process | None
    other_inode_number: int
    other_holder: Process | None


class Ends(NamedTuple):
    """Between whom connections that are older than the tracer are, by the names of those who held their ends."""

    client: str
    server: str
    path: str | None
    """None: they are socketpairs."""


class _Named(NamedTuple):
    """What a pid has been called, and where whoever had it belonged."""

    comm: str
    began: int
    """When its process began; 0: not known."""
    seen: int
    """When the process was last there; all of these in ns of CLOCK_MONOTONIC."""
    renamed: int = 0
    """When the pid was first seen under this name, if it had another before; else 0."""
    earlier: str | None = None
    """What it was called till then."""
    inner_pid: int | None = None
    cgroup: Cgroup | None = None
    in_root: bool = True
    """Whether the cgroup is to be found by the pid alone: its id says nothing."""


class _End(NamedTuple):
    """An end of a connection that is older than the tracer."""

    fact: SocketFact
    holder: Process | None


class Known:
    """What is known of the host's processes and sockets."""

    def __init__(self) -> None:
        """Know nothing."""
        self._processes: _Bounded[int, _Named] = _Bounded(MAX_PROCESSES)
        # An id is never used again (kernfs_new_node() counts up 64 bits), so that what is known of one stays true.
        self._cgroups: _Bounded[int, Cgroup] = _Bounded(MAX_CGROUPS)
        self._ends: _Bounded[int, _End] = _Bounded(MAX_SOCKETS)
        # By the names of those who hold both ends, in no order; None: till somebody asks.
        self._between: dict[frozenset[str], set[Ends]] | None = None
        # By path: of which connect, by its end.
        self._backlogs: _Bounded[str, tuple[int, int, int]] = _Bounded(MAX_BACKLOGS)
        self.listened: Recent = Recent(MAX_PATHS)
        """Paths that somebody has listened on, and since when, as far as that was seen."""
        self.changes: Changes = Changes()
        """Who processes have become."""

    def take(self, fact: ProcessFact | SocketFact) -> None:
        """Take what a record says of a process or a socket."""
        if isinstance(fact, ProcessFact):
            self._take_process(fact)
            return
        if fact.flags & SocketFlag.LISTENER:
            if fact.path is not None:
                self.listened.add(fact.path, fact.when)
                self._backlogs[fact.path] = fact.when, fact.waiting, fact.backlog
        elif fact.inode_number:
            # Who holds it now: later somebody else may have the pid.
            named = self._processes.get(fact.holders[0]) if fact.holders else None
            holder = None
            if named is not None:
                holder = Process(fact.holders[0], named.comm, inner_pid=named.inner_pid, cgroup=named.cgroup)
            self._ends[fact.inode_number] = _End(fact._replace(holders=fact.holders[:1]), holder)
            self._between = None

    def forget(self) -> None:
        """Forget everything: what comes is of another run, on another host perhaps."""
        for told in (self._processes, self._cgroups, self._ends, self._backlogs):
            told.clear()
        self._between = None
        self.listened.forget()
        self.changes.forget()

    def meet(self, pid: int, comm: str, when: int) -> None:
        """Take what a process was called when it did something on a connection, in ns of CLOCK_MONOTONIC."""
        self._learn(pid, comm, when)
        self.changes.meet(pid)

    def change(self, record: bytes) -> bool:
        """Take a record of who a process has become; return whether it is to be shown.

        Raises struct.error if it is no such record.
        """
        is_shown = self.changes.take(record)
        # Those that nobody has told of may be many, and would push out who was.
        if _read_pid(record)[0] in self._processes:
            change = change_of(record)
            self._learn(change.process.pid, change.process.comm, change.when)
        return is_shown

    def process(self, pid: int, seen: int) -> Process:
        """Return who had a pid at a time, in ns of CLOCK_MONOTONIC, though nothing was seen of it; "?" has no name."""
        named = self._processes.get(pid)
        if named is None:
            return Process(pid, "?")
        if named.renamed and seen < named.renamed:
            return Process(pid, named.earlier or "?")
        if seen < named.began:
            return Process(pid, "?")
        return Process(pid, named.comm, inner_pid=named.inner_pid, cgroup=named.cgroup)

    def cgroup(self, cgroup_id: int, pid: int) -> Cgroup | None:
        """Return the cgroup with this id, in which a process was; None if it is not known."""
        if cgroup_id > ROOT:
            return self._cgroups.get(cgroup_id)
        # On a host with cgroup v1 the unified hierarchy may have a root and nothing else: then /proc knew more.
        named = self._processes.get(pid) if cgroup_id else None
        return named.cgroup if named and named.in_root else None

    def placed(self, process: Process | None) -> Process | None:
        """Return a process with its cgroup, and what else is known of one that was not seen doing anything."""
        if process is None or process.cgroup is not None:
            return process
        if process.cgroup_id:
            return replace(process, cgroup=self.cgroup(process.cgroup_id, process.pid))
        named = self._processes.get(process.pid)
        if named is None or process.comm not in (named.comm, "?"):
            return process
        return replace(process, cgroup=named.cgroup, inner_pid=named.inner_pid)

    def older(self, inode_number: int) -> Older | None:
        """Return what is known of a connection that was open when tracing began, by the inode number of an end."""
        end = self._ends.get(inode_number)
        if end is None:
            return None
        fact = end.fact
        other = self._ends.get(fact.peer_inode_number) if fact.peer_inode_number else None
        return Older(
            path=fact.path,
            pair=bool(fact.flags & SocketFlag.PAIR),
            is_server=bool(fact.flags & SocketFlag.SERVER),
            holder=end.holder,
            other_inode_number=other.fact.inode_number if other else 0,
            other_holder=other.holder if other else None,
        )

    def older_between(self, one: str, other: str) -> Ends | None:
        """Return what is known of connections that were open when tracing began between processes of these names.

        None: of none, or they are not all alike, so that it is not known which one is meant. Any thread may ask.
        """
        between = self._between
        if between is None:
            between = {}
            for end in list(self._ends.values()):
                other_end = self._ends.get(end.fact.peer_inode_number)
                # Each connection once, by its client's end.
                if end.fact.flags & SocketFlag.CLIENT and end.holder and other_end and other_end.holder:
                    path = None if end.fact.flags & SocketFlag.PAIR else end.fact.path
                    ends = Ends(end.holder.comm, other_end.holder.comm, path)
                    between.setdefault(frozenset(ends[:2]), set()).add(ends)
            self._between = between
        found = between.get(frozenset((one, other)), set())
        return next(iter(found)) if len(found) == 1 else None

    def backlog(self, path: str, when: int) -> tuple[int, int] | None:
        """Return how many waited for a listener, and how many it lets wait, at a connect that ended at a time, in ns.

        None: that was not asked.
        """
        asked, waiting, backlog = self._backlogs.get(path, (None, 0, 0))
        return (waiting, backlog) if asked == when else None

    def _take_process(self, fact: ProcessFact) -> None:
        if fact.cgroup_id > ROOT and fact.cgroup is not None:
            self._cgroups[fact.cgroup_id] = fact.cgroup
        self._learn(fact.pid, fact.comm, fact.when, fact.start)
        named = self._processes[fact.pid]
        if fact.when >= named.seen:
            self._processes[fact.pid] = named._replace(
                inner_pid=fact.inner_pid, cgroup=fact.cgroup, in_root=fact.cgroup_id <= ROOT
            )

    def _learn(self, pid: int, comm: str, seen: int, began: int = 0) -> None:
        """Take what a pid was called at a time, and when its process had begun, if that is known."""
        known = self._processes.get(pid)
        if known is None:
            named = _Named(comm, began, seen)
        elif seen < known.seen and comm != known.comm:
            # It was called so before.
            named = known._replace(renamed=max(known.renamed, seen + 1), earlier=comm)
        elif began > known.seen:
            # Another process has the pid.
            named = _Named(comm, began, seen, renamed=began, earlier=known.comm)
        elif known.comm == comm:
            # As _replace() does, for a third of what that costs.
            named = _Named(comm, began or known.began, max(seen, known.seen), *known[3:])
        else:
            named = known._replace(comm=comm, began=began or known.began, seen=seen, renamed=seen, earlier=known.comm)
        self._processes[pid] = named
