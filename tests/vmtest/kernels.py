"""The kernels of tests/kernels.toml: reads the list, fetches their Debian packages and puts their modules into a root.

The packages come through the machine's own apt, but with an apt state of its own under .cache: neither the machine's
package lists nor its installed packages change. What archive to ask is what the guest's root was made from.
"""

import lzma
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.vmtest import paths

# A guest has a handful of virtual devices. Drivers of real ones, and sound, are most of a kernel's package, and every
# one of them that the guest's udev tries costs boot time.
_KEPT_MODULES = (
    "arch",
    "block",
    "crypto",
    "drivers/block",
    "drivers/char",
    "drivers/net/net_failover*",
    "drivers/net/virtio_net*",
    "drivers/virtio",
    "fs",
    "kernel",
    "lib",
    "mm",
    "net",
)
# Pulled in only by what is not there, or probed at boot for nothing.
_DROPPED_MODULES = ("arch/*/kvm",)
# A kernel is one package up to 6.12 and several after that.
_PART_OF_KERNEL = re.compile(r"linux-(?:image|binary|modules)-\d\S*")


class GuestError(Exception):
    """Something that a guest needs is not there or does not work; the message says what to do."""


@dataclass(frozen=True)
class Kernel:
    """One entry of tests/kernels.toml."""

    name: str
    suite: str
    distinct: str
    default: bool = False

    @property
    def directory(self) -> Path:
        """Where the kernel is unpacked."""
        return paths.KERNELS / self.name

    @property
    def image(self) -> Path:
        """The file to boot; the kernel must have been fetched."""
        return next((self.directory / "boot").glob("vmlinuz-*"))

    @property
    def release(self) -> str:
        """What `uname -r` says on it."""
        return self.image.name.removeprefix("vmlinuz-")


def kernel_list() -> list[Kernel]:
    """Return every supported kernel, in the order of the list."""
    with paths.KERNEL_LIST.open("rb") as file:
        return [Kernel(**entry) for entry in tomllib.load(file)["kernel"]]


def default_kernel() -> Kernel:
    """Return the kernel that is booted when none is named."""
    return next(kernel for kernel in kernel_list() if kernel.default)


def find_kernel(name: str) -> Kernel:
    """Return the kernel of that name in the list."""
    for kernel in kernel_list():
        if kernel.name == name:
            return kernel
    names = ", ".join(kernel.name for kernel in kernel_list())
    raise GuestError(f"no kernel {name!r} in {paths.KERNEL_LIST.name}; there are {names}")


def ensure_kernel(kernel: Kernel, root: Path) -> None:
    """Fetch and unpack a kernel unless it is there; `root` knows the archive and its keys."""
    if (kernel.directory / "complete").exists():
        return
    started = time.monotonic()
    print(f"kernel {kernel.name}: fetching linux-image-amd64 of Debian {kernel.suite}", flush=True)
    paths.KERNELS.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kernel.directory, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{kernel.name}.new.", dir=paths.KERNELS) as scratch:
        work = Path(scratch)
        unpacked = work / "unpacked"
        for package in _download(kernel, root, work / "apt"):
            _run(["dpkg-deb", "--extract", str(package), str(unpacked)])
        _keep_what_guests_use(unpacked)
        (unpacked / "complete").touch()
        unpacked.rename(kernel.directory)
    print(f"kernel {kernel.name}: {kernel.release}, done in {time.monotonic() - started:.0f} s", flush=True)


def install_modules(kernel: Kernel, root: Path) -> None:
    """Put a kernel's modules where the booted root looks for them: a guest cannot follow a link out of its root."""
    target = root / "usr" / "lib" / "modules" / kernel.release
    if target.exists():
        return
    temporary = target.with_name(f"{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(kernel.directory / "lib" / "modules" / kernel.release, temporary, symlinks=True)
    temporary.rename(target)


def _download(kernel: Kernel, root: Path, state: Path) -> list[Path]:
    """Download every package that the suite's kernel consists of."""
    apt = PrivateApt(kernel.suite, root, state)
    apt.run("apt-get", "update")
    wanted = apt.dependencies("linux-image-amd64")
    for name in wanted:  # grows while a package names further parts
        wanted += [part for part in apt.dependencies(name) if part not in wanted]
    if not wanted:
        raise GuestError(f"Debian {kernel.suite} has no linux-image-amd64")
    apt.run("apt-get", "download", *wanted)
    return sorted(state.glob("*.deb"))


class PrivateApt:
    """The machine's apt with its settings (proxies, date checks), and with package lists of its own."""

    def __init__(self, suite: str, root: Path, state: Path) -> None:
        self._state = state
        for directory in ("lists/partial", "cache/archives/partial"):
            (state / directory).mkdir(parents=True)
        sources = (root / "etc" / "apt" / "sources.list").read_text().split()
        archive = sources[sources.index("deb") + 1]
        sources_list = state / "sources.list"
        sources_list.write_text(f"deb {archive} {suite} main\n")
        settings = {
            "APT::Sandbox::User": "root",  # the folder need not be open to anybody else
            "Acquire::Languages": "none",
            "Dir::Cache": state / "cache",
            "Dir::Etc::SourceList": sources_list,
            "Dir::Etc::SourceParts": "-",
            # The root's keys, not the machine's: a machine that is not Debian has none.
            "Dir::Etc::TrustedParts": (root / "etc" / "apt" / "trusted.gpg.d").resolve(),
            "Dir::State::Lists": state / "lists",
            "Dir::State::Status": "/dev/null",
            "quiet": 2,
        }
        self._options = [f"--option={key}={value}" for key, value in settings.items()]

    def run(self, command: str, *arguments: str) -> str:
        """Run an apt command in the state's folder and return its output."""
        return _run([command, *self._options, *arguments], cwd=self._state)

    def dependencies(self, package: str, wanted: re.Pattern[str] = _PART_OF_KERNEL) -> list[str]:
        """Name what a package depends on, as far as it is wanted: the parts of a kernel."""
        shown = self.run("apt-cache", "show", package)
        depends = [line for line in shown.splitlines() if line.startswith("Depends:")]
        return wanted.findall(depends[0]) if depends else []


def _keep_what_guests_use(unpacked: Path) -> None:
    """Drop what no guest loads, unpack the modules and list them."""
    if (unpacked / "usr" / "lib" / "modules").exists():  # since trixie
        (unpacked / "lib").mkdir(exist_ok=True)
        (unpacked / "usr" / "lib" / "modules").rename(unpacked / "lib" / "modules")
    shutil.rmtree(unpacked / "usr", ignore_errors=True)
    for image in (unpacked / "lib" / "modules").glob("*/vmlinuz"):  # newer packages keep the image beside its modules
        (unpacked / "boot").mkdir(exist_ok=True)
        image.rename(unpacked / "boot" / f"vmlinuz-{image.parent.name}")
    for extra in (unpacked / "boot").glob("[!v]*"):
        extra.unlink()
    for modules in (unpacked / "lib" / "modules").iterdir():
        tree = modules / "kernel"
        kept = [path for pattern in _KEPT_MODULES for path in tree.glob(pattern)]
        dropped = [path for pattern in _DROPPED_MODULES for path in tree.glob(pattern)]
        for module in list(tree.rglob("*.ko*")):
            if any(map(module.is_relative_to, dropped)) or not any(map(module.is_relative_to, kept)):
                module.unlink()
            elif module.suffix == ".xz":
                # The initramfs of virtme-ng cannot decompress.
                module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
                module.unlink()
        _run(["depmod", "-b", str(unpacked), modules.name])


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        missing(command[0])
    if done.returncode != 0:
        raise GuestError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def missing(program: str) -> NoReturn:
    """Say what to do about a program that is not installed."""
    raise GuestError(f"{program} is not installed: run `make setup`")
