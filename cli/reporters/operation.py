"""One operation in words: a cell of an alert's timeline, and the line of `hangup trace`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hangup.cli.clock import local_second
from hangup.cli.reporters.kept_text import CallKey, KeptText, TaskKey, event_of_call, event_of_task
from hangup.cli.terminal import UNFOLDED_WIDTH
from hangup.tracer.clocks import Clocks
from hangup.tracer.names import error_name, shutdown_name
from hangup.tracer.record.layout import MSG_PEEK, Event, Operation, unpack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.operation import address, exit_of, operation_name, syscall_of
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.units import size

# Plain numbers: each operation is compared with them.
_BEGINNINGS = (int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR))

_READ, _WRITE = int(Operation.READ), int(Operation.WRITE)
_SHUTDOWN, _RELEASE = int(Operation.SHUTDOWN), int(Operation.RELEASE)

OperationRows = Callable[[Iterable[Operated], Clocks, int], list[str]]
"""Given operations, what makes wall-clock times of the records', and the terminal's width, returns their lines.

A peer or a path that does not fit is left out, but never the path where a connection begins.
"""

# Of these system calls the name alone does not say whether they read, write, or what they release.
_VAGUE = ("splice", "io_uring", "kernel", "32-bit call", "call ")
_RELEASING = ("close", "close_range", "dup2", "dup3", "execve", "exit", "exit_group")


def operation_text(event: Event) -> str:
    """Return the system call, what was asked of it and what came of it: "writev 4096 of 300000", "read: EAGAIN".

    Where the system call is not known, the operation's family takes its place: "write 8".
    """
    return _with_outcome(_call(event), event.operation, event.size, event.result, event.message_flags)


def _with_outcome(name: str, operation: int, asked: int, result: int, message_flags: int) -> str:
    if result >= 0:
        if operation == _WRITE:
            return f"{name} {result}" if result == asked else f"{name} {result} of {asked}"
        if operation == _READ:
            end = " (end)" if result == 0 and asked else ""
            peek = " (peek)" if message_flags & MSG_PEEK else ""
            return f"{name} {result}{end}{peek}"
    if operation == _WRITE:
        name = f"{name} {asked}"
    elif operation == _SHUTDOWN:
        name = f"{name} {shutdown_name(asked)}"
    return f"{name}: {error_name(-result)}" if result < 0 else name


def operation_rows(*, addresses: bool = False) -> OperationRows:
    """Return what makes trace's lines: time, process, operation, the connection's number, the peer's name, the path.

    addresses: whether to show the kernel's, too.
    """
    calls = KeptText[CallKey](lambda key: _call_and_descriptor(event_of_call(key)))
    outcomes = KeptText[tuple[CallKey, int, int, int]](
        lambda key: f"{_with_outcome(calls[key[0]], key[0][1], *key[1:]):<14} "
    )
    processes = KeptText[TaskKey](lambda key: f"{_process_text(process_of(event_of_task(key))):<16}")
    places = KeptText[Place](_place_text)

    def rows(operations: Iterable[Operated], clocks: Clocks, width: int) -> list[str]:
        lines = []
        fits = width >= UNFOLDED_WIDTH and not addresses
        second_text, begin, until = "", 0, 0
        for record, brief, place in operations:
            _, flags, end, _, _, sock, peer, asked, result, task, message_flags, call, operation, names = brief
            if operation == _RELEASE:
                what = f"{_release_text(unpack(record)):<14} "
            else:
                what = outcomes[(flags, operation, call), asked, result, message_flags]
            rest = end - begin
            if not 0 <= rest < until:
                second_text, begin, until = local_second(clocks, end)
                rest = end - begin
            line = f"{second_text}.{rest // 1000:06d} {processes[task, names]} {what}"
            if fits:
                line += places[place]
            else:
                line += _number_text(place)
                if addresses:
                    line += f" {address(sock)}->{address(peer) or 'none'}"
                line = _fitted(line, operation, place, width)
            lines.append(line)
        return lines

    return rows


def _place_text(place: Place) -> str:
    # Where it always fits, and there is something before it: no line ends with a blank.
    return _fitted(_number_text(place), _READ, place, UNFOLDED_WIDTH)


def _number_text(place: Place) -> str:
    return "-   " if place.number is None else f"#{place.number:<3}"


def _fitted(line: str, operation: int, place: Place, width: int) -> str:
    """Return a line with as much of where it was as there is room for."""
    path = "(socketpair)" if place.pair else place.path
    # So many operations of one connection stand below each other that the path is only missed at the first.
    begins = operation in _BEGINNINGS
    room = width - (1 + len(path) if begins and path else 0)
    if place.peer_comm:
        peer = f" {place.peer_comm}[{place.peer_pid}]"
        if len(line) + len(peer) <= room:
            line += peer
    if path and (begins or len(line) + 1 + len(path) <= width):
        line += f" {path}"
    return line.rstrip()


def _release_text(event: Event) -> str:
    text = _with_outcome(_call_and_descriptor(event), event.operation, event.size, event.result, event.message_flags)
    return f"{text}, {size(event.unread_bytes)} unread" if event.unread_bytes else text


def _call_and_descriptor(event: Event) -> str:
    return f"{_call(event)}({event.descriptor})" if event.descriptor >= 0 else _call(event)


def _process_text(process: Process) -> str:
    thread = f"/{process.tid}" if process.tid != process.pid else ""
    return f"{process.comm}[{process.pid}{thread}]"


def _call(event: Event) -> str:
    name = syscall_of(event) or operation_name(event)
    if event.operation == _RELEASE:
        status, killed_by = exit_of(event)
        if killed_by:
            return f"killed by {killed_by}"
        if status is not None:
            return f"exit with {status}"
        return name if name in _RELEASING else f"released in {name}"
    return f"{name} ({operation_name(event)})" if name.startswith(_VAGUE) else name
