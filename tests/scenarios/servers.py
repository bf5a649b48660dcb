"""The real servers of the scenarios, and the load on them.

Each scenario is a web server that passes requests over a Unix socket to an application server which answers and hangs
up without waiting for the end of the request. Everything runs in a private folder and listens on loopback and Unix
sockets only; nothing of it outlives its context. Meant for a guest: it wants root and the packages of
vagrant/packages.list.
"""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.server_logs import HTTPD_ERROR_LOG_FORMAT, LoggedFailure, parse_httpd_log, parse_nginx_log

# An emulated guest that loads a server for the first time is slow.
_START_LIMIT = 120.0
_END_LIMIT = 20.0
_LOAD_LIMIT = 900.0
_POLL_INTERVAL = 0.02

_NGINX_PORT = 8080
_HTTPD_PORT = 8081
_FASTCGI_PORT = 9001

# The race is lost when uWSGI gets to run between two writes of httpd's. In an emulated guest that runs nothing else
# that is two requests in a hundred, and in 200 perhaps none; with the scheduler in uWSGI's favour it is more than half.
_BEHIND = ("nice", "--adjustment=19")

_APPLICATION = '''\
"""Answers at once and never looks at the body of the request."""


def application(environ, start_response):
    """WSGI: say hello."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello World"]
'''

# One worker, so that its failures stand in its log in the order in which they happened. The body is kept in memory:
# a body in a temporary file would be sent by other means. Nothing but the failures and the debug messages that name
# descriptors is wanted, but nginx has no finer switch than all of debug.
_NGINX_CONFIGURATION = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log {level};
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
    server {{
        listen 127.0.0.1:{port};
        location / {{
            include /etc/nginx/{protocol}_params;
            {protocol}_pass unix:{socket};
        }}
    }}
}}
"""

# The event MPM with one process, as where the classic failure was found; everything else is httpd's default.
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
ProxyPass /fcgi-unix "unix:{socket}|fcgi://localhost/"
ProxyPass /fcgi-tcp "fcgi://127.0.0.1:{fastcgi_port}/"
"""


class ServerError(Exception):
    """A server did not start, or the load did not run."""


@dataclass(frozen=True)
class Scenario:
    """A running pair of servers."""

    name: str
    url: str
    socket: Path
    client: subprocess.Popen[bytes]  # the web server's first process; the one that connects may be its child
    server: subprocess.Popen[bytes]
    log: Path
    parse_log: Callable[[Iterator[str]], Iterator[LoggedFailure]]

    def failures(self) -> list[LoggedFailure]:
        """Return what the web server has logged so far about the connections to the server behind."""
        with self.log.open(errors="replace") as lines:
            return list(self.parse_log(lines))


@dataclass(frozen=True)
class Load:
    """What ab counted."""

    complete: int
    failed: int
    not_2xx: int
    seconds: float


@contextmanager
def nginx_to_uwsgi(directory: Path, *, application: str = _APPLICATION, level: str = "debug") -> Iterator[Scenario]:
    """Run today's packages: a POST of more than a socket's buffer fails when its body is ignored.

    application: the WSGI module's text. level: of nginx's log, for which failures() needs "debug".
    """
    socket = directory / "application.socket"
    (directory / "application.py").write_text(application)
    command = [
        *("uwsgi", "--plugin", "python3", "--wsgi-file", str(directory / "application.py"), "--need-app"),
        *("--socket", str(socket), "--chmod-socket=666", "--disable-logging", "--die-on-term"),
    ]
    with (
        running("uwsgi", command, directory, lambda: listens_at(socket)) as server,
        _nginx(directory, "uwsgi", socket, level=level) as client,
    ):
        url = f"http://127.0.0.1:{_NGINX_PORT}/"
        yield Scenario("nginx to uwsgi", url, socket, client, server, directory / "nginx.log", parse_nginx_log)


@contextmanager
def httpd_to_fastcgi(directory: Path, *, mended: bool = False) -> Iterator[Scenario]:
    """Run the classic failure: mod_proxy_fcgi sends an empty FCGI_STDIN to a uWSGI that has answered and closed.

    mended: with today's uWSGI, which reads that record before it answers.
    """
    socket = directory / "helloFastCGI.s"
    configuration = directory / "httpd.conf"
    configuration.write_text(
        _HTTPD_CONFIGURATION.format(
            directory=directory,
            port=_HTTPD_PORT,
            socket=socket,
            fastcgi_port=_FASTCGI_PORT,
            log_format=HTTPD_ERROR_LOG_FORMAT,
        )
    )
    command = [*_BEHIND, "/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(configuration)]
    with (
        (_uwsgi_of_today if mended else _uwsgi_1_9_20)(directory, socket) as server,
        running("httpd", command, directory, lambda: listens_on(_HTTPD_PORT)) as client,
    ):
        url = f"http://127.0.0.1:{_HTTPD_PORT}/fcgi-unix/"
        yield Scenario("httpd to FastCGI", url, socket, client, server, directory / "httpd.log", parse_httpd_log)


@contextmanager
def nginx_to_fastcgi(directory: Path) -> Iterator[Scenario]:
    """Put the same server behind nginx, which sends all of a request in one write: it is read in one, nothing fails."""
    socket = directory / "helloFastCGI.s"
    with _uwsgi_1_9_20(directory, socket) as server, _nginx(directory, "fastcgi", socket) as client:
        url = f"http://127.0.0.1:{_NGINX_PORT}/"
        yield Scenario("nginx to FastCGI", url, socket, client, server, directory / "nginx.log", parse_nginx_log)


def load(url: str, directory: Path, *, requests: int, concurrency: int = 5, body_bytes: int = 0) -> Load:
    """Send that many requests, POSTs when there is a body, and wait for the last answer."""
    command = ["ab", "-q", "-n", str(requests), "-c", str(concurrency)]
    if body_bytes:
        body = directory / "body"
        body.write_bytes(b"x" * body_bytes)
        command += ["-p", str(body), "-T", "application/octet-stream"]
    began = time.monotonic()
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=_LOAD_LIMIT, check=False)
    if done.returncode != 0:
        raise ServerError(f"ab failed: {done.stderr.strip()}")

    def count(what: str) -> int:
        found = re.search(rf"^{what}: +(\d+)", done.stdout, re.MULTILINE)
        return int(found[1]) if found else 0

    return Load(
        count("Complete requests"), count("Failed requests"), count("Non-2xx responses"), time.monotonic() - began
    )


@contextmanager
def _nginx(directory: Path, protocol: str, socket: Path, *, level: str = "debug") -> Iterator[subprocess.Popen[bytes]]:
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _NGINX_CONFIGURATION.format(
            directory=directory, port=_NGINX_PORT, protocol=protocol, socket=socket, level=level
        )
    )
    # -e: what it says before it has read the configuration.
    command = ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "nginx-start.log")]
    with running("nginx", command, directory, lambda: listens_on(_NGINX_PORT)) as process:
        yield process


@contextmanager
def _uwsgi_1_9_20(directory: Path, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the uWSGI that answers at the end of FCGI_PARAMS; its routing rules are the application."""
    # Under the name that every uWSGI has, by which counts of one are compared with those of another.
    program = directory / "uwsgi"
    if not program.is_symlink():
        program.symlink_to(shutil.which("uwsgi-1.9.20") or "uwsgi-1.9.20")
    command = [
        *(str(program), "--fastcgi-socket", str(socket), "--fastcgi-socket", f"127.0.0.1:{_FASTCGI_PORT}"),
        *("--chmod-socket=666", "--processes", "1", "--threads", "4", "--disable-logging", "--die-on-term"),
        # Two records of 43 and 11 bytes, as the application of the classic failure answered. The headers are sent like
        # a body, because 1.9.20 forgets those of its own (addheader, break:200 OK) once something has been sent; nginx
        # wants them.
        *("--route-run", "send:Status: 200 OK\r\nContent-Type: text/html\r\n\r\n"),
        *("--route-run", "send:Hello World", "--route-run", "break:"),
    ]
    with running("uwsgi-1.9.20", command, directory, lambda: listens_at(socket)) as process:
        yield process


@contextmanager
def _uwsgi_of_today(directory: Path, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the uWSGI that reads a request to its end, which is an empty FCGI_STDIN, before it answers."""
    (directory / "application.py").write_text(_APPLICATION)
    command = [
        *("uwsgi", "--plugin", "python3", "--wsgi-file", str(directory / "application.py"), "--need-app"),
        *("--fastcgi-socket", str(socket), "--chmod-socket=666"),
        *("--processes", "1", "--threads", "4", "--disable-logging", "--die-on-term"),
    ]
    with running("uwsgi", command, directory, lambda: listens_at(socket)) as process:
        yield process


@contextmanager
def running(
    name: str,
    command: list[str],
    directory: Path,
    ready: Callable[[], bool],
    *,
    user: str | None = None,
    end_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, from when it listens until the context ends; its output is NAME.output in the folder."""
    directory.chmod(0o755)  # httpd's worker is not root and must reach the socket
    output = directory / f"{name}.output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=directory,
            user=user,
            group=user,
        )
    try:
        deadline = time.monotonic() + _START_LIMIT
        while not ready():
            if process.poll() is not None:
                said = output.read_text(errors="replace")
                raise ServerError(f"{name} ended with status {process.returncode} instead of starting: {said}")
            if time.monotonic() > deadline:
                raise ServerError(f"{name} did not listen within {_START_LIMIT:.0f} s")
            time.sleep(_POLL_INTERVAL)
        yield process
    finally:
        _end(process, end_signal)


def _end(process: subprocess.Popen[bytes], end_signal: signal.Signals) -> None:
    """End a server, and its workers with it, by its process id."""
    for sent in (end_signal, signal.SIGKILL):
        process.send_signal(sent)
        try:
            process.wait(timeout=_END_LIMIT)
        except subprocess.TimeoutExpired:
            continue
        return


# Whether a server listens is asked of the kernel: a connection that only asks would itself be traced.


def listens_at(socket: Path) -> bool:
    """Whether a process listens at a path (/proc/net/unix)."""
    accepts_connections = "00010000"  # __SO_ACCEPTCON in the column of flags
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and columns[7] == str(socket) and columns[3] == accepts_connections:
            return True
    return False


def listens_on(port: int) -> bool:
    """Whether a process listens on a TCP port (/proc/net/tcp)."""
    listening = "0A"  # TCP_LISTEN in the column of states
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1].endswith(f":{port:04X}") and columns[3] == listening:
            return True
    return False
