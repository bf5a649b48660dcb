"""Sysdig's kernel module, built on this machine for a guest's kernel: Debian has it as source only."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.vmtest import paths
from tests.vmtest.kernels import GuestError, Kernel, PrivateApt

_SOURCE = "falcosecurity-scap-dkms"

_PART_OF_HEADERS = re.compile(r"linux-(?:headers|kbuild)-\d[^\s,]*")

# The suite of the guests' root: sysdig and its module have to be of one version.
_SUITE = "bookworm"


def module(kernel: Kernel) -> Path:
    """Return the module, built unless it is there. Raises RuntimeError if it cannot be.

    The guests' root and the kernel have to be there.
    """
    built = paths.SCAP / kernel.release / "scap.ko"
    if not built.exists():
        with tempfile.TemporaryDirectory(prefix="scap-") as name:
            try:
                made = _build(kernel, Path(name))
            except GuestError as error:
                raise RuntimeError(f"sysdig's module cannot be built for {kernel.release}: {error}") from None
            built.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(made, built)
    return built


def _build(kernel: Kernel, work: Path) -> Path:
    headers = PrivateApt(kernel.suite, paths.PEERS_ROOT, work / "headers")
    headers.run("apt-get", "update")
    source = PrivateApt(_SUITE, paths.PEERS_ROOT, work / "source")
    source.run("apt-get", "update")
    name = f"linux-headers-{kernel.release}"
    headers.run("apt-get", "download", name, *headers.dependencies(name, _PART_OF_HEADERS))
    source.run("apt-get", "download", _SOURCE)
    unpacked = work / "unpacked"
    for package in sorted(work.glob("*/*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(unpacked)], check=True)
    sources = unpacked / "usr" / "src"
    # It includes the common part by its absolute path.
    makefile = sources / name / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", str(sources)))
    [module_source] = sources.glob("scap-*")
    command = ["make", "-s", "-C", str(sources / name), f"M={module_source}", "modules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error:" in line] or done.stderr.splitlines()[-1:]
        raise GuestError(errors[0].strip().rpartition("/")[2] if errors else "make failed")
    return module_source / "scap.ko"
