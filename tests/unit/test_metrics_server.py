"""Metrics are had over real sockets by whoever asks, and whoever asks badly holds up nobody."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hangup.cli.sinks import metrics_server
from hangup.cli.sinks.listen import TcpAddress
from hangup.cli.sinks.metrics_server import MAX_CONNECTIONS, PATH, MetricsServer
from hangup.tracer.errors import HangupError

# A socket that hangs makes a test fail instead of never ending.
LIMIT = 60.0
# More than the kernel keeps of a connection for a reader who does not read.
LARGE = 16 << 20


class Answer(Collector):
    """Has one metric, whose help is as long as is wanted; or fails."""

    def __init__(self, length: int = 10, error: Exception | None = None) -> None:
        self.length = length
        self.error = error

    def describe(self) -> list[Metric]:
        """Return nothing: the help may be long."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        if self.error:
            raise self.error
        yield GaugeMetricFamily("answer", "a" * self.length, value=42)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., MetricsServer]]:
    """Return what starts a server, by default on a Unix socket; it is stopped at the end."""
    with ExitStack() as stack:

        def start(listen: str | None = None, collector: Collector | None = None) -> MetricsServer:
            server = MetricsServer(listen or f"unix:{tmp_path}/s", collector or Answer())
            server.start()
            stack.callback(server.stop)
            return server

        yield start


def connected(server: MetricsServer) -> socket.socket:
    address = server.address
    if isinstance(address, TcpAddress):
        return socket.create_connection((address.host, address.port), LIMIT)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(LIMIT)
    connection.connect(address.path)
    return connection


def ask(server: MetricsServer, path: str = PATH, method: str = "GET") -> tuple[int, str]:
    """Return the status and the text of an answer."""
    client = http.client.HTTPConnection("localhost")
    client.sock = connected(server)
    with closing(client):
        client.request(method, path)
        response = client.getresponse()
        return response.status, response.read().decode()


def value(text: str, name: str) -> float:
    (found,) = (
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )
    return found


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", None])
def test_metrics_are_had_where_they_were_wanted(serve: Callable[..., MetricsServer], listen: str | None) -> None:
    if listen and listen.startswith("[") and not has_ipv6():
        pytest.skip("this host has no IPv6 loopback")
    server = serve(listen)
    status, text = ask(server)
    assert status == 200
    assert value(text, "answer") == 42
    assert str(server.address) != listen


def test_what_hangups_own_process_uses_is_among_them(serve: Callable[..., MetricsServer]) -> None:
    _, text = ask(serve())
    assert value(text, "process_cpu_seconds_total") > 0
    assert value(text, "process_resident_memory_bytes") > 1 << 20


def test_a_scrape_may_name_the_metrics_it_wants(serve: Callable[..., MetricsServer]) -> None:
    _, text = ask(serve(), f"{PATH}?name[]=process_open_fds")
    assert [family.name for family in text_string_to_metric_families(text)] == ["process_open_fds"]


def test_another_path_or_method_gets_no_metrics(serve: Callable[..., MetricsServer]) -> None:
    server = serve()
    status, text = ask(server, "/")
    assert (status, PATH in text, "answer" in text) == (404, True, False)
    status, text = ask(server, method="POST")
    assert (status, "answer" in text) == (405, False)


def test_a_mistake_of_ours_is_told_to_who_asks_and_counted_and_is_no_traceback(
    serve: Callable[..., MetricsServer], capfd: pytest.CaptureFixture[str]
) -> None:
    collector = Answer(error=ValueError("nothing to say"))
    server = serve(collector=collector)
    assert ask(server) == (500, "ValueError: nothing to say\n")
    assert server.errors == 1
    collector.error = None
    assert ask(server)[0] == 200
    assert server.errors == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", None])
def test_readers_who_read_nothing_do_not_keep_others_from_reading(
    serve: Callable[..., MetricsServer], listen: str | None
) -> None:
    server = serve(listen, Answer(LARGE))
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 3):
            stalled = stack.enter_context(connected(server))
            stalled.sendall(f"GET {PATH} HTTP/1.0\r\n\r\n".encode())
            # Its answer is under way.
            assert stalled.recv(1) == b"H"
        status, text = ask(server)
        assert (status, value(text, "answer")) == (200, 42)


def test_who_asks_nothing_at_all_keeps_nobody_from_asking(serve: Callable[..., MetricsServer]) -> None:
    server = serve()
    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            stack.enter_context(connected(server))
            assert ask(server)[0] == 200


def test_a_connection_that_lasts_too_long_is_ended(
    serve: Callable[..., MetricsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "MAX_SECONDS", 0.1)
    with connected(serve()) as slow:
        slow.sendall(b"GET /met")
        assert slow.recv(1) == b""


def test_a_reader_who_goes_away_leaves_no_traceback_and_no_connection(
    serve: Callable[..., MetricsServer], capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve("127.0.0.1:0", Answer(LARGE))
    for _ in range(2 * MAX_CONNECTIONS):
        with connected(server) as rude:
            # Closing sends a reset at once.
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(f"GET {PATH} HTTP/1.0\r\n\r\n".encode())
    with connected(server) as nonsense:
        nonsense.sendall(b"\0\xff\r\n\r\n")
        assert b"400" in nonsense.recv(4096)
    assert ask(server)[0] == 200
    assert server.errors == 0
    assert capfd.readouterr() == ("", "")


def test_stopping_ends_connections_that_are_under_way(serve: Callable[..., MetricsServer]) -> None:
    server = serve()
    with connected(server) as waiting:
        # It has been accepted: one that comes later was answered.
        ask(server)
        server.stop()
        assert waiting.recv(1) == b""


def test_it_can_be_started_again(serve: Callable[..., MetricsServer]) -> None:
    server = serve()
    server.stop()
    server.start()
    assert ask(server)[0] == 200


def test_a_unix_socket_is_open_to_owner_and_group_and_gone_when_stopped(
    serve: Callable[..., MetricsServer], tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        server = serve()
    finally:
        os.umask(before)
    path = tmp_path / "s"
    assert path.stat().st_mode & 0o777 == 0o660
    server.stop()
    assert not path.exists()


def test_a_unix_socket_that_a_killed_hangup_left_is_replaced(
    serve: Callable[..., MetricsServer], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
        dead.listen()
    assert ask(serve())[0] == 200


def test_an_address_that_somebody_listens_on_is_not_taken_from_them(serve: Callable[..., MetricsServer]) -> None:
    for first in (serve(), serve("127.0.0.1:0")):
        second = MetricsServer(str(first.address), Answer())
        with pytest.raises(HangupError, match=r"Address already in use.*another address"):
            second.start()
        second.stop()
        assert ask(first)[0] == 200


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(HangupError, match="no socket"):
        MetricsServer(f"unix:{path}", Answer()).start()
    assert path.read_text() == "precious"


def test_a_socket_that_has_taken_the_place_of_ours_is_left_alone(
    serve: Callable[..., MetricsServer], tmp_path: Path
) -> None:
    first = serve()
    (tmp_path / "s").unlink()
    second = serve()
    first.stop()
    assert ask(second)[0] == 200


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match="No such file") as error:
        MetricsServer(f"unix:{tmp_path}/no/s", Answer()).start()
    assert str(tmp_path) in error.value.problem


def test_nothing_is_opened_before_it_is_started(tmp_path: Path) -> None:
    MetricsServer(f"unix:{tmp_path}/s", Answer()).stop()
    assert list(tmp_path.iterdir()) == []


def test_signals_are_left_to_the_main_thread(serve: Callable[..., MetricsServer]) -> None:
    server = serve()
    assert server._thread is not None
    ask(server)
    status = Path(f"/proc/self/task/{server._thread.native_id}/status").read_text()
    (blocked,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    assert blocked & 1 << signal.SIGTERM - 1
    assert blocked & 1 << signal.SIGHUP - 1


def test_a_process_ends_though_somebody_reads_its_metrics(tmp_path: Path) -> None:
    script = f"""
import socket
from hangup.cli.sinks.metrics_server import MetricsServer
from tests.unit.test_metrics_server import Answer
server = MetricsServer("unix:{tmp_path}/s", Answer())
server.start()
client = socket.socket(socket.AF_UNIX)
client.connect("{tmp_path}/s")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, timeout=LIMIT, cwd=Path(__file__).parents[2]
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
