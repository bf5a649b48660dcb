"""What filters can ask for: of an operation's record, and of a whole connection."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from hangup.tracer.field import FilterField
from hangup.tracer.fields import TRACED, Placed
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import getter_of
from hangup.tracer.filter.fields import BY_NAME, FIELDS
from hangup.tracer.filter.tree import OPERATORS
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Event, Operation, pack, reader_of, with_payload
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Tracer
from tests.stories import seeds_failure
from tests.unit.playback import Playback
from tests.unit.test_fields import altered, operations

# What is the same thing in JSON: tracer/fields.py.
IN_JSON = {
    "proc.name": "comm",
    "thread.name": "thread",
    "fd.num": "descriptor",
    "fd.ino": "inode_number",
    "evt.type": "syscall",
    "evt.operation": "operation",
    "evt.rawres": "result",
    "conn.number": "connection",
    "conn.path": "path",
    "container.name": "container",
}
OF_OPERATIONS = [field for field in FIELDS if field.of_operation is not None]


def test_no_two_fields_have_the_same_name() -> None:
    assert len(BY_NAME) == len(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_is_known_of_something_unless_it_says_why_no_filter_can_ask_for_it(field: FilterField) -> None:
    assert any(subject.has(field) for subject in Subject) == (field.refused is None)
    assert field.meaning.strip() == field.meaning
    assert not field.meaning.endswith(".")
    assert not field.unit or field.type == "number"
    assert field.name not in OPERATORS


@pytest.mark.parametrize("field", OF_OPERATIONS, ids=lambda field: field.name)
def test_what_a_field_is_made_of_is_read_from_the_record_alone(field: FilterField) -> None:
    for traced in operations()[:20]:
        carries = traced.event.operation in (Operation.READ, Operation.WRITE)
        record = with_payload(pack(traced.event), b"GET /") if carries else pack(traced.event)
        known = {"payload": b"GET /" if carries else b""}
        expected = [known[name] if name in known else getattr(traced.event, name) for name in field.recorded]
        assert reader_of(*field.recorded)(record) == tuple(expected)


def test_fields_of_a_record_that_are_named_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="tid stands before"):
        reader_of("flags", "uid", "owner_pid", "tid")
    event: Event = operations()[0].event
    assert reader_of("flags", "connection", "uid", "leader")(pack(event)) == (
        event.flags,
        event.connection,
        event.uid,
        event.leader,
    )


CGROUPS = {1: None, 5: Cgroup("/a/b.service", unit="b.service", container="box")}


def find(cgroup_id: int, _pid: int, _comm: str) -> Cgroup | None:
    return CGROUPS.get(cgroup_id)


def value(name: str, traced: Traced) -> Any:
    return getter_of(BY_NAME[name], find)(pack(traced.event), traced.place)


@pytest.mark.parametrize(("name", "json_name"), IN_JSON.items())
def test_a_field_says_of_an_operation_what_json_says(name: str, json_name: str) -> None:
    random = Random(1)
    all_of_them = operations()
    get = {field.name: field for field in TRACED}[json_name].get
    for _ in range(200):
        traced = altered(random, random.choice(all_of_them), random.choice(all_of_them))
        traced = traced._replace(event=traced.event._replace(owner_pid=0, cgroup=random.choice([0, 1, 5])))
        assert value(name, traced) == get(Placed(traced, CGROUPS.get(traced.event.cgroup)))


def changed(traced: Traced, **fields: Any) -> Traced:
    return traced._replace(event=traced.event._replace(**fields))


def elsewhere(traced: Traced, **fields: Any) -> Traced:
    return traced._replace(place=traced.place._replace(**fields))


@pytest.fixture
def write() -> Traced:
    """Give httpd's broken write of the classic failure."""
    found: list[Traced] = []
    with Tracer(source=Playback(seeds_failure().events), on_operation=found.append) as tracer:
        for _ in tracer.alerts():
            pass
    return next(traced for traced in found if traced.event.result == -32)


def test_who_did_it_is_whoever_owned_the_descriptor_if_the_kernel_let_go_of_it(write: Traced) -> None:
    assert [value(name, write) for name in ("proc.pid", "thread.tid", "user.uid")] == [4711, 4713, 33]
    owned = changed(write, owner_pid=12)
    assert [value(name, owned) for name in ("proc.pid", "thread.tid", "user.uid", "thread.name")] == [12] + [None] * 3


def test_both_ends_are_told_apart_by_whose_the_operation_is(write: Traced) -> None:
    names = ("conn.client.comm", "conn.server.comm", "conn.client.pid", "conn.server.pid", "conn.client.uid")
    assert [value(name, write) for name in names] == ["httpd", "uwsgi", 4711, 815, 33]
    other = elsewhere(write, role="server")
    assert [value(name, other) for name in names] == ["uwsgi", "httpd", 815, 4711, None]
    unknown = elsewhere(other, peer_comm=None, peer_pid=None)
    assert [value(name, unknown) for name in names] == [None, "httpd", None, 4711, None]


def test_the_unit_is_that_of_the_end_that_is_asked_for(write: Traced) -> None:
    inside = changed(write, cgroup=5)
    assert value("conn.client.unit", inside) == "b.service"
    assert value("conn.server.unit", inside) is None
    assert value("conn.cgroup", inside) == ("/a/b.service",)
    assert value("container.name", inside) == "box"


@pytest.mark.parametrize("name", ["user.uid", "group.gid", "conn.uid", "conn.client.uid", "conn.server.uid"])
def test_ids_are_said_to_be_the_real_ones(name: str) -> None:
    assert BY_NAME[name].meaning.startswith(("real user id (getuid(2))", "real group id (getgid(2))"))


def test_what_came_of_it_is_named_as_sysdig_does(write: Traced) -> None:
    names: Iterable[str] = ("evt.res", "evt.rawres", "evt.failed", "evt.buflen", "evt.rawarg.size", "evt.is_io_write")
    assert [value(name, write) for name in names] == ["EPIPE", -32, True, None, 8, True]
    assert [value(name, changed(write, result=8)) for name in names] == ["SUCCESS", 8, False, 8, 8, True]
    assert value("evt.dur", changed(write, start=5, end=12)) == 7
    assert value("fd.name", write) == "ffff880108bcc440->ffff880108bcba80 /tmp/helloFastCGI.s"
    assert value("fd.name", elsewhere(write, path=None)) == "ffff880108bcc440->ffff880108bcba80"
    assert value("fd.sock", write) == (0xFFFF880108BCC440, 0xFFFF880108BCBA80)
    assert value("fd.sock", changed(write, peer=0)) == (0xFFFF880108BCC440,)
