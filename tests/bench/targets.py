"""The figures that hangup is to reach, and what was measured of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tests.bench import data
from tests.bench.data import Row, Run
from tests.bench.loads import LOADS
from tests.bench.pipeline import ALERTS, PIPELINE
from tests.bench.start import KEPT, NOTHING_KEPT

NOT_MEASURED = "not measured"

_MIB = 1 << 20
_FAILURES_A_SECOND = 2000

# The kernel that the figures are for unless they say otherwise.
KERNEL = "6.1"


@dataclass(frozen=True)
class Measured:
    """What came of one figure."""

    text: str
    missed_by: str = ""
    """By how much it is missed; empty: it is reached, or nothing says what would be."""
    floor: str = ""
    """What empty programs at the same places cost."""


@dataclass(frozen=True)
class Target:
    """A figure to reach."""

    what: str
    before: str
    to_reach: str
    measured: Callable[[Sequence[Run]], Measured]


def ratio(runs: Iterable[Run], kernel: str, load: str, tracer: str, part: str = "cost") -> float | None:
    """Return how many times as much a unit takes as without a tracer; None: not measured."""
    found = data.find(runs, part, kernel, load, tracer)
    return ratio_of(found[1]) if found else None


def ratio_of(row: Row) -> float | None:
    """Return the same of a row."""
    each, untraced = row.median("each"), row.median("untraced")
    return each / untraced if each is not None and untraced else None


def more(runs: Iterable[Run], kernel: str, load: str, tracer: str) -> float | None:
    """Return what an operation takes more than without a tracer, in instructions; None: not measured."""
    found = data.find(runs, "cost", kernel, load, tracer)
    return more_of(found[1]) if found else None


def more_of(row: Row) -> float | None:
    """Return the same of a row; None also where it is not known how many operations there were."""
    each, untraced, operations = row.median("each"), row.median("untraced"), LOADS[row.load].operations
    return (each - untraced) / operations if each is not None and untraced and operations else None


def _ratio(limit: float, load: str, tracer: str, floor: str = "", kernels: Sequence[str] = (KERNEL,)) -> Measured_of:
    """Compare the ratio on some kernels with a limit."""

    def measured(runs: Sequence[Run]) -> Measured:
        found = {kernel: ratio(runs, kernel, load, tracer) for kernel in kernels}
        floors = [ratio(runs, kernel, load, floor) for kernel in kernels] if floor else []
        known = [each for each in found.values() if each is not None]
        several = len(kernels) > 1
        texts = [
            f"{f'{kernel}: ' if several else ''}{NOT_MEASURED if each is None else f'{each:.3f}'}"
            for kernel, each in found.items()
        ]
        return Measured(
            "; ".join(texts),
            f"{max(known) - limit:.3f}" if known and max(known) > limit else "",
            "; ".join(NOT_MEASURED if each is None else f"{each:.3f}" for each in floors),
        )

    return measured


Measured_of = Callable[[Sequence[Run]], Measured]


_CAPTURE_LIMIT = 1.5


def _capture(runs: Sequence[Run]) -> Measured:
    """Compare what a capture costs the traced load; say what it is with hangup's process, which may run elsewhere."""
    measured = _ratio(_CAPTURE_LIMIT, "pair", "capture-fentry", "floor-fexit")(runs)
    found = data.find(runs, "cost", KERNEL, "pair", "capture-fentry")
    each, own, untraced = (found[1].median(name) if found else None for name in ("each", "own", "untraced"))
    if each is None or own is None or not untraced:
        return measured
    of_load = (each - own) / untraced
    return replace(
        measured,
        text=f"{of_load:.3f}; {measured.text} with hangup's own process on the same core",
        missed_by=f"{of_load - _CAPTURE_LIMIT:.3f}" if of_load > _CAPTURE_LIMIT else "",
    )


def _limited(value: float | None, limit: float, unit: str, digits: int) -> tuple[str, str]:
    """Return a value in words, and by how much it is missed."""
    if value is None:
        return NOT_MEASURED, ""
    return f"{value:,.{digits}f} {unit}", f"{value - limit:,.{digits}f} {unit}" if value > limit else ""


def _failing(runs: Sequence[Run]) -> Measured:
    found = data.find(runs, "cost", KERNEL, "failing", "watch-fentry")
    if found is None or found[1].missing:
        return Measured(NOT_MEASURED)
    row = found[1]
    each, own = row.median("each") or 0, row.median("own") or 0
    failed, alerts, lost = sum(row.values["failed"]), sum(row.values["alerts"]), sum((row.lost or {}).values())
    text = f"{each:,.0f} instructions a connection, {own:,.0f} of them hangup's process"
    text += f"; {alerts:,.0f} alerts of {failed:,.0f} failures, {lost:,} lost"
    missed = [f"{failed - alerts:,.0f} alerts"] if alerts < failed else []
    speed = native_speed(runs)
    if speed is None:
        return Measured(f"{text}; natively: {NOT_MEASURED}", ", ".join(missed))
    second = speed / own
    if second < _FAILURES_A_SECOND:
        missed.append(f"{_FAILURES_A_SECOND - second:,.0f} a second")
    return Measured(f"{text}; one core takes {second:,.0f} a second, natively reckoned", ", ".join(missed))


def native_speed(runs: Iterable[Run]) -> float | None:
    """Return how many instructions a second this machine does of hangup's Python; None: not measured.

    The same work is timed here and counted in a guest.
    """
    timed = data.find(runs, "native", "", ALERTS, PIPELINE)
    counted = data.find(runs, "cost", KERNEL, ALERTS, PIPELINE)
    ns, instructions = (found[1].median("each") if found else None for found in (timed, counted))
    return instructions / ns * 1e9 if ns and instructions else None


def _open(runs: Sequence[Run]) -> Measured:
    one, many = (more(runs, KERNEL, f"open-{number}", "watch-fentry") for number in (1, 10_000))
    floors = [more(runs, KERNEL, f"open-{number}", "floor-fexit") for number in (1, 10_000)]
    floor = "; ".join(NOT_MEASURED if each is None else f"{each:,.0f}" for each in floors)
    if one is None or many is None:
        return Measured(NOT_MEASURED, floor=floor)
    change = many / one - 1
    text = f"{change:+.0%} ({one:,.0f} and {many:,.0f} instructions)"
    return Measured(text, f"{change - 0.1:.0%}" if change > 0.1 else "", floor)


def share_while_nothing_fails(runs: Iterable[Run]) -> dict[str, float]:
    """Return how much of a cpu `hangup watch` runs, by load; only where time is measured."""
    return {
        row.load: share
        for run in runs
        for row in run.rows
        if run.part == "wall" and row.tracer == "watch-fentry" and not LOADS[row.load].fails_one_in
        if (share := row.median("share")) is not None
    }


def _share(runs: Sequence[Run]) -> Measured:
    shares = share_while_nothing_fails(runs)
    if not shares:
        return Measured(NOT_MEASURED)
    load, most = max(shares.items(), key=lambda share: share[1])
    text = f"{most:.2%} at most ({load}; of an emulated core)"
    return Measured(text, f"{most - 0.005:.2%}" if most > 0.005 else "")


def _memory(runs: Sequence[Run]) -> Measured:
    texts, missed = [], []
    for what, words, limit in ((KEPT, "with the cache", 40), (NOTHING_KEPT, "without", 60)):
        found = data.find(runs, "start", KERNEL, what, "watch-fentry")
        kib = found[1].median("resident") if found else None
        text, over = _limited(None if kib is None else kib / 1024, limit, "MiB", 0)
        texts.append(f"{text} {words}")
        if over:
            missed.append(f"{over} {words}")
    return Measured(", ".join(texts), ", ".join(missed))


def _ready(runs: Sequence[Run]) -> Measured:
    warm = data.find(runs, "start", KERNEL, KEPT, "watch-fentry")
    native = data.find(runs, "native", "", "start-kept", PIPELINE)
    ns = warm[1].median("ready") if warm else None
    guest, guest_missed = _limited(None if ns is None else ns / 1e9, 4, "s", 1)
    here, here_missed = _limited(native[1].median("ready") if native else None, 0.25, "s", 2)
    missed = ", ".join(over for over in (guest_missed, here_missed) if over)
    cpu = native[1].median("cpu") if native else None
    busy = "" if cpu is None else f" ({cpu:.2f} s of a processor)"
    return Measured(f"{guest} in a guest; {here} natively{busy}", missed)


def _kernel_memory(runs: Sequence[Run]) -> Measured:
    found = data.find(runs, "start", KERNEL, KEPT, "watch-fentry")
    taken = found[1].median("kernel") if found else None
    text, missed = _limited(None if taken is None else taken / _MIB, 64, "MiB", 0)
    return Measured(text if taken is None else f"{text}, all maps together", missed)


def _native(
    load: str, name: str, unit: str, *, most: float = math.inf, least: float = 0.0, digits: int = 0
) -> Measured_of:
    """Compare a value of what is measured on the machine itself with the most, or the least, that it may be."""

    def measured(runs: Sequence[Run]) -> Measured:
        found = data.find(runs, "native", "", load, PIPELINE)
        value = found[1].median(name) if found else None
        if value is not None and value < least:
            return Measured(f"{value:,.{digits}f} {unit}", f"{least - value:,.{digits}f} {unit}")
        return Measured(*_limited(value, most, unit, digits))

    return measured


def _page(runs: Sequence[Run]) -> Measured:
    found = data.find(runs, "native", "", "page", PIPELINE)
    clock, length = (found[1].median(name) if found else None for name in ("clock", "bytes"))
    time_text, time_missed = _limited(clock, 5, "s", 1)
    size_text, size_missed = _limited(None if length is None else length / 1e6, 5, "MB", 2)
    missed = ", ".join(each for each in (time_missed, size_missed) if each)
    return Measured(time_text if length is None else f"{time_text}, {size_text}", missed)


def _flat(runs: Sequence[Run]) -> Measured:
    found = data.find(runs, "native", "", "file-memory", PIPELINE)
    before, after = (found[1].median(name) if found else None for name in ("first", "after"))
    if before is None or after is None:
        return Measured(NOT_MEASURED)
    more = after - before
    return Measured(f"{more:+,.1f} MiB ({before:,.1f} MiB at first)", f"{more - 10:,.1f} MiB" if more > 10 else "")


TARGETS = (
    Target(
        "`watch`, all included, no failures, two processes",
        "7.75",
        "≤ 1.08",
        _ratio(1.08, "pair", "watch-fentry", "floor-fexit"),
    ),
    Target(
        "the same, one process, 6.1 and 6.12",
        "9.1",
        "≤ 1.10",
        _ratio(1.10, "solo", "watch-fentry", "floor-fexit", kernels=("6.1", "6.12")),
    ),
    Target(
        "the same with kprobes, two processes", "7.8", "≤ 1.30", _ratio(1.30, "pair", "watch-kprobe", "floor-kprobe")
    ),
    Target(
        "newest kernel, whatever `auto` takes there, one process",
        "-",
        "≤ 1.30",
        _ratio(1.30, "solo", "watch-auto", "floor-kprobe", kernels=("newest",)),
    ),
    Target("every connection fails", "-", "printed; nothing lost at 2,000 failures a second", _failing),
    Target("no Unix sockets", "-", "1.00; with raw tracepoints ≤ 1.01", _ratio(1.01, "elsewhere", "watch-fentry")),
    Target("what a compressed capture (`trace -q -w`) costs the traced load, two processes", "-", "≤ 1.5", _capture),
    Target("`trace` to /dev/null, two processes", "25", "≤ 6", _ratio(6, "pair", "trace-fentry", "floor-fexit")),
    Target("added per operation at 10,000 open connections against 1", "+0 %", "≤ +10 %", _open),
    Target("cpu of `watch` while nothing fails", "-", "< 0.5 % of a core at any load", _share),
    Target("memory of the process after attaching", "163 MiB", "≤ 40 MiB with the cache, ≤ 60 without", _memory),
    Target(
        "execution to ready, warm",
        "6 to 13 s in a guest",
        "≤ 4 s in a guest; natively (all but loading) ≤ 0.25 s",
        _ready,
    ),
    Target(
        "capture read and judged, one core",
        "-",
        "≥ 200,000 operations a second",
        _native("captures", "with verdicts", "a second", least=200_000),
    ),
    Target(
        "capture read with a filter that drops nearly all, one core",
        "-",
        "≥ 500,000 operations a second",
        _native("captures", "filtered", "a second", least=500_000),
    ),
    Target(
        "capture on disk, the classic load, without payload",
        "-",
        "≤ 24 bytes an operation",
        _native("captures", "bytes", "bytes", most=24, digits=1),
    ),
    Target("`report --all` of 1,000 alerts", "-", "≤ 5 s, ≤ 5 MB", _page),
    Target("memory over a capture of a GB", "-", "flat: ≤ +10 MiB", _flat),
    Target("kernel memory of the histories", "-", "65,536 endpoints within 64 MB", _kernel_memory),
)
