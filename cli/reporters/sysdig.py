"""Operations as sysdig prints system calls: a line where one begins and one where it ends, in its layout.

`number time cpu comm (tid) direction type arguments`: the format of sysdig without -p, whose arguments are named and
ordered as in its table of events (driver/event_table.c of falcosecurity/libs), so that lines of egrep and awk that were
written for it go on working. What hangup does not record stands there as `<NA>`, or with nothing behind it (`data=`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from hangup.cli.reporters.times import Zero, times
from hangup.tracer.clocks import Clocks
from hangup.tracer.escape import dotted
from hangup.tracer.filter.fields import fd_name
from hangup.tracer.names import error_name, shutdown_name
from hangup.tracer.record.layout import STREAM, Event, Operation, RecordType, payload_of, unpack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.identity import Change, change_of
from hangup.tracer.story.operation import descriptor_of, operation_name, syscall_of
from hangup.tracer.story.process import process_of

_CONNECT, _ACCEPT, _SOCKETPAIR = int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR)
_IDENTITY = int(RecordType.IDENTITY)
_READ, _WRITE, _SHUTDOWN = int(Operation.READ), int(Operation.WRITE), int(Operation.SHUTDOWN)

LOOK_AHEAD = 1_000_000_000
"""So long a line is held back, in ns, for others that begin before it and end later."""

MOST_HELD = 65_536
"""So many lines are held back at most."""

# Calls whose arguments are not those of the others of their family.
_VECTOR_READS = ("readv", "preadv", "preadv2")
_MESSAGE_READS = ("recvmsg", "recvmmsg")
_WRITES_TO = {"sendto": " tuple=NULL", "sendmsg": " tuple=NULL", "sendmmsg": " tuple=NULL"}

_Held = tuple[int, int, str]
"""When, the how-many-th (what is equal else stays in order), and what stands behind the time."""


def type_of(event: Event) -> str:
    """Return what sysdig calls the event: the system call, or the operation's family if that is not known."""
    return syscall_of(event) or operation_name(event)


def arguments(event: Event, place: Place, payload: bytes = b"") -> tuple[str, str]:
    """Return what a call was given, and what came of it, each as sysdig prints it.

    payload: the first bytes that it read or wrote, as far as they were recorded.
    """
    name = fd_name(event.sock, event.peer, place.path)
    operation, result = event.operation, event.result
    descriptor = descriptor_of(event)
    # Before it is connected there is nothing to name.
    fd = f"fd={-1 if descriptor is None else descriptor}(<u>{'' if operation == _CONNECT else name})"
    res = f"res={result}({error_name(-result)})" if result < 0 else f"res={result}"
    if operation == _READ:
        return _read_arguments(event, fd, res, f"data={dotted(payload)}")
    if operation == _WRITE:
        return f"{fd} size={event.size}{_WRITES_TO.get(type_of(event), '')}", f"{res} data={dotted(payload)}"
    if operation == _CONNECT:
        return fd, f"{res} tuple={name}"
    if operation == _ACCEPT:
        flags = "flags=0" if type_of(event) == "accept4" else ""
        return flags, f"{fd} tuple={name} queuepct=<NA> queuelen=<NA> queuemax=<NA>"
    if operation == _SOCKETPAIR:
        made = f"domain=1(AF_LOCAL) type={event.type or STREAM} proto=0"
        return made, f"{res} fd1={fd.removeprefix('fd=')} source={event.sock:x} peer={event.peer:x}"
    if operation == _SHUTDOWN:
        return f"{fd} how={event.size}({shutdown_name(event.size)})", res
    return fd, res


def _read_arguments(event: Event, fd: str, res: str, data: str) -> tuple[str, str]:
    name = type_of(event)
    if name in _VECTOR_READS:
        return fd, f"{res} size={event.size} {data}"
    if name in _MESSAGE_READS:
        return fd, f"{res} size={max(event.result, 0)} {data} tuple=NULL"
    return f"{fd} size={event.size}", f"{res} {data} tuple=NULL" if name == "recvfrom" else f"{res} {data}"


def change_arguments(change: Change) -> tuple[str, str]:
    """Return the same of a change of who somebody is; what a call was given is known by what came of it."""
    after, call = change.after, change.call
    if change.file is not None:
        process = change.process
        done = (
            f"res=0 exe={change.file} args= tid={process.tid} pid={process.pid} comm={process.thread} uid={after.uid}"
        )
        return f"filename={change.file}", done
    if call == "capset":
        return "", f"res=0 cap_inheritable=<NA> cap_permitted=<NA> cap_effective={after.capabilities:x}"
    given = {
        "setuid": f"uid={after.euid}",
        "setgid": f"gid={after.egid}",
        "setreuid": f"ruid={after.uid} euid={after.euid}",
        "setregid": f"rgid={after.gid} egid={after.egid}",
        "setresuid": f"ruid={after.uid} euid={after.euid} suid={after.suid}",
        "setresgid": f"rgid={after.gid} egid={after.egid} sgid={after.sgid}",
    }
    return given.get(call, ""), "res=0"


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
        for record, brief, place in operated:
            event = unpack(record)
            process = process_of(event)
            if brief[0] == _IDENTITY:
                before, after = change_arguments(change_of(record))
            else:
                before, after = arguments(event, place, payload_of(record))
            who, name = f"{event.cpu} {process.comm} ({process.tid or process.pid})", type_of(event)
            self._hold(event.start, f"{who} > {name} {before}")
            self._hold(event.end, f"{who} < {name} {after}")
            self._newest = max(self._newest, event.end)
        return list(self._ready(self._newest - LOOK_AHEAD, clocks))

    def ready(self, now: int, clocks: Clocks) -> list[str]:
        """Return the lines that have been held back for long enough; now: in ns of CLOCK_MONOTONIC."""
        return list(self._ready(now - LOOK_AHEAD, clocks))

    def rest(self, clocks: Clocks) -> list[str]:
        """Return all lines that are held back: nothing more comes."""
        return list(self._ready(None, clocks))

    def end_run(self, clocks: Clocks) -> list[str]:
        """Return the same: what comes is of another run, whose times are of another clock."""
        lines = self.rest(clocks)
        self._newest = self._printed_until = 0
        return lines

    def _hold(self, when: int, text: str) -> None:
        self._taken += 1
        heapq.heappush(self._held, (when, self._taken, text))

    def _ready(self, until: int | None, clocks: Clocks) -> Iterator[str]:
        held = self._held
        while held and (until is None or held[0][0] <= until or len(held) > MOST_HELD):
            when, _, text = heapq.heappop(held)
            if when < self._printed_until:
                self.late += 1
            self._printed_until = max(self._printed_until, when)
            self._number += 1
            yield f"{self._number} {self._show_time(clocks, when).strip()} {text}".rstrip()
