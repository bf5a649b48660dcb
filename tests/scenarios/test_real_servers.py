"""What `hangup watch` concludes of real servers that fail, held against what their own logs say.

Both directions: every error line of a log has its alert, and every alert has its line, or is harmless. The servers
stand in tests/scenarios/more_servers.py; each cause is played once, on a socket of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import more_servers
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.more_servers import (
    Postgres,
    PostgresClient,
    WebServers,
    status_of,
    wait_until_nobody_is_connected,
)
from tests.scenarios.server_logs import (
    LoggedEnd,
    LoggedFailure,
    parse_fpm_log,
    parse_httpd_log,
    parse_nginx_ends,
    parse_postgres_log,
)
from tests.scenarios.watched import Watch, disagreements, watch

Alert = dict[str, Any]

_MISSING = [
    package
    for package, there in (
        ("gunicorn", shutil.which("gunicorn")),
        ("php-fpm", more_servers.php_fpm()),
        ("postgresql", more_servers.postgres_programs()),
    )
    if not there
]
pytestmark = pytest.mark.skipif(
    bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}; they are in vagrant/servers.list"
)


@dataclass(frozen=True)
class Expected:
    """What is to be said of a cause."""

    verdict: str
    symptoms: tuple[str, ...]
    says: str  # a pattern that the sentence has
    survivor: str  # the comm of who suffered it
    hung_up: str  # the comm of who is to blame, a glob


NGINX = {
    "killed": Expected("killed", ("cut read", "reset read"), r"SIGKILL, sent by python3\[\d+\]", "nginx", "gunicorn"),
    "exit": Expected("exited", ("cut read", "reset read"), r"exited with status 7", "nginx", "gunicorn"),
    "half": Expected("killed", ("cut read", "reset read"), r"SIGKILL, sent by python3\[\d+\]", "nginx", "gunicorn"),
    # The arbiter's SIGABRT raises SystemExit in the worker, which closes the connection by itself before it exits.
    "timeout": Expected("unanswered", ("cut read", "reset read"), r"gunicorn\[\d+\] hung up", "nginx", "gunicorn"),
    "unread": Expected("unread", ("broken write", "reset read"), r"unread", "nginx", "gunicorn"),
    "slow": Expected("gave-up", ("broken write",), r"nginx\[\d+\].*gave up", "gunicorn", "nginx"),
    "gone": Expected("gave-up", ("broken write",), r"nginx\[\d+\].*gave up", "gunicorn", "nginx"),
    "reused": Expected("reused", ("broken write",), r"gunicorn\[\d+\] closed the connection", "nginx", "gunicorn"),
    "fine": Expected("listener-gone", ("failed connect",), r"nginx\[\d+\]", "nginx", ""),
    "forbidden": Expected("not-permitted", ("failed connect",), r"nginx\[\d+\]", "nginx", ""),
}
# The browser leaves: what nginx says about it is no error.
LOGGED_AS_INFO = {"gone"}

FPM = {
    "fpm-timeout": Expected("killed", ("reset read", "cut read"), r"SIGTERM, sent by php-fpm", "apache2", "php-fpm*"),
    # SIGKILL follows at once where process_control_timeout is 0, as it is if nobody sets it.
    "fpm-stop": Expected(
        "killed", ("reset read", "cut read"), r"SIG(TERM|KILL), sent by php-fpm", "apache2", "php-fpm*"
    ),
}

POSTGRES = {
    "copy-out": Expected("exited", ("cut read", "reset read"), r"status 1\b.*SIGTERM", "python3", "postgres"),
    "copy-in": Expected("exited", ("broken write",), r"status 1\b.*SIGTERM", "python3", "postgres"),
    "backend-killed": Expected("killed", ("cut read", "reset read"), r"SIGKILL, sent by", "python3", "postgres"),
    "bystander": Expected("exited", ("cut read", "reset read"), r"status 2\b.*SIGQUIT", "python3", "postgres"),
    "idle": Expected("reused", ("broken write",), r"silence", "python3", "postgres"),
    "stop": Expected("exited", ("cut read", "reset read"), r"status 2\b.*SIGQUIT", "python3", "postgres"),
}
# libpq's Terminate, sent to a server that has ended the session: nothing is lost.
HARMLESS = {"terminate"}
# A session that was idle when the server ended it and that nobody used again, and one that ended in order.
SILENT = {"admin", "idle-bystander", "orderly"}

EXPECTED = NGINX | FPM | POSTGRES


@dataclass
class Played:
    """What was played under one `hangup watch`, and what the logs said."""

    watch: Watch
    sockets: dict[str, Path] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    backends: dict[str, int] = field(default_factory=dict)
    nginx: list[LoggedEnd] = field(default_factory=list)
    httpd: list[LoggedFailure] = field(default_factory=list)
    fpm: list[LoggedEnd] = field(default_factory=list)
    postgres: list[LoggedEnd] = field(default_factory=list)

    def alerts(self, cause: str) -> list[Alert]:
        """Return the alerts about a cause that are worth waking somebody for."""
        return [alert for alert in self.all_alerts(cause) if not alert["consequence"]["harmless"]]

    def all_alerts(self, cause: str) -> list[Alert]:
        """Return the alerts about a cause, the harmless ones too."""
        return self.watch.alerts_about(self.sockets[cause])

    def rows(self, cause: str) -> list[Alert]:
        """Return what was counted of a cause."""
        return [row for row in self.watch.rows if row["path"] == str(self.sockets[cause])]


def play_nginx(played: Played, servers: WebServers) -> None:
    """Play each cause of NGINX, and none."""
    statuses = played.statuses
    statuses["fine at first"] = servers.get("/fine/")
    statuses["exit"] = servers.get("/exit/exit")
    for cause, path in (("killed", "/killed/wait"), ("half", "/half/half")):
        connection = servers.send(path)
        os.kill(servers.arrivals.next(), signal.SIGKILL)
        statuses[cause] = status_of(connection)
    statuses["timeout"] = servers.get("/timeout/wait")
    servers.arrivals.next()
    statuses["unread"] = servers.get("/unread/unmeasured", b"x" * 300_000)
    statuses["slow"] = servers.get("/slow/late")
    servers.arrivals.next()
    browser = servers.send("/gone/late")
    servers.arrivals.next()
    browser.close()
    wait_until_nobody_is_connected(servers.socket("gone"))
    statuses["forbidden"] = servers.get("/forbidden/")

    # nginx sees that a kept connection was closed, and does not use it, unless the next request comes at that moment.
    # So it is stopped while both happen; what it is told first is what happened first.
    browser = servers.send("/reused/")
    browser.getresponse().read()
    (worker,) = more_servers.children(servers.web.pid)
    os.kill(worker, signal.SIGSTOP)
    browser.request("GET", "/reused/")
    wait_until_nobody_is_connected(servers.socket("reused"))
    os.kill(worker, signal.SIGCONT)
    statuses["reused"] = status_of(browser)

    # It takes its sockets with it.
    gunicorn = servers.behind["sync"]
    gunicorn.terminate()
    gunicorn.wait()
    statuses["fine"] = servers.get("/fine/")


def play_fpm(played: Played, servers: WebServers) -> None:
    """Play each cause of FPM, and children that end in order after their last request."""
    played.statuses["fpm-recycled"] = max(servers.get("/fpm-recycled/hello.php") for _ in range(5))
    played.statuses["fpm-timeout"] = servers.get("/fpm-timeout/wait.php")
    played.backends["fpm-timeout"] = servers.arrivals.next()
    waiting = servers.send("/fpm-stop/wait.php")
    played.backends["fpm-stop"] = servers.arrivals.next()
    server = servers.behind["php-fpm"]
    server.terminate()
    played.statuses["fpm-stop"] = status_of(waiting)
    server.wait()


def play_postgres(played: Played, server: Postgres) -> None:
    """Play each cause of POSTGRES, and sessions that end in order."""
    admin = server.connect("admin")
    admin.query("CREATE TABLE t (x text)")
    server.process.send_signal(signal.SIGHUP)
    while "received SIGHUP" not in server.log.read_text():
        time.sleep(0.05)
    _end_sessions(played, server, admin)

    psql = ["psql", "-X", "-h", str(server.socket("orderly").parent), "-U", "postgres", "-c", "SELECT 1"]
    played.statuses["orderly"] = subprocess.run(psql, capture_output=True, check=False).returncode

    # One process is killed, and the server ends all others.
    waiting = [_connect(played, server, cause) for cause in ("backend-killed", "bystander")]
    idle = _connect(played, server, "idle-bystander")
    idle.query("SELECT 1")
    for client in waiting:
        client.send(b"Q", b"SELECT pg_sleep(600)\0")
        admin.wait_until(client, "PgSleep")
    # Silent for long enough to count as idle.
    admin.query("SELECT pg_sleep(0.3)")
    _take_leave(server, admin)
    os.kill(waiting[0].pid, signal.SIGKILL)
    for client in (*waiting, idle):
        client.read_to_the_end()
    while server.log.read_text().count("ready to accept connections") < 2:
        time.sleep(0.05)

    admin = server.connect("admin")
    client = _connect(played, server, "stop")
    client.send(b"Q", b"SELECT pg_sleep(600)\0")
    admin.wait_until(client, "PgSleep")
    _take_leave(server, admin)
    server.process.send_signal(signal.SIGQUIT)  # "immediate"
    client.read_to_the_end()
    server.process.wait()


def _connect(played: Played, server: Postgres, cause: str) -> PostgresClient:
    client = server.connect(cause)
    played.backends[cause] = client.pid
    return client


def _take_leave(server: Postgres, admin: PostgresClient) -> None:
    """End the admin's session before the server is: it would write of its end to a client that has left."""
    admin.close()
    wait_until_nobody_is_connected(server.socket("admin"))


def _end_sessions(played: Played, server: Postgres, admin: PostgresClient) -> None:
    """Play sessions that the server ends, one by one."""
    client = _connect(played, server, "copy-out")
    client.send(b"Q", b"COPY (SELECT repeat('x', 1000) FROM generate_series(1, 2000)) TO STDOUT\0")
    client.message()
    admin.wait_until(client, "ClientWrite")
    admin.terminate(client)
    client.read_to_the_end()

    client = _connect(played, server, "copy-in")
    client.send(b"Q", b"COPY t FROM STDIN\0")
    client.message()
    client.send(b"d", b"one\n")
    admin.wait_until(client, "ClientRead")
    admin.terminate(client)
    with pytest.raises(BrokenPipeError):
        client.send(b"d", b"two\n")
    client.read_to_the_end()

    for cause in ("idle", "terminate"):
        client = _connect(played, server, cause)
        client.query("SET idle_session_timeout = '300ms'")
        wait_until_nobody_is_connected(server.socket(cause))
        if cause == "idle":
            with pytest.raises(BrokenPipeError):
                client.query("SELECT 1")
            client.read_to_the_end()
        else:
            client.close()


@pytest.fixture(scope="module", params=exact_flavours()[:1])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play everything under one watch."""
    output = tmp_path_factory.mktemp("watch") / "output"
    with ExitStack() as stack:
        # Not below pytest's own folder: the servers' workers are not root, and may not enter it.
        web, fastcgi, database = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hangup-"))) for _ in range(3)
        )
        initdb = more_servers.start_initdb(database)
        stack.callback(initdb.kill)
        with watch(output, "--probes", request.param, "--harmless") as found:
            result = Played(found)
            with more_servers.nginx_to_gunicorn(web) as servers:
                result.sockets |= {cause: servers.socket(cause) for cause in NGINX}
                play_nginx(result, servers)
            result.nginx = list(parse_nginx_ends(servers.log.read_text().splitlines()))
            with more_servers.httpd_to_php_fpm(fastcgi) as servers:
                result.sockets |= {cause: servers.socket(cause) for cause in [*FPM, "fpm-recycled"]}
                play_fpm(result, servers)
            result.httpd = list(parse_httpd_log(servers.log.read_text().splitlines()))
            result.fpm = list(parse_fpm_log((fastcgi / "fpm.log").read_text().splitlines()))
            with more_servers.postgres(database, initdb) as server:
                result.sockets |= {cause: server.socket(cause) for cause in more_servers.POSTGRES_CAUSES}
                play_postgres(result, server)
            result.postgres = list(parse_postgres_log(server.log.read_text().splitlines()))
    return result


def sentences(alerts: list[Alert]) -> list[str]:
    return [f"{alert['path']}: {alert['sentence']}" for alert in alerts]


def name_of(end: Alert | None) -> str:
    return "" if end is None else str(end["comm"])


@pytest.mark.parametrize("cause", EXPECTED)
def test_a_cause_is_one_alert_that_names_it(played: Played, cause: str) -> None:
    expected = EXPECTED[cause]
    alerts = played.alerts(cause)
    assert len(alerts) == 1, played.rows(cause)
    (alert,) = alerts
    survivor = alert["survivor"]
    other = "server" if survivor == "client" else "client"
    assert alert["verdict"] == expected.verdict, alert["sentence"]
    assert alert["symptom"] in expected.symptoms
    assert re.search(expected.says, alert["sentence"]), alert["sentence"]
    assert name_of(alert[survivor]) == expected.survivor
    assert fnmatch(name_of(alert[other]), expected.hung_up)


@pytest.mark.parametrize("cause", [*FPM, *POSTGRES])
def test_the_process_behind_is_the_one_that_the_server_tells_its_client(played: Played, cause: str) -> None:
    (alert,) = played.alerts(cause)
    assert alert["server"]["pid"] == played.backends[cause]


def test_every_request_ends_as_the_causes_make_it_end(played: Played) -> None:
    bad_gateway, unavailable, timed_out = 502, 503, 504
    # nginx reads half an answer and passes it on, or its write fails first.
    statuses = dict(played.statuses)
    assert statuses.pop("unread") in (0, bad_gateway)
    assert statuses == {
        "fine at first": 200,
        "exit": bad_gateway,
        "killed": bad_gateway,
        "half": 0,
        "timeout": bad_gateway,
        "slow": timed_out,
        "forbidden": bad_gateway,
        "reused": 200,  # nginx asks again
        "fine": bad_gateway,
        "fpm-recycled": 200,
        "fpm-timeout": unavailable,
        "fpm-stop": unavailable,
        "orderly": 0,
    }


def test_nginx_logs_a_failure_for_each_alert_and_no_other(played: Played) -> None:
    logged = Counter(end.socket for end in played.nginx)
    found = {str(played.sockets[cause]): len(played.alerts(cause)) for cause in NGINX}
    assert logged == found
    assert {end.socket for end in played.nginx if end.level == "info"} == {
        str(played.sockets[cause]) for cause in LOGGED_AS_INFO
    }


def test_httpd_logs_the_reset_read_of_each_alert_and_no_other(played: Played) -> None:
    alerts = [alert for cause in [*FPM, "fpm-recycled"] for alert in played.alerts(cause)]
    assert disagreements(played.httpd, alerts) == []
    assert len(played.httpd) == len(FPM)


def test_php_fpm_names_the_child_that_it_ended(played: Played) -> None:
    ended = {end.pid for end in played.fpm}
    assert ended == {played.backends["fpm-timeout"]}
    assert ended == {alert["server"]["pid"] for alert in played.alerts("fpm-timeout")}


def test_php_fpm_children_that_end_after_their_last_request_are_no_alert(played: Played) -> None:
    assert sentences(played.all_alerts("fpm-recycled")) == []


def test_postgres_names_the_session_of_each_alert_and_no_other(played: Played) -> None:
    logged = {end.pid for end in played.postgres if end.pid is not None}
    found = {
        alert["server"]["pid"]: cause for cause in more_servers.POSTGRES_CAUSES for alert in played.all_alerts(cause)
    }
    # Who is ended because another process died, or because the server stops at once, has no line of its own.
    without_line = {"bystander", "stop"}
    assert logged == {pid for pid, cause in found.items() if cause not in without_line}
    orders = [end.message for end in played.postgres if end.pid is None]
    assert orders == ["terminating any other active server processes", "received immediate shutdown request"]


@pytest.mark.parametrize("cause", sorted(HARMLESS))
def test_what_costs_nobody_anything_is_harmless(played: Played, cause: str) -> None:
    (alert,) = played.all_alerts(cause)
    assert alert["consequence"]["harmless"]


@pytest.mark.parametrize("cause", sorted(SILENT))
def test_a_session_that_was_owed_nothing_is_no_alert(played: Played, cause: str) -> None:
    assert sentences(played.all_alerts(cause)) == []


def test_nobody_else_is_in_an_alert(played: Played) -> None:
    known = {str(path) for path in played.sockets.values()}
    assert sentences([alert for alert in played.watch.alerts if alert["path"] not in known]) == []


def test_nothing_is_lost(played: Played) -> None:
    assert played.watch.total["lost"] == 0
