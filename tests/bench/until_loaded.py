"""What `hangup watch` does until its programs are loaded: imports, BTF, programs kept or compiled, the open sockets.

    python -m tests.bench.until_loaded FOLDER

FOLDER: where programs are kept. Prints its memory, in MiB by the names of proc_pid_status(5), as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hangup.cli.commands.watch
import hangup.cli.main  # noqa: F401 - it is what takes the time
from hangup.tracer.host.inventory import snapshot
from hangup.tracer.kernel.compiler import Keeper
from hangup.tracer.kernel.kept import Kept
from hangup.tracer.kernel.probes import PROBED, options, preempts_programs


def main() -> None:
    """Do it."""
    preempts_programs()
    folder = Path(sys.argv[1])
    keeper = Keeper(Kept(folder, owner=folder.stat().st_uid, top=folder), [probed.function for probed in PROBED])
    keeper.compiled(keeper.facts(), options("fentry"))
    snapshot()
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    names = ("VmHWM:", "VmRSS:", "RssAnon:")
    print(json.dumps({words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words and words[0] in names}))


if __name__ == "__main__":
    main()
