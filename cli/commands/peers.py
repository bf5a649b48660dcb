"""`hangup peers`: every Unix connection there is now, with the processes at both ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from hangup.cli import json_lines, terminal
from hangup.cli.capture import Capture, ReadsFiles, read_option
from hangup.cli.exit_status import ExitStatus
from hangup.cli.options import filter_options, json_option
from hangup.cli.output import note
from hangup.cli.recorded import Moment, WrongTimeError, open_at
from hangup.cli.reporters.peers import peers_text
from hangup.tracer.field import Field, of_part
from hangup.tracer.fields import CGROUP
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import ConnectionFilter, over_connections
from hangup.tracer.filter.connected import Connected
from hangup.tracer.filter.filter import Filter
from hangup.tracer.host.inventory import Connection, Holder, Inventory, Socket, snapshot
from hangup.tracer.story.process import Process

_IN_CAPTURE = "if a capture does not have it"

HOLDER: tuple[Field[Holder], ...] = (
    Field("pid", "number", "process id", lambda holder: holder.pid),
    Field("comm", "string", "the process's name, escaped", lambda holder: holder.comm),
    Field(
        "uid",
        "number",
        "its effective user id; in a capture the real one",
        lambda holder: holder.uid,
        absent=_IN_CAPTURE,
    ),
    Field("descriptor", "number", "its file descriptor", lambda holder: holder.descriptor, absent=_IN_CAPTURE),
    Field(
        "inner_pid",
        "number",
        "process id in its own pid namespace",
        lambda holder: holder.inner_pid,
        absent="if it had just ended",
    ),
    *of_part(CGROUP, lambda holder: holder.cgroup),
)
"""A process that holds a socket."""

_INODE: Field[Socket] = Field(
    "inode", "number", "the socket's inode number, as `ss -xe`, lsof and /proc/PID/fd show it", lambda end: end.inode
)
_NETNS: Field[Socket] = Field(
    "netns", "number", "the inode number of its network namespace, 0 in a capture", lambda end: end.netns
)
_PROCESSES: Field[Socket] = Field(
    "processes",
    "objects",
    "the descriptors that hold it; empty if they could not be read",
    lambda end: end.holders,
    fields=HOLDER,
)

END: tuple[Field[Socket], ...] = (
    _INODE,
    _NETNS,
    Field(
        "unread",
        "number",
        "what has arrived at this end and is not read yet",
        lambda end: end.receive_queue,
        unit="bytes",
    ),
    Field("shutdown", "number", "1: receives no more, 2: sends no more, 3: both", lambda end: end.shutdown),
    _PROCESSES,
)
"""An end of a connection."""

CONNECTION: tuple[Field[Connection], ...] = (
    Field(
        "state",
        "string",
        '`"open"`; `"hung up"`: one end is released; `"not accepted"`: the server has yet to',
        lambda connection: connection.state,
    ),
    Field(
        "path",
        "string",
        "the listener's path, escaped, an abstract name as `@name`",
        lambda connection: connection.path,
        absent="if it has none",
    ),
    Field(
        "type",
        "string",
        '`"stream"`, `"seqpacket"` or (socketpairs only) `"dgram"`',
        lambda connection: connection.ends[0].type,
        absent=_IN_CAPTURE,
    ),
    Field(
        "client",
        "object",
        "the end that called connect; of a socketpair the one made first",
        lambda connection: connection.client,
        absent="if released",
        fields=END,
    ),
    Field(
        "server",
        "object",
        "the end that came out of accept",
        lambda connection: connection.server,
        absent="if released or not accepted",
        fields=END,
    ),
)
"""A connection, a line of `--json`."""

LISTENER: tuple[Field[Socket], ...] = (
    Field(
        "path", "string", "what it is bound to, escaped, an abstract name as `@name`", lambda listener: listener.path
    ),
    Field("type", "string", '`"stream"` or `"seqpacket"`', lambda listener: listener.type, absent=_IN_CAPTURE),
    _INODE,
    _NETNS,
    Field("waiting", "number", "connects that are not accepted yet", lambda listener: listener.receive_queue),
    Field(
        "backlog",
        "number",
        "what the server gave listen(2), at most net.core.somaxconn; it is full when more than that wait",
        lambda listener: listener.send_queue,
    ),
    _PROCESSES,
)
"""A socket that listens, a line of `--json`."""

_connection_line = json_lines.line("connection", CONNECTION)
_listener_line = json_lines.line("listener", LISTENER)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> Moment | None:
    try:
        return None if value is None else Moment(value.strip())
    except WrongTimeError as error:
        raise click.BadParameter(f"{error}; write it like 10:15:00 or +30s", ctx, param) from None


@click.command("peers", cls=ReadsFiles)
@filter_options(Subject.OPEN)
@json_option
@read_option()
@click.option(
    "--at",
    "at",
    callback=_moment,
    metavar="TIME",
    help="With -r: what was open then, by local time (10:15:00, '2026-01-31 10:15:00'), or so long after the capture "
    "begins (+30s). [default: at its end]",
)
@click.argument("filter_text", metavar="[FILTER]", required=False)
def command(wanted: Filter, as_json: bool, read: tuple[Path, ...], at: Moment | None) -> None:
    """List every Unix connection with the processes at both ends.

    Below each path: who listens there, how many connects wait of how many that may, and the connections, the client's
    end first. A process is shown as name[pid]:descriptors, and as ? if it could not be read; then the bytes that have
    arrived there and are not read yet, and in parentheses its systemd unit and its container, where that is not the
    listener's. Socketpairs come last. FILTER (`hangup fields`) says which are listed, of listeners also those that one
    of them goes to. Where nothing matches, a line on standard error says so and the status is 0.
    Without root it lists the network namespace it runs in, and names your own processes.

    With -r it lists what was open while a capture was made, with the processes that had been seen using it. One that
    was made by `watch` without --stream has only what was open when it began, and what went wrong. Of listeners it has
    those that were there when it began: where others came later, who listens is not known.
    """
    if read:
        with Capture(read) as capture:
            assert capture.source is not None
            recorded = open_at(capture.source, at, capture.show_progress)
            _show(recorded.connections, recorded.listeners, wanted, as_json=as_json, all_listen=False)
            if recorded.ended:
                note(f"the capture ends before that, at {recorded.ended}: this was open then")
            if recorded.is_partial:
                note("the capture has only what was open when it began, and what went wrong")
            click.get_current_context().exit(capture.end(ExitStatus.OK))
    if at is not None:
        raise click.UsageError("--at is for a capture, and -r names none")
    inventory = snapshot()
    _show(inventory.connections(), inventory.listeners(), wanted, as_json=as_json, all_listen=True)
    missing = incomplete(inventory)
    if missing:
        remedy = "run it as root for a complete list" if os.geteuid() else "the list is not complete"
        note(f"{missing} could not be read: {remedy}")


def _show(
    connections: Iterable[Connection], listeners: Iterable[Socket], wanted: Filter, *, as_json: bool, all_listen: bool
) -> None:
    """Print those of them that pass the filter; all_listen: no socket listens but these."""
    connections = sorted(select(connections, wanted), key=_order)
    listeners = sorted(select_listeners(listeners, connections, wanted), key=lambda end: end.path or "")
    if as_json:
        for listener in listeners:
            click.echo(_listener_line(listener, json_lines.no_times))
        for connection in connections:
            click.echo(_connection_line(connection, json_lines.no_times))
    else:
        width = terminal.columns(sys.stdout) if sys.stdout.isatty() else None
        paint = terminal.painter(sys.stdout)
        click.echo(peers_text(listeners, connections, width=width, paint=paint, all_listen=all_listen), nl=False)
    if not connections and not listeners:
        sys.stdout.flush()
        note("no Unix connections" if wanted.tree is None else "no connection or listener matches")


def select(connections: Iterable[Connection], wanted: Filter) -> Iterable[Connection]:
    """Yield the connections that pass the filter."""
    passes = _passes(wanted)
    for connection in connections:
        if passes(_connected(connection.path, connection.client, connection.server)):
            yield connection


def select_listeners(
    listeners: Iterable[Socket], connections: Iterable[Connection], wanted: Filter
) -> Iterable[Socket]:
    """Yield the listeners that pass the filter, and those to whose path one of these connections goes."""
    paths = {connection.path for connection in connections}
    passes = _passes(wanted)
    for listener in listeners:
        if listener.path in paths or passes(_connected(listener.path, None, listener)._replace(unread=None)):
            yield listener


def _passes(wanted: Filter) -> ConnectionFilter:
    return (lambda _: True) if wanted.tree is None else over_connections(wanted.tree)


def _connected(path: str | None, client: Socket | None, server: Socket | None) -> Connected:
    """Return what is open as filters ask for it."""
    ends = [end for end in (client, server) if end is not None]
    return Connected(
        path,
        tuple(map(_process, client.holders)) if client is not None else (),
        tuple(map(_process, server.holders)) if server is not None else (),
        inodes=tuple(end.inode for end in ends),
        unread=sum(end.receive_queue for end in ends),
    )


def _process(holder: Holder) -> Process:
    return Process(holder.pid, holder.comm, uid=holder.uid, inner_pid=holder.inner_pid, cgroup=holder.cgroup)


def incomplete(inventory: Inventory) -> str:
    """Return what could not be read ("2 processes and 1 network namespace"), or nothing."""
    counts = (
        (inventory.unreadable_processes, "process", "processes"),
        (inventory.unreadable_namespaces, "network namespace", "network namespaces"),
    )
    return " and ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def _order(connection: Connection) -> tuple[bool, str, int, int]:
    """By path, those without one last, then by process."""
    pids = [holder.pid for end in connection.ends for holder in end.holders]
    return connection.path is None, connection.path or "", pids[0] if pids else 0, connection.ends[0].inode
