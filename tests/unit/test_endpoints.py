"""From events to connections: whose end is whose, and which generation of an address, whatever the order allows."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pytest

from hangup.tracer.record.facts import ProcessFact, SocketFact, pack_fact
from hangup.tracer.record.layout import Event, EventFlag, Operation, SocketFlag, pack
from hangup.tracer.story import aftermath as aftermaths
from hangup.tracer.story import endpoints as module
from hangup.tracer.story import eviction
from hangup.tracer.story.aftermath import Aftermath
from hangup.tracer.story.connection import KEPT_FIRST, KEPT_LAST, MAX_USERS, Connection, Endpoint
from hangup.tracer.story.endpoints import Concluded, ConnectFailed, Endpoints, Suffered
from hangup.tracer.story.exchange import exchange_of
from hangup.tracer.story.known import Known
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import tell
from tests import stories
from tests.stories import HTTPD, SEQPACKET, SHUT_RD, SHUT_RDWR, SHUT_WR, UWSGI, Story, Task, established


def concluded(endpoints: Endpoints, events: Iterable[Event | bytes]) -> list[Connection]:
    return [occurrence.connection for occurrence in endpoints.feed(events) if isinstance(occurrence, Concluded)]


def failures(endpoints: Endpoints, events: Iterable[Event]) -> list[Aftermath]:
    """Return what was suffered, when nothing more is waited for."""
    occurrences = [*endpoints.feed(events), *endpoints.settle(None)]
    return [occurrence.aftermath for occurrence in occurrences if isinstance(occurrence, Suffered)]


def hangup(connection: Connection) -> Event | None:
    first = tell(connection).hangup
    return first.event if first else None


def only_open(endpoints: Endpoints) -> Connection:
    (connection,) = endpoints._connections.values()
    return connection


def test_a_connection_has_both_ends_its_path_and_what_each_has_done() -> None:
    story = stories.seeds_failure()
    (connection,) = concluded(Endpoints(), story.events)
    client, server = connection.client, connection.server
    assert (client.role, server.role) == ("client", "server")
    assert (client.other, server.other) == (server, client)
    assert (client.sock, client.peer) == (server.peer, server.sock) == (story.client.sock, story.server.sock)
    assert (client.inode, client.inode_number) == (story.client.inode, story.client.inode_number)
    assert (server.inode, server.inode_number) == (story.server.inode, story.server.inode_number)
    assert (client.comm, client.pid, server.comm, server.pid) == ("httpd", 4711, "uwsgi", 815)
    assert (client.written_bytes, server.read_bytes) == (723, 723)
    assert (server.written_bytes, client.read_bytes) == (94, 0)
    assert connection.path == "/tmp/helloFastCGI.s"
    assert connection.complete
    assert not connection.pair
    assert connection.start == story.events[0].start
    assert hangup(connection) is server.release


def test_an_ended_connection_leaves_nothing_behind() -> None:
    endpoints = Endpoints()
    for make in stories.STORIES.values():
        concluded(endpoints, make().events)
        assert endpoints.open == 0
        assert endpoints._by_sock == {}
        assert endpoints._kept == 0
    assert (endpoints.stale, endpoints.evicted) == (0, 0)


def test_the_same_addresses_again_are_another_connection() -> None:
    endpoints = Endpoints()
    first, second = (
        concluded(endpoints, stories.clean(path=path, inode_number=number).events)[0]
        for path, number in (("/run/one.s", 100), ("/run/two.s", 200))
    )
    assert (first.client.sock, first.server.sock) == (second.client.sock, second.server.sock)
    assert second.number > first.number
    assert (first.path, second.path) == ("/run/one.s", "/run/two.s")
    assert (first.client.inode_number, second.client.inode_number) == (100, 200)
    assert second.client.written_bytes == first.client.written_bytes
    assert endpoints.stale == 0


def test_the_same_addresses_again_with_the_roles_exchanged_are_another_connection() -> None:
    story = stories.clean()
    exchanged = stories.clean(client_sock=story.server.sock, server_sock=story.client.sock, client=UWSGI, server=HTTPD)
    endpoints = Endpoints()
    _, second = concluded(endpoints, [*story.events, *exchanged.events])
    assert (second.client.sock, second.client.comm) == (story.server.sock, "uwsgi")
    assert endpoints.stale == 0


def test_an_accept_may_be_recorded_before_its_connect() -> None:
    story = stories.seeds_failure()
    connect, accept, *rest = story.events
    (connection,) = concluded(Endpoints(), [accept, connect, *rest])
    assert connection.complete
    assert connection.connect is connect
    assert connection.client.sock == story.client.sock
    assert connection.start == connect.start


def test_a_whole_short_life_of_the_server_may_be_recorded_before_the_connect() -> None:
    # unix_stream_connect() wakes the listener and may return only after the server has come and gone.
    story = Story()
    connect = story.connect()
    accept = story.accept()
    write = story.server.write(5)
    release = story.server.release()
    rest = [story.client.read(), story.client.release()]
    late = connect._replace(end=release.end + 1, flags=int(EventFlag.PEER_DEAD), peer_inode=0)
    endpoints = Endpoints()
    (connection,) = concluded(endpoints, [accept, write, release, late, *rest])
    assert connection.complete
    assert connection.client.sock == story.client.sock
    assert connection.client.read_bytes == 5
    assert hangup(connection) is release
    assert endpoints.stale == 0
    # The connect came first all the same.
    assert tell(connection).timeline[0].event is late


def test_another_thread_may_write_before_the_connect_is_recorded() -> None:
    story = Story()
    connect = story.connect()
    write = story.client.write(7, by=HTTPD.thread(4714))
    accept = story.accept()
    endpoints = Endpoints()
    list(endpoints.feed([write, accept, connect]))
    connection = only_open(endpoints)
    assert connection.complete
    assert connection.client.sock == story.client.sock
    assert connection.client.written_bytes == 7
    assert endpoints.stale == 0


def test_a_connection_whose_connect_was_not_recorded_is_not_complete() -> None:
    story = Story()
    story.connect()
    story.client.write(7)
    accept = story.accept()
    endpoints = Endpoints()
    list(endpoints.feed([accept, story.server.read()]))
    connection = only_open(endpoints)
    assert not connection.complete
    assert connection.path == "/run/app.s"
    assert connection.server.sock == story.server.sock


def test_a_connection_that_is_never_accepted_ends_with_its_listener() -> None:
    story = Story()
    story.connect()
    story.client.write(16)
    story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    endpoints = Endpoints()
    ended, *rest = endpoints.feed(story.events)
    assert rest == []
    (failed,) = endpoints.settle(None)
    assert isinstance(failed, Suffered)
    assert isinstance(ended, Concluded)
    release = ended.connection.server.release
    assert release is not None
    assert release.flags & EventFlag.EMBRYO
    assert endpoints.open == 0


def test_a_listener_may_be_released_before_the_connect_is_recorded() -> None:
    story = Story()
    connect = story.connect()
    released = story.server.release(flags=int(EventFlag.EMBRYO))
    story.client.release()
    endpoints = Endpoints()
    (connection,) = concluded(endpoints, [released, connect, *story.events[2:]])
    assert connection.client.sock == story.client.sock
    assert connection.complete
    assert hangup(connection) is released
    assert endpoints.stale == 0


def test_a_client_may_be_gone_when_it_is_accepted() -> None:
    story = Story()
    story.connect()
    story.client.write(16)
    story.client.release()
    story.accept()
    story.server.read()
    story.server.release()
    endpoints = Endpoints()
    (connection,) = concluded(endpoints, story.events)
    assert connection.server.read_bytes == 16
    assert hangup(connection) is connection.client.release
    assert endpoints.open == 0


def test_a_connection_whose_end_was_missed_is_stale_when_its_addresses_come_back() -> None:
    endpoints = Endpoints()
    list(endpoints.feed(established(path="/run/old.s").events))
    assert [connection.path for connection in concluded(endpoints, stories.clean().events)] == ["/run/app.s"]
    assert endpoints.stale == 1
    assert endpoints.open == 0


@pytest.mark.parametrize("reused", ["client", "server"])
def test_a_connection_whose_end_was_missed_is_stale_when_one_of_its_addresses_comes_back(reused: str) -> None:
    endpoints = Endpoints()
    old = established(path="/run/old.s")
    list(endpoints.feed(old.events))
    options = {f"{reused}_sock": getattr(old, reused).sock}
    other = "server" if reused == "client" else "client"
    options[f"{other}_sock"] = 0xFFFF_8801_0000_0000
    assert [connection.path for connection in concluded(endpoints, stories.clean(**options).events)] == ["/run/app.s"]
    assert endpoints.stale == 1
    assert endpoints.open == 0


def test_a_missed_release_does_not_hide_the_end_of_the_other() -> None:
    story = established()
    story.server.release()
    story.client.release()
    endpoints = Endpoints()
    connect, accept, _, release = story.events
    (connection,) = concluded(endpoints, [connect, accept, release])
    assert hangup(connection) is release
    assert endpoints.open == 0


def numbered(number: int) -> Story:
    base = 0xFFFF_8801_0000_0000 + number * 0x1000
    return established(path=f"/run/{number}.s", client_sock=base, server_sock=base + 0x800)


def test_the_least_recently_used_connection_is_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 100)
    endpoints = Endpoints()
    long_lived = numbered(0)
    list(endpoints.feed(long_lived.events))
    for number in range(1, 500):
        list(endpoints.feed(numbered(number).events))
        list(endpoints.feed([long_lived.client.write(1)]))
    paths = [connection.path for connection in endpoints._connections.values()]
    assert len(paths) == 100
    # The oldest of all is the one that is used.
    assert "/run/0.s" in paths
    assert "/run/499.s" in paths
    assert endpoints.evicted == 400


def test_what_is_forgotten_is_found_without_looking_at_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    operations = Connection.operations.fget  # type: ignore[attr-defined]

    def counted(connection: Connection) -> int:
        looked.append(connection.number)
        return int(operations(connection))

    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1000)
    monkeypatch.setattr(Connection, "operations", property(counted))
    endpoints = Endpoints()
    stories = [numbered(number) for number in range(1000)]
    for story in stories:
        list(endpoints.feed(story.events))
    for number in range(1000, 1050):
        # Everybody has been used since: the worst case.
        for story in stories:
            list(endpoints.feed([story.client.write(1)]))
        looked.clear()
        list(endpoints.feed(numbered(number).events))
        assert 0 < len(looked) <= eviction._MOST_LOOKED_AT
    assert endpoints.open == 1000


def test_what_is_kept_of_a_long_connection_is_its_beginning_and_its_end() -> None:
    story = established()
    for _ in range(200):
        story.client.write(1)
        story.server.read()
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    client = only_open(endpoints).client
    mine = [event for event in story.events if event.sock == client.sock]
    assert client.kept == [*mine[:KEPT_FIRST], *mine[-KEPT_LAST:]]
    assert client.omitted == client.count - len(client.kept) == 201 - KEPT_FIRST - KEPT_LAST
    assert client.written_bytes == 200


def test_the_users_of_a_socket_that_is_handed_down_are_bounded() -> None:
    story = established()
    for pid in range(1000, 1000 + 2 * MAX_USERS):
        story.client.write(1, by=Task("child", pid))
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    assert len(only_open(endpoints).client.users) == MAX_USERS


# ---- what the kernel has decided against


CHILD = Task("child", 900)


def unselected(event: Event) -> Event:
    return event._replace(flags=event.flags | EventFlag.UNSELECTED, connection=7)


def test_a_connection_that_nobody_has_selected_is_dropped_when_it_is_accepted() -> None:
    story = Story()
    connect, write, accept = story.connect(), story.client.write(16), story.accept()
    endpoints = Endpoints()
    list(endpoints.feed([connect, write]))
    assert endpoints.open == 1
    list(endpoints.feed([unselected(accept)]))
    assert endpoints._by_sock == {}
    assert endpoints.stale == 0


def test_a_connection_whose_connect_returns_after_its_accept_is_dropped_with_the_connect() -> None:
    story = Story()
    connect = story.connect()
    accept = story.accept()
    endpoints = Endpoints()
    list(endpoints.feed([accept]))
    assert endpoints.open == 1
    list(endpoints.feed([unselected(connect)]))
    assert endpoints._by_sock == {}
    assert endpoints.stale == 0


def test_somebody_has_listened_where_an_unselected_connection_was_accepted() -> None:
    known = Known()
    accepted = established(path="/run/app.s").events[-1]
    list(Endpoints(known).feed([unselected(accepted)]))
    assert known.listened.had("/run/app.s", accepted.end)
    assert not known.listened.had("/run/app.s", accepted.end - 1)


def test_what_is_selected_later_is_a_connection_to_the_same_path_whose_beginning_is_not_known() -> None:
    story = established(path="/run/app.s")
    endpoints = Endpoints()
    list(endpoints.feed([story.events[0], unselected(story.events[1])]))
    list(endpoints.feed([story.client.write(16)._replace(connection=7)]))
    connection = only_open(endpoints)
    assert connection.path == "/run/app.s"
    assert not connection.complete


def test_paths_of_unselected_connections_are_remembered_of_so_many_and_no_more() -> None:
    endpoints = Endpoints()
    accept = established().events[-1]
    for number in range(5000):
        list(endpoints.feed([unselected(accept)._replace(connection=number)]))
    assert len(endpoints._unselected) == 4096
    assert max(endpoints._unselected) == 4999


# ---- connections older than the tracer


def older(**options: object) -> Story:
    return Story(older=True, **options)  # type: ignore[arg-type]


def knowing(story: Story) -> Endpoints:
    """Return endpoints that know of a connection what unix_diag and /proc tell."""
    known = Known()
    for end in (story.client, story.server):
        flags = SocketFlag.SERVER if end is story.server else SocketFlag.CLIENT
        known.take(ProcessFact(1, end.task.pid, end.task.comm))
        known.take(SocketFact(1, flags, "/run/app.s", end.inode_number, end.other.inode_number, (end.task.pid,)))
    return Endpoints(known)


@pytest.mark.parametrize("first", ["client", "server"])
def test_an_older_connection_has_both_ends_from_its_first_operation(first: str) -> None:
    story = older()
    end = getattr(story, first)
    end.write(16)
    endpoints = knowing(story)
    list(endpoints.feed(story.events))
    connection = only_open(endpoints)
    assert (connection.client.sock, connection.server.sock) == (story.client.sock, story.server.sock)
    assert (connection.client.role, connection.server.role) == ("client", "server")
    assert (connection.client.pid, connection.client.comm) == (4711, "httpd")
    assert (connection.server.pid, connection.server.comm) == (815, "uwsgi")
    assert connection.client.inode_number == story.client.inode_number
    assert connection.server.inode_number == story.server.inode_number
    assert connection.client.inode == story.client.inode
    assert connection.server.inode == story.server.inode
    assert connection.path == "/run/app.s"
    assert not connection.complete
    assert connection.start == story.events[0].start


def test_the_far_end_of_an_older_connection_is_who_uses_it_once_it_does() -> None:
    story = older()
    story.client.write(16)
    story.server.release(by=CHILD)
    endpoints = knowing(story)
    list(endpoints.feed(story.events))
    server = only_open(endpoints).server
    assert server.first is story.events[1]
    assert (server.pid, server.comm) == (900, "child")
    assert server.holder == Process(815, "uwsgi")


def test_the_far_end_of_an_older_connection_nobody_knows_is_who_made_it() -> None:
    story = older()
    story.client.write(16)
    known = Known()
    known.take(ProcessFact(1, 815, "uwsgi"))
    endpoints = Endpoints(known, operations=lambda _connection: True)
    list(endpoints.feed(story.events))
    server = only_open(endpoints).server
    assert server.holder == Process(815, "uwsgi")
    assert (server.pid, server.comm) == (815, "uwsgi")
    assert server.inode == story.server.inode


def test_who_is_seen_doing_something_is_not_called_what_somebody_else_was() -> None:
    known = Known()
    known.take(ProcessFact(1 << 60, 815, "stranger"))
    for make in stories.STORIES.values():
        for connection in concluded(Endpoints(known), make().events):
            assert "stranger" not in (connection.client.comm, connection.server.comm)


def test_an_older_connection_whose_peer_is_dead_already_ends_with_its_release() -> None:
    story = older()
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    endpoints = Endpoints()
    ended, *rest = endpoints.feed(story.events[1:])
    assert rest == []
    (failed,) = endpoints.settle(None)
    assert isinstance(failed, Suffered)
    assert isinstance(ended, Concluded)
    assert ended.connection.server.release is None
    assert endpoints._by_sock == {}


def test_an_endpoint_that_is_only_released_is_known_all_the_same() -> None:
    story = older()
    story.server.release()
    endpoints = knowing(story)
    list(endpoints.feed(story.events))
    connection = only_open(endpoints)
    assert connection.server.sock == story.server.sock
    assert hangup(connection) is story.events[0]


# ---- kinds of sockets and calls


def test_a_seqpacket_connection_is_one_too() -> None:
    (connection,) = concluded(Endpoints(), stories.clean(type=SEQPACKET).events)
    assert connection.type == SEQPACKET


def test_a_socketpair_has_no_path_and_its_maker_at_both_ends() -> None:
    story = Story(client=HTTPD, server=HTTPD)
    story.socketpair()
    endpoints = Endpoints(operations=lambda _connection: True)
    list(endpoints.feed(story.events))
    connection = only_open(endpoints)
    assert connection.pair
    assert connection.complete
    assert connection.path is None
    assert connection.server.holder == Process(4711, "httpd", inner_pid=4711, cgroup_id=1)
    assert (connection.client.pid, connection.server.pid) == (4711, 4711)
    assert connection.server.inode == story.server.inode
    story.client.write(3)
    story.server.read(by=CHILD)
    story.server.release(by=CHILD)
    story.client.release()
    (ended,) = concluded(endpoints, story.events[1:])
    assert ended is connection
    assert connection.server.pid == CHILD.pid


def test_an_abstract_name_is_shown_with_an_at_sign() -> None:
    (connection,) = concluded(Endpoints(), stories.clean(path=b"\0app").events)
    assert connection.path == "@app"


def test_peeked_bytes_are_not_read() -> None:
    story = established()
    story.client.write(10)
    story.server.read(peek=True)
    story.server.read(4)
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    assert only_open(endpoints).server.read_bytes == 4


def test_failed_operations_move_no_bytes() -> None:
    story = established()
    story.client.write(10, error=errno.EAGAIN)
    story.server.read(error=errno.EAGAIN)
    endpoints = Endpoints()
    assert list(endpoints.feed(story.events)) == []
    connection = only_open(endpoints)
    assert (connection.client.written_bytes, connection.server.read_bytes) == (0, 0)
    assert not connection.failed


def test_each_direction_s_shutdown_is_known() -> None:
    def ends(*hows: int) -> Endpoint:
        story = established()
        for how in hows:
            story.client.shutdown(how)
        endpoints = Endpoints()
        list(endpoints.feed(story.events))
        return only_open(endpoints).client

    assert ends().ended_sending is ends().ended_receiving is None
    client = ends(SHUT_RD, SHUT_WR, SHUT_RDWR)
    assert client.ended_receiving is not None
    assert client.ended_sending is not None
    assert (client.ended_receiving.size, client.ended_sending.size) == (SHUT_RD, SHUT_WR)
    client = ends(SHUT_RDWR, SHUT_WR)
    assert client.ended_receiving is client.ended_sending is not None


def test_a_failed_shutdown_ends_nothing() -> None:
    story = established()
    story.client.shutdown(SHUT_WR, result=-errno.ENOTCONN)
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    assert only_open(endpoints).client.ended_sending is None


def test_only_the_first_failure_of_an_end_is_one() -> None:
    story = established()
    story.client.write(16)
    story.server.release()
    reset = story.client.read(error=errno.ECONNRESET)
    story.client.write(8, error=errno.EPIPE)
    story.client.write(8, error=errno.EPIPE)
    (failed,) = failures(Endpoints(), story.events)
    assert failed.failed is reset
    assert failed.endpoint.role == "client"


def test_a_write_that_slept_when_the_peer_hung_up_may_be_reset() -> None:
    # sock_alloc_send_pskb() looks at the socket's error before it looks at its shutdown.
    story = established()
    story.client.write(16)
    story.server.release()
    story.client.write(8, error=errno.ECONNRESET)
    assert len(failures(Endpoints(), story.events)) == 1


def test_a_connect_that_fails_leaves_no_connection() -> None:
    story = Story(path=b"\0gone")
    story.connect(error=errno.ECONNREFUSED)
    endpoints = Endpoints()
    (failed,) = list(endpoints.feed(story.events))
    assert isinstance(failed, ConnectFailed)
    assert failed.path == "@gone"
    assert endpoints._by_sock == {}


def test_connecting_again_does_not_disturb_the_connection_that_stands() -> None:
    story = established()
    story.connect(error=errno.EISCONN)
    endpoints = Endpoints()
    (failed,) = list(endpoints.feed(story.events))
    assert isinstance(failed, ConnectFailed)
    assert only_open(endpoints).client.count == 1


def test_every_operation_is_kept_if_asked_for() -> None:
    story = stories.seeds_failure()
    records = [pack(event) for event in story.events]
    endpoints = Endpoints(operations=lambda _connection: True)
    list(endpoints.feed(records))
    operated = endpoints.operated()
    assert [record for record, _, _ in operated] == records
    assert [(place.role, place.path, place.number) for _, _, place in operated] == [
        ("client" if event.sock == story.client.sock else "server", "/tmp/helloFastCGI.s", 1) for event in story.events
    ]
    assert endpoints.operated() == []


def test_operations_of_a_connection_are_kept_from_when_it_is_wanted() -> None:
    story = established()
    story.client.write(1)
    story.server.read(1, by=Task("worker", 9))
    story.server.write(2)
    endpoints = Endpoints(operations=lambda connection: 9 in connection.server.users)
    list(endpoints.feed(pack(event) for event in story.events))
    assert [record for record, _, _ in endpoints.operated()] == [pack(event) for event in story.events[3:]]


def test_what_is_taken_as_a_record_makes_the_same_story_as_what_has_been_unpacked() -> None:
    for make in stories.STORIES.values():
        events = make().events
        unpacked, recorded = Endpoints(), Endpoints()
        list(unpacked.feed(events))
        list(recorded.feed(pack(event) for event in events))
        both = zip(unpacked._connections.values(), recorded._connections.values(), strict=True)
        assert all(tell(one) == tell(other) for one, other in both)
        [one, other] = (concluded(Endpoints(), these) for these in (events, map(pack, events)))
        assert [tell(each) for each in one] == [tell(each) for each in other]


def test_the_timeline_is_by_cause() -> None:
    story = established()
    # The reader waits; the writer returns late.
    waiting = story.now
    written = story.client.write(16, took=50_000)
    read = story.server.read()._replace(start=waiting, end=written.start + 1)
    endpoints = Endpoints()
    list(endpoints.feed([*story.events[:2], read, written]))
    assert [moment.event for moment in tell(only_open(endpoints)).timeline][2:] == [written, read]


def test_a_hostile_capture_changes_nothing_but_its_own_connections() -> None:
    good = stories.clean(client_sock=0x1000, server_sock=0x2000)
    same = stories.event(Operation.WRITE, sock=5, peer=5, result=1)
    released = stories.event(Operation.RELEASE, sock=5, peer=5)
    nobody = stories.event(Operation.READ, result=1)
    unknown = nobody._replace(operation=99)
    endpoints = Endpoints()
    hostile = [same, nobody, unknown, released, released, stories.event(Operation.RELEASE), same]
    connections = concluded(endpoints, [*good.events[:4], *hostile, *good.events[4:]])
    assert [connection.client.sock for connection in connections if connection.client.sock == 0x1000] == [0x1000]


def test_however_busy_connections_are_what_is_kept_of_all_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 1000)
    endpoints = Endpoints()
    for number in range(50):
        base = 0xFFFF_8801_0000_0000 + number * 0x1000
        story = established(client_sock=base, server_sock=base + 0x800)
        for _ in range(100):
            story.client.write(1)
            story.server.read(1)
        list(endpoints.feed(story.events))
        kept = sum(len(end.kept) for one in endpoints._connections.values() for end in (one.client, one.server))
        # One batch may go over it.
        assert endpoints._kept == kept <= 1000 + len(story.events)
    assert endpoints.evicted > 0
    assert endpoints.open + endpoints.evicted == 50


# ---- client and server, where their connect and accept were lost


@pytest.mark.parametrize("first", ["client", "server"])
@pytest.mark.parametrize("operation", ["write", "read", "release"])
def test_the_end_that_has_an_address_is_the_servers(first: str, operation: str) -> None:
    story = older()
    flags = int(EventFlag.BOUND if first == "server" else EventFlag.PEER_BOUND)
    story.server.write(1)
    story.client.write(1)
    story.events.clear()
    end = getattr(story, first)
    fields = {"size": 1} if operation == "write" else {}
    getattr(end, operation)(flags=flags, **fields)
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    connection = only_open(endpoints)
    assert (connection.client.sock, connection.server.sock) == (story.client.sock, story.server.sock)
    assert (connection.client.role, connection.server.role) == ("client", "server")


def test_a_client_that_has_bound_itself_too_tells_nothing() -> None:
    story = older()
    both = int(EventFlag.BOUND | EventFlag.PEER_BOUND)
    story.client.write(1, flags=both)
    story.server.read(flags=both)
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    assert only_open(endpoints).client.sock == story.client.sock


def test_a_recorded_connect_says_more_than_an_address_does() -> None:
    story = established()
    story.client.write(1, flags=int(EventFlag.BOUND))
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    assert only_open(endpoints).client.sock == story.client.sock


# ---- what a corrupt record or a signal may not do


def test_a_release_that_says_it_failed_ends_its_connection_all_the_same() -> None:
    story = established()
    story.server.release(result=-errno.ECONNRESET)
    story.client.release(result=-errno.ECONNRESET)
    endpoints = Endpoints()
    assert len(concluded(endpoints, story.events)) == 1
    assert failures(endpoints, []) == []
    assert endpoints.open == 0


@pytest.mark.parametrize("number", [512, 513, 514, 516])
def test_a_connect_that_a_signal_interrupts_has_not_failed(number: int) -> None:
    # ERESTARTSYS and its like: the system call begins again by itself.
    story = Story()
    story.connect(error=number)
    story.connect()
    endpoints = Endpoints()
    assert list(endpoints.feed(story.events)) == []
    assert only_open(endpoints).complete


# ---- what became of the one who was hurt


def broken() -> Story:
    """Return a connection whose client has just met EPIPE."""
    story = established()
    story.client.write(16)
    story.server.read()
    story.server.write(100)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    return story


def noise(at: int) -> Event:
    """Return something that somebody else does."""
    other = Story(client_sock=0x1000, server_sock=0x2000, start=at, client=CHILD)
    return other.connect()


def settled(endpoints: Endpoints, *events: Event | bytes) -> list[Aftermath]:
    return [one.aftermath for one in endpoints.feed(events) if isinstance(one, Suffered)]


def test_what_an_end_does_after_its_failure_is_waited_for_a_tenth_of_a_second_by_the_events_times() -> None:
    story = broken()
    endpoints = Endpoints()
    assert settled(endpoints, *story.events) == []
    end = story.events[-1].end
    assert settled(endpoints, noise(end + aftermaths.WAIT - 50_000)) == []
    (aftermath,) = settled(endpoints, noise(end + aftermaths.WAIT))
    assert aftermath.operations == []
    assert list(endpoints.settle(None)) == []


def test_what_an_end_does_after_its_failure_is_waited_for_a_tenth_of_a_second_by_the_clock() -> None:
    story = broken()
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    end = story.events[-1].end
    assert list(endpoints.settle(end + aftermaths.WAIT - 1)) == []
    assert len(list(endpoints.settle(end + aftermaths.WAIT))) == 1
    assert list(endpoints.settle(None)) == []


def test_of_what_is_told_of_the_host_meanwhile_so_much_waits_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 2)
    told: list[bytes] = []
    endpoints = Endpoints(on_other=told.append)
    story = broken()
    facts = [pack_fact(ProcessFact(story.now + number, 1, "init")) for number in range(4)]
    list(endpoints.feed([*story.events, *facts[:2]]))
    assert told == []
    list(endpoints.feed(facts[2:]))
    assert told == facts[:3]
    assert len(list(endpoints.settle(None))) == 1
    assert told == facts


def test_what_ends_later_than_that_is_not_waited_for() -> None:
    # What a live host settles by its clock, a capture settles by the times of its events.
    story = broken()
    late = story.client.read(took=2 * aftermaths.WAIT)
    (aftermath,) = settled(Endpoints(), *story.events)
    assert late.start - aftermath.failed.end < aftermaths.WAIT
    assert aftermath.operations == []


def test_what_the_end_reads_and_that_it_closes_is_kept_until_its_thread_does_something_else() -> None:
    story = broken()
    rest = [story.client.read(), story.client.release()]
    endpoints = Endpoints()
    assert settled(endpoints, *story.events) == []
    after = Story(client_sock=0x1000, server_sock=0x2000, start=story.now)
    (aftermath,) = settled(endpoints, after.connect())
    assert aftermath.operations == rest
    assert aftermath.reconnect is after.events[0]


@pytest.mark.parametrize("by", [HTTPD, CHILD])
def test_a_write_like_the_one_before_it_settles_what_its_thread_had_failed_at_and_nobody_else_s(by: Task) -> None:
    other = established(client_sock=0x1000, server_sock=0x2000, client=by)
    endpoints = Endpoints()
    assert settled(endpoints, *map(pack, [*other.events, other.client.write(1)])) == []
    story = Story(start=other.now)
    for step in (story.connect, story.accept, story.server.release):
        step()
    story.client.write(8, error=errno.EPIPE)
    story.client.release()
    assert settled(endpoints, *map(pack, story.events)) == []
    other.now = story.now
    found = settled(endpoints, pack(other.client.write(1)))
    assert [aftermath.reconnect for aftermath in found] == ([None] if by is HTTPD else [])
    other.wait(aftermaths.WAIT)
    assert len(found + settled(endpoints, pack(other.client.write(1)))) == 1


@pytest.mark.parametrize(
    ("path", "error", "by", "again"),
    [
        ("/run/app.s", 0, HTTPD, True),
        ("/run/log.s", 0, HTTPD, False),
        ("/run/app.s", errno.ECONNREFUSED, HTTPD, False),
        ("/run/app.s", 0, CHILD, False),
    ],
)
def test_only_the_same_thread_that_reaches_the_same_path_has_connected_again(
    path: str, error: int, by: Task, again: bool
) -> None:
    story = broken()
    story.client.release()
    after = Story(path=path, client_sock=0x1000, server_sock=0x2000, start=story.now)
    after.connect(error=error, by=by)
    (aftermath,) = failures(Endpoints(), [*story.events, *after.events])
    assert (aftermath.reconnect is not None) == again


def test_a_process_that_exits_after_its_failure_is_not_waited_for() -> None:
    story = broken()
    story.client.release(killed_by=13)
    (aftermath,) = settled(Endpoints(), *story.events)
    assert aftermath.operations == [story.events[-1]]


def test_of_two_failures_of_a_connection_the_earlier_one_is_told_first() -> None:
    story = established()
    story.client.shutdown(SHUT_RDWR)
    first = story.client.write(8, error=errno.EPIPE)
    second = story.server.write(8, error=errno.EPIPE)
    story.server.release(exit_status=1)
    endpoints = Endpoints()
    # The second one's aftermath is over sooner.
    assert settled(endpoints, *story.events) == []
    assert [one.failed for one in failures(endpoints, [story.client.release()])] == [first, second]


# ---- whose turn it is


def test_turns_change_when_an_end_that_has_read_writes() -> None:
    story = established()
    client, server = story.client, story.server
    for _ in range(3):
        client.write(10)
        client.write(20)
        server.read()
        server.write(5)
        server.write(6)
        client.read()
    endpoints = Endpoints()
    list(endpoints.feed(story.events))
    connection = only_open(endpoints)
    assert (connection.client.turns, connection.client.turn_bytes) == (3, 30)
    assert (connection.server.turns, connection.server.turn_bytes) == (3, 11)
    assert connection.requester is connection.client


@pytest.mark.parametrize("late", [False, True])
def test_an_answer_in_several_writes_is_one_turn_though_the_request_is_recorded_after_it(late: bool) -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    story.server.write(5)
    story.client.read()
    request = story.client.write(10)
    answer = [story.server.read(), story.server.write(6), story.server.write(7), story.server.write(8)]
    before = story.events[:-5]
    endpoints = Endpoints()
    list(endpoints.feed([*before, *answer, request] if late else [*before, request, *answer]))
    exchange = exchange_of(only_open(endpoints).client)
    assert exchange.answered
    assert (exchange.peer.turns, exchange.peer.bytes, exchange.peer.start) == (2, 21, answer[1].start)
    assert (exchange.victim.turns, exchange.victim.bytes, exchange.request_read) == (2, 10, 10)


def test_a_request_that_is_read_and_recorded_after_a_message_is_not_answered_by_it() -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    story.server.write(5)
    story.client.read()
    request = story.client.write(10)
    rest = [story.server.write(6), story.server.read()]
    endpoints = Endpoints()
    list(endpoints.feed([*story.events[:-3], *rest, request]))
    assert exchange_of(only_open(endpoints).client).asked


@pytest.mark.parametrize("late", [False, True])
def test_a_message_sent_before_the_request_was_read_does_not_answer_it(late: bool) -> None:
    story = established()
    story.client.write(10)
    story.server.read()
    story.server.write(5)
    story.client.read()
    request = story.client.write(10)
    notice = story.server.write(6)
    *before, _, _ = story.events
    endpoints = Endpoints()
    list(endpoints.feed([*before, notice, request] if late else [*before, request, notice]))
    assert exchange_of(only_open(endpoints).client).asked
