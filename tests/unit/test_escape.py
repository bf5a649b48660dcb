"""No byte of a traced process reaches a terminal unescaped, and no two names look the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.escape import cut_comm, escape, escape_comm, escape_socket_path


def unescape(text: str) -> bytes:
    """Read back what escape() wrote."""
    return re.sub(
        rb"\\(\\|x[0-9a-f]{2})",
        lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)]),
        text.encode(),
    )


# Variation selectors, joiners, fillers and blanks, which Python calls printable.
INVISIBLE = "\ufe0f\u034f\u3164\u2800\U000e0100\u115f\u1160\u17b4\uffa0\u180b\u180f\ufe00\U000e01ef\U0001d159"


def spelled(character: str) -> str:
    """Return a character as its bytes are spelled."""
    return "".join(rf"\x{byte:02x}" for byte in character.encode())


@given(st.text(max_size=40), st.sampled_from(INVISIBLE), st.text(max_size=40))
def test_nothing_is_put_into_a_name_unseen(before: str, invisible: str, after: str) -> None:
    plain = (before + after).encode("utf-8", "surrogatepass")
    raw = (before + invisible + after).encode("utf-8", "surrogatepass")
    assert set(escape(raw)).isdisjoint(INVISIBLE)
    assert escape(raw) != escape(plain)
    assert unescape(escape(raw)) == raw


def test_what_can_be_seen_stays_as_it_is() -> None:
    for text in ("größe", "日本語", "한국어", "עברית", "हिन्दी", "e\u0301", "⠿", "🙂"):
        assert escape(text.encode()) == text


@given(st.binary(max_size=120))
def test_any_bytes_become_printable_text(raw: bytes) -> None:
    assert escape(raw).isprintable()


@given(st.binary(max_size=120))
def test_escaping_loses_nothing(raw: bytes) -> None:
    assert unescape(escape(raw)) == raw


@given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))))
def test_a_name_is_cut_where_the_kernel_cuts_it(raw: bytes) -> None:
    assert cut_comm(escape(raw)) == escape(raw[:15])


@given(st.text(max_size=60))
def test_any_text_can_be_read_back(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    assert unescape(escape(raw)) == raw


@given(st.binary(min_size=1, max_size=108), st.binary(min_size=1, max_size=108))
def test_different_socket_names_never_look_the_same(one: bytes, other: bytes) -> None:
    def name(raw: bytes) -> bytes:
        return raw if raw[0] == 0 else raw.split(b"\0", 1)[0]

    assert (escape_socket_path(one) == escape_socket_path(other)) == (name(one) == name(other))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/run/app.sock", "/run/app.sock"),
        ("/run/größe.sock".encode(), "/run/größe.sock"),
        (b"/run/a b", "/run/a b"),
        (b"\x1b[2J", r"\x1b[2J"),
        (b"a\nb\r\tc\x7f", r"a\x0ab\x0d\x09c\x7f"),
        (b"\xc2\x9b31m", r"\xc2\x9b31m"),
        (b"\x9b31m", r"\x9b31m"),
        ("a\u202eb".encode(), r"a\xe2\x80\xaeb"),
        ("a\u200bb\u2028".encode(), r"a\xe2\x80\x8bb\xe2\x80\xa8"),
        (b"\xff\xfe", r"\xff\xfe"),
        (rb"a\x2db", r"a\\x2db"),
        *((character.encode(), spelled(character)) for character in INVISIBLE),
        ("a\u2800\n\u3164b".encode(), r"a\xe2\xa0\x80\x0a\xe3\x85\xa4b"),
    ],
)
def test_dangerous_characters_are_spelled_as_their_bytes(raw: bytes, shown: str) -> None:
    assert escape(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", None),
        (b"/run/app.sock\0", "/run/app.sock"),
        (b"/run/app.sock\0old rubbish", "/run/app.sock"),
        (b"\0/tmp/.X11-unix/X0", "@/tmp/.X11-unix/X0"),
        (b"\0a\0b\0", r"@a\x00b\x00"),
        (b"\0", "@"),
        (b"@app", r"\x40app"),
        (b"\0@app", "@@app"),
    ],
)
def test_socket_names_tell_files_from_abstract_names(raw: bytes, shown: str | None) -> None:
    assert escape_socket_path(raw) == shown


def test_a_comm_ends_at_its_first_nul() -> None:
    assert escape_comm(b"nginx\0\0\0\0\0\0\0\0\0\0\0") == "nginx"
    assert escape_comm(b"sixteen bytes ok") == "sixteen bytes ok"
