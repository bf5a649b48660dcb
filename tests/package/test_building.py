"""What is built: the package as Debian wants it, the wheel, and the source archive."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from hangup.tracer.version import VERSION
from tests.package.conftest import built_wheel
from tests.package.debian_root import BUILD_ROOT, CHECKOUT, DebianRoot


def test_lintian_has_nothing_to_say(package: Path) -> None:
    assert package.name == f"hangup_{VERSION}_all.deb"
    command = 'cd /build && lintian --allow-root --display-info --pedantic --fail-on error,warning,info,pedantic "$@"'
    changes = [path.name for path in (BUILD_ROOT / "build").glob("hangup_*.changes")]
    assert len(changes) == 1
    assert DebianRoot(BUILD_ROOT).run("sh", "-c", command, "lintian", *changes).stdout == ""


def contents(wheel: Path) -> dict[str, bytes]:
    """Return what a wheel lays into site-packages, but for what it says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_carries_hangup_with_every_file_of_the_three_folders_and_nothing_else(wheel: Path) -> None:
    patterns = ("*.py", "*.c", "*.h", "*.html", "*.css")
    files = [
        path for name in ("bpf", "cli", "tracer") for pattern in patterns for path in (CHECKOUT / name).rglob(pattern)
    ]
    expected = {f"hangup/{path.relative_to(CHECKOUT)}": path.read_bytes() for path in files}
    tops = [path for path in (CHECKOUT / "hangup").iterdir() if path.is_file()]
    expected |= {f"hangup/{path.name}": path.read_bytes() for path in tops}
    assert contents(wheel) == expected


def test_a_source_archive_has_the_folders_in_place_of_the_links_and_makes_the_same_wheel(
    sdist: Path, wheel: Path
) -> None:
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym()]
    assert contents(built_wheel(sdist)) == contents(wheel)
