"""One operation in words: a cell of an alert's timeline, and the line of `hangup trace`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from hangup.cli.reporters.identity import change_text
from hangup.cli.reporters.kept_text import KeptText
from hangup.cli.reporters.times import Zero, times
from hangup.cli.terminal import UNFOLDED_WIDTH
from hangup.tracer.clocks import Clocks
from hangup.tracer.escape import escape
from hangup.tracer.names import error_name, shutdown_name
from hangup.tracer.record.layout import MSG_PEEK, Event, Operation, payload_of, shown_of
from hangup.tracer.story.operation import address, descriptor_of, exit_of, operation_name, syscall_of
from hangup.tracer.story.places import Changed, Placed, Where
from hangup.tracer.story.process import Process
from hangup.tracer.units import size

# Plain numbers: each operation is compared with them.
_BEGINNINGS = (int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR))

_READ, _WRITE = int(Operation.READ), int(Operation.WRITE)
_SHUTDOWN, _RELEASE = int(Operation.SHUTDOWN), int(Operation.RELEASE)

OperationRows = Callable[[Iterable[Placed], Clocks, int], list[str]]
"""Given operations, what makes wall-clock times of the records', and the terminal's width, returns their lines.

A peer or a path that does not fit is left out, but never the path where a connection begins.
"""

# `size` and `result`, with which `size-unread_bytes` of `Glance` begins.
_AMOUNTS = struct.Struct("=qq")

# A character of UTF-8 has so many bytes at most.
_LONGEST_CHARACTER = 4

# Before what an operation carried, which has a line of its own.
_DATA = "    data "

# Of these system calls the name alone does not say whether they read, write, or what they release.
_VAGUE = ("splice", "io_uring", "kernel", "32-bit call", "call ")
_RELEASING = ("close", "close_range", "dup2", "dup3", "execve", "exit", "exit_group")


def operation_text(event: Event) -> str:
    """Return the system call, what was asked of it and what came of it: "writev 4096 of 300000", "read: EAGAIN".

    Where the system call is not known, the operation's family takes its place: "write 8".
    """
    return _with_outcome(_call(event), event)


def _with_outcome(name: str, event: Event) -> str:
    operation, asked, result = event.operation, event.size, event.result
    if result >= 0:
        if operation == _WRITE:
            return f"{name} {result}" if result == asked else f"{name} {result} of {asked}"
        if operation == _READ:
            end = " (end)" if result == 0 and asked else ""
            peek = " (peek)" if event.message_flags & MSG_PEEK else ""
            return f"{name} {result}{end}{peek}"
    if operation == _WRITE:
        name = f"{name} {asked}"
    elif operation == _SHUTDOWN:
        name = f"{name} {shutdown_name(asked)}"
    return f"{name}: {error_name(-result)}" if result < 0 else name


def operation_rows(*, addresses: bool = False, zero: Zero = "local", payload: bool = True) -> OperationRows:
    """Return what makes trace's lines: time, process, operation, the connection's number, the peer's name, the path.

    What an operation carried stands on a line below it, where that was recorded.

    addresses: whether to show the kernel's, too. zero: what times count from. payload: whether some may be recorded.
    """
    show_time = times(zero)
    outcomes = KeptText[tuple[int, bytes, bytes, int]](lambda key: f"{_outcome_text(*key):<14} ")

    def rows(operations: Iterable[Placed], clocks: Clocks, width: int) -> list[str]:
        lines = []
        fits = width >= UNFOLDED_WIDTH and not addresses
        for (kind, when, sock, peer, amounts, _, call, operation, _), where, record in operations:
            if not operation:
                lines.append(f"{show_time(clocks, when)} {_changed_text(where)}")
                continue
            shown = where.shown
            if shown is None:
                shown = where.shown = f"{process_text(where.process):<16}", _place_text(where)
            place = shown[1] if fits else _number_text(where)
            line = f"{show_time(clocks, when)} {shown[0]} {outcomes[kind, amounts, call, operation]}{place}"
            if not fits:
                if addresses:
                    line += f" {address(sock)}->{address(peer) or 'none'}"
                line = _fitted(line, operation, where, width)
            lines.append(line)
            if payload and (carried := payload_of(record)):
                lines.append(_payload_text(carried, amounts, width))
        return lines

    return rows


def _changed_text(where: Where) -> str:
    """Return who has become somebody else, and how: what is no operation is that."""
    assert isinstance(where, Changed), "it is on no connection"
    return f"{process_text(where.process):<16} {where.change.call:<14} {change_text(where.change)}"


def _payload_text(payload: bytes, amounts: bytes, width: int) -> str:
    """Return the line of what an operation carried: as much as fits, and whether there was more.

    amounts: what was asked for and what came of it, as in `Glance`.
    """
    asked, result = _AMOUNTS.unpack_from(amounts)
    room = max(width - len(_DATA) - len('""...'), 0)
    length = min(room, len(payload))
    while len(text := escape(_beginning(payload, length)).replace('"', r"\"")) > room:
        # A byte takes four characters at most.
        length -= max(1, (len(text) - room) // 4)
    more = "..." if length < max(len(payload), asked if result < 0 else result) else ""
    return f'{_DATA}"{text}"{more}'


def _beginning(payload: bytes, length: int) -> bytes:
    """Return so many of its first bytes, or some less, so that it does not end inside of a character of UTF-8."""
    for end in range(length, max(length - _LONGEST_CHARACTER, 0), -1):
        if end >= len(payload) or payload[end] & 0xC0 != 0x80:
            return payload[:end]
    return payload[:length]


def _place_text(where: Where) -> str:
    # Where it always fits, and there is something before it: no line ends with a blank.
    return _fitted(_number_text(where), _READ, where, UNFOLDED_WIDTH)


def _number_text(where: Where) -> str:
    return "-   " if where.number is None else f"#{where.number}".ljust(4)


def _fitted(line: str, operation: int, where: Where, width: int) -> str:
    """Return a line with as much of where it was as there is room for."""
    path = "(socketpair)" if where.pair else where.path
    # So many operations of one connection stand below each other that the path is only missed at the first.
    begins = operation in _BEGINNINGS
    room = width - (1 + len(path) if begins and path else 0)
    if where.peer_comm:
        peer = f" {where.peer_comm}[{where.peer_pid}]"
        if len(line) + len(peer) <= room:
            line += peer
    if path and (begins or len(line) + 1 + len(path) <= width):
        line += f" {path}"
    return line.rstrip()


def _outcome_text(kind: int, amounts: bytes, call: bytes, operation: int) -> str:
    event = shown_of((kind, 0, 0, 0, amounts, b"", call, operation, b""))
    descriptor = descriptor_of(event)
    name = _call(event) if descriptor is None else f"{_call(event)}({descriptor})"
    text = _with_outcome(name, event)
    released = operation == _RELEASE and event.unread_bytes
    return f"{text}, {size(event.unread_bytes)} unread" if released else text


def process_text(process: Process) -> str:
    """Return the name and number of who did something, with the thread's where it is not the process's first one."""
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
