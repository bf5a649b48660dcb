"""An alert as a block of text: the sentence, who and where, and both ends' operations side by side.

It is printed while the servers that are watched go on, so it is made with plain string formatting: rich would take
ten times as long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from hangup.cli.clock import local
from hangup.cli.reporters.operation import operation_text
from hangup.cli.reporters.timeline import Mark, Note, timeline_of
from hangup.cli.terminal import Paint, plain
from hangup.tracer.clocks import Clocks
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.story.operation import address
from hangup.tracer.story.process import Process
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert
from hangup.tracer.units import moment
from hangup.tracer.verdicts.sentences import of_consequence

# The columns: times and labels, the client's operations, the server's. Together 80.
_TIME = 11
_CLIENT = 32
_SERVER = 80 - _TIME - 2 - _CLIENT - 2

_STYLES: dict[Mark, str] = {"cause": "bold yellow", "failure": "bold red"}
_NOTES: dict[Note, str] = {"silence": "--- {} ---", "missing": "... {} ...", "repeated": "({})"}


def alert_block(alert: Alert, clocks: Clocks, *, width: int, paint: Paint = plain, addresses: bool = False) -> str:
    """Return the block, with an empty line at its end.

    clocks: what makes wall-clock times of the records'. width: where to fold the sentence. addresses: whether to
    show the kernel's.
    """
    verdict = alert.verdict
    style = "bold red" if verdict.kind.is_alert and not verdict.consequence.harmless else "bold yellow"
    lines = [paint(style, line) for line in _folded(verdict.sentence, width)]
    victim = alert.client if verdict.victim == "client" else alert.server
    cost = of_consequence(verdict.consequence, victim)
    if cost:
        lines.extend(_folded(cost, width))
    lines.append(_heading(alert, clocks))
    for doubt in verdict.doubts:
        lines.extend(paint("yellow", line) for line in _folded(f"uncertain: {doubt}", width))
    lines.append("")
    lines.extend(_ends(alert, paint, addresses=addresses))
    lines.append("")
    lines.extend(_timeline(alert, paint))
    lines.append("")
    lines.extend(_folded(f"advice: {verdict.kind.advice} (hangup explain {verdict.kind.label})", width))
    lines.append("")
    return "\n".join(lines)


def alert_row(alert: Alert, clocks: Clocks) -> str:
    """Return an alert as one line: when, verdict, the connection's number, the path, the sentence."""
    verdict = alert.verdict
    # The sentence about a failed connect names the path itself.
    where = f" #{alert.story.number} {place_of(alert)}" if alert.story else ""
    return f"{local(clocks.wall(alert.when), '%H:%M:%S')} {verdict.kind.label}{where}: {verdict.sentence}"


def _heading(alert: Alert, clocks: Clocks) -> str:
    """Say in one line what kind of alert it is, when, and where."""
    verdict = alert.verdict
    parts = [verdict.kind.label]
    if verdict.consequence.harmless:
        parts.append("harmless")
    if verdict.symptom is not Symptom.FAILED_CONNECT:
        parts.append(verdict.symptom.value if verdict.symptom is not Symptom.NONE else "nobody failed")
    parts.append(local(clocks.wall(alert.when)))
    if alert.story:
        parts.append(f"#{alert.story.number}")
    return "  ".join([*parts, place_of(alert)])


def _folded(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def place_of(alert: Alert) -> str:
    """Return the path of an alert's connection, or what stands in its place."""
    if alert.path is not None:
        return alert.path
    return "(socketpair)" if alert.story and alert.story.pair else "(path not known)"


def _ends(alert: Alert, paint: Paint, *, addresses: bool) -> Iterator[str]:
    """Say who is at either end, and by which names the kernel and other tools know it."""
    story = alert.story
    if story is None:
        assert alert.failed is not None
        yield from _cells("process", _process(alert.client), [], separator=" ")
        yield from _threads(alert.client, None)
        yield from _places(alert.client, None)
        if addresses:
            yield from _cells("sock", [address(alert.failed.sock) or "?"], [])
        yield from _cells("inode", _inode(alert.failed.inode_number, alert.failed.inode, addresses=addresses), [])
        return
    client, server = story.client, story.server
    names = ("one end", "other end") if story.pair else ("client", "server")
    yield from (paint("bold", line) for line in _cells("", *([name] for name in names)))
    yield from _cells("process", _process(alert.client), _process(alert.server), separator=" ")
    yield from _threads(alert.client, alert.server)
    yield from _places(alert.client, alert.server)
    if addresses:
        yield from _cells("sock", [address(client.sock) or "?"], [address(server.sock) or "?"])
    inodes = [_inode(end.inode_number, end.inode, addresses=addresses) for end in (client, server)]
    yield from _cells("inode", *inodes, separator=" ")


def _process(process: Process | None) -> list[str]:
    if process is None:
        return ["?"]
    parts = [f"{process.comm}[{process.pid}]"]
    if process.uid is not None:
        parts.append(f"uid {process.uid}")
    if process.inner_pid not in (None, process.pid):
        parts.append(f"pid {process.inner_pid} inside")
    return parts


def _threads(client: Process | None, server: Process | None) -> Iterator[str]:
    """Name the threads that are not their process's first."""
    cells = []
    for process in (client, server):
        differs = process is not None and process.tid not in (None, process.pid)
        cells.append([f"{process.thread}[{process.tid}]"] if process and differs else [])
    if any(cells):
        yield from _cells("thread", *cells)


def _places(client: Process | None, server: Process | None) -> Iterator[str]:
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


def _inode(number: int, inode: int, *, addresses: bool) -> list[str]:
    return [str(number or "?"), *([address(inode) or ""] if inode and addresses else [])]


def _timeline(alert: Alert, paint: Paint) -> Iterator[str]:
    story = alert.story
    if story is None:
        failed = alert.failed
        assert failed is not None
        yield from _cells(moment(0, 0), [operation_text(failed)], [], right=True, style=("bold red", paint))
        return
    timeline = timeline_of(alert)
    for row in timeline.rows:
        if row.note == "identity":
            after = row.when - story.start
            label = moment(after, timeline.whole) if after >= 0 else "before"
            yield from _cells(label, row.parts, [], right=True)
            continue
        if row.note:
            yield " " * (_TIME + 2) + _NOTES[row.note].format(row.parts[0])
            continue
        times = [f"{row.times} times"] if row.times > 1 else []
        cells = ([*row.parts, *times], []) if row.role == "client" else ([], [*row.parts, *times])
        style = (_STYLES[row.mark], paint) if row.mark else None
        yield from _cells(moment(row.when - story.start, timeline.whole), *cells, right=True, style=style)


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
        elif len(part) <= width:
            lines.append(part)
        else:
            lines.extend(textwrap.wrap(part, width, break_on_hyphens=False))
    return lines
