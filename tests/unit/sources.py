"""Sources of records for a tracer, and what stands in the place of this host for a live source."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from hangup.tracer.host.cgroups import Cgroups
from hangup.tracer.host.clocks import HostClocks
from hangup.tracer.host.inventory import Inventory, Listeners
from hangup.tracer.kernel.live import Host, LiveSource
from hangup.tracer.kernel.probes import Probes
from hangup.tracer.kernel.ring import RingFill
from hangup.tracer.record.facts import HostFact, LostFact, LostPeriod, pack_fact
from hangup.tracer.record.layout import Counted, Loss
from hangup.tracer.selection import Selection

NOWHERE = Path("/nowhere")


def lost_records(periods: Iterable[LostPeriod] = (), totals: Mapping[Loss, int] | None = None) -> list[bytes]:
    """Return the records that say what was lost; without totals as much as in these periods."""
    known = list(periods)
    found = {cause: sum(each.count for each in known if each.cause == cause) for cause in Loss} | dict(totals or {})
    return [
        pack_fact(LostFact(0, cause, total, tuple(each for each in known if each.cause == cause)))
        for cause, total in found.items()
        if total
    ]


def host_record(*, recording: bool = False, pids: tuple[int, ...] = ()) -> bytes:
    """Return the record of a host that is watched so."""
    return pack_fact(HostFact(0, 0, 0, 0, probes="fentry", recording=recording, pids=pids))


class Records:
    """Records that are there already, in the batches given."""

    def __init__(self, *batches: Iterable[bytes]) -> None:
        self._batches = [list(batch) for batch in batches]

    def opening(self) -> Sequence[bytes]:
        """Return nothing: what there is comes by and by."""
        return ()

    def read(self, timeout: float) -> list[bytes]:
        """Return the next batch."""
        assert timeout >= 0
        return self._batches.pop(0) if self._batches else []

    @property
    def drained(self) -> bool:
        """Whether the last batch has been read."""
        return not self._batches

    def counts(self) -> Sequence[bytes]:
        """Return that nothing is counted elsewhere."""
        return ()

    def losses(self) -> Sequence[bytes]:
        """Return nothing: what was lost is among the records."""
        return ()


class FakeProbes:
    """In place of the attached probes: they have recorded these, in the batches given."""

    flavour = "fentry"
    attached = ("unix_accept",)
    snaplen = 0
    selection = Selection()

    def __init__(self, *batches: Iterable[bytes], lost: Sequence[LostPeriod] = ()) -> None:
        self.batches = [list(batch) for batch in batches]
        self.lost = list(lost)
        self.rows: Sequence[Counted] = ()
        self.closed = False

    def read(self, timeout: float) -> list[bytes]:
        """Return the next batch."""
        assert timeout >= 0
        return self.batches.pop(0) if self.batches else []

    @property
    def drained(self) -> bool:
        """Whether the last batch has been read."""
        return not self.batches

    def counted(self) -> Sequence[Counted]:
        """Return how many connections have ended well."""
        return list(self.rows)

    def open_endpoints(self) -> int:
        """Return that no endpoint is open."""
        return 0

    def losses(self) -> dict[Loss, int]:
        """Return what was lost till now."""
        return {cause: sum(each.count for each in self.lost if each.cause == cause) for cause in Loss}

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when that was."""
        return list(self.lost)

    @property
    def ring(self) -> RingFill:
        """Nothing has ever waited there."""
        return RingFill(0, 4096, 0)

    def wake_by(self, descriptor: int) -> None:
        """Nobody waits."""

    def detach(self) -> None:
        """Nothing is attached."""

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def no_host(proc: Path = NOWHERE) -> Host:
    """Return a host of which nothing is known but what is below this folder."""
    return Host(
        proc, Cgroups(proc=proc, find=lambda _number: None), Listeners(dict, proc), HostClocks(), time.monotonic_ns
    )


def live(
    probes: FakeProbes,
    inventory: Inventory | None = None,
    *,
    recording: bool = False,
    selection: Selection | None = None,
    host: Host | None = None,
) -> LiveSource:
    """Return the live source of these probes, on a host of which nothing is known or on this one."""
    return LiveSource(cast(Probes, probes), inventory, recording=recording, selection=selection, host=host or no_host())
