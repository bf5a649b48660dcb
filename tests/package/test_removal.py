"""Upgrade, removal and purge, on Debian 12 and 13."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.package.conftest import SUITES
from tests.package.debian_root import debian_root, depends

CATALOG = "/usr/lib/systemd/catalog/hangup.catalog"


@pytest.mark.parametrize("suite", SUITES)
def test_removal_keeps_the_configuration_and_purge_leaves_nothing(suite: str, package: Path) -> None:
    with debian_root(suite) as root:
        root.run("apt-get", "install", "--yes", *depends())
        before = root.snapshot()

        deb = root.put(package)
        assert ", 1 newly installed, 0 to remove" in root.run("apt-get", "install", "--yes", deb).stdout
        catalog = root.path(CATALOG).read_text()
        identity = re.findall(r"^-- ([0-9a-f]{32})$", catalog, re.MULTILINE)[0]

        # A host on which it was in use.
        root.run("systemctl", "enable", "hangup.service")
        root.run("hangup", "peers", check=False)
        configuration = root.path("/etc/hangup/hangup.toml")
        configuration.write_text(f"{configuration.read_text()}\n# this host's own\n")
        for folder in ("/var/lib/hangup", "/var/cache/hangup", "/run/hangup"):
            root.path(folder).mkdir(parents=True)
            (root.path(folder) / "made-by-the-service").write_text("")

        root.run("apt-get", "install", "--yes", "--reinstall", deb)
        assert "this host's own" in configuration.read_text()
        assert root.run("systemctl", "is-enabled", "hangup.service").stdout.strip() == "enabled"

        root.run("apt-get", "remove", "--yes", "hangup")
        assert "this host's own" in configuration.read_text()
        assert not root.path("/usr/lib/python3/dist-packages/hangup").exists()
        assert identity not in root.run("journalctl", "--no-pager", "--list-catalog").stdout

        root.run("apt-get", "purge", "--yes", "hangup")
        root.path(deb).unlink()
        assert root.snapshot() == before
        assert not root.path("/run/hangup").exists()
