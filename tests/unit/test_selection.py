"""Connections are selected by what is printed of them."""

from __future__ import annotations

import glob

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.selection import Participant, Selection


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


def test_no_condition_selects_everything() -> None:
    assert Selection().selects_all
    assert Selection().matches(None, [])


def test_either_end_may_meet_a_condition_and_every_kind_of_condition_must_be_met() -> None:
    ends = [Participant(1, "nginx"), Participant(2, "uwsgi")]
    assert Selection(pids=frozenset({2}), comms=("nginx",), paths=("/run/*",)).matches("/run/s", ends)
    assert Selection(comms=("httpd", "uw*")).matches(None, ends)
    assert not Selection(pids=frozenset({3}), comms=("nginx",)).matches("/run/s", ends)
    assert not Selection(pids=frozenset({2}), paths=("/tmp/*",)).matches("/run/s", ends)


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
