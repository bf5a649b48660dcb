"""An alert as a block of text: the sentence, who and where, and both ends' operations side by side.

It is printed while the servers that are watched go on, so it is made with plain string formatting: rich would take
ten times as long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hangup.cli.clock import local
from hangup.cli.reporters.operation import operation_text
from hangup.cli.terminal import Paint, plain
from hangup.tracer.clocks import Clocks
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Event, EventFlag
from hangup.tracer.story.connection import IDLE
from hangup.tracer.story.operation import address
from hangup.tracer.story.process import Process, process_of
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert
from hangup.tracer.units import duration, moment, size
from hangup.tracer.verdicts.sentences import of_consequence

# The columns: times and labels, the client's operations, the server's. Together 80.
_TIME = 11
_CLIENT = 32
_SERVER = 80 - _TIME - 2 - _CLIENT - 2

# Of a longer timeline the beginning and the end are shown; --json has all that was kept.
_ROWS_FIRST = 12
_ROWS_LAST = 28

# So many rows that come again and again are shown once; a request and its answer are four.
_LONGEST_CYCLE = 8

# What the row of the failure says where the symptom's name would be wrong of that operation: it shows it only.
_SYMPTOMS = {Symptom.TOLD: "ECONNRESET TAKEN BEFORE"}


@dataclass(slots=True)
class _Row:
    """A row of the timeline: what one end did, perhaps several times over."""

    when: int
    role: str
    parts: list[str]
    style: str | None = None
    """Of a row that says what went wrong: never left out."""
    times: int = 1
    stands_for: int = 1
    """How many operations it stands for."""
    note: bool = False
    """Whether it is about the connection and no operation of an end."""
    silence: int = 0
    """Of a note that nothing happened: for how long, in ns."""


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
    where = f" #{alert.story.number} {_place(alert)}" if alert.story else ""
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
    return "  ".join([*parts, _place(alert)])


def _folded(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _place(alert: Alert) -> str:
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
    rows = _without_repeats(_rows(alert))
    start = story.start
    whole = max((row.when - start for row in rows), default=0)
    cut = range(_ROWS_FIRST, len(rows) - _ROWS_LAST)
    if len(cut) < 2:
        cut = range(0)
    left_out = 0
    for number, row in enumerate(rows):
        if number in cut and not row.style:
            left_out += row.stands_for
            continue
        if left_out:
            yield " " * (_TIME + 2) + f"... {left_out} operations not shown ..."
            left_out = 0
        if row.note:
            yield " " * (_TIME + 2) + row.parts[0]
            continue
        times = [f"{row.times} times"] if row.times > 1 else []
        cells = ([*row.parts, *times], []) if row.role == "client" else ([], [*row.parts, *times])
        style = (row.style, paint) if row.style else None
        yield from _cells(moment(row.when - start, whole), *cells, right=True, style=style)


def _rows(alert: Alert) -> list[_Row]:
    story, failed = alert.story, alert.failed
    assert story is not None
    hangup = alert.hangup
    victim = alert.verdict.victim
    shutdown = alert.shutdown
    # Who an end's heading names; what another process did is marked with that one's name.
    users = {"client": alert.client.pid if alert.client else 0, "server": alert.server.pid if alert.server else 0}
    kept = {"client": 0, "server": 0}
    rows: list[_Row] = []
    before: int | None = None
    for when, role, event in story.timeline:
        if before is not None and when - before >= IDLE:
            text = f"--- {duration(when - before)} of silence ---"
            rows.append(_Row(when, role, [text], note=True, silence=when - before, stands_for=0))
        before = when
        end = story.end(role)
        for gap in end.gaps:
            if gap.after == kept[role]:
                noun = "operation" if gap.operations == 1 else "operations"
                text = f"... {gap.operations} {noun} of the {role} not kept ..."
                rows.append(_Row(when, role, [text], note=True, stands_for=gap.operations))
        kept[role] += 1
        row = _Row(when, role, [operation_text(event)])
        who = process_of(event)
        if who.pid != users[role]:
            row.parts.append(f"by {who.comm}[{who.pid}]")
        if hangup is not None and event is hangup.event:
            row.parts[0] += ": HANG-UP"
            row.parts.insert(1, _unread(event, alert, of_peer=role != victim))
            row.style = "bold yellow"
        elif shutdown is not None and event is shutdown:
            row.style = "bold yellow"
        elif failed is not None and role == victim and event is failed:
            row.parts.append(_SYMPTOMS.get(alert.verdict.symptom) or alert.verdict.symptom.value.upper())
            later = alert.verdict.figures.gap
            if later is not None and later >= 0:
                row.parts.append(f"{duration(later)} after the hang-up")
            row.style = "bold red"
        last = rows[-1] if rows else None
        if last and not (last.style or row.style or last.note) and (last.role, last.parts) == (row.role, row.parts):
            last.times += 1
            last.stands_for += 1
        else:
            rows.append(row)
    return rows


def _without_repeats(rows: Sequence[_Row]) -> list[_Row]:
    """Fold rows that come again in the same order, a request and its answer for example: once is enough."""
    folded: list[_Row] = []
    place = 0
    while place < len(rows):
        length, times = _cycle(rows, place)
        folded.extend(rows[place : place + length])
        if times > 1:
            repeated = rows[place + length : place + length * times]
            text = f"(these {length} rows {times - 1} more {'time' if times == 2 else 'times'})"
            stands_for = sum(row.stands_for for row in repeated)
            folded.append(_Row(repeated[0].when, "client", [text], note=True, stands_for=stands_for))
        place += length * times
    return folded


def _cycle(rows: Sequence[_Row], place: int) -> tuple[int, int]:
    """Return how many rows from a place on come again at once, and how often they are there; (1, 1): none."""
    for length in range(2, _LONGEST_CYCLE + 1):
        pattern = rows[place : place + length]
        if len(pattern) < length or not _may_repeat(pattern[-1]) or not _may_repeat(pattern[0]):
            break
        times = 1
        while _same(pattern, rows[place + length * times : place + length * (times + 1)]):
            times += 1
        # Folded, it takes one row more than once.
        if times > 2 or (times == 2 and length > 2):
            return length, times
    return 1, 1


def _may_repeat(row: _Row) -> bool:
    """Whether a row may be folded: not one that says what went wrong, or what was not kept."""
    return not row.style and (not row.note or bool(row.silence))


def _same(pattern: Sequence[_Row], rows: Sequence[_Row]) -> bool:
    """Whether rows show the same once more; silences of a rhythm are about as long, those that stand out are not."""
    if len(rows) < len(pattern):
        return False
    for one, other in zip(pattern, rows, strict=True):
        if one.silence and other.silence:
            if not one.silence / 2 < other.silence < one.silence * 2:
                return False
        elif not _may_repeat(other) or (one.role, one.parts, one.times) != (other.role, other.parts, other.times):
            return False
    return True


def _unread(event: Event, alert: Alert, *, of_peer: bool) -> str:
    # The verdict's figure counts what slipped in while the release was under way, too.
    unread = max(event.unread_bytes, alert.verdict.figures.unread_bytes if of_peer else 0)
    least = "at least " if event.flags & EventFlag.UNREAD_AT_LEAST and unread == event.unread_bytes else ""
    return f"{least}{size(unread)} unread" if unread else "nothing unread"


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
