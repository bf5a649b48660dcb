"""What real servers say in their own error logs about broken writes and reset reads: the truth of the scenarios.

Each failure carries what the log gives to find the same operation among hangup's: who, on which descriptor or in which
thread and when, and with which error.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from errno import ECONNRESET


@dataclass(frozen=True)
class LoggedFailure:
    """One failed operation on the connection to the server behind, as the server in front logged it."""

    server: str
    pid: int
    errno: int
    operation: str  # "write" or "read"
    message: str
    tid: int | None = None
    when_ns: int | None = None  # wall clock; httpd gives microseconds, nginx only seconds
    descriptor: int | None = None


# The ErrorLogFormat that parse_httpd_log() reads: microseconds, process, thread, error, message.
HTTPD_ERROR_LOG_FORMAT = "%{u}t|%P|%{g}T|%E|%M"

_HTTPD_LINE = re.compile(
    r"(?P<when>\w{3} \w{3} [ \d]\d [\d:]{8}\.\d{6} \d{4})\|(?P<pid>\d+)\|(?P<tid>\d+)\|"
    r"\((?P<errno>\d+)\)[^|]*\|(?P<message>.*)"
)
# AH01075 is mod_proxy_fcgi's only message for a failed dispatch; what is in brackets says where it was.
_HTTPD_DISPATCH = "AH01075: "
_HTTPD_READING = "(reading"

_NGINX_LINE = re.compile(
    r"(?P<when>\d{4}/\d\d/\d\d [\d:]{8}) \[(?P<level>\w+)\] (?P<pid>\d+)#(?P<tid>\d+): (?:\*(?P<connection>\d+) )?"
    r"(?P<message>.*)"
)
_NGINX_CONNECT = re.compile(r"connect to unix:.*, fd:(?P<descriptor>\d+) #\d+")
_NGINX_FAILURE = re.compile(r"(?P<call>\w+)\(\) failed \((?P<errno>\d+): [^)]*\) while [^,]*upstream")
_NGINX_WRITES = ("send", "sendfile", "writev")


def parse_httpd_log(lines: Iterable[str]) -> Iterator[LoggedFailure]:
    """Find mod_proxy_fcgi's failures in an error log written with HTTPD_ERROR_LOG_FORMAT."""
    for line in lines:
        found = _HTTPD_LINE.match(line)
        if found is None or _HTTPD_DISPATCH not in found["message"]:
            continue
        when = datetime.strptime(found["when"], "%a %b %d %H:%M:%S.%f %Y").astimezone()
        errno = int(found["errno"])
        yield LoggedFailure(
            server="httpd",
            pid=int(found["pid"]),
            tid=int(found["tid"]),
            errno=errno,
            # Without a place in brackets it was a read of the answer. A write to a stream never fails with ECONNRESET.
            operation="read" if _HTTPD_READING in found["message"] or errno == ECONNRESET else "write",
            message=found["message"].rstrip(),
            # timestamp() is a double, which is not exact to the microsecond.
            when_ns=int(when.replace(microsecond=0).timestamp()) * 10**9 + when.microsecond * 1000,
        )


def parse_nginx_log(lines: Iterable[str]) -> Iterator[LoggedFailure]:
    """Find the failures towards the upstream server in an nginx error log of level debug.

    A failure names nginx's number for the connection of its client. The descriptor of the connection behind comes from
    the debug message about the connect on the same client's behalf.
    """
    descriptors: dict[tuple[str, str], int] = {}
    for line in lines:
        found = _NGINX_LINE.match(line)
        if found is None or found["connection"] is None:
            continue
        client = (found["pid"], found["connection"])
        if connect := _NGINX_CONNECT.match(found["message"]):
            descriptors[client] = int(connect["descriptor"])
        elif failure := _NGINX_FAILURE.match(found["message"]):
            if found["level"] == "debug":
                continue
            yield LoggedFailure(
                server="nginx",
                pid=int(found["pid"]),
                tid=int(found["tid"]),
                errno=int(failure["errno"]),
                operation="write" if failure["call"] in _NGINX_WRITES else "read",
                message=found["message"].rstrip(),
                descriptor=descriptors.get(client),
            )


@dataclass(frozen=True)
class LoggedEnd:
    """What a log says about how a connection, or the process behind it, came to its end."""

    level: str  # as the server spells it
    message: str
    socket: str | None = None  # the path of the server behind, where the log names it
    pid: int | None = None  # the process behind that ended, where the log names it


# What nginx says when the server behind or the client has failed it, without the names of calls.
_NGINX_END = re.compile(
    r"(?P<what>upstream prematurely closed connection|upstream timed out|epoll_wait\(\) reported that client|"
    r"(?:recv|readv|send|sendfile|writev|connect)\(\)[^,]* failed \(\d+: )"
)
# It puts a colon between the path and the URI, but not always.
_NGINX_UPSTREAM = re.compile(r'upstream: "\w+://unix:(?P<path>[^"]+?\.socket)[:/"]')

_FPM_LINE = re.compile(
    r"\[[^]]+\] (?P<level>[A-Z]+): \[pool (?P<pool>[^]]+)\] child (?P<pid>\d+)"
    r"(?P<message>(?: exited on signal|, script '[^']*' \(request: \"[^\"]*\"\) execution timed out).*)"
)

_POSTGRES_LINE = re.compile(r"\S+ \S+ \S+ \[(?P<pid>\d+)\] (?P<level>[A-Z]+):  (?P<message>.*)")
_POSTGRES_KILLED = re.compile(r"server process \(PID (?P<pid>\d+)\) (?:was terminated by signal|exited with exit code)")


def parse_nginx_ends(lines: Iterable[str]) -> Iterator[LoggedEnd]:
    """Find every failure between nginx and a server behind it on a Unix socket, and every client that left it.

    The socket's name has to end in `.socket`. The level is `error`, `crit` (a connect that failed) or `info` (the
    client left).
    """
    for line in lines:
        found = _NGINX_LINE.match(line)
        if found is None or found["level"] == "debug" or not _NGINX_END.match(found["message"]):
            continue
        if upstream := _NGINX_UPSTREAM.search(found["message"]):
            yield LoggedEnd(found["level"], found["message"].rstrip(), socket=upstream["path"])


def parse_fpm_log(lines: Iterable[str]) -> Iterator[LoggedEnd]:
    """Find the children that PHP-FPM has given a time limit, and those that a signal ended."""
    for line in lines:
        if found := _FPM_LINE.match(line):
            yield LoggedEnd(found["level"], found["message"].strip(" ,").rstrip(), pid=int(found["pid"]))


def parse_postgres_log(lines: Iterable[str]) -> Iterator[LoggedEnd]:
    """Find the sessions that PostgreSQL has ended (FATAL), the processes it has lost, and its orders to end at once.

    Written with a log_line_prefix of '%m [%p] '. The pid is the session's, if a session is meant.
    """
    for line in lines:
        found = _POSTGRES_LINE.match(line)
        if found is None:
            continue
        message = found["message"].rstrip()
        if killed := _POSTGRES_KILLED.match(message):
            yield LoggedEnd(found["level"], message, pid=int(killed["pid"]))
        elif found["level"] == "FATAL" and message.startswith("terminating connection"):
            yield LoggedEnd(found["level"], message, pid=int(found["pid"]))
        elif message in ("terminating any other active server processes", "received immediate shutdown request"):
            yield LoggedEnd(found["level"], message)
