"""The package's last days on a machine with systemd: an upgrade while the service runs, removal, purge. Runs last."""

from __future__ import annotations

import os
from pathlib import Path

from hangup.cli.sinks.journal import ALERT_ID
from tests.vm.machine import (
    CONFIGURATION,
    UNIT,
    Metrics,
    kernel_objects,
    main_pid,
    run,
    running,
    show,
    until,
    until_the_kernel_holds_nothing,
)

CHECKOUT = Path(__file__).parents[2]
STATE = Path("/var/lib/hangup")


def apt(*arguments: str) -> None:
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", *arguments)


def test_an_upgrade_restarts_a_service_that_runs() -> None:
    running()
    pid = main_pid()
    (deb,) = (CHECKOUT / "dist").glob("hangup_*_all.deb")
    apt("install", "--reinstall", str(deb))
    until(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", "that the new one runs")
    assert run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert Metrics().total("hangup_probed_functions") > 0


def test_removal_ends_the_service_and_keeps_what_the_administrator_wrote() -> None:
    before = CONFIGURATION.read_text()
    CONFIGURATION.write_text(before + "# ours\n")
    (STATE / "alerts.jsonl").touch()
    assert kernel_objects().programs
    apt("remove", "hangup")
    until_the_kernel_holds_nothing()
    assert show("ActiveState") == "inactive"
    assert not Path("/usr/bin/hangup").exists()
    assert not Path("/usr/lib/python3/dist-packages/hangup").exists()
    assert CONFIGURATION.read_text().endswith("# ours\n")
    assert (STATE / "alerts.jsonl").exists()


def test_purge_leaves_nothing() -> None:
    apt("purge", "hangup")
    run("systemctl", "daemon-reload")
    assert show("LoadState") == "not-found"
    left = []
    for top in ("/etc", "/run", "/usr", "/var"):
        for folder, folders, files in os.walk(top):
            left += [f"{folder}/{name}" for name in (*folders, *files) if "hangup" in name]
    # What apt and the journal write down of everything, and the tests' own.
    known = ("/var/log/", "/var/cache/apt/", "/var/lib/apt/", "/var/tmp/", "/run/user/")
    left = [path for path in left if not path.startswith(known)]
    assert left == [], " ".join(left)
    assert ALERT_ID not in run("journalctl", "--list-catalog")
