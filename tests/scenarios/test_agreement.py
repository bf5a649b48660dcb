"""What `hangup watch` finds is what the servers log, connection for connection, with both kinds of probes.

Four pairs of real servers (tests/scenarios/servers.py); their own error logs are the truth. That they fail, or do not,
as they should is tested as well: to agree with an empty log would prove nothing. Another `hangup watch` beside it has
every operation recorded, and has to tell the same.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios import servers
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.server_logs import LoggedFailure
from tests.scenarios.watched import Watch, disagreements, watch


@dataclass(frozen=True)
class Played:
    """What became of one scenario."""

    socket: Path
    load: servers.Load
    failures: list[LoggedFailure]


@dataclass(frozen=True)
class Show:
    """All four scenarios under one `hangup watch`, and another that streams."""

    scenarios: dict[str, Played]
    watch: Watch
    streaming: Watch
    requests: int

    def alerts(self, name: str) -> int:
        """Return how many alerts there were about a scenario."""
        return len(self.watch.alerts_about(self.scenarios[name].socket))


@pytest.fixture(scope="module", params=exact_flavours())
def show(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, requests_to_send: int) -> Show:
    """Play all scenarios: hangup takes some seconds to start in an emulated guest."""
    played = {}
    outputs = tmp_path_factory.mktemp("watch")
    with (
        watch(outputs / "output", "--probes", request.param) as found,
        watch(outputs / "streaming", "--probes", request.param, "--stream") as streaming,
    ):
        for name, servers_of, body_bytes in (
            ("300 kB to uWSGI", servers.nginx_to_uwsgi, 300_000),
            ("3 kB to uWSGI", servers.nginx_to_uwsgi, 3_000),
            ("httpd to FastCGI", servers.httpd_to_fastcgi, 0),
            ("nginx to FastCGI", servers.nginx_to_fastcgi, 0),
        ):
            # Not below pytest's own folder: httpd's worker is not root, and may not enter it.
            with tempfile.TemporaryDirectory(prefix="hangup-") as folder, servers_of(Path(folder)) as scenario:
                load = servers.load(scenario.url, Path(folder), requests=requests_to_send, body_bytes=body_bytes)
                played[name] = Played(scenario.socket, load, scenario.failures())
    return Show(played, found, streaming, requests_to_send)


@pytest.mark.parametrize("name", ["300 kB to uWSGI", "3 kB to uWSGI", "httpd to FastCGI", "nginx to FastCGI"])
def test_alerts_are_the_failures_in_the_servers_log_connection_for_connection(show: Show, name: str) -> None:
    played = show.scenarios[name]
    assert played.load.complete == show.requests
    assert disagreements(played.failures, show.watch.alerts_about(played.socket)) == []
    assert len(played.failures) == show.alerts(name)


def test_nothing_is_lost_and_every_alert_is_certain(show: Show) -> None:
    for found in (show.watch, show.streaming):
        assert {cause: count for cause, count in found.total["lost_by_cause"].items() if count} == {}
        assert [alert["doubts"] for alert in found.alerts if alert["doubts"]] == []


# Of a failure, what does not depend on when it was looked at.
_FIGURES = ("sent_bytes", "read_bytes", "unread_bytes", "answered_bytes", "failed_bytes")


def told(found: Watch, path: Path) -> Counter[tuple[object, ...]]:
    """Return what is said of the connections to a path, as often as it is."""
    return Counter(
        (
            *(alert[name] for name in ("verdict", "symptom", "survivor")),
            *(alert["failed"][name] for name in ("pid", "operation", "syscall", "descriptor", "error", "size")),
            *(alert["figures"][name] for name in _FIGURES),
        )
        for alert in found.alerts_about(path)
    )


@pytest.mark.parametrize("name", ["300 kB to uWSGI", "3 kB to uWSGI", "httpd to FastCGI", "nginx to FastCGI"])
def test_a_stream_of_all_operations_tells_the_same(show: Show, name: str) -> None:
    path = show.scenarios[name].socket
    assert told(show.streaming, path) == told(show.watch, path)
    assert show.streaming.connections(path) == show.requests


@pytest.mark.parametrize("name", ["300 kB to uWSGI", "3 kB to uWSGI", "httpd to FastCGI", "nginx to FastCGI"])
def test_every_request_is_a_connection_that_is_counted_once(show: Show, name: str) -> None:
    assert show.watch.connections(show.scenarios[name].socket) == show.requests


def test_a_large_body_that_is_not_read_breaks_nearly_every_request(show: Show) -> None:
    played = show.scenarios["300 kB to uWSGI"]
    assert len(played.failures) >= 0.9 * show.requests
    for alert in show.watch.alerts_about(played.socket):
        assert alert["verdict"] == "unread"
        assert alert["client"]["comm"] == "nginx"
        assert alert["server"]["comm"] == "uwsgi"


def test_a_small_body_is_read_along_with_the_request_and_fails_nobody(show: Show) -> None:
    played = show.scenarios["3 kB to uWSGI"]
    assert played.failures == []
    # The application ignores it, but uWSGI's first read of 4 KiB takes it out of the socket: nothing stays unread.
    assert show.watch.connections(played.socket, "clean") == show.requests


def test_the_last_record_of_a_request_meets_a_closed_socket(show: Show) -> None:
    played = show.scenarios["httpd to FastCGI"]
    # How many is chance: 2 in a hundred in an emulated guest, 25 on a real machine.
    assert played.load.not_2xx == len(played.failures)
    for alert in show.watch.alerts_about(played.socket):
        figures = alert["figures"]
        assert alert["verdict"] == "answered"
        # An empty FCGI_STDIN record; all else was read, and answered.
        assert figures["failed_bytes"] == 8
        assert figures["unread_bytes"] == 0
        assert figures["sent_bytes"] == figures["read_bytes"]
        assert figures["answered_bytes"] > 0
        assert alert["hangup"]["syscall"] == "close"


def test_the_last_record_that_comes_in_time_is_a_latent_hang_up_or_was_read(show: Show) -> None:
    played = show.scenarios["httpd to FastCGI"]
    fine = show.requests - len(played.failures)
    # How many of each is chance, too: on a busy machine no last record may come in time and stay unread.
    assert show.watch.connections(played.socket, "latent", "clean") == fine


def test_a_request_sent_in_one_write_is_read_in_one_and_fails_nobody(show: Show) -> None:
    played = show.scenarios["nginx to FastCGI"]
    assert played.failures == []
    assert show.watch.connections(played.socket, "clean") == show.requests


def test_a_watch_with_alerts_ends_with_the_status_that_says_so(show: Show) -> None:
    assert show.watch.status == 122
