"""What is built: the package as Debian wants it, and the wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hangup.tracer.version import VERSION
from tests.package.conftest import SUITES
from tests.package.debian_root import BUILD_ROOT, CHECKOUT, DebianRoot, debian_root, depends


def test_lintian_has_nothing_to_say(package: Path) -> None:
    assert package.name == f"hangup_{VERSION}_all.deb"
    command = 'cd /build && lintian --allow-root --display-info --pedantic --fail-on error,warning,info,pedantic "$@"'
    changes = [path.name for path in (BUILD_ROOT / "build").glob("hangup_*.changes")]
    assert len(changes) == 1
    assert DebianRoot(BUILD_ROOT).run("sh", "-c", command, "lintian", *changes).stdout == ""


def test_the_wheel_carries_every_file_of_the_three_folders(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    folders = [CHECKOUT / name for name in ("bpf", "cli", "tracer")]
    files = [path for folder in folders for pattern in ("*.py", "*.c", "*.h") for path in folder.rglob(pattern)]
    assert carried >= {"hangup/verdicts.md"}
    assert carried - {"hangup/verdicts.md"} == {str(path.relative_to(CHECKOUT)) for path in files}


@pytest.mark.parametrize("suite", SUITES)
def test_pipx_installs_the_wheel_beside_debians_packages_without_a_download(suite: str, wheel: Path) -> None:
    with debian_root(suite) as root:
        root.run("apt-get", "install", "--yes", *depends())
        # pipx wants the newest pip for itself; here that is the one that Debian has for virtual environments. What
        # hangup needs is not there: all of it has to be Debian's own.
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/usr/share/python-wheels", "PIPX_HOME": "/opt/pipx"}
        settings["PIPX_BIN_DIR"] = "/usr/local/bin"
        root.run("pipx", "install", "--system-site-packages", root.put(wheel), environment=settings)
        assert root.run("hangup", "--version").stdout == f"hangup {VERSION}\n"
        assert "Explain every connection" in root.run("hangup", "--help").stdout
        program = "from hangup.tracer.compiler import SOURCES; print(SOURCES, (SOURCES / 'hangup.c').is_file())"
        found = root.run("/opt/pipx/venvs/hangup/bin/python", "-I", "-c", program).stdout
        assert found.startswith("/opt/pipx/venvs/hangup/")
        assert found.endswith(" True\n")
