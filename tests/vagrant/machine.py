"""One Vagrant machine, in a private directory: everything that Vagrant and libvirt keep lies there and goes with it.

Vagrant runs as nobody, because libvirt's session daemon does not start for root, and with a Vagrantfile of its own that
asks of the host neither KVM, nor a network bridge, nor a system-wide libvirt.
"""

import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vmtest import paths
from tests.vmtest.kernels import GuestError

# Each is several times what an emulated machine on two busy cores took.
_BOOT_LIMIT = 240.0
_UP_LIMIT = 900.0
_SHORT_LIMIT = 180.0
_END_LIMIT = 10.0
_POLL_INTERVAL = 0.05

# Short, because libvirt's socket for the agent lies deep below, and a socket's path has 107 bytes (unix(7)).
_PREFIX = "hangup-"
_FOLDERS = {
    "HOME": "home",
    "TMPDIR": "tmp",
    "VAGRANT_HOME": "vagrant",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_RUNTIME_DIR": "run",
}

_USER, _GROUP = "nobody", "nogroup"

# What of the checkout the machine has no use for; everything that starts with a dot is left out as well.
_NOT_IN_MACHINE = ("__pycache__", "build", "*.egg-info")

_VAGRANTFILE = """\
# Made by tests/vagrant/machine.py: what vagrant/Vagrantfile needs on a host without KVM, networks and privileges.
Vagrant.configure("2") do |config|
  config.vm.box_url = "file://{directory}/catalog.json"
  config.vm.box_check_update = false
  config.vm.boot_timeout = {boot_limit:.0f}
  config.ssh.insert_key = false
  config.ssh.host = "127.0.0.1"
  config.ssh.port = {port}
  config.vm.network :public_network, type: "user", auto_config: false
  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = "{driver}"
    libvirt.uri = "qemu:///session"
    libvirt.system_uri = "qemu:///session"
    libvirt.qemu_use_session = true
    libvirt.qemu_use_agent = true
    libvirt.mgmt_attach = false
    libvirt.graphics_type = "none"
    # A second serial line, because Vagrant cannot merge a first one that stands here (vagrant-libvirt 0.11).
    libvirt.qemuargs value: "-chardev"
    libvirt.qemuargs value: "file,id=console,path={directory}/console"
    libvirt.qemuargs value: "-device"
    libvirt.qemuargs value: "isa-serial,chardev=console,index=1"
    # The network above is the one that the agent is asked about; it cannot forward a port. Addresses of another net, or
    # the answers would take the other wire.
    libvirt.qemuargs value: "-netdev"
    libvirt.qemuargs value: "user,id=ssh,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:{port}-:22"
    libvirt.qemuargs value: "-device"
    libvirt.qemuargs value: "virtio-net-pci,netdev=ssh,addr=0x10"
  end
end
"""
_CATALOG = """\
{{"name": "debian/{suite}64",
  "versions": [{{"version": "1.0.0", "providers": [{{"name": "libvirt", "url": "file://{directory}/box"}}]}}]}}
"""


@dataclass(frozen=True)
class Machine:
    """A machine of a suite that was made from this checkout; its private directory says all there is to know of it."""

    suite: str
    directory: Path
    groups: tuple[int, ...] = ()

    @property
    def console(self) -> Path:
        """What the machine wrote to its serial line."""
        return self.directory / "console"

    @property
    def log(self) -> Path:
        """What Vagrant said last, where it was not asked to say it to us."""
        return self.directory / "vagrant.log"

    @property
    def project(self) -> Path:
        """The copy of the checkout that Vagrant works on."""
        return self.directory / "project"

    def environment(self) -> dict[str, str]:
        """Build the environment in which Vagrant, libvirt and QEMU find nothing but what is theirs."""
        return {name: str(self.directory / folder) for name, folder in _FOLDERS.items()} | {
            "HANGUP_SUITE": self.suite,
            "LANG": "C.UTF-8",
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_CWD": str(self.project / "vagrant"),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_DOTFILE_PATH": str(self.directory / "dotfile"),
        }

    def vagrant(self, *arguments: str, time_limit: float = _SHORT_LIMIT, quiet: bool = False) -> int:
        """Run vagrant as nobody and return its exit status; what it says goes to our output, or to the log."""
        command = [
            *("setpriv", f"--reuid={_USER}", f"--regid={_GROUP}"),
            f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups",
            *("vagrant", *arguments),
        ]
        sys.stdout.flush()
        with self.log.open("wb") as log:
            # A session of its own, so that Ctrl-C reaches us alone: Vagrant would begin to tidy up as well.
            process = subprocess.Popen(
                command,
                env=self.environment(),
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=log if quiet else None,
                stderr=subprocess.STDOUT if quiet else None,
                start_new_session=True,
            )
            try:
                status = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                raise GuestError(
                    f"`vagrant {arguments[0]}` did not end within {time_limit:.0f} s{self._said(quiet)}"
                ) from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if quiet and status != 0:
            raise GuestError(f"`vagrant {arguments[0]}` failed ({status}){self._said(quiet)}")
        return status

    def _said(self, quiet: bool) -> str:
        """Quote what Vagrant and the machine said last."""
        said = "" if not quiet else _last_lines("Vagrant's last lines are", self.log, 40)
        return said + _last_lines("the machine's last lines are", self.console, 20)

    def up(self) -> None:
        """Boot it and provision it."""
        self.vagrant("up", time_limit=_UP_LIMIT, quiet=True)

    def update(self) -> None:
        """Give the running machine the checkout as it is now, and install the package that is now in dist/."""
        _copy_project(self.project)
        self.vagrant("rsync", quiet=True)
        self.vagrant("provision", time_limit=_UP_LIMIT, quiet=True)

    def ssh(self, command: tuple[str, ...], time_limit: float) -> int:
        """Run a command in /hangup as the user vagrant; returns its exit status, or 255 when there is no connection.

        It writes to a pipe: sshd hands out a Unix socket, and whoever counts operations on Unix sockets would count
        what it says. (A terminal is no better: ssh cannot always have one.)
        """
        line = command[0] if len(command) == 1 else shlex.join(command)
        script = f"set -o pipefail; cd /hangup && {{ {line}; }} 2>&1 </dev/null | cat"
        return self.vagrant("ssh", "--no-tty", "--command", script, time_limit=time_limit)

    def reboot(self) -> None:
        """Boot it again, and return when it can be reached; GuestError if it does not come back."""
        # What is in /run does not outlive a boot. The connection may end before the command has.
        self.ssh(("sudo touch /run/before-the-boot; sudo systemctl reboot",), _SHORT_LIMIT)
        deadline = time.monotonic() + _BOOT_LIMIT
        while True:
            try:
                self.vagrant("ssh", "--command", "test ! -e /run/before-the-boot", time_limit=_BOOT_LIMIT, quiet=True)
            except GuestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def destroy(self) -> None:
        """Take it down and leave nothing: no process, no file."""
        try:
            if (self.directory / "dotfile").exists():
                self.vagrant("destroy", "--force", quiet=True)
        finally:
            _end_processes_of(self.directory)
            shutil.rmtree(self.directory)
            _record(self.suite).unlink(missing_ok=True)


def create(suite: str, box: Path, *, kvm_groups: tuple[int, ...] | None) -> Machine:
    """Prepare a machine's private directory; `kvm_groups` are the groups that may use KVM, None means emulation."""
    record = _record(suite)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(f"{directory}\n{' '.join(map(str, kvm_groups or ()))}\n")
    machine = Machine(suite, directory, kvm_groups or ())
    for folder in _FOLDERS.values():
        (directory / folder).mkdir(mode=0o700)
    (directory / _FOLDERS["VAGRANT_HOME"] / "Vagrantfile").write_text(
        _VAGRANTFILE.format(
            directory=directory,
            boot_limit=_BOOT_LIMIT,
            port=_free_port(),
            driver="qemu" if kvm_groups is None else "kvm",
        )
    )
    (directory / "catalog.json").write_text(_CATALOG.format(suite=suite, directory=directory))
    _copy_project(machine.project)
    subprocess.run(["chown", "-R", f"{_USER}:{_GROUP}", str(directory)], check=True)
    # Neither the checkout nor what is in .cache need be open to nobody.
    subprocess.run(["cp", "--reflink=auto", str(box), str(directory / "box")], check=True)
    (directory / "box").chmod(0o644)
    return machine


def find(suite: str) -> Machine | None:
    """Return the machine that this checkout has of a suite."""
    record = _record(suite)
    if not record.exists():
        return None
    directory, groups = record.read_text().splitlines()
    if not Path(directory).exists():
        return None
    return Machine(suite, Path(directory), tuple(map(int, groups.split())))


def _record(suite: str) -> Path:
    """Where it stands which directory a machine has; several clones may share one .cache."""
    checkout = hashlib.sha256(os.fsencode(paths.CHECKOUT)).hexdigest()[:16]
    return paths.CACHE / "vagrant" / f"{suite}-{checkout}"


def _copy_project(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(paths.CHECKOUT, target, ignore=shutil.ignore_patterns(".*", *_NOT_IN_MACHINE))
    subprocess.run(["chown", "-R", f"{_USER}:{_GROUP}", str(target)], check=True)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def _end_processes_of(directory: Path) -> None:
    """End every process that was started for a machine: what Vagrant left is libvirt's daemon, which waits for more."""
    for end_signal in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_LIMIT
        for pid in _processes_of(directory):
            os.kill(pid, end_signal)
        while _processes_of(directory) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)


def _processes_of(directory: Path) -> list[int]:
    """Return the processes that have the directory in their environment, as nobody else does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or belongs to the kernel
        if os.fsencode(directory) in environment:
            found.append(int(process.name))
    return found


def _last_lines(what: str, file: Path, count: int) -> str:
    if not file.exists():
        return ""
    lines = file.read_text(errors="replace").strip().splitlines()
    # Where in Vagrant's own Ruby something was raised tells nobody anything.
    telling = [line for line in lines if not line.startswith("\tfrom /")]
    return f"\n  {what}" + "".join(f"\n    {line}" for line in telling[-count:])
