"""Which run of hangup records are of, where captures are read one behind the other."""

from __future__ import annotations

from hangup.tracer.record.facts import HostFact


class Runs:
    """Tells where another run begins than the one that was read: what was open or known there says nothing of it.

    Also on the same boot, one right after the other: in between sockets were released, and their addresses, inodes and
    pids handed out again, and nobody saw it.
    """

    def __init__(self) -> None:
        """Know of no run yet."""
        self._boot: str | None = None
        # What the run told first of its host; None: that was not read.
        self._first: HostFact | None = None

    def is_another(self, host: HostFact) -> bool:
        """Take what is told of a host; return whether that is of another run than what was told of one before.

        Each file of a run begins with what that told first. A host whose clocks have changed since is of the run that
        goes on.
        """
        first = host if host.is_first else None
        if host.boot == self._boot and first in (None, self._first):
            return False
        is_another = self._boot is not None
        self._boot, self._first = host.boot, first
        return is_another
