"""Every operation's record to a file, as it comes out of the kernel: what a capture costs.

    python -m tests.bench.capture FILE PROBES DESCRIPTOR

PROBES: "fentry" or "kprobe". DESCRIPTOR: where a line goes once they are attached. SIGTERM ends it; then it says on its
standard error what was lost.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from hangup.tracer.capture.files import file_writer
from hangup.tracer.capture.source import WritingSource
from hangup.tracer.kernel.live import LiveSource
from hangup.tracer.kernel.probes import Probes
from hangup.tracer.tracer import POLL_SECONDS


def main() -> None:
    """Write records until a signal comes."""
    path, flavour, descriptor = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        ending = True

    signal.signal(signal.SIGTERM, end)
    # That of the start before; a capture overwrites nothing.
    Path(path).unlink(missing_ok=True)
    writer = file_writer(Path(path))
    writer.open()
    with Probes(flavour=flavour) as probes:
        capture = WritingSource(LiveSource(probes), writer)
        capture.opening()
        os.write(descriptor, b"ready\n")
        while not ending:
            capture.read(POLL_SECONDS)
        probes.detach()
        while capture.read(0):
            pass
        lost = [f"{count} {cause.name.lower()}" for cause, count in probes.losses().items() if count]
    writer.close()
    print(f"LOST: {'; '.join(lost)}" if lost else "nothing lost", file=sys.stderr)


if __name__ == "__main__":
    main()
