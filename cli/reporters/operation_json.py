"""One operation as a JSON object: the lines of `hangup trace --json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hangup.cli.clock import wall_clock
from hangup.cli.json_lines import members, no_times, opening
from hangup.cli.reporters.kept_text import CALL_PART, KeptText, Part
from hangup.tracer.fields import CALL, CGROUP, SOCKET, TASK, WHEN
from hangup.tracer.host.cgroups import Cgroup
from hangup.tracer.story.story import Moment, Traced

_TASK_PART = Part("pid", "tid", "inner_pid", "inner_tid", "uid", "gid", "comm", "leader")
_SOCKET_PART = Part("sock", "peer", "inode", "inode_number")

OperationLine = Callable[[Traced, int, Cgroup | None], str]
"""Given an operation, what makes a wall-clock time of its times, and the cgroup of who did it, returns a line."""


def operation_line() -> OperationLine:
    """Return what makes trace's lines, of the fields of `TRACED`."""
    beginning, when = opening("operation"), members(WHEN)
    call, task, cgroup, socket = members(CALL), members(TASK), members(CGROUP), members(SOCKET)
    call_of, task_of, socket_of = CALL_PART.key, _TASK_PART.key, _SOCKET_PART.key

    def make_socket(key: tuple[Any, ...]) -> str:
        of_connection, of_event = key
        return socket(Traced(_SOCKET_PART.event(of_event), "client", *of_connection), no_times)

    calls = KeptText[Any](lambda key: call(Moment(0, "client", CALL_PART.event(key)), no_times))
    tasks = KeptText[Any](lambda key: task(Moment(0, "client", _TASK_PART.event(key)), no_times))
    cgroups = KeptText[Cgroup | None](lambda key: cgroup(key, no_times))
    sockets = KeptText[Any](make_socket)

    def line(traced: Traced, offset: int, cgroup: Cgroup | None) -> str:
        event = traced.event
        return (
            f"{beginning}{when(traced, lambda when: wall_clock(when, offset))},{calls[call_of(event)]},"
            f"{tasks[task_of(event)]},{cgroups[cgroup]},{sockets[traced[2:], socket_of(event)]}}}"
        )

    return line
