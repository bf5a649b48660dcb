"""What a source has learnt beside operations: the host, its processes and sockets, what was counted, what was lost.

These are the records that a live source writes (tracer/kernel/live.py), in plain values. Texts in them are escaped
(tracer/escape.py), and are made so again here: a capture may hold anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hangup.tracer.escape import escaped
from hangup.tracer.record.layout import (
    OPERATION_AT,
    OPERATIONS,
    SIZE,
    SMALLEST,
    Counted,
    HostFlag,
    Loss,
    ProcessFlag,
    RecordType,
    SectionType,
    SocketFlag,
    TextKind,
    are_operations,
    layout_of,
    names_of,
    pack_record,
    packed_section,
    sections,
    time_of,
    type_of,
    unpack_history,
    unpack_identity,
)

# Longer than the longest cgroup's path (PATH_MAX, include/uapi/linux/limits.h) with each byte escaped.
_TEXT_MAX = 17_000
_NUMBERS_MAX = 4096
# Of the cgroups that are selected, in bytes. If that is too little none is told of: who reads does not know then whose
# the counts are, and leaves them out.
_CGROUPS_MAX = 16_000


MAX_TOLD = 4096
"""A process that is told of is told of again, though nothing of it has changed, when so many others have been since:
whoever reads need not remember more than twice as many."""

ROOT = 1
"""The id of a cgroup hierarchy's root (kernfs_create_root(), fs/kernfs/dir.c): where only cgroup v1 is used,
everybody's."""


class Cgroup(NamedTuple):
    """A control group of the unified hierarchy, and what its path names."""

    path: str
    """Below the hierarchy's root, with a leading slash, escaped."""
    unit: str | None = None
    """The systemd unit, spelled as systemctl does: the one of the user's own manager if that is below
    user@UID.service, and in a container the one of the container's own systemd, if it runs one."""
    container: str | None = None
    """The container's name, escaped, or the first 12 digits of its id, as `docker ps`, `podman ps` and `crictl ps`
    show it; None outside of containers."""
    runtime: str | None = None
    """Who runs the container: docker, podman, containerd, cri-o, kubernetes, lxc, systemd-nspawn, machined, or what its
    cgroup's name begins with; None if the path does not say."""
    unit_is_container: bool = False
    """Whether `unit` is a container's own (docker-ID.scope) and says nothing more."""


class HostFact(NamedTuple):
    """The host, how it is watched, and its clocks in one instant, in ns."""

    monotonic: int
    boottime: int
    wall: int
    looked: int
    """When the clocks were last found as they were told before, in ns of CLOCK_MONOTONIC."""
    kernel: str = ""
    """Its release."""
    boot: str = ""
    """The boot's id."""
    version: str = ""
    """Of the hangup that watches."""
    probes: str = ""
    """How they are attached: "fentry" or "kprobe"."""
    functions: tuple[str, ...] = ()
    """The kernel functions that are probed."""
    recording: bool = False
    """Whether the kernel keeps histories and tells only of what went wrong."""
    snaplen: int = 0
    """So many bytes of what is read or written are recorded, each time; 0: none."""
    pids: tuple[int, ...] = ()
    """The processes whose connections alone are told; none: all are."""
    uids: tuple[int, ...] = ()
    """The same of users."""
    cgroups: tuple[str, ...] = ()
    """The same of cgroups and those below them: their paths, escaped."""

    @property
    def is_first(self) -> bool:
        """Whether it is what a run told first of its host: its clocks had not been looked at before."""
        return self.looked == self.monotonic


class ProcessFact(NamedTuple):
    """A process as it was when somebody looked at it."""

    when: int
    """In ns of CLOCK_MONOTONIC."""
    pid: int
    comm: str
    """Its thread group leader's name, escaped."""
    inner_pid: int | None = None
    """Its pid in its own pid namespace."""
    cgroup_id: int = 0
    """0: not known."""
    cgroup: Cgroup | None = None
    start: int = 0
    """When it began, in ns of CLOCK_MONOTONIC, rounded down; 0: not looked up."""


class SocketFact(NamedTuple):
    """An end of a connection that is older than the tracer, or a socket that listens."""

    when: int
    """In ns of CLOCK_MONOTONIC; of a failed connect's listener when the connect ended."""
    flags: SocketFlag
    path: str | None
    """The listener's, escaped; None: none, or not known."""
    inode_number: int = 0
    peer_inode_number: int = 0
    """The other end's; 0: it has gone, or has yet to be accepted."""
    holders: tuple[int, ...] = ()
    """The pids of those that have it open."""
    waiting: int = 0
    """Of a listener: how many connects it had not accepted."""
    backlog: int = 0
    """Of a listener: how many it lets wait, as listen(2) was told."""


class CountsFact(NamedTuple):
    """How many connections have ended well since this row was told last."""

    when: int
    row: Counted


class LostPeriod(NamedTuple):
    """A time in which records were lost."""

    cause: Loss
    since: int
    """ns, CLOCK_MONOTONIC, as the records' times are."""
    until: int
    """ns, CLOCK_MONOTONIC; what was lost at that very time belongs to it."""
    count: int  # type: ignore[assignment] # tuple's method of that name is not missed
    """How many were lost."""


class LostFact(NamedTuple):
    """All that was lost by one cause till now."""

    when: int
    cause: Loss
    total: int
    periods: tuple[LostPeriod, ...]
    """The oldest first."""


Fact = HostFact | ProcessFact | SocketFact | CountsFact | LostFact


class _Fields:
    """A struct of the header, by its fields' names."""

    def __init__(self, structure: str) -> None:
        self._layout = layout_of(structure)
        self._names = names_of(structure)
        self.size = self._layout.size

    def pack(self, **values: int) -> bytes:
        """Return it with these fields, zeros in all others."""
        return self._layout.pack(*(values.get(name, 0) for name in self._names))

    def unpack(self, content: bytes) -> dict[str, int]:
        """Return its fields; a later version may have more behind them. struct.error if it is too short."""
        return dict(zip(self._names, self._layout.unpack_from(content), strict=True))


_HOST = _Fields("host")
_PROCESS = _Fields("process")
_SOCKET = _Fields("open_socket")
_LOST = _Fields("lost")
_LOST_TIME = _Fields("lost_time")
_TEXT = _Fields("text")
_COUNTED = layout_of("counted")
_NUMBER = struct.Struct("=I")
_CAUSES = {int(cause): cause for cause in Loss}

# Plain numbers, as these are compared for each record: an enum's comparison costs more than all else.
_OPERATION = int(RecordType.OPERATION)
_HISTORY = int(RecordType.HISTORY)
_IDENTITY = int(RecordType.IDENTITY)


class _Content:
    """The sections of a record, by their types: the first one of each, and all texts."""

    def __init__(self, record: bytes) -> None:
        self._sections: dict[int, bytes] = {}
        self._texts: dict[int, list[str]] = {}
        for kind, content in sections(record, SMALLEST):
            if kind == SectionType.TEXT:
                text = _TEXT.unpack(content)["kind"]
                self._texts.setdefault(text, []).append(escaped(content[_TEXT.size :]))
            else:
                self._sections.setdefault(kind, content)

    def section(self, kind: SectionType) -> bytes:
        """Return a section that must be there; struct.error if it is not."""
        try:
            return self._sections[kind]
        except KeyError:
            raise struct.error(f"no section {kind.name} in the record") from None

    def numbers(self, kind: SectionType) -> tuple[int, ...]:
        """Return the pids or uids of a section, none if there is none."""
        content = self._sections.get(kind, b"")
        return tuple(number for (number,) in _NUMBER.iter_unpack(content))

    def periods(self, cause: Loss) -> tuple[LostPeriod, ...]:
        """Return when something was lost."""
        content = self._sections.get(SectionType.PERIODS, b"")
        size = _LOST_TIME.size
        return tuple(
            LostPeriod(cause, **_LOST_TIME.unpack(content[place : place + size]))
            for place in range(0, len(content), size)
        )

    def text(self, kind: TextKind) -> str | None:
        """Return the first text of a kind, None if there is none."""
        return next(iter(self.texts(kind)), None)

    def texts(self, kind: TextKind) -> Sequence[str]:
        """Return all texts of a kind."""
        return self._texts.get(kind, ())


def unpack_fact(record: bytes) -> Fact | None:
    """Return what a record of a source's own says; None: it is of a kind, or a cause, that is not known here.

    struct.error if it is not what its kind says.
    """
    kind, when = type_of(record), time_of(record)
    if kind == RecordType.PROCESS:
        return _process(when, _Content(record))
    if kind == RecordType.COUNTS:
        return CountsFact(when, Counted._make(_COUNTED.unpack_from(_Content(record).section(SectionType.COUNTED))))
    if kind == RecordType.SOCKET:
        return _socket(when, _Content(record))
    if kind == RecordType.LOST:
        content = _Content(record)
        fields = _LOST.unpack(content.section(SectionType.LOST))
        cause = _CAUSES.get(fields["cause"])
        return None if cause is None else LostFact(when, cause, fields["total"], content.periods(cause))
    if kind == RecordType.HOST:
        return _host(when, _Content(record))
    return None


def _host(when: int, content: _Content) -> HostFact:
    fields = _HOST.unpack(content.section(SectionType.HOST))
    return HostFact(
        when,
        fields["boottime"],
        fields["wall"],
        fields["looked"],
        content.text(TextKind.KERNEL) or "",
        content.text(TextKind.BOOT) or "",
        content.text(TextKind.VERSION) or "",
        content.text(TextKind.PROBES) or "",
        tuple(content.texts(TextKind.FUNCTION)),
        bool(fields["flags"] & HostFlag.RECORDING),
        fields["snaplen"],
        content.numbers(SectionType.PIDS),
        content.numbers(SectionType.UIDS),
        tuple(content.texts(TextKind.CGROUP)),
    )


def _process(when: int, content: _Content) -> ProcessFact:
    fields = _PROCESS.unpack(content.section(SectionType.PROCESS))
    path = content.text(TextKind.CGROUP)
    cgroup = None
    if path is not None:
        cgroup = Cgroup(
            path,
            content.text(TextKind.UNIT),
            content.text(TextKind.CONTAINER),
            content.text(TextKind.RUNTIME),
            bool(fields["flags"] & ProcessFlag.UNIT_IS_CONTAINER),
        )
    return ProcessFact(
        when,
        fields["pid"],
        content.text(TextKind.COMM) or "",
        fields["inner_pid"] or None,
        fields["cgroup"],
        cgroup,
        fields["start"],
    )


def _socket(when: int, content: _Content) -> SocketFact:
    fields = _SOCKET.unpack(content.section(SectionType.SOCKET))
    return SocketFact(
        when,
        SocketFlag(fields["flags"] & _SOCKET_FLAGS),
        content.text(TextKind.PATH),
        fields["inode_number"],
        fields["peer_inode_number"],
        content.numbers(SectionType.PIDS),
        fields["waiting"],
        fields["backlog"],
    )


_SOCKET_FLAGS = sum(SocketFlag)


def is_whole(record: bytes) -> bool:
    """Whether a record is one, and can be unpacked; of a kind that is not known nothing is to be unpacked."""
    try:
        kind = type_of(record)
        if kind == _OPERATION:
            return len(record) >= SIZE and record[OPERATION_AT] in OPERATIONS
        if kind == _HISTORY:
            handed = unpack_history(record)
            return all(are_operations(end) for end in (handed.one, handed.other) if end is not None)
        if kind == _IDENTITY:
            unpack_identity(record)
        else:
            unpack_fact(record)
    except struct.error:
        return False
    return True


def pack_fact(fact: Fact) -> bytes:
    """Return the record that says this."""
    if isinstance(fact, ProcessFact):
        return pack_record(RecordType.PROCESS, fact.when, _pack_process(fact))
    if isinstance(fact, CountsFact):
        return pack_record(RecordType.COUNTS, fact.when, packed_section(SectionType.COUNTED, _COUNTED.pack(*fact.row)))
    if isinstance(fact, SocketFact):
        return pack_record(RecordType.SOCKET, fact.when, _pack_socket(fact))
    if isinstance(fact, LostFact):
        lost = packed_section(SectionType.LOST, _LOST.pack(total=fact.total, cause=fact.cause))
        times = b"".join(
            _LOST_TIME.pack(since=period.since, until=period.until, count=period.count) for period in fact.periods
        )
        return pack_record(RecordType.LOST, fact.when, lost + packed_section(SectionType.PERIODS, times))
    return pack_record(RecordType.HOST, fact.monotonic, _pack_host(fact))


def _pack_host(fact: HostFact) -> bytes:
    cgroups = b"".join(_pack_text(TextKind.CGROUP, path) for path in fact.cgroups)
    return (
        packed_section(
            SectionType.HOST,
            _HOST.pack(
                boottime=fact.boottime,
                wall=fact.wall,
                looked=fact.looked,
                flags=HostFlag.RECORDING if fact.recording else 0,
                snaplen=fact.snaplen,
            ),
        )
        + _pack_text(TextKind.KERNEL, fact.kernel)
        + _pack_text(TextKind.BOOT, fact.boot)
        + _pack_text(TextKind.VERSION, fact.version)
        + _pack_text(TextKind.PROBES, fact.probes)
        + b"".join(_pack_text(TextKind.FUNCTION, function) for function in fact.functions)
        + _pack_numbers(SectionType.PIDS, fact.pids)
        + _pack_numbers(SectionType.UIDS, fact.uids)
        + (cgroups if len(cgroups) <= _CGROUPS_MAX else b"")
    )


def _pack_process(fact: ProcessFact) -> bytes:
    cgroup = fact.cgroup
    fields = _PROCESS.pack(
        cgroup=fact.cgroup_id,
        start=fact.start,
        pid=fact.pid,
        inner_pid=fact.inner_pid or 0,
        flags=ProcessFlag.UNIT_IS_CONTAINER if cgroup and cgroup.unit_is_container else 0,
    )
    return (
        packed_section(SectionType.PROCESS, fields)
        + _pack_text(TextKind.COMM, fact.comm)
        + _pack_text(TextKind.CGROUP, cgroup and cgroup.path)
        + _pack_text(TextKind.UNIT, cgroup and cgroup.unit)
        + _pack_text(TextKind.CONTAINER, cgroup and cgroup.container)
        + _pack_text(TextKind.RUNTIME, cgroup and cgroup.runtime)
    )


def _pack_socket(fact: SocketFact) -> bytes:
    fields = _SOCKET.pack(
        inode_number=fact.inode_number,
        peer_inode_number=fact.peer_inode_number,
        waiting=fact.waiting,
        backlog=fact.backlog,
        flags=fact.flags,
    )
    return (
        packed_section(SectionType.SOCKET, fields)
        + _pack_text(TextKind.PATH, fact.path)
        + _pack_numbers(SectionType.PIDS, fact.holders)
    )


def _pack_text(kind: TextKind, text: str | None) -> bytes:
    if text is None:
        return b""
    return packed_section(SectionType.TEXT, _TEXT.pack(kind=kind) + text.encode()[:_TEXT_MAX])


def _pack_numbers(kind: SectionType, numbers: Iterable[int]) -> bytes:
    content = b"".join(_NUMBER.pack(number) for number in list(numbers)[:_NUMBERS_MAX])
    return packed_section(kind, content) if content else b""
