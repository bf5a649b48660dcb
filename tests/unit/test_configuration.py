"""Whatever is wrong in a configuration file is told with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.main import hangup
from hangup.cli.service.configuration import MAX_BYTES, ConfigurationError, load, parse, read
from hangup.cli.service.settings import Settings, keys


def mistakes(text: str) -> list[tuple[int, str, str]]:
    return [(mistake.line, mistake.key, mistake.what) for mistake in parse(text)[1]]


@pytest.mark.parametrize(
    ("text", "line", "key", "what"),
    [
        ("\n[sinks]\nmetrics = '0.0.0.0:9754'\n", 3, "sinks.metrics", "loopback"),
        ("[sinks]\n# a comment\n\nfile = 'alerts'\n", 4, "sinks.file", "absolute"),
        ("[thresholds]\nburst = 0\n", 2, "thresholds.burst", "1 to"),
        ("[thresholds]\nburst = true\n", 2, "thresholds.burst", "True"),
        ("[thresholds]\ninterval = '5 years'\n", 2, "thresholds.interval", "5 years"),
        ("[thresholds]\ninterval = 0.5\n", 2, "thresholds.interval", "less than a second"),
        ("[thresholds]\nlatent = 'yes'\n", 2, "thresholds.latent", "true or false"),
        ("[thresholds]\nverdict = [\n  'unread',\n  'clean',\n]\n", 2, "thresholds.verdict", "clean"),
        ("[selection]\ncomm = ['a', 3]\n", 2, "selection.comm", "3 is not a string"),
        ("[selection]\npath = ''\n", 2, "selection.path", "empty"),
        ("[selection]\ncgroup = ''\n", 2, "selection.cgroup", "empty"),
        ("[selection]\nuid = [0, -1]\n", 2, "selection.uid", "-1 is not a user's number"),
        ("[selection]\nuid = true\n", 2, "selection.uid", "neither a user's name nor a number"),
        ("[selection]\nuid = 'no such user'\n", 2, "selection.uid", "there is no user"),
        ("[selection]\nprobes = 'bpf'\n", 2, "selection.probes", "auto, kprobe, fentry"),
        ("[selection]\nhistory = 1000\n", 2, "selection.history", "1000 is not a number from 1024 to 1048576"),
        ("[selection]\nhistory = true\n", 2, "selection.history", "1024 to"),
        ("[selection]\nstream = 'yes'\n", 2, "selection.stream", "true or false"),
        ("[selection]\nburst = 3\n", 2, "selection.burst", "belongs below [thresholds]"),
        ("[thresholds]\nburts = 3\n", 2, "thresholds.burts", "is burst meant?"),
        ("[tresholds]\nburst = 3\n", 1, "tresholds", "is thresholds meant?"),
        ("burst = 3\n", 1, "burst", "below [thresholds]"),
        ("sinks = 3\n", 1, "sinks", "[sinks]"),
        ("sinks = {file = 'x'}\n", 1, "sinks.file", "absolute"),
        ("[sinks]\nfile_size = 4096\n", 2, "sinks.file_size", "64K"),
        ("[sinks]\n'fi\\u001ble' = 4096\n", 2, "sinks.fi", "no such key"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_would_be_right(
    text: str, line: int, key: str, what: str
) -> None:
    [(found_line, found_key, found_what)] = mistakes(text)
    assert (found_line, found_key[: len(key)]) == (line, key)
    assert what in found_what
    assert found_what.isprintable()
    assert found_key.isprintable()


def test_all_mistakes_are_told_at_once() -> None:
    assert [line for line, _, _ in mistakes("[sinks]\nfile = 3\njournal = 4\n[nothing]\n")] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sinks]\nfile == 3\n", 2),
        ("[sinks\n", 1),
        ("\n\na = [1,\n2", 4),
        ("a = 1\na = 2\n", 2),
        ("'\r0", 1),
        ("a = [\u2028", 1),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, line: int) -> None:
    [(found, key, what)] = mistakes(text)
    assert (found, key) == (line, "")
    assert what.startswith("is not TOML: ")


@given(st.lists(st.sampled_from(["", "# comment = 3", "     ", '  # """'])), st.integers(0, 3))
def test_the_line_is_right_whatever_stands_around_it(lines: list[str], others: int) -> None:
    text = [*lines, "[selection]", *lines, *["path = ['/a',\n'#b = 3',\n]", "comm = '''\nx'''"][: others % 3], *lines]
    before = "\n".join([*text, "[sinks]", *lines]) + "\n"
    found = mistakes(before + "metrics_series = [\n'x'\n]\n")
    expected = before.count("\n") + 1
    assert (expected, "sinks.metrics_series") in [(line, key) for line, key, _ in found]


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "replace")))
def test_no_text_is_a_fault(text: str) -> None:
    for line, key, what in mistakes(text):
        assert 1 <= line <= text.count("\n") + 1
        assert (key + what).isprintable()


def test_a_flag_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "hangup.toml"
    file.write_text("[thresholds]\nburst = 3\nfailures = 4\ninterval = '5m'\n")
    settings = load(file, {"burst": 7})
    assert (settings.burst, settings.failures, settings.interval) == (7, 4, 300.0)
    assert settings.journal == Settings().journal


def test_a_missing_file_is_an_error_only_if_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangup.cli.service.configuration.DEFAULT", tmp_path / "missing.toml")
    assert read(None) == {}
    with pytest.raises(ConfigurationError, match=r"missing\.toml: there is no such file"):
        read(tmp_path / "missing.toml")


def test_what_is_no_configuration_is_told_as_that(tmp_path: Path) -> None:
    file = tmp_path / "hangup.toml"
    file.write_bytes(b"[sinks]\nfile = '\xff'\n")
    with pytest.raises(ConfigurationError, match=r"hangup\.toml:2: is not UTF-8"):
        read(file)
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="not a configuration"):
        read(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path)


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, ["serve", *arguments])


def test_check_prints_what_is_in_force_as_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "hangup.toml"
    file.write_text("[selection]\ncomm = 'ng*nx'\n[sinks]\nfile = '/var/lib/hangup/a\"b.jsonl'\n")
    result = serve("--config", str(file), "--check", "--path", "/run/a.s", "--path", "@b", "--latent", "--no-journal")
    assert result.exit_code == 0
    settings, wrong = parse(result.stdout)
    assert wrong == []
    assert set(settings) == {key.name for key in keys()}
    again = Settings(**settings)
    assert (again.comm, again.path) == (("ng*nx",), ("/run/a.s", "@b"))
    assert (again.latent, again.journal, again.file) == (True, False, '/var/lib/hangup/a"b.jsonl')


def test_check_tells_every_mistake_in_a_line_of_its_own_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "hangup.toml"
    file.write_text("[sinks]\nfile = 3\n\nmetrics = 'x'\n")
    result = serve("--config", str(file), "--check")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["hangup", f"{file}:2", "sinks.file"],
        ["hangup", f"{file}:4", "sinks.metrics"],
    ]


@pytest.mark.parametrize(
    "arguments",
    [("--burst", "0"), ("--metrics", "10.0.0.1:80"), ("--interval", "soon"), ("--verdict", "x"), ("--file", "y")],
)
def test_a_wrong_flag_is_told_like_any_other(arguments: tuple[str, str]) -> None:
    result = serve("--check", *arguments)
    assert result.exit_code == 2
    assert json.dumps(arguments[0])[1:-1] in result.output
    assert "Traceback" not in result.output


def test_a_mistake_behind_a_long_array_is_found_and_deep_nesting_is_told() -> None:
    paths = ",\n".join(f"'/run/{number}'" for number in range(4000))
    assert [line for line, _, _ in mistakes(f"[selection]\npath = [\n{paths}\n]\nburst = 3\n")] == [4004]
    assert mistakes("a = " + "[" * 5000) == [(1, "", "is not TOML: too deeply nested")]


def test_no_more_names_are_promised_than_are_told_apart() -> None:
    assert [key for _, key, _ in mistakes("[sinks]\nmetrics_series = 1001\nfile_count = 1000000\n")] == [
        "sinks.metrics_series",
        "sinks.file_count",
    ]
