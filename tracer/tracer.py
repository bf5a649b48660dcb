"""The pipeline in one object: source -> records -> stories -> verdicts -> alerts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

from hangup.tracer.capture.files import file_writer
from hangup.tracer.capture.format import Told
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.source import WritingSource
from hangup.tracer.capture.writer import Writer
from hangup.tracer.clocks import Clocks
from hangup.tracer.escape import escape_comm, escape_socket_path
from hangup.tracer.filter.compile import over_changes, over_connections, over_operations
from hangup.tracer.filter.connected import counted, ended_well, judged, uncounted
from hangup.tracer.filter.tree import Tree
from hangup.tracer.kernel.live import LiveSource, attach
from hangup.tracer.kernel.probes import ENDPOINTS, endpoints_of, snaplen_of
from hangup.tracer.kernel.ring import RingFill
from hangup.tracer.record.facts import (
    ROOT,
    Cgroup,
    CountsFact,
    HostFact,
    LostFact,
    ProcessFact,
    SocketFact,
    unpack_fact,
)
from hangup.tracer.record.layout import (
    IDENTITY_TYPE,
    OPERATION_TYPE,
    RING_TYPE_BYTES,
    STREAM,
    Counted,
    Event,
    Loss,
    RecordType,
    count_operations,
    count_types,
    payload_of,
    tasks_of,
    time_of,
    type_bytes_of,
    unpack,
)
from hangup.tracer.record.runs import Runs
from hangup.tracer.recorded import RecordedTime
from hangup.tracer.selection import GONE_CGROUP, Participant, Selection
from hangup.tracer.source import Source
from hangup.tracer.statistics import OTHER, Key, Statistics
from hangup.tracer.story.connection import Connection
from hangup.tracer.story.endpoints import Concluded, ConnectFailed, Endpoints, Operated, Suffered
from hangup.tracer.story.known import Known
from hangup.tracer.story.places import Placed, Places
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.story.story import Moment, Story, Traced, tell
from hangup.tracer.verdicts import Kind, Verdict
from hangup.tracer.verdicts.rules import Failure, judge_connect, judge_failure, judge_latent
from hangup.tracer.verdicts.sentences import peer_shutdown

# How often a quiet ring buffer is looked at; what goes wrong wakes the reader at once.
POLL_SECONDS = 0.1

QUIET_SECONDS = 1.0
"""How often it is looked at while the kernel records and nothing is waited for."""

UNKNOWN = "?"
SOCKETPAIR = "(socketpair)"

# Of so many records it is told at once where they were.
_AT_A_TIME = 512

# A plain number, as it is compared for each operation: an enum's comparison costs more than all else.
_IDENTITY = int(RecordType.IDENTITY)


@dataclass(frozen=True, slots=True)
class Alert:
    """A verdict and the story it is of: values that nothing changes any more."""

    verdict: Verdict
    when: int
    """When it happened, in ns of CLOCK_MONOTONIC."""
    path: str | None
    client: Process | None
    """Whom the sentence means at the client's end, with its cgroup."""
    server: Process | None
    """The same at the server's end."""
    story: Story | None
    """None for a failed connect."""
    failed: Event | None
    """The operation that failed, or showed what was missing; None for a latent hang-up."""

    @property
    def shutdown(self) -> Event | None:
        """The call that a verdict on a shutdown is about; None: it is about something else, or it was not recorded."""
        story, failed, verdict = self.story, self.failed, self.verdict
        if story is None or failed is None or verdict.victim is None:
            return None
        if verdict.kind is Kind.OWN_SHUTDOWN:
            return story.end(verdict.victim).ended_sending
        if verdict.kind is Kind.PEER_SHUTDOWN:
            return peer_shutdown(story.other(verdict.victim), failed, verdict.symptom)
        return None

    @property
    def culprit(self) -> Process | None:
        """Who is to be asked: the process at the other end than the one that was hurt, or who shut that one down."""
        if self.verdict.kind is Kind.OWN_SHUTDOWN and self.shutdown is not None:
            return process_of(self.shutdown)
        return self.server if self.verdict.victim == "client" else self.client

    @property
    def hangup(self) -> Moment | None:
        """The release that was the hang-up; None if none was: the victim's own, or one that came later, was not."""
        story, failed, victim = self.story, self.failed, self.verdict.victim
        if story is None or failed is None or victim is None:
            return story.hangup if story else None
        end = story.other(victim)
        if end.release is None or end.release.start > failed.end:
            return None
        return Moment(end.release.start, end.role, end.release)

    @property
    def key(self) -> Key:
        """What it is counted under."""
        client, server = (who.comm if who else UNKNOWN for who in (self.client, self.server))
        return _key(self.path, client, server, self.verdict.kind, pair=bool(self.story and self.story.pair))


class _Judged(NamedTuple):
    """A connection that was counted when an end of it failed."""

    verdict: Verdict
    key: Key
    operations: int


class _Batch(NamedTuple):
    """What was read at once."""

    records: list[bytes]
    until: int | None
    """Everything that had been recorded by then has been read, in ns of CLOCK_MONOTONIC; None: there is more."""
    is_after_gap: bool = False
    """Whether something was recorded before it that cannot be read."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What is missing, by cause; a cause with 0 is included."""

    by_cause: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.by_cause.values())


class Tracer:
    """Traces this host's Unix connections, from entering the context to leaving it.

    with Tracer() as tracer:
        for alert in tracer.alerts():
            print(alert.verdict.sentence)
    """

    def __init__(
        self,
        *,
        pids: Collection[int] | None = None,
        probes: str = "auto",
        stream: bool = False,
        history: int = ENDPOINTS,
        snaplen: int = 0,
        selection: Selection | None = None,
        source: Source | None = None,
        latent: bool = False,
        harmless: bool = False,
        verdicts: frozenset[Kind] = frozenset(),
        only: Tree | None = None,
        on_operation: Callable[[Traced], None] | None = None,
        on_operations: Callable[[Sequence[Operated]], None] | None = None,
        on_places: Callable[[Sequence[Placed]], None] | None = None,
        on_count: Callable[[int, int], None] | None = None,
        on_run_end: Callable[[], None] = lambda: None,
        statistics: Statistics | None = None,
        keep: Writer | Path | None = None,
    ) -> None:
        """Say what to trace; nothing happens before the context is entered.

        pids: only connections with an end held by one of these (selected in the kernel). probes: "auto",
        "kprobe" or "fentry". stream: have every operation recorded; else the kernel keeps a history of each
        endpoint, and hands over what went wrong. history: of how many endpoints the kernel keeps a history
        as long as nothing goes wrong, rounded up to a power of two; ValueError if that is below 1,024 or above
        1,048,576. snaplen: where every operation of this host is recorded, so many bytes of what is read or written
        are, too, each time; ValueError if that is below 0 or above 4,096, or histories are kept. selection: only
        connections it matches (pids is short for one of pids). source: where records come from, instead of this host's
        probes. latent: whether latent hang-ups are alerts too. harmless:
        whether failures that nobody misses anything by are, too. verdicts: only these are alerts; empty: all
        that can be. only: what else is to hold, of the operations if they are called for, else of connections
        (tracer/filter/filter.py makes both, selection and this, of a filter). on_operation: called with every
        operation, all of which are recorded then, as with stream.
        on_operations: the same for who looks at many, some hundred at a time, with as little as possible made of each,
        and between them the changes of who did some (`Operated`).
        on_places: the same for who wants to know where they were and no more: how connections go is not looked at then,
        there are no alerts and no statistics, and the two above are not called.
        on_count: the same for who wants nothing made of them: it is told how many more operations there were, and
        changes of who did some. None of them is left out, so the kernel must have recorded nothing that is not wanted.
        on_run_end: called between two runs of a capture, while `clocks` are still those of the first one.
        statistics: where everything is counted, instead of new ones. keep: a new file that gets every record as it is
        read, or what writes it elsewhere (tracer/capture/writer.py).
        """
        self.selection = selection or Selection(frozenset(pids or ()))
        # Of who was connected more is known to the kernel than it tells, but paths that fail by design it lets through.
        self._selection_of_paths = Selection(paths=self.selection.paths, ignored_paths=self.selection.ignored_paths)
        # What others have recorded they selected by what they wanted.
        self._selection_of_names = replace(self.selection, pids=frozenset(), uids=frozenset(), cgroups=())
        self._wanted_probes = probes
        self._on_operation = on_operation
        self._on_operations = on_operations
        is_told = any(told is not None for told in (on_operation, on_operations, on_places, on_count))
        self.recording = source is None and not stream and not is_told
        """Whether the kernel keeps histories and tells only of what went wrong; else every operation is recorded."""
        self._history = endpoints_of(history)
        self._snaplen = snaplen_of(snaplen)
        if snaplen and self.recording:
            raise ValueError("a history has no payload: snaplen is of a stream")
        self.snaplen = 0
        """So many bytes of what was read or written were recorded, each time, the most of any run that was read."""
        self._source = source
        self._file = source if isinstance(source, FileSource) else None
        self._live: LiveSource | None = None
        self._writer = file_writer(keep) if isinstance(keep, Path) else keep
        self.latent = latent
        self.harmless = harmless
        self.verdicts = verdicts
        self.host: HostFact | None = None
        """What is known of the host whose connections these are; None: nothing yet."""
        self.clocks = Clocks()
        """What makes wall-clock times of those of the records."""
        self.recorded = RecordedTime(self.clocks)
        """When what has been read was recorded."""
        self._runs = Runs()
        self._lost: dict[Loss, LostFact] = {}
        # How many in the runs before.
        self._lost_before: Counter[Loss] = Counter()
        self._stopped = False
        # The first verdict on each connection that is still held by somebody.
        self._counted: WeakKeyDictionary[Connection, _Judged] = WeakKeyDictionary()
        self.statistics = statistics or Statistics()
        self.statistics.before = self._take_counts
        self._known = Known()
        self._endpoints = Endpoints(
            self._known,
            operations=self._selects if is_told else None,
            on_other=self._take,
        )
        self._on_places = on_places
        self._on_count = on_count
        self._on_run_end = on_run_end
        self._passes = None if only is None or not is_told else over_operations(only, self.find_cgroup)
        self._passes_change = None if only is None or not is_told else over_changes(only, self.find_cgroup)
        self._is_wanted = None if only is None or is_told else over_connections(only)
        # What the kernel has counted is known by names and paths alone.
        self._is_counted_wanted = self._is_wanted if only is not None and not uncounted(only) else None
        self._places = Places(
            self._known,
            selects=None if self.selection.selects_all else self._selects_place,
            passes=self._passes,
            passes_change=self._passes_change,
            on_other=self._take,
        )

    def __enter__(self) -> Tracer:
        """Attach the probes, then learn what is open already. Raises HangupError if this host cannot do it."""
        if self._source is None:
            self._source = self._live = attach(
                flavour=self._wanted_probes,
                recording=self.recording,
                selection=self.selection,
                endpoints=self._history,
                snaplen=self._snaplen,
            )
        try:
            if self._writer is not None:
                self._writer.open()
                self._source = WritingSource(self._source, self._writer)
            self._take_all(self._source.opening())
        except BaseException:
            if self._live:
                self._live.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take the probes away; statistics and losses can still be asked for."""
        try:
            if self._source:
                for _ in self._endpoints.settle():
                    # Of what is still waited for nobody is told any more; what was learnt meanwhile counts.
                    pass
                self._take_all(self._source.losses())
                self._take_counts()
            if self._writer:
                # What was left unread, or was cut off already, is missing behind what was written.
                damaged = self._file is not None and self._file.damage is not None
                self._writer.close(whole=self._source is not None and self._source.drained and not damaged)
        finally:
            # Also if Ctrl-C comes in between: they go with the process, but that may live on.
            if self._live:
                self._live.close()

    @property
    def flavour(self) -> str | None:
        """How the probes are attached, or were when a capture was made; None: that is not known."""
        return (self.host.probes or None) if self.host else None

    @property
    def functions(self) -> tuple[str, ...]:
        """The kernel functions that are probed, or were."""
        return self.host.functions if self.host else ()

    def stop(self) -> None:
        """Take the probes away; what they have recorded can still be read. Of a capture no more is read."""
        self._stopped = True
        if reader := self._live or self._file:
            reader.stop()

    @property
    def exhausted(self) -> bool:
        """Whether a capture has been read to its end; a live host has none."""
        return self._file is not None and self._file.drained

    @property
    def ring(self) -> RingFill | None:
        """How full the ring buffer was when it was last looked at, None for a capture. Any thread may ask."""
        return self._live.ring if self._live else None

    @property
    def open_endpoints(self) -> int | None:
        """How many endpoints the kernel keeps a history of now, None for a capture. Any thread may ask."""
        return self._live.open_endpoints() if self._live else None

    def losses(self) -> Losses:
        """Return what was missing, in the kernel and here, when records were last read. Any thread may ask."""
        total = self._lost_before + Counter({cause: lost.total for cause, lost in self._lost.items()})
        by_cause = {cause.name.lower(): total[cause] for cause in Loss}
        by_cause["connections_evicted"] = self._endpoints.evicted + self._places.evicted
        by_cause["releases_missed"] = self._endpoints.stale + self._places.stale
        if self._file:
            by_cause["capture_damaged"] = int(self._file.damage is not None)
        return Losses(by_cause)

    def cgroup(self, cgroup_id: int, pid: int) -> Cgroup | None:
        """Return the cgroup with this id, in which a process was; None if it is not known."""
        return self._known.cgroup(cgroup_id, pid)

    def alerts(self) -> Iterator[Alert]:
        """Yield alerts as they come: of a capture until its end, of a live host until stop() has been called."""
        while True:
            batch = self._read(QUIET_SECONDS)
            yield from self._process(batch)
            if not batch.records and batch.until is not None and self._ended:
                yield from self._settle(None)
                return

    def poll(self, timeout: float) -> Iterator[Alert]:
        """Take what is recorded (waiting `timeout` seconds at the longest) and yield the alerts in it.

        It waits no longer than it may: a tenth of a second, or while the kernel records and nothing is waited for one
        second. What goes wrong, and any signal, ends the waiting at once; not so a latent hang-up, or a connect that
        fails because there is no such path or no permission. An alert comes when it is known what it cost, a tenth of a
        second after that at the latest.
        """
        yield from self._process(self._read(timeout))

    def wake_by(self, descriptor: int) -> None:
        """Let whatever comes to be read from this descriptor end the waiting of a poll as well, until it is closed."""
        if reader := self._live or self._file:
            reader.wake_by(descriptor)

    @property
    def _patience(self) -> float:
        """How long records may lie unread, in seconds."""
        if not self.recording or self._stopped or self._endpoints.waiting:
            return POLL_SECONDS
        return QUIET_SECONDS

    def _read(self, timeout: float) -> _Batch:
        assert self._source is not None, "enter the context first"
        records = self._source.read(min(timeout, self._patience))
        # Before it is asked: what is recorded later than this may be left in a source that says there is nothing.
        now = time.monotonic_ns()
        is_after_gap = False
        if records:
            told = self._file.told if self._file else Told.FIRST
            is_after_gap = told is Told.AGAIN_AFTER_GAP
            if is_after_gap:
                self.recorded.pause()
            self.recorded.add((time_of(records[0]), time_of(records[-1])) if told is Told.FIRST else None)
        if self._on_places is None and self._on_count is None:
            self.statistics.read(count_types(records))
        return _Batch(records, now if self._source.drained else None, is_after_gap)

    def _process(self, batch: _Batch) -> Iterator[Alert]:
        if batch.is_after_gap:
            yield from self._settle(None)
            # What still holds is told again right behind it.
            self._let_go()
        if self._on_count is not None:
            self._on_count(*self._count(batch.records))
            return
        if self._on_places is not None:
            for begin in range(0, len(batch.records), _AT_A_TIME):
                self._on_places(self._places.feed(batch.records[begin : begin + _AT_A_TIME]))
            return
        for occurrence in self._endpoints.feed(batch.records):
            self._tell_operations(self._endpoints.operated())
            if isinstance(occurrence, Concluded):
                alert = self._concluded(occurrence.connection)
            elif isinstance(occurrence, Suffered):
                alert = self._suffered(occurrence)
            else:
                alert = self._connect_failed(occurrence)
            if alert is not None:
                yield alert
        self._tell_operations(self._endpoints.operated())
        if batch.until is None:
            # What somebody did next may be in the records that are left. Those that were read have settled what was
            # before them.
            if self._file is not None and self._file.silent:
                yield from self._settle(None)
            return
        if self._live is not None:
            yield from self._settle(batch.until)
        elif not batch.records:
            yield from self._settle(None)

    def _count(self, records: Sequence[bytes]) -> tuple[int, int]:
        """Return how many operations there are, and changes of who did some; take what says something else."""
        changes, operations, found = self._known.changes, count_operations(records), 0
        # Most often there is nothing else. Whoever does many in a row is met once for all of them.
        only = [(OPERATION_TYPE, records)] if operations == len(records) else groupby(records, type_bytes_of)
        for kind, run in only:
            if kind == OPERATION_TYPE:
                found += sum(len(changes.show(*task)) for task in tasks_of(run))
            elif kind == IDENTITY_TYPE:
                found += sum(map(changes.take, run))
            elif kind not in RING_TYPE_BYTES:
                self._take_all(run)
        return operations, found

    def _tell_operations(self, operated: Sequence[Operated]) -> None:
        if self._passes is not None and self._passes_change is not None:
            passes, passes_change = self._passes, self._passes_change
            operated = [
                each
                for each in operated
                if (passes_change(each[0]) if each[1][0] == _IDENTITY else passes(each[0], each[2]))
            ]
        if not operated:
            return
        if self._on_operations is not None:
            self._on_operations(operated)
        if self._on_operation is not None:
            for record, brief, place in operated:
                if brief[0] != _IDENTITY:
                    self._on_operation(Traced(unpack(record), place, payload_of(record)))

    def _settle(self, now: int | None) -> Iterator[Alert]:
        for suffered in self._endpoints.settle(now):
            alert = self._suffered(suffered)
            if alert is not None:
                yield alert

    def _concluded(self, connection: Connection) -> Alert | None:
        counted = self._counted.get(connection)
        if counted:
            self.statistics.add(counted.key, connection.operations - counted.operations)
        if connection.failed or not self._selects(connection):
            return None
        lost = self._lost_during(connection.start, _end_of(connection))
        if not connection.left_unread(exact=connection.complete and connection.type == STREAM and not lost):
            key = _key(
                connection.path, connection.client.comm, connection.server.comm, Kind.CLEAN, pair=connection.pair
            )
            if self._is_wanted is None or self._is_wanted(ended_well(self._tell(connection), self._known.placed)):
                self.statistics.count(key, operations=connection.operations)
            return None
        story = self._tell(connection)
        hangup = story.hangup
        alert = self._alert(judge_latent(story, lost=lost), story, hangup.when if hangup else 0, None)
        if not self._wants(alert):
            return None
        is_alert = self._is_alert(alert.verdict)
        self.statistics.count(alert.key, is_alert=is_alert, operations=story.operations)
        return alert if is_alert else None

    def _suffered(self, suffered: Suffered) -> Alert | None:
        aftermath = suffered.aftermath
        connection, failed = aftermath.connection, aftermath.failed
        if not self._selects(connection):
            return None
        story = self._tell(connection, failed, aftermath.number)
        failure = Failure(
            aftermath.endpoint.role,
            failed,
            aftermath.symptom,
            aftermath.exchange,
            tuple(aftermath.operations),
            aftermath.reconnect,
        )
        counted = self._counted.get(connection)
        verdict = judge_failure(
            story,
            failure,
            lost=self._lost_during(story.start, failed.end),
            first=counted.verdict if counted else None,
        )
        alert = self._alert(verdict, story, failed.end, failed)
        if not self._wants(alert):
            return None
        is_alert = self._is_alert(verdict)
        self.statistics.count(
            alert.key,
            symptom=verdict.symptom,
            gap=verdict.figures.gap,
            is_alert=is_alert,
            is_harmless=verdict.consequence.harmless,
            operations=0 if counted else story.operations,
            again=counted is not None,
        )
        if counted is None:
            self._counted[connection] = _Judged(verdict, alert.key, story.operations)
        return alert if is_alert else None

    def _tell(self, connection: Connection, failed: Event | None = None, number: int = 0) -> Story:
        return tell(connection, failed, number, changes=self._known.changes)

    def _connect_failed(self, failure: ConnectFailed) -> Alert | None:
        event, path, operated = failure
        client = process_of(event)
        cgroup = self._cgroup_path(client)
        if not self.selection.matches(
            path, [Participant(client.pid, name, client.uid, cgroup) for name in client.names]
        ):
            return None
        self._tell_operations([operated])
        # A relative path means another file in each folder.
        known = path is not None and path.startswith(("/", "@")) and self._known.listened.had(path, event.end)
        backlog = None if path is None else self._known.backlog(path, event.end)
        verdict = judge_connect(event, path, known=known, backlog=backlog)
        alert = Alert(verdict, event.end, path, self._known.placed(client), None, None, event)
        if not self._wants(alert):
            return None
        is_alert = self._is_alert(verdict)
        self.statistics.count(alert.key, symptom=verdict.symptom, is_alert=is_alert, operations=1, error=-event.result)
        return alert if is_alert else None

    def _take(self, record: bytes) -> None:
        """Take what a record says that is not the kernel's own."""
        fact = unpack_fact(record)
        if isinstance(fact, ProcessFact | SocketFact):
            self._known.take(fact)
        elif isinstance(fact, CountsFact):
            self._count_ended(fact.row)
        elif isinstance(fact, LostFact):
            self._lost[fact.cause] = fact
        elif fact is not None:
            if self._runs.is_another(fact):
                self._on_run_end()
                self._forget()
            self.host = fact
            self.snaplen = max(self.snaplen, fact.snaplen)
            self.clocks.take(fact)
            self.recording = fact.recording

    def _forget(self) -> None:
        """Forget what held in the run that was read; what is counted goes on."""
        self.recorded.begin_run()
        self._let_go()
        self._lost_before.update({cause: lost.total for cause, lost in self._lost.items()})
        self._lost.clear()
        self.clocks.forget()

    def _let_go(self) -> None:
        """Forget what is open and what is known: of what came between nothing can be read."""
        self._endpoints.let_go()
        self._places.let_go()
        self._known.forget()

    def _take_all(self, records: Iterable[bytes]) -> None:
        for record in records:
            self._take(record)

    def _take_counts(self) -> None:
        """Take over what has been counted till now. Any thread may ask."""
        if self._source is not None:
            self._take_all(self._source.counts())

    def _count_ended(self, row: Counted) -> None:
        selection = self._selection_of_names if self._file else self._selection_of_paths
        is_known = self._are_counts_selected
        if not row.ready:
            # Between whom these were is not known.
            are_named = selection.comms or selection.ignored_comms or selection.selects_paths
            is_known = is_known and not are_named and self._is_wanted is None
            key = Key(OTHER, OTHER, OTHER, Kind.CLEAN)
        else:
            client, server = (escape_comm(name) or UNKNOWN for name in (row.client, row.server))
            path = escape_socket_path(row.path[: row.path_length])
            pair = bool(row.pair)
            if path is not None:
                self._known.listened.add(path, row.ready)
            elif not pair:
                # Nobody saw how it began, and the kernel has taken the wrong end for the server's: the right one has an
                # address (unix_stream_connect()), but of a socketpair neither.
                older = self._known.older_between(client, server)
                if older is not None:
                    client, server, path = older
                    pair = path is None
            if not (row.connections or row.operations):
                # Of nobody who is selected.
                return
            if not selection.matches(path, [Participant(0, client), Participant(0, server)]):
                return
            kind = Kind.LATENT if row.latent else Kind.CLEAN
            if self._is_counted_wanted is not None and not self._is_counted_wanted(
                counted(path, client, server, kind.label)
            ):
                return
            key = Key(client, server, path or (SOCKETPAIR if pair else UNKNOWN), kind)
        if is_known:
            self.statistics.count_ended(key, row.connections, row.operations)
        else:
            self.statistics.leave_out(row.connections)

    @property
    def _are_counts_selected(self) -> bool:
        """Whether what was counted is of the selected alone: of counts only the kernel knows whose they are."""
        if self._is_wanted is not None and self._is_counted_wanted is None:
            return False
        wanted, watched = self.selection, self.host
        if watched is None:
            return not (wanted.pids or wanted.uids or wanted.cgroups)
        return (
            (not wanted.pids or (bool(watched.pids) and wanted.pids.issuperset(watched.pids)))
            and (not wanted.uids or (bool(watched.uids) and wanted.uids.issuperset(watched.uids)))
            and (not wanted.cgroups or (bool(watched.cgroups) and all(map(wanted.matches_cgroup, watched.cgroups))))
        )

    def _wants(self, alert: Alert) -> bool:
        """Whether an alert, or what would be one, is asked for."""
        return self._is_wanted is None or self._is_wanted(judged(alert, self._known.placed))

    def find_cgroup(self, cgroup_id: int, pid: int, comm: str) -> Cgroup | None:
        """Return the cgroup of a process, by its id, 0: not known, or else by the process; None: it is not known."""
        placed = self._known.placed(Process(pid, comm, cgroup_id=cgroup_id))
        return placed.cgroup if placed is not None else None

    def _is_alert(self, verdict: Verdict) -> bool:
        kind = verdict.kind
        if kind is Kind.LATENT:
            # Asked for by itself, beside the other verdicts that are.
            return self.latent
        if self.verdicts and kind not in self.verdicts:
            return False
        return kind.is_alert and (self.harmless or not verdict.consequence.harmless)

    def _alert(self, verdict: Verdict, story: Story, when: int, failed: Event | None) -> Alert:
        return Alert(
            verdict,
            when,
            story.path,
            self._known.placed(verdict.client),
            self._known.placed(verdict.server),
            story,
            failed,
        )

    def _lost_during(self, since: int, until: int) -> int:
        """Return how many records were lost in a time, in ns of CLOCK_MONOTONIC."""
        return sum(
            period.count
            for lost in self._lost.values()
            for period in lost.periods
            if period.since <= until and period.until >= since
        )

    def _selects(self, connection: Connection) -> bool:
        # The kernel has seen all that have used it, and selects by the same.
        is_known = self._file is not None or not (connection.client.users_lost or connection.server.users_lost)
        selection = self.selection if is_known else self._selection_of_paths
        if selection.selects_all:
            return True
        return selection.matches(
            connection.path,
            [
                participant
                for end in (connection.client, connection.server)
                for participant in end.participants(self._cgroup_path)
            ],
        )

    def _cgroup_path(self, process: Process) -> str | None:
        """Return the path of a process's cgroup, or GONE_CGROUP; None also where nobody selects by it."""
        if not self.selection.cgroups:
            return None
        placed = self._known.placed(process)
        if placed is None or placed.cgroup is None:
            # The root is never gone, whoever was in it.
            return {0: None, ROOT: "/"}.get(process.cgroup_id, GONE_CGROUP)
        return placed.cgroup.path

    def _selects_place(self, path: str | None, users: Collection[Process]) -> bool:
        return self.selection.matches(
            path,
            [Participant(user.pid, name, user.uid, self._cgroup_path(user)) for user in users for name in user.names],
        )

    @property
    def _ended(self) -> bool:
        """Whether nothing more will be recorded."""
        return self._live is None or self._stopped


def _end_of(connection: Connection) -> int:
    return max((end.release.end for end in (connection.client, connection.server) if end.release), default=0)


def _key(path: str | None, client: str, server: str, kind: Kind, *, pair: bool) -> Key:
    return Key(client, server, path or (SOCKETPAIR if pair else UNKNOWN), kind)
