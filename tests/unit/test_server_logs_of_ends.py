"""The parsers of what servers log when a process or a connection ends, on lines that the real servers wrote."""

from tests.scenarios.server_logs import parse_fpm_log, parse_nginx_ends, parse_postgres_log

NGINX = """\
2026/11/25 00:39:39 [info] 15#15: *1 client 127.0.0.1 closed keepalive connection
2026/11/25 00:39:39 [error] 15#15: *5 upstream prematurely closed connection while reading response header from upstream, client: 127.0.0.1, server: , request: "GET /killed/wait HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/killed.socket:/wait", host: "127.0.0.1:8090"
2026/11/25 00:39:39 [debug] 15#15: *7 recv: fd:11 -1 of 4096
2026/11/25 00:39:39 [error] 15#15: *7 upstream prematurely closed connection while reading upstream, client: 127.0.0.1, server: , request: "GET /half/half HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/half.socket:/half", host: "127.0.0.1:8090"
2026/11/25 00:39:42 [error] 15#15: *13 upstream timed out (110: Connection timed out) while reading response header from upstream, client: 127.0.0.1, server: , request: "GET /slow/late HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/slow.socket/late", host: "127.0.0.1:8090"
2026/11/25 00:39:42 [info] 15#15: *15 epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too while sending request to upstream, client: 127.0.0.1, server: , request: "GET /gone/late HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/gone.socket:/late", host: "127.0.0.1:8090"
2026/11/25 00:39:42 [crit] 15#15: *17 connect() to unix:/tmp/hangup-abrd5j5o/forbidden.socket failed (13: Permission denied) while connecting to upstream, client: 127.0.0.1, server: , request: "GET /forbidden/ HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/forbidden.socket:/", host: "127.0.0.1:8090"
2026/11/25 00:39:43 [error] 15#15: *21 writev() failed (32: Broken pipe) while sending request to upstream, client: 127.0.0.1, server: , request: "GET /reused/ HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/reused.socket:/", host: "127.0.0.1:8090"
2026/11/25 00:39:43 [crit] 15#15: *24 connect() to unix:/tmp/hangup-abrd5j5o/fine.socket failed (2: No such file or directory) while connecting to upstream, client: 127.0.0.1, server: , request: "GET /fine/ HTTP/1.1", upstream: "http://unix:/tmp/hangup-abrd5j5o/fine.socket:/", host: "127.0.0.1:8090"
"""  # noqa: E501

FPM = """\
[25-Nov-2026 00:33:27] NOTICE: ready to handle connections
[25-Nov-2026 00:33:27] NOTICE: [pool fpm-recycled] child 10 exited with code 0 after 0.046282 seconds from start
[25-Nov-2026 00:33:28] WARNING: [pool fpm-timeout] child 9, script '/tmp/hangup-q84tdudn/wait.php' (request: "GET /fpm-timeout/wait.php") execution timed out (1.282811 sec), terminating
[25-Nov-2026 00:33:28] WARNING: [pool fpm-timeout] child 9 exited on signal 15 (SIGTERM) after 1.336638 seconds from start
[25-Nov-2026 00:33:28] NOTICE: [pool fpm-timeout] child 43 started
[25-Nov-2026 00:33:28] NOTICE: Terminating ...
"""  # noqa: E501

POSTGRES = """\
2026-11-25 00:33:29.890 UTC [21] LOG:  database system is ready to accept connections
2026-11-25 00:33:29.927 UTC [28] FATAL:  terminating connection due to administrator command
2026-11-25 00:33:29.927 UTC [28] STATEMENT:  COPY (SELECT repeat('x',1000) FROM generate_series(1,100000)) TO STDOUT
2026-11-25 00:33:30.451 UTC [30] FATAL:  terminating connection due to idle-session timeout
2026-11-25 00:33:31.023 UTC [21] LOG:  server process (PID 34) was terminated by signal 9: Killed
2026-11-25 00:33:31.023 UTC [21] DETAIL:  Failed process was running: select pg_sleep(600)
2026-11-25 00:33:31.023 UTC [21] LOG:  terminating any other active server processes
2026-11-25 00:33:31.435 UTC [21] LOG:  received immediate shutdown request
2026-11-25 00:37:43.361 UTC [72] LOG:  background worker "logical replication launcher" (PID 92) exited with exit code 1
"""


def test_nginx_names_the_socket_of_the_server_behind() -> None:
    found = [(end.level, (end.socket or "").rpartition("/")[2]) for end in parse_nginx_ends(NGINX.splitlines())]
    assert found == [
        ("error", "killed.socket"),
        ("error", "half.socket"),
        ("error", "slow.socket"),
        ("info", "gone.socket"),
        ("crit", "forbidden.socket"),
        ("error", "reused.socket"),
        ("crit", "fine.socket"),
    ]


def test_nginx_failures_towards_a_client_are_of_another_connection() -> None:
    line = '2026/11/25 00:39:39 [info] 15#15: *3 writev() failed (32: Broken pipe) while sending to client, server: "'
    assert list(parse_nginx_ends([line])) == []


def test_fpm_names_the_child_it_has_ended_and_none_that_ended_in_order() -> None:
    found = [(end.level, end.pid, end.message) for end in parse_fpm_log(FPM.splitlines())]
    assert found == [
        (
            "WARNING",
            9,
            "script '/tmp/hangup-q84tdudn/wait.php' (request: \"GET /fpm-timeout/wait.php\") "
            "execution timed out (1.282811 sec), terminating",
        ),
        ("WARNING", 9, "exited on signal 15 (SIGTERM) after 1.336638 seconds from start"),
    ]


def test_postgres_names_the_session_that_it_ended_or_lost() -> None:
    assert [(end.level, end.pid, end.message) for end in parse_postgres_log(POSTGRES.splitlines())] == [
        ("FATAL", 28, "terminating connection due to administrator command"),
        ("FATAL", 30, "terminating connection due to idle-session timeout"),
        ("LOG", 34, "server process (PID 34) was terminated by signal 9: Killed"),
        ("LOG", None, "terminating any other active server processes"),
        ("LOG", None, "received immediate shutdown request"),
    ]
