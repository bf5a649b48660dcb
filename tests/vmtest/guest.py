"""Boots a kernel with virtme-ng on a root, runs one command in it, and gives back its output and its exit status."""

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.vmtest import paths
from tests.vmtest.kernels import GuestError, Kernel, missing

# Under emulation a guest is up in about 15 s on an idle machine.
_BOOT_LIMIT = 180.0
# A KVM that works boots in two or three seconds; one that does not hangs or dies at once.
_KVM_BOOT_LIMIT = 20.0
_POWER_OFF_LIMIT = 10.0
_POLL_INTERVAL = 0.05

# What the guest writes for us lies in a folder of its own in the results.
_PRIVATE = ".guest"
_SCRIPT = """\
# Made by tests/vmtest/guest.py: what the guest runs.
private=/results/{private}
# Standard output through the virtual console has been cut short; a file in a shared folder has not.
exec >"$private/output" 2>&1 </dev/null
: >"$private/started"
mounted() {{ grep -q " $1 " /proc/mounts; }}
# A shared folder has no cache in the guest: each module that Python imports from it, each library's page, is asked of
# the host again, and imports take two to four times as long. So /usr comes from a disk, all but the kernel's modules,
# and /hangup from memory.
if [ -b /dev/vda ] || modprobe virtio_blk && [ -b /dev/vda ]; then
    mkdir -p /run/modules
    mount --bind /usr/lib/modules /run/modules
    modprobe ext4
    mount -t ext4 -o ro,noatime /dev/vda /usr
    mount --bind /run/modules /usr/lib/modules
fi
mkdir -p /run/hangup
cp -a /hangup/. /run/hangup
mount --bind /run/hangup /hangup
mount -o remount,bind,ro /hangup
mounted /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mounted /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
mounted /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
ip link set lo up
export {environment}
cd /hangup
{command}
# Renamed, so that nobody reads half a number.
echo $? >"$private/{status}.new"
mv "$private/{status}.new" "$private/{status}"
"""


@dataclass(frozen=True)
class Machine:
    """The virtual machine's measures."""

    processors: int = 2
    memory: str = "4G"
    kvm: bool = False
    verbose: bool = False
    usr_image: Path | None = None
    qemu_options: str = ""


def run_in_guest(
    kernel: Kernel, root: Path, command: list[str], *, results: Path, machine: Machine, time_limit: float
) -> int:
    """Boot, run the command as root in /hangup, copy its output to ours while it runs, return its exit status.

    `results` is the guest's /results, to read and to write. Raises GuestError when the guest does not come up, goes
    down before the command has ended, or takes longer than `time_limit` in all.
    """
    private = results / _PRIVATE
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir(parents=True)
    # Of this run alone: the guest of one that was killed may still be there, and write to the same folder.
    status_file = private / f"status-{os.getpid()}-{time.monotonic_ns()}"
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in _environment(kernel).items())
    (private / "script").write_text(
        _SCRIPT.format(private=_PRIVATE, environment=environment, command=shlex.join(command), status=status_file.name)
    )
    (private / "output").touch()
    with (private / "console").open("wb") as console, _machine_running(kernel, root, results, machine, console) as vng:
        return _follow(vng, private, status_file, time_limit, _KVM_BOOT_LIMIT if machine.kvm else _BOOT_LIMIT)


def kvm_works(kernel: Kernel, root: Path) -> bool:
    """Whether this host's KVM really boots a guest: /dev/kvm may exist and hang. Asked once, the answer is kept."""
    host = f"{os.uname().release} {os.uname().version}"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    if paths.KVM_ANSWER.exists():
        known_host, _, answer = paths.KVM_ANSWER.read_text().strip().rpartition(" ")
        if known_host == host:
            return answer == "yes"
    print("guest: trying whether KVM works here (once)", flush=True)
    try:
        status = run_in_guest(
            kernel,
            root,
            ["true"],
            results=paths.CACHE / "kvm-trial",
            machine=Machine(kvm=True),
            time_limit=_KVM_BOOT_LIMIT,
        )
        works = status == 0
    except GuestError:
        works = False
    print(f"guest: {'with KVM' if works else 'without KVM: expect a tenth of the speed'}", flush=True)
    paths.KVM_ANSWER.write_text(f"{host} {'yes' if works else 'no'}\n")
    return works


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let only one run of this checkout prepare a root and boot it; others queue."""
    paths.CACHE.mkdir(exist_ok=True)
    with paths.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("guest: waiting for another run in this checkout", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment(kernel: Kernel) -> dict[str, str]:
    """Build the command's environment: the guest's own, not the host's."""
    environment = {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": "/hangup",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "VMTEST_KERNEL": kernel.name,
    }
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        environment |= {
            "COLUMNS": str(shutil.get_terminal_size().columns),
            "FORCE_COLOR": "1",
            "TERM": os.environ.get("TERM", "linux"),
        }
    return environment


@contextmanager
def _machine_running(
    kernel: Kernel, root: Path, results: Path, machine: Machine, console: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run virtme-ng, and see to it that it and its QEMU are gone in the end."""
    # virtme-ng's programs look for each other along the path, and our virtual environment's need not be on it.
    search_path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if shutil.which("vng", path=search_path) is None:
        missing("virtme-ng")
    arguments = [
        "vng",
        *([] if machine.kvm else ["--disable-kvm"]),
        *(["--verbose"] if machine.verbose else []),
        # virtiofs would be quicker, but Debian 12's daemon is not the one that virtme-ng wants: it tries for three
        # seconds a folder and takes 9p in the end.
        "--force-9p",
        f"--run={kernel.image}",
        f"--root={root}",
        "--user=root",
        f"--cpus={machine.processors}",
        f"--memory={machine.memory}",
        f"--rwdir=/results={results}",
        *([f"--disk={machine.usr_image}"] if machine.usr_image else []),
        *([f"--qemu-opts={machine.qemu_options}"] if machine.qemu_options else []),
        "--",
        f"sh /results/{_PRIVATE}/script",
    ]
    # A session of its own, so that Ctrl-C reaches us alone and one signal reaches virtme-ng with all it started. Its
    # standard output must be a pipe: virtme-ng cuts a file short.
    scratch = tempfile.TemporaryDirectory(prefix="vmtest-")  # virtme-ng leaves files behind when it is stopped
    process = subprocess.Popen(
        arguments,
        env=os.environ | {"PATH": search_path, "TMPDIR": scratch.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    copier = subprocess.Popen(["cat"], stdin=process.stdout, stdout=console, start_new_session=True)
    process.stdout.close()
    try:
        yield process
    finally:
        _end(process)
        copier.wait()
        scratch.cleanup()


def _end(vng: subprocess.Popen[bytes]) -> None:
    """End a virtual machine with every process of its session."""
    for end_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(vng.pid, end_signal)
        except ProcessLookupError:
            break
        try:
            vng.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
    vng.wait()


def _follow(
    vng: subprocess.Popen[bytes], private: Path, status_file: Path, time_limit: float, boot_limit: float
) -> int:
    """Copy what the command writes until its exit status is there."""
    begin = time.monotonic()
    with (private / "output").open("rb") as output:
        while True:
            ended = vng.poll() is not None
            finished = status_file.exists()
            # Read after both were asked: what the command wrote before is there now.
            while chunk := output.read(65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
            if finished:
                break
            elapsed = time.monotonic() - begin
            up = (private / "started").exists()
            if ended:
                what = "went down before the command had ended" if up else "never came up"
                raise GuestError(f"the guest {what}: {_last_lines(private)}")
            if elapsed > time_limit:
                raise GuestError(f"the command did not end within {time_limit:.0f} s: the guest was stopped")
            if not up and elapsed > boot_limit:
                raise GuestError(f"the guest did not come up within {boot_limit:.0f} s: {_last_lines(private)}")
            time.sleep(_POLL_INTERVAL)
    status = int(status_file.read_text())
    # It powers itself off, and virtme-ng tidies up behind it.
    with suppress(subprocess.TimeoutExpired):
        vng.wait(timeout=_POWER_OFF_LIMIT)
    return status


def _last_lines(private: Path) -> str:
    """Quote the end of the console, which is all there is to see of a guest that did not come up."""
    console = (private / "console").read_text(errors="replace").strip().splitlines()
    quoted = "\n".join(f"    {line}" for line in console[-15:]) or "    (it said nothing; try --verbose)"
    return f"its console's last lines in {private / 'console'} are\n{quoted}"
