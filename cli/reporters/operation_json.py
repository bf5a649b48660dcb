"""One operation as a JSON object: the lines of `hangup trace --json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from hangup.cli.json_lines import Render, members, no_times, opening
from hangup.cli.json_lines import line as json_line
from hangup.cli.reporters.kept_text import KeptText, event_of_call, event_of_task
from hangup.tracer.clocks import Clocks
from hangup.tracer.field import Field
from hangup.tracer.fields import (
    CALL,
    CGROUP,
    CHANGE,
    EXIT,
    OUTCOME,
    PAYLOAD,
    SOCKET,
    TASK,
    TRACED,
    WHEN,
    Operated,
    Placed,
)
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import (
    ON_SOCKET,
    Event,
    Operation,
    RecordType,
    known_of,
    on_socket,
    payload_of,
    unpack,
    who_of,
)
from hangup.tracer.story.connection import Place, Role
from hangup.tracer.story.endpoints import Operated as OperatedRecord
from hangup.tracer.story.identity import change_of
from hangup.tracer.story.story import Moment, Traced

CgroupOf = Callable[[int, int], Cgroup | None]
"""Given the id of a cgroup and the pid of who was in it, returns it if it is known."""

OperationLines = Callable[[Iterable[OperatedRecord], Clocks, CgroupOf], list[str]]
"""Given operations, what makes wall-clock times of the records', and who knows cgroups, returns their lines."""

_RELEASE = int(Operation.RELEASE)
_OPERATION = int(RecordType.OPERATION)


def operation_lines(*, payload: bool = True) -> OperationLines:
    """Return what makes trace's lines, of the fields of `TRACED`; payload: whether some may have been recorded."""
    beginning, of_socket, of_cgroup = opening("operation"), members(SOCKET), members(CGROUP)
    of_payload = members(PAYLOAD)
    whole = json_line("operation", TRACED)
    changed = json_line("identity", CHANGE)
    # It is asked for the times and the role alone.
    when: Render[Any] = members(WHEN)
    calls, outcomes, tasks = (
        _texts(CALL, event_of_call),
        _texts(OUTCOME, _event_of_outcome),
        _texts(TASK, event_of_task),
    )
    # What ends with a process is a release, and that has no parts.
    no_exit = _texts(EXIT, event_of_call)[0, 0, b""]
    sockets = KeptText[tuple[bytes, Place]](lambda key: of_socket(Traced(on_socket(key[0]), key[1]), no_times))
    no_payload = of_payload(b"", no_times)
    cgroups = KeptText[Cgroup | None](lambda key: of_cgroup(key, no_times))

    def lines(operations: Iterable[OperatedRecord], clocks: Clocks, cgroup: CgroupOf) -> list[str]:
        made = []
        wall = clocks.wall
        for record, brief, place in operations:
            _, flags, end, _, start, _, _, asked, result, task, message_flags, call, operation, names = brief
            if not operation:
                # Who did some has become somebody else.
                made.append(changed(change_of(record), wall))
                continue
            of_task = cgroup(*who_of(task))
            if operation == _RELEASE:
                made.append(whole(Placed(Traced(unpack(record), place), of_task), wall))
                continue
            carried = payload_of(record) if payload else b""
            made.append(
                f"{beginning}{when(_Timed(_Times(start, end), place.role), wall)},"
                f"{calls[flags, operation, call]},{outcomes[operation, asked, result, message_flags]},{no_exit},"
                f"{tasks[task, names]},{cgroups[of_task]},{sockets[record[ON_SOCKET], place]},"
                f"{of_payload(carried, no_times) if carried else no_payload}}}"
            )
        return made

    return lines


class _Times(NamedTuple):
    """When an operation was, and no more of it."""

    start: int
    end: int


class _Timed(NamedTuple):
    """As much of an operation as `WHEN` asks for."""

    event: _Times
    role: Role


def _event_of_outcome(key: tuple[int, int, int, int]) -> Event:
    operation, asked, result, message_flags = key
    return known_of((_OPERATION, 0, 0, 0, 0, 0, 0, asked, result, b"", message_flags, b"", operation, b""))


def _texts(fields: Sequence[Field[Operated]], event_of: Callable[[Any], Event]) -> KeptText[Any]:
    """Return the texts of fields that are made of a part of an operation, by that; event_of: gives it back."""
    render = members(fields)
    return KeptText(lambda key: render(Moment(0, "client", event_of(key)), no_times))
