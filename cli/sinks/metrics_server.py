"""A small HTTP server that hands out metrics: on the loopback interface or a Unix socket, never to other hosts.

Whoever scrapes can hold up nobody: each connection has a thread, there are few of them at a time, the oldest goes when
one more comes, and none lives long. The tracing thread takes no part in it.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.registry import Collector

from hangup.cli.sinks.listen import TcpAddress, UnixAddress, parse_listen
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path

PATH = "/metrics"

MAX_CONNECTIONS = 8
MAX_SECONDS = 10.0
"""How long a connection may last, from its accept to the last byte of the answer."""

# How often it is looked at which connections have lasted too long, and whether to stop.
_LOOK_SECONDS = 0.25
_SOCKET_MODE = 0o660

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MetricsServer:
    """Serves a collector's metrics, and what hangup's own process uses, from start() to stop()."""

    def __init__(self, listen: str, collector: Collector) -> None:
        """Take an address as parse_listen() does; HangupError if it is none. Nothing is opened yet."""
        self._wanted = parse_listen(listen)
        # So that a scrape may name what it wants (?name[]=), it must know what each collector has.
        registry = CollectorRegistry(auto_describe=True)
        registry.register(collector)
        ProcessCollector(registry=registry)
        # Nobody is far away: compressing would cost more than it saves.
        self._application = _only_metrics(make_wsgi_app(registry, disable_compression=True), self._failed)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.errors = 0
        """How many scrapes found no metrics because of a mistake here; each is told what it was."""

    @property
    def address(self) -> TcpAddress | UnixAddress:
        """Where it listens; with port 0, after start(), the port that it was given."""
        if self._server and isinstance(self._wanted, TcpAddress):
            return TcpAddress(self._wanted.host, self._server.server_port)
        return self._wanted

    def start(self) -> None:
        """Listen and serve, in threads of its own; HangupError if the address cannot be had."""
        try:
            self._server = _Server(self._wanted, self._application)
        except OSError as error:
            raise HangupError(
                f"cannot serve metrics on {shown_path(str(self._wanted))} ({error.strerror})",
                "stop what listens there, or name another address"
                if error.errno == errno.EADDRINUSE
                else "name an address or a folder that is there and open to hangup",
            ) from None
        self._thread = threading.Thread(target=self._server.serve, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all connections and listen no more; a Unix socket's file is removed."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = self._thread = None

    def _failed(self) -> None:
        with self._lock:
            self.errors += 1


def _only_metrics(metrics: _Application, failed: Callable[[], None]) -> _Application:
    """Return an application that answers a GET of PATH, and says of everything else what it is."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def answer(status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
            return [text.encode() + b"\n"]

        if environ["REQUEST_METHOD"] != "GET":
            return answer("405 Method Not Allowed", "only GET", ("Allow", "GET"))
        if environ["PATH_INFO"] != PATH:
            return answer("404 Not Found", f"hangup's metrics are at {PATH}")
        try:
            return metrics(environ, start_response)
        except Exception as error:
            failed()
            return answer("500 Internal Server Error", f"{type(error).__name__}: {error}")

    return application


class _Handler(WSGIRequestHandler):
    # Of each read, and of the whole of what is written (socket.sendall() does not begin anew with each piece).
    timeout = MAX_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base's
        """Write no log: it would go to standard error."""

    def get_stderr(self) -> TextIO:
        """Return where wsgiref writes the traceback of a connection that broke: nowhere."""
        return io.StringIO()


class _Server(WSGIServer):
    request_queue_size = 16

    def __init__(self, address: TcpAddress | UnixAddress, application: _Application) -> None:
        self._address = address
        # Connections under way, the oldest first, and since when.
        self._connections: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._inode: tuple[int, int] | None = None
        if isinstance(address, UnixAddress):
            self.address_family = socket.AF_UNIX
            bind: Any = address.path
        else:
            self.address_family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
            bind = (address.host, address.port)
        super().__init__(bind, _Handler)
        self.set_app(application)

    def serve(self) -> None:
        """Serve until shutdown() is called."""
        # Signals are the main thread's: one that came here would not interrupt its waiting.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.serve_forever(_LOOK_SECONDS)

    def server_bind(self) -> None:
        """Bind; unlike the base without asking the resolver for this host's name."""
        if isinstance(self._address, UnixAddress):
            path = Path(self._address.path)
            _remove_stale(path)
            # Before, so that it is never open to more (unix_bind_bsd() gives the file the socket's mode less the
            # umask); after, because of the umask.
            os.fchmod(self.socket.fileno(), _SOCKET_MODE)
            self.socket.bind(self.server_address)
            path.chmod(_SOCKET_MODE)
            status = path.stat()
            self._inode = status.st_dev, status.st_ino
            self.server_name, self.server_port = "localhost", 0
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = self._address.host, self.server_address[1]
        self.setup_environ()

    def server_close(self) -> None:
        """Close the listener and all connections."""
        super().server_close()
        for connection in self._oldest():
            _hang_up(connection)
        if self._inode and isinstance(self._address, UnixAddress):
            path = Path(self._address.path)
            with suppress(OSError):
                status = path.stat()
                # Another hangup may have put its own there meanwhile.
                if (status.st_dev, status.st_ino) == self._inode:
                    path.unlink()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the client of a Unix socket has no address of its own, and wsgiref asks for the first part of it."""
        connection, address = super().get_request()
        return connection, address or ("localhost", 0)

    def service_actions(self) -> None:
        """End the connections that have lasted too long; called by serve_forever() every now and then."""
        now = time.monotonic()
        for connection, since in self._oldest().items():
            if now - since > MAX_SECONDS:
                _hang_up(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, in place of the oldest if there are too many."""
        if not self._free.acquire(blocking=False):
            for connection in self._oldest():
                _hang_up(connection)
                break
            # Its thread ends at once, unless it is about to make its answer.
            if not self._free.acquire(timeout=MAX_SECONDS):
                self.shutdown_request(request)
                return
        with self._lock:
            self._connections[request] = time.monotonic()
        try:
            threading.Thread(target=self._serve_one, args=(request, client_address), daemon=True).start()
        except RuntimeError:
            # No more threads: the limit of the service's unit, or of the host.
            self._end(request)

    def _serve_one(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: S110 - a reader that went, or sent what is no request: it knows itself
            pass
        finally:
            self._end(request)

    def _end(self, request: Any) -> None:
        self.shutdown_request(request)
        with self._lock:
            self._connections.pop(request, None)
        self._free.release()

    def _oldest(self) -> dict[socket.socket, float]:
        with self._lock:
            return dict(self._connections)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the base prints a traceback."""


def _hang_up(connection: socket.socket) -> None:
    """Make a thread's reading or writing of this connection end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _remove_stale(path: Path) -> None:
    """Remove a socket's file that nobody listens behind; OSError if somebody does, or it is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EADDRINUSE, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
