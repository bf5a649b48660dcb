"""A capture says elsewhere what the live host said: the same alerts, names, doubts, counts and losses.

tests/scenarios/test_verdicts.py does the same with what real kernels record.
"""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from hangup.cli.reporters.alert_json import alert_line
from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.host.cgroups import Cgroups
from hangup.tracer.host.clocks import HostClocks
from hangup.tracer.host.inventory import Backlog, Holder, Inventory, Listeners, Socket
from hangup.tracer.kernel.live import Host
from hangup.tracer.record.facts import Cgroup, LostPeriod
from hangup.tracer.record.layout import Event, EventFlag, Loss, pack
from hangup.tracer.selection import Selection
from hangup.tracer.tracer import Tracer
from tests import stories
from tests.recorder import Recorder
from tests.replay import replayed, summary
from tests.stories import MILLISECOND, Story, Task, interleaved, random_script
from tests.unit.both_ways import Kernel
from tests.unit.sources import FakeProbes, live
from tests.unit.verdict_examples import EXAMPLES, HARMLESS

CHECKOUT = Path(__file__).parents[2]


@dataclass
class Told:
    """What a live host told, and where its capture is."""

    lines: list[str]
    capture: Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host of which much is known."""
    proc = tmp_path / "proc"
    for pid, comm in ((815, "uwsgi"), (4711, "httpd"), (900, "child"), (700, "stranger")):
        folder = proc / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns" / "net").symlink_to(proc)
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "cgroup").write_text(f"0::/system.slice/{comm}.service\n")
        (folder / "status").write_text(f"NSpid:\t{pid}\t7\n")
    (proc / "thread-self" / "ns").mkdir(parents=True)
    (proc / "thread-self" / "ns" / "net").symlink_to(proc)
    paths = {1000 + number: f"/machine.slice/web{number}.service".encode() for number in range(5)}
    return Host(
        proc,
        Cgroups(proc=proc, find=paths.get),
        Listeners(lambda: {"/run/app.s": Backlog(6, 5)}, proc),
        HostClocks(),
        lambda: 10**9,
    )


def told(
    probes: FakeProbes,
    capture: Path,
    host: Host,
    *,
    recording: bool,
    inventory: Inventory | None = None,
    selection: Selection | None = None,
) -> Told:
    """Return what a tracer of a live host tells, which keeps what it reads."""
    source = live(probes, inventory, recording=recording, selection=selection, host=host)
    with Tracer(source=source, latent=True, selection=selection, keep=capture) as tracer:
        lines = [alert_line(alert, tracer.clocks) for alert in tracer.alerts()]
    return Told([*lines, *summary(tracer)], capture)


def assert_replays(told: Told) -> None:
    assert list(replayed(told.capture)) == told.lines
    assert told.lines


def both_ways(
    events: Sequence[Event],
    folder: Path,
    host: Host,
    *,
    lost: Sequence[LostPeriod] = (),
    inventory: Inventory | None = None,
) -> list[Told]:
    """Return what is told of these events where each is recorded, and where the kernel keeps histories."""
    # In the ring there is room behind a record.
    slots = [pack(event) + b"left over" for event in events]
    streamed = told(FakeProbes(slots, lost=lost), folder / "streamed", host, recording=False, inventory=inventory)
    again = host._replace(clocks=HostClocks())
    recorded = told(Kernel(events, lost=lost), folder / "recorded", again, recording=True, inventory=inventory)
    return [streamed, recorded]


@pytest.mark.parametrize(
    "example",
    [each for some in (*EXAMPLES.values(), HARMLESS) for each in some],
    ids=lambda each: each.__name__,
)
def test_every_story_that_the_document_quotes_is_told_again(
    example: Callable[[], Story | Sequence[Story]], tmp_path: Path, host: Host
) -> None:
    found = example()
    events = [event for story in ([found] if isinstance(found, Story) else found) for event in story.events]
    for each in both_ways(events, tmp_path, host):
        assert_replays(each)


@pytest.mark.parametrize("seed", range(20))
def test_any_stories_are_told_again(seed: int, tmp_path: Path, host: Host) -> None:
    random = Random(seed)
    events = interleaved([random_script(random) for _ in range(6)], [0, 1, 2, 0, 1, 2], random)
    cgroups = [event._replace(cgroup=1000 + event.pid % 6) for event in events]
    for each in both_ways(cgroups, tmp_path, host):
        assert_replays(each)


def test_what_was_lost_is_doubted_again(tmp_path: Path, host: Host) -> None:
    story = stories.seeds_failure()
    start = story.events[0].start
    lost = [LostPeriod(Loss.RING_FULL, start + 20_000, start + 30_000, 3), LostPeriod(Loss.SKIPPED, 1, 2, 1)]
    for each in both_ways(story.events, tmp_path, host, lost=lost):
        assert "3 records were lost while it was open" in each.lines[0]
        assert_replays(each)


def test_an_older_connection_is_named_again(tmp_path: Path, host: Host) -> None:
    story = Story(older=True, server=Task("uwsgi", 815))
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    unit = Cgroup("/system.slice/app.service", "app.service")

    def end(one: stories.End, path: str | None, pid: int, comm: str) -> Socket:
        holders = (Holder(pid, comm, 0, 5, 3, unit),)
        return Socket(one.inode_number, one.other.inode_number, path, "stream", "established", 0, 0, 1, holders)

    server, client = end(story.server, "/run/app.s", 815, "master"), end(story.client, None, 4711, "httpd")
    inventory = Inventory({one.inode: one for one in (server, client)})
    events = [story.events[1]._replace(flags=int(EventFlag.PEER_DEAD)), *story.events[2:]]
    for each in both_ways(events, tmp_path, host, inventory=inventory):
        assert "master[815]" in each.lines[0]
        assert '"unit": "app.service"' in each.lines[0] or '"unit":"app.service"' in each.lines[0]
        assert "/run/app.s" in each.lines[0]
        assert_replays(each)


def test_a_full_backlog_is_told_again_with_its_length(tmp_path: Path, host: Host) -> None:
    story = Story()
    story.connect(error=errno.EAGAIN)
    for each in both_ways(story.events, tmp_path, host):
        assert "6 waited, the backlog is 5" in each.lines[0]
        assert_replays(each)


def test_a_listener_that_only_the_kernels_counts_know_of_is_missed_again(tmp_path: Path, host: Host) -> None:
    clean = stories.clean(path="/run/app.s")
    later = Story(path="/run/app.s", start=5_000 * MILLISECOND)
    later.connect(error=errno.ENOENT)
    for each in both_ways([*clean.events, *later.events], tmp_path, host):
        assert "listener-gone" in each.lines[0]
        assert_replays(each)


@pytest.mark.parametrize("pids", [{815}, {4711}, {1}])
def test_a_replay_may_select_by_pid(pids: set[int], tmp_path: Path, host: Host) -> None:
    events = [*stories.seeds_failure().events, *stories.clean().events]
    for each in both_ways(events, tmp_path, host):
        with FileSource(each.capture) as source, Tracer(source=source, pids=pids) as tracer:
            assert len(list(tracer.alerts())) == (1 not in pids)
            kinds = {key.kind.label for key in tracer.statistics.rows}
        # Of what the kernel counted nobody knows whose it was.
        streamed = {"answered", "clean"} if 1 not in pids else set()
        assert kinds == (streamed if each.capture.name == "streamed" else streamed - {"clean"})


@pytest.mark.parametrize(
    ("selection", "is_selected"),
    [
        (Selection(uids=frozenset({33})), True),
        (Selection(uids=frozenset({998}), cgroups=("/machine.slice",)), True),
        (Selection(uids=frozenset({0})), False),
        (Selection(cgroups=("/machine.slice/web1.service",)), True),
        (Selection(cgroups=("/machine.slice/web2.service",)), False),
        (Selection(uids=frozenset({0}), cgroups=("/machine.slice",)), False),
    ],
)
def test_a_replay_may_select_by_user_and_cgroup(
    selection: Selection, is_selected: bool, tmp_path: Path, host: Host
) -> None:
    events = [event._replace(cgroup=1001) for event in stories.seeds_failure().events]
    for each in both_ways(events, tmp_path, host):
        with FileSource(each.capture) as source, Tracer(source=source, selection=selection) as tracer:
            assert len(list(tracer.alerts())) == is_selected


def test_a_connect_that_fails_may_be_selected_by_user_and_cgroup(tmp_path: Path, host: Host) -> None:
    story = Story(path="/run/none.s")
    story.connect(error=errno.EACCES)
    events = [event._replace(cgroup=1001) for event in story.events]
    for each in both_ways(events, tmp_path, host):
        for selection, is_selected in (
            (Selection(uids=frozenset({33}), cgroups=("/machine.slice",)), True),
            (Selection(uids=frozenset({998})), False),
            (Selection(cgroups=("/system.slice",)), False),
        ):
            with FileSource(each.capture) as source, Tracer(source=source, selection=selection) as tracer:
                assert len(list(tracer.alerts())) == is_selected


@pytest.mark.parametrize(
    "selection",
    [
        Selection(frozenset({815})),
        Selection(uids=frozenset({998})),
        Selection(cgroups=("/machine.slice/web1.service",)),
        Selection(frozenset({815}), uids=frozenset({998}), cgroups=("/machine.slice",)),
    ],
)
def test_what_was_selected_is_counted_again(selection: Selection, tmp_path: Path, host: Host) -> None:
    events = [*stories.seeds_failure().events, *stories.clean().events]
    events = [event._replace(cgroup=1001) for event in events]
    kernel = Kernel(events, recorder=Recorder(selection=selection, cgroups={1001: "/machine.slice/web1.service"}))
    found = told(kernel, tmp_path / "capture", host, recording=True, selection=selection)
    with FileSource(found.capture) as source, Tracer(source=source, latent=True, selection=selection) as tracer:
        lines = [alert_line(alert, tracer.clocks) for alert in tracer.alerts()]
    assert [*lines, *summary(tracer)] == found.lines
    assert any('"clean"' in line for line in found.lines)


@pytest.mark.parametrize("options", [(), ("--hide-proc",)])
def test_a_capture_is_told_where_nothing_can_be_asked_of_the_host(
    options: tuple[str, ...], tmp_path: Path, host: Host
) -> None:
    events = [event._replace(cgroup=1001) for event in stories.seeds_failure().events]
    for each in both_ways(events, tmp_path, host):
        done = subprocess.run(
            [sys.executable, "-m", "tests.replay", *options, str(each.capture)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if options and "PermissionError" in done.stderr:
            pytest.skip("only root may hide /proc")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == each.lines
        assert "web1.service" in done.stdout


def test_a_replay_that_asks_the_host_fails() -> None:
    code = "from tests.replay import forbid_host; forbid_host(); from hangup.tracer.kernel.live import {0}; {0}{1}"
    for name, call in (("snapshot", "()"), ("look_up", "(1, 2)"), ("this_host", "()")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name, call)], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        assert "HostAskedError" in done.stderr


def test_a_capture_that_was_cut_tells_what_is_whole(tmp_path: Path, host: Host) -> None:
    events = [*stories.seeds_failure().events, *stories.clean().events]
    found = told(FakeProbes(map(pack, events)), tmp_path / "capture", host, recording=False)
    content = found.capture.read_bytes()
    for size in range(len(content) - 1, len(content) // 2, -1009):
        found.capture.write_bytes(content[:size])
        with FileSource(found.capture) as source, Tracer(source=source) as tracer:
            list(tracer.alerts())
            assert tracer.losses().by_cause["capture_damaged"] == 1


def test_a_file_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    write_capture(tmp_path / "capture", [])
    probes = FakeProbes()
    with pytest.raises(Exception, match="already"), Tracer(source=live(probes), keep=tmp_path / "capture"):
        pass


def test_what_follows_the_source_does_not_know_how_to_ask_the_host() -> None:
    tracer = CHECKOUT / "tracer"
    alone = [tracer / f"{name}.py" for name in ("clocks", "field", "fields", "names", "selection", "statistics")]
    folders = [tracer / name for name in ("record", "story", "verdicts")]
    modules = [*alone, *(module for folder in folders for module in folder.glob("*.py"))]
    assert len(modules) > 20
    asks = {"ctypes", "fcntl", "grp", "mmap", "os", "platform", "pwd", "socket", "subprocess", "time"}
    for module in modules:
        text = module.read_text()
        assert not {"host", "kernel"} & set(re.findall(r"^ *(?:from|import) hangup\.tracer\.(\w+)", text, re.MULTILINE))
        assert not asks & set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE)), module
    # These open files, and see how long ago something was written.
    for module in (tracer / "capture").glob("*.py"):
        assert not re.search(r"hangup\.tracer\.(host|kernel)", module.read_text())
