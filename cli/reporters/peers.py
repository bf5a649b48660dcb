"""Every Unix connection as text: by path, the listener first, then who is connected to it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from hangup.cli.terminal import Paint, plain
from hangup.tracer.host.inventory import Connection, Holder, Socket
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.units import counted, size

# A pool of workers may hold one socket dozens of times over, a proxy dozens of connections to one server; --json and
# pipes name them all.
_PROCESSES_SHOWN = 3
_DESCRIPTORS_SHOWN = 6

# From so many connections of the same two processes on they are one line.
_FOLDED_FROM = 4

_INDENT = 2
_GAP = 2


def peers_text(
    listeners: Iterable[Socket],
    connections: Iterable[Connection],
    *,
    width: int | None,
    paint: Paint = plain,
    all_listen: bool = True,
) -> str:
    """Return the text; it is empty if there are neither listeners nor connections.

    width: of the terminal; None: of a pipe, in which a line is as long as it has to be and everybody is named.
    all_listen: no socket listens but the listeners; else there may be others.
    """
    by_path: dict[str | None, tuple[list[Socket], list[Connection]]] = {}
    for listener in listeners:
        by_path.setdefault(listener.path, ([], []))[0].append(listener)
    unnamed: dict[str, list[Connection]] = {"(socketpairs)": [], "(path not known)": []}
    for connection in connections:
        if connection.path is None:
            # To the kernel a pair's survivor and a client whose server has gone look the same: neither has a path.
            unnamed["(socketpairs)" if connection.pair else "(path not known)"].append(connection)
        else:
            by_path.setdefault(connection.path, ([], []))[1].append(connection)
    nobody = ["no listener" if all_listen else "listener not known"]
    blocks = [
        _block(path or "", *of_path, width, paint, nobody=nobody)
        for path, of_path in sorted(by_path.items(), key=lambda item: item[0] or "")
    ]
    blocks += [_block(heading, [], found, width, paint) for heading, found in unnamed.items() if found]
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def _block(
    heading: str,
    listeners: Sequence[Socket],
    connections: Sequence[Connection],
    width: int | None,
    paint: Paint,
    *,
    nobody: Sequence[str] = (),
) -> list[str]:
    """Return the lines of one path; nobody: what is said where there are no listeners."""
    lines: list[str] = []
    # What the listener's line says already is not said of the server's ends again.
    known = _places([holder for listener in listeners for holder in listener.holders])
    for listener in sorted(listeners, key=_order_of_end):
        lines += _heading(heading, _listener(listener, width), width, paint)
    if not listeners:
        lines += _heading(heading, nobody, width, paint)
    rows = [
        (
            _cell([connection.client for connection in same], same[0].state, known, width),
            _cell([connection.server for connection in same], same[0].state, known, width),
            len(same),
        )
        for same in _folded(connections)
    ]
    return lines + list(_table(rows, width))


def _heading(heading: str, parts: Sequence[str], width: int | None, paint: Paint) -> list[str]:
    text = "  ".join(part for part in parts if part)
    if not text:
        return [paint("bold", heading)]
    if width is None or len(heading) + _GAP + len(text) <= width:
        return [f"{paint('bold', heading)}{' ' * _GAP}{text}"]
    # The path keeps a line of its own, and is never cut.
    indent = " " * (2 * _INDENT)
    return [paint("bold", heading), *(indent + line for line in _lines(parts, width - len(indent), " " * _GAP))]


def _listener(listener: Socket, width: int | None) -> list[str]:
    waiting, backlog = listener.receive_queue, listener.send_queue
    # unix_recvq_full() asks for more than the backlog.
    state = "full, " if waiting > backlog else ""
    return [
        f"{_processes([listener], width)} {'listen' if len(listener.holders) > 1 else 'listens'}",
        f"backlog {state}{waiting} of {backlog}",
        *(["seqpacket"] if listener.type == "seqpacket" else []),
        *_places(listener.holders),
    ]


def _folded(connections: Iterable[Connection]) -> Iterator[list[Connection]]:
    """Yield the connections of a path in order, as one where there are many of the same two and nothing is unread."""
    ordered = sorted(connections, key=lambda connection: (_who(connection), _order(connection)))
    for _, found in groupby(ordered, key=_who):
        same = list(found)
        quiet = [connection for connection in same if not any(end.receive_queue for end in connection.ends)]
        if len(quiet) < _FOLDED_FROM:
            yield from ([connection] for connection in same)
            continue
        yield quiet
        yield from ([connection] for connection in same if any(end.receive_queue for end in connection.ends))


def _who(connection: Connection) -> tuple[list[int], list[int], str]:
    """Return what connections are told apart by when they are folded: the processes at each end."""
    return _pids(connection.client), _pids(connection.server), connection.state


def _pids(end: Socket | None) -> list[int]:
    return sorted({holder.pid for holder in end.holders}) if end else []


def _order(connection: Connection) -> list[tuple[int, int, int]]:
    return [_order_of_end(end) for end in connection.ends]


def _order_of_end(end: Socket) -> tuple[int, int, int]:
    first = min(((holder.pid, holder.descriptor or 0) for holder in end.holders), default=(0, 0))
    return (*first, end.inode)


def _cell(ends: Sequence[Socket | None], state: str, known: Sequence[str], width: int | None) -> list[str]:
    """Return what is said of one end of one connection, or of several that are alike."""
    there = [end for end in ends if end is not None]
    if not there:
        return [f"({state})"]
    parts = [_processes(there, width)]
    unread = sum(end.receive_queue for end in there)
    if unread:
        parts[0] += ","
        parts.append(f"{size(unread)} unread")
    parts += [
        f"({place})" for place in _places([holder for end in there for holder in end.holders]) if place not in known
    ]
    return parts


def _processes(ends: Sequence[Socket], width: int | None) -> str:
    """Return the processes that hold these sockets, each with its descriptors: nginx[206]:5,8,11."""
    descriptors: dict[tuple[int, str], set[int]] = {}
    for end in ends:
        for holder in end.holders:
            numbers = descriptors.setdefault((holder.pid, holder.comm), set())
            if holder.descriptor is not None:
                numbers.add(holder.descriptor)
    if not descriptors:
        return "?"
    names = [
        f"{comm}[{pid}]" + (f":{_numbers(sorted(numbers), width)}" if numbers else "")
        for (pid, comm), numbers in sorted(descriptors.items())
    ]
    shown = names if width is None else names[:_PROCESSES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" +{more}" if more else "")


def _numbers(numbers: Sequence[int], width: int | None) -> str:
    shown = numbers if width is None or len(numbers) <= _DESCRIPTORS_SHOWN else numbers[:_DESCRIPTORS_SHOWN]
    return ",".join(map(str, shown)) + (",..." if len(shown) < len(numbers) else "")


def _places(holders: Iterable[Holder]) -> list[str]:
    """Return the units and containers that these processes belong to, each once."""
    return list(dict.fromkeys(place for holder in holders if holder.cgroup for place in _place(holder.cgroup)))


def _place(cgroup: Cgroup) -> Iterator[str]:
    if cgroup.unit and not cgroup.unit_is_container:
        yield cgroup.unit
    if cgroup.container:
        yield f"{cgroup.runtime or ''} {cgroup.container}".lstrip()


def _table(rows: Sequence[tuple[list[str], list[str], int]], width: int | None) -> Iterator[str]:
    """Lay out the two ends beside each other; parts that do not fit stand below each other."""
    room = None if width is None else max((width - _INDENT - _GAP) // 2, 1)
    # In a pipe nobody looks at columns, and a pool's connection may be held a hundred times.
    widest = max((len(" ".join(client)) for client, _, _ in rows), default=0)
    column = 0 if room is None else min(widest, room)
    for client, server, count in rows:
        if count > 1:
            server = [*server[:-1], f"{server[-1]},", counted(count, "connection")]  # noqa: PLW2901
        left = _lines(client, room)
        # What the client's column leaves is the server's.
        right = _lines(server, None if width is None else max(width - _INDENT - column - _GAP, 1))
        for number in range(max(len(left), len(right))):
            one = left[number] if number < len(left) else ""
            other = right[number] if number < len(right) else ""
            yield f"{' ' * _INDENT}{one:<{column}}{' ' * _GAP}{other}".rstrip()


def _lines(parts: Sequence[str], room: int | None, separator: str = " ") -> list[str]:
    """Return the parts on as few lines as there is room for."""
    if room is None:
        return [separator.join(parts)]
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= room:
            lines[-1] += separator + part
            continue
        # A name is only broken if it is longer than a whole line.
        lines += textwrap.wrap(part, room, break_on_hyphens=False)
    return lines
