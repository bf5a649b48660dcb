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


def copy_of_the_checkout(name: str) -> Path:
    """Copy what the package was built of, links as links, to a folder of the build's root; the package is built."""
    copy = BUILD_ROOT / "build" / name
    shutil.rmtree(copy, ignore_errors=True)
    # The package's own build has left its marks in the other copy.
    ignored = shutil.ignore_patterns("debian", "build", "__pycache__")
    shutil.copytree(BUILD_ROOT / "build" / "hangup", copy, symlinks=True, ignore=ignored)
    return copy


def built_wheel(source: Path) -> Path:
    """Build the wheel of a folder or a source archive that lies in the build's root, with that root's setuptools."""
    wheels = BUILD_ROOT / "build" / f"wheels-{source.name}"
    shutil.rmtree(wheels, ignore_errors=True)
    inside = [f"/{path.relative_to(BUILD_ROOT)}" for path in (wheels, source)]
    command = ("python3", "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    DebianRoot(BUILD_ROOT).run(*command, "--wheel-dir", *inside)
    [built] = wheels.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel(package: Path) -> Path:
    """Build the wheel of the same files."""
    built = built_wheel(copy_of_the_checkout("wheel"))
    assert built.name.startswith(f"hangup-{package.name.split('_')[1]}-")
    return built


@pytest.fixture(scope="session")
def sdist(package: Path) -> Path:
    """Build the source archive of the same files, as `python3 -m build --sdist` has setuptools do it."""
    source = copy_of_the_checkout("sdist")
    hook = "from setuptools import build_meta; build_meta.build_sdist('archives')"
    DebianRoot(BUILD_ROOT).run("sh", "-c", f'cd /build/sdist && python3 -c "{hook}"')
    [built] = (source / "archives").glob("*.tar.gz")
    assert built.name == f"hangup-{package.name.split('_')[1]}.tar.gz"
    return built


@pytest.fixture(scope="module", params=SUITES)
def installed(request: pytest.FixtureRequest, package: Path) -> Iterator[DebianRoot]:
    """Give a root of each suite, in which apt has installed the package and nothing else was done."""
    with debian_root(request.param) as root:
        root.run("apt-get", "install", "--yes", root.put(package))
        yield root
