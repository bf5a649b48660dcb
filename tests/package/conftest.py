"""What the tests of the package share: the package, the wheel, and roots with hangup in them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.debian_root import BUILD_ROOT, CHECKOUT, DebianRoot, debian_root

SUITES = ("bookworm", "trixie")


@pytest.fixture(scope="session")
def package() -> Path:
    """Build the package, as `make deb` does."""
    subprocess.run([CHECKOUT / "debian" / "build-deb"], check=True)
    [built] = (CHECKOUT / "dist").glob("hangup_*_all.deb")
    return built


@pytest.fixture(scope="session")
def wheel(package: Path) -> Path:
    """Build the wheel of the same files, with the setuptools of the root that the package was built in."""
    folder = BUILD_ROOT / "build"
    source = folder / "wheel"
    shutil.rmtree(source, ignore_errors=True)
    # The package's own build has left its marks in the other copy.
    shutil.copytree(folder / "hangup", source, ignore=shutil.ignore_patterns("debian", "build"))
    command = (
        "cd /build/wheel && python3 -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir out ."
    )
    DebianRoot(BUILD_ROOT).run("sh", "-c", command)
    [built] = (source / "out").glob("*.whl")
    assert built.name.startswith(f"hangup-{package.name.split('_')[1]}-")
    return built


@pytest.fixture(scope="module", params=SUITES)
def installed(request: pytest.FixtureRequest, package: Path) -> Iterator[DebianRoot]:
    """Give a root of each suite, in which apt has installed the package and nothing else was done."""
    with debian_root(request.param) as root:
        root.run("apt-get", "install", "--yes", root.put(package))
        yield root
