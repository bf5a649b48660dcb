"""What stands on a page, as plain data: the template adds nothing but words around it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hangup.cli.clock import utc
from hangup.cli.ended import Ended
from hangup.cli.reporters.alert import place_of
from hangup.cli.reporters.alerts import Alike
from hangup.cli.reporters.losses import losses_text
from hangup.cli.reporters.operation import operation_text
from hangup.cli.reporters.order import ordered
from hangup.cli.reporters.page import charts
from hangup.cli.reporters.page.collected import AlikeAlerts, Collected, Dated
from hangup.cli.reporters.page.drawing import Drawing
from hangup.cli.reporters.page.network import Pair, network
from hangup.cli.reporters.page.sequence import name_of, sequence
from hangup.tracer.record.facts import HostFact
from hangup.tracer.statistics import Gaps, Key, Row, hurt_on
from hangup.tracer.story.process import Process
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert
from hangup.tracer.units import counted, duration
from hangup.tracer.verdicts import Kind
from hangup.tracer.verdicts.sentences import of_consequence
from hangup.tracer.version import VERSION

MOST_ROWS = 200
"""So many rows of counts are shown; the rest is one."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A row of the table of verdicts."""

    verdict: str
    bad: bool
    """Whether somebody was hurt."""
    client: str
    server: str
    path: str
    connections: int
    symptoms: str
    """How many failed, and how."""
    gaps: tuple[str, str]
    """From the hang-up to the failure: half took no longer; and the longest. Empty: not known."""


@dataclass(frozen=True, slots=True)
class ShownEnd:
    """Who is at an end, as pairs of what it is called and what it is."""

    heading: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert with its story."""

    anchor: str
    """By which it can be linked to."""
    time: str
    number: str
    """The connection's; empty for a failed connect."""
    sentence: str
    cost: str
    symptom: str
    doubts: tuple[str, ...]
    ends: tuple[ShownEnd, ...]
    drawing: Drawing | None
    operation: str
    """Of a failed connect, which has no drawing, what failed."""


@dataclass(frozen=True, slots=True)
class AlertLine:
    """An alert as a line of a table."""

    time: str
    number: str
    client: str
    server: str
    unread: str
    gap: str
    symptom: str


@dataclass(frozen=True, slots=True)
class ShownKind:
    """Alerts that are alike."""

    anchor: str
    verdict: str
    bad: bool
    """Whether it is one that somebody is hurt by."""
    client: str
    server: str
    path: str
    count: int
    meaning: str
    advice: str
    drawn: tuple[ShownAlert, ...]
    lines: tuple[AlertLine, ...]
    more: int
    """How many are neither drawn nor a line."""


@dataclass(frozen=True, slots=True)
class Page:
    """All of it."""

    title: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    """About the capture, as pairs of what it is called and what it is."""
    warnings: tuple[str, ...]
    rows: tuple[VerdictRow, ...]
    total: VerdictRow
    rows_left_out: int
    over_time: Drawing | None
    gaps: Drawing | None
    network: Drawing | None
    kinds: tuple[ShownKind, ...]
    meanings: tuple[tuple[str, str], ...]
    """What each verdict on the page means."""
    version: str


@dataclass(frozen=True, slots=True)
class Source:
    """What a page is about."""

    names: Sequence[str]
    """Of the captures, safe to show."""
    host: HostFact | None
    span: tuple[int, int]
    """The first and the last time in them, by the wall clock, in ns."""


def page(collected: Collected, ended: Ended, source: Source) -> Page:
    """Return the page of a capture that has been read."""
    rows = ordered(ended.statistics)
    begin, end = source.span
    connections, hurt = ended.statistics.total.connections, sum(_hurt(key, row) for key, row in rows)
    shown = rows[:MOST_ROWS]
    kinds = tuple(_kind(number, alike, of_kind) for number, (alike, of_kind) in enumerate(collected.kinds.items(), 1))
    named = {key.kind for key, _ in shown} | {Kind.named(kind.verdict) for kind in kinds}
    return Page(
        title=f"hangup: {' '.join(source.names)}",
        headline=_headline(connections, hurt, ended.statistics.left_out),
        facts=tuple(_facts(source, ended, begin)),
        warnings=(losses_text(ended.losses),) if ended.losses.total else (),
        rows=tuple(_row(key, row) for key, row in shown),
        total=_total(ended.statistics.total),
        rows_left_out=len(rows) - len(shown),
        over_time=charts.over_time(collected.over_time, begin, end),
        gaps=charts.gaps(ended.statistics.counts().gaps),
        network=network(_pairs(rows)),
        kinds=kinds,
        meanings=tuple((kind.label, kind.meaning) for kind in Kind if kind in named),
        version=VERSION,
    )


def _hurt(key: Key, row: Row) -> int:
    return hurt_on(key.kind, row.connections, row.harmless)


def _headline(connections: int, hurt: int, left_out: int) -> str:
    if left_out:
        # Of none to all of those it is asked.
        return f"{hurt:,} of {connections:,} to {counted_of(connections + left_out)} failed."
    if not connections:
        return "No connection ended or failed."
    if not hurt:
        return f"None of {counted_of(connections)} failed."
    return f"{hurt:,} of {counted_of(connections)} failed: {_share(hurt, connections)}."


def counted_of(connections: int) -> str:
    """Return "1 connection", "1,000 connections"."""
    return counted(connections, "connection").replace(str(connections), f"{connections:,}", 1)


def _share(some: int, of_all: int) -> str:
    """Return a share in percent, never rounded to none or to all."""
    percent = 100 * some / of_all
    if some < of_all and percent > 99.9:
        return "more than 99.9 %"
    return "less than 0.1 %" if percent < 0.1 else f"{percent:.1f} %"


def _facts(source: Source, ended: Ended, begin: int) -> Iterator[tuple[str, str]]:
    yield "capture", " ".join(source.names)
    yield "begun", f"{_second(begin)} UTC"
    yield "lasted", duration(round(ended.seconds * 10**9))
    host = source.host
    if host is not None and host.kernel:
        yield "kernel", host.kernel
    if ended.probes:
        how = "failing connections" if host is not None and host.recording else "every operation"
        yield "watched", f"{how}, with {ended.probes} ({counted(ended.functions, 'function')})"
    if host is not None and host.version and host.version != VERSION:
        yield "recorded by", f"hangup {host.version}"
    if ended.statistics.left_out:
        yield "not counted", f"{counted_of(ended.statistics.left_out)} that ended well"
    yield "lost", "nothing" if not ended.losses.total else f"{ended.losses.total:,}"


def _second(wall: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall // 10**9))


def _symptoms(row: Row) -> str:
    names = (
        (Symptom.BROKEN_WRITE.value, row.broken_writes),
        (Symptom.RESET_READ.value, row.reset_reads),
        (Symptom.CUT_READ.value, row.cut_reads),
        (Symptom.SHORT_WRITE.value, row.short_writes),
        (Symptom.TOLD.value, row.errors_told),
        ("harmless", row.harmless),
    )
    told = [f"{count:,} {name}" for name, count in names if count]
    told += [f"{count:,} {error}" for error, count in row.errors.most_common()]
    return ", ".join(told)


def _row(key: Key, row: Row) -> VerdictRow:
    bad = _hurt(key, row) > 0
    return VerdictRow(
        key.kind.label, bad, key.client, key.server, key.path, row.connections, _symptoms(row), _gaps(row.gaps)
    )


def _total(row: Row) -> VerdictRow:
    return VerdictRow("total", False, "", "", "", row.connections, _symptoms(row), ("", ""))


def _gaps(gaps: Gaps) -> tuple[str, str]:
    if not gaps.count:
        return "", ""
    return duration(gaps.percentile(50)), duration(gaps.maximum)


def _pairs(rows: Sequence[tuple[Key, Row]]) -> Iterator[Pair]:
    connections: dict[tuple[str, str, str], list[int]] = {}
    for key, row in rows:
        counts = connections.setdefault((key.client, key.path, key.server), [0, 0])
        counts[0] += row.connections
        counts[1] += _hurt(key, row)
    for names, (count, failed) in connections.items():
        yield Pair(*names, count, failed)


def _kind(number: int, alike: Alike, alerts: AlikeAlerts) -> ShownKind:
    kind = Kind.named(alike.verdict)
    anchor = f"kind-{number}"
    return ShownKind(
        anchor,
        alike.verdict,
        kind.is_alert,
        alike.client,
        alike.server,
        alike.path,
        alerts.count,
        kind.meaning,
        kind.advice,
        tuple(_alert(f"{anchor}-{place}", dated) for place, dated in enumerate(alerts.drawn, 1)),
        tuple(map(_line, alerts.rows)),
        alerts.count - len(alerts.drawn) - len(alerts.rows),
    )


def _alert(anchor: str, dated: Dated) -> ShownAlert:
    alert = dated.alert
    verdict = alert.verdict
    victim = alert.client if verdict.victim == "client" else alert.server
    return ShownAlert(
        anchor,
        utc(dated.wall),
        f"#{alert.story.number}" if alert.story else "",
        verdict.sentence,
        of_consequence(verdict.consequence, victim) or "",
        _symptom(alert),
        verdict.doubts,
        tuple(_ends(alert)),
        sequence(alert),
        operation_text(alert.failed) if alert.story is None and alert.failed else "",
    )


def _symptom(alert: Alert) -> str:
    symptom = alert.verdict.symptom
    text = "nobody failed" if symptom is Symptom.NONE else symptom.value
    return f"{text}, harmless" if alert.verdict.consequence.harmless else text


def _line(dated: Dated) -> AlertLine:
    alert = dated.alert
    figures = alert.verdict.figures
    return AlertLine(
        utc(dated.wall),
        f"#{alert.story.number}" if alert.story else "",
        name_of(alert.client),
        name_of(alert.server) if alert.story else "",
        str(figures.unread_bytes),
        "" if figures.gap is None else duration(max(figures.gap, 0)),
        _symptom(alert),
    )


def _ends(alert: Alert) -> Iterator[ShownEnd]:
    story = alert.story
    if story is None:
        inode = alert.failed.inode_number if alert.failed else 0
        yield ShownEnd("process", tuple(_end_facts(alert.client, inode)))
        return
    names = ("one end", "other end") if story.pair else ("client", "server")
    ends = ((alert.client, story.client), (alert.server, story.server))
    for heading, (process, end) in zip(names, ends, strict=True):
        facts = [
            *_end_facts(process, end.inode_number),
            ("wrote", counted(end.written_bytes, "byte")),
            ("read", counted(end.read_bytes, "byte")),
        ]
        if end.release is not None:
            facts.append(("left unread", counted(end.release.unread_bytes, "byte")))
        yield ShownEnd(heading, tuple(facts))
    yield ShownEnd("connection", (("path", place_of(alert)),))


def _end_facts(process: Process | None, inode: int) -> Iterator[tuple[str, str]]:
    if process is None:
        yield "process", "?"
    else:
        yield "process", name_of(process)
        if process.uid is not None:
            yield "uid, gid", f"{process.uid}, {process.gid}"
        if process.inner_pid not in (None, process.pid):
            yield "pid inside", str(process.inner_pid)
        if process.tid not in (None, process.pid):
            yield "thread", f"{process.thread}[{process.tid}]"
        cgroup = process.cgroup
        if cgroup is not None and cgroup.unit and not cgroup.unit_is_container:
            yield "unit", cgroup.unit
        if cgroup is not None and cgroup.container:
            yield "container", f"{cgroup.runtime or ''} {cgroup.container}".lstrip()
    if inode:
        yield "inode", str(inode)
