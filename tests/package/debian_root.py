"""A Debian root that something is installed into: a copy that is thrown away, without a network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "package"
BUILD_ROOT = CACHE / "build"

# One list for apt: what a root has before hangup comes. The shells, man and systemd's journalctl are asked about what
# the package brings; pytest and hypothesis run the unit tests with Debian's versions of what hangup depends on.
TOOLS = ("bash-completion", "fish", "man-db", "pipx", "python3-hypothesis", "python3-pytest", "systemd", "zsh")

_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}

# SIOCSIFFLAGS with IFF_UP | IFF_LOOPBACK | IFF_RUNNING, netdevice(7): the machine may have no ip(8).
_LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x49))"

# What the whole system writes as it goes on: it is the same file before and after, with other content.
_CHANGING = re.compile(
    r"/(?:etc/ld\.so\.cache|run/.*|tmp/.*|var/cache/.*|var/lib/apt/.*|var/lib/systemd/catalog/database|var/log/.*"
    r"|var/lib/dpkg/(?:available|lock|status|triggers/).*)"
)


def depends() -> list[str]:
    """Return the names of the packages that debian/control has the package depend on."""
    control = (CHECKOUT / "debian" / "control").read_text()
    field = re.search(r"^Depends:\n((?: .*\n)+)", control, re.MULTILINE)
    assert field
    return [name for line in field[1].splitlines() if not (name := line.split()[0].rstrip(",")).startswith("$")]


class DebianRoot:
    """A root file system in a folder, in which commands are run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        """Return what runs the command inside: with /proc, /dev and a loopback interface, but no network."""
        variables = [f"{name}={value}" for name, value in (_ENVIRONMENT | dict(environment or {})).items()]
        # The mounts are in a namespace of their own and go with the command. The root is one too, as / has to be.
        enter = (
            'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"'
            ' && "$1" -c "$2" && shift 2 && exec "$@"'
        )
        return [
            *("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"),
            *("sh", "-c", enter, str(self.folder), sys.executable, _LOOPBACK_UP),
            *("chroot", str(self.folder), "env", "--ignore-environment", *variables, *command),
        ]

    def run(
        self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check`, fail with its output if its status is not 0."""
        done = subprocess.run(
            self.command(command, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}")
        return done

    def path(self, inside: str) -> Path:
        """Return where a path inside lies for us."""
        return self.folder / inside.lstrip("/")

    def put(self, file: Path) -> str:
        """Copy a file into the root's /srv; return its path inside."""
        shutil.copy(file, self.path("/srv"))
        return f"/srv/{file.name}"

    def snapshot(self) -> dict[str, str]:
        """Return every path inside with its kind, mode, owner and content, but for what changes by itself."""
        found: dict[str, str] = {}
        for folder, folders, names in os.walk(self.folder):
            for name in [*folders, *names]:
                path = Path(folder, name)
                inside = f"/{path.relative_to(self.folder)}"
                if not _CHANGING.fullmatch(inside):
                    found[inside] = _description(path)
        return found


def _description(path: Path) -> str:
    status = path.lstat()
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}"


@contextmanager
def debian_root(suite: str) -> Iterator[DebianRoot]:
    """Give a root of the suite with TOOLS installed, and what hangup depends on at hand in its apt cache."""
    kept = CACHE / suite
    lists = [",".join(names) for names in (TOOLS, depends())]
    subprocess.run([CHECKOUT / "debian" / "make-root", suite, kept, *lists], check=True)
    folder = Path(mkdtemp(prefix=f"{suite}.", dir=CACHE))
    try:
        subprocess.run(["cp", "--archive", "--reflink=auto", f"{kept}/.", folder], check=True)
        yield DebianRoot(folder)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)
