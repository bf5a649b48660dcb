"""Whatever a host lacks is said in one sentence with what to do, the same in doctor and in an error."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from hangup.tracer.errors import HangupError
from hangup.tracer.host.unix_diag import UnixDiagMissingError
from hangup.tracer.kernel import preflight
from hangup.tracer.kernel.btf import Btf
from hangup.tracer.kernel.compiled import KernelFacts
from hangup.tracer.kernel.compiler import Options
from hangup.tracer.kernel.preflight import Check, Host, checks, require
from hangup.tracer.kernel.probes import preempts_programs

ALL_CAPABILITIES = "000001ffffffffff"


KEPT = Path("/var/cache/hangup")


@dataclass
class FakeBtf:
    """A kernel that has everything but what is named."""

    lacks: tuple[str, ...] = ()

    def __enter__(self) -> FakeBtf:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has_function(self, name: str) -> bool:
        """Whether it is there."""
        return name not in self.lacks

    def has_tracepoint(self, name: str) -> bool:
        """Whether it is there."""
        return name not in self.lacks

    def enum_value(self, enum: str, enumerator: str) -> int | None:
        """Return some value."""
        return None if {enum, enumerator} & set(self.lacks) else 27


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Make a host on which all is well."""
    proc, system, bcc = tmp_path / "proc", tmp_path / "sys", tmp_path / "bcc"
    write(proc / "self" / "status", f"Name:\tpython3\nCapEff:\t{ALL_CAPABILITIES}\n")
    write(proc / "self" / "uid_map", "         0          0 4294967295\n")
    write(proc / "self" / "mounts", f"proc {proc} proc rw,nosuid 0 0\n")
    write(proc / "sys" / "kernel" / "cap_last_cap", "40\n")
    (proc / "self" / "ns").mkdir()
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    write(system / "kernel" / "btf" / "vmlinux", "BTF" * 100)
    write(system / "kernel" / "security" / "lockdown", "[none] integrity confidentiality\n")
    write(system / "kernel" / "debug" / "kprobes" / "enabled", "1\n")
    write(system / "bus" / "event_source" / "devices" / "kprobe" / "type", "8\n")
    write(bcc / "libbcc.py", "")
    write(bcc / "version.py", "__version__ = '0.26.0+ds'\n")
    return Host(
        proc=proc,
        sys=system,
        machine="x86_64",
        euid=0,
        debian_bcc=tmp_path / "dist-packages" / "bcc",
        find_module=lambda _: package(bcc),
        import_module=lambda _: None,
        load_libbpf=object,
        load_program=lambda: 0,
        check_unix_diag=lambda: None,
        find_kept=lambda: ("fentry", KEPT, None),
    )


def package(folder: Path) -> ModuleSpec:
    spec = ModuleSpec("bcc", None, origin=str(folder / "__init__.py"), is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def examined(host: Host, lacks: tuple[str, ...] = ()) -> dict[str, Check]:
    kernel: Any = FakeBtf(lacks)
    return {check.name: check for check in checks(host, lambda: kernel)}


def set_capabilities(host: Host, *names: str) -> None:
    mask = sum(1 << preflight.CAPABILITIES[name] for name in names)
    write(host.proc / "self" / "status", f"CapEff:\t{mask:016x}\n")


def fails(host: Host, name: str, lacks: tuple[str, ...] = ()) -> Check:
    """Return the failed check of this name, and see that `require` says the same if it says anything."""
    check = examined(host, lacks)[name]
    assert check.state == "fail"
    assert check.remedy
    try:
        require(host)
    except HangupError as error:
        assert str(error) == f"{check.found}: {check.remedy}"  # noqa: PT017
    return check


def test_a_host_with_everything_passes(host: Host) -> None:
    assert {check.state for check in examined(host).values()} == {"ok"}
    assert [check.remedy for check in examined(host).values() if check.remedy] == []
    require(host)


def test_an_ordinary_user_is_told_to_use_sudo_before_anything_is_loaded(host: Host) -> None:
    def never(*_: object) -> Any:
        raise AssertionError("nothing is loaded for somebody who may not trace")

    set_capabilities(host)
    user = replace(host, euid=1000)
    check = fails(user, "privileges")
    assert (check.found, check.remedy) == ("not root (nor has it CAP_BPF and CAP_PERFMON)", "run it with sudo")
    with pytest.raises(HangupError, match="sudo"):
        require(replace(user, import_module=never, load_libbpf=never, load_program=never))
    assert examined(user)["program load"].state == "warn"


def test_whose_python_lacks_bcc_is_told_so_before_sudo_gives_him_another_python(host: Host) -> None:
    set_capabilities(host)
    with pytest.raises(HangupError, match="python3-bpfcc"):
        require(replace(host, euid=1000, find_module=lambda _: None))


def test_capabilities_do_instead_of_root(host: Host) -> None:
    set_capabilities(host, "CAP_BPF", "CAP_PERFMON")
    found = examined(replace(host, euid=1000))
    assert found["privileges"].state == "ok"
    assert found["names"].state == "warn"
    require(replace(host, euid=1000))


def test_a_kernel_without_cap_bpf_wants_cap_sys_admin(host: Host) -> None:
    write(host.proc / "sys" / "kernel" / "cap_last_cap", "37\n")
    set_capabilities(host, "CAP_BPF", "CAP_PERFMON")
    assert "CAP_SYS_ADMIN" in fails(replace(host, euid=1000), "privileges").found
    set_capabilities(host, "CAP_SYS_ADMIN")
    assert examined(host)["privileges"].state == "ok"


def test_a_containers_root_is_not_told_to_become_root(host: Host) -> None:
    set_capabilities(host)
    assert "sudo" not in str(fails(host, "privileges").remedy)
    write(host.proc / "self" / "status", f"CapEff:\t{ALL_CAPABILITIES}\n")
    write(host.proc / "self" / "uid_map", "0 100000 65536\n")
    assert "user namespace" in fails(host, "privileges").found


def test_a_containers_pid_namespace_is_refused_in_one_line(host: Host) -> None:
    link = host.proc / "self" / "ns" / "pid"
    link.unlink()
    link.symlink_to("pid:[4026532200]")
    check = fails(host, "pid namespace")
    assert "--pid=host" in str(check.remedy)
    with pytest.raises(HangupError, match="pid namespace"):
        require(host)
    link.unlink()
    assert examined(host)["pid namespace"].state == "ok"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to make a pid namespace")
def test_a_real_pid_namespace_is_told_from_the_hosts() -> None:
    program = "from hangup.tracer.kernel.preflight import Host; print(Host().pid_namespace())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    own = re.search(r"\d+", str(Path("/proc/self/ns/pid").readlink()))
    assert own
    assert int(own[0]) == Host().pid_namespace() != int(done.stdout)


def test_a_missing_bcc_is_named_by_its_package(host: Host) -> None:
    check = fails(replace(host, find_module=lambda _: None), "bcc")
    assert (check.found, check.remedy) == ("the bcc Python module is missing", "apt install python3-bpfcc")


def test_a_python_that_does_not_see_debians_packages_is_told_so(host: Host) -> None:
    host.debian_bcc.mkdir(parents=True)
    check = fails(replace(host, find_module=lambda _: None), "bcc")
    assert "does not see Debian's packages" in check.found
    assert "--system-site-packages" in str(check.remedy)


@pytest.mark.parametrize("origin", ["site-packages/bcc/__init__.py", None])
def test_the_other_bcc_is_told_apart(host: Host, tmp_path: Path, origin: str | None) -> None:
    folder = tmp_path / "site-packages" / "bcc"
    folder.mkdir(parents=True)
    spec = package(folder)
    spec.origin = origin
    check = fails(replace(host, find_module=lambda _: spec), "bcc")
    assert "the `bcc` package from PyPI is another project" in check.found
    assert check.remedy == "pip uninstall bcc; apt install python3-bpfcc"


def test_a_bcc_that_does_not_load_says_why(host: Host) -> None:
    def broken(_: str) -> object:
        raise OSError("libbcc.so.0: cannot open\nshared object file")

    assert "libbcc.so.0: cannot open shared object file" in fails(replace(host, import_module=broken), "bcc").found


def test_a_missing_libbpf_is_said_as_the_tracer_says_it(host: Host) -> None:
    def missing() -> object:
        raise HangupError("libbpf is missing", "apt install libbpf1")

    found = fails(replace(host, load_libbpf=missing), "libbpf")
    assert (found.found, found.remedy) == ("libbpf is missing", "apt install libbpf1")


def test_a_kernel_without_btf_leaves_what_hangs_on_it_unknown(host: Host) -> None:
    (host.sys / "kernel" / "btf" / "vmlinux").unlink()
    assert "no BTF" in fails(host, "BTF").found
    assert [examined(host)[name].state for name in ("fentry", "functions", "tracepoints", "ring buffer")] == [
        "warn"
    ] * 4


def test_unreadable_btf_is_one_failure(host: Host) -> None:
    def refuse() -> Btf:
        raise HangupError("cannot read the kernel's BTF", "run as root")

    found = [check for check in checks(host, refuse) if check.state == "fail"]
    assert found == [Check("BTF", "fail", "cannot read the kernel's BTF", "run as root")]


@pytest.mark.parametrize(("mode", "state"), [("none", "ok"), ("integrity", "ok"), ("confidentiality", "fail")])
def test_only_confidential_lockdown_forbids_tracing(host: Host, mode: str, state: str) -> None:
    text = "none integrity confidentiality\n".replace(mode, f"[{mode}]")
    write(host.sys / "kernel" / "security" / "lockdown", text)
    assert examined(host)["lockdown"].state == state


def test_a_kernel_without_lockdown_is_fine(host: Host) -> None:
    (host.sys / "kernel" / "security" / "lockdown").unlink()
    assert examined(host)["lockdown"] == Check("lockdown", "ok", "none")


def test_one_way_of_probing_is_enough_and_none_is_not(host: Host) -> None:
    no_fentry = ("bpf_trampoline_link_prog",)
    assert [examined(host, no_fentry)[name].state for name in ("kprobes", "fentry")] == ["ok", "warn"]
    write(host.sys / "kernel" / "debug" / "kprobes" / "enabled", "0\n")
    assert [examined(host)[name].state for name in ("kprobes", "fentry")] == ["warn", "ok"]
    assert "echo 1 >" in str(fails(host, "kprobes", no_fentry).remedy)


def test_a_kernel_without_kprobes_is_told_apart_from_one_with_them_switched_off(host: Host) -> None:
    (host.sys / "bus" / "event_source" / "devices" / "kprobe" / "type").unlink()
    (host.sys / "bus" / "event_source" / "devices" / "kprobe").rmdir()
    assert "no kprobes" in examined(host)["kprobes"].found


def test_a_missing_function_is_named(host: Host) -> None:
    assert "unix_release_sock" in fails(host, "functions", ("unix_release_sock",)).found


def test_what_is_attached_to_is_named_functions_and_tracepoints(host: Host) -> None:
    found = examined(host)
    assert "unix_release_sock" in found["functions"].found
    assert found["tracepoints"].found == "signal_generate, sched_process_exit, task_rename, sched_process_exec"


def test_a_missing_tracepoint_is_named(host: Host) -> None:
    assert fails(host, "tracepoints", ("signal_generate",)).found == "this kernel lacks signal_generate"


def test_a_function_that_the_compiler_renamed_is_found_where_a_kprobe_finds_it(host: Host) -> None:
    write(host.proc / "kallsyms", "ffffffff81a3f2d0 t unix_release_sock.isra.0\n")
    found = examined(host, ("unix_release_sock",))["functions"]
    assert found.state == "ok"
    assert "unix_release_sock.isra.0" in found.found.split(", ")


def test_a_kernel_without_ring_buffer_fails(host: Host) -> None:
    fails(host, "ring buffer", ("BPF_MAP_TYPE_RINGBUF",))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_a_refused_program_is_a_failure_with_its_reason(host: Host, number: int) -> None:
    check = fails(replace(host, load_program=lambda: number), "program load")
    assert check.found.startswith("the kernel refuses to load tracing programs (")


def test_hidden_processes_are_a_warning_unless_we_may_see_them(host: Host) -> None:
    write(host.proc / "self" / "mounts", f"proc {host.proc} proc rw,hidepid=invisible 0 0\n")
    assert examined(host)["/proc"].state == "ok"
    set_capabilities(host, "CAP_BPF", "CAP_PERFMON")
    assert examined(host)["/proc"].state == "warn"


def test_a_missing_proc_is_said(host: Host, tmp_path: Path) -> None:
    assert "not mounted" in fails(replace(host, proc=tmp_path / "nothing"), "/proc").found


@pytest.mark.parametrize("error", [UnixDiagMissingError(), PermissionError(13, "Permission denied")])
def test_a_kernel_that_does_not_list_its_sockets_can_still_be_traced(host: Host, error: Exception) -> None:
    def refuse() -> None:
        raise error

    assert examined(replace(host, check_unix_diag=refuse))["unix_diag"].state == "warn"


def test_another_machine_is_refused(host: Host) -> None:
    assert "aarch64" in fails(replace(host, machine="aarch64"), "machine").found


def test_this_host_can_be_examined_whatever_it_lacks() -> None:
    def never() -> int:
        return errno.EPERM

    # Programs are loaded in test guests only.
    found = list(checks(Host(load_program=never)))
    assert len({check.name for check in found}) == len(found)
    assert all(check.remedy for check in found if check.state != "ok")


def test_what_is_kept_for_this_kernel_is_said_or_why_nothing_is(host: Host) -> None:
    def kept(flavour: str | None, problem: str | None) -> Check:
        return examined(replace(host, find_kept=lambda: (flavour, KEPT, problem)))["kept programs"]

    assert kept("kprobe", None) == Check("kept programs", "ok", "for kprobe, in /var/cache/hangup")
    none = "none yet for this kernel: the next start compiles them into /var/cache/hangup"
    assert kept(None, None) == Check("kept programs", "ok", none)
    refused = kept(None, "others than root may write to /var/cache/hangup")
    assert refused.state == "warn"
    assert refused.found == "none, every start compiles: others than root may write to /var/cache/hangup"
    assert refused.remedy == "make /var/cache/hangup and all above it root's alone, without links"

    def without_btf() -> tuple[str | None, Path, str | None]:
        raise HangupError("the kernel has no BTF", "boot another")

    check = examined(replace(host, find_kept=without_btf))["kept programs"]
    assert (check.state, check.found) == ("warn", "not looked for: the kernel has no BTF")


def test_what_is_kept_is_looked_for_as_watch_and_serve_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    facts = KernelFacts({}, {}, trampolines=False, misses_offset=None)

    class Keeps:
        path, not_kept = KEPT, None

        def kept_facts(self) -> KernelFacts:
            return facts

        def kept_compiled(self, options: Options) -> bool:
            asked.append(options)
            return True

    monkeypatch.setattr(preflight, "keeper", Keeps)
    assert preflight.find_kept() == ("kprobe", KEPT, None)
    assert [options.flavour for options in asked] == ["kprobe"]


def test_it_is_said_what_the_histories_take_and_whether_there_is_that_much(host: Host) -> None:
    found = "of 65,536 endpoints, 60 MiB of the kernel's memory; --history has more or fewer"
    assert examined(host)["histories"] == Check("histories", "ok", found)
    write(host.proc / "meminfo", "MemTotal:        8000000 kB\nMemAvailable:     900000 kB\n")
    assert examined(host)["histories"].state == "ok"
    write(host.proc / "meminfo", "MemTotal:         128000 kB\nMemAvailable:      40960 kB\n")
    check = examined(host)["histories"]
    assert (check.state, check.found) == ("warn", f"{found}, but 40 MiB are free")
    assert check.remedy == "run it with a lower --history"


def test_every_failed_check_makes_an_error_of_its_own_words() -> None:
    error = Check("bcc", "fail", "problem", "remedy").error()
    assert (error.problem, error.remedy, error.exit_status) == ("problem", "remedy", 125)


@pytest.mark.parametrize(
    ("files", "preempts"),
    [
        ({"sys/kernel/debug/sched/preempt": "none (voluntary) full\n"}, False),
        ({"sys/kernel/debug/sched/preempt": "none voluntary (full)\n"}, True),
        ({"sys/kernel/debug/sched/preempt": "full (lazy)\n"}, True),
        ({"proc/cmdline": "quiet preempt=full\n"}, True),
        ({"proc/cmdline": "quiet preempt=none\n", "proc/version": "Linux #1 SMP PREEMPT_DYNAMIC Debian"}, False),
        ({"proc/version": "Linux version 6.1 #1 SMP PREEMPT_DYNAMIC Debian"}, False),
        ({"proc/version": "Linux version 6.1 #1 SMP PREEMPT_RT Debian"}, True),
        ({"proc/version": "Linux version 5.10 #1 SMP Debian"}, False),
        ({}, False),
    ],
)
def test_whether_fentry_programs_are_preempted_is_asked_of_the_kernel(
    tmp_path: Path, files: dict[str, str], preempts: bool
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert preempts_programs(tmp_path / "sys", tmp_path / "proc") == preempts
