"""README says what the lists say.

`python -m tests.unit.test_readme` writes the table of kernels and the alert at its top anew.
"""

from __future__ import annotations

import os
import re
import shlex
import time
import tomllib
from pathlib import Path

import click
import pytest

from hangup.cli.main import hangup
from hangup.cli.reporters.alert import alert_block
from tests.scenarios.test_investigation import commands
from tests.stories import seeds_failure
from tests.unit.playback import CLOCKS, shown

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

_TABLE = re.compile(r"(?<=<!-- kernels: tests/kernels.toml -->\n).*?(?=<!-- end -->)", re.DOTALL)
_ALERT = re.compile(r"(?<=<!-- alert: seeds_failure\(\) of tests/stories.py -->\n).*?(?=<!-- end -->)", re.DOTALL)


def alert() -> str:
    """Return what is printed of the classic failure, as README's block; the times are of the zone that is set."""
    [block] = shown(seeds_failure(), lambda alert: alert_block(alert, CLOCKS, width=80))
    return f"```\n{block.rstrip()}\n```\n"


def kernels() -> str:
    """Return tests/kernels.toml as README's table."""
    with (ROOT / "tests" / "kernels.toml").open("rb") as file:
        rows = tomllib.load(file)["kernel"]
    lines = [
        f"| {row['name']}{' (default)' if row.get('default') else ''} | {row['suite']} | {row['distinct']} |"
        for row in rows
    ]
    return "\n".join(["| kernel | from Debian's | what is new there |", "|---|---|---|", *lines, ""])


def test_the_table_of_kernels_is_the_list_that_is_tested() -> None:
    assert _TABLE.findall(README.read_text()) == [kernels()]


@pytest.mark.usefixtures("utc")
def test_the_alert_at_the_top_is_what_is_printed() -> None:
    assert _ALERT.findall(README.read_text()) == [alert()]


def test_every_file_that_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_the_investigation_s_commands_are_understood() -> None:
    steps = commands()
    for command in steps.values():
        words = shlex.split(command.removeprefix("sudo ").split(" > ")[0])
        if words[0] == "hangup":
            verb = hangup.get_command(click.Context(hangup), words[1])
            assert verb is not None
            verb.make_context(words[1], words[2:])
    assert steps["egrep calls"] == "egrep '(connect|writev|close|read|PIPE)' both.txt"
    assert steps["egrep address"] == "egrep '(ffff880108bcc440|EPIPE)' both.txt"


def test_readme_and_the_guests_have_every_package_that_the_debian_package_depends_on() -> None:
    [field] = re.findall(r"^Depends:\n((?: .*\n)+)", (ROOT / "debian" / "control").read_text(), re.MULTILINE)
    depends = set(re.findall(r"^ (python3-[a-z0-9-]+)", field, re.MULTILINE))
    assert depends
    assert set(re.findall(r"^\| `(python3-[a-z0-9-]+)` \|", README.read_text(), re.MULTILINE)) == depends
    packages = (ROOT / "vagrant" / "packages.list").read_text()
    assert depends <= set(re.findall(r"^(python3-[a-z0-9-]+)\b", packages, re.MULTILINE))


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    README.write_text(_ALERT.sub(lambda _: alert(), _TABLE.sub(lambda _: kernels(), README.read_text())))
