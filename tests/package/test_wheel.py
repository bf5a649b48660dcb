"""hangup without its package, on Debian 12 and 13: the wheel in pipx's and in virtual environments, and a checkout.

There is no network in the roots: all that hangup needs has to be Debian's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangup.cli.exit_status import ExitStatus
from hangup.tracer.version import VERSION
from tests.package.conftest import SUITES
from tests.package.debian_root import BUILD_ROOT, DebianRoot, debian_root, depends
from tests.package.library import REFUSED, assert_readmes_example_gets_as_far_as_the_kernel, entering

# pip installs one wheel, from a file: nothing is looked for anywhere.
INSTALL = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps")


@pytest.fixture(scope="module", params=SUITES)
def dependencies(request: pytest.FixtureRequest) -> Iterator[DebianRoot]:
    """Give a root of each suite with what hangup depends on, and without hangup."""
    with debian_root(request.param) as root:
        root.run("apt-get", "install", "--yes", *depends())
        yield root


def venv(root: DebianRoot, folder: str, *options: str) -> str:
    """Make a virtual environment; return its Python."""
    root.run("python3", "-m", "venv", *options, folder)
    return f"{folder}/bin/python3"


def test_pipx_installs_the_wheel_beside_debians_packages(dependencies: DebianRoot, wheel: Path) -> None:
    root = dependencies
    # pipx wants the newest pip for itself; here that is the one that Debian has for virtual environments.
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/usr/share/python-wheels", "PIPX_HOME": "/opt/pipx"}
    settings["PIPX_BIN_DIR"] = "/usr/local/bin"
    root.run("pipx", "install", "--system-site-packages", root.put(wheel), environment=settings)
    assert root.run("hangup", "--version").stdout == f"hangup {VERSION}\n"
    assert "Explain every connection" in root.run("hangup", "--help").stdout
    python = "/opt/pipx/venvs/hangup/bin/python"
    program = "from hangup.tracer.kernel.compiler import SOURCES; print(SOURCES, (SOURCES / 'hangup.c').is_file())"
    found = root.run(python, "-I", "-c", program).stdout
    assert found.startswith("/opt/pipx/venvs/hangup/")
    assert found.endswith(" True\n")
    assert_readmes_example_gets_as_far_as_the_kernel(root, python)


def test_a_virtual_environment_with_debians_packages_has_all_that_readmes_example_needs(
    dependencies: DebianRoot, wheel: Path
) -> None:
    python = venv(dependencies, "/opt/with", "--system-site-packages")
    # With the dependencies that the wheel names: pip finds each of them in Debian's own version.
    dependencies.run(python, "-m", "pip", "install", "--quiet", "--no-index", dependencies.put(wheel))
    names = sorted(path.name for path in dependencies.path("/opt/with/lib").glob("python3*/site-packages/hangup*"))
    assert names == ["hangup", f"hangup-{VERSION}.dist-info"]
    assert_readmes_example_gets_as_far_as_the_kernel(dependencies, python)


def test_a_virtual_environment_of_its_own_is_told_how_to_be_made(dependencies: DebianRoot, wheel: Path) -> None:
    python = venv(dependencies, "/opt/without")
    dependencies.run(python, *INSTALL, dependencies.put(wheel))
    assert entering(dependencies, python) == (
        f"this Python ({python}) does not see Debian's packages, bcc among them: "
        "run hangup with /usr/bin/python3, or make its virtual environment with --system-site-packages"
    )
    # What somebody does whose pip finds a bcc: PyPI's is another project.
    [packages] = dependencies.path("/opt/without/lib").glob("python3*/site-packages")
    (packages / "bcc").mkdir()
    (packages / "bcc" / "__init__.py").write_text("")
    assert "the `bcc` package from PyPI is another project (/opt/without/lib/" in entering(dependencies, python)


@pytest.mark.parametrize("suite", SUITES)
def test_where_debians_bcc_is_missing_its_package_is_named(suite: str, wheel: Path) -> None:
    with debian_root(suite) as root:
        python = venv(root, "/opt/early", "--system-site-packages")
        root.run(python, *INSTALL, root.put(wheel))
        assert entering(root, python) == "the bcc Python module is missing: apt install python3-bpfcc"


def test_a_checkout_runs_from_its_top_without_being_installed(dependencies: DebianRoot) -> None:
    copy = dependencies.path("/srv/checkout")
    subprocess.run(["cp", "--archive", BUILD_ROOT / "build" / "hangup", copy], check=True)
    assert (copy / "hangup" / "tracer").is_symlink()
    done = dependencies.run("sh", "-c", "cd /srv/checkout && /usr/bin/python3 -m hangup watch", check=False)
    assert (done.returncode, done.stdout) == (ExitStatus.CANNOT_RUN, f"hangup: {REFUSED}\n")
    assert_readmes_example_gets_as_far_as_the_kernel(dependencies, "/usr/bin/python3", "/srv/checkout")
    assert dependencies.run("python3", "-c", "import hangup", check=False).returncode == 1
