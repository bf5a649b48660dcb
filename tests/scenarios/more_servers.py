"""More real servers, which fail in the ways that people meet: workers that die, time-outs, clients that leave.

nginx in front of gunicorn, httpd in front of PHP-FPM, and PostgreSQL. Each cause has a socket of its own, so that its
path says in a server's log, and in an alert, which cause it is about. The packages are in vagrant/servers.list; the
rest is as in servers.py: a private folder, loopback and Unix sockets only, and nothing outlives its context.
"""

from __future__ import annotations

import http.client
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.scenarios.server_logs import HTTPD_ERROR_LOG_FORMAT
from tests.scenarios.servers import ServerError, listens_at, listens_on, running

# An emulated guest takes seconds for what a machine does in an instant.
_LIMIT = 120.0
_POLL_INTERVAL = 0.02

_NGINX_PORT = 8090
_HTTPD_PORT = 8091

# What reaches the application says so through a named pipe, with its process id, before it does what it is asked for.
_APPLICATION = '''\
"""Does what the path of the request asks for."""

import os
import select
import signal


def say_that_it_is_here():
    with open("{arrivals}", "w") as arrivals:
        arrivals.write(f"{{os.getpid()}}\\n")


def wait_for_ever():
    say_that_it_is_here()
    while True:
        signal.pause()


def half():
    yield b"x" * 1000
    wait_for_ever()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/exit":
        os._exit(7)
    elif path == "/wait":
        wait_for_ever()
    elif path == "/half":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2000")])
        return half()
    elif path == "/late":
        hangup = select.poll()
        hangup.register(environ["gunicorn.socket"], select.POLLHUP)
        say_that_it_is_here()
        hangup.poll()
    # Without a length the answer is whole when the connection ends, and nginx has to read to the end.
    start_response("200 OK", [("Content-Type", "text/plain")] + [("Content-Length", "5")] * (path != "/unmeasured"))
    return [b"hello"]
'''

# The worker is not root, so that it can be refused by a socket's mode. The rest is as in servers.py.
_NGINX_CONFIGURATION = """\
daemon off;
user www-data;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log debug;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    client_body_temp_path {directory}/nginx-body;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    proxy_temp_path {directory}/nginx-proxy;
    scgi_temp_path {directory}/nginx-scgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    upstream kept_alive {{
        server unix:{directory}/reused.socket;
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_buffering off;
        location /reused/ {{
            proxy_pass http://kept_alive/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /slow/ {{
            proxy_read_timeout 1s;
            proxy_pass http://unix:{directory}/slow.socket:/;
        }}
{locations}
    }}
}}
"""
_NGINX_LOCATION = "        location /{cause}/ {{ proxy_pass http://unix:{directory}/{cause}.socket:/; }}"


@dataclass(frozen=True)
class WebServers:
    """A web server with application servers behind it: one socket, and one path of the URL, for each cause."""

    directory: Path
    port: int
    web: subprocess.Popen[bytes]
    behind: dict[str, subprocess.Popen[bytes]]
    log: Path
    arrivals: Arrivals

    def socket(self, cause: str) -> Path:
        """Return the socket on which a cause is played."""
        return self.directory / f"{cause}.socket"

    def send(self, path: str, body: bytes | None = None) -> http.client.HTTPConnection:
        """Send a request, without waiting for its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LIMIT)
        connection.request("GET" if body is None else "POST", path, body)
        return connection

    def get(self, path: str, body: bytes | None = None) -> int:
        """Send a request and return the answer's status."""
        connection = self.send(path, body)
        try:
            return status_of(connection)
        finally:
            connection.close()


class Arrivals:
    """The named pipe in which the application writes its process id when a request has reached it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        # Both ends, so that it never ends.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def next(self) -> int:
        """Wait for the next request that reaches the application; return its process's id."""
        if not select.select([self._pipe], [], [], _LIMIT)[0]:
            raise ServerError(f"no request reached the application within {_LIMIT:.0f} s")
        return int(os.read(self._pipe, 100))

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)


def status_of(connection: http.client.HTTPConnection) -> int:
    """Wait for the answer to what was sent and return its status; 0 if it was cut, or if there is none."""
    try:
        answer = connection.getresponse()
        answer.read()
    except (http.client.HTTPException, ConnectionError):
        return 0
    return answer.status


@contextmanager
def nginx_to_gunicorn(directory: Path) -> Iterator[WebServers]:
    """Run nginx in front of three gunicorns: one with a short time-out, one without, one that keeps connections."""
    arrivals = Arrivals(directory / "arrivals")
    (directory / "application.py").write_text(_APPLICATION.format(arrivals=directory / "arrivals"))
    # What a gunicorn is started with, and the causes that are played on it.
    gunicorns: dict[str, tuple[list[str], list[str]]] = {
        "timed": (["--timeout", "1"], ["timeout"]),
        "sync": (["--timeout", "60"], ["fine", "killed", "exit", "half", "unread", "slow", "gone", "forbidden"]),
        "kept": (["--worker-class", "gthread", "--keep-alive", "1", "--timeout", "60"], ["reused"]),
    }
    plain = [cause for _, causes in gunicorns.values() for cause in causes if cause not in ("slow", "reused")]
    locations = "\n".join(_NGINX_LOCATION.format(cause=cause, directory=directory) for cause in [*plain, "missing"])
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX_CONFIGURATION.format(directory=directory, port=_NGINX_PORT, locations=locations))
    with ExitStack() as stack:
        stack.callback(arrivals.close)
        behind = {}
        sockets: list[Path] = []
        for name, (options, causes) in gunicorns.items():
            own = [directory / f"{cause}.socket" for cause in causes]
            sockets += own
            command = ["gunicorn", *options, "--workers=1", "--preload", "--graceful-timeout=1", "--umask=0"]
            command += [f"--bind=unix:{path}" for path in own]
            command += ["--chdir", str(directory), "--worker-tmp-dir=/tmp", "application:application"]
            # All at once, and the last one waits for all: each has seconds of imports before it.
            ready = partial(_all_listen, sockets if name == list(gunicorns)[-1] else [])
            behind[name] = stack.enter_context(running(f"gunicorn-{name}", command, directory, ready))
        (directory / "forbidden.socket").chmod(0o600)
        command = ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "nginx-start.log")]
        web = stack.enter_context(running("nginx", command, directory, lambda: listens_on(_NGINX_PORT)))
        yield WebServers(directory, _NGINX_PORT, web, behind, directory / "nginx.log", arrivals)


def _all_listen(sockets: list[Path]) -> bool:
    return all(map(listens_at, sockets))


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children (/proc/PID/task/TID/children)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_nobody_is_connected(path: Path) -> None:
    """Wait until only the listener is left at a path."""
    # An accepted socket carries the path of its listener (unix_stream_connect()).
    deadline = time.monotonic() + _LIMIT
    while sum(line.split()[-1] == str(path) for line in Path("/proc/net/unix").read_text().splitlines()) > 1:
        if time.monotonic() > deadline:
            raise ServerError(f"somebody stays connected to {path}")
        time.sleep(_POLL_INTERVAL)


# --- PHP-FPM ----------------------------------------------------------------------------------------------------------

_HTTPD_CONFIGURATION = """\
ServerRoot {directory}
ServerName localhost
DefaultRuntimeDir {directory}
PidFile {directory}/httpd.pid
Mutex file:{directory} default
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
LogLevel warn
ErrorLog {directory}/httpd.log
ErrorLogFormat "{log_format}"
{proxies}
"""
# Without retry=0 a worker that failed once is not asked again for a minute.
_HTTPD_PROXY = 'ProxyPass /{cause}/ "unix:{directory}/{cause}.socket|fcgi://{cause}{directory}/" retry=0'

_FPM_CONFIGURATION = """\
[global]
daemonize = no
error_log = {directory}/fpm.log
log_level = notice
"""
_FPM_POOL = """\
[{cause}]
user = www-data
group = www-data
listen = {directory}/{cause}.socket
listen.mode = 0666
pm = static
pm.max_children = 1
{settings}
"""
_FPM_SETTINGS = {"fpm-timeout": "request_terminate_timeout = 1s", "fpm-recycled": "pm.max_requests = 2", "fpm-stop": ""}

_WAIT_PHP = """\
<?php
file_put_contents("{arrivals}", getmypid() . "\\n");
sleep(600);
"""


def php_fpm() -> str | None:
    """Return PHP-FPM's program, whose name has its version in it; None if it is not installed."""
    return next((str(path) for path in sorted(Path("/usr/sbin").glob("php-fpm*"))), None)


@contextmanager
def httpd_to_php_fpm(directory: Path) -> Iterator[WebServers]:
    """Run httpd in front of a PHP-FPM with a pool for each cause."""
    program = php_fpm()
    if program is None:
        raise ServerError("PHP-FPM is not installed")
    arrivals = Arrivals(directory / "arrivals")
    (directory / "hello.php").write_text("hello\n")
    (directory / "wait.php").write_text(_WAIT_PHP.format(arrivals=directory / "arrivals"))
    configuration = directory / "fpm.conf"
    pools = [
        _FPM_POOL.format(cause=cause, directory=directory, settings=settings)
        for cause, settings in _FPM_SETTINGS.items()
    ]
    configuration.write_text(_FPM_CONFIGURATION.format(directory=directory) + "".join(pools))
    httpd_configuration = directory / "httpd.conf"
    httpd_configuration.write_text(
        _HTTPD_CONFIGURATION.format(
            directory=directory,
            port=_HTTPD_PORT,
            log_format=HTTPD_ERROR_LOG_FORMAT,
            proxies="\n".join(_HTTPD_PROXY.format(cause=cause, directory=directory) for cause in _FPM_SETTINGS),
        )
    )
    sockets = [directory / f"{cause}.socket" for cause in _FPM_SETTINGS]
    # -n: no php.ini, no extensions: they would double the time to start.
    fpm = [program, "-n", "--nodaemonize", "--fpm-config", str(configuration)]
    httpd = ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(httpd_configuration)]
    try:
        with (
            running("php-fpm", fpm, directory, lambda: _all_listen(sockets)) as behind,
            running("httpd", httpd, directory, lambda: listens_on(_HTTPD_PORT)) as web,
        ):
            log = directory / "httpd.log"
            yield WebServers(directory, _HTTPD_PORT, web, {"php-fpm": behind}, log, arrivals)
    finally:
        arrivals.close()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_POSTGRES_CONFIGURATION = """\
listen_addresses = ''
autovacuum = off
fsync = off
max_wal_senders = 0
wal_level = minimal
shared_buffers = 16MB
log_line_prefix = '%m [%p] '
"""

# What is played on PostgreSQL: each cause has a folder with a socket.
POSTGRES_CAUSES = (
    *("admin", "copy-out", "copy-in", "backend-killed", "bystander", "idle-bystander"),
    *("idle", "terminate", "orderly", "stop"),
)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL with a socket for each cause."""

    directory: Path
    process: subprocess.Popen[bytes]
    log: Path

    def socket(self, cause: str) -> Path:
        """Return the socket on which a cause is played."""
        return self.directory / cause / ".s.PGSQL.5432"

    def connect(self, cause: str) -> PostgresClient:
        """Connect as its superuser."""
        return PostgresClient(self.socket(cause))


class PostgresClient:
    """A client that speaks PostgreSQL's protocol, message by message, so that a test says when what is sent."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self._received = b""
        self.socket.settimeout(_LIMIT)
        self.socket.connect(str(path))
        parameters = b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall(struct.pack("!II", 8 + len(parameters), 3 << 16) + parameters)
        self.pid = 0  # of the backend
        for kind, content in self.messages(until=b"Z"):
            if kind == b"K":  # BackendKeyData
                self.pid = struct.unpack("!I", content[:4])[0]

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send one message."""
        self.socket.sendall(kind + struct.pack("!I", 4 + len(content)) + content)

    def message(self) -> tuple[bytes, bytes] | None:
        """Receive one message; None at the end of the stream."""
        head = self._receive(5)
        if head is None:
            return None
        content = self._receive(struct.unpack("!I", head[1:])[0] - 4)
        return None if content is None else (head[:1], content)

    def messages(self, until: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Receive messages up to the first of a kind, or the end of the stream."""
        while (message := self.message()) is not None:
            yield message
            if message[0] == until:
                return

    def query(self, text: str) -> list[tuple[bytes, bytes]]:
        """Send a query and receive all of its answer."""
        self.send(b"Q", text.encode() + b"\0")
        return list(self.messages(until=b"Z"))

    def close(self) -> None:
        """Take leave as libpq does, whether or not the server is there, and close."""
        with suppress(OSError):
            self.send(b"X")
        self.socket.close()

    def read_to_the_end(self) -> None:
        """Read until the stream ends or is reset, and close."""
        with suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        self.socket.close()

    def wait_until(self, client: PostgresClient, event: str) -> None:
        """Ask until the session of another client waits for an event of pg_stat_activity."""
        text = f"SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = '{event}'"
        while not any(kind == b"D" for kind, _ in self.query(text)):
            pass

    def terminate(self, client: PostgresClient) -> None:
        """End another client's session, and wait until it has ended."""
        self.query(f"SELECT pg_terminate_backend({client.pid}, 60000)")

    def _receive(self, count: int) -> bytes | None:
        # As libpq: a read takes what is there, not one message.
        while len(self._received) < count:
            try:
                data = self.socket.recv(1 << 14)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received += data
        received, self._received = self._received[:count], self._received[count:]
        return received


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which are not in the path; None if it is not installed."""
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)


def start_initdb(directory: Path) -> subprocess.Popen[str]:
    """Begin to make a PostgreSQL's data, which takes half a minute in an emulated guest; postgres() waits for it."""
    programs = postgres_programs()
    if programs is None:
        raise ServerError("PostgreSQL is not installed")
    directory.chmod(0o755)
    shutil.chown(directory, "postgres", "postgres")
    command = [str(programs / "initdb"), "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8", "-D"]
    return subprocess.Popen(
        [*command, str(directory / "data")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        user="postgres",
        group="postgres",
        cwd=directory,
    )


@contextmanager
def postgres(directory: Path, initdb: subprocess.Popen[str]) -> Iterator[Postgres]:
    """Run a PostgreSQL of its own, which trusts everybody who reaches its sockets."""
    _, said = initdb.communicate(timeout=_LIMIT)
    if initdb.returncode != 0:
        raise ServerError(f"initdb failed: {said.strip()}")
    folders = [directory / cause for cause in POSTGRES_CAUSES]
    for folder in folders:
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
    data = directory / "data"
    with (data / "postgresql.conf").open("a") as file:
        file.write(_POSTGRES_CONFIGURATION)
        file.write(f"unix_socket_directories = '{','.join(map(str, folders))}'\n")
    sockets = [folder / ".s.PGSQL.5432" for folder in folders]
    with running(
        "postgres",
        [f"{postgres_programs()}/postgres", "-D", str(data)],
        directory,
        lambda: _all_listen(sockets) and "ready to accept" in (directory / "postgres.output").read_text(),
        user="postgres",
        end_signal=signal.SIGINT,  # "fast": SIGTERM waits for the clients
    ) as process:
        yield Postgres(directory, process, directory / "postgres.output")
