"""The pipeline in one object: source -> endpoints -> verdicts -> alerts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from hangup.tracer import preflight
from hangup.tracer.cgroups import Cgroup, Cgroups, read_process_cgroup
from hangup.tracer.connection import Connection, Holder, Process, process_of
from hangup.tracer.endpoints import Concluded, ConnectFailed, Endpoints, Failed, Known, Operated
from hangup.tracer.inventory import Inventory, Socket, snapshot
from hangup.tracer.probes import Flavour, Probes, RingFill
from hangup.tracer.process import ProcessNames, read_inner_pid
from hangup.tracer.record import Event, Loss, operations, unpack_all
from hangup.tracer.selection import Selection
from hangup.tracer.source import FileSource, Source
from hangup.tracer.statistics import Key, Statistics
from hangup.tracer.verdicts import Kind, Verdict, judge_conclusion, judge_connect, judge_failure

# How often a quiet ring buffer is looked at; what goes wrong wakes the reader at once.
POLL_SECONDS = 0.1

UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Alert:
    """A verdict, the story it is of, and the operation that failed.

    The connection goes on living: show it before the next alert is asked for.
    """

    verdict: Verdict
    when: int
    """When it happened, in ns of CLOCK_MONOTONIC."""
    path: str | None
    client: Process | Holder | None
    server: Process | Holder | None
    connection: Connection | None
    """None for a failed connect."""
    failed: Event | None
    """The broken write, reset read or failed connect; None for a latent hang-up."""


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
        selection: Selection | None = None,
        source: Source | None = None,
        latent: bool = False,
        on_operation: Callable[[Operated | ConnectFailed], None] | None = None,
        statistics: Statistics | None = None,
        cgroups: Cgroups | None = None,
    ) -> None:
        """Say what to trace; nothing happens before the context is entered.

        pids: only connections with an end held by one of these (selected in the kernel). probes: "auto", "kprobe" or
        "fentry". selection: only connections it matches (pids is short for one of pids). source: where records come
        from, instead of this host's probes. latent: whether latent hang-ups are alerts too. on_operation: called with
        every operation. statistics: where everything is counted, instead of new ones. cgroups: where the cgroups of a
        given source's events are looked up; without it they are not: a capture's are another host's, or gone.
        """
        self.selection = selection or Selection(frozenset(pids or ()))
        self._wanted_probes = probes
        self._source = source
        self._probes: Probes | None = None
        self.latent = latent
        self._on_operation = on_operation
        self._inventory: Inventory | None = None
        self._names = ProcessNames()
        self._cgroups = Cgroups() if source is None else cgroups
        # How many records had been lost before, and after, those that are being processed were read: what was lost in
        # between may belong to any of their connections.
        self._lost_before = 0
        self._lost = 0
        self._losses: Mapping[Loss, int] = {}
        self._stopped = False
        self.statistics = statistics or Statistics()
        self._endpoints = Endpoints(
            known=self._known,
            name=self._names.comm,
            meet=self._meet,
            losses=lambda: self._lost_before,
            pids=self.selection.pids,
            operations=on_operation is not None,
        )

    def __enter__(self) -> Tracer:
        """Attach the probes, then learn what is open already. Raises HangupError if this host cannot do it."""
        if self._source is None:
            preflight.require()
            self._probes = Probes(flavour=self._wanted_probes, pids=self.selection.pids)
            self._source = cast(Source, self._probes)
            try:
                # After attaching: what is opened in between is seen by both, what is open before by one.
                self._inventory = snapshot()
            except BaseException:
                self._probes.close()
                raise
        self._losses = self._source.losses()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the probes away; statistics and losses can still be asked for."""
        if self._source:
            self._losses = self._source.losses()
        if self._probes:
            self._probes.close()

    @property
    def flavour(self) -> Flavour | None:
        """How the probes are attached, None for a capture."""
        return self._probes.flavour if self._probes else None

    @property
    def functions(self) -> tuple[str, ...]:
        """The kernel functions that are probed, none for a capture."""
        return self._probes.attached if self._probes else ()

    def stop(self) -> None:
        """Take the probes away; what they have recorded can still be read."""
        self._stopped = True
        if self._probes:
            self._probes.detach()

    @property
    def ring(self) -> RingFill | None:
        """How full the ring buffer was when it was last looked at, None for a capture. Any thread may ask."""
        return self._probes.ring if self._probes else None

    @property
    def open_connections(self) -> int:
        """How many connections are open, of those that something was seen of. Any thread may ask."""
        return self._endpoints.open

    def losses(self) -> Losses:
        """Return what was missing, in the kernel and here, when records were last read. Any thread may ask."""
        by_cause = {cause.name.lower(): count for cause, count in self._losses.items()}
        by_cause["connections_evicted"] = self._endpoints.evicted
        by_cause["releases_missed"] = self._endpoints.stale
        if isinstance(self._source, FileSource):
            by_cause["capture_truncated"] = int(self._source.truncated)
        return Losses(by_cause)

    def cgroup(self, event: Event) -> Cgroup | None:
        """Return the cgroup of who did an operation; None if it is not known."""
        return None if self._cgroups is None else self._cgroups.cgroup(event.cgroup, event.pid)

    def alerts(self) -> Iterator[Alert]:
        """Yield alerts as they come: of a capture until its end, of a live host until stop() has been called."""
        while True:
            records = self._read(POLL_SECONDS)
            yield from self._process(records)
            if not records and self._ended:
                return

    def poll(self, timeout: float) -> Iterator[Alert]:
        """Take what is recorded (waiting `timeout` seconds at the longest) and yield the alerts in it."""
        yield from self._process(self._read(timeout))

    def _read(self, timeout: float) -> list[bytes]:
        assert self._source is not None, "enter the context first"
        # Not what was last read: records that came since then may be older than a loss since then.
        self._lost_before = sum(self._source.losses().values())
        records = self._source.read(timeout)
        self._losses = self._source.losses()
        self._lost = sum(self._losses.values())
        self.statistics.read(operations(records))
        return records

    def _process(self, records: list[bytes]) -> Iterator[Alert]:
        for occurrence in self._endpoints.feed(unpack_all(records)):
            alert = None
            if isinstance(occurrence, Concluded):
                alert = self._concluded(occurrence.connection)
            elif isinstance(occurrence, Failed):
                alert = self._failed(occurrence)
            elif isinstance(occurrence, ConnectFailed):
                alert = self._connect_failed(occurrence)
            elif self._on_operation and self._selects(occurrence.endpoint.connection):
                self._on_operation(occurrence)
            if alert is not None:
                yield alert

    def _concluded(self, connection: Connection) -> Alert | None:
        if connection.row:
            self.statistics.add(connection.row, connection.operations - connection.counted)
        if connection.failed or not self._selects(connection):
            return None
        verdict = judge_conclusion(connection, losses=self._lost)
        is_alert = self.latent and verdict.kind is Kind.LATENT
        self.statistics.count(
            _key(connection, verdict.kind),
            operation=None,
            gap=None,
            is_alert=is_alert,
            operations=connection.operations,
        )
        if not is_alert:
            return None
        hangup = connection.hangup
        return self._alert(verdict, connection, hangup.start if hangup else 0, None)

    def _failed(self, failure: Failed) -> Alert | None:
        endpoint, event = failure
        connection = endpoint.connection
        if not self._selects(connection):
            return None
        verdict = judge_failure(endpoint, event, losses=self._lost)
        connection.counted = connection.operations
        connection.row = self.statistics.count(
            _key(connection, verdict.kind),
            operation=event.operation,
            gap=verdict.figures.gap,
            is_alert=verdict.kind.is_alert,
            operations=connection.counted,
        )
        return self._alert(verdict, connection, event.end, event)

    def _connect_failed(self, failure: ConnectFailed) -> Alert | None:
        event, path = failure
        client = process_of(event)
        if not self.selection.matches(path, [(client.pid, client.comm)]):
            return None
        if self._on_operation:
            self._on_operation(failure)
        verdict = judge_connect(event, path)
        key = Key(client.comm, UNKNOWN, path or UNKNOWN, verdict.kind)
        is_alert = verdict.kind.is_alert
        self.statistics.count(key, operation=event.operation, gap=None, is_alert=is_alert, operations=1)
        if not verdict.kind.is_alert:
            return None
        return Alert(verdict, event.end, path, self._placed(client), None, None, event)

    def _alert(self, verdict: Verdict, connection: Connection, when: int, failed: Event | None) -> Alert:
        client, server = connection.client, connection.server
        return Alert(
            verdict,
            when,
            connection.path,
            self._placed(client.process or client.holder),
            self._placed(server.process or server.holder),
            connection,
            failed,
        )

    def _meet(self, event: Event) -> None:
        """Look a process's cgroup up while it is there: when it is asked for, the container may be gone."""
        if self._cgroups is not None:
            self._cgroups.learn(event.cgroup, event.pid)

    def _placed(self, process: Process | Holder | None) -> Process | Holder | None:
        """Return a process with its cgroup, and what else /proc knows of one that was not seen doing anything."""
        if process is None or process.cgroup is not None or self._cgroups is None:
            return process
        if isinstance(process, Holder) and not process.cgroup_id:
            return process._replace(cgroup=read_process_cgroup(process.pid), inner_pid=read_inner_pid(process.pid))
        return process._replace(cgroup=self._cgroups.cgroup(process.cgroup_id, process.pid))

    def _selects(self, connection: Connection) -> bool:
        selection = self.selection
        if selection.selects_all:
            return True
        return selection.matches(connection.path, [*connection.client.processes(), *connection.server.processes()])

    @property
    def _ended(self) -> bool:
        """Whether nothing more will be recorded."""
        return self._probes is None or self._stopped

    def _known(self, inode_number: int) -> Known | None:
        """Look a connection up among those that were open when tracing began."""
        connection = self._inventory.connection(inode_number) if self._inventory else None
        if connection is None:
            return None
        is_server = connection.server is not None and connection.server.inode == inode_number
        this, other = connection.client, connection.server
        if is_server:
            this, other = other, this
        return Known(
            path=connection.path,
            pair=connection.path is None,
            is_server=is_server,
            holder=_holder(this),
            other_inode_number=other.inode if other else 0,
            other_holder=_holder(other),
        )


def _holder(socket: Socket | None) -> Holder | None:
    if socket is None or not socket.holders:
        return None
    holder = socket.holders[0]
    return Holder(holder.pid, holder.comm, holder.inner_pid, cgroup=holder.cgroup)


def _key(connection: Connection, kind: Kind) -> Key:
    path = connection.path or ("(socketpair)" if connection.pair else UNKNOWN)
    return Key(connection.client.comm, connection.server.comm, path, kind)
