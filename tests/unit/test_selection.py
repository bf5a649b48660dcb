"""Connections are selected by what is printed of them."""

from __future__ import annotations

import glob

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.escape import COMM_LENGTH, escape_comm, escape_socket_path
from hangup.tracer.selection import GONE_CGROUP, Participant, Selection, cgroup_paths


@given(st.binary(min_size=1, max_size=108))
def test_a_printed_path_finds_itself(raw: bytes) -> None:
    path = escape_socket_path(raw)
    assert path is not None
    assert Selection(paths=(glob.escape(path),)).matches_path(path)


@given(st.binary(max_size=108))
def test_a_path_without_wildcards_finds_nothing_else(raw: bytes) -> None:
    path = escape_socket_path(raw)
    assert Selection(paths=("/run/app.sock",)).matches_path(path) == (path == "/run/app.sock")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/run/*.sock", "/run/php/fpm.sock", True),
        ("/run/app.soc?", "/run/app.sock", True),
        ("/run/APP.sock", "/run/app.sock", False),
        ("@*", "@/tmp/.X11-unix/X0", True),
        ("@*", "/run/app.sock", False),
        ("*", None, False),
    ],
)
def test_paths_are_globs(pattern: str, path: str | None, matches: bool) -> None:
    assert Selection(paths=(pattern,)).matches_path(path) == matches


def test_a_name_longer_than_the_kernel_keeps_finds_the_cut_one() -> None:
    selection = Selection(comms=("systemd-journald",))
    assert selection.matches_comm("systemd-journal")
    assert not selection.matches_comm("systemd-logind")
    assert not selection.matches_comm(None)


def test_a_name_is_longer_than_the_kernel_keeps_by_its_bytes_and_not_by_its_letters() -> None:
    whole = "日本語サーバー"
    comm = escape_comm(whole.encode()[:COMM_LENGTH])
    assert Selection(comms=(whole,)).matches_comm(comm)
    assert not Selection(ignored_comms=(whole,)).matches(None, [Participant(1, comm)])
    assert not Selection(comms=("日本語サ",)).matches_comm(comm)
    # This is as long as it is shown only: of it nothing is cut.
    assert not Selection(comms=(r"[a]\x1b\x1b\x1b\x1b",)).matches_comm(r"[a]\x1b\x1b\x1b\x1b")


def test_no_condition_selects_everything() -> None:
    assert Selection().selects_all
    assert Selection().matches(None, [])


def test_either_end_may_meet_a_condition_and_every_kind_of_condition_must_be_met() -> None:
    ends = [Participant(1, "nginx"), Participant(2, "uwsgi")]
    assert Selection(pids=frozenset({2}), comms=("nginx",), paths=("/run/*",)).matches("/run/s", ends)
    assert Selection(comms=("httpd", "uw*")).matches(None, ends)
    assert not Selection(pids=frozenset({3}), comms=("nginx",)).matches("/run/s", ends)
    assert not Selection(pids=frozenset({2}), paths=("/tmp/*",)).matches("/run/s", ends)


def test_users_and_cgroups_of_either_end_are_conditions_as_well() -> None:
    ends = [Participant(1, "nginx", 33, "/system.slice/nginx.service"), Participant(2, "uwsgi", 998, "/app.slice")]
    assert Selection(uids=frozenset({998}), cgroups=("nginx.service",), comms=("nginx",)).matches(None, ends)
    assert not Selection(uids=frozenset({0})).matches(None, ends)
    assert not Selection(uids=frozenset({33}), cgroups=("/user.slice",)).matches(None, ends)
    assert not Selection(uids=frozenset({33})).matches(None, [Participant(1, "nginx")])
    assert not Selection(cgroups=("/",)).matches(None, [Participant(1, "nginx", 33)])


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("/system.slice/app.service", ("/system.slice/app.service",)),
        ("system.slice/app.service/", ("/system.slice/app.service",)),
        ("/sys/fs/cgroup/system.slice/app.service", ("/system.slice/app.service",)),
        ("/sys/fs/cgroup/app.slice/", ("/app.slice",)),
        ("/sys/fs/cgroup", ("/",)),
        ("/sys/fs/cgroups", ("/sys/fs/cgroups",)),
        ("/", ("/",)),
        ("/a//b/../c", ("/a/c",)),
        ("/../../etc", ("/etc",)),
        ("app.service", ("/app.service", "/system.slice/app.service")),
        ("system.slice", ("/system.slice", "/system.slice/system.slice")),
        ("/app.service", ("/app.service",)),
    ],
)
def test_a_cgroup_is_named_as_its_folder_below_the_root_or_as_its_unit(name: str, paths: tuple[str, ...]) -> None:
    assert cgroup_paths(name) == paths


@pytest.mark.parametrize(
    ("name", "path", "matches"),
    [
        ("/system.slice", "/system.slice", True),
        ("/system.slice", "/system.slice/app.service", True),
        ("/system.slice", "/system.slices/app.service", False),
        ("/system.slice/app.service", "/system.slice", False),
        ("/", "/anything", True),
        ("/", "/", True),
        ("/", None, False),
        ("app.service", "/system.slice/app.service/worker", True),
        ("app.service", "/user.slice/app.service", False),
        # As its folder is called; printed each backslash is two.
        ("/a.slice/b\\x2dc", "/a.slice/b\\\\x2dc", True),
        ("/a.slice", GONE_CGROUP, True),
    ],
)
def test_a_cgroup_means_those_below_it_as_well(name: str, path: str | None, matches: bool) -> None:
    assert Selection(cgroups=(name,)).matches_cgroup(path) == matches


def test_what_is_ignored_is_not_selected_whatever_else_holds() -> None:
    ends = [Participant(1, "systemctl"), Participant(2, "systemd")]
    assert not Selection(ignored_comms=("systemd",)).matches(None, ends)
    assert not Selection(comms=("systemctl",), ignored_comms=("system?",)).matches("/run/s", ends)
    assert not Selection(pids=frozenset({1}), ignored_paths=("/run/*",)).matches("/run/s", ends)
    assert Selection(ignored_comms=("nginx",), ignored_paths=("/tmp/*",)).matches("/run/s", ends)
    assert Selection(ignored_paths=("*",)).matches(None, ends)
    assert Selection(ignored_comms=("systemd-journald",)).matches(
        None, [Participant(1, None), Participant(2, "systemd")]
    )
    assert not Selection(ignored_comms=("systemd-journald",)).matches(None, [Participant(1, "systemd-journal")])
