"""What the service tells systemd: that it is ready, alive, reloading or stopping, and what it has counted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from hangup.tracer.errors import HangupError

Notify = Callable[[str], object]
"""Passes a state, as sd_notify(3) has it, to the service manager."""


def notifier() -> Notify:
    """Return what passes a state to systemd; without systemd, what does nothing. Raises HangupError."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return lambda _state: None
    try:
        from systemd.daemon import notify  # noqa: PLC0415 - only the service has it
    except ImportError:
        raise HangupError("python3-systemd is missing", "apt install python3-systemd") from None

    def tell(state: str) -> None:
        # As sd_notify(3) advises: a manager that does not listen is no reason to stop watching.
        with suppress(OSError):
            notify(state)

    return tell


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear from us at the least, in seconds (sd_watchdog_enabled(3)); None: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


class Systemd:
    """The messages of sd_notify(3), each sent only when there is something new to say."""

    def __init__(self, notify: Notify, watchdog: float | None) -> None:
        """notify: sends a state; watchdog: how often it has to be told that we live, in seconds."""
        self._notify = notify
        # A third: one that comes late is no reason to be killed.
        self._alive_every = None if watchdog is None else watchdog / 3
        self._alive_at = float("-inf")
        self._status = ""

    def ready(self, status: str) -> None:
        """Say that the probes are attached."""
        self._status = status
        self._notify(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that the configuration is being read; `ready` follows."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def status(self, status: str) -> None:
        """Say what `systemctl status` shows, if it is not what was said last."""
        if status != self._status:
            self._status = status
            self._notify(f"STATUS={status}")

    @property
    def patience(self) -> float:
        """How long it may go without hearing anything, in seconds."""
        return float("inf") if self._alive_every is None else self._alive_every

    def alive(self, now: float) -> None:
        """Say that the main loop goes round; now: in seconds."""
        if self._alive_every is not None and now - self._alive_at >= self._alive_every:
            self._alive_at = now
            self._notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that it ends, and on purpose."""
        self._notify("STOPPING=1")
