"""What of a filter is left to the kernel: nothing is lost by that, and what says it all is not asked again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import over_connections, over_operations
from hangup.tracer.filter.connected import Connected
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.filter import filter_of, shorthand, understood
from hangup.tracer.filter.tree import And, Comparison, Not, Or, Tree
from hangup.tracer.record.layout import pack
from hangup.tracer.selection import Participant, Selection
from hangup.tracer.story.connection import Place, Role
from hangup.tracer.story.process import Process
from tests.stories import established


def pushed(text: str, subject: Subject = Subject.OPERATIONS) -> tuple[Selection, str | None]:
    """Return what the kernel selects by, and what is left."""
    wanted = filter_of([understood(text, subject)], subject)
    return wanted.selection, None if wanted.rest is None else str(wanted.rest)


def selection(**kinds: Any) -> Selection:
    values: dict[str, Any] = {name: frozenset(of) if name in ("pids", "uids") else of for name, of in kinds.items()}
    return Selection(**values)


@pytest.mark.parametrize("value", ["1.5", "33.0"])
@pytest.mark.parametrize("name", ["user.uid", "conn.uid", "proc.pid"])
def test_what_is_no_whole_number_never_reaches_the_kernel(name: str, value: str) -> None:
    with pytest.raises(FilterError, match="a whole number was expected"):
        pushed(f"{name}={value}")


@pytest.mark.parametrize(
    ("text", "selected", "rest"),
    [
        ("conn.pid=7", {"pids": [7]}, None),
        ("conn.pid in (7, 8)", {"pids": [7, 8]}, None),
        ("conn.pid=7 or conn.pid=8", {"pids": [7, 8]}, None),
        ("proc.pid=22000 or proc.pid=20881", {"pids": [22000, 20881]}, "proc.pid=22000 or proc.pid=20881"),
        ("conn.uid=33 and conn.path=/run/a.s", {"uids": [33], "paths": ("/run/a.s",)}, None),
        ("conn.path contains a*", {"paths": ("*a[*]*",)}, None),
        ("conn.comm startswith uw", {"comms": ("uw*",)}, None),
        ("conn.path endswith .s", {"paths": ("*.s",)}, None),
        ("conn.comm glob uw*", {"comms": ("uw*",)}, None),
        ("conn.cgroup pmatch (a.service)", {"cgroups": ("a.service",)}, None),
        ("conn.cgroup=/a", {}, "conn.cgroup=/a"),
        ("not conn.comm=a and conn.pid=7", {"ignored_comms": ("a",), "pids": [7]}, None),
        ("not (conn.comm=a or conn.path glob /b*)", {"ignored_comms": ("a",), "ignored_paths": ("/b*",)}, None),
        ("not not conn.pid=7", {"pids": [7]}, None),
        ("not conn.pid=7", {}, "not conn.pid=7"),
        ("not proc.name=a", {}, "not proc.name=a"),
        ("conn.comm!=a", {}, "conn.comm!=a"),
        ("conn.pid=7 or evt.failed=true", {}, "conn.pid=7 or evt.failed=true"),
        ("conn.pid=7 or conn.comm=a", {}, "conn.pid=7 or conn.comm=a"),
        ("evt.failed=true and conn.pid=7", {"pids": [7]}, "evt.failed=true"),
        ("proc.pid=7 and conn.pid=8", {"pids": [8]}, "proc.pid=7"),
        ("conn.pid=7 and conn.pid=8", {"pids": [7]}, "conn.pid=8"),
        (
            "proc.pid=1 and evt.failed=true or proc.pid=2",
            {"pids": [1, 2]},
            "proc.pid=1 and evt.failed=true or proc.pid=2",
        ),
        ("fd.name contains helloFastCGI", {"paths": ("*helloFastCGI*",)}, "fd.name contains helloFastCGI"),
        ("fd.name contains 88bcc4", {}, "fd.name contains 88bcc4"),
        ("fd.name contains '80 /tmp'", {}, 'fd.name contains "80 /tmp"'),
        ("conn.pid in ()", {}, "conn.pid in ()"),
        ("conn.pid=-1", {}, "conn.pid=-1"),
        ("conn.pid=4194305", {}, "conn.pid=4194305"),
        ("conn.uid=0", {"uids": [0]}, None),
        ("conn.uid=4294967295", {}, "conn.uid=4294967295"),
        ("conn.pid>7", {}, "conn.pid>7"),
        ("conn.client.comm=httpd", {"comms": ("httpd",)}, "conn.client.comm=httpd"),
    ],
)
def test_what_the_kernel_can_decide_is_left_to_it(text: str, selected: dict[str, Any], rest: str | None) -> None:
    assert pushed(text) == (selection(**selected), rest)


def test_of_a_whole_connection_a_process_is_whoever_is_at_either_end() -> None:
    assert pushed("proc.pid=7 or proc.pid=8", Subject.CONNECTIONS) == (selection(pids=[7, 8]), None)


def test_the_options_are_filters_written_shorter() -> None:
    trees = shorthand(
        pids=[7, 8],
        uids=[0],
        cgroups=["a.service"],
        comms=["uw*", "httpd"],
        paths=["/run/*"],
        ignored_comms=["sshd"],
        ignored_paths=["/dev/*", "@*"],
    )
    wanted = filter_of(trees, Subject.CONNECTIONS)
    assert wanted.selection == Selection(
        frozenset({7, 8}), ("uw*", "httpd"), ("/run/*",), ("sshd",), ("/dev/*", "@*"), frozenset({0}), ("a.service",)
    )
    assert wanted.rest is None
    assert str(wanted.tree) == (
        "conn.pid in (7, 8) and conn.uid in (0) and conn.cgroup pmatch (a.service) and "
        "(conn.comm glob uw* or conn.comm glob httpd) and conn.path glob /run/* and not conn.comm glob sshd and "
        "not conn.path glob /dev/* and not conn.path glob @*"
    )
    assert filter_of([understood(str(wanted.tree), Subject.CONNECTIONS)], Subject.CONNECTIONS) == wanted


def test_no_filter_selects_all() -> None:
    wanted = filter_of([], Subject.OPERATIONS)
    assert wanted.selection.selects_all
    assert (wanted.tree, wanted.rest) == (None, None)


_COMPARISONS = st.one_of(
    st.builds(
        Comparison,
        st.sampled_from(["conn.pid", "conn.uid", "proc.pid", "conn.client.pid"]),
        st.sampled_from(["=", "!=", "<"]),
        st.sampled_from(["1", "2", "3"]).map(lambda value: (value,)),
    ),
    st.builds(
        Comparison,
        st.sampled_from(["conn.comm", "proc.name", "conn.path", "conn.server.comm", "fd.name"]),
        st.sampled_from(["=", "!=", "contains", "startswith", "endswith", "glob"]),
        st.sampled_from(["a", "b", "x", "*a", "[ab]"]).map(lambda value: (value,)),
    ),
)
_TREES: st.SearchStrategy[Tree] = st.recursive(
    _COMPARISONS,
    lambda parts: st.one_of(
        parts.map(Not),
        st.lists(parts, min_size=2, max_size=3).map(lambda found: And(tuple(found))),
        st.lists(parts, min_size=2, max_size=3).map(lambda found: Or(tuple(found))),
    ),
    max_leaves=8,
)
_PROCESSES = st.tuples(
    st.sampled_from([1, 2, 3]), st.sampled_from(["a", "b", "xa"]), st.sampled_from([1, 2, None])
).map(lambda of: Process(of[0], of[1], uid=of[2]))


def test_where_a_capture_is_read_nothing_is_selected_by_that_the_rest_decides() -> None:
    def of_read(text: str) -> Selection:
        return filter_of([understood(text, Subject.OPERATIONS)], Subject.OPERATIONS).selection_of_read

    assert of_read("proc.pid=22000 or proc.pid=20881") == Selection()
    assert of_read("proc.pid=7 and conn.path=/a and not conn.comm=b") == selection(paths=("/a",), ignored_comms=("b",))


_CONNECTIONS = st.tuples(
    st.sampled_from([None, "/a", "/b/x", "a"]),
    st.lists(_PROCESSES, max_size=2).map(tuple),
    st.lists(_PROCESSES, max_size=2).map(tuple),
).map(lambda of: Connected(*of))


@given(_TREES, _PROCESSES, _PROCESSES, st.sampled_from(["client", "server"]), st.sampled_from([None, "/a", "/b/x"]))
def test_so_it_is_with_operations_whoever_did_them(
    tree: Tree, one: Process, other: Process, role: Role, path: str | None
) -> None:
    event = (
        established()
        .client.write(4)
        ._replace(pid=one.pid, uid=one.uid or 0, leader=one.comm.encode().ljust(16, b"\0"), comm=b"b".ljust(16, b"\0"))
    )
    place = Place(role, 1, path, False, other.comm, other.pid)
    ends = [Participant(one.pid, name, event.uid) for name in (one.comm, "b")] + [Participant(other.pid, other.comm)]
    wanted = filter_of([tree], Subject.OPERATIONS)
    passes_rest = wanted.rest is None or over_operations(wanted.rest, lambda *_: None)(pack(event), place)
    for selected in (wanted.selection, wanted.selection_of_read):
        passes = selected.matches(path, ends) and passes_rest
        assert passes == over_operations(tree, lambda *_: None)(pack(event), place)


@given(_TREES, _CONNECTIONS)
def test_what_is_selected_and_passes_the_rest_is_what_passes_the_filter(tree: Tree, connected: Connected) -> None:
    wanted = filter_of([tree], Subject.CONNECTIONS)
    ends = [Participant(user.pid, user.comm, user.uid) for user in connected.users]
    passes_rest = wanted.rest is None or over_connections(wanted.rest)(connected)
    for selected in (wanted.selection, wanted.selection_of_read):
        assert (selected.matches(connected.path, ends) and passes_rest) == over_connections(tree)(connected)
