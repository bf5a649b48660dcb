"""What passes a filter: of operations and of connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.filter import compile as module
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import over_connections, over_operations
from hangup.tracer.filter.connected import Connected, counted, ended_well, judged
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import BY_NAME, FIELDS
from hangup.tracer.filter.filter import filter_of, understood
from hangup.tracer.filter.parser import MAX_LENGTH
from hangup.tracer.filter.tree import EXISTS, LISTS, SIGNS, WORDS, Comparison
from hangup.tracer.record.layout import pack
from hangup.tracer.story.endpoints import Operated as OperatedRecord
from hangup.tracer.story.operation import operation_name
from hangup.tracer.story.places import Placed
from hangup.tracer.story.process import Process
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Alert, Tracer
from hangup.tracer.verdicts import Kind
from tests.stories import Story, Task, established, latent, seeds_failure
from tests.unit.playback import Playback


def operations() -> list[Traced]:
    """Return those of the classic failure."""
    found: list[Traced] = []
    with Tracer(source=Playback(seeds_failure().events), on_operation=found.append) as tracer:
        for _ in tracer.alerts():
            pass
    return found


ALL = operations()


def passing(text: str) -> list[str]:
    """Return of the classic failure's operations what passes: by whom, which, and with what result."""
    passes = over_operations(understood(text, Subject.OPERATIONS), lambda *_: None)
    return [
        f"{traced.role} {operation_name(traced.event)} {traced.event.result}"
        for traced in ALL
        if passes(pack(traced.event), traced.place)
    ]


EVERYTHING = passing("fd.type=unix")


def test_all_operations_are_of_unix_sockets() -> None:
    assert len(EVERYTHING) == len(ALL)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("evt.res=EPIPE", ["client write -32"]),
        ("evt.rawres=-32", ["client write -32"]),
        ("evt.failed=true", ["client write -32"]),
        ("evt.rawres<0", ["client write -32"]),
        ("evt.type=connect or evt.type=accept4", ["client connect 0", "server accept 0"]),
        ("proc.pid=815 and evt.is_io_read=true", ["server read 16", "server read 699", "server read 8"]),
        ("proc.name=uwsgi and evt.is_io_read=true", ["server read 16", "server read 699", "server read 8"]),
        ("evt.buflen in (699)", ["client write 699", "server read 699"]),
        ("evt.buflen > 500", ["client write 699", "server read 699"]),
        ("conn.server.comm=uwsgi and evt.res=EPIPE", ["client write -32"]),
        ("conn.client.comm=uwsgi", []),
        ("not evt.buflen exists and not evt.operation in (connect, accept, release)", ["client write -32"]),
        ("fd.sock=ffff880108bcba80 and evt.rawres=-32", ["client write -32"]),
        ("fd.sock!=ffff880108bcba80", []),
        ("fd.name contains 'ffff880108bcc440->ffff880108bcba80 /tmp/hello' and evt.failed=true", ["client write -32"]),
        ("fd.name icontains HELLOfastcgi and evt.type=connect", ["client connect 0"]),
        ("conn.path pmatch (/run, /tmp) and evt.failed=true", ["client write -32"]),
        ("conn.path pmatch (/tm)", []),
        ("conn.path pmatch (/*/hello*) and evt.type=connect", ["client connect 0"]),
        ("conn.path startswith /tmp and conn.path endswith .s and evt.type=connect", ["client connect 0"]),
        ("conn.path glob /*.s and evt.type=connect", ["client connect 0"]),
        ("conn.path glob hello*", []),
        ("proc.name>i and proc.name<z and evt.is_io_write=true and evt.buflen=24", ["server write 24"]),
        ("container.name exists", []),
        ("container.name!=x", []),
        ("not container.name=x and evt.res=EPIPE", ["client write -32"]),
        ("not container.name!=x and evt.res=EPIPE", ["client write -32"]),
        ("conn.pid=815 and conn.pid=4711 and evt.res=EPIPE", ["client write -32"]),
        ("conn.pid!=815", []),
        ("conn.comm in (uwsgi) and evt.res=EPIPE", ["client write -32"]),
    ],
)
def test_operations_pass_as_they_do_in_sysdig(text: str, passed: Sequence[str]) -> None:
    assert passing(text) == list(passed)


def test_what_is_remembered_of_texts_is_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_DECIDED", 1)
    assert passing("evt.res=EPIPE or evt.type=connect") == ["client connect 0", "client write -32"]


@pytest.mark.parametrize("whole", ["verylongworkername", "日本語サーバー"])
@pytest.mark.parametrize("field", [field.name for field in FIELDS if field.is_comm])
def test_a_name_that_the_kernel_has_cut_is_found_by_the_whole_one(field: str, whole: str) -> None:
    name = whole.encode()[:15].decode()
    story = established(client=Task(name, 7), server=Task(name, 8))
    operated: list[OperatedRecord] = []
    with Tracer(source=Playback(story.events), on_operations=operated.extend) as tracer:
        list(tracer.alerts())
    for text in (
        f"{field}={whole}",
        f"{field} in (x, {whole})",
        f"{field} glob {whole}",
    ):
        passes = over_operations(understood(text, Subject.OPERATIONS), lambda *_: None)
        assert any(passes(record, place) for record, _, place in operated), text


def test_what_the_kernel_has_cut_are_the_names_of_processes_and_threads() -> None:
    assert {field.name for field in FIELDS if field.is_comm} == {
        field.name for field in FIELDS if {"comm", "leader"} & set(field.recorded) and not field.asks
    }


@pytest.mark.parametrize("text", ["evt.failed=true", "proc.name=uwsgi and evt.buflen>10", "conn.client.comm=httpd"])
def test_lines_objects_and_single_operations_are_filtered_alike(text: str) -> None:
    only = filter_of([understood(text, Subject.OPERATIONS)], Subject.OPERATIONS).rest
    placed: list[Placed] = []
    operated: list[OperatedRecord] = []
    traced: list[Traced] = []
    for how in (
        {"on_places": placed.extend},
        {"on_operations": operated.extend},
        {"on_operation": traced.append},
    ):
        events = [*seeds_failure().events, *established(start=3_000_000_000, path="/run/b.s").events]
        with Tracer(source=Playback(events), only=only, **how) as tracer:
            for _ in tracer.alerts():
                pass
    assert [glance[1] for glance, _, _ in placed] == [brief[2] for _, brief, _ in operated]
    assert [each.event.end for each in traced] == [brief[2] for _, brief, _ in operated]
    assert operated


def alerts(text: str, *stories: Story, **options: object) -> tuple[list[Alert], dict[str, int]]:
    """Return the alerts that pass, and how many connections were counted under each verdict."""
    wanted = filter_of([understood(text, Subject.CONNECTIONS)], Subject.CONNECTIONS)
    source = Playback(event for story in stories for event in story.events)
    with Tracer(source=source, selection=wanted.selection, only=wanted.rest, **options) as tracer:  # type: ignore[arg-type]
        found = list(tracer.alerts())
    counts: dict[str, int] = {}
    for key, row in tracer.statistics.rows.items():
        counts[key.kind.label] = counts.get(key.kind.label, 0) + row.connections
    return found, counts


def several() -> list[Story]:
    """Return the classic failure, one that ends well, and a latent hang-up."""
    well = established(start=5_000_000_000, client=Task("curl", 77), path="/run/well.s")
    well.client.write(4)
    well.server.read(4)
    well.server.write(4)
    well.client.read(4)
    well.client.release()
    well.server.release()
    return [seeds_failure(), well, latent(start=9_000_000_000)]


@pytest.mark.parametrize(
    ("text", "kinds", "counts"),
    [
        ("fd.type=unix", ["answered"], {"answered": 1, "clean": 1, "latent": 1}),
        ("verdict=answered", ["answered"], {"answered": 1}),
        ("verdict in (clean, latent)", [], {"clean": 1, "latent": 1}),
        ("conn.client.comm=curl", [], {"clean": 1}),
        ("evt.res=EPIPE and verdict.gap<1ms", ["answered"], {"answered": 1}),
        ("verdict.gap>1s", [], {}),
        ("verdict.symptom='broken write'", ["answered"], {"answered": 1}),
        ("proc.pid=815 and verdict!=latent and conn.path glob /tmp/*", ["answered"], {"answered": 1}),
        ("proc.pid=77", [], {"clean": 1}),
        ("conn.client.pid=815", [], {}),
        ("conn.number exists and not verdict=answered", [], {"clean": 1, "latent": 1}),
        ("fd.sock=ffff880108bcba80 and evt.failed=true", ["answered"], {"answered": 1}),
    ],
)
def test_connections_pass_by_who_was_at_either_end_what_failed_and_what_is_concluded(
    text: str, kinds: list[str], counts: dict[str, int]
) -> None:
    found, of_verdicts = alerts(text, *several())
    assert [alert.verdict.kind.label for alert in found] == kinds
    assert of_verdicts == counts


def connections() -> list[Connected]:
    """Return what filters are asked about: failures, a failed connect, what ended well, and what was only counted."""
    refused = Story(path="/run/gone.s")
    refused.connect(error=111)
    found: list[Connected] = [counted("/a", "a", "b", "clean"), Connected(None, (), ())]
    source = Playback([*seeds_failure().events, *refused.events, *latent(start=9_000_000_000).events])
    with Tracer(source=source, latent=True) as tracer:
        for alert in tracer.alerts():
            found.append(judged(alert, lambda process: process))
            if alert.story is not None:
                found.append(ended_well(alert.story, lambda process: process))
    return found


CONNECTED = connections()


def test_a_connect_that_failed_has_a_client_a_path_and_an_error() -> None:
    refused = Story(path="/run/gone.s", client=Task("nginx", 206))
    refused.connect(error=111)
    for text, count in (("evt.res=ECONNREFUSED and conn.client.comm=nginx", 1), ("conn.server.comm exists", 0)):
        found, _ = alerts(text, refused)
        assert [alert.verdict.kind for alert in found] == [Kind.REFUSED] * count


def test_a_connect_that_failed_has_nothing_that_only_a_connection_has() -> None:
    refused = Story(path="/run/gone.s", client=Task("nginx", 206))
    refused.connect(error=111)
    for name in ("conn.number", "conn.unread", "verdict.gap", "fd.ino"):
        assert alerts(f"{name} exists", refused)[0] == [], name


def test_of_several_values_one_is_enough_but_all_have_to_be_others() -> None:
    connected = Connected("/a", (Process(1, "a"),), (Process(2, "b"),), consequences=("closed", "harmless"))
    for text, passes in (
        ("proc.pid=1", True),
        ("proc.pid!=1", False),
        ("proc.pid!=3", True),
        ("verdict.consequence=harmless", True),
        ("verdict.consequence!=harmless", False),
        ("user.uid!=3", False),
        ("user.uid exists", False),
        ("not user.uid exists", True),
    ):
        assert over_connections(understood(text, Subject.CONNECTIONS))(connected) == passes, text


def longest(part: str, between: str) -> str:
    """Return as many of these as a filter can have, with `not` and brackets around them."""
    return between.join([part] * ((MAX_LENGTH - len("not ()") + len(between)) // (len(part) + len(between))))


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        (longest("fd.num!=-1", " and "), [each for each in EVERYTHING if each in passing("fd.num exists")]),
        (longest("evt.rawres<0", " or "), ["client write -32"]),
        (longest("not evt.rawres>=0", " and "), ["client write -32"]),
        (f"not ({longest('evt.rawres>=0', ' or ')})", ["client write -32"]),
        ("evt.rawres<0 and (evt.rawres>0 or (" * 24 + "evt.rawres<0" + "))" * 24, ["client write -32"]),
    ],
    ids=["and", "or", "not", "not-or", "deep"],
)
def test_the_longest_filter_is_decided(text: str, passed: list[str]) -> None:
    assert passing(text) == passed


def test_the_longest_filter_is_decided_of_connections() -> None:
    for text in (longest("user.uid!=77", " and "), longest("user.uid<77", " or ")):
        decides = over_connections(understood(text, Subject.CONNECTIONS))
        assert [decides(connected) for connected in CONNECTED] == [
            over_connections(understood(text[:12], Subject.CONNECTIONS))(connected) for connected in CONNECTED
        ]


_NUMBERS = ("1", "-32", "0x10", "1ms", "4kB", "1.5", "99999999999999999999", "ffff880108bcc440")
_NAMES = ("true", "EPIPE", "SUCCESS", "httpd", "answered", "harmless", "none", "read", "unix")
_VALUES = st.sampled_from((*_NUMBERS, *_NAMES, "/tmp/*", "[", "*a*a*a*a*b", "", "\\", "é"))
_COMPARISONS = st.builds(
    Comparison,
    st.sampled_from(sorted(BY_NAME)),
    st.sampled_from([*SIGNS, *WORDS, *LISTS, EXISTS]),
    st.lists(_VALUES, min_size=1, max_size=2).map(tuple),
)


def written(comparison: Comparison) -> Comparison:
    """Return it with as many values as it can have."""
    values = comparison.values if comparison.operator in LISTS else comparison.values[: comparison.operator != EXISTS]
    return replace(comparison, values=values)


@given(_COMPARISONS.map(written), st.sampled_from(Subject))
def test_whatever_is_asked_of_whatever_field_is_answered_or_is_an_error_that_points_at_it(
    comparison: Comparison, subject: Subject
) -> None:
    text = f"not ({comparison})"
    try:
        tree = understood(text, subject)
    except FilterError as error:
        wrong = error
    else:
        filter_of([tree], subject)
        if subject is Subject.OPERATIONS:
            passing(text)
        else:
            decides = over_connections(tree)
            for connected in CONNECTED:
                decides(connected)
        return
    assert wrong.text == text
    assert 5 < wrong.column <= len(text)
    assert len(str(wrong).splitlines()) == 1
