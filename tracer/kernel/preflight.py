"""What this host has and lacks for tracing, each with what to do about it.

`checks` says all of it, for `hangup doctor`; `require` looks at what most often is wrong and costs next to nothing,
before anything is loaded. Both say the same sentences: a failed check is a HangupError's problem and remedy.

No kernel version is compared. Whether the kernel has something is asked of its BTF, of /sys, or of the kernel itself.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from hangup.tracer.errors import HangupError
from hangup.tracer.host import unix_diag
from hangup.tracer.kernel.btf import VMLINUX, Btf, libbpf
from hangup.tracer.kernel.probes import (
    ENDPOINTS,
    KALLSYMS,
    PROBED,
    TRACEPOINTS,
    choose_flavour,
    histories_bytes,
    keeper,
    options,
    preempts_programs,
    renamed,
)

State = Literal["ok", "warn", "fail"]

# include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}

INITIAL_PID_NAMESPACE = 0xEFFFFFFC

DEBIAN_BCC = Path("/usr/lib/python3/dist-packages/bcc")

# `mov r0, 0; exit`: two struct bpf_insn (include/uapi/linux/bpf.h).
_TRIVIAL_PROGRAM = bytes.fromhex("b700000000000000 9500000000000000")
_PROGRAM_KPROBE = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    `warn` means that hangup works without it, but not as well; `fail` that it does not work.
    """

    name: str
    state: State
    found: str
    """What is there; of a failed check, the problem."""
    remedy: str | None = None

    def error(self) -> HangupError:
        """Return the error that says what this failed check says."""
        return HangupError(self.found, self.remedy or "see `hangup doctor`")


class Kernel(Protocol):
    """What is asked of BTF (`tracer.kernel.btf.Btf`)."""

    def has_function(self, name: str) -> bool:
        """Whether the kernel has this function, and it can be probed."""

    def has_tracepoint(self, name: str) -> bool:
        """Whether the kernel has this tracepoint."""

    def enum_value(self, enum: str, enumerator: str) -> int | None:
        """Return the value of a constant, None if the kernel does not know it."""


def load_trivial_program() -> int:
    """Ask the kernel for a kprobe program that does nothing, never attached; return 0, or the errno of the refusal."""
    descriptor: int = libbpf().bpf_prog_load(_PROGRAM_KPROBE, b"doctor", b"GPL", _TRIVIAL_PROGRAM, 2, None)
    if descriptor < 0:
        return -descriptor
    os.close(descriptor)
    return 0


def find_kept() -> tuple[str | None, Path, str | None]:
    """Look for what an earlier run compiled for `watch` and `serve` as they are without any option.

    Returns how it attaches, None if nothing fits; the directory; and why nothing is kept there, if so. Raises
    HangupError without BTF.
    """
    keeps = keeper()
    facts = keeps.kept_facts()
    found = None
    if facts is not None:
        flavour = choose_flavour("auto", facts, preempted=preempts_programs())
        found = flavour if keeps.kept_compiled(options(flavour)) else None
    return found, keeps.path, keeps.not_kept


@dataclass(frozen=True, slots=True)
class Host:
    """Where to look, and how to ask. The defaults are the host we run on; tests make up others."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    machine: str = field(default_factory=lambda: os.uname().machine)
    euid: int = field(default_factory=os.geteuid)
    debian_bcc: Path = DEBIAN_BCC
    find_module: Callable[[str], ModuleSpec | None] = find_spec
    import_module: Callable[[str], object] = import_module
    load_libbpf: Callable[[], object] = libbpf
    load_program: Callable[[], int] = load_trivial_program
    check_unix_diag: Callable[[], None] = unix_diag.check
    find_kept: Callable[[], tuple[str | None, Path, str | None]] = find_kept

    def capabilities(self) -> int:
        """Return our effective capabilities as a bit mask (capabilities(7), proc_pid_status(5)); 0 if unknown."""
        match = re.search(r"^CapEff:\t([0-9a-f]{1,32})$", _read(self.proc / "self" / "status"), re.MULTILINE)
        return int(match[1], 16) if match else 0

    def pid_namespace(self) -> int | None:
        """Return the number of our pid namespace, None if the kernel does not have them."""
        try:
            link = str((self.proc / "self" / "ns" / "pid").readlink())
        except OSError:
            return None
        match = re.fullmatch(r"pid:\[([0-9]{1,20})\]", link)
        return int(match[1]) if match else None

    def has(self, capability: str) -> bool:
        """Whether we have this capability."""
        return bool(self.capabilities() >> CAPABILITIES[capability] & 1)


def require(host: Host | None = None) -> None:
    """Raise the HangupError of the first thing that is known to keep this host from tracing; cheap, loads no bcc."""
    host = host or Host()
    for check in (
        check_machine,
        check_proc,
        # Before the privileges: who is told of sudo first, runs another Python next, that of root's path.
        check_bcc,
        check_pid_namespace,
        check_privileges,
        check_libbpf,
        check_btf,
        check_lockdown,
        check_program_load,
    ):
        result = check(host)
        if result.state == "fail":
            raise result.error()


def checks(host: Host | None = None, open_btf: Callable[[], Btf] = Btf.vmlinux) -> Iterator[Check]:
    """Yield every check's result, the cheap and common ones first. Nothing is raised."""
    host = host or Host()
    yield check_machine(host)
    yield check_proc(host)
    yield check_pid_namespace(host)
    yield check_privileges(host)
    yield check_names(host)
    yield check_lockdown(host)
    bcc = check_bcc(host)
    yield check_bcc_loads(host) if bcc.state == "ok" else bcc
    library = check_libbpf(host)
    yield library
    btf_check = check_btf(host)
    try:
        if btf_check.state == "fail" or library.state == "fail":
            raise HangupError("", "")
        with open_btf() as btf:
            yield btf_check
            yield from _checks_of_kernel(host, btf)
    except HangupError as error:
        yield Check("BTF", "fail", error.problem, error.remedy) if error.problem else btf_check
        yield from _checks_of_kernel(host, None)
    yield check_program_load(host)
    yield check_kept(host)
    yield check_histories(host)
    yield check_unix_diag(host)


def _checks_of_kernel(host: Host, btf: Kernel | None) -> Iterator[Check]:
    yield check_kprobes(host, btf)
    yield check_fentry(host, btf)
    yield check_functions(host, btf)
    yield check_tracepoints(btf)
    yield check_ring_buffer(btf)


def check_machine(host: Host) -> Check:
    """See that this is x86-64: the probes read arguments and system calls from its registers."""
    if host.machine == "x86_64":
        return Check("machine", "ok", host.machine)
    return Check("machine", "fail", f"hangup knows only x86-64, this is {host.machine}", "run it on an x86-64 host")


def check_proc(host: Host) -> Check:
    """See that /proc is there; with hidepid (proc(5)) it hides other people's processes from all but CAP_SYS_PTRACE."""
    if not (host.proc / "self" / "status").exists():
        return Check("/proc", "fail", f"{host.proc} is not mounted", f"mount -t proc proc {host.proc}")
    hidden = next((option for option in _proc_options(host) if option.startswith("hidepid=")), "hidepid=0")
    if hidden not in ("hidepid=0", "hidepid=off") and not host.has("CAP_SYS_PTRACE"):
        return Check("/proc", "warn", f"{hidden} hides the names of other users' processes", "run it with sudo")
    return Check("/proc", "ok", "mounted")


def check_pid_namespace(host: Host) -> Check:
    """See that the pids that the kernel records are those that we, and our /proc, go by: the initial namespace's.

    Its number is the same on every kernel since 3.8 (PROC_PID_INIT_INO, include/linux/proc_ns.h; pid_namespaces(7)).
    """
    found = host.pid_namespace()
    if found in (INITIAL_PID_NAMESPACE, None):
        return Check("pid namespace", "ok", "the host's" if found else "the kernel has no others")
    return Check(
        "pid namespace",
        "fail",
        "this is a container's pid namespace: the kernel's pids mean other processes here",
        "run it on the host itself, or in a container that shares the host's pids (--pid=host)",
    )


def check_privileges(host: Host) -> Check:
    """See that we may trace.

    bpf(2) and perf_event_open(2) want CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, in the host's own user namespace. A
    kernel that does not know the first two (it says which it knows in cap_last_cap) wants the last.
    """
    if _read(host.proc / "self" / "uid_map").split() not in ([], ["0", "0", "4294967295"]):
        return Check(
            "privileges",
            "fail",
            "this is a user namespace, whose root may not trace",
            "run it as root of the host itself",
        )
    if host.has("CAP_SYS_ADMIN"):
        return Check("privileges", "ok", "root" if host.euid == 0 else "CAP_SYS_ADMIN")
    last = re.match(r"[0-9]{1,9}", _read(host.proc / "sys" / "kernel" / "cap_last_cap"))
    knows_bpf = last is not None and int(last[0]) >= CAPABILITIES["CAP_BPF"]
    if knows_bpf and host.has("CAP_BPF") and host.has("CAP_PERFMON"):
        return Check("privileges", "ok", "CAP_BPF and CAP_PERFMON")
    if host.euid == 0:
        return Check(
            "privileges",
            "fail",
            "this root has lost its capabilities (a container's?)",
            "run it on the host itself, or in a privileged container",
        )
    wanted = "CAP_BPF and CAP_PERFMON" if knows_bpf else "CAP_SYS_ADMIN"
    return Check("privileges", "fail", f"not root (nor has it {wanted})", "run it with sudo")


def check_names(host: Host) -> Check:
    """See that we may name who holds a socket: reading /proc/PID/fd of others is a ptrace access (proc_pid_fd(5))."""
    missing = [name for name in ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH") if not host.has(name)]
    if missing:
        return Check(
            "names",
            "warn",
            f"without {' and '.join(missing)} only your own processes are named in connections that are already open",
            "run it with sudo",
        )
    return Check("names", "ok", "may read every process's descriptors")


def check_lockdown(host: Host) -> Check:
    """See that the kernel is not locked down so far that it cannot be traced.

    Confidentiality forbids kprobes and reading kernel memory (kernel_lockdown(7)); integrity does not.
    """
    match = re.search(r"\[(\w+)\]", _read(host.sys / "kernel" / "security" / "lockdown"))
    mode = match[1] if match else "none"
    if mode == "confidentiality":
        return Check(
            "lockdown",
            "fail",
            "the kernel is locked down (confidentiality), which forbids tracing",
            "boot it with lockdown=integrity or none",
        )
    return Check("lockdown", "ok", mode)


def check_bcc(host: Host) -> Check:
    """Find python3-bpfcc's module without importing it, and tell it from what else is called bcc."""
    spec = host.find_module("bcc")
    if spec is None:
        if host.debian_bcc.is_dir():
            return Check(
                "bcc",
                "fail",
                f"this Python ({sys.executable}) does not see Debian's packages, bcc among them",
                "run hangup with /usr/bin/python3, or make its virtual environment with --system-site-packages",
            )
        return Check("bcc", "fail", "the bcc Python module is missing", "apt install python3-bpfcc")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    folder = next((folder for folder in folders if (folder / "libbcc.py").is_file()), None)
    if folder is None:
        return Check(
            "bcc",
            "fail",
            f"the `bcc` package from PyPI is another project ({spec.origin or folders[0]})",
            "pip uninstall bcc; apt install python3-bpfcc",
        )
    match = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", _read(folder / "version.py"))
    return Check("bcc", "ok", match[1] if match else "of unknown version")


def check_bcc_loads(host: Host) -> Check:
    """Import bcc, which needs libbcc, which needs LLVM. It takes 0.1 s and tens of megabytes."""
    try:
        host.import_module("bcc")
    except Exception as error:
        return Check(
            "bcc",
            "fail",
            f"bcc does not load ({' '.join(str(error).split())})",
            "apt install --reinstall python3-bpfcc libbpfcc",
        )
    return check_bcc(host)


def check_libbpf(host: Host) -> Check:
    """Load libbpf, with which BTF is read and programs are loaded."""
    try:
        library = host.load_libbpf()
    except HangupError as error:
        return Check("libbpf", "fail", error.problem, error.remedy)
    major, minor = (getattr(library, f"libbpf_{part}_version", None) for part in ("major", "minor"))
    return Check("libbpf", "ok", f"{major()}.{minor()}" if major and minor else "loaded")


def check_btf(host: Host) -> Check:
    """See that the kernel describes itself in BTF: without it no offset is known."""
    path = host.sys / VMLINUX.relative_to("/sys")
    try:
        size = path.stat().st_size
    except OSError:
        return Check(
            "BTF",
            "fail",
            f"the kernel has no BTF ({path} is missing)",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as every Debian kernel since 11 is",
        )
    return Check("BTF", "ok", f"{path}, {size / 1e6:.1f} MB")


def check_kprobes(host: Host, btf: Kernel | None) -> Check:
    """See whether there are kprobes.

    They are a perf event source (perf_kprobe, kernel/events/core.c) and can be switched off in debugfs.
    """
    enabled = _read(host.sys / "kernel" / "debug" / "kprobes" / "enabled").strip() != "0"
    built = (host.sys / "bus" / "event_source" / "devices" / "kprobe").exists()
    if built and enabled:
        return Check("kprobes", "ok", "available")
    found = "kprobes are switched off" if built else "this kernel has no kprobes"
    remedy = (
        "echo 1 > /sys/kernel/debug/kprobes/enabled"
        if built
        else "boot a kernel built with CONFIG_KPROBE_EVENTS=y, as every Debian kernel is"
    )
    if btf is not None and _has_fentry(btf):
        return Check("kprobes", "warn", f"{found}; fentry is used", remedy)
    return Check("kprobes", "fail", f"{found}, and no fentry either", remedy)


def check_fentry(host: Host, btf: Kernel | None) -> Check:
    """See whether there is fentry, which needs BPF trampolines (bpf_trampoline_link_prog, kernel/bpf/trampoline.c)."""
    if btf is None:
        return _unknown("fentry")
    if _has_fentry(btf):
        taken = "available, but this kernel preempts it: auto takes kprobes, which miss nothing here"
        return Check("fentry", "ok", taken if preempts_programs(host.sys, host.proc) else "available")
    return Check(
        "fentry",
        "warn",
        "this kernel has no fentry (BPF trampolines); kprobes are used, which cost more and can miss returns",
        "nothing to mend; a newer kernel has it",
    )


def check_functions(host: Host, btf: Kernel | None) -> Check:
    """See that there is every function the probes attach to: in BTF, or a kprobe finds it by another symbol."""
    if btf is None:
        return _unknown("functions")
    lacking = [probed.function for probed in PROBED if not btf.has_function(probed.function)]
    # Megabytes, and many kernels lack one that is optional: read once.
    kallsyms = _read(host.proc / KALLSYMS.relative_to("/proc")) if lacking else ""
    symbols = {
        probed.function: renamed(probed.function, kallsyms) if probed.function in lacking else probed.function
        for probed in PROBED
    }
    missing = [probed.function for probed in PROBED if not probed.optional and symbols[probed.function] is None]
    if missing:
        return Check(
            "functions",
            "fail",
            f"this kernel lacks {', '.join(missing)}",
            "report it with the kernel's version: hangup does not know this kernel yet",
        )
    return Check("functions", "ok", ", ".join(symbol for symbol in symbols.values() if symbol))


def check_tracepoints(btf: Kernel | None) -> Check:
    """See that there are the tracepoints that say who sent a signal, and how a process exited."""
    if btf is None:
        return _unknown("tracepoints")
    missing = [name for name in TRACEPOINTS if not btf.has_tracepoint(name)]
    if missing:
        return Check(
            "tracepoints",
            "fail",
            f"this kernel lacks {', '.join(missing)}",
            "report it with the kernel's version: hangup does not know this kernel yet",
        )
    return Check("tracepoints", "ok", ", ".join(TRACEPOINTS))


def check_ring_buffer(btf: Kernel | None) -> Check:
    """See that there is BPF_MAP_TYPE_RINGBUF, through which events come."""
    if btf is None:
        return _unknown("ring buffer")
    if btf.enum_value("bpf_map_type", "BPF_MAP_TYPE_RINGBUF") is None:
        return Check(
            "ring buffer", "fail", "this kernel has no BPF ring buffer", "boot a newer kernel (Debian 11's has it)"
        )
    return Check("ring buffer", "ok", "available")


def check_program_load(host: Host) -> Check:
    """See that no security module, seccomp filter or policy keeps the kernel from taking a program; it does nothing."""
    if check_privileges(host).state == "fail":
        return Check("program load", "warn", "not tried without privileges", "see privileges")
    try:
        number = host.load_program()
    except HangupError as error:
        return Check("program load", "warn", f"not tried: {error.problem}", error.remedy)
    if number == 0:
        return Check("program load", "ok", "the kernel takes tracing programs")
    if number in (errno.EPERM, errno.EACCES):
        remedy = "a security module, a container's seccomp filter or the kernel's build forbids it: use another host"
    else:
        remedy = "report it with the kernel's version and the output of `hangup doctor`"
    return Check("program load", "fail", f"the kernel refuses to load tracing programs ({os.strerror(number)})", remedy)


def check_kept(host: Host) -> Check:
    """See whether the compiled probes are kept for this kernel, so that a start need not compile them."""
    name = "kept programs"
    try:
        flavour, where, problem = host.find_kept()
    except HangupError as error:
        return Check(name, "warn", f"not looked for: {error.problem}", error.remedy)
    if problem is not None:
        remedy = "run it with sudo" if host.euid else f"make {where} and all above it root's alone, without links"
        return Check(name, "warn", f"none, every start compiles: {problem}", remedy)
    if flavour is None:
        return Check(name, "ok", f"none yet for this kernel: the next start compiles them into {where}")
    return Check(name, "ok", f"for {flavour}, in {where}")


def check_histories(host: Host) -> Check:
    """Say how much memory the kernel takes for the histories of endpoints, and see whether there is that much."""
    size = histories_bytes(ENDPOINTS)
    found = f"of {ENDPOINTS:,} endpoints, {size / 2**20:.0f} MiB of the kernel's memory; --history has more or fewer"
    available = re.search(r"^MemAvailable: +([0-9]{1,18}) kB$", _read(host.proc / "meminfo"), re.MULTILINE)
    if available and int(available[1]) << 10 < size:
        found += f", but {int(available[1]) >> 10} MiB are free"
        return Check("histories", "warn", found, "run it with a lower --history")
    return Check("histories", "ok", found)


def check_unix_diag(host: Host) -> Check:
    """See that the kernel can list its Unix sockets: `hangup peers` and older connections need it, tracing does not."""
    try:
        host.check_unix_diag()
    except HangupError as error:
        return Check(
            "unix_diag", "warn", f"{error.problem}: connections older than the tracer stay unnamed", error.remedy
        )
    except OSError as error:
        return Check(
            "unix_diag", "warn", f"{error.strerror}: connections older than the tracer stay unnamed", "see dmesg"
        )
    return Check("unix_diag", "ok", "lists the open sockets")


def _has_fentry(btf: Kernel) -> bool:
    return btf.has_function("bpf_trampoline_link_prog")


def _unknown(name: str) -> Check:
    return Check(name, "warn", "not known without BTF", "see BTF")


def _proc_options(host: Host) -> list[str]:
    # Names of mounts hold neither a new line nor a blank (mangle(), fs/proc_namespace.c), but everything else that
    # Python takes for one.
    for line in _read(host.proc / "self" / "mounts").split("\n"):
        fields = line.split(" ")
        if len(fields) > 3 and fields[2] == "proc" and fields[1] == str(host.proc):
            return fields[3].split(",")
    return []


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
