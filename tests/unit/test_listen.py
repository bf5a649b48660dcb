"""Metrics are for this host: an address that another could reach is refused, with what to do instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.sinks.listen import TcpAddress, UnixAddress, parse_listen
from hangup.tracer.errors import HangupError


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9754", TcpAddress("127.0.0.1", 9754)),
        ("127.1.2.3:0", TcpAddress("127.1.2.3", 0)),
        ("[::1]:9754", TcpAddress("::1", 9754)),
        ("unix:/run/hangup/metrics.sock", UnixAddress("/run/hangup/metrics.sock")),
    ],
)
def test_an_address_is_taken_as_it_is_written(listen: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_listen(listen) == address
    assert str(address) == listen


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9754", "10.0.0.1:9754", "[::]:9754", "[2001:db8::1]:1", "[::ffff:127.0.0.1]:1"]
)
def test_an_address_that_other_hosts_reach_is_refused_with_the_way_a_fleet_is_scraped(listen: str) -> None:
    with pytest.raises(HangupError, match="not a loopback address") as error:
        parse_listen(listen)
    assert "reverse proxy" in error.value.remedy


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "9754",
        ":9754",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:9754",
        "[127.0.0.1]:9754",
        "localhost:9754",
        "unix:",
        "unix:metrics.sock",
        "unix:/" + "a" * 107,
        "unix:/a\0b",
    ],
)
def test_what_is_no_address_is_refused_with_what_one_looks_like(listen: str) -> None:
    with pytest.raises(HangupError) as error:
        parse_listen(listen)
    assert "\n" not in str(error.value)


def test_a_path_may_be_as_long_as_the_kernel_takes_it() -> None:
    path = "/" + "a" * 106
    assert parse_listen(f"unix:{path}") == UnixAddress(path)


@given(st.text())
def test_any_other_text_is_refused_in_words(listen: str) -> None:
    try:
        address = parse_listen(listen)
    except HangupError:
        return
    assert parse_listen(str(address)) == address
