"""How a process was hurt: the same cause shows as one or the other by accident of timing."""

from __future__ import annotations

from enum import Enum


class Symptom(Enum):
    """What the end that was left over met; the value is what it is called."""

    BROKEN_WRITE = "broken write"
    """A write failed with EPIPE or ECONNRESET."""
    RESET_READ = "reset read"
    """A read failed with ECONNRESET."""
    CUT_READ = "cut read"
    """A read met the end of the stream while its process was owed an answer."""
    TOLD = "told by SO_ERROR"
    """ECONNRESET was taken by getsockopt(SO_ERROR) or recvmmsg(2), as every event loop does."""
    SHORT_WRITE = "short write"
    """A blocked write returned with less than it was to send."""
    FAILED_CONNECT = "failed connect"
    NONE = "none"
    """Nobody happened to fail."""
