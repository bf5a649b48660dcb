"""What still holds of what was told, to be told again where a file begins, so that each file stands on its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import chain

from hangup.tracer.record.facts import CountsFact, HostFact, LostFact, ProcessFact, SocketFact, pack_fact, unpack_fact
from hangup.tracer.record.layout import (
    OPERATION_AT,
    OPERATION_TYPE,
    TYPE,
    HistoryState,
    Operation,
    RecordType,
    SocketFlag,
    origin_of,
    type_of,
    unpack_history,
    unpack_identity,
)
from hangup.tracer.record.runs import Runs

MOST = 4096
"""Of processes, of what they have become, of sockets and of paths so many are told again at most: those that were told
last."""

_OPERATION, _HISTORY, _IDENTITY = int(RecordType.OPERATION), int(RecordType.HISTORY), int(RecordType.IDENTITY)
_RELEASE = int(Operation.RELEASE)


class Standing:
    """What was told of the host, and holds till now."""

    def __init__(self, most: int = MOST) -> None:
        """Know nothing; most: how many processes, sockets and paths are remembered."""
        self._most = most
        self._runs = Runs()
        # What was told of the host first, by which its run is known, and last.
        self._begun: bytes | None = None
        self._host: bytes | None = None
        # Records by what they are about, those that were told last at the end.
        self._processes: OrderedDict[object, bytes] = OrderedDict()
        self._identities: OrderedDict[object, bytes] = OrderedDict()
        self._sockets: OrderedDict[object, bytes] = OrderedDict()
        self._paths: OrderedDict[object, bytes] = OrderedDict()
        self._lost: dict[object, bytes] = {}

    def learn(self, records: Iterable[bytes]) -> None:
        """Take what some records say."""
        # Most are operations that end nothing: of these this is all.
        for record in [data for data in records if data[TYPE] != OPERATION_TYPE or data[OPERATION_AT] == _RELEASE]:
            kind = type_of(record)
            if kind == _OPERATION:
                self._sockets.pop(origin_of(record)[2], None)
            elif kind == _HISTORY:
                handed = unpack_history(record)
                for end in (handed.one, handed.other):
                    if end is not None and end.state & HistoryState.RELEASED:
                        self._sockets.pop(end.inode_number, None)
            elif kind == _IDENTITY:
                change = unpack_identity(record)
                # Not of the many programs that are executed by whoever stays the same.
                if change.before != change.after:
                    self._keep(self._identities, change.event.pid, record)
            else:
                self._learn_fact(record)

    def records(self) -> list[bytes]:
        """Return what is to be told again, in an order in which it can be understood."""
        host = [record for record in dict.fromkeys((self._begun, self._host)) if record is not None]
        told = (self._processes, self._identities, self._sockets, self._paths, self._lost)
        return [*host, *chain.from_iterable(facts.values() for facts in told)]

    def _learn_fact(self, record: bytes) -> None:
        fact = unpack_fact(record)
        if isinstance(fact, HostFact):
            if self._runs.is_another(fact):
                self._forget()
            self._begun = self._begun or record
            self._host = record
        elif isinstance(fact, ProcessFact):
            self._keep(self._processes, fact.pid, record)
        elif isinstance(fact, SocketFact):
            if fact.flags & SocketFlag.LISTENER:
                self._keep(self._paths, fact.path, record)
            else:
                self._keep(self._sockets, fact.inode_number, record)
        elif isinstance(fact, LostFact):
            self._lost[fact.cause] = record
        elif isinstance(fact, CountsFact) and fact.row.ready and fact.row.path_length:
            # What it counted stands in the file before; that somebody listened there goes on to be so.
            listened = fact._replace(row=fact.row._replace(connections=0, operations=0))
            self._keep(self._paths, fact.row.path, pack_fact(listened))

    def _forget(self) -> None:
        self._begun = self._host = None
        for told in (self._processes, self._identities, self._sockets, self._paths, self._lost):
            told.clear()

    def _keep(self, facts: OrderedDict[object, bytes], about: object, record: bytes) -> None:
        facts[about] = record
        facts.move_to_end(about)
        if len(facts) > self._most:
            facts.popitem(last=False)
