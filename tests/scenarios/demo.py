"""`make demo`: real servers' requests fail, hangup explains them, and the servers' own logs say that it found them all.

httpd's mod_proxy_fcgi in front of a uWSGI that hangs up early (the case that hangup was made for), then today's nginx
and uWSGI with an application that ignores what is posted to it. Two more runs of `hangup watch`, with both kinds of
probes, are compared with the logs, connection for connection.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from hangup.tracer.verdicts import Kind
from tests.scenarios import servers
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.server_logs import LoggedFailure
from tests.scenarios.watched import Watch, disagreements, start, watch

_REQUESTS = int(os.environ.get("SCENARIO_REQUESTS", "1000"))
_CONCURRENCY = 5
_ALERTS_SHOWN = 2

_LABEL_LINE = re.compile(rf"^(?:{'|'.join(re.escape(kind.value) for kind in Kind)})  \d{{4}}-", re.MULTILINE)
_TABLE_LINE = re.compile(r"^VERDICT ", re.MULTILINE)


@dataclass(frozen=True)
class Act:
    """One pair of servers and the load on it."""

    title: str
    scenario: Callable[[Path], AbstractContextManager[servers.Scenario]]
    body_bytes: int
    alerts_shown: int


ACTS = (
    Act("httpd (mod_proxy_fcgi) -> uWSGI 1.9.20 by FastCGI, GET", servers.httpd_to_fastcgi, 0, _ALERTS_SHOWN),
    Act("nginx -> uWSGI, POST of 300 kB that the application ignores", servers.nginx_to_uwsgi, 300_000, 1),
)


def main() -> int:
    """Play both acts; return 1 if hangup and a log disagree."""
    outcomes: list[tuple[Act, Path, list[LoggedFailure]]] = []
    watches: dict[str, Watch] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hangup-demo-")))
        say("starting `hangup watch --json` with each kind of probes, to compare with the logs later")
        for flavour in exact_flavours():
            output = folder / flavour
            watches[flavour] = stack.enter_context(watch(output, "--probes", flavour, "--path", "/tmp/hangup-act-*"))
        for act in ACTS:
            outcomes.append((act, *play(act, folder / "text")))
    return compare(outcomes, watches)


def play(act: Act, output: Path) -> tuple[Path, list[LoggedFailure]]:
    """Play one act under `hangup watch`; print some of its alerts and its table; return the path and the log."""
    say(f"{act.title}: {_REQUESTS} requests, {_CONCURRENCY} at a time")
    # Not below the other folder: httpd's worker is not root, and may not enter it.
    with tempfile.TemporaryDirectory(prefix="hangup-act-") as folder, act.scenario(Path(folder)) as scenario:
        with start("--path", str(scenario.socket), output=output):
            load = servers.load(
                scenario.url, Path(folder), requests=_REQUESTS, concurrency=_CONCURRENCY, body_bytes=act.body_bytes
            )
        failures = scenario.failures()
        say(f"ab: {load.complete} requests in {load.seconds:.1f} s, {load.not_2xx} not answered with 2xx")
        show(output.read_text(), act.alerts_shown)
        return scenario.socket, failures


def show(text: str, alerts_shown: int) -> None:
    """Print the first alerts of watch's output, and the table at its end."""
    labels = [found.start() for found in _LABEL_LINE.finditer(text)]
    table = _TABLE_LINE.search(text)
    table_start = table.start() if table else len(text)
    # A block begins with its sentence, after the empty line that ends the block before it.
    starts = [text.rfind("\n\n", 0, label) + 2 if "\n\n" in text[:label] else 0 for label in labels]
    shown = starts[:alerts_shown]
    end = starts[alerts_shown] if len(starts) > alerts_shown else table_start
    if shown:
        print(text[:end].rstrip(), end="\n\n")
    if len(starts) > alerts_shown:
        print(f"... and {len(starts) - alerts_shown} more like these\n")
    print(text[table_start:].rstrip(), end="\n\n", flush=True)


def compare(outcomes: list[tuple[Act, Path, list[LoggedFailure]]], watches: dict[str, Watch]) -> int:
    """Print what the logs say beside what was found; return the exit status."""
    print("                                                           in the log     found")
    wrong = []
    for act, path, failures in outcomes:
        print(act.title)
        for flavour, found in watches.items():
            alerts = found.alerts_about(path)
            for operation, what in (("write", "broken writes"), ("read", "reset reads")):
                logged = sum(failure.operation == operation for failure in failures)
                seen = sum(alert["failed"]["operation"] == operation for alert in alerts)
                print(f"  {what}, watched with {flavour:31}  {logged:12}  {seen:8}")
            wrong += [f"{flavour}: {line}" for line in disagreements(failures, alerts)]
    for flavour, found in watches.items():
        if found.total.get("lost"):
            wrong.append(f"{flavour}: {found.total['lost']} lost ({found.total['lost_by_cause']})")
    for line in wrong:
        print(f"DISAGREEMENT  {line}")
    say("they differ" if wrong else "equal, connection for connection, with each kind of probes")
    return 1 if wrong else 0


def say(text: str) -> None:
    """Print what is being done."""
    print(f"==> {text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
