"""The probes in the kernel: loaded, attached, read, counted and taken away again.

The programs are BCC's (tracer/kernel/compiler.py), kept or compiled just now; they are loaded with libbpf alone.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import re
import struct
import time
from array import array
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel import kept, kprobes
from hangup.tracer.kernel.btf import libbpf
from hangup.tracer.kernel.compiled import Compiled, KernelFacts, RunValue, create_maps, relocated
from hangup.tracer.kernel.compiler import Flavour, Keeper, Options
from hangup.tracer.kernel.globs import WORDS, tables_of
from hangup.tracer.kernel.ring import Ring, RingFill
from hangup.tracer.kernel.selected_cgroups import SelectedCgroups
from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import (
    COUNTED_BYTES,
    HISTORY_BYTES,
    LOST_PERIODS,
    SECTION_BYTES,
    SIZE,
    Counted,
    HistoryState,
    Loss,
    counted_of,
    trimmed,
)
from hangup.tracer.selection import Selection

# include/uapi/linux/bpf.h: enum bpf_prog_type, enum bpf_attach_type
_PROGRAM_KPROBE = 2
_PROGRAM_RAW_TRACEPOINT = 17
_PROGRAM_TRACING = 26
_ATTACH_FENTRY = 24
_ATTACH_FEXIT = 25


@dataclass(frozen=True)
class Probed:
    """A function of the kernel, nearly all of net/unix/af_unix.c, and the programs of bpf/hangup.c attached to it."""

    function: str
    name: str
    """What its programs are called by: enter_NAME at its entry, exit_NAME_ARGUMENTS at its return."""
    leave: str | None = "leave"
    """The program at its return, if that does not see the arguments; None: it is recorded when it is entered."""
    optional: bool = False
    """Whether a kernel may lack it, because another one does its work there."""


PROBED = (
    Probed("unix_stream_connect", "connect", "leave_address"),
    Probed("unix_accept", "accept", "leave_address"),
    Probed("unix_socketpair", "socketpair"),
    Probed("unix_stream_sendmsg", "sendmsg"),
    Probed("unix_stream_sendpage", "sendpage", optional=True),
    Probed("unix_seqpacket_sendmsg", "sendmsg"),
    Probed("unix_stream_recvmsg", "recvmsg"),
    Probed("unix_stream_splice_read", "splice_read"),
    Probed("unix_seqpacket_recvmsg", "recvmsg"),
    Probed("unix_shutdown", "shutdown", leave=None),
    Probed("unix_release_sock", "release", leave=None),
    Probed("commit_creds", "credentials", leave=None),
)
"""The functions that hangup attaches to."""

TRACEPOINTS = {
    "signal_generate": "signal_generated",
    "sched_process_exit": "process_exited",
    "task_rename": "task_renamed",
    "sched_process_exec": "process_executed",
}
"""The raw tracepoints that it attaches to, and the programs."""

_RING_BYTES = 16 << 20
_PAGE = 4096
# A reader is woken after so many records of one cpu at the latest. Half of the ring holds what all cpus may write till
# then. A history_record takes 2 KiB, but wakes the reader or is one of few in a second (LATENT_A_SECOND).
_WAKE_RECORDS = 1024
# Of the ring's own before each record (BPF_RINGBUF_HDR_SZ); and in struct operation_with_address.
_RING_HEADER_BYTES = 8
_ADDRESS_BYTES = 128
# struct lost_periods: three numbers, then three for each slot.
_PERIODS = struct.Struct(f"={3 + 3 * LOST_PERIODS}Q")

KRETPROBE_SLOTS = 4096
"""As many as tracefs grants one probe (KRETPROBE_MAXACTIVE_MAX, kernel/trace/trace_kprobe.c)."""

ENDPOINTS = 65_536
"""Of how many endpoints a history is kept: a KiB each."""

MOST_SNAPLEN = 4096
"""So many bytes of what is read or written can be recorded, each time: records with them still fit the ring by the
thousand."""

FEWEST_ENDPOINTS = 1 << 10
MOST_ENDPOINTS = 1 << 20

WAYS = 4
"""How many of them share a bucket (bpf/history.h)."""

# struct bucket has a key for each (bpf/history.h).
_KEY_BYTES = 8

KALLSYMS = Path("/proc/kallsyms")

_LOG_BYTES = 1 << 20
# A line of kprobe_profile has a name and two counts; so much of it is read.
_PROFILE_BYTES = 1 << 16

_SEE_DOCTOR = "see what `hangup doctor` says"

_INSTRUCTION = 8  # sizeof(struct bpf_insn)


class ProgramLoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts, tools/lib/bpf/bpf.h: sz says how much of it we know."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


def endpoints_of(wanted: int) -> int:
    """Return of how many endpoints a history is kept where it is to be so many: the next power of two.

    Raises ValueError if that is too few or too many.
    """
    if not FEWEST_ENDPOINTS <= wanted <= MOST_ENDPOINTS:
        raise ValueError(f"{wanted} is not a number from {FEWEST_ENDPOINTS} to {MOST_ENDPOINTS}")
    return 1 << (wanted - 1).bit_length()


def snaplen_of(wanted: int) -> int:
    """Return how many bytes of what is read or written are recorded where so many are wanted.

    Raises ValueError if that is too many.
    """
    if not 0 <= wanted <= MOST_SNAPLEN:
        raise ValueError(f"{wanted} is not a number from 0 to {MOST_SNAPLEN}")
    return wanted


def histories_bytes(endpoints: int) -> int:
    """Return how much memory the kernel takes for the histories of so many endpoints, and to find them."""
    return endpoints * (HISTORY_BYTES + _KEY_BYTES)


# Of each Probes of this process.
_numbers = itertools.count(1)


def _library() -> ctypes.CDLL:
    library = libbpf()
    library.bpf_prog_load.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(ProgramLoadOptions),
    ]
    library.bpf_raw_tracepoint_open.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.bpf_map_update_elem.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
    return library


def longest_record(snaplen: int = 0) -> int:
    """Return how much of the ring an operation takes at most, in bytes.

    snaplen: so many bytes of what is read or written are recorded (struct operation_with_payload, tell() in
    bpf/hangup.c).
    """
    section = max(_ADDRESS_BYTES, 2 * snaplen + 8 if snaplen else 0)
    return _RING_HEADER_BYTES + SIZE + SECTION_BYTES + (section + 7 & ~7)


def wake_records(cpus: int, snaplen: int = 0) -> int:
    """Return after how many records of its own a cpu wakes the reader, so that all of them fill half of the ring.

    It is a power of two. snaplen: see `longest_record`.
    """
    most = max(1, min(_WAKE_RECORDS, _RING_BYTES // 2 // longest_record(snaplen) // cpus))
    return 1 << most.bit_length() - 1


def renamed(function: str, kallsyms: str) -> str | None:
    """Return the symbol of a function that the compiler renamed when it specialised it (".isra.0", ".constprop.0").

    Such a function keeps the arguments it uses, in their order; ours use all of those that the probes read. None: there
    is none, or more than one, which have the function's calls between them.
    """
    found = re.findall(rf"^\S+ [tT] ({re.escape(function)}(?:\.(?:isra|constprop)\.\d+)+)$", kallsyms, re.MULTILINE)
    return found[0] if len(found) == 1 else None


def read_from_start(descriptor: int, pread: Callable[[int, int, int], bytes] = os.pread) -> str:
    """Return what an open file of the kernel's says now, of which each read gives no more than a page."""
    text = b""
    while len(text) < _PROFILE_BYTES:
        part = pread(descriptor, _PROFILE_BYTES, len(text))
        if not part:
            break
        text += part
    return text.decode("utf-8", "replace")


def missed_returns(profile: str, events: Collection[str]) -> int:
    """Return how often the kernel had no slot for one of these return probes (tracefs, kprobe_profile).

    Before 5.14 it counts there, too, whenever a program reads where no memory is (kprobe_fault_handler(),
    kernel/kprobes.c).
    """
    missed = 0
    for line in profile.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] in events and words[2].isdigit():
            missed += int(words[2])
    return missed


def periods_of(cause: Loss, words: Sequence[int], total: int) -> list[LostPeriod]:
    """Return the periods of one cause: words is its struct lost_periods, total how many were lost by then.

    Those whose slots were taken by later ones are one period.
    """
    begun, first, overwritten = words[:3]
    kept = range(max(0, begun - LOST_PERIODS), begun)
    slots = [words[3 + 3 * (number % LOST_PERIODS) :][:3] for number in kept]
    periods = []
    if kept and kept.start:
        periods.append(LostPeriod(cause, first, overwritten, slots[0][2]))
    ends = [*[before for _, _, before in slots[1:]], total][: len(slots)]
    for (since, until, before), end in zip(slots, ends, strict=True):
        periods.append(LostPeriod(cause, since, until, max(0, end - before)))
    return periods


def merged_oldest(periods: Sequence[LostPeriod]) -> list[LostPeriod]:
    """Return the periods with the older half of them, the oldest first, as one of each cause."""
    half = len(periods) // 2
    merged: dict[Loss, LostPeriod] = {}
    for period in periods[:half]:
        first = merged.setdefault(period.cause, period._replace(count=0))
        merged[period.cause] = first._replace(until=max(first.until, period.until), count=first.count + period.count)
    return [*merged.values(), *periods[half:]]


def preempts_programs(sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> bool:
    """Whether the kernel may preempt a task inside a fentry program.

    Another task that comes to the same program on that cpu then goes without: __bpf_prog_enter_recur()
    (kernel/bpf/trampoline.c) takes it for a recursion. kprobes run with preemption off. Without an answer (the mode can
    be set at boot, and debugfs may be closed to us): no, as Debian's kernels had it before 7.0.
    """
    mode = re.search(r"\((\w+)\)", _text(sys / "kernel" / "debug" / "sched" / "preempt"))
    if mode is None:
        mode = re.search(r"\bpreempt=(\w+)", _text(proc / "cmdline"))
    if mode:
        return mode[1] in ("full", "lazy")
    return re.search(r"\bPREEMPT(_LAZY|_RT)?\b", _text(proc / "version")) is not None


def _open_first(*paths: Path) -> int | None:
    for path in paths:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def choose_flavour(wanted: str, facts: KernelFacts, *, preempted: bool) -> Flavour:
    """Return how to attach: what was asked for, or with "auto" what misses nothing here, the cheaper one if both do.

    That is fentry where the kernel has BPF trampolines and does not preempt them. Raises HangupError if fentry was
    asked for and the kernel has none (bpf_trampoline_link_prog() is missing).
    """
    if wanted == "fentry" and not facts.trampolines:
        raise HangupError("this kernel has no fentry (BPF trampolines)", "use --probes kprobe")
    # The compiler has renamed it: BTF may not describe it, a kprobe is attached by its symbol.
    undescribed = [each.function for each in PROBED if not each.optional and each.function not in facts.functions]
    if wanted == "fentry" and undescribed:
        raise HangupError(f"this kernel's BTF does not describe {undescribed[0]}", "use --probes kprobe")
    if wanted == "kprobe" or not facts.trampolines or undescribed or (wanted == "auto" and preempted):
        return "kprobe"
    return "fentry"


def keeper() -> Keeper:
    """Return who has the compiled probes for the running kernel, or makes them. Raises HangupError without BTF."""
    return Keeper(kept.Kept(kept.directory()), [probed.function for probed in PROBED])


def options(flavour: Flavour) -> Options:
    """Return how the probes are compiled on this host."""
    return Options(flavour, _RING_BYTES, os.sysconf("SC_NPROCESSORS_CONF"))


def _selected_by(selection: Selection) -> int:
    """Return which conditions on who uses an end have to hold."""
    conditions = (
        (selection.pids, HistoryState.PID_SELECTED),
        (selection.uids, HistoryState.UID_SELECTED),
        (selection.cgroups, HistoryState.CGROUP_SELECTED),
    )
    return sum(state for given, state in conditions if given)


class Probes:
    """The attached probes. Closing it detaches them; so does the end of the process."""

    def __init__(
        self,
        *,
        flavour: str = "auto",
        recording: bool = False,
        selection: Selection | None = None,
        kretprobe_slots: int = KRETPROBE_SLOTS,
        endpoints: int = ENDPOINTS,
        snaplen: int = 0,
    ) -> None:
        """Find what is kept of an earlier run or compile, load and attach.

        flavour: "kprobe", "fentry" or "auto". recording: keep histories, and tell only of connections that went wrong;
        else every operation is a record. selection: what it does not match makes no record; but where the kernel cannot
        say, it does (tracer/kernel/globs.py); pids are as the host sees them. kretprobe_slots: with kprobes, how many
        threads may sleep in one function before returns are missed (and counted); 0: what the kernel gives by default.
        endpoints: of how many a history is kept, a power of two; a KiB each. snaplen: so many bytes of what is read or
        written are recorded, each time, at most MOST_SNAPLEN. Raises HangupError if this host cannot do it.
        """
        self._library, self._number = _library(), next(_numbers)
        self._descriptors: list[int] = []
        self._maps: dict[str, int] = {}
        self._ring: Ring | None = None
        self._losses: mmap.mmap | None = None
        self._periods: mmap.mmap | None = None
        self._counted_rows: mmap.mmap | None = None
        # What the kernel counts without saying when: the counts at the last look, when that was, and the times between
        # the looks that found more.
        self._looked = time.monotonic_ns()
        self._counted = {Loss.SKIPPED: 0, Loss.MISSED_RETURN: 0}
        self._between_looks: list[LostPeriod] = []
        self._kretprobe_slots = kretprobe_slots
        self._tracefs_events: list[str] = []
        # Opened while we may, for the service gives up its privileges.
        self._profile: int | None = None
        self._programs: list[int] = []
        self._misses_offset: int | None = None
        self._skipped = 0
        self._recording, self._endpoints, self._snaplen = recording, endpoints, snaplen
        selection = selection or Selection()
        self._cgroups = SelectedCgroups(selection.cgroups)
        self.selection = replace(selection, cgroups=self._cgroups.paths)
        """What is selected, with the cgroups' paths in the place of their names."""
        self._globs = tables_of(selection)
        try:
            keeps = keeper()
            facts = keeps.facts()
            self.flavour = choose_flavour(flavour, facts, preempted=preempts_programs())
            self._misses_offset = facts.misses_offset
            compiled = keeps.compiled(facts, options(self.flavour))
            sizes = {
                "selected_pids": max(1, len(selection.pids)),
                "selected_uids": max(1, len(selection.uids)),
                "selected_cgroups": max(1, len(selection.cgroups)),
                "buckets": endpoints // WAYS,
                "histories": endpoints,
            }
            self._maps = create_maps(
                [replace(each, max_entries=sizes.get(each.name, each.max_entries)) for each in compiled.maps]
            )
            loaded = self._load_all(compiled, facts)
            tracepoints = self._load_tracepoints(compiled)
            self.attached = tuple(dict.fromkeys(function for function, _, _ in loaded))
            self._select()
            self._ring = self._open_ring()
            self._losses = mmap.mmap(self._maps["losses"], _PAGE, prot=mmap.PROT_READ)
            self._periods = mmap.mmap(self._maps["periods"], len(Loss) * _PERIODS.size, prot=mmap.PROT_READ)
            if recording:
                length = -(-COUNTED_BYTES // _PAGE) * _PAGE
                self._counted_rows = mmap.mmap(self._maps["counted"], length, prot=mmap.PROT_READ)
            if self.flavour == "kprobe":
                kprobes.remove_leftovers()
                self._profile = _open_first(*(folder / "kprobe_profile" for folder in kprobes.TRACEFS))
            # Last the entries of functions whose return is probed: one that returned unprobed would be counted as
            # missed, and so would the release of a connection on which something was seen already.
            for name, descriptor in tracepoints:
                self._descriptors.append(self._attach_tracepoint(name, descriptor))
            returning = {function for function, at_return, _ in loaded if at_return}
            for function, at_return, descriptor in sorted(
                loaded, key=lambda probe: not probe[1] and probe[0] in returning
            ):
                self._descriptors.append(self._attach(function, at_return, descriptor))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Probes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach the probes and free their maps; records not read yet are gone."""
        self.detach()
        for mapped in (self._ring, self._losses, self._periods, self._counted_rows):
            if mapped is not None:
                mapped.close()
        self._ring = self._losses = self._periods = self._counted_rows = None
        if self._profile is not None:
            os.close(self._profile)
            self._profile = None
        for descriptor in self._maps.values():
            os.close(descriptor)
        self._maps.clear()

    def detach(self) -> None:
        """Take the probes away but keep what they recorded: read() then drains the ring buffer."""
        if self._losses is not None:
            self._look()
        self._skipped = self._count_skipped()
        self._programs.clear()
        # In the reverse order, or what is entered meanwhile would be counted as missed when it is entered again.
        # An exception of a signal's handler may come in between, and close() then goes on here: none is closed twice.
        while self._descriptors:
            os.close(self._descriptors.pop())
        self._remove_tracefs_events()

    @property
    def snaplen(self) -> int:
        """So many bytes of what is read or written are recorded."""
        return self._snaplen

    def read(self, timeout: float) -> list[bytes]:
        """Return the records of the ring buffer, in the order they were written (seldom none, after timeout seconds).

        Records of what went well do not wake the reader: when they come at all, ask at least some times a second.
        """
        self._look_for_cgroups()
        records = [] if self._ring is None else self._ring.read(timeout)
        # There is room for twice as much payload as is wanted in the ring, and there alone.
        return list(map(trimmed, records)) if self._snaplen else records

    def wake_by(self, descriptor: int) -> None:
        """Let a read that waits return also when something comes to be read from this descriptor."""
        if self._ring is not None:
            self._ring.wake_by(descriptor)

    @property
    def ring(self) -> RingFill:
        """How full the ring buffer was before the last read."""
        # Another thread may ask while it is closed.
        ring = self._ring
        return RingFill(0, _RING_BYTES, 0) if ring is None else ring.fill

    @property
    def drained(self) -> bool:
        """Whether the ring buffer is empty: else a read has left something, or something has come since."""
        return self._ring is None or self._ring.drained

    def counted(self) -> list[Counted]:
        """Return how many connections have ended well till now, by who was connected to whom; none when streaming."""
        return [] if self._counted_rows is None else counted_of(self._counted_rows[:COUNTED_BYTES])

    def open_endpoints(self) -> int:
        """Return how many endpoints the kernel knows that are open, or whose other end is."""
        if "buckets" not in self._maps:
            return 0
        # Mapped when somebody asks: it would be memory of ours from the start, 8 bytes an endpoint.
        with mmap.mmap(self._maps["buckets"], self._endpoints * _KEY_BYTES, prot=mmap.PROT_READ) as buckets:
            keys = array("Q", buckets[:])
        return len(keys) - keys.count(0)

    def losses(self) -> dict[Loss, int]:
        """Return what was lost in the kernel, by cause."""
        if self._losses is None:
            return dict.fromkeys(Loss, 0)
        self._look()
        return self._counts() | self._counted

    def lost_periods(self) -> list[LostPeriod]:
        """Return when it was lost, the oldest first.

        A return that was missed may stand in two of them: when there was no slot for it, and from when the function was
        entered until the same thread entered another one.
        """
        if self._periods is None:
            return []
        self._look()
        periods = list(self._between_looks)
        for cause in Loss:
            words = _PERIODS.unpack_from(self._periods, cause * _PERIODS.size)
            periods += periods_of(cause, words, self._counts()[cause])
        return sorted(periods, key=lambda period: (period.since, period.until))

    def _counts(self) -> dict[Loss, int]:
        assert self._losses is not None
        return dict(zip(Loss, struct.unpack_from(f"={len(Loss)}Q", self._losses), strict=True))

    def _look(self) -> None:
        """See whether the kernel counts more losses of those whose times it does not tell."""
        now = time.monotonic_ns()
        missed = self._counts()[Loss.MISSED_RETURN]
        if self._profile is not None and self._tracefs_events:
            with suppress(OSError):
                missed = max(missed, missed_returns(read_from_start(self._profile), self._tracefs_events))
        for cause, count in ((Loss.SKIPPED, self._count_skipped()), (Loss.MISSED_RETURN, missed)):
            more = count - self._counted[cause]
            if more > 0:
                self._counted[cause] = count
                self._keep_period(LostPeriod(cause, self._looked, now, more))
        self._looked = now

    def _keep_period(self, period: LostPeriod) -> None:
        kept = self._between_looks
        for place in range(len(kept) - 1, -1, -1):
            last = kept[place]
            if last.cause == period.cause:
                # It goes on: one period, as the kernel would have it.
                if last.until == period.since:
                    kept[place] = last._replace(until=period.until, count=last.count + period.count)
                    return
                break
        kept.append(period)
        if len(kept) > LOST_PERIODS:
            self._between_looks = merged_oldest(kept)

    def _count_skipped(self) -> int:
        """Return how often the kernel did not run one of our programs; kernels before 5.12 run them always."""
        if self._misses_offset is None or not self._programs:
            return self._skipped
        size = self._misses_offset + 8
        information = ctypes.create_string_buffer(size)
        skipped = 0
        for program in self._programs:
            length = ctypes.c_uint32(size)
            if not self._library.bpf_obj_get_info_by_fd(program, information, ctypes.byref(length)):
                skipped += ctypes.c_uint64.from_buffer(information, self._misses_offset).value
            ctypes.memset(information, 0, size)
        return skipped

    def _select(self) -> None:
        for name, numbers in (("selected_pids", self.selection.pids), ("selected_uids", self.selection.uids)):
            for number in numbers:
                self._update(name, number, b"\1")
        self._look_for_cgroups()
        for first, words in zip((0, WORDS), self._globs, strict=True):
            for place, word in enumerate(words, first):
                self._update("globs", place, word.pack())

    def _look_for_cgroups(self) -> None:
        if "selected_cgroups" in self._maps:
            self._cgroups.look(
                time.monotonic_ns(),
                lambda number, folder: self._put("selected_cgroups", number, struct.pack("=i", folder)),
            )

    def _update(self, name: str, key: int, value: bytes) -> None:
        code = self._put(name, key, value)
        if code:
            raise HangupError(f"the kernel does not take what to select ({os.strerror(code)})", "select less")

    def _put(self, name: str, key: int, value: bytes) -> int:
        """Put a value into a map; returns 0 or what errno says."""
        failed = self._library.bpf_map_update_elem(self._maps[name], ctypes.byref(ctypes.c_uint32(key)), value, 0)
        return ctypes.get_errno() if failed else 0

    def _open_ring(self) -> Ring:
        try:
            return Ring(self._maps["ring"], _RING_BYTES)
        except OSError as error:
            raise HangupError(f"cannot open the BPF ring buffer ({error.strerror})", _SEE_DOCTOR) from None

    def _load_all(self, compiled: Compiled, facts: KernelFacts) -> list[tuple[str, bool, int]]:
        """Load a program for each entry and return; yields the symbol, whether at its return, and descriptor."""
        loaded = []
        kallsyms = ""
        for probed in PROBED:
            symbol = probed.function
            described = facts.functions.get(probed.function)
            if described is None:
                found = None
                if self.flavour == "kprobe":
                    # Without BTF's description a kprobe still finds it by its symbol.
                    kallsyms = kallsyms or _text(KALLSYMS)
                    found = renamed(probed.function, kallsyms)
                if found is None:
                    if probed.optional:
                        continue
                    raise HangupError(f"this kernel has no function {probed.function}", _SEE_DOCTOR)
                symbol = found
            suffix = f"_{described.arguments}" if described and self.flavour == "fentry" else ""
            points = [(f"enter_{probed.name}", False)]
            if suffix and probed.leave:
                # A fexit program sees the arguments, too: when it began is looked at only where each is recorded.
                points = points if not self._recording else []
                points.append((f"exit_{probed.name}{suffix}", True))
            elif probed.leave:
                points.append((probed.leave, True))
            for name, at_return in points:
                options = ProgramLoadOptions(sz=ctypes.sizeof(ProgramLoadOptions))
                kind = _PROGRAM_KPROBE
                if described and self.flavour == "fentry":
                    kind = _PROGRAM_TRACING
                    options.attach_btf_id = described.id
                    options.expected_attach_type = _ATTACH_FEXIT if at_return else _ATTACH_FENTRY
                descriptor = self._load(kind, name, compiled, options)
                self._descriptors.append(descriptor)
                self._programs.append(descriptor)
                loaded.append((symbol, at_return, descriptor))
        return loaded

    def _load_tracepoints(self, compiled: Compiled) -> list[tuple[str, int]]:
        """Load the programs of the raw tracepoints; returns tracepoints and descriptors.

        What they miss is not an operation, so they are not asked how often they were skipped.
        """
        loaded = []
        for tracepoint, name in TRACEPOINTS.items():
            options = ProgramLoadOptions(sz=ctypes.sizeof(ProgramLoadOptions))
            descriptor = self._load(_PROGRAM_RAW_TRACEPOINT, name, compiled, options)
            self._descriptors.append(descriptor)
            loaded.append((tracepoint, descriptor))
        return loaded

    def _load(self, kind: int, name: str, compiled: Compiled, options: ProgramLoadOptions) -> int:
        instructions = relocated(
            compiled.programs[name],
            self._maps,
            {
                RunValue.TRACER_PID: os.getpid(),
                RunValue.BUCKET_MASK: self._endpoints // WAYS - 1,
                RunValue.STREAMING: int(not self._recording),
                RunValue.COMM_GLOBS: len(self._globs.comms),
                RunValue.PATH_GLOBS: len(self._globs.paths),
                RunValue.NEEDS_PATH: int(bool(self.selection.paths)),
                RunValue.SELECTED_BY: _selected_by(self.selection),
                RunValue.SELECTED_CGROUPS: len(self.selection.cgroups),
                RunValue.PATHS_DECIDE: int(self.selection.selects_paths),
                RunValue.SNAPLEN: self._snaplen,
                RunValue.WAKE_MASK: wake_records(os.cpu_count() or 1, self._snaplen) - 1,
            },
        )
        # BPF_OBJ_NAME_LEN is 16 with the terminator.
        short = f"hangup_{name}"[:15].encode()
        arguments = (kind, short, b"GPL", instructions, len(instructions) // _INSTRUCTION, options)
        descriptor: int = self._library.bpf_prog_load(*arguments)
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise HangupError(f"the kernel refuses to load tracing programs ({os.strerror(code)})", _SEE_DOCTOR)
        log = ctypes.create_string_buffer(_LOG_BYTES)
        options.log_level, options.log_size = 1, _LOG_BYTES
        options.log_buf = ctypes.cast(log, ctypes.c_void_p)
        self._library.bpf_prog_load(*arguments)
        reason = log.value.decode(errors="replace").strip().splitlines()[-3:]
        raise HangupError(
            f"the kernel does not take the probe {name} ({os.strerror(code)}; {' / '.join(reason)})",
            "report it with the output of `hangup doctor`",
        )

    def _attach_tracepoint(self, name: str, program: int) -> int:
        descriptor: int = self._library.bpf_raw_tracepoint_open(name.encode(), program)
        if descriptor < 0:
            reason = os.strerror(ctypes.get_errno())
            raise HangupError(f"cannot attach to the tracepoint {name} ({reason})", _SEE_DOCTOR)
        return descriptor

    def _attach(self, function: str, at_return: bool, program: int) -> int:
        if self.flavour == "fentry":
            descriptor: int = self._library.bpf_raw_tracepoint_open(None, program)
            reason = os.strerror(ctypes.get_errno())
        else:
            try:
                return self._attach_kprobe(function, at_return, program)
            except (OSError, ValueError) as error:
                descriptor, reason = -1, getattr(error, "strerror", str(error))
        if descriptor < 0:
            raise HangupError(f"cannot attach a {self.flavour} to {function} ({reason})", _SEE_DOCTOR)
        return descriptor

    def _attach_kprobe(self, function: str, at_return: bool, program: int) -> int:
        if at_return and self._kretprobe_slots:
            # A dot, of a function that the compiler renamed, is not for a name in tracefs. There may be other Probes.
            name = f"hangup_{function.replace('.', '_')}_return_{self._number}_{os.getpid()}"
            # Without tracefs there are fewer slots; what is missed for that is counted.
            with suppress(OSError, ValueError):
                descriptor = kprobes.attach_named_return(name, function, program, slots=self._kretprobe_slots)
                self._tracefs_events.append(name)
                return descriptor
        return kprobes.attach(function, program, at_return=at_return)

    def _remove_tracefs_events(self) -> None:
        for name in self._tracefs_events:
            kprobes.detach_named(name)
        self._tracefs_events.clear()
