"""What filters can ask for, and `-p` can print: sysdig's names where it knows the thing, ours where it does not.

Types and meanings are those of the one list (tracer/fields.py); here stands what they are called in this language, and
how the value is got of a record that nobody has unpacked yet, and of a whole connection.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from hangup.tracer.escape import escape_comm
from hangup.tracer.field import Field, FilterField, named
from hangup.tracer.fields import CALL, CGROUP, OUTCOME, REAL_USER, SOCKET, TASK
from hangup.tracer.filter.connected import Connected
from hangup.tracer.names import KERNEL_RESTARTS, error_name
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Operation
from hangup.tracer.story.operation import known_descriptor, named_operation, named_syscall
from hangup.tracer.story.process import Process
from hangup.tracer.story.symptom import Symptom

FindCgroup = Callable[[int, int, str], Cgroup | None]
"""Given the id of a cgroup, 0: not known, and pid and name of who was in it, returns it if it is known."""

BUFFER = "evt.buffer"
"""What asks for the bytes that were read or written."""

_READ, _WRITE, _RELEASE = int(Operation.READ), int(Operation.WRITE), int(Operation.RELEASE)
_TRANSFERS = (_READ, _WRITE)

# Of what was released by a kernel thread, the process is the one whose descriptor it was (process_of()).
_WHO = ("pid", "owner_pid")


def _known(of: Field[Any], name: str, **how: Any) -> FilterField:
    """Return a field of the one list as filters ask for it."""
    kind = {"number": "number", "boolean": "boolean"}.get(of.type, "string")
    return FilterField(name, **{"type": kind, "meaning": of.meaning, "unit": of.unit, "absent": of.absent, **how})


def _of_users(get: Callable[[Process], Any]) -> Callable[[Connected], Iterable[Any]]:
    return lambda connected: [get(user) for user in connected.users]


def _of_failed(get: Callable[..., Any], *recorded: str) -> Callable[[Connected], Iterable[Any]]:
    """Return what gets a value of the operation that failed."""

    def values(connected: Connected) -> Iterable[Any]:
        failed = connected.failed
        return () if failed is None else (get(*[getattr(failed, name) for name in recorded]),)

    return values


def _of_call(of: Field[Any] | None, name: str, recorded: tuple[str, ...], get: Callable[..., Any], **how: Any) -> Any:
    """Return a field of an operation; of a connection it is that of the operation that failed."""
    how |= {"recorded": recorded, "of_operation": get, "of_connection": _of_failed(get, *recorded)}
    return FilterField(name, **how) if of is None else _known(of, name, **how)


def _process(of: str, name: str, recorded: tuple[str, ...], get: Callable[..., Any], **how: Any) -> FilterField:
    """Return a field of who did an operation; of a connection it is that of anybody at either end."""
    field = named(TASK, of)
    return _known(field, name, recorded=recorded, of_operation=get, of_changes=True, absent="if not known", **how)


def _unless_owned(value: Any, owner_pid: int) -> Any:
    return None if owner_pid else value


def fd_name(sock: int, peer: int, path: str | None) -> str:
    """Return what sysdig calls a Unix socket: both ends' addresses, and the path."""
    addresses = f"{sock:x}->{peer:x}"
    return f"{addresses} {path}" if path else addresses


def _fd_names(connected: Connected) -> Iterable[str]:
    path, socks = connected.path, connected.socks
    if len(socks) == 2:
        return (fd_name(socks[0], socks[1], path), fd_name(socks[1], socks[0], path))
    if connected.failed is not None:
        return (fd_name(connected.failed.sock, connected.failed.peer, path),)
    return (path,) if path else ()


def _fd_socks(connected: Connected) -> Iterable[int]:
    return connected.socks or ((connected.failed.sock,) if connected.failed is not None else ())


def _error(result: int) -> str:
    return error_name(-result) if result < 0 else "SUCCESS"


@cache
def _errors() -> tuple[str, ...]:
    return ("SUCCESS", *errno.errorcode.values(), *KERNEL_RESTARTS.values())


def _verdicts() -> tuple[str, ...]:
    # Whoever asks for something else (`hangup peers`) needs no verdicts.
    from hangup.tracer.verdicts.kinds import Kind  # noqa: PLC0415

    return tuple(kind.label for kind in Kind)


def _consequences() -> tuple[str, ...]:
    from typing import get_args  # noqa: PLC0415

    from hangup.tracer.verdicts.verdict import Afterwards, Answer  # noqa: PLC0415

    return (*get_args(Answer), *get_args(Afterwards), "harmless")


def _present(*values: Any) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not None)


def _cgroup_of(find: FindCgroup, cgroup: int, pid: int, owner_pid: int, leader: bytes) -> Cgroup | None:
    # What is known of who owned a descriptor is its pid and its name.
    return find(0 if owner_pid else cgroup, owner_pid or pid, escape_comm(leader))


_CGROUP = ("cgroup", "pid", "owner_pid", "leader")
_PEER = ("peer_pid", "peer_comm")


def _cgroup_paths(find: FindCgroup, *values: Any) -> tuple[str, ...]:
    *own, peer_pid, peer_comm = values
    cgroups = (
        _cgroup_of(find, *own),
        None if peer_pid is None else find(0, peer_pid, peer_comm or "?"),
    )
    return tuple(cgroup.path for cgroup in cgroups if cgroup is not None)


def _ends(side: str) -> tuple[FilterField, ...]:
    """Return the fields of who is at one end of a connection."""
    end = f"at the {side}'s end"

    def parties(connected: Connected) -> tuple[Process, ...]:
        return connected.clients if side == "client" else connected.servers

    def pid(pid: int, owner_pid: int, role: str, peer_pid: int | None) -> int | None:
        return (owner_pid or pid) if role == side else peer_pid

    def comm(leader: bytes, role: str, peer_comm: str | None) -> str | None:
        return escape_comm(leader) if role == side else peer_comm

    def uid(uid: int, owner_pid: int, role: str) -> int | None:
        return uid if role == side and not owner_pid else None

    def cgroup_field(name: str, what: str, meaning: str) -> FilterField:

        def value(find: FindCgroup, *values: Any) -> Any:
            *own, role, peer_pid, peer_comm = values
            if role == side:
                cgroup = _cgroup_of(find, *own)
            else:
                cgroup = None if peer_pid is None else find(0, peer_pid, peer_comm or "?")
            return cgroup and getattr(cgroup, what)

        return _known(
            named(CGROUP, name),
            f"conn.{side}.{name}",
            meaning=f"{meaning} of the process {end}",
            recorded=_CGROUP,
            place=("role", *_PEER),
            of_operation=value,
            of_connection=lambda connected: [user.cgroup and getattr(user.cgroup, what) for user in parties(connected)],
            of_open=True,
            asks=True,
        )

    return (
        FilterField(
            f"conn.{side}.pid",
            "number",
            f"process id of the process {end}",
            absent="if not known",
            recorded=_WHO,
            place=("role", "peer_pid"),
            of_operation=pid,
            of_connection=lambda connected: [user.pid for user in parties(connected)],
            of_open=True,
            selects="pids",
        ),
        FilterField(
            f"conn.{side}.comm",
            "string",
            f"the name of the process {end}, escaped",
            absent="if not known",
            recorded=("leader",),
            place=("role", "peer_comm"),
            of_operation=comm,
            of_connection=lambda connected: [user.comm for user in parties(connected)],
            of_open=True,
            selects="comms",
            is_comm=True,
        ),
        FilterField(
            f"conn.{side}.uid",
            "number",
            f"{REAL_USER} of the process {end}",
            absent="if not known; of an operation, if it is not on that end",
            recorded=("uid", "owner_pid"),
            place=("role",),
            of_operation=uid,
            of_connection=lambda connected: [user.uid for user in parties(connected)],
            of_open=True,
            selects="uids",
        ),
        cgroup_field("cgroup", "path", "the path of the control group, escaped,"),
        cgroup_field("unit", "unit", "the systemd unit"),
        cgroup_field("container", "container", "the name of the container, or the first 12 digits of its id,"),
    )


PROCESS: tuple[FilterField, ...] = (
    _process(
        "pid",
        "proc.pid",
        _WHO,
        lambda pid, owner_pid: owner_pid or pid,
        of_connection=_of_users(lambda user: user.pid),
        of_open=True,
        selects="pids",
    ),
    _process(
        "inner_pid",
        "proc.vpid",
        ("inner_pid", "owner_pid"),
        _unless_owned,
        of_connection=_of_users(lambda user: user.inner_pid),
        of_open=True,
    ),
    _process(
        "comm",
        "proc.name",
        ("leader",),
        escape_comm,
        of_connection=_of_users(lambda user: user.comm),
        of_open=True,
        selects="comms",
        is_comm=True,
    ),
    _process(
        "tid",
        "thread.tid",
        ("tid", "owner_pid"),
        _unless_owned,
        of_connection=_of_users(lambda user: user.tid),
    ),
    _process(
        "inner_tid",
        "thread.vtid",
        ("inner_tid", "owner_pid"),
        _unless_owned,
        meaning="thread id in the process's own pid namespace",
    ),
    _process(
        "thread",
        "thread.name",
        ("owner_pid", "comm"),
        lambda owner_pid, comm: None if owner_pid else escape_comm(comm),
        of_connection=_of_users(lambda user: user.thread),
        is_comm=True,
    ),
    _process(
        "uid",
        "user.uid",
        ("uid", "owner_pid"),
        _unless_owned,
        of_connection=_of_users(lambda user: user.uid),
        of_open=True,
        selects="uids",
    ),
    _process(
        "gid",
        "group.gid",
        ("gid", "owner_pid"),
        _unless_owned,
        of_connection=_of_users(lambda user: user.gid),
    ),
    _known(
        named(CGROUP, "container"),
        "container.name",
        recorded=_CGROUP,
        of_operation=lambda find, *who: (cgroup := _cgroup_of(find, *who)) and cgroup.container,
        of_connection=_of_users(lambda user: user.container),
        of_open=True,
        of_changes=True,
        asks=True,
    ),
)
"""Who did an operation; of a connection, anybody at either end."""

DESCRIPTOR: tuple[FilterField, ...] = (
    _of_call(
        named(CALL, "descriptor"),
        "fd.num",
        ("flags", "descriptor", "operation"),
        known_descriptor,
    ),
    FilterField(
        "fd.type",
        "string",
        "`unix`: hangup sees nothing else",
        of_operation=lambda: "unix",
        of_connection=lambda _: ("unix",),
        of_open=True,
        choices=lambda: ("unix", "file", "directory", "ipv4", "ipv6", "pipe", "event", "signalfd", "eventpoll"),
    ),
    FilterField(
        "fd.name",
        "string",
        "both ends' kernel addresses and the path, as sysdig has them: `ffff880108bcc440->ffff880108bcba80 /app.s`, "
        "or the path alone where the addresses are not known",
        absent="if neither is known",
        recorded=("sock", "peer"),
        place=("path",),
        of_operation=fd_name,
        of_connection=_fd_names,
        of_open=True,
        selects="paths",
    ),
    FilterField(
        "fd.sock",
        "address",
        "kernel address of the struct sock of either end, in hexadecimal",
        absent="if not known",
        recorded=("sock", "peer"),
        of_operation=lambda sock, peer: tuple(address for address in (sock, peer) if address),
        of_connection=_fd_socks,
        several=True,
    ),
    _known(
        named(SOCKET, "inode_number"),
        "fd.ino",
        recorded=("inode_number",),
        of_operation=lambda number: number or None,
        of_connection=lambda connected: connected.inodes,
        of_open=True,
    ),
)
"""On which socket an operation was."""

EVENT: tuple[FilterField, ...] = (
    _of_call(named(CALL, "syscall"), "evt.type", ("flags", "syscall", "operation"), named_syscall, of_changes=True),
    _of_call(
        named(CALL, "operation"),
        "evt.operation",
        ("operation",),
        named_operation,
        choices=lambda: tuple(operation.name.lower() for operation in Operation),
    ),
    _of_call(
        None,
        "evt.is_io_read",
        ("operation",),
        lambda operation: operation == _READ,
        type="boolean",
        meaning="whether it is a read, by whatever system call",
        of_changes=True,
    ),
    _of_call(
        None,
        "evt.is_io_write",
        ("operation",),
        lambda operation: operation == _WRITE,
        type="boolean",
        meaning="whether it is a write, by whatever system call",
        of_changes=True,
    ),
    _of_call(
        None,
        "evt.res",
        ("result",),
        _error,
        type="string",
        meaning="the error's name (`EPIPE`), or `SUCCESS`",
        choices=_errors,
        of_changes=True,
    ),
    _of_call(named(OUTCOME, "result"), "evt.rawres", ("result",), lambda result: result, of_changes=True),
    _of_call(
        None,
        "evt.failed",
        ("result",),
        lambda result: result < 0,
        type="boolean",
        meaning="whether it failed with an error",
        of_changes=True,
    ),
    _of_call(
        None,
        "evt.buflen",
        ("result", "operation"),
        lambda result, operation: result if operation in _TRANSFERS and result >= 0 else None,
        type="number",
        unit="bytes",
        meaning="how many bytes were read or written",
        absent="of other operations, and of those that failed",
    ),
    _of_call(
        None,
        "evt.rawarg.size",
        ("size", "operation"),
        lambda size, operation: size if operation in _TRANSFERS else None,
        type="number",
        unit="bytes",
        meaning="how many bytes were asked for",
        absent="of other operations than reads and writes",
    ),
    _of_call(
        None,
        "evt.dur",
        ("end", "start"),
        lambda end, start: max(end - start, 0),
        type="number",
        unit="ns",
        meaning="how long it took; if it is not known when it started, the shortest that it can have been",
    ),
    _of_call(
        None,
        "evt.cpu",
        ("cpu",),
        lambda cpu: cpu,
        type="number",
        meaning="the cpu it ended on",
        of_changes=True,
    ),
    FilterField(
        BUFFER,
        "bytes",
        "the first bytes that were read or written, or that a write which failed was given; printed as sysdig prints "
        "them, with dots for what is no ASCII",
        absent="of other operations, and where they were not recorded (`--snaplen`)",
        recorded=("payload",),
        of_operation=lambda payload: payload or None,
    ),
)
"""What an operation was, and what came of it; of a connection, the operation that failed."""

CONNECTION: tuple[FilterField, ...] = (
    _known(
        named(SOCKET, "connection"),
        "conn.number",
        place=("number",),
        of_operation=lambda number: number,
        of_connection=lambda connected: (connected.number,),
    ),
    _known(
        named(SOCKET, "path"),
        "conn.path",
        place=("path",),
        of_operation=lambda path: path,
        of_connection=lambda connected: (connected.path,),
        of_open=True,
        selects="paths",
    ),
    FilterField(
        "conn.pid",
        "number",
        "process id of a process at either end",
        absent="if not known",
        recorded=_WHO,
        place=("peer_pid",),
        of_operation=lambda pid, owner_pid, peer_pid: _present(owner_pid or pid, peer_pid),
        of_connection=_of_users(lambda user: user.pid),
        of_open=True,
        several=True,
        selects="pids",
    ),
    FilterField(
        "conn.comm",
        "string",
        "the name of a process at either end, or of its thread, escaped",
        absent="if not known",
        recorded=("comm", "leader"),
        place=("peer_comm",),
        of_operation=lambda comm, leader, peer: _present(escape_comm(leader), escape_comm(comm), peer),
        of_connection=lambda connected: [name for user in connected.users for name in user.names],
        of_open=True,
        several=True,
        selects="comms",
        is_comm=True,
    ),
    FilterField(
        "conn.uid",
        "number",
        f"{REAL_USER} of a process at either end",
        absent="if not known",
        recorded=("uid", "owner_pid"),
        of_operation=lambda uid, owner_pid: () if owner_pid else (uid,),
        of_connection=_of_users(lambda user: user.uid),
        of_open=True,
        several=True,
        selects="uids",
    ),
    FilterField(
        "conn.cgroup",
        "string",
        "the path of the control group of a process at either end, escaped",
        absent="if not known",
        recorded=_CGROUP,
        place=_PEER,
        of_operation=_cgroup_paths,
        of_connection=_of_users(lambda user: user.cgroup and user.cgroup.path),
        of_open=True,
        several=True,
        asks=True,
        selects="cgroups",
    ),
    *_ends("client"),
    *_ends("server"),
    FilterField(
        "conn.unread",
        "number",
        "what was left unread: of an operation that is a release, by the end that went; of a connection, by the "
        "hang-up; of one that is open, what is not read yet at either end",
        unit="bytes",
        absent="of other operations, and of a connect that failed",
        recorded=("unread_bytes", "operation"),
        of_operation=lambda unread, operation: unread if operation == _RELEASE else None,
        of_connection=lambda connected: (connected.unread,),
        of_open=True,
    ),
)
"""On which connection an operation was, and between whom."""

VERDICT: tuple[FilterField, ...] = (
    FilterField(
        "verdict",
        "string",
        "the verdict; `hangup explain` lists them",
        of_connection=lambda connected: (connected.verdict,),
        choices=_verdicts,
    ),
    FilterField(
        "verdict.symptom",
        "string",
        "how it showed: `broken write`, `reset read`, `cut read`, `told by SO_ERROR`, `short write`, `failed connect` "
        "or `none`",
        of_connection=lambda connected: (connected.symptom,),
        choices=lambda: tuple(symptom.value for symptom in Symptom),
    ),
    FilterField(
        "verdict.gap",
        "number",
        "from the hang-up to the failure",
        unit="ns",
        absent="without either",
        of_connection=lambda connected: (connected.gap,),
    ),
    FilterField(
        "verdict.consequence",
        "string",
        "what it cost the one that was hurt: `read in full`, `read in part` or `never read` of the answer; `went on`, "
        "`closed`, `exited`, `killed`, `killed by SIGPIPE` or `connected again`; and `harmless`",
        absent="if nothing was seen of it",
        of_connection=lambda connected: connected.consequences,
        several=True,
        choices=_consequences,
    ),
)
"""What is concluded of a connection."""

_PRINTED = "it is only printed, by -p"

LINE: tuple[FilterField, ...] = (
    FilterField("evt.num", "number", "the number of the line, from 1 on", refused=_PRINTED),
    FilterField("evt.time", "string", "the local time of day, to the nanosecond", refused=_PRINTED),
    FilterField("evt.outputtime", "string", "the time as -t has it", refused=_PRINTED),
    FilterField("evt.datetime", "string", "the local date and time, to the microsecond", refused=_PRINTED),
    FilterField("evt.rawtime", "number", "the time by the wall clock", unit="ns", refused=_PRINTED),
    FilterField("evt.reltime", "number", "the time since the first line", unit="ns", refused=_PRINTED),
    FilterField("evt.deltatime", "number", "the time since the line before", unit="ns", refused=_PRINTED),
    FilterField("evt.dir", "string", "`<`: a line is printed when an operation ends", refused=_PRINTED),
    FilterField("evt.info", "string", "what it was given and what came of it, as sysdig prints them", refused=_PRINTED),
)
"""What is said of the line that is printed of an operation."""

FIELDS: tuple[FilterField, ...] = (*PROCESS, *DESCRIPTOR, *EVENT, *CONNECTION, *VERDICT, *LINE)
"""All fields, in the order in which they are listed."""

BY_NAME = {field.name: field for field in FIELDS}
