"""Operations as sysdig prints system calls: a line where one begins and one where it ends, in its layout.

`number time cpu comm (tid) direction type arguments`: the format of sysdig without -p, whose arguments are named and
ordered as in its table of events (driver/event_table.c of falcosecurity/libs), so that lines of egrep and awk that were
written for it go on working. What hangup does not record stands there with nothing behind it (`data=`) or as `<NA>`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from hangup.cli.reporters.times import Zero, times
from hangup.tracer.clocks import Clocks
from hangup.tracer.filter.fields import fd_name
from hangup.tracer.names import error_name, shutdown_name
from hangup.tracer.record.layout import STREAM, Event, Operation, unpack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.operation import operation_name, syscall_of
from hangup.tracer.story.process import process_of

_CONNECT, _ACCEPT, _SOCKETPAIR = int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR)
_READ, _WRITE, _SHUTDOWN = int(Operation.READ), int(Operation.WRITE), int(Operation.SHUTDOWN)

LOOK_AHEAD = 1_000_000_000
"""So long a line is held back, in ns, for others that begin before it and end later."""

MOST_HELD = 65_536
"""So many lines are held back at most."""

# Where the arguments of a call of a family are not those of most: (before, after), in place of what stands in braces.
_READS = {
    "readv": ("fd={fd}", "res={res} size={size} data="),
    "preadv": ("fd={fd}", "res={res} size={size} data="),
    "recvfrom": ("fd={fd} size={size}", "res={res} data= tuple=NULL"),
    "recvmsg": ("fd={fd}", "res={res} size={done} data= tuple=NULL"),
    "recvmmsg": ("fd={fd}", "res={res} size={done} data= tuple=NULL"),
}
_WRITES = {
    "sendto": ("fd={fd} size={size} tuple=NULL", "res={res} data="),
    "sendmsg": ("fd={fd} size={size} tuple=NULL", "res={res} data="),
    "sendmmsg": ("fd={fd} size={size} tuple=NULL", "res={res} data="),
}
_ACCEPTED = "fd={fd} tuple={tuple} queuepct=<NA> queuelen=<NA> queuemax=<NA>"

_Held = tuple[int, int, str, Event, Place]
"""When, the how-many-th (what is equal else stays in order), which way, and the operation."""


def type_of(event: Event) -> str:
    """Return what sysdig calls the event: the system call, or the operation's family if that is not known."""
    return syscall_of(event) or operation_name(event)


def arguments(event: Event, place: Place) -> tuple[str, str]:
    """Return what a call was given, and what came of it, each as sysdig prints it."""
    before, after = _templates(event)
    name = fd_name(event.sock, event.peer, place.path)
    # Before it is connected there is nothing to name.
    named = "" if event.operation == _CONNECT else name
    result = event.result
    filled = {
        "fd": f"{event.descriptor}(<u>{named})",
        "size": event.size,
        "done": max(result, 0),
        "res": f"{result}({error_name(-result)})" if result < 0 else str(result),
        "tuple": name,
        "how": f"{event.size}({shutdown_name(event.size)})",
        "type": event.type or STREAM,
        "source": f"{event.sock:x}",
        "peer": f"{event.peer:x}",
    }
    return before.format_map(filled), after.format_map(filled)


def _templates(event: Event) -> tuple[str, str]:
    operation, name = event.operation, type_of(event)
    if operation == _READ:
        return _READS.get(name, ("fd={fd} size={size}", "res={res} data="))
    if operation == _WRITE:
        return _WRITES.get(name, ("fd={fd} size={size}", "res={res} data="))
    if operation == _CONNECT:
        return "fd={fd}", "res={res} tuple={tuple}"
    if operation == _ACCEPT:
        return "flags=0" if name == "accept4" else "", _ACCEPTED
    if operation == _SOCKETPAIR:
        return "domain=1(AF_LOCAL) type={type} proto=0", "res={res} fd1={fd} source={source} peer={peer}"
    if operation == _SHUTDOWN:
        return "fd={fd} how={how}", "res={res}"
    return "fd={fd}", "res={res}"


class SysdigLines:
    """Makes the lines, in the order of their times as far as a bounded look ahead allows."""

    def __init__(self, *, zero: Zero = "local") -> None:
        """zero: what times count from."""
        self._show_time = times(zero, 9)
        self._held: list[_Held] = []
        self._taken = 0
        self._number = 0
        self._newest = 0
        self._printed_until = 0
        self.late = 0
        """How many lines stand after others that came later: these calls lasted longer than a second."""

    def lines(self, operated: Iterable[Operated], clocks: Clocks) -> list[str]:
        """Take operations; return the lines before which nothing more is waited for."""
        for record, _, place in operated:
            event = unpack(record)
            self._hold(event.start, ">", event, place)
            self._hold(event.end, "<", event, place)
            self._newest = max(self._newest, event.end)
        return list(self._ready(self._newest - LOOK_AHEAD, clocks))

    def ready(self, now: int, clocks: Clocks) -> list[str]:
        """Return the lines that have been held back for long enough; now: in ns of CLOCK_MONOTONIC."""
        return list(self._ready(now - LOOK_AHEAD, clocks))

    def rest(self, clocks: Clocks) -> list[str]:
        """Return all lines that are held back: nothing more comes."""
        return list(self._ready(None, clocks))

    def _hold(self, when: int, direction: str, event: Event, place: Place) -> None:
        self._taken += 1
        heapq.heappush(self._held, (when, self._taken, direction, event, place))

    def _ready(self, until: int | None, clocks: Clocks) -> Iterator[str]:
        held = self._held
        while held and (until is None or held[0][0] <= until or len(held) > MOST_HELD):
            when, _, direction, event, place = heapq.heappop(held)
            if when < self._printed_until:
                self.late += 1
            self._printed_until = max(self._printed_until, when)
            yield self._line(when, direction, event, place, clocks)

    def _line(self, when: int, direction: str, event: Event, place: Place, clocks: Clocks) -> str:
        self._number += 1
        process = process_of(event)
        text = arguments(event, place)[direction == "<"]
        return (
            f"{self._number} {self._show_time(clocks, when).strip()} {event.cpu} {process.comm} "
            f"({process.tid or process.pid}) {direction} {type_of(event)} {text}"
        ).rstrip()
