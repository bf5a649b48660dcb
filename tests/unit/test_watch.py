"""`hangup watch` and `hangup trace` from the command line to the exit status, on told stories."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli.child import CommandNotStartedError, look_up
from hangup.cli.commands import trace, watch
from hangup.cli.json_lines import HEADER, type_of
from hangup.cli.main import hangup
from hangup.cli.reporters import summary_json
from hangup.tracer import fields
from hangup.tracer.errors import HangupError
from hangup.tracer.field import Field
from hangup.tracer.kernel import live, preflight
from hangup.tracer.record.layout import Sender, SenderFlag, pack_sender
from hangup.tracer.tracer import Tracer
from tests.stories import SHUT_WR, Story, clean, established, latent, seeds_failure
from tests.unit.playback import Playback
from tests.unit.test_alert_text import CGROUPS, HEX, STORIES

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the verbs trace stories in place of this host."""

    def tell(*stories: Story, cgroups: Mapping[int, str] | None = None) -> None:
        def replay(**options: Any) -> Tracer:
            source = Playback([event for story in stories for event in story.events], cgroups=cgroups)
            return Tracer(source=source, **options)

        for verb in (watch, trace):
            monkeypatch.setattr(verb, "Tracer", replay)

    return tell


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, arguments)


def records(result: Result) -> list[dict[str, Any]]:
    # click 8.1's runner mixes in what went to standard error.
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("arguments", "stream", "history"),
    [
        ((), False, 65_536),
        (("--stream",), True, 65_536),
        (("--history", "5000"), False, 8192),
        (("--no-stream", "--history", "1048576"), False, 1_048_576),
    ],
)
def test_how_much_watch_has_recorded_is_the_tracers_to_know(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], stream: bool, history: int
) -> None:
    given: list[dict[str, Any]] = []

    def replay(**options: Any) -> Tracer:
        given.append(options)
        return Tracer(source=Playback([]), **options)

    monkeypatch.setattr(watch, "Tracer", replay)
    assert run("watch", "--duration", "0.01", *arguments).exit_code == 0
    assert [(options["stream"], options["history"]) for options in given] == [(stream, history)]


@pytest.mark.parametrize("number", ["1023", "1048577", "many", "-1"])
@pytest.mark.parametrize("verb", ["watch", "serve"])
def test_a_number_of_histories_that_cannot_be_had_is_told_in_one_line(verb: str, number: str) -> None:
    result = run(verb, "--history", number)
    assert result.exit_code == (125 if verb == "watch" else 2)
    # click 8.1's runner mixes in what goes to standard error.
    [*_, line] = result.output.splitlines()
    assert line == f"Error: Invalid value for '--history': '{number}' is not a number from 1024 to 1048576"


def test_watch_ends_with_122_after_an_alert_and_with_0_without(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    assert run("watch", "--duration", "0.01").exit_code == 122
    assert run("watch", "--duration", "0.01", "--no-fail").exit_code == 0
    told(clean(), latent())
    assert run("watch", "--duration", "0.01").exit_code == 0
    assert run("watch", "--duration", "0.01", "--latent").exit_code == 122


def test_watch_ends_with_its_commands_status_if_that_failed(told: Callable[..., None]) -> None:
    told(clean())
    assert run("watch", "--", "sh", "-c", "exit 7").exit_code == 7
    assert run("watch", "sh", "-c", "kill -9 $$").exit_code == 137
    assert run("watch", "true").exit_code == 0
    told(seeds_failure())
    assert run("watch", "--", "sh", "-c", "exit 7").exit_code == 7
    assert run("watch", "--no-fail", "--", "sh", "-c", "exit 7").exit_code == 7


def test_a_command_that_went_well_under_alerts_ends_with_a_status_of_hangups_own(told: Callable[..., None]) -> None:
    told(seeds_failure())
    assert run("watch", "--", "true").exit_code == 122
    assert run("watch", "--no-fail", "--", "true").exit_code == 0


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("/no/such/command", 127, "No such file or directory"),
        ("no-such-command", 127, "No such file or directory"),
        ("/etc/hostname/x", 127, "No such file or directory"),
        ("/proc/self/status", 126, "Permission denied"),
        ("/", 126, "Permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_one_line_and_the_shells_status_and_nothing_is_watched(
    monkeypatch: pytest.MonkeyPatch, command: str, status: int, reason: str
) -> None:
    def never(**_: Any) -> Tracer:
        raise AssertionError("no probe is loaded for a command that is not there")

    monkeypatch.setattr(watch, "Tracer", never)
    result = run("watch", "--", command)
    assert (result.exit_code, result.output) == (status, f"hangup: cannot run {command}: {reason}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_command_is_looked_up_as_the_user_who_will_run_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    look_up("own")
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with pytest.raises(CommandNotStartedError, match="Permission denied") as raised:
        look_up("own")
    assert raised.value.exit_status == 126
    look_up("sh")


def test_watch_prints_a_block_an_alert_and_the_table(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    output = run("watch", "--duration", "0.01").stdout
    assert "uwsgi[815] read 723 bytes, answered 94 bytes and hung up; 89 µs later httpd[4711]'s write of 8" in output
    assert "BROKEN WRITE" in output
    assert output.splitlines()[-1].startswith("1 alert in ")
    assert "total               2       1      0\n" in output
    assert "advice: " in output


def refused(path: str = "/run/stale.s") -> Story:
    story = Story(path=path)
    story.connect(error=errno.ECONNREFUSED)
    return story


def verdicts(*options: str) -> list[str]:
    """Return the verdicts of the alerts."""
    found = records(run("watch", "--json", "--duration", "0.01", *options))
    return sorted(record["verdict"] for record in found if record["record"] == "alert")


def test_only_the_verdicts_that_are_asked_for_are_alerts_and_all_are_counted(told: Callable[..., None]) -> None:
    stories = (seeds_failure(), refused(), latent())
    told(*stories)
    assert verdicts() == ["answered", "refused"]
    assert verdicts("--latent") == ["answered", "latent", "refused"]
    assert verdicts("--verdict", "refused") == ["refused"]
    assert verdicts("--verdict", "refused", "--verdict", "answered") == ["answered", "refused"]
    assert verdicts("--verdict", "latent") == ["latent"]
    result = run("watch", "--json", "--duration", "0.01", "--verdict", "killed")
    *rows, total = records(result)
    assert result.exit_code == 0
    assert (total["alerts"], total["connections"]) == (0, 3)
    assert {row["verdict"] for row in rows} == {"answered", "refused", "latent"}


def test_a_verdict_that_is_none_is_refused_and_those_there_are_named() -> None:
    result = run("watch", "--verdict", "clean")
    assert result.exit_code == 125
    assert "gave-up" in result.output


def farewell() -> Story:
    """Return a client that has all it was owed and says good-bye to a server that closed an hour ago."""
    story = established()
    story.client.write(100)
    story.server.read()
    story.server.write(250)
    story.client.read()
    story.wait(3600 * 10**9)
    story.server.release()
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    return story


def test_what_is_harmless_is_counted_and_an_alert_only_if_asked_for(told: Callable[..., None]) -> None:
    told(farewell())
    quiet = run("watch", "--json", "--duration", "0.01")
    row, total = records(quiet)
    assert (quiet.exit_code, row["verdict"], row["harmless"], total["alerts"]) == (0, "reused", 1, 0)
    result = run("watch", "--json", "--duration", "0.01", "--harmless")
    alert, row, total = records(result)
    assert (result.exit_code, alert["consequence"]["harmless"], row["harmless"], total["alerts"]) == (122, True, 1, 1)


@pytest.mark.parametrize("path", ["/run/systemd/private", "\0/org/freedesktop/plymouthd"])
def test_what_every_systemctl_breaks_is_ignored_unless_something_else_is(told: Callable[..., None], path: str) -> None:
    stories = (seeds_failure(path=path), seeds_failure(path="/run/other.s"))
    told(*stories)
    assert len(verdicts()) == 1
    ignoring = run("watch", "--json", "--duration", "0.01", "--ignore-path", "/run/other.s")
    assert records(ignoring)[0]["path"] == path.replace("\0", "@")
    assert len(records(ignoring)) == 3
    # trace leaves out what it is told to, and nothing else.
    traced = records(run("trace", "--json", "--duration", "0.01"))
    assert {record["path"] for record in traced if record["record"] == "operation"} > {path.replace("\0", "@")}


def test_three_in_full_ten_as_lines_and_the_rest_counted_before_the_table(told: Callable[..., None]) -> None:
    told(*[seeds_failure() for _ in range(20)])
    output = run("watch", "--duration", "0.01").stdout
    assert output.count("BROKEN WRITE") == 3
    lines = output.splitlines()
    assert sum(" answered #" in line for line in lines) == 10
    counts = "7 more alerts: answered, httpd to uwsgi, /tmp/helloFastCGI.s (--all shows each)"
    assert lines.index(counts) < next(number for number, line in enumerate(lines) if line.startswith("VERDICT"))
    assert lines[-1].startswith("20 alerts in ")
    everything = run("watch", "--duration", "0.01", "--all").stdout
    assert everything.count("BROKEN WRITE") == 20
    assert "more alert" not in everything
    assert len(verdicts()) == 20


def test_addresses_of_the_kernel_are_in_the_text_only_if_asked_for(told: Callable[..., None]) -> None:
    told(seeds_failure())
    assert "ffff880108bcc440" not in run("watch", "--duration", "0.01").stdout
    told(seeds_failure())
    assert "ffff880108bcc440" in run("watch", "--duration", "0.01", "--addresses").stdout


def signalled(flags: int) -> Story:
    """Return a server that uwsgi's thread was serving when a signal ended it in the middle of an answer."""
    sender = Sender(1_000_050_000, 15, 0, 160, 161, 1000, flags, b"kill\x1b".ljust(16, b"\0"))
    story = established()
    story.client.write(300)
    story.server.read(leader=b"uwsgi-master".ljust(16, b"\0"))
    story.server.release(killed_by=15, sender=pack_sender(sender), leader=b"uwsgi-master".ljust(16, b"\0"))
    story.client.read(0)
    story.client.release()
    return story


@pytest.mark.parametrize(
    ("flags", "by", "handled"),
    [
        (0, "process", False),
        (SenderFlag.HANDLED, "process", True),
        (SenderFlag.KERNEL, "kernel", False),
        (SenderFlag.KERNEL | SenderFlag.OOM, "oom-killer", False),
    ],
)
def test_json_tells_symptom_sender_consequence_and_thread(
    told: Callable[..., None], flags: int, by: str, handled: bool
) -> None:
    told(signalled(int(flags)))
    alert, *_ = records(run("watch", "--json", "--duration", "0.01"))
    assert (alert["verdict"], alert["symptom"]) == ("killed", "cut read")
    assert_described(fields.SENDER, alert["sender"])
    assert alert["sender"] == {
        "signal": "SIGTERM",
        "by": by,
        "pid": 160,
        "comm": "kill\\x1b",
        "uid": 1000,
        "monotonic_ns": 1_000_050_000,
        "handled": handled,
    }
    assert alert["consequence"] == {"answer": None, "lost_bytes": 0, "afterwards": "closed", "harmless": False}
    assert (alert["server"]["comm"], alert["server"]["thread"], alert["server"]["tid"]) == (
        "uwsgi-master",
        "uwsgi",
        817,
    )
    assert (alert["client"]["comm"], alert["client"]["thread"]) == ("httpd", "httpd")


def test_json_names_no_hang_up_and_no_sender_where_the_only_release_is_the_victims(told: Callable[..., None]) -> None:
    story = established()
    story.client.shutdown(SHUT_WR)
    story.client.write(5, error=errno.EPIPE)
    story.client.release(killed_by=15)
    told(story)
    alert, *_ = records(run("watch", "--json", "--duration", "0.01"))
    assert (alert["verdict"], alert["survivor"]) == ("own-shutdown", "client")
    assert (alert["hangup"], alert["sender"]) == (None, None)


def test_the_selection_is_of_alerts_and_of_counts(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    result = run("watch", "--json", "--duration", "0.01", "--path", "/run/*")
    assert [record["record"] for record in records(result)] == ["summary", "total"]
    assert records(result)[0]["path"] == "/run/app.s"


@pytest.mark.parametrize("verb", ["watch", "trace", "serve"])
def test_what_keeps_this_host_from_tracing_is_said_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def never(**_: Any) -> None:
        raise AssertionError("no probe is loaded on a host that cannot be traced")

    def refuse() -> None:
        raise HangupError("no BTF", "get some")

    monkeypatch.setattr(live, "Probes", never)
    monkeypatch.setattr(preflight, "require", refuse)
    result = run(verb)
    assert (result.exit_code, result.output) == (125, "hangup: no BTF: get some\n")


@pytest.mark.parametrize(
    "arguments",
    [("--nonsense", "--", "true"), ("--duration", "x", "--", "true"), ("--pid", "0", "true"), ("--path",)],
    ids=" ".join,
)
@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_a_wrong_call_is_no_status_that_the_command_may_have(verb: str, arguments: tuple[str, ...]) -> None:
    result = run(verb, *arguments)
    assert result.exit_code == 125
    assert "Error: " in result.output
    assert run("peers", "--nonsense").exit_code == 2


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_a_fault_is_no_status_that_the_command_may_have(
    told: Callable[..., None], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    told(clean())

    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    for module in (watch, trace):
        monkeypatch.setattr(module, "run", fault)
    result = run(verb, "--duration", "0.01", "--", "true")
    assert result.exit_code == 125
    assert "hangup: a fault of hangup itself (RuntimeError: boom): " in result.output


@pytest.mark.parametrize("status", [2, 70])
@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_the_commands_own_status_is_not_taken_for_ours(told: Callable[..., None], verb: str, status: int) -> None:
    told(clean())
    assert run(verb, "--", "sh", "-c", f"exit {status}").exit_code == status


def test_trace_ends_with_its_command_and_an_alert_is_none_of_its_business(told: Callable[..., None]) -> None:
    told(seeds_failure())
    result = run("trace", "evt.res=EPIPE", "--", "true")
    assert result.exit_code == 0
    assert " while true runs\n" in result.output
    assert "hangup: 1 operation; nothing lost\n" in result.output
    result = run("trace", "--", "no-such-command")
    assert (result.exit_code, result.output) == (127, "hangup: cannot run no-such-command: No such file or directory\n")


@pytest.mark.parametrize("verb", ["watch", "trace", "serve"])
def test_the_host_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    looks: list[None] = []

    def refuse(**_: Any) -> None:
        raise HangupError("no room", "make some")

    monkeypatch.setattr(live, "Probes", refuse)
    monkeypatch.setattr(preflight, "require", lambda: looks.append(None))
    assert run(verb).exit_code == 125
    assert len(looks) == 1


@pytest.mark.parametrize("time", ["0", "-1", "x", "1d", "nan", "inf", "1e9", "99999999h"])
def test_a_duration_that_is_none_is_refused(time: str) -> None:
    result = run("watch", f"--duration={time}")
    assert result.exit_code == 125
    assert "is not a time; write it like 10, 1.5, 30s, 5m or 1h" in " ".join(result.output.split())


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("1.5", 1.5), ("30s", 30), ("5m", 300), ("1h", 3600)])
def test_a_duration_may_have_a_unit(
    told: Callable[..., None], monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    told(clean())
    given: list[Any] = []
    monkeypatch.setattr(watch, "run", lambda *_, **options: given.append(options["duration"]))
    assert run("watch", "--duration", text).exit_code == 0
    assert given == [seconds]


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array of strings": (list,),
    "array of objects": (list,),
}


def assert_described(of_object: Iterable[Field[Any]], values: Mapping[str, Any]) -> None:
    """Compare an object with the table that docs/json.md has of it."""
    described = list(of_object)
    assert [name for name in values if name not in ("schema", "record")] == [field.name for field in described]
    for field in described:
        value, name = values[field.name], type_of(field).removesuffix(f" ({field.unit})")
        allowed = tuple(kind for part in name.split(" or ") for kind in _TYPES[part])
        assert isinstance(value, allowed), f"{field.name} is {value!r}, not {name}"
        assert isinstance(value, bool) == (name == "boolean")


@pytest.mark.parametrize("name", STORIES)
def test_json_of_an_alert_is_what_the_tables_say(told: Callable[..., None], name: str) -> None:
    told(STORIES[name]())
    alert, row, total = records(run("watch", "--json", "--latent", "--duration", "0.01"))
    assert [record["record"] for record in (alert, row, total)] == ["alert", "summary", "total"]
    assert all(list(record)[: len(HEADER)] == [field.name for field in HEADER] for record in (alert, row, total))
    assert_described(fields.ALERT, alert)
    assert_described(fields.ROW, row)
    assert_described(summary_json.TOTAL, total)
    assert_described(fields.FIGURES, alert["figures"])
    assert_described(fields.CONSEQUENCE, alert["consequence"])
    for end in (alert["client"], alert["server"]):
        if end is not None:
            assert_described(fields.END, end)
    for operation in (alert["hangup"], alert["failed"], *alert["timeline"]):
        if operation is not None:
            assert_described(fields.OPERATION, operation)


def test_json_tells_the_classic_failure_to_the_last_byte(told: Callable[..., None]) -> None:
    told(seeds_failure())
    alert, row, total = records(run("watch", "--json", "--duration", "0.01"))
    assert (alert["verdict"], alert["survivor"], alert["doubts"]) == ("answered", "client", [])
    assert (alert["client"]["comm"], alert["client"]["pid"], alert["client"]["tid"]) == ("httpd", 4711, 4713)
    assert (alert["client"]["sock"], alert["server"]["sock"]) == ("ffff880108bcc440", "ffff880108bcba80")
    assert (alert["failed"]["syscall"], alert["failed"]["error"], alert["failed"]["size"]) == ("writev", "EPIPE", 8)
    assert alert["figures"]["gap_ns"] == 89_000
    assert alert["failed"]["end_ns"] - alert["hangup"]["start_ns"] == 89_000
    # What its process did next is in the story, too.
    assert alert["timeline"][-2] == alert["failed"]
    assert (alert["symptom"], alert["sender"]) == ("broken write", None)
    assert alert["consequence"] == {
        "answer": "never read",
        "lost_bytes": 94,
        "afterwards": "closed",
        "harmless": False,
    }
    assert [
        (operation["endpoint"], operation["result"])
        for operation in alert["timeline"]
        if operation["operation"] in ("read", "write") and operation["result"] > 0
    ] == [
        *[(end, size) for size in (16, 699, 8) for end in ("client", "server")],
        *[("server", size) for size in (8, 43, 8, 11, 24)],
    ]
    assert row["gap_max_ns"] == 89_000
    assert (total["alerts"], total["lost"]) == (1, 0)


def test_trace_prints_one_line_an_operation(told: Callable[..., None]) -> None:
    told(seeds_failure(), STORIES["refused"]())
    result = run("trace", "--duration", "0.01")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if not line.startswith("hangup: ")]
    shown = [line.split(" ", 1)[1] for line in lines]
    assert shown[0] == "httpd[4711/4713] connect(7)     #1   /tmp/helloFastCGI.s"
    assert "httpd[4711/4713] writev(7) 699  #1   uwsgi[815] /tmp/helloFastCGI.s" in shown
    assert "httpd[4711/4713] writev(7) 8: EPIPE #1   uwsgi[815] /tmp/helloFastCGI.s" in shown
    assert shown[-1] == "httpd[4711/4713] connect(7): ECONNREFUSED -    /run/stale.s"
    assert len(lines) == len(seeds_failure().events) + 1


def test_json_of_an_operation_is_what_the_table_says(told: Callable[..., None]) -> None:
    told(seeds_failure(), STORIES["refused"](), STORIES["killed"](), STORIES["older-than-the-tracer"]())
    *lines, total = [
        record for record in records(run("trace", "--json", "--duration", "0.01")) if record["record"] != "summary"
    ]
    assert total["record"] == "total"
    for line in lines:
        assert line["record"] == "operation"
        assert_described(fields.TRACED, line)
    connections = [line["connection"] for line in lines]
    assert connections.count(None) == 1
    assert len(set(connections)) == 4


def test_json_says_in_which_unit_and_container_a_process_is_and_what_it_is_called_there(
    told: Callable[..., None],
) -> None:
    def place(record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in ("pid", "inner_pid", "unit", "container", "runtime"))

    nginx = (3012, 7, f"docker-{HEX}.scope", HEX[:12], "docker")
    uwsgi = (2948, 41, "uwsgi.service", "web", "systemd-nspawn")
    told(STORIES["containers"](), cgroups=CGROUPS)
    alert, *_ = records(run("watch", "--json", "--duration", "0.01"))
    assert (place(alert["client"]), place(alert["server"])) == (nginx, uwsgi)
    assert alert["client"]["cgroup"] == f"/system.slice/docker-{HEX}.scope"
    assert {operation["inner_pid"] for operation in alert["timeline"]} == {7, 41}
    told(STORIES["containers"](), seeds_failure(), cgroups=CGROUPS)
    lines = [line for line in records(run("trace", "--json", "--duration", "0.01")) if line["record"] == "operation"]
    nowhere = {(pid, pid, None, None, None) for pid in (4711, 815)}
    assert {place(line) for line in lines} == {nginx, uwsgi} | nowhere


# Runs a verb on a story and then waits, as a real tracer would: for a signal, or for its reader to go.
_WAITING = """
import sys
from hangup.cli.commands import trace, watch
from hangup.cli.main import main
from tests.stories import seeds_failure
from tests.unit.playback import Playback
from hangup.tracer.tracer import Tracer

for verb in (trace, watch):
    verb.Tracer = lambda **options: Tracer(source=Playback(seeds_failure().events, idle=0.05), **options)
main()
"""


def waiting(*arguments: str, ready: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WAITING, *arguments, "--ready-fd", str(ready)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[ready],
    )


def wait_until_ready(read: int, write: int) -> str:
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_watch_with_its_table(number: signal.Signals) -> None:
    read, write = os.pipe()
    with waiting("watch", ready=write) as child:
        assert wait_until_ready(read, write) == f"{child.pid} capture\n"
        child.send_signal(number)
        output, errors = child.communicate(timeout=60)
    assert child.returncode == 122
    assert output.splitlines()[-1].startswith("1 alert in ")
    assert errors == "hangup: watching with capture (0 functions); Ctrl-C ends\n"


@pytest.mark.parametrize("arguments", [["watch"], ["watch", "--json"], ["trace"], ["watch", "--comm", "nobody"]])
def test_a_reader_that_goes_away_ends_it_quietly_also_when_there_is_nothing_to_print(arguments: list[str]) -> None:
    read, write = os.pipe()
    with waiting(*arguments, ready=write) as child:
        assert child.stdout is not None
        child.stdout.close()
        # It may find out even before it is ready.
        wait_until_ready(read, write)
        assert child.stderr is not None
        errors = [line for line in child.stderr if "Ctrl-C ends" not in line]
        assert child.wait(timeout=60) == 141
    assert errors == []
