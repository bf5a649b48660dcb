"""Files that root keeps for its next run in a directory of its own: /var/cache/hangup, or what systemd made for it.

What lies there is loaded into the kernel. So it is only taken from a directory that nobody else can have written to:
the directory, all above it and the file itself belong to root, and neither a group nor others may write there. Nothing
of this is an error for who starts: what cannot be read is made anew, what cannot be written is not kept.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path("/var/cache/hangup")

MOST_FILES = 16
"""So many are kept, those that were used last: a start needs two, and each kernel and way of tracing has its own."""

_LARGEST = 16 << 20
_ROOT = 0
_SUFFIX = ".kept"
# A file that is used is marked so, but not each time: that would be a write for every start.
_MARK_SECONDS = 86400.0
# Half-written ones of who was killed meanwhile.
_UNFINISHED = ".unfinished-"
_UNFINISHED_SECONDS = 3600.0


class NotKeptError(Exception):
    """Why nothing is kept, in a few words."""


def directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where files are kept: what systemd says (CacheDirectory=, systemd.exec(5)), else /var/cache/hangup."""
    given = environment.get("CACHE_DIRECTORY", "").split(":")[0]
    return Path(given) if given.startswith("/") else DIRECTORY


@dataclass(frozen=True)
class Kept:
    """The files of one directory."""

    path: Path
    owner: int = _ROOT
    """Who must own it, and run this."""
    top: Path = Path("/")
    """From where on downwards every directory is looked at; for tests, whose files lie in everybody's /tmp."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none. Raises NotKeptError if what there is may not be trusted."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with self._opened() as folder:
                return self._content(os.open(name + _SUFFIX, flags, dir_fd=folder), name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotKeptError(f"{self.path / name}{_SUFFIX}: {error.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        """Keep a file, whole or not at all, and drop what was not used for longest. Raises NotKeptError."""
        unfinished = f"{_UNFINISHED}{os.getpid()}-{time.monotonic_ns()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with self._opened(create=True) as folder:
                descriptor = os.open(unfinished, flags, mode=0o600, dir_fd=folder)
                try:
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(data)
                    os.rename(unfinished, name + _SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(unfinished, dir_fd=folder)
                    raise
                _drop(folder)
        except OSError as error:
            raise NotKeptError(f"{self.path}: {error.strerror}") from None

    def _content(self, descriptor: int, name: str) -> bytes:
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                raise NotKeptError(f"{self.path / name}{_SUFFIX} is no file that hangup has written")
            self._trust(self.path / (name + _SUFFIX), status)
            if time.time() - status.st_mtime > _MARK_SECONDS:
                with suppress(OSError):
                    os.utime(descriptor)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(_LARGEST)
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened(self, *, create: bool = False) -> Iterator[int]:
        """Yield the directory, having looked at it and at all above it; no link is followed."""
        if os.geteuid() != self.owner:
            raise NotKeptError(f"{self.path} is root's")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self.top, flags)
        so_far = self.top
        parts = self.path.relative_to(self.top).parts
        try:
            self._trust(so_far, os.fstat(folder))
            for place, part in enumerate(parts):
                so_far /= part
                if create and place + 1 == len(parts):
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=folder)
                try:
                    inner = os.open(part, flags, dir_fd=folder)
                except NotADirectoryError:
                    raise NotKeptError(f"{so_far} is no directory, or a link to one") from None
                os.close(folder)
                folder = inner
                self._trust(so_far, os.fstat(folder))
            yield folder
        finally:
            os.close(folder)

    def _trust(self, path: Path, status: os.stat_result) -> None:
        if status.st_uid != self.owner:
            raise NotKeptError(f"{path} belongs to uid {status.st_uid}, not to root")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NotKeptError(f"others than root may write to {path}")


def _drop(folder: int) -> None:
    """Remove of our own files those that are too many or were left half-written; others' are not touched."""
    now = time.time()
    files = []
    excess = []
    for name in os.listdir(folder):
        # Another start may be doing the same.
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if name.endswith(_SUFFIX):
                files.append((status.st_mtime_ns, name))
            elif name.startswith(_UNFINISHED) and now - status.st_mtime > _UNFINISHED_SECONDS:
                excess.append(name)
    excess += [name for _, name in sorted(files, reverse=True)[MOST_FILES:]]
    for name in excess:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
