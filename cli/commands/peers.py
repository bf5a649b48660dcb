"""`hangup peers`: every Unix connection there is now, with the processes at both ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

import click

from hangup.cli import json_lines, terminal
from hangup.cli.json_lines import Field
from hangup.cli.options import json_option, selection_options
from hangup.cli.reporters.cgroup_json import cgroup_fields
from hangup.tracer.inventory import Connection, Holder, Inventory, Socket, snapshot
from hangup.tracer.selection import Selection

# A pool of workers may hold one socket dozens of times over; --json and pipes name them all.
HOLDERS_SHOWN = 3

CONNECTION_FIELDS: tuple[tuple[Field, Callable[[Connection], Any]], ...] = (
    (
        Field("state", "string", '`"open"`; `"hung up"`: one end is released; `"not accepted"`: the server has yet to'),
        lambda connection: connection.state,
    ),
    (
        Field(
            "path", "string or null", "the listener's path, escaped, an abstract name as `@name`; null if it has none"
        ),
        lambda connection: connection.path,
    ),
    (
        Field("type", "string", '`"stream"`, `"seqpacket"` or (socketpairs only) `"dgram"`'),
        lambda connection: connection.ends[0].type,
    ),
    (
        Field(
            "client",
            "object or null",
            "the end that called connect; of a socketpair the one made first; null if released",
        ),
        lambda connection: _end_values(connection.client),
    ),
    (
        Field("server", "object or null", "the end that came out of accept; null if released or not accepted"),
        lambda connection: _end_values(connection.server),
    ),
)

END_FIELDS: tuple[tuple[Field, Callable[[Socket], Any]], ...] = (
    (
        Field("inode", "number", "the socket's inode number, as `ss -xe`, lsof and /proc/PID/fd show it"),
        lambda end: end.inode,
    ),
    (Field("netns", "number", "the inode number of its network namespace"), lambda end: end.netns),
    (
        Field("unread", "number", "bytes that have arrived at this end and are not read yet"),
        lambda end: end.receive_queue,
    ),
    (
        Field("shutdown", "number", "1: receives no more, 2: sends no more, 3: both"),
        lambda end: end.shutdown,
    ),
    (
        Field("processes", "array of objects", "the descriptors that hold it; empty if they could not be read"),
        lambda end: [_values(HOLDER_FIELDS, holder) for holder in end.holders],
    ),
)

HOLDER_FIELDS: tuple[tuple[Field, Callable[[Holder], Any]], ...] = (
    (Field("pid", "number", "process id"), lambda holder: holder.pid),
    (Field("comm", "string", "the process's name, escaped"), lambda holder: holder.comm),
    (Field("uid", "number", "its effective user id"), lambda holder: holder.uid),
    (Field("descriptor", "number", "its file descriptor"), lambda holder: holder.descriptor),
    (
        Field("inner_pid", "number or null", "process id in its own pid namespace; null if it had just ended"),
        lambda holder: holder.inner_pid,
    ),
    *cgroup_fields(lambda holder: holder.cgroup),
)


@click.command("peers")
@selection_options
@json_option
def command(selection: Selection, as_json: bool) -> None:
    """List every Unix connection with the processes at both ends.

    UNREAD is how many bytes have arrived at the end on its left and are not read yet. A process is shown as
    name[pid]:descriptor, and as ? if it could not be read. Without root it lists the network namespace it runs in,
    and names your own processes.
    """
    inventory = snapshot()
    connections = sorted(select(inventory.connections(), selection), key=_order)
    if as_json:
        for connection in connections:
            click.echo(json_lines.line("connection", _values(CONNECTION_FIELDS, connection)))
    else:
        show(connections, sys.stdout)
    missing = incomplete(inventory)
    if missing:
        remedy = "run it as root for a complete list" if os.geteuid() else "the list is not complete"
        click.echo(f"hangup: {missing} could not be read: {remedy}", err=True)


def select(connections: Iterable[Connection], selection: Selection) -> Iterable[Connection]:
    """Yield the connections that the selection matches."""
    for connection in connections:
        processes = ((holder.pid, holder.comm) for end in connection.ends for holder in end.holders)
        if selection.matches(connection.path, processes):
            yield connection


def show(connections: Sequence[Connection], file: IO[str], *, width: int | None = None) -> None:
    """Print the table to `file`; `width` (columns) is for tests."""
    from rich.text import Text  # noqa: PLC0415 - --json does without

    console = terminal.console(file, width=width)
    all_holders = width is None and not console.is_terminal
    table = terminal.plain_table()
    table.add_column("PATH", overflow="fold")
    table.add_column("CLIENT", overflow="fold")
    table.add_column("UNREAD", justify="right", no_wrap=True)
    table.add_column("SERVER", overflow="fold")
    table.add_column("UNREAD", justify="right", no_wrap=True)
    for connection in connections:
        cells = [Text(_path_cell(connection), style="" if connection.path else "dim")]
        for end in (connection.client, connection.server):
            cells.append(Text(_end_cell(connection, end, all_holders), style="" if end else "dim"))
            unread = end.receive_queue if end else 0
            cells.append(Text(str(unread) if end else "-", style="yellow" if unread else ""))
        table.add_row(*cells)
    terminal.print_table(console, table)


def incomplete(inventory: Inventory) -> str:
    """Return what could not be read ("2 processes and 1 network namespace"), or nothing."""
    counts = (
        (inventory.unreadable_processes, "process", "processes"),
        (inventory.unreadable_namespaces, "network namespace", "network namespaces"),
    )
    return " and ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def _path_cell(connection: Connection) -> str:
    if connection.path is not None:
        return connection.path
    return "(socketpair)" if connection.state == "open" else "?"


def _end_cell(connection: Connection, end: Socket | None, all_holders: bool) -> str:
    if end is None:
        return f"({connection.state})"
    if not end.holders:
        return "?"
    shown = end.holders if all_holders else end.holders[:HOLDERS_SHOWN]
    more = len(end.holders) - len(shown)
    names = ", ".join(f"{holder.comm}[{holder.pid}]:{holder.descriptor}" for holder in shown)
    return f"{names} +{more}" if more else names


def _order(connection: Connection) -> tuple[bool, str, int, int]:
    """By path, those without one last, then by process."""
    pids = [holder.pid for end in connection.ends for holder in end.holders]
    return connection.path is None, connection.path or "", pids[0] if pids else 0, connection.ends[0].inode


def _values(fields: Iterable[tuple[Field, Callable[[Any], Any]]], item: object) -> dict[str, Any]:
    return {field.name: value(item) for field, value in fields}


def _end_values(end: Socket | None) -> dict[str, Any] | None:
    return None if end is None else _values(END_FIELDS, end)
