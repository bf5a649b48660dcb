"""An alert as a block of text: the sentence, who and where, and both ends' operations side by side.

It is printed while the servers that are watched go on, so it is made with plain string formatting: rich would take
ten times as long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from hangup.cli.clock import local
from hangup.cli.reporters.alert_json import survivor
from hangup.cli.reporters.operation import operation_text
from hangup.cli.reporters.operation_json import address
from hangup.tracer.units import counted, duration, moment
from hangup.cli.terminal import Paint, plain
from hangup.tracer.cgroups import Cgroup
from hangup.tracer.connection import Holder, Process, timeline
from hangup.tracer.escape import escape_comm
from hangup.tracer.record import Event, EventFlag, Operation
from hangup.tracer.tracer import Alert

# The columns: times and labels, the client's operations, the server's. Together 80.
_TIME = 11
_CLIENT = 32
_SERVER = 80 - _TIME - 2 - _CLIENT - 2

# Of a longer timeline the beginning and the end are shown; --json has all that was kept.
_ROWS_FIRST = 12
_ROWS_LAST = 28


@dataclass(slots=True)
class _Row:
    """A row of the timeline: what one end did, perhaps several times over."""

    when: int
    role: str
    parts: list[str]
    style: str | None = None
    times: int = 1
    not_kept: int = 0
    """Of a row that stands for operations that were not kept: how many."""


def alert_block(alert: Alert, offset: int, *, width: int, paint: Paint = plain) -> str:
    """Return the block, with an empty line at its end.

    offset: what makes a wall-clock time of a record's times. width: where to fold the sentence.
    """
    verdict = alert.verdict
    style = "bold red" if verdict.kind.is_alert else "bold yellow"
    lines = [paint(style, line) for line in _folded(verdict.sentence, width)]
    lines.append(f"{verdict.kind.label}  {local(alert.when + offset)}  {_place(alert)}")
    for doubt in verdict.doubts:
        lines.extend(paint("yellow", line) for line in _folded(f"uncertain: {doubt}", width))
    lines.append("")
    lines.extend(_ends(alert, paint))
    lines.append("")
    lines.extend(_timeline(alert, paint))
    lines.append("")
    return "\n".join(lines)


def _folded(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _place(alert: Alert) -> str:
    if alert.path is not None:
        return alert.path
    pair = alert.connection is not None and alert.connection.pair
    return "(socketpair)" if pair else "(path not known)"


def _ends(alert: Alert, paint: Paint) -> Iterator[str]:
    """Say who is at either end, and by which names the kernel and other tools know it."""
    connection = alert.connection
    if connection is None:
        assert alert.failed is not None
        yield from _cells("process", _process(alert.client), [], separator=" ")
        yield from _places(alert.client, None)
        yield from _cells("sock", [address(alert.failed.sock) or "?"], [])
        yield from _cells("inode", _inode(alert.failed.inode_number, alert.failed.inode), [], separator=" ")
        return
    client, server = connection.client, connection.server
    names = ("one end", "other end") if connection.pair else ("client", "server")
    yield from (paint("bold", line) for line in _cells("", *([name] for name in names)))
    yield from _cells("process", _process(alert.client), _process(alert.server), separator=" ")
    yield from _places(alert.client, alert.server)
    yield from _cells("sock", [address(client.sock) or "?"], [address(server.sock) or "?"])
    yield from _cells("inode", *(_inode(end.inode_number, end.inode) for end in (client, server)), separator=" ")


def _process(process: Process | Holder | None) -> list[str]:
    if process is None:
        return ["?"]
    parts = [f"{process.comm}[{process.pid}]"]
    if isinstance(process, Process):
        parts.append(f"tid {process.tid} uid {process.uid}")
    if process.inner_pid not in (None, process.pid):
        parts.append(f"pid {process.inner_pid} inside")
    return parts


def _places(client: Process | Holder | None, server: Process | Holder | None) -> Iterator[str]:
    """Say which units and containers they belong to, as far as they belong to any."""
    cgroups = [end.cgroup if end else None for end in (client, server)]
    for label, name_of in (("unit", _unit), ("container", _container)):
        names = [name_of(cgroup) if cgroup else None for cgroup in cgroups]
        if any(names):
            # Longer ones are broken anywhere: they have no blanks.
            yield from _cells(label, *(_pieces(name or "", _CLIENT) for name in names), separator="")


def _unit(cgroup: Cgroup) -> str | None:
    return None if cgroup.unit_is_container else cgroup.unit


def _container(cgroup: Cgroup) -> str | None:
    return f"{cgroup.runtime or ''} {cgroup.container}".lstrip() if cgroup.container else None


def _pieces(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)]


def _inode(number: int, inode: int) -> list[str]:
    return [str(number or "?"), *([address(inode) or ""] if inode else [])]


def _timeline(alert: Alert, paint: Paint) -> Iterator[str]:
    connection = alert.connection
    if connection is None:
        failed = alert.failed
        assert failed is not None
        yield from _cells(moment(0, 0), [operation_text(failed)], [], right=True, style=("bold red", paint))
        return
    rows = _rows(alert)
    start = connection.start
    whole = max((row.when - start for row in rows), default=0)
    cut = rows[_ROWS_FIRST:-_ROWS_LAST]
    if len(cut) < 2:
        cut = []
    for number, row in enumerate(rows):
        if cut and _ROWS_FIRST <= number < len(rows) - _ROWS_LAST:
            if number == _ROWS_FIRST:
                left_out = sum(row.not_kept or row.times for row in cut)
                yield " " * (_TIME + 2) + f"... {left_out} operations not shown ..."
            continue
        times = [f"{row.times} times"] if row.times > 1 else []
        cells = ([*row.parts, *times], []) if row.role == "client" else ([], [*row.parts, *times])
        style = (row.style, paint) if row.style else None
        label = "" if row.not_kept else moment(row.when - start, whole)
        yield from _cells(label, *cells, right=True, style=style)


def _rows(alert: Alert) -> list[_Row]:
    connection = alert.connection
    assert connection is not None
    hangup = connection.hangup
    suffered = survivor(alert)
    gaps = {id(end.tail[0]): end.omitted for end in (connection.client, connection.server) if end.tail and end.omitted}
    # Who an end's heading names; what another process did is marked with that one's name.
    users = {"client": alert.client.pid if alert.client else 0, "server": alert.server.pid if alert.server else 0}
    rows: list[_Row] = []
    for when, endpoint, event in timeline(connection):
        omitted = gaps.get(id(event))
        if omitted:
            rows.append(_Row(when, endpoint.role, [f"... {omitted} operations not kept ..."], not_kept=omitted))
        row = _Row(when, endpoint.role, [operation_text(event)])
        if event.pid != users[endpoint.role]:
            row.parts.append(f"by {escape_comm(event.comm)}[{event.pid}]")
        if event is hangup:
            row.parts[0] += ": HANG-UP"
            row.parts.insert(1, _unread(event, alert, of_peer=endpoint.role != suffered))
            row.style = "bold yellow"
        elif alert.failed is not None and event is alert.failed and endpoint.role == suffered:
            row.parts.append("BROKEN WRITE" if event.operation == Operation.WRITE else "RESET READ")
            gap = alert.verdict.figures.gap
            if gap is not None and gap >= 0:
                row.parts.append(f"{duration(gap)} after the hang-up")
            row.style = "bold red"
        last = rows[-1] if rows else None
        if last and not last.style and not row.style and (last.role, last.parts) == (row.role, row.parts):
            last.times += 1
        else:
            rows.append(row)
    return rows


def _unread(event: Event, alert: Alert, *, of_peer: bool) -> str:
    # The verdict's figure counts what slipped in while the release was under way, too.
    unread = max(event.unread_bytes, alert.verdict.figures.unread_bytes if of_peer else 0)
    least = "at least " if event.flags & EventFlag.UNREAD_AT_LEAST and unread == event.unread_bytes else ""
    return f"{least}{counted(unread, 'byte')} unread" if unread else "nothing unread"


def _cells(
    label: str,
    client: list[str],
    server: list[str],
    *,
    separator: str = ", ",
    right: bool = False,
    style: tuple[str, Paint] | None = None,
) -> Iterator[str]:
    """Lay out one row; parts that do not fit beside each other stand below each other."""
    left_lines = _fit(client, _CLIENT if server else 80 - _TIME - 2, separator)
    right_lines = _fit(server, _SERVER, separator)
    name, paint = style or ("", plain)
    for number in range(max(len(left_lines), len(right_lines))):
        left = left_lines[number] if number < len(left_lines) else ""
        other = right_lines[number] if number < len(right_lines) else ""
        head = label if number == 0 else ""
        head = f"{head:>{_TIME}}" if right else f"  {head:<{_TIME - 2}}"
        body = f"{left:<{_CLIENT}}  {other}".rstrip()
        if style:
            # The blanks before the server's cell are not part of what is marked.
            text = body.lstrip()
            body = body[: len(body) - len(text)] + paint(name, text)
        yield f"{head}  {body}".rstrip()


def _fit(parts: list[str], width: int, separator: str) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= width:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines
