"""One operation as a JSON object: the lines of `hangup trace --json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hangup.cli.json_lines import members, no_times, opening
from hangup.cli.reporters.kept_text import KeptText, Part
from hangup.tracer.clocks import Clocks
from hangup.tracer.field import Field
from hangup.tracer.fields import CALL, CGROUP, EXIT, OUTCOME, SOCKET, TASK, WHEN, Operated
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.story.story import Moment, Traced

_CALL = Part("flags", "operation", "syscall", "descriptor")
_OUTCOME = Part("operation", "size", "result", "message_flags", "unread_bytes")
_EXIT = Part("flags", "operation", "exit_code")
_TASK = Part("pid", "tid", "inner_pid", "inner_tid", "uid", "gid", "comm", "leader")
_SOCKET = Part("sock", "peer", "inode", "inode_number")

OperationLine = Callable[[Traced, Clocks, Cgroup | None], str]
"""Given an operation, what makes wall-clock times of its times, and the cgroup of who did it, returns a line."""


def operation_line() -> OperationLine:
    """Return what makes trace's lines, of the fields of `TRACED`."""
    beginning, when, of_socket, of_cgroup = opening("operation"), members(WHEN), members(SOCKET), members(CGROUP)
    calls, outcomes = _texts(CALL, _CALL), _texts(OUTCOME, _OUTCOME)
    exits, tasks = _texts(EXIT, _EXIT), _texts(TASK, _TASK)
    call, outcome, exit_, task, socket = _CALL.key, _OUTCOME.key, _EXIT.key, _TASK.key, _SOCKET.key

    def make_socket(key: tuple[Any, ...]) -> str:
        of_connection, of_event = key
        return of_socket(Traced(_SOCKET.event(of_event), "client", *of_connection), no_times)

    sockets = KeptText[Any](make_socket)
    cgroups = KeptText[Cgroup | None](lambda key: of_cgroup(key, no_times))

    def line(traced: Traced, clocks: Clocks, cgroup: Cgroup | None) -> str:
        event = traced.event
        return (
            f"{beginning}{when(traced, clocks.wall)},"
            f"{calls[call(event)]},{outcomes[outcome(event)]},{exits[exit_(event)]},"
            f"{tasks[task(event)]},{cgroups[cgroup]},{sockets[traced[2:], socket(event)]}}}"
        )

    return line


def _texts(fields: Sequence[Field[Operated]], part: Part) -> KeptText[Any]:
    """Return the texts of fields that are made of this part of an operation."""
    render = members(fields)
    return KeptText(lambda key: render(Moment(0, "client", part.event(key)), no_times))
