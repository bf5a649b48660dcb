"""docs/performance.md and docs/performance.svg, from the data file and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench import data, latency, start
from tests.bench.chart import Bar, chart
from tests.bench.data import Row, Run
from tests.bench.loads import LOADS
from tests.bench.pipeline import ALERTS, PIPELINE
from tests.bench.targets import KERNEL, NOT_MEASURED, TARGETS, more_of, ratio_of
from tests.bench.tools import TOOLS

DOCS = Path(__file__).resolve().parents[2] / "docs"
DATA = DOCS / "performance.json"
DOCUMENT = DOCS / "performance.md"
CHART = DOCS / "performance.svg"

# The load of the chart: the one that can be measured on every kernel.
_CHARTED = "solo"

_HEAD = """\
# What it costs to be watched

This page is written from [performance.json](performance.json) by `python -m tests.bench report`; `make bench` measures
everything again. What is not in the data says "{not_measured}".

![What one connection costs under each tracer](performance.svg)

A **ratio** is how many times as much a unit of the load takes as without any tracer: all that the machine does for it
till the tracer has worked off what it was given. The **floor** is the same with programs that do nothing at the same
places. What a tracer does once a second whether anything happens or not is not in the ratio but in the column "idle".

"""

_METHOD = """\
## How it is measured

- In a guest under QEMU without KVM, Debian's kernels and packages. Where **instructions** are counted
  (`-icount shift=0,sleep=off`, one cpu), the guest's clock counts them, one each ns: they repeat within a few in a
  thousand, whatever else the host does. What caches and a real processor make of them is not in them. Where **time** is
  measured (two cpus), an emulated machine is 10 to 30 times slower than a real one, and what runs Python more so.
- All tracers in one boot, in turn; before a tracer is started, each load is played without it. Medians; the spread is
  that of single values around them.
- A load is played after a tenth of it has been played to warm up. From 6.12 on two processes that wake each other are
  no load to measure with: empty programs make them faster. There the load of one process counts.
- "lost" is what a tracer itself says, of all loads that it saw in the same runs: a ratio beside it is too low, for
  what was lost cost nothing. Buffers of bpftrace and perf have 4,096 pages a cpu. strace and perf trace see system
  calls instead of the kernel's functions, and only those that the loads use.
- `hangup watch --json` writes to a file in memory, as do bpftrace, perf trace and captures; the other verbs and strace
  to /dev/null.

"""

_PREEMPTED = """\
A kernel that preempts tasks (`preempt=full` or `lazy`) does so inside programs that are attached by fentry or fexit,
and newer ones inside those of raw tracepoints too. Whoever comes to the same program on that cpu then goes without:
`__bpf_prog_enter_recur()` and `__bpf_trace_run()` take it for a recursion. Programs of kprobes and of kprobe.multi run
with preemption off (`trace_call_bpf()`, `kprobe_multi_link_prog_run()`), so `--probes auto` takes kprobes on such
kernels. What each way costs stands in the tables of instructions, as "empty programs". Here an urgent task interrupts
another on the same cpu every 60 µs, both write and read, and each program runs for 600 instructions.

"""


def write(runs: Sequence[Run]) -> None:
    """Write both files anew."""
    DOCUMENT.write_text(document(runs))
    CHART.write_text(picture(runs))


def document(runs: Sequence[Run]) -> str:
    """Return docs/performance.md."""
    sections = {
        "cost": _cost,
        "wall": _wall,
        "start": _start,
        "latency": _latency,
        "preempted": _preempted,
        "native": _native,
    }
    return "".join(
        [
            _HEAD.format(not_measured=NOT_MEASURED),
            _targets(runs),
            *(section(run) for part, section in sections.items() for run in joined(runs) if run.part == part),
            _METHOD,
            _reproduce(runs),
        ]
    )


def joined(runs: Sequence[Run]) -> list[Run]:
    """Return what was measured of the same part and kernel as one run, its tracers in the order of their list.

    Each row has its own measurement without a tracer beside it, so it matters little that they come from several boots.
    """
    order = [PIPELINE, *TOOLS]
    together: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        together.setdefault((run.part, run.kernel), []).append(run)
    return [
        replace(
            several[0],
            rows=sorted((row for run in several for row in run.rows), key=lambda row: order.index(row.tracer)),
            commit=" and ".join(dict.fromkeys(run.commit for run in several)),
            release=" and ".join(dict.fromkeys(run.release for run in several)),
        )
        for several in together.values()
    ]


def picture(runs: Sequence[Run]) -> str:
    """Return docs/performance.svg."""
    bars = []
    release = KERNEL
    for tool in TOOLS.values():
        found = data.find(runs, "cost", KERNEL, _CHARTED, tool.name)
        ratio = ratio_of(found[1]) if found else None
        if found and ratio is not None and tool.group != "none":
            release = found[0].release
            lost = " (lost some)" if any((found[1].lost or {}).values()) else ""
            bars.append(Bar(tool.label, ratio, f"{ratio:.2f}{lost}", tool.group))
    title = "Instructions of one connection, times as many as untraced"
    subtitle = f"{LOADS[_CHARTED].label}; Linux {release}; the scale is logarithmic"
    return chart(title, subtitle, sorted(bars, key=lambda bar: bar.value))


# ---- sections --------------------------------------------------------------------------------------------------------


def _targets(runs: Sequence[Run]) -> str:
    rows = []
    for target in TARGETS:
        found = target.measured(runs)
        missed = f" **missed by {found.missed_by}**" if found.missed_by else ""
        rows.append([target.what, target.before, target.to_reach, f"{found.text}{missed}", found.floor or "-"])
    head = ["", "before", "to reach", "measured", "floor"]
    return (
        f"## Figures to reach\n\nInstructions, ratio to untraced, on {KERNEL} with fentry unless it says otherwise; "
        f'"before" is what the recorder replaced.\n\n{_table(head, rows)}\n'
    )


def _cost(run: Run) -> str:
    text = f"## Instructions on {run.kernel}\n\n{_of(run)}"
    for load in _loads(run):
        rows = [_cost_cells(row) for row in run.rows if row.load == load]
        unit = LOADS[load].unit
        head = [
            "",
            f"a {unit}",
            "ratio",
            "spread",
            "more an operation",
            "its own",
            "idle, a second",
            "lost",
            "memory",
        ]
        text += f"### {_capital(LOADS[load].label)}\n\n{_table(head, rows)}\n"
    return text


def _cost_cells(row: Row) -> list[str]:
    label = TOOLS[row.tracer].label
    if row.missing:
        return [label, f"{NOT_MEASURED} here: {_cell(row.missing)}"]
    if row.tracer == "none":
        return [label, _value(row, "each", _whole), "1", _spread(row)]
    return [
        label,
        _value(row, "each", _whole),
        _maybe(ratio_of(row), lambda ratio: f"{ratio:.3f}"),
        _spread(row),
        _maybe(more_of(row), _whole),
        _value(row, "own", _whole),
        _value(row, "idle", _millions),
        _lost(row),
        _value(row, "resident", _mib_of_kib),
    ]


def _wall(run: Run) -> str:
    text = f"## Time on {run.kernel}, {run.cpus} cpus\n\n{_of(run)}"
    for load in _loads(run):
        rows = []
        for row in (row for row in run.rows if row.load == load):
            label = TOOLS[row.tracer].label
            if row.missing:
                rows.append([label, f"{NOT_MEASURED} here: {_cell(row.missing)}"])
                continue
            rows.append(
                [
                    label,
                    _value(row, "wall", _microseconds),
                    _maybe(_wall_ratio(row), lambda ratio: f"{ratio:.2f}"),
                    _spread(row, "wall"),
                    _value(row, "own", _microseconds),
                    _value(row, "share", lambda share: f"{share:.1%}"),
                    _lost(row),
                    _value(row, "ready", _seconds),
                    _value(row, "peak", _mib_of_kib),
                ]
            )
        head = [
            "",
            f"a {LOADS[load].unit}",
            "ratio",
            "spread",
            "its own",
            "of a cpu meanwhile",
            "lost",
            "ready",
            "memory at most",
        ]
        text += f"### {_capital(LOADS[load].label)}\n\n{_table(head, rows)}\n"
    return text


def _wall_ratio(row: Row) -> float | None:
    wall, untraced = row.median("wall"), row.median("untraced")
    return wall / untraced if wall is not None and untraced else None


def _start(run: Run) -> str:
    what = {
        start.FIRST: "the first of a boot",
        start.NOTHING_KEPT: "nothing kept: it compiles",
        start.KEPT: "compiled programs kept",
    }
    rows = [
        [
            f"{TOOLS[row.tracer].label}; {what[row.load]}",
            _value(row, "ready", _seconds),
            _value(row, "alert", _seconds),
            _value(row, "resident", _mib_of_kib),
            _value(row, "no_file", _mib_of_kib),
            _value(row, "peak", _mib_of_kib),
            _value(row, "kernel", lambda taken: f"{taken / (1 << 20):.0f} MiB"),
        ]
        for row in run.rows
    ]
    head = ["", "ready", "first alert read", "memory when ready", "no file's", "at most", "maps in the kernel"]
    text = f"## Start on {run.kernel}, {run.cpus} cpus\n\n{_of(run)}From the execution of `hangup watch`.\n\n"
    text += f"{_table(head, rows)}\nWhat it is spent on, seconds:\n\n"
    phases = dict.fromkeys(name for row in run.rows for name in row.values if name.startswith("phase "))
    head = ["", *(f"{row.tracer}, {row.load}" for row in run.rows)]
    rows = [
        [name.removeprefix("phase "), *(_value(row, name, lambda ns: f"{ns / 1e9:.2f}") for row in run.rows)]
        for name in phases
    ]
    return f"{text}{_table(head, rows)}\n"


def _latency(run: Run) -> str:
    rows = []
    for row in run.rows:
        for name, words in (("json", "--json, from the write's end"), ("text", "text, from the write's beginning")):
            if values := sorted(row.values.get(name, ())):
                percentile = values[-(-len(values) * 99 // 100) - 1]
                each = (values[0], row.median(name) or 0, percentile, values[-1])
                rows.append([f"{TOOLS[row.tracer].label}, {words}", *(f"{ms:.1f}" for ms in each), str(len(values))])
    head = ["ms", "least", "median", "99 %", "most", "alerts"]
    return (
        f"## From a broken write until the alert is read, on {run.kernel}, {run.cpus} cpus\n\n{_of(run)}"
        f"{latency.PER_SECOND:,} operations pass a second, one connection in five fails.\n\n{_table(head, rows)}\n"
    )


def _preempted(run: Run) -> str:
    rows = []
    for row in run.rows:
        label = TOOLS[row.tracer].label.partition(": ")[2]
        if row.missing:
            rows.append([label, f"{NOT_MEASURED} here: {_cell(row.missing)}"])
            continue
        rows.append([label, *(_value(row, name, _whole) for name in ("wanted", "ran", "missed"))])
    head = ["", "to run", "ran", "missed, says the kernel"]
    return f"## Calls missed where tasks are preempted, on {run.kernel}\n\n{_of(run)}{_PREEMPTED}{_table(head, rows)}\n"


def _native(run: Run) -> str:
    rows = {row.load: row for row in run.rows if row.tracer == PIPELINE}
    text = f"## On the machine itself\n\n{_of(run)}No probes: generated records, one core.\n\n"
    if row := rows.get("throughput"):
        cells = [[name, _value(row, name, _whole), _spread(row, name)] for name in row.values]
        text += f"{_table(['', 'a second', 'spread'], cells)}\n"
    if row := rows.get("captures"):
        names = ("bytes", "written", "read", "with verdicts", "filtered")
        size, *speeds = (row.median(name) or 0 for name in names)
        text += (
            f"A capture of a lifelike load takes {size:.1f} bytes an operation. In a second of a processor "
            f"{speeds[0]:,.0f} are written, {speeds[1]:,.0f} read, {speeds[2]:,.0f} read and judged, {speeds[3]:,.0f} "
            "read with a filter that nearly none passes.\n\n"
        )
    if row := rows.get("page"):
        count, clock, cpu, length = (row.median(name) or 0 for name in ("alerts", "clock", "cpu", "bytes"))
        text += (
            f"A page on which each of {count:,.0f} alerts is drawn is written in {clock:.1f} s ({cpu:.1f} s of a "
            f"processor), and has {length / 1e6:.2f} MB.\n\n"
        )
    if (row := rows.get(ALERTS)) and (each := row.median("each")):
        text += f"An alert of a history that the kernel has handed over: {each / 1e3:,.0f} µs.\n\n"
    if row := rows.get("memory"):
        before, after, operations = (row.median(name) or 0 for name in ("first", "after", "operations"))
        text += (
            f"After {operations:,.0f} operations over short connections: {after:.1f} MiB, at first {before:.1f}.\n\n"
        )
    if row := rows.get("file-memory"):
        before, after, length = (row.median(name) or 0 for name in ("first", "after", "bytes"))
        text += (
            f"After a capture of {length / 1e9:.2f} GB was read and judged: {after:.1f} MiB, after the beginning of it "
            f"{before:.1f}.\n\n"
        )
    cells = []
    for name, words in (("start-nothing-kept", "nothing kept"), ("start-kept", "programs kept")):
        if (row := rows.get(name)) and row.missing:
            cells.append([words, f"{NOT_MEASURED} here: {_cell(row.missing)}"])
        elif row:
            cells.append(
                [
                    words,
                    *(_value(row, name, lambda seconds: f"{seconds:.2f} s") for name in ("ready", "cpu")),
                    *(_value(row, name, lambda mib: f"{mib:.0f} MiB") for name in ("resident", "peak")),
                ]
            )
    if cells:
        text += "Start, all but loading and attaching:\n\n"
        text += f"{_table(['', 'ready', 'of a processor', 'memory', 'at most'], cells)}\n"
    return text


def _reproduce(runs: Sequence[Run]) -> str:
    lines = ["## What was run", ""]
    for run in runs:
        lines.append(f"- `{run.command}` at {run.commit}, {run.date}, Linux {run.release}")
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run.versions.items():
            versions.setdefault(name, {})[version] = None
    lines += ["", "; ".join(f"{name} {' and '.join(known)}" for name, known in sorted(versions.items())) or "Nothing."]
    return "\n".join([*lines, ""])


# ---- cells -----------------------------------------------------------------------------------------------------------


def _of(run: Run) -> str:
    return f"Linux {run.release}, hangup {run.commit}.\n\n"


def _loads(run: Run) -> Iterator[str]:
    """Yield the loads that were measured, in the order of the list."""
    measured = {row.load for row in run.rows}
    yield from (load for load in LOADS if load in measured)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what a row lacks at its end is "-"."""
    lines = [head, ["---"] * len(head), *([*row, *["-"] * (len(head) - len(row))] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(text: str) -> str:
    """Return a text that a table takes as one cell."""
    return " ".join(text.replace("|", "/").split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _value(row: Row, name: str, words: Callable[[float], str]) -> str:
    return _maybe(row.median(name), words)


def _maybe(value: float | None, words: Callable[[float], str]) -> str:
    return "-" if value is None else words(value)


def _spread(row: Row, name: str = "each") -> str:
    if not row.values.get(name):
        return "-"
    low, high = row.spread(name)
    return f"{low:+.1%} {high:+.1%} ({len(row.values[name])})"


def _lost(row: Row) -> str:
    if row.lost is None:
        return "-"
    lost = [f"{count:,} {_cell(cause)}" for cause, count in row.lost.items() if count]
    return ", ".join(lost) if lost else "nothing"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _millions(value: float) -> str:
    return f"{value / 1e6:,.1f} M"


def _seconds(ns: float) -> str:
    return f"{ns / 1e9:.2f} s"


def _microseconds(ns: float) -> str:
    return f"{ns / 1e3:,.1f} µs"


def _mib_of_kib(kib: float) -> str:
    return f"{kib / 1024:.0f} MiB"
