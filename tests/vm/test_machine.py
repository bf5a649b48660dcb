"""What provisioning promised: the package is installed, its service runs, the servers of the scenarios are there.

The other modules of this folder rest on it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_PACKAGES = Path(__file__).resolve().parents[2] / "vagrant" / "packages.list"


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def test_the_package_is_installed() -> None:
    assert _said("dpkg-query", "--show", "--showformat=${db:Status-Status}", "hangup") == "installed"
    # Not from a checkout: a service must not depend on one.
    assert shutil.which("hangup") == "/usr/bin/hangup"


def test_no_file_of_the_package_has_been_changed_or_is_missing() -> None:
    assert _said("dpkg", "--verify", "hangup") == ""


def test_the_service_is_enabled() -> None:
    assert _said("systemctl", "is-enabled", "hangup.service") == "enabled"


def test_the_service_is_running() -> None:
    assert _said("systemctl", "is-active", "hangup.service") == "active"


def test_nothing_has_failed_since_the_machine_booted() -> None:
    assert _said("systemctl", "--failed", "--no-legend", "--plain") == ""


def test_doctor_says_that_hangup_works_here() -> None:
    done = subprocess.run(["hangup", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["nginx.service", "prometheus.service"])
def test_a_server_of_the_scenarios_waits_to_be_started(unit: str) -> None:
    assert _said("systemctl", "is-enabled", unit) == "disabled"
    assert _said("systemctl", "is-active", unit) == "inactive"


def test_every_package_of_the_list_is_installed() -> None:
    lines = (line.partition("#")[0].strip() for line in _PACKAGES.read_text().splitlines())
    packages = [line for line in lines if line]
    installed = _said("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages)
    assert sorted(installed.splitlines()) == sorted(f"{package} installed" for package in packages)


def test_the_uwsgi_of_the_classic_failure_is_there() -> None:
    assert _said("uwsgi-1.9.20", "--version") == "1.9.20"
