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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import more_servers
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.more_servers import Postgres, WebServers, status_of, wait_until_nobody_is_connected
from tests.scenarios.server_logs import (
    LoggedEnd,
    LoggedFailure,
    parse_fpm_log,
    parse_httpd_log,
    parse_nginx_ends,
    parse_postgres_log,
)
from tests.scenarios.watched import Watch, watch

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
    hung_up: str  # the comm of who is to blame


NGINX = {
    "killed": Expected("killed", ("cut read", "reset read"), r"SIGKILL, sent by python3\[\d+\]", "nginx", "gunicorn"),
    "exit": Expected("exited", ("cut read", "reset read"), r"exited with status 7", "nginx", "gunicorn"),
    "half": Expected("killed", ("cut read", "reset read"), r"SIGKILL, sent by python3\[\d+\]", "nginx", "gunicorn"),
    "timeout": Expected("exited", ("cut read", "reset read"), r"status 1\b.*SIGABRT", "nginx", "gunicorn"),
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
    "fpm-timeout": Expected("killed", ("reset read", "cut read"), r"SIGTERM, sent by php-fpm", "apache2", "php-fpm"),
    "fpm-stop": Expected("killed", ("reset read", "cut read"), r"SIGTERM, sent by php-fpm", "apache2", "php-fpm"),
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

    def until(condition: str) -> None:
        while not any(content.endswith(b"t") for kind, content in admin.query(f"SELECT {condition}") if kind == b"D"):
            pass

    def connect(cause: str) -> more_servers.PostgresClient:
        client = server.connect(cause)
        played.backends[cause] = client.pid
        return client

    def waits_for(client: more_servers.PostgresClient, event: str) -> str:
        return f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = '{event}')"

    client = connect("copy-out")
    client.send(b"Q", b"COPY (SELECT repeat('x', 1000) FROM generate_series(1, 2000)) TO STDOUT\0")
    client.message()
    until(waits_for(client, "ClientWrite"))
    admin.query(f"SELECT pg_terminate_backend({client.pid}, 60000)")
    client.read_to_the_end()
    client.socket.close()

    admin.query("CREATE TABLE t (x text)")
    client = connect("copy-in")
    client.send(b"Q", b"COPY t FROM STDIN\0")
    client.message()
    client.send(b"d", b"one\n")
    until(waits_for(client, "ClientRead"))
    admin.query(f"SELECT pg_terminate_backend({client.pid}, 60000)")
    with pytest.raises(BrokenPipeError):
        client.send(b"d", b"two\n")
    client.read_to_the_end()
    client.socket.close()

    for cause in ("idle", "terminate"):
        client = connect(cause)
        client.query("SET idle_session_timeout = '300ms'")
        wait_until_nobody_is_connected(server.socket(cause))
        if cause == "idle":
            with pytest.raises(BrokenPipeError):
                client.query("SELECT 1")
            client.read_to_the_end()
            client.socket.close()
        else:
            client.close()

    psql = ["psql", "-X", "-h", str(server.socket("orderly").parent), "-U", "postgres", "-c", "SELECT 1"]
    played.statuses["orderly"] = subprocess.run(psql, capture_output=True, check=False).returncode

    killed, bystander, idle = (connect(cause) for cause in ("backend-killed", "bystander", "idle-bystander"))
    for client in (killed, bystander):
        client.send(b"Q", b"SELECT pg_sleep(600)\0")
        until(waits_for(client, "PgSleep"))
    os.kill(killed.pid, signal.SIGKILL)
    for client in (killed, bystander, idle, admin):
        client.read_to_the_end()
        client.socket.close()
    while server.log.read_text().count("ready to accept connections") < 2:
        time.sleep(0.05)

    admin = server.connect("admin")
    client = connect("stop")
    client.send(b"Q", b"SELECT pg_sleep(600)\0")
    until(waits_for(client, "PgSleep"))
    server.process.send_signal(signal.SIGQUIT)
    for client in (client, admin):
        client.read_to_the_end()
        client.socket.close()
    server.process.wait()


@pytest.fixture(scope="module", params=exact_flavours()[-1:])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play everything under one watch."""
    output = tmp_path_factory.mktemp("watch") / "output"
    with watch(output, "--probes", request.param, "--harmless") as found:
        result = Played(found)
        # Not below pytest's own folder: the servers' workers are not root, and may not enter it.
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            with more_servers.nginx_to_gunicorn(Path(folder)) as servers:
                result.sockets |= {cause: servers.socket(cause) for cause in NGINX}
                play_nginx(result, servers)
            result.nginx = list(parse_nginx_ends(servers.log.read_text().splitlines()))
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            with more_servers.httpd_to_php_fpm(Path(folder)) as servers:
                result.sockets |= {cause: servers.socket(cause) for cause in [*FPM, "fpm-recycled"]}
                play_fpm(result, servers)
            result.httpd = list(parse_httpd_log(servers.log.read_text().splitlines()))
            result.fpm = list(parse_fpm_log((Path(folder) / "fpm.log").read_text().splitlines()))
        with tempfile.TemporaryDirectory(prefix="hangup-") as folder:
            with more_servers.postgres(Path(folder)) as server:
                result.sockets |= {cause: server.socket(cause) for cause in more_servers.POSTGRES_CAUSES}
                play_postgres(result, server)
            result.postgres = list(parse_postgres_log(server.log.read_text().splitlines()))
    return result
