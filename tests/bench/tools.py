"""The tracers that are measured: how each is started, how it is seen to be ready, and what it says that it lost.

Nothing else knows a tracer's command line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench import floor
from tests.bench.loads import LOADS, play

Group = Literal["none", "floor", "hangup", "other"]

# Where a tracer writes to: memory, so that no disk is measured.
FOLDER = Path("/run/bench")
LOAD = FOLDER / "load"
# sysdig's kernel module, or why there is none.
SCAP = FOLDER / "scap.ko"
NO_SCAP = FOLDER / "no-scap"

_END_LIMIT = 600.0
_READY_LIMIT = 600.0

# The calls that the loads use.
_CALLS = "connect,accept,accept4,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,close"

# 4,096 pages a cpu, and as many for perf: it has to be a power of two.
_BUFFER_PAGES = 4096


class NotMeasuredError(Exception):
    """A tracer cannot be measured here; the message says why."""


@dataclass
class Running:
    """A tracer at work, or nothing."""

    process: subprocess.Popen[bytes] | None = None
    ready_ns: int | None = None
    """From its execution till it saw everything, in ns."""
    prefix: Sequence[str] = ()
    """What a load of load.c is run by, if the tracer has to run it."""
    lost: dict[str, int] | None = None
    """What it says that it lost, by cause, once it has ended; None: it does not say."""
    alerts: int | None = None
    """How many alerts it has printed, once it has ended; None: it prints none, or not here."""

    def own(self) -> int:
        """Return how long all its threads have run till now, in ns (with a clock of instructions: how many)."""
        if self.process is None:
            return 0
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            # A thread may end meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
        return total

    def memory(self) -> dict[str, int]:
        """Return its memory in KiB (proc_pid_status(5)): "peak" (VmHWM), "resident" (VmRSS), "no_file" (RssAnon)."""
        if self.process is None:
            return {}
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        names = {"peak": "VmHWM", "resident": "VmRSS", "no_file": "RssAnon"}
        found = {what: re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for what, name in names.items()}
        return {what: int(match[1]) for what, match in found.items() if match}

    def kernel_memory(self) -> int:
        """Return what the BPF maps that it holds take in the kernel, in bytes (bpf_map_show_fdinfo())."""
        assert self.process is not None
        maps: dict[str, int] = {}
        for info in Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            text = info.read_text()
            number, taken = (re.search(rf"^{what}:\s+(\d+)", text, re.MULTILINE) for what in ("map_id", "memlock"))
            if number and taken:
                maps[number[1]] = int(taken[1])
        return sum(maps.values())


Start = Callable[[Sequence[int]], AbstractContextManager[Running]]
"""Starts a tracer and ends it with the context; gets the processes of the servers that run."""


@dataclass(frozen=True)
class Tool:
    """A tracer, one way of attaching it."""

    name: str
    label: str
    """What the document calls it."""
    group: Group
    start: Start
    needs: str = ""
    """The program that has to be there."""
    sleeps: bool = False
    """Whether it does nothing while nothing fails: seconds of a load are soon over, and show what it does at times."""

    def require(self) -> None:
        """Raise NotMeasuredError if it is not there."""
        if self.needs and shutil.which(self.needs) is None:
            raise NotMeasuredError(f"{self.needs} is not in the guest's root")


# ---- nothing, and nearly nothing -------------------------------------------------------------------------------------


@contextmanager
def _nothing(_servers: Sequence[int]) -> Iterator[Running]:
    yield Running()


def _floor(way: str) -> Start:
    @contextmanager
    def start(_servers: Sequence[int]) -> Iterator[Running]:
        try:
            programs = floor.programs(way)
            programs.__enter__()
        except (OSError, RuntimeError) as error:
            raise NotMeasuredError(str(error)) from None
        try:
            yield Running()
        finally:
            programs.__exit__(None, None, None)

    return start


# ---- hangup ----------------------------------------------------------------------------------------------------------


def hangup_command(verb: str, probes: str, *, stream: bool = False) -> list[str]:
    """Return the command line of hangup, one way of attaching it; stream: every operation is recorded."""
    way = ["--stream"] if stream else []
    own = {"watch": ["--json", "--no-fail"], "serve": ["--no-journal", "--metrics", ""], "trace": []}[verb]
    return [sys.executable, "-m", "hangup", verb, *own, *way, "--probes", probes]


def _hangup(verb: str, probes: str, *, stream: bool = False) -> Start:
    command = hangup_command(verb, probes, stream=stream)
    return _serve(command) if verb == "serve" else _told_by_descriptor(command, "--ready-fd")


def _capture(probes: str, *more: str) -> Start:
    command = [*hangup_command("trace", probes), "--quiet", "--force", "-w", str(FOLDER / "capture"), *more]
    return _told_by_descriptor(command, "--ready-fd")


def _told_by_descriptor(command: Sequence[str], *option: str) -> Start:
    """Start what says on a descriptor, the last word of its command, that it is ready."""

    @contextmanager
    def start(_servers: Sequence[int]) -> Iterator[Running]:
        read, write = os.pipe()
        output, complaints = FOLDER / "output", FOLDER / "complaints"
        # Alerts are counted; what else there is to read goes where nobody reads it.
        to = output if "watch" in command else Path(os.devnull)
        begun = time.monotonic_ns()
        with to.open("wb") as out, complaints.open("wb") as errors:
            process = subprocess.Popen(
                [*command, *option, str(write)], stdin=subprocess.DEVNULL, stdout=out, stderr=errors, pass_fds=(write,)
            )
        os.close(write)
        with _ended(process), os.fdopen(read) as reports:
            if not reports.readline():
                raise NotMeasuredError(f"it ended before it was ready: {complaints.read_text().strip()[-500:]}")
            running = Running(process, time.monotonic_ns() - begun)
            yield running
        if "watch" in command:
            running.alerts, running.lost = told_by_watch(output.read_text())
        else:
            running.lost = lost_in_words(complaints.read_text())

    return start


def _serve(command: Sequence[str]) -> Start:
    """Start the service: systemd, that is us, is told when it is ready, and each second what it has lost."""

    @contextmanager
    def start(_servers: Sequence[int]) -> Iterator[Running]:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as us:
            us.bind(f"{folder}/notify")
            us.settimeout(_READY_LIMIT)
            begun = time.monotonic_ns()
            environment = os.environ | {"NOTIFY_SOCKET": f"{folder}/notify"}
            complaints = Path(folder) / "complaints"
            with complaints.open("wb") as errors:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors, env=environment)
            told: list[str] = []

            def listen() -> None:
                # An empty message is our own.
                while message := us.recv(1 << 16):
                    told.append(message.decode())
                    del told[:-8]

            with _ended(process):
                while process.poll() is None and not any("READY=1" in each for each in told):
                    us.settimeout(1.0)
                    try:
                        told.append(us.recv(1 << 16).decode())
                    except TimeoutError:
                        continue
                if process.poll() is not None:
                    raise NotMeasuredError(f"it ended before it was ready: {complaints.read_text().strip()[-500:]}")
                running = Running(process, time.monotonic_ns() - begun)
                us.settimeout(None)
                listener = threading.Thread(target=listen, daemon=True)
                listener.start()
                yield running
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", f"{folder}/notify")
            listener.join(_END_LIMIT)
            running.lost = lost_in_words("\n".join(each for each in told if "STATUS=" in each))

    return start


def told_by_watch(output: str) -> tuple[int, dict[str, int] | None]:
    """Return how many alerts `hangup watch --json` has printed, and what it lost; None: it did not come to say."""
    alerts, lost = 0, None
    for line in output.splitlines():
        record = json.loads(line)
        alerts += record["record"] == "alert"
        if record["record"] == "total":
            lost = {cause: count for cause, count in record["lost_by_cause"].items() if count}
    return alerts, lost


def lost_in_words(text: str) -> dict[str, int] | None:
    """Return what `hangup trace` or the service said last that it lost, by its words; None: it did not say."""
    said = re.findall(r"nothing lost|LOST: [^\n]*", text)
    if not said:
        return None
    return {words: int(count) for count, words in re.findall(r"(\d+) ([^;\n]+)", said[-1])}


# ---- the others ------------------------------------------------------------------------------------------------------

_PROBED = ("unix_stream_connect", "unix_accept", "unix_stream_sendmsg", "unix_stream_recvmsg", "unix_release")


def bpftrace_script(kind: str) -> str:
    """Return the program that prints when the same functions begin and end. kind: "fentry" or "kprobe"."""
    enter, leave = {"fentry": ("kfunc", "kretfunc"), "kprobe": ("kprobe", "kretprobe")}[kind]
    lines = [f'{enter}:{name} {{ printf("%llu %d %s > {name}\\n", nsecs, tid, comm); }}' for name in _PROBED]
    lines += [
        f'{leave}:{name} {{ printf("%llu %d %s < {name} %d\\n", nsecs, tid, comm, retval); }}' for name in _PROBED
    ]
    return "\n".join(lines) + "\n"


def lost_by_others(text: str) -> dict[str, int]:
    """Return what bpftrace ("Lost 3 events"), perf ("LOST 3 events!") or sysdig ("Driver Drops:3") have said."""
    lost = sum(map(int, re.findall(r"\b(?:lost |Driver Drops: *)(\d+)", text, re.IGNORECASE)))
    return {"events": lost} if lost else {}


def _bpftrace(kind: str) -> Start:
    return _seen_by_output(
        ["bpftrace", "-e", bpftrace_script(kind)],
        {"BPFTRACE_PERF_RB_PAGES": str(_BUFFER_PAGES)},
    )


_PERF = ["perf", "trace", "-a", "-m", str(_BUFFER_PAGES), "-e", _CALLS, "-o", str(FOLDER / "output")]


def _seen_by_output(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Start:
    """Start what does not say when it is ready: it is once it has printed something of a load."""

    @contextmanager
    def start(_servers: Sequence[int]) -> Iterator[Running]:
        output, complaints = FOLDER / "output", FOLDER / "complaints"
        begun = time.monotonic_ns()
        with output.open("wb") as out, complaints.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=os.environ | dict(variables or {}),
            )
        # Ctrl-C is what ends all of them as their users end them.
        with _ended(process, signal.SIGINT):
            while not _has_printed(output):
                if process.poll() is not None:
                    raise NotMeasuredError(f"it ended before it was ready: {complaints.read_text().strip()[-500:]}")
                if time.monotonic_ns() - begun > _READY_LIMIT * 1e9:
                    raise NotMeasuredError("it printed nothing")
                play(LOAD, LOADS["solo"], 20)
            running = Running(process, time.monotonic_ns() - begun)
            yield running
        running.lost = lost_by_others(output.read_text(errors="replace") + complaints.read_text(errors="replace"))

    return start


def _sysdig(*options: str) -> Start:
    """Run it with its kernel module, which makes a buffer for each cpu of its own size."""

    @contextmanager
    def start(servers: Sequence[int]) -> Iterator[Running]:
        if NO_SCAP.exists():
            raise NotMeasuredError(NO_SCAP.read_text())
        done = subprocess.run(["insmod", SCAP], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasuredError(f"its module cannot be loaded: {done.stderr.strip()}")
        try:
            with _seen_by_output(["sysdig", "-v", *options])(servers) as running:
                yield running
        finally:
            subprocess.run(["rmmod", SCAP.stem], check=False)

    return start


def _has_printed(output: Path) -> bool:
    # perf's output is a file that it makes anew. What a capture has of a call is the path, not the call's name.
    text = output.read_bytes() if output.exists() else b""
    return any(words in text for words in (b"sendmsg", b"write", b"/run/load."))


@contextmanager
def _strace(servers: Sequence[int]) -> Iterator[Running]:
    """Run the loads of load.c, and attach to the servers."""
    command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={_CALLS}"]
    # It stops whom it traces until it has seen the call: nothing can be lost.
    running = Running(prefix=command, lost={})
    if not servers:
        yield running
        return
    begun = time.monotonic_ns()
    pids = [word for pid in servers for word in ("-p", str(pid))]
    process = subprocess.Popen([*command, *pids], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with _ended(process, signal.SIGINT), process.stderr as complaints:  # type: ignore[arg-type]
        attached = 0
        while attached < len(servers):
            line = complaints.readline()
            if not line:
                raise NotMeasuredError("it did not attach to the servers")
            attached += "attached" in line
        running.process, running.ready_ns = process, time.monotonic_ns() - begun  # type: ignore[assignment]
        yield running


@contextmanager
def _ended(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """End a process with the context, by a signal first."""
    try:
        yield
    finally:
        process.send_signal(by)
        try:
            process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_FLOOR_LABELS = {
    "fexit": "fexit",
    "fentry": "fentry and fexit",
    "kprobe": "kprobe and kretprobe",
    "multi": "kprobe.multi, at both ends",
    "session": "kprobe.session",
    "tracepoint": "raw tracepoints",
}

FLOOR_WAYS = {f"floor-{way}": way for way in _FLOOR_LABELS}
"""The ways of attaching programs that do nothing, by the names of these tracers."""


def _tools() -> Iterator[Tool]:
    yield Tool("none", "untraced", "none", _nothing, sleeps=True)
    for name, way in FLOOR_WAYS.items():
        yield Tool(name, f"empty programs: {_FLOOR_LABELS[way]}", "floor", _floor(way), sleeps=True)
    for probes in ("auto", "fentry", "kprobe"):
        yield Tool(f"watch-{probes}", f"hangup watch, {probes}", "hangup", _hangup("watch", probes), sleeps=True)
    for probes in ("fentry", "kprobe"):
        yield Tool(f"serve-{probes}", f"hangup serve, {probes}", "hangup", _hangup("serve", probes), sleeps=True)
        yield Tool(
            f"stream-{probes}", f"hangup watch --stream, {probes}", "hangup", _hangup("watch", probes, stream=True)
        )
        yield Tool(f"trace-{probes}", f"hangup trace to /dev/null, {probes}", "hangup", _hangup("trace", probes))
        yield Tool(f"capture-{probes}", f"hangup trace --quiet -w, {probes}", "hangup", _capture(probes))
        payload = _capture(probes, "--snaplen", "80")
        yield Tool(f"payload-{probes}", f"hangup trace --quiet -w --snaplen 80, {probes}", "hangup", payload)
    for kind in ("fentry", "kprobe"):
        yield Tool(f"bpftrace-{kind}", f"bpftrace, {kind}", "other", _bpftrace(kind), "bpftrace")
    yield Tool("perf-trace", "perf trace", "other", _seen_by_output(_PERF), "perf")
    yield Tool("strace", "strace -f", "other", _strace, "strace")
    yield Tool("sysdig", "sysdig", "other", _sysdig("fd.type=unix"), "sysdig")
    capture = _sysdig("-w", str(FOLDER / "output"))
    yield Tool("sysdig-capture", "sysdig -w, everything to a file", "other", capture, "sysdig")


TOOLS: dict[str, Tool] = {tool.name: tool for tool in _tools()}
"""By their names on the command line and in the data file."""
