"""A second start takes what the first one compiled: no BCC, and the same alerts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hangup.tracer.kernel.kept import DIRECTORY
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.watched import watch

FLAVOURS = exact_flavours()


@contextmanager
def new_directory() -> Iterator[Path]:
    """Keep what is compiled in a new directory of root's own; others may write to /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/cache") as folder, pytest.MonkeyPatch.context() as here:
        here.setenv("CACHE_DIRECTORY", folder)
        yield Path(folder)


class First(NamedTuple):
    """A first start: what it kept, and what it saw."""

    flavour: str
    kept: Path
    socket: Path
    alerts: list[dict[str, Any]]


@pytest.fixture(scope="module", params=dict.fromkeys((FLAVOURS[0], FLAVOURS[-1])))
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """Start once and leave what was kept alone: it compiles, which takes long."""
    with new_directory() as kept:
        here = tmp_path_factory.mktemp("first")
        path = here / "socket"
        yield First(request.param, kept, path, seen(here / "output", path, "--probes", request.param))


@pytest.fixture
def kept(first: First) -> Iterator[Path]:
    """Return what the first start kept, to do with as one likes."""
    with new_directory() as folder:
        shutil.copytree(first.kept, folder, dirs_exist_ok=True)
        yield folder


@pytest.fixture
def take_bcc_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what sees to it that Python finds a bcc that cannot be imported."""
    package = tmp_path / "without" / "bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('bcc is imported')\n")
    (package / "libbcc.py").touch()
    return lambda: monkeypatch.setenv("PYTHONPATH", str(package.parent))


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


@pytest.mark.parametrize("selected", [(), ("--pid", str(os.getpid()))], ids=["all", "selected"])
def test_a_second_start_needs_no_bcc_and_sees_the_same(
    selected: tuple[str, ...], first: First, kept: Path, take_bcc_away: Callable[[], None], tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert len(first.alerts) == 2
    assert len(files) == 2
    assert any(name.startswith(first.flavour) for name in files)

    take_bcc_away()
    arguments = ["--probes", first.flavour, *selected]
    assert seen(tmp_path / "second", first.socket, *arguments) == first.alerts
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == files


@pytest.mark.parametrize("first", FLAVOURS[-1:], indirect=True)
def test_what_is_damaged_or_not_to_be_trusted_is_compiled_anew(
    first: First, kept: Path, take_bcc_away: Callable[[], None], tmp_path: Path
) -> None:
    flavour = first.flavour
    (programs,) = kept.glob(f"{flavour}-*")
    whole = programs.read_bytes()
    programs.write_bytes(whole[: len(whole) // 2])
    assert seen(tmp_path / "second", first.socket, "--probes", flavour) == first.alerts
    assert programs.read_bytes() == whole

    kept.chmod(0o777)
    take_bcc_away()
    done = subprocess.run(
        [sys.executable, "-m", "hangup", "watch", "--probes", flavour], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "hangup: BCC does not compile the probes (RuntimeError: bcc is imported): see what `hangup doctor` says"
    ]


@pytest.mark.parametrize("first", FLAVOURS[:1], indirect=True)
def test_doctor_says_what_is_kept(first: First, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> tuple[str, str]:
        command = [sys.executable, "-m", "hangup", "doctor", "--json"]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        (one,) = [each for each in map(json.loads, lines) if each["name"] == "kept programs"]
        return one["state"], one["found"]

    state, found = check()
    assert (state, str(kept) in found, found.startswith("none")) == ("ok", True, False), found
    for path in first.kept.iterdir():
        (kept / path.name).unlink()
    state, found = check()
    assert (state, found.startswith("none yet")) == ("ok", True)
    kept.chmod(0o777)
    state, found = check()
    assert (state, "others than root" in found) == ("warn", True)
    monkeypatch.delenv("CACHE_DIRECTORY")
    assert str(DIRECTORY) in check()[1]
