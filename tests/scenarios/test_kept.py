"""A second start takes what the first one compiled: no BCC, and the same alerts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hangup.tracer.kernel.kept import DIRECTORY
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.watched import watch

FLAVOURS = exact_flavours()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep what is compiled in a new directory of root's own; others may write to /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/cache") as folder:
        monkeypatch.setenv("CACHE_DIRECTORY", folder)
        yield Path(folder)


@pytest.fixture
def no_bcc(tmp_path: Path) -> str:
    """Return where Python finds a bcc that cannot be imported."""
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('bcc is imported')\n")
    (package / "libbcc.py").touch()
    return str(tmp_path)


def fail(path: Path) -> None:
    """Have a write fail on a connection that is named, and another one on a socketpair."""
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.bind(str(path))
        waiting.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        accepted, _ = waiting.accept()
    client.send(b"abc")
    accepted.recv(2)
    one, other = socket.socketpair()
    for survivor, gone in ((client, accepted), (one, other)):
        gone.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            survivor.send(b"defg")
        survivor.close()
    path.unlink()


def seen(output: Path, path: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the alerts about what this process does meanwhile, but for what differs from run to run."""
    with watch(output, "--all", *arguments) as found:
        fail(path)
    return [without_run(alert) for alert in found.alerts if about_us(alert)]


def about_us(alert: dict[str, Any]) -> bool:
    return bool(alert["failed"]["pid"] == os.getpid())


def without_run(value: Any) -> Any:
    """Leave out times, durations, numbers and addresses."""
    if isinstance(value, dict):
        return {
            name: without_run(each)
            for name, each in value.items()
            if not (isinstance(each, int | float) and not isinstance(each, bool) and name not in ("size", "result"))
            and not any(word in name for word in ("time", "sentence", "address", "sock", "inode"))
        }
    return [without_run(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("flavour", "selected"),
    [(FLAVOURS[0], ()), (FLAVOURS[-1], ("--pid", str(os.getpid())))],
    ids=[f"{FLAVOURS[0]}-all", f"{FLAVOURS[-1]}-selected"],
)
def test_a_second_start_needs_no_bcc_and_sees_the_same(
    flavour: str, selected: tuple[str, ...], kept: Path, no_bcc: str, tmp_path: Path
) -> None:
    arguments = ["--probes", flavour, *selected]
    compiled = seen(tmp_path / "first", tmp_path / "socket", *arguments)
    files = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert len(compiled) == 2
    assert len(files) == 2
    assert any(name.startswith(flavour) for name in files)

    with pytest.MonkeyPatch.context() as later:
        later.setenv("PYTHONPATH", no_bcc)
        assert seen(tmp_path / "second", tmp_path / "socket", *arguments) == compiled
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == files


def test_what_is_damaged_or_not_to_be_trusted_is_compiled_anew(
    kept: Path, no_bcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavour = FLAVOURS[-1]
    compiled = seen(tmp_path / "first", tmp_path / "socket", "--probes", flavour)
    (programs,) = kept.glob(f"{flavour}-*")
    whole = programs.read_bytes()
    programs.write_bytes(whole[: len(whole) // 2])
    assert seen(tmp_path / "second", tmp_path / "socket", "--probes", flavour) == compiled
    assert programs.read_bytes() == whole

    kept.chmod(0o777)
    monkeypatch.setenv("PYTHONPATH", no_bcc)
    done = subprocess.run(
        [sys.executable, "-m", "hangup", "watch", "--probes", flavour], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "hangup: BCC does not compile the probes (RuntimeError: bcc is imported): see what `hangup doctor` says"
    ]


def test_doctor_says_what_is_kept(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> tuple[str, str]:
        command = [sys.executable, "-m", "hangup", "doctor", "--json"]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        (one,) = [each for each in map(json.loads, lines) if each["name"] == "kept programs"]
        return one["state"], one["found"]

    state, found = check()
    assert (state, found.startswith("none yet")) == ("ok", True)
    seen(tmp_path / "first", tmp_path / "socket")
    state, found = check()
    assert (state, str(kept) in found, found.startswith("none")) == ("ok", True, False), found
    kept.chmod(0o777)
    state, found = check()
    assert (state, "others than root" in found) == ("warn", True)
    monkeypatch.delenv("CACHE_DIRECTORY")
    assert str(DIRECTORY) in check()[1]
