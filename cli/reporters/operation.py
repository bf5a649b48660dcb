"""One operation in words: a cell of an alert's timeline, and the line of `hangup trace`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hangup.cli.clock import local
from hangup.cli.reporters.kept_text import KeptText, Part
from hangup.tracer.clocks import Clocks
from hangup.tracer.names import shutdown_name
from hangup.tracer.record.layout import MSG_PEEK, Event, Operation
from hangup.tracer.story.operation import address, error_of, exit_of, operation_name, syscall_of
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.story.story import Traced
from hangup.tracer.units import size

# Plain numbers: each operation is compared with them.
_BEGINNINGS = (int(Operation.CONNECT), int(Operation.ACCEPT), int(Operation.SOCKETPAIR))

_READ, _WRITE = int(Operation.READ), int(Operation.WRITE)
_SHUTDOWN, _RELEASE = int(Operation.SHUTDOWN), int(Operation.RELEASE)

_CALL_PART = Part("flags", "operation", "syscall", "descriptor", "exit_code")
_PROCESS_PART = Part("pid", "tid", "comm", "leader", "owner_pid")

OperationRow = Callable[[Traced, Clocks, int], str]
"""Given an operation, what makes wall-clock times of the records', and the terminal's width, returns a line.

A peer or a path that does not fit is left out, but never the path where a connection begins.
"""

# Of these system calls the name alone does not say whether they read, write, or what they release.
_VAGUE = ("splice", "io_uring", "kernel", "32-bit call", "call ")
_RELEASING = ("close", "close_range", "dup2", "dup3", "execve", "exit", "exit_group")


def operation_text(event: Event) -> str:
    """Return the system call, what was asked of it and what came of it: "writev 4096 of 300000", "read: EAGAIN".

    Where the system call is not known, the operation's family takes its place: "write 8".
    """
    return _with_outcome(event, _call(event))


def _with_outcome(event: Event, name: str) -> str:
    operation, result = event.operation, event.result
    if result >= 0:
        if operation == _WRITE:
            return f"{name} {result}" if result == event.size else f"{name} {result} of {event.size}"
        if operation == _READ:
            end = " (end)" if result == 0 and event.size else ""
            peek = " (peek)" if event.message_flags & MSG_PEEK else ""
            return f"{name} {result}{end}{peek}"
    error = error_of(event)
    if operation == _WRITE:
        return f"{name} {event.size}: {error}"
    if operation == _SHUTDOWN:
        name = f"{name} {shutdown_name(event.size)}"
    return f"{name}: {error}" if error else name


def operation_row(*, addresses: bool = False) -> OperationRow:
    """Return what makes trace's lines: time, process, operation, the connection's number, the peer's name, the path.

    addresses: whether to show the kernel's, too.
    """
    calls = KeptText[Any](lambda key: _call_and_descriptor(_CALL_PART.event(key)))
    processes = KeptText[Any](lambda key: f"{_process_text(process_of(_PROCESS_PART.event(key))):<16}")
    call_of, who_of = _CALL_PART.key, _PROCESS_PART.key

    def row(traced: Traced, clocks: Clocks, width: int) -> str:
        event, _, number, path, pair, peer_comm, peer_pid = traced
        call = _with_outcome(event, calls[call_of(event)])
        if event.unread_bytes and event.operation == _RELEASE:
            call += f", {size(event.unread_bytes)} unread"
        numbered = "-   " if number is None else f"#{number:<3}"
        line = f"{local(clocks.wall(event.end), '%H:%M:%S')} {processes[who_of(event)]} {call:<14} {numbered}"
        if addresses:
            line += f" {address(event.sock)}->{address(event.peer) or 'none'}"
        if pair:
            path = "(socketpair)"
        # So many operations of one connection stand below each other that the path is only missed at the first.
        begins = event.operation in _BEGINNINGS
        room = width - (1 + len(path) if begins and path else 0)
        if peer_comm:
            peer = f" {peer_comm}[{peer_pid}]"
            if len(line) + len(peer) <= room:
                line += peer
        if path and (begins or len(line) + 1 + len(path) <= width):
            line += f" {path}"
        return line.rstrip()

    return row


def _call_and_descriptor(event: Event) -> str:
    return f"{_call(event)}({event.descriptor})" if event.descriptor >= 0 else _call(event)


def _process_text(process: Process) -> str:
    thread = f"/{process.tid}" if process.tid != process.pid else ""
    return f"{process.comm}[{process.pid}{thread}]"


def _call(event: Event) -> str:
    name = syscall_of(event) or operation_name(event)
    if event.operation == Operation.RELEASE:
        status, killed_by = exit_of(event)
        if killed_by:
            return f"killed by {killed_by}"
        if status is not None:
            return f"exit with {status}"
        return name if name in _RELEASING else f"released in {name}"
    return f"{name} ({operation_name(event)})" if name.startswith(_VAGUE) else name
