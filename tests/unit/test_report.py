"""`hangup report` from the command line to the file: private, whole or not there, and never over another."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from hangup.cli import new_file
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.progress import Progress
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.errors import HangupError
from tests.stories import seeds_failure
from tests.unit import pages
from tests.unit.pages import capture, one_after_the_other, read

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return capture(tmp_path / "a.capture", pages.mixed())


def report(*arguments: object) -> Result:
    return CliRunner().invoke(hangup, ["report", *map(str, arguments)])


def test_a_report_is_a_page_that_its_owner_alone_can_read(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    result = report("-r", recorded, "-o", out)
    assert result.exit_code == ExitStatus.OK, result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = read(out.read_text())
    assert [heading.text for heading in found.all("h1")] == ["26 of 89 connections failed: 29.2 %."]
    assert "readable by you alone" in result.output
    assert set(tmp_path.iterdir()) == {recorded, out}


def test_it_says_of_what_it_is(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    report("-r", recorded, "-o", out)
    facts = [element.text for element in read(out.read_text()).all("dd")][:6]
    assert facts[0] == "a.capture"
    assert facts[1] == "2025-12-31 23:59:59 UTC"
    assert facts[3:6] == ["6.1.0-38-amd64", "every operation, with fentry (2 functions)", "nothing"]


def test_a_report_on_standard_output_is_the_page_and_nothing_else(recorded: Path) -> None:
    command = [sys.executable, "-m", "hangup", "report", "-r", str(recorded), "-o", "-"]
    done = subprocess.run(command, capture_output=True, cwd=CHECKOUT, check=True)
    assert done.stderr == b""
    read(done.stdout.decode())


def test_the_options_that_say_what_is_an_alert_are_those_of_watch(recorded: Path, tmp_path: Path) -> None:
    def kinds(name: str, *options: str) -> set[str]:
        out = tmp_path / name
        assert report("-r", recorded, "-o", out, *options).exit_code == ExitStatus.OK
        return {heading.text.split()[0] for heading in read(out.read_text()).all("h3")}

    assert kinds("all") == {"answered", "killed", "unread"}
    assert kinds("latent", "--latent") == {"answered", "killed", "unread", "latent"}
    assert kinds("one", "--verdict", "killed") == {"killed"}
    assert kinds("selected", "--comm", "nginx") == {"killed"}


def test_a_filter_says_what_is_on_the_page(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    result = report("-r", recorded, "-o", out, "verdict=killed or conn.server.comm=uwsgi and verdict.gap > 1s")
    assert result.exit_code == ExitStatus.OK
    assert {heading.text.split()[0] for heading in read(out.read_text()).all("h3")} == {"killed"}


def test_a_report_is_of_several_captures_or_of_what_comes_through_a_pipe(tmp_path: Path) -> None:
    for name, start in (("b.hup", 1), ("a.hup.00001", 101), ("a.hup.00002", 201)):
        capture(tmp_path / name, one_after_the_other([seeds_failure], start=start * 10**9))
    out = tmp_path / "out.html"
    result = report("-r", tmp_path / "b.hup", "-r", tmp_path / "a.hup", "-o", out)
    assert result.exit_code == ExitStatus.OK, result.output
    page = read(out.read_text())
    assert [heading.text for heading in page.all("h1")] == ["3 of 3 connections failed: 100.0 %."]
    assert page.all("dd")[0].text == "b.hup a.hup"
    command = [sys.executable, "-m", "hangup", "report", "-r", "-", "-o", "-"]
    with (tmp_path / "b.hup").open("rb") as file:
        done = subprocess.run(["cat"], stdin=file, stdout=subprocess.PIPE, check=True)
    piped = subprocess.run(command, input=done.stdout, capture_output=True, cwd=CHECKOUT, check=True)
    page = read(piped.stdout.decode())
    assert [heading.text for heading in page.all("h1")] == ["1 of 1 connection failed: 100.0 %."]
    assert page.all("dd")[0].text == "standard input"


def test_it_is_shown_how_far_the_capture_has_been_read(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int] | None] = []
    monkeypatch.setattr(Progress, "show", lambda _, position, size: shown.append((position, size)))
    monkeypatch.setattr(Progress, "hide", lambda _: shown.append(None))
    assert report("-r", recorded, "-o", tmp_path / "out.html").exit_code == ExitStatus.OK
    size = recorded.stat().st_size
    # Till the end, and then it is taken away.
    assert (size, size) in shown
    assert shown[-1] is None


def test_ctrl_c_leaves_no_page(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "show", interrupted)
    assert report("-r", recorded, "-o", tmp_path / "out.html").exit_code == ExitStatus.INTERRUPTED
    assert list(tmp_path.iterdir()) == [recorded]


def test_ctrl_c_while_a_pipe_is_read_is_for_whoever_writes_it(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileSource.read

    def interrupted(source: FileSource, timeout: float) -> list[bytes]:
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        return read(source, timeout)

    monkeypatch.setattr(FileSource, "read", interrupted)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(recorded.read_bytes()), daemon=True)
    writer.start()
    assert report("-r", pipe, "-o", tmp_path / "out.html").exit_code == ExitStatus.OK
    writer.join()
    assert "26 of 89 connections failed" in (tmp_path / "out.html").read_text()


def test_a_file_that_is_there_is_left_alone_unless_forced(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    out.write_text("precious")
    result = report("-r", recorded, "-o", out)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert result.output == f"hangup: {out} is there already: name another file, or overwrite it with --force\n"
    assert out.read_text() == "precious"
    assert report("-r", recorded, "-o", out, "--force").exit_code == ExitStatus.OK
    assert out.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_the_capture_that_is_read_is_not_written_over(recorded: Path, tmp_path: Path) -> None:
    os.link(recorded, tmp_path / "other name")
    (tmp_path / "long.00001").write_bytes(recorded.read_bytes())
    before = recorded.read_bytes()
    for name, other in (("a.capture", "./a.capture"), ("a.capture", "other name"), ("long", "long.00001")):
        out = tmp_path / other
        result = report("-r", tmp_path / name, "-o", out, "--force")
        assert result.exit_code == ExitStatus.CANNOT_RUN
        assert result.output == f"hangup: {out} is the capture that is read: name another file for the page\n"
        assert out.read_bytes() == before


def test_nor_is_one_that_comes_as_standard_input(recorded: Path) -> None:
    before = recorded.read_bytes()
    command = [sys.executable, "-m", "hangup", "report", "-r", "-", "-o", str(recorded), "--force"]
    with recorded.open("rb") as given:
        done = subprocess.run(command, stdin=given, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.stderr == f"hangup: {recorded} is the capture that is read: name another file for the page\n"
    assert recorded.read_bytes() == before


def test_a_file_that_may_not_be_read_can_be_replaced(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.html"
    out.write_text("of somebody else, in a folder of ours")
    # For root everything can be read.
    monkeypatch.setattr(os, "access", lambda path, *_, **__: os.fsdecode(path) != str(out))
    assert report("-r", recorded, "-o", out).output.endswith("overwrite it with --force\n")
    assert report("-r", recorded, "-o", out, "--force").exit_code == ExitStatus.OK
    assert out.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("forced", [[], ["--force"]])
def test_a_report_belongs_to_whoever_called_sudo(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: list[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65533")
    out = tmp_path / "out.html"
    assert report("-r", recorded, "-o", out, *forced).exit_code == ExitStatus.OK
    status = out.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o600)


def test_what_is_wrong_with_the_output_is_said_before_anything_is_read(tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out.html"
    result = report("-r", tmp_path / "no capture", "-o", out)
    assert result.output == f"hangup: there is no folder {out.parent}: make it, or name another file\n"
    result = report("-r", tmp_path / "no capture", "-o", tmp_path / "out.html")
    assert "cannot read" in result.output
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("forced", [[], ["--force"]])
def test_what_is_no_file_is_never_replaced(recorded: Path, tmp_path: Path, forced: list[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(recorded)
    for other in (pipe, link, tmp_path):
        result = report("-r", recorded, "-o", other, *forced)
        assert result.exit_code == ExitStatus.CANNOT_RUN
        assert "is no regular file" in result.output
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()


def test_a_capture_that_was_cut_short_has_a_page_that_says_so(recorded: Path, tmp_path: Path) -> None:
    recorded.write_bytes(recorded.read_bytes()[:-5])
    out = tmp_path / "out.html"
    result = report("-r", recorded, "-o", out)
    assert result.exit_code == ExitStatus.DAMAGED
    assert f"hangup: {recorded} can be read up to byte " in result.output
    [warning] = read(out.read_text()).all("p", "warning")
    assert "a capture, which is damaged" in warning.text


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out.html"
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(HangupError, match=r"cannot write .*out.html \(No space left on device\)"):
        new_file.write(out, b"page", force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_to_be_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.html"
    monkeypatch.setattr(new_file, "check", lambda *_, **__: out.write_text("precious"))
    with pytest.raises(HangupError, match="is there already"):
        new_file.write(out, b"page", force=False)
    assert out.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [out]
