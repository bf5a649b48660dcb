"""The parsers of the servers' error logs, on lines that the real servers wrote in the scenarios."""

from datetime import datetime

from tests.scenarios.server_logs import parse_httpd_log, parse_nginx_log

HTTPD = """\
AH00489: Apache/2.4.68 (Debian) configured -- resuming normal operations
AH00094: Command line: '/usr/sbin/apache2 -D FOREGROUND -f /tmp/scenario/httpd.conf'
Mon Nov 23 09:18:50.251341 2026|230|257|(32)Broken pipe|AH01075: Error dispatching request to :8081: (sending empty stdin)
Mon Nov 23 09:18:50.322492 2026|230|243|(32)Broken pipe|AH01075: Error dispatching request to :8081: (sending empty stdin)
Mon Nov  2 09:18:50.422424 2026|230|244|(104)Connection reset by peer|AH01075: Error dispatching request to : (reading input brigade)
Mon Nov 23 09:18:50.500000 2026|230|244|(2)No such file or directory|AH02454: FCGI: attempt to connect to Unix domain socket failed
"""  # noqa: E501

UPSTREAM = (
    'client: 127.0.0.1, server: , request: "POST / HTTP/1.0", '
    'upstream: "uwsgi://unix:/tmp/scenario/application.socket:", host: "127.0.0.1:8080"'
)
NGINX = f"""\
2026/11/23 09:18:43 [debug] 219#219: epoll: fd:6 ev:0001 d:0000562F4A0F11E0
2026/11/23 09:18:43 [debug] 219#219: *1 connect to unix:/tmp/scenario/application.socket, fd:9 #2
2026/11/23 09:18:43 [debug] 219#219: *1 writev: 219264 of 300449
2026/11/23 09:18:43 [debug] 219#219: *1 writev() not ready (11: Resource temporarily unavailable)
2026/11/23 09:18:43 [error] 219#219: *1 readv() failed (104: Connection reset by peer) while reading upstream, {UPSTREAM}
2026/11/23 09:18:43 [debug] 219#219: *1 close http upstream connection: 9
2026/11/23 09:18:43 [debug] 219#219: *3 connect to unix:/tmp/scenario/application.socket, fd:13 #8
2026/11/23 09:18:43 [debug] 219#219: *4 connect to unix:/tmp/scenario/application.socket, fd:14 #9
2026/11/23 09:18:43 [error] 219#219: *4 writev() failed (32: Broken pipe) while sending request to upstream, {UPSTREAM}
2026/11/23 09:18:43 [error] 219#219: *3 recv() failed (104: Connection reset by peer) while reading response header from upstream, {UPSTREAM}
2026/11/23 09:18:43 [info] 219#219: *3 writev() failed (32: Broken pipe) while sending to client, {UPSTREAM}
2026/11/23 09:18:43 [error] 219#219: *5 writev() failed (32: Broken pipe) while sending request to upstream, {UPSTREAM}
"""  # noqa: E501


def test_httpd_failures_carry_thread_and_microseconds() -> None:
    first, second, third = parse_httpd_log(HTTPD.splitlines())
    assert (first.server, first.pid, first.tid, first.errno, first.operation) == ("httpd", 230, 257, 32, "write")
    assert first.message == "AH01075: Error dispatching request to :8081: (sending empty stdin)"
    assert first.when_ns is not None
    assert first.when_ns % 10**9 == 251_341_000
    assert datetime.fromtimestamp(first.when_ns // 10**9) == datetime(2026, 11, 23, 9, 18, 50)
    assert second.when_ns == first.when_ns + 71_151_000
    assert (third.tid, third.errno, third.operation) == (244, 104, "read")


def test_httpd_messages_that_are_no_failed_dispatch_are_left_out() -> None:
    assert list(parse_httpd_log([line for line in HTTPD.splitlines() if "AH01075" not in line])) == []


def test_httpd_reset_is_a_read_where_no_place_is_given() -> None:
    message = "AH01075: Error dispatching request to :8091:"
    line = f"Wed Nov 25 00:33:28.966765 2026|13|26|(104)Connection reset by peer|{message}"
    (failure,) = parse_httpd_log([line])
    assert (failure.operation, failure.message) == ("read", message)


def test_nginx_failures_carry_the_descriptor_of_their_connection() -> None:
    failures = list(parse_nginx_log(NGINX.splitlines()))
    assert [(failure.operation, failure.errno, failure.descriptor) for failure in failures] == [
        ("read", 104, 9),
        ("write", 32, 14),
        ("read", 104, 13),
        ("write", 32, None),
    ]
    assert {(failure.server, failure.pid, failure.tid) for failure in failures} == {("nginx", 219, 219)}


def test_nginx_failure_towards_its_own_client_is_another_connection() -> None:
    assert not any("to client" in failure.message for failure in parse_nginx_log(NGINX.splitlines()))
