"""The root file system that guests boot: made when it is missing or out of date, and given a copy of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vmtest import paths
from tests.vmtest.kernels import GuestError, missing

# What of the checkout a guest has no use for; everything that starts with a dot is left out as well.
_NOT_IN_GUEST = ("__pycache__", "build", "dist", "docs", "vagrant", "*.egg-info")


# Each root by what it is called on the command line, and the lists of packages that it has beyond packages.list.
_ROOTS = {
    "plain": (paths.ROOT, []),
    "servers": (paths.SERVERS_ROOT, [paths.SERVERS_LIST]),
    "peers": (paths.PEERS_ROOT, [paths.PEERS_LIST]),
}


def ensure_root(name: str) -> Path:
    """Make a root of the guests, with the uWSGI of the classic failure in it, unless it is there and up to date.

    name: "plain", "servers" (with the packages of vagrant/servers.list) or "peers" (with those of vagrant/peers.list).
    """
    if shutil.which("mmdebstrap") is None:
        missing("mmdebstrap")
    suite = "bookworm"
    root, lists = _ROOTS[name]
    _script("build-root", suite, str(root), *map(str, lists))
    _script("build-uwsgi", str(paths.UWSGI))
    installed = root / "usr" / "local" / "bin" / "uwsgi-1.9.20"
    if not installed.exists() or installed.stat().st_mtime_ns != paths.UWSGI.stat().st_mtime_ns:
        shutil.copy2(paths.UWSGI, installed)
    _quieten_udev(root)
    return root


def ensure_usr_image(root: Path) -> Path:
    """Make a disk image of the root's /usr unless it is there and up to date; see guest.py for what it is good for."""
    image = root.with_name(f"{root.name}-usr.img")
    stamp = image.with_suffix(".stamp")
    made_from = f"{(root / 'etc' / 'hangup-root').read_text().strip()} {paths.UWSGI.stat().st_mtime_ns}\n"
    if image.exists() and stamp.exists() and stamp.read_text() == made_from:
        return image
    stamp.unlink(missing_ok=True)
    image.unlink(missing_ok=True)
    image.touch()
    usr = root / "usr"
    # The guest mounts the kernel's modules there, which may be put into the root later.
    (usr / "lib" / "modules").mkdir(exist_ok=True)
    size = sum(path.lstat().st_size // 4096 + 1 for path in usr.rglob("*")) * 4
    # ext2 is what the ext4 driver of every kernel reads, however new the host's mke2fs is. A fifth is for its tables.
    command = ["mke2fs", "-q", "-t", "ext2", "-b", "4096", "-i", "8192", "-m", "0", "-d", str(usr), str(image)]
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        subprocess.run([*command, f"{size * 6 // 5}k"], env=environment, check=True)
    except FileNotFoundError:
        missing("mke2fs")
    except subprocess.CalledProcessError as error:
        raise GuestError("mke2fs could not make an image of the root's /usr") from error
    stamp.write_text(made_from)
    return image


def copy_checkout(root: Path) -> None:
    """Put the checkout into the root as /hangup, compiled.

    A copy, because it can be compiled by the root's own Python at the host's speed: compiling a module in an emulated
    guest takes up to a second, and a folder that a guest sees read-only keeps nothing that it compiled. And whoever
    edits the checkout while a guest runs does not change the code under the tests' feet.
    """
    target = root / "hangup"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(paths.CHECKOUT, target, ignore=shutil.ignore_patterns(".*", *_NOT_IN_GUEST))
    command = ["chroot", str(root), "python3", "-m", "compileall", "-q", "/hangup"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # The guest would say the same, later and less clearly.
        raise GuestError(f"the root's Python cannot compile the checkout: {(done.stdout or done.stderr).strip()}")


def _quieten_udev(root: Path) -> None:
    """Let udev do nothing but name devices: a guest is up four seconds sooner when no driver is looked for."""
    rules = root / "etc" / "udev" / "rules.d"
    rules.mkdir(parents=True, exist_ok=True)
    for rule in (root / "usr" / "lib" / "udev" / "rules.d").glob("*.rules"):
        masked = rules / rule.name
        if rule.name != "50-udev-default.rules" and not masked.is_symlink():
            masked.symlink_to("/dev/null")


def _script(name: str, *arguments: str) -> None:
    """Run one of vagrant/'s scripts; what it says goes to the caller."""
    # The project's own pip: the machine's Python may have none.
    environment_pip = f"{sys.executable} -m pip"
    command = ["env", f"PIP={environment_pip}", str(paths.VAGRANT / name), *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        raise GuestError(f"vagrant/{name} failed")
