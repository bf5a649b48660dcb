"""Replays a capture where nothing can be asked of the host, and prints what it tells: alerts, counts and losses.

    python -m tests.replay [--hide-proc] CAPTURE

Each is a line of JSON, as `hangup watch --json` has it. Whatever asks the host (tracer/host/) raises, and with
--hide-proc, for root, there is no /proc at all.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    # Imported for real when the host is out of reach.
    from hangup.tracer.tracer import Tracer

# include/uapi/linux/sched.h, include/uapi/linux/mount.h
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18


class HostAskedError(Exception):
    """Something has asked this host, which knows nothing of what a capture is about."""


def hide_proc() -> None:
    """Put an empty folder in the place of /proc, for this process alone. Raises OSError; only root may."""
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        or libc.mount(b"none", b"/proc", b"tmpfs", 0, None)
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    assert not list(Path("/proc").iterdir()), "/proc is still there"


def forbid_host() -> None:
    """Let whatever is called in tracer/host/ raise HostAskedError, in a process that has imported none of it yet."""
    package = importlib.import_module("hangup.tracer.host")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise HostAskedError("nothing behind the source may ask this host")

    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"hangup.tracer.host.{found.name}")
        for name, value in inspect.getmembers(module):
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                setattr(module, name, refuse)
            elif inspect.isclass(value) and value.__module__ == module.__name__ and "__init__" in vars(value):
                setattr(value, "__init__", refuse)  # noqa: B010 - mypy lets nobody assign a method


def summary(tracer: Tracer) -> list[str]:
    """Return what a tracer has counted and lost, in an order that depends on nothing else; it has ended."""
    from hangup.cli.ended import Ended  # noqa: PLC0415 - when the host is out of reach
    from hangup.cli.reporters.summary_json import summary_lines  # noqa: PLC0415
    from hangup.tracer.tracer import Losses  # noqa: PLC0415

    losses = dict(tracer.losses().by_cause)
    # The reader's own: a live host has none.
    assert not losses.pop("capture_damaged", 0), "the capture was cut short"
    ended = Ended(tracer.statistics, Losses(losses), 0.0, tracer.flavour, len(tracer.functions))
    return sorted(summary_lines(ended))


def replayed(capture: Path) -> Iterator[str]:
    """Yield what a capture tells, latent hang-ups included: alerts as they come, then what was counted and lost."""
    from hangup.cli.reporters.alert_json import alert_line  # noqa: PLC0415 - when the host is out of reach
    from hangup.tracer.capture.reader import FileSource  # noqa: PLC0415
    from hangup.tracer.tracer import Tracer  # noqa: PLC0415

    with FileSource(capture) as source, Tracer(source=source, latent=True) as tracer:
        for alert in tracer.alerts():
            yield alert_line(alert, tracer.clocks)
    yield from summary(tracer)


def main() -> None:
    """Print what a capture tells."""
    *options, capture = sys.argv[1:]
    if "--hide-proc" in options:
        hide_proc()
    forbid_host()
    for line in replayed(Path(capture)):
        print(line)


if __name__ == "__main__":
    main()
