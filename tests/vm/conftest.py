"""The order of the tests in the VM: from the machine as it was provisioned to the package's removal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenarios.conftest import requests_to_send

__all__ = ["requests_to_send"]

ORDER = ("test_machine", "test_noise", "test_service", "test_containers", "test_faults", "test_removal")


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest's own signature
    """Refuse to run anywhere but in the VM: the tests stop services and fill disks."""
    # Where vagrant/Vagrantfile puts the checkout, on a machine that systemd runs.
    in_vm = Path("/run/systemd/system").is_dir() and Path(__file__).is_relative_to("/hangup")
    if os.geteuid() != 0 or not in_vm:
        pytest.exit("tests/vm runs as root in the Vagrant VM: make test-vagrant", returncode=4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the modules; one that is not in the list is an error, not a surprise."""
    items.sort(key=lambda item: ORDER.index(item.path.stem))
