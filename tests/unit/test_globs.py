"""What the kernel side finds of names is what is found in their printed spelling, or it leaves that to Python."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hangup.tracer.escape import cut_comm, escape_comm, escape_socket_path
from hangup.tracer.kernel.globs import WORDS, glob_of, table, tables_of
from hangup.tracer.selection import Participant, Selection
from tests.recorder import FOUND_IGNORED, FOUND_SELECTED, is_path_selected, match_comm, match_name

# Few letters, so that something matches.
_LETTERS = "ab/.-]!@"
_PATTERNS = st.lists(
    st.one_of(
        st.sampled_from([*_LETTERS, "*", "?", "[", "[ab]", "[!a]", "[a-b]", "[]a]", "[!]]", "[b-a]", "é", "\\"]),
        st.text(max_size=2),
    ),
    max_size=12,
).map("".join)
_PLAIN_NAMES = st.text(_LETTERS, max_size=15).map(str.encode)
_NAMES = st.one_of(
    _PLAIN_NAMES,
    st.binary(max_size=15),
    st.lists(st.sampled_from([b"a", b"b", b"\\", b"\x1b", b"\xff", "é".encode(), b"\0", b"@"]), max_size=7).map(
        b"".join
    ),
)
_SEVERAL = st.lists(_PATTERNS, max_size=3).map(tuple)


@given(_PATTERNS, _PLAIN_NAMES)
@example("[", b"[")
@example("[!", b"[!")
@example("a[]", b"a[]")
@example("**a**", b"ba")
@example("", b"")
def test_a_plain_name_matches_the_table_as_it_matches_the_glob(pattern: str, name: bytes) -> None:
    words = table([glob_of(pattern)], [])
    assert match_name(words, name) == fnmatchcase(name.decode(), pattern)


@given(_PATTERNS, st.binary(min_size=1, max_size=40))
def test_any_name_that_the_glob_matches_may_be_selected(pattern: str, name: bytes) -> None:
    path = escape_socket_path(name)
    assert path is not None
    if Selection(paths=(pattern,)).matches_path(path):
        assert is_path_selected(tables_of(Selection(paths=(pattern,))).paths, name, needs_path=True)


def fit(patterns: Iterable[str]) -> bool:
    """Whether there is room for all of them, also if the kernel cuts names; else more is selected."""
    return sum(len(pattern) + len(cut_comm(pattern)) + 4 for pattern in patterns) <= 60


@given(_SEVERAL, _SEVERAL, st.one_of(_NAMES, st.binary(max_size=108)))
def test_no_path_is_given_up_that_is_selected_and_a_plain_one_only_then_kept(
    paths: tuple[str, ...], ignored: tuple[str, ...], name: bytes
) -> None:
    selection = Selection(paths=paths, ignored_paths=ignored)
    path = escape_socket_path(name)
    found = not paths + ignored or is_path_selected(tables_of(selection).paths, name, needs_path=bool(paths))
    wanted = selection.matches(path, [])
    assert found >= wanted
    if fit(paths + ignored) and (path is None or re.fullmatch(rb"\0?[ -?A-\[\]-~]*", name)):
        assert found == wanted


@given(_SEVERAL, _SEVERAL, _NAMES)
@example(("systemd-journald",), (), b"systemd-journal")
@example((), ("systemd-journald",), b"systemd-journal")
@example(("日本語サーバー",), (), "日本語サー".encode())
@example((), ("日本語サーバー",), "日本語サー".encode())
@example(("service-naïve-one",), (), b"service-na\xc3\xafve-")
@example(("[abc]-and-some-more",), (), b"[abc]-and-some-")
@example(("a",), (), b"a\0rest")
@example((), ("aaaaaaaa[ab][ab]", "aaaaaaaaa[b-a]00", ""), b"")
def test_no_process_is_given_up_that_is_selected_and_a_plain_name_only_then_kept(
    comms: tuple[str, ...], ignored: tuple[str, ...], name: bytes
) -> None:
    selection = Selection(comms=comms, ignored_comms=ignored)
    comm = escape_comm(name)
    found = not comms + ignored or match_comm(tables_of(selection).comms, name) == FOUND_SELECTED
    wanted = selection.matches(None, [Participant(1, comm)])
    assert found >= wanted
    if fit(comms + ignored) and comm == name.split(b"\0", 1)[0].decode("latin-1"):
        assert found == wanted


@given(_PATTERNS, _NAMES.filter(lambda name: 0 not in name))
def test_a_name_that_is_ignored_in_the_kernel_is_ignored_in_its_printed_spelling_too(pattern: str, name: bytes) -> None:
    if match_comm(table([], [glob_of(pattern)]), name) & FOUND_IGNORED:
        assert fnmatchcase(escape_comm(name), pattern)


def test_a_glob_longer_than_a_word_selects_all_that_begins_so() -> None:
    long = "/run/" + "x" * 100
    words = tables_of(Selection(paths=(long,))).paths
    assert is_path_selected(words, long.encode(), needs_path=True)
    assert is_path_selected(words, b"/run/" + b"x" * 60, needs_path=True)
    assert not is_path_selected(words, b"/run/" + b"y" * 60, needs_path=True)


def test_a_glob_longer_than_a_word_ignores_nothing() -> None:
    long = "/run/" + "x" * 100
    words = tables_of(Selection(ignored_paths=(long, "/tmp/a"))).paths
    assert is_path_selected(words, long.encode(), needs_path=False)
    assert not is_path_selected(words, b"/tmp/a", needs_path=False)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_too_many_globs_select_more_and_ignore_what_there_is_room_for(count: int) -> None:
    names = [f"/run/some/where/{number:04}" for number in range(count)]
    words = tables_of(Selection(paths=tuple(names))).paths
    assert len(words) <= WORDS
    assert all(is_path_selected(words, name.encode(), needs_path=True) for name in names)
    # By as much of each beginning as there is room for, at last by none.
    assert is_path_selected(words, b"/run/some/where/9999", needs_path=True) == (count > 3)
    assert is_path_selected(words, b"/elsewhere", needs_path=True) == (count > 5)
    words = tables_of(Selection(ignored_paths=tuple(names))).paths
    assert len(words) <= WORDS
    ignored = [name for name in names if not is_path_selected(words, name.encode(), needs_path=False)]
    assert ignored == names[: len(ignored)]
    assert len(ignored) >= min(count, 2)
    assert is_path_selected(words, b"/elsewhere", needs_path=False)


def test_a_word_is_as_long_as_the_c_has_it() -> None:
    [word] = tables_of(Selection(comms=("a",))).comms
    assert len(word.pack()) == 8 * (4 + 256)


def test_what_is_not_asked_for_has_no_table() -> None:
    assert tables_of(Selection(pids=frozenset({1}))) == ((), ())
    assert tables_of(Selection(ignored_comms=("a",))).paths == ()
    assert tables_of(Selection(ignored_paths=("a",))).comms == ()
