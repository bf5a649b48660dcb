"""The load of real servers: nginx passes requests on to uWSGI over a Unix socket, and ab asks for them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.loads import Load, Played
from tests.scenarios.servers import nginx_to_uwsgi

# As many at a time as in the report that hangup started from.
_CONCURRENCY = 5

# One process, so it can count: of so many requests one gets no answer, its connection is closed instead.
_APPLICATION = '''\
"""Answers, or hangs up on one request of as many as the path says."""

requests = 0


def application(environ, start_response):
    """WSGI: say hello, or nothing."""
    global requests
    requests += 1
    one_in = int(environ["PATH_INFO"].strip("/"))
    if one_in and requests % one_in == 0:
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello World"]
'''


class Servers:
    """The running servers."""

    def __init__(self, url: str, pids: list[int]) -> None:
        self._url = url
        self.pids = pids
        """All their processes."""

    def play(self, load: Load, count: int) -> Played:
        """Ask so many times. Raises RuntimeError if ab fails, or other requests failed than should."""
        # Each fraction has to be the load's from its first request on.
        wanted = count // load.fails_one_in if load.fails_one_in else 0
        command = ["ab", "-q", "-n", str(count), "-c", str(_CONCURRENCY), f"{self._url}{load.fails_one_in}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = time.monotonic_ns()
        taken = re.search(r"^Time per request: +([\d.]+) \[ms\] \(mean, across all", done.stdout, re.MULTILINE)
        if done.returncode or taken is None:
            raise RuntimeError(f"ab failed: {done.stderr.strip()}")
        refused = re.search(r"^Non-2xx responses: +(\d+)", done.stdout, re.MULTILINE)
        failed = int(refused[1]) if refused else 0
        # Another load's requests may have come before: the fraction's count need not begin with ours.
        if abs(failed - wanted) > 1:
            raise RuntimeError(f"{failed} requests of the load {load.name} failed, not {wanted}")
        return Played(ended - int(float(taken[1]) * 1e6 * count), ended, count, failed)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run the servers in a folder until the context ends."""
    with nginx_to_uwsgi(folder, application=_APPLICATION, level="error") as scenario:
        yield Servers(scenario.url, [*family(scenario.client.pid), *family(scenario.server.pid)])


def family(pid: int) -> list[int]:
    """Return a process and its children, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may have anything in it (proc_pid_stat(5)).
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = [pid]
    for each in found:  # grows
        found += [child for child, parent in parents.items() if parent == each]
    return found
