"""Paths that differ only by what was made up for a run have one pattern; what people chose stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.escape import escape_socket_path
from hangup.tracer.path_pattern import path_pattern


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/run/user/1000/bus", "/run/user/*/bus"),
        ("/tmp/ssh-abcDEFghij/agent.4711", "/tmp/ssh-*/agent.*"),
        ("/tmp/hangup-act-mau1ui6k/helloFastCGI.s", "/tmp/hangup-act-*/helloFastCGI.s"),
        ("/tmp/hangup-act-abcdefgh/helloFastCGI.s", "/tmp/hangup-act-*/helloFastCGI.s"),
        ("/tmp/hangup-act-ab_cd3f9/helloFastCGI.s", "/tmp/hangup-act-*/helloFastCGI.s"),
        ("/tmp/tmpx3k_9aqd/app.sock", "/tmp/tmp*/app.sock"),
        ("/tmp/tmpabcdefgh", "/tmp/tmp*"),
        ("/tmp/.X11-unix/X0", "/tmp/.X*-unix/X*"),
        ("/run/app/550e8400-e29b-41d4-a716-446655440000.sock", "/run/app/*.sock"),
        ("/run/containerd/s/0ab1" + "c2" * 30, "/run/containerd/s/*"),
        ("/run/php/php8.2-fpm.sock", "/run/php/php*-fpm.sock"),
        ("/run/php/php8.2.1-fpm.sock", "/run/php/php*-fpm.sock"),
        ("@/tmp/dbus-AbCdEfGhIj/x", "@/tmp/dbus-*/x"),
        ("@0001f", "@*"),
        (r"@\x00\x12name", "@*name"),
        (r"/run/a\\b.sock", r"/run/a\\b.sock"),
        (r"/run/a\\xab.sock", r"/run/a\\xab.sock"),
        ("/var/run/session-9f8e7d6c.s", "/var/run/session-*.s"),
    ],
)
def test_what_is_made_up_becomes_a_star(path: str, pattern: str) -> None:
    assert path_pattern(path) == pattern


@pytest.mark.parametrize(
    "path",
    [
        "?",
        "(socketpair)",
        "(other)",
        "/run/systemd/journal/stdout",
        "/run/dbus/system_bus_socket",
        "/var/run/docker.sock",
        "/tmp/helloFastCGI.s",
        "/tmp/app.socket",
        "/run/uwsgi/app/decade/socket",
        "@ISCSIADM_ABSTRACT_NAMESPACE",
    ],
)
def test_what_people_chose_stays(path: str) -> None:
    assert path_pattern(path) == path


@given(st.binary(max_size=108) | st.from_regex(rb"/(tmp|run)/[a-z.0-9_-]{0,20}/[a-f0-9\\x.-]{0,20}", fullmatch=True))
def test_the_pattern_of_a_pattern_is_itself(name: bytes) -> None:
    pattern = path_pattern(escape_socket_path(name) or "?")
    assert path_pattern(pattern) == pattern


@given(st.integers(0), st.integers(0))
def test_numbers_do_not_tell_paths_apart(one: int, another: int) -> None:
    assert path_pattern(f"/run/app/{one}/s") == path_pattern(f"/run/app/{another}/s")
