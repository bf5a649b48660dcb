"""The live source: what it learns of a record stands before it, once, and most records cost it next to nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from hangup.tracer.host.cgroups import Cgroups
from hangup.tracer.host.clocks import HostClocks
from hangup.tracer.host.inventory import Backlog, Holder, Inventory, Listeners, Socket
from hangup.tracer.kernel import live as module
from hangup.tracer.kernel.live import Host, LiveSource
from hangup.tracer.record.facts import (
    Cgroup,
    CountsFact,
    Fact,
    HostFact,
    LostFact,
    LostPeriod,
    ProcessFact,
    SocketFact,
    unpack_fact,
)
from hangup.tracer.record.layout import (
    Event,
    Handed,
    Loss,
    RecordType,
    SocketFlag,
    User,
    pack,
    pack_user,
    type_of,
    unpack,
)
from hangup.tracer.selection import Selection
from hangup.tracer.story import known as known_module
from hangup.tracer.story.known import Known
from hangup.tracer.story.process import leader_of
from hangup.tracer.version import VERSION
from tests import stories
from tests.captures import counted
from tests.recorder import Recorder
from tests.records import unpack_all
from tests.stories import HTTPD, Story, Task, established
from tests.unit.sources import FakeProbes, live

SECOND = 10**9
TICK = SECOND // os.sysconf("SC_CLK_TCK")


class FakeHost:
    """A host whose /proc, cgroups and clocks are what the test says."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder
        self.now = 100 * SECOND
        self.suspended = 0
        self.cgroups: dict[int, bytes] = {}
        self.backlogs: dict[str, Backlog] = {}
        self.asked = 0
        for pid in ("thread-self", "4711"):
            (folder / pid / "ns").mkdir(parents=True)
            # The same namespace.
            (folder / pid / "ns" / "net").symlink_to(folder)
        (folder / "sys" / "kernel" / "random").mkdir(parents=True)
        (folder / "sys" / "kernel" / "osrelease").write_text("6.1.0-50-amd64\n")
        (folder / "sys" / "kernel" / "random" / "boot_id").write_text("b0075\n")
        self.host = Host(
            folder,
            Cgroups(proc=folder, find=self.cgroups.get),
            Listeners(self.listeners, folder),
            HostClocks(
                wall=lambda: self.now + 5000 * SECOND + self.suspended,
                monotonic=lambda: self.now,
                boot=lambda: self.now + self.suspended,
            ),
            lambda: self.now,
        )

    def listeners(self) -> dict[str, Backlog]:
        """Return who listens, and remember that somebody asked."""
        self.asked += 1
        return self.backlogs

    def process(self, pid: int, comm: str, *, began: int = 50 * SECOND, inner: int = 7, unit: str = "app") -> None:
        """Let there be a process."""
        folder = self.proc / str(pid)
        folder.mkdir(exist_ok=True)
        ticks = (began + time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // TICK
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "stat").write_text(f"{pid} ({comm}) S 1 {'0 ' * 17}{ticks} 4096 12\n")
        (folder / "status").write_text(f"NSpid:\t{pid}\t{inner}\n")
        (folder / "cgroup").write_text(f"0::/system.slice/{unit}.service\n")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def told(records: Iterable[bytes]) -> list[Fact | Event | Handed]:
    """Return what records say, in their order."""
    found: list[Fact | Event | Handed] = []

    def take(record: bytes) -> None:
        fact = unpack_fact(record)
        assert fact is not None
        found.append(fact)

    for event in unpack_all(records, take):
        found.append(event)
    return found


def read(source: LiveSource) -> list[Fact | Event | Handed]:
    return told(source.read(0))


def opened(host: FakeHost, probes: FakeProbes, *, recording: bool = False) -> LiveSource:
    """Return a source that has said who the host is."""
    source = live(probes, recording=recording, host=host.host)
    source.opening()
    return source


def processes(found: Iterable[object]) -> list[ProcessFact]:
    return [fact for fact in found if isinstance(fact, ProcessFact)]


# ---- the host


def test_the_host_is_told_first_and_how_it_is_watched(host: FakeHost) -> None:
    selection = Selection(frozenset({9, 5}), uids=frozenset({33, 0}), cgroups=("/a.slice/b\\x2dc",))
    source = live(FakeProbes(), recording=True, selection=selection, host=host.host)
    assert told(source.opening()) == [
        HostFact(
            monotonic=100 * SECOND,
            boottime=100 * SECOND,
            wall=5100 * SECOND,
            looked=100 * SECOND,
            kernel="6.1.0-50-amd64",
            boot="b0075",
            version=VERSION,
            probes="fentry",
            functions=("unix_accept",),
            recording=True,
            pids=(5, 9),
            uids=(0, 33),
            cgroups=("/a.slice/b\\\\x2dc",),
        )
    ]
    assert source.opening() == []


def test_the_host_is_told_again_when_it_was_suspended_and_not_otherwise(host: FakeHost) -> None:
    events = stories.seeds_failure().events
    source = opened(host, FakeProbes([], [], map(pack, events[:1]), []))
    host.now += SECOND
    assert read(source) == []
    host.now += SECOND
    host.suspended = 3600 * SECOND
    host.now += SECOND
    [again] = read(source)
    assert isinstance(again, HostFact)
    assert (again.monotonic, again.boottime, again.looked) == (103 * SECOND, 3703 * SECOND, 101 * SECOND)
    assert not [fact for fact in read(source) if isinstance(fact, HostFact)]
    assert read(source) == []


# ---- processes


def test_who_does_something_is_told_before_it_is_and_once(host: FakeHost) -> None:
    host.cgroups[77] = b"/system.slice/nginx.service"
    events = [event._replace(cgroup=77) for event in stories.seeds_failure().events]
    source = opened(host, FakeProbes(map(pack, events[:5]), map(pack, events[5:])))
    first = read(source)
    nginx = Cgroup("/system.slice/nginx.service", "nginx.service")
    assert processes(first) == [
        ProcessFact(events[0].end, 4711, "httpd", 4711, 77, nginx),
        ProcessFact(events[1].end, 815, "uwsgi", 815, 77, nginx),
    ]
    for fact in processes(first):
        [begin] = [number for number, one in enumerate(first) if one == fact]
        assert all(not (isinstance(one, Event) and one.pid == fact.pid) for one in first[:begin])
    assert [one for one in first if isinstance(one, Event)] == events[:5]
    assert read(source) == events[5:]


def test_most_records_are_not_unpacked(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    story = established()
    for _ in range(500):
        story.client.write(16)
        story.server.read()
    unpacked: list[bytes] = []

    def unpack_and_count(record: bytes) -> Event:
        unpacked.append(record)
        return unpack(record)

    monkeypatch.setattr(module, "unpack", unpack_and_count)
    source = opened(host, FakeProbes(map(pack, story.events)))
    records = source.read(0)
    assert len(records) > 1000
    assert len(unpacked) == 2


def test_who_is_only_at_the_other_end_is_looked_up_in_proc(host: FakeHost) -> None:
    host.process(815, "master", unit="uwsgi", inner=3)
    story = established()
    client = [event for event in story.events if event.pid == HTTPD.pid]
    source = opened(host, FakeProbes(map(pack, [*client, story.client.write(5)])))
    _, master = processes(read(source))
    assert master[:6] == (100 * SECOND, 815, "master", 3, 0, Cgroup("/system.slice/uwsgi.service", "uwsgi.service"))
    assert 49 * SECOND < master.start < 51 * SECOND


def test_who_is_gone_from_proc_is_not_told(host: FakeHost) -> None:
    story = established()
    client = [event for event in story.events if event.pid == HTTPD.pid]
    source = opened(host, FakeProbes(map(pack, client)))
    assert [fact.pid for fact in processes(read(source))] == [4711]


def test_after_some_seconds_it_is_looked_again_and_only_what_has_changed_is_told(host: FakeHost) -> None:
    host.process(815, "master")
    story = established()
    accept = [event for event in story.events if event.pid == HTTPD.pid]
    writes = [story.client.write(1) for _ in range(3)]
    source = opened(host, FakeProbes(map(pack, accept), *([pack(write)] for write in writes)))
    assert [fact.comm for fact in processes(read(source))] == ["httpd", "master"]
    host.process(815, "renamed")
    # It is not looked at each time.
    assert processes(read(source)) == []
    host.now += 6 * SECOND
    assert [fact.comm for fact in processes(read(source))] == ["renamed"]
    host.now += 6 * SECOND
    assert processes(read(source)) == []


def test_another_process_of_the_same_name_that_has_the_pid_is_told(host: FakeHost) -> None:
    host.process(815, "master", began=50 * SECOND)
    story = established()
    client = [event for event in story.events if event.pid == HTTPD.pid]
    source = opened(host, FakeProbes(map(pack, client), [pack(story.client.write(1))]))
    read(source)
    host.process(815, "master", began=103 * SECOND)
    host.now += 6 * SECOND
    [again] = processes(read(source))
    assert again.start > 102 * SECOND


def test_who_was_seen_doing_something_is_not_looked_up(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing is to be looked up")

    monkeypatch.setattr(module, "look_up", never)
    story = Story()
    # Each is known by what it did when the other end names it.
    connect = story.connect()
    accept = story.accept()
    source = opened(host, FakeProbes(map(pack, [connect._replace(peer_pid=4711), accept])))
    assert [fact.pid for fact in processes(read(source))] == [4711, 815]


def test_whose_descriptor_a_kernel_thread_dropped_is_looked_up(host: FakeHost) -> None:
    host.process(900, "ringer")
    story = established()
    release = story.server.release(
        by=Task("kworker/1:0", 44, uid=0), owner_pid=900, leader=b"ringer".ljust(16, b"\0"), flags=256
    )
    source = opened(host, FakeProbes([pack(release)]))
    assert {(fact.pid, fact.comm) for fact in processes(read(source))} == {(44, "kworker/1:0"), (900, "ringer")}


def test_whose_descriptors_the_same_kernel_thread_dropped_are_all_looked_up(host: FakeHost) -> None:
    for pid in (900, 901):
        host.process(pid, f"ringer{pid}")
    story = established()
    release = story.server.release(by=Task("kworker/1:0", 44, uid=0), owner_pid=900, flags=256)
    source = opened(host, FakeProbes(map(pack, [release, release._replace(owner_pid=901)])))
    assert {fact.pid for fact in processes(read(source))} == {44, 900, 901}


def test_who_is_told_of_when_the_cgroup_was_new_is_known_when_that_is_gone(host: FakeHost) -> None:
    user = User(4242, 77, 77, 33, 33, 2, 2, b"uwsgi".ljust(16, b"\0"), b"uwsgi".ljust(16, b"\0"))
    host.cgroups[4242] = b"/machine.slice/machine-web.scope"
    source = opened(host, FakeProbes([pack_user(user, host.now)]), recording=True)
    (fact,) = read(source)
    assert isinstance(fact, ProcessFact)
    assert (fact.pid, fact.comm, fact.inner_pid, fact.cgroup_id) == (77, "uwsgi", 2, 4242)
    assert fact.cgroup is not None
    assert fact.cgroup.container == "web"


def test_a_history_introduces_everybody_it_names(host: FakeHost) -> None:
    host.cgroups[77] = b"/system.slice/uwsgi.service"
    host.process(500, "opener")
    story = established()
    story.client.write(16)
    story.server.read()
    story.server.release(exit_status=1)
    story.client.read(0)
    events = [event._replace(cgroup=77, peer_pid=500) for event in story.events]
    source = opened(host, FakeProbes(Recorder().record(events)), recording=True)
    records = source.read(0)
    kinds = [type_of(record) for record in records]
    first = kinds.index(RecordType.HISTORY)
    assert set(kinds[:first]) == {RecordType.PROCESS}
    found = processes(told(records[:first]))
    assert {(fact.pid, fact.comm, fact.cgroup_id) for fact in found} == {
        (4711, "httpd", 77),
        (815, "uwsgi", 77),
        (500, "opener", 0),
    }


def test_what_is_remembered_is_bounded(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SEEN", 10)
    monkeypatch.setattr(module, "MAX_TOLD", 10)
    story = established()
    events = [story.client.write(1)._replace(pid=number, peer_pid=number + 1) for number in range(1000, 1100)]
    source = opened(host, FakeProbes(map(pack, events)))
    assert len(processes(read(source))) == 100
    assert max(len(each) for each in (source._seen, source._doers, source._others, source._told)) <= 11


def test_who_was_told_long_ago_is_told_again_before_a_reader_forgets(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 20
    monkeypatch.setattr(module, "MAX_TOLD", limit)
    monkeypatch.setattr(known_module, "MAX_PROCESSES", 2 * limit)
    host.process(815, "master")
    story = established()
    write = story.client.write(1)
    # Clients come and go, some of them again, and the one that listens has never done anything itself.
    pids = [1000 + (number * 7) % 61 + (number // 30) for number in range(3000)]
    batches = [[pack(write._replace(pid=pid, tid=pid, comm=b"%d" % pid, leader=b"%d" % pid))] for pid in pids]
    source = opened(host, FakeProbes(*batches))
    known = Known()
    for _ in pids:
        # Nothing is remembered as seen for long.
        host.now += 2 * SECOND
        for one in read(source):
            if isinstance(one, ProcessFact):
                known.take(one)
            elif isinstance(one, Event):
                known.meet(one.pid, leader_of(one), one.end)
                assert known.process(815, 60 * SECOND).comm == "master"


# ---- sockets


def test_what_is_open_already_is_told_behind_its_holders(host: FakeHost) -> None:
    unit = Cgroup("/system.slice/app.service", "app.service")

    names = {7: "nginx", 8: "uwsgi", 9: "sh"}

    def one(inode: int, peer: int | None, path: str | None, pid: int, state: str = "established") -> Socket:
        comm = names[pid]
        holders = (Holder(pid, comm, 0, 5, 3, unit), Holder(pid, comm, 0, 6, 3, unit))
        return Socket(inode, peer, path, "stream", state, 2, 128, 1, holders)

    sockets = [
        one(100, 101, None, 7),
        one(101, 100, "/run/app.s", 8),
        one(102, 103, None, 9),
        one(103, 102, None, 9),
        one(104, None, "/run/app.s", 8, "listening"),
        one(105, 0, None, 7),
        one(106, None, None, 7, "unconnected"),
    ]
    inventory = Inventory({socket.inode: socket for socket in sockets})
    _, *found = told(live(FakeProbes(), inventory, host=host.host).opening())
    now = 100 * SECOND
    client, server, pair = SocketFlag.CLIENT, SocketFlag.SERVER, SocketFlag.PAIR
    assert found == [
        *(ProcessFact(now, pid, comm, 3, 0, unit) for pid, comm in names.items()),
        SocketFact(now, client, "/run/app.s", 100, 101, (7,)),
        SocketFact(now, server, "/run/app.s", 101, 100, (8,)),
        SocketFact(now, client | pair, None, 102, 103, (9,)),
        SocketFact(now, server | pair, None, 103, 102, (9,)),
        SocketFact(now, client | pair, None, 105, 0, (7,)),
        SocketFact(now, SocketFlag.LISTENER, "/run/app.s", 104, waiting=2, backlog=128),
    ]


def connect_fails(error: int, path: str = "/run/app.s") -> Event:
    return Story(path=path, start=200 * SECOND).connect(error=error)


def test_how_many_wait_is_told_before_each_connect_that_is_turned_away(host: FakeHost) -> None:
    host.backlogs = {"/run/app.s": Backlog(6, 5)}
    one = connect_fails(errno.EAGAIN)
    other = one._replace(start=one.end, end=one.end + 5)
    elsewhere = connect_fails(errno.EAGAIN, "/run/other.s")
    source = opened(host, FakeProbes(map(pack, [one, other, elsewhere])))
    found = [each for each in read(source) if not isinstance(each, ProcessFact)]
    waits = SocketFact(one.end, SocketFlag.LISTENER, "/run/app.s", waiting=6, backlog=5)
    assert found == [waits, one, waits._replace(when=other.end), other, elsewhere]
    # Of a storm of them the kernel's list is not read for each.
    assert host.asked == 1


def test_a_connect_that_fails_otherwise_asks_nobody(host: FakeHost) -> None:
    events = [connect_fails(error) for error in (errno.ENOENT, errno.EACCES, errno.ECONNREFUSED)]
    source = opened(host, FakeProbes(map(pack, events)))
    assert [each for each in read(source) if not isinstance(each, ProcessFact)] == events
    assert host.asked == 0


# ---- counts


def test_what_was_counted_is_told_as_far_as_it_is_new(host: FakeHost) -> None:
    probes = FakeProbes()
    source = opened(host, probes, recording=True)
    assert source.counts() == []
    probes.rows = [counted(5, 40)]
    assert told(source.counts()) == [CountsFact(100 * SECOND, counted(5, 40))]
    assert source.counts() == []
    probes.rows = [counted(7, 60), counted(1, 2, client="php")]
    assert told(source.counts()) == [
        CountsFact(100 * SECOND, counted(2, 20)),
        CountsFact(100 * SECOND, counted(1, 2, client="php")),
    ]


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ECONNREFUSED])
def test_what_was_counted_is_told_before_a_connect_that_misses_a_listener(host: FakeHost, error: int) -> None:
    connect = connect_fails(error)
    probes = FakeProbes([pack(connect)])
    source = opened(host, probes, recording=True)
    probes.rows = [counted(5, 40)]
    found = [each for each in read(source) if not isinstance(each, ProcessFact)]
    assert found == [CountsFact(100 * SECOND, counted(5, 40)), connect]


def test_what_was_counted_is_told_now_and_then_though_nobody_asks(host: FakeHost) -> None:
    probes = FakeProbes()
    source = opened(host, probes, recording=True)
    assert read(source) == []
    probes.rows = [counted(5, 40)]
    host.now += 11 * SECOND
    assert read(source) == [CountsFact(111 * SECOND, counted(5, 40))]
    probes.rows = [counted(6, 50)]
    host.now += 9 * SECOND
    assert read(source) == []


# ---- losses


def test_what_was_lost_is_told_before_the_records_that_were_read_with_it(host: FakeHost) -> None:
    events = stories.seeds_failure().events
    probes = FakeProbes(map(pack, events[:2]), map(pack, events[2:4]), [])
    source = opened(host, probes)
    assert not any(isinstance(each, LostFact) for each in read(source))
    period = LostPeriod(Loss.RING_FULL, 5, 9, 3)
    probes.lost = [period]
    assert read(source) == [LostFact(100 * SECOND, Loss.RING_FULL, 3, (period,)), *events[2:4]]
    assert read(source) == []
    # Only of the cause of which more was lost.
    other = LostPeriod(Loss.SKIPPED, 20, 30, 1)
    probes.lost = [period, other]
    assert told(source.losses()) == [LostFact(100 * SECOND, Loss.SKIPPED, 1, (other,))]
    assert source.losses() == []


def test_what_the_probes_are_asked_for_is_handed_on(host: FakeHost) -> None:
    probes = FakeProbes([pack(stories.seeds_failure().events[0])])
    source = opened(host, probes)
    assert (source.flavour, source.functions, source.drained) == ("fentry", ("unix_accept",), False)
    read(source)
    assert source.drained
    source.stop()
    source.close()
    assert probes.closed
