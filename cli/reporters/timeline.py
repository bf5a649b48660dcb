"""The timeline of an alert as rows to show: what went wrong is marked, what repeats folded, a long middle left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hangup.cli.reporters.identity import change_parts
from hangup.cli.reporters.operation import operation_text, process_text
from hangup.tracer.record.layout import Event, EventFlag
from hangup.tracer.story.connection import IDLE, Role
from hangup.tracer.story.identity import Change
from hangup.tracer.story.process import process_of
from hangup.tracer.story.story import Story
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Alert
from hangup.tracer.units import counted, duration, size

# Of a longer timeline the beginning and the end are shown; --json has all that was kept.
_ROWS_FIRST = 12
_ROWS_LAST = 28

# So many rows that come again and again are shown once; a request and its answer are four.
_LONGEST_CYCLE = 8

# What the row of the failure says where the symptom's name would be wrong of that operation: it shows it only.
_SYMPTOMS = {Symptom.TOLD: "ECONNRESET TAKEN BEFORE"}

Mark = Literal["cause", "failure"]
"""What went wrong in a row: "cause" is the hang-up, or the shutdown that the verdict is about."""

Note = Literal["silence", "missing", "repeated", "identity"]
"""What a row is that is no operation: "missing" are operations and changes of who processes are, not shown or not kept;
of "identity" a process has become somebody else, perhaps before the connection began."""


@dataclass(slots=True)
class Row:
    """A row of the timeline: what one end did, perhaps several times over."""

    when: int
    """In ns of CLOCK_MONOTONIC."""
    role: Role
    parts: list[str]
    """What it says: the operation first; of "identity" what has changed, part by part."""
    event: Event | None = None
    """The operation, or the first of them; None: of a note."""
    mark: Mark | None = None
    """A row that has one is never left out."""
    times: int = 1
    stands_for: int = 1
    """How many operations it stands for."""
    note: Note | None = None
    """What it says of the connection, if it is no operation of an end."""
    silence: int = 0
    """For how long nothing happened, in ns."""


class Timeline(NamedTuple):
    """What is shown of a connection."""

    rows: list[Row]
    whole: int
    """When the last row was, shown or not, from the connection's beginning, in ns."""


def timeline_of(alert: Alert) -> Timeline:
    """Return the rows to show; the alert has a story."""
    story = alert.story
    assert story is not None
    rows = _without_repeats(_rows(alert))
    whole = max((row.when - story.start for row in rows), default=0)
    return Timeline(list(_without_middle(rows)), whole)


def _without_middle(rows: Sequence[Row]) -> Iterator[Row]:
    cut = range(_ROWS_FIRST, len(rows) - _ROWS_LAST)
    if len(cut) < 2:
        cut = range(0)
    left_out: list[Row] = []
    for number, row in enumerate(rows):
        if number in cut and not row.mark:
            left_out.append(row)
            continue
        if left_out:
            operations = sum(each.stands_for for each in left_out)
            changes = sum(each.note == "identity" for each in left_out)
            counts = [counted(operations, "operation")] if operations else []
            counts += [f"{counted(changes, 'change')} of who its processes are"] if changes else []
            if counts:
                text = f"{' and '.join(counts)} not shown"
                yield Row(row.when, row.role, [text], note="missing", stands_for=operations)
            left_out.clear()
        yield row


def _rows(alert: Alert) -> list[Row]:
    story, failed = alert.story, alert.failed
    assert story is not None
    hangup = alert.hangup
    victim = alert.verdict.victim
    shutdown = alert.shutdown
    # Who an end's heading names; what another process did is marked with that one's name.
    users = {"client": alert.client.pid if alert.client else 0, "server": alert.server.pid if alert.server else 0}
    kept = {"client": 0, "server": 0}
    rows: list[Row] = []
    # When something happened last; None: the connection has not begun.
    before: int | None = None
    for when, role, event in _happened(story):
        if before is not None:
            rows += _silence(before, when, role)
        if isinstance(event, Change):
            before = None if before is None else when
            rows.append(_changed(event))
            continue
        before = when
        end = story.end(role)
        for gap in end.gaps:
            if gap.after == kept[role]:
                noun = "operation" if gap.operations == 1 else "operations"
                text = f"{gap.operations} {noun} of the {role} not kept"
                rows.append(Row(when, role, [text], note="missing", stands_for=gap.operations))
        kept[role] += 1
        row = Row(when, role, [operation_text(event)], event=event)
        who = process_of(event)
        if who.pid != users[role]:
            row.parts.append(f"by {who.comm}[{who.pid}]")
        if hangup is not None and event is hangup.event:
            row.parts[0] += ": HANG-UP"
            row.parts.insert(1, _unread(event, alert, of_peer=role != victim))
            row.mark = "cause"
        elif shutdown is not None and event is shutdown:
            row.mark = "cause"
        elif failed is not None and role == victim and event is failed:
            row.parts.append(_SYMPTOMS.get(alert.verdict.symptom) or alert.verdict.symptom.value.upper())
            later = alert.verdict.figures.gap
            if later is not None and later >= 0:
                row.parts.append(f"{duration(later)} after the hang-up")
            row.mark = "failure"
        last = rows[-1] if rows else None
        if last and not (last.mark or row.mark or last.note) and (last.role, last.parts) == (row.role, row.parts):
            last.times += 1
            last.stands_for += 1
        else:
            rows.append(row)
    if not_kept := story.identity.not_kept:
        text = f"{counted(not_kept, 'earlier change')} of who its processes are not kept"
        rows.insert(0, Row(story.start, "client", [text], note="missing", stands_for=0))
    return rows


def _happened(story: Story) -> Iterator[tuple[int, Role, Event | Change]]:
    """Yield what both ends did, and who their processes became, by time; a change before what ended right then."""
    changes = deque(story.identity.changes)
    for when, role, event in story.timeline:
        while changes and changes[0].when <= when:
            yield changes[0].when, "client", changes.popleft()
        yield when, role, event
    for change in changes:
        yield change.when, "client", change


def _silence(since: int, until: int, role: Role) -> Iterator[Row]:
    """Say for how long nothing happened, if that was long; role: of whoever ended it."""
    silence = until - since
    if silence >= IDLE:
        yield Row(until, role, [f"{duration(silence)} of silence"], note="silence", silence=silence, stands_for=0)


def _changed(change: Change) -> Row:
    first, *others = change_parts(change) or [""]
    text = f"{process_text(change.process)} {change.call}: {first}".removesuffix(": ")
    return Row(change.when, "client", [text, *others], note="identity", stands_for=0)


def _without_repeats(rows: Sequence[Row]) -> list[Row]:
    """Fold rows that come again in the same order, a request and its answer for example: once is enough."""
    folded: list[Row] = []
    place = 0
    while place < len(rows):
        length, times = _cycle(rows, place)
        folded.extend(rows[place : place + length])
        if times > 1:
            repeated = rows[place + length : place + length * times]
            text = f"these {length} rows {times - 1} more {'time' if times == 2 else 'times'}"
            stands_for = sum(row.stands_for for row in repeated)
            folded.append(Row(repeated[0].when, "client", [text], note="repeated", stands_for=stands_for))
        place += length * times
    return folded


def _cycle(rows: Sequence[Row], place: int) -> tuple[int, int]:
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


def _may_repeat(row: Row) -> bool:
    """Whether a row may be folded: not one that says what went wrong, or what was not kept."""
    return not row.mark and (not row.note or bool(row.silence))


def _same(pattern: Sequence[Row], rows: Sequence[Row]) -> bool:
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
