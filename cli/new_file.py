"""A new file for its owner's eyes alone, that is there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path

_ANOTHER = "name another file, or overwrite it with --force"


def check(path: Path, *, force: bool) -> None:
    """Raise HangupError if the file cannot be made: it is there already, is none, or its folder is not.

    force: whether it may be there.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            folder = shown_path(path.parent)
            raise HangupError(f"there is no folder {folder}", "make it, or name another file") from None
        return
    except OSError as error:
        raise _cannot(path, error) from None
    # As root, a device would be replaced by a file.
    if not stat.S_ISREG(mode):
        raise HangupError(f"{shown_path(path)} is no regular file", "name another file, or - for standard output")
    if not force:
        raise HangupError(f"{shown_path(path)} is there already", _ANOTHER)


def write(path: Path, content: bytes, *, force: bool, owner: tuple[int, int] | None = None) -> None:
    """Write it, readable by its owner alone. Raises HangupError if that cannot be done; then nothing has changed.

    force: whether it may take another file's place. owner: whose it becomes, uid and gid; None: it is ours.
    """
    check(path, force=force)
    # It brings the compressors along (shutil), and most starts make no such file.
    import tempfile  # noqa: PLC0415

    try:
        # mkstemp(3) makes it 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if owner:
                os.fchown(file.fileno(), *owner)
        if force:
            os.replace(name, path)  # noqa: PTH105 - both are names
        else:
            # Unlike a rename it fails where a file has come to be meanwhile.
            os.link(name, path)
    except FileExistsError:
        raise HangupError(f"{shown_path(path)} is there already", _ANOTHER) from None
    except OSError as error:
        raise _cannot(path, error) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _cannot(path: Path, error: OSError) -> HangupError:
    problem = f"cannot write {shown_path(path)} ({error.strerror})"
    return HangupError(problem, "name a file in a folder that can be written")
