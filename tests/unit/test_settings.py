"""The list of settings, and everything that is written from it.

`python -m tests.unit.test_settings` writes systemd/hangup.toml and the tables of docs/service.md anew.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import click
import pytest

from hangup.cli.commands import serve
from hangup.cli.json_lines import markdown
from hangup.cli.service.configuration import parse
from hangup.cli.service.settings import Key, Settings, keys, tables
from hangup.cli.sinks import journal

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "systemd" / "hangup.toml"
DOCUMENT = ROOT / "docs" / "service.md"


def example() -> str:
    """Return the configuration file that is installed: every key with its default, switched off."""
    lines = [
        "# The configuration of hangup.service; see hangup.toml(5). Every key stands here with its default.",
        "# `hangup serve --check` says what is wrong in it, `systemctl reload hangup` has it read again.",
    ]
    for table, of_table in tables().items():
        lines += ["", f"[{table}]"]
        for key in of_table:
            lines += [f"# {line}" for line in textwrap.wrap(key.meaning + (_RESTART if key.restart else ""), 100)]
            lines.append(f"#{key.name} = {serve.toml(key.default)}")
    return "\n".join(lines) + "\n"


_RESTART = " A change takes effect when the service is started again."


def keys_table() -> str:
    """Return the keys as docs/service.md has them."""
    rows = [
        f"| `{key.table}.{key.name}` | {key.type.name} | `{serve.toml(key.default)}` | "
        f"{key.meaning}{_RESTART if key.restart else ''} |"
        for key in keys()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def fields_table() -> str:
    """Return the fields of an alert's entry as docs/service.md has them: what is not known is left out of it."""
    return markdown(journal.FIELDS, absent=False)


TABLES = {"keys": keys_table, "journal fields": fields_table}
_TABLE = re.compile(r"<!-- (?P<name>keys|journal fields) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def test_the_installed_configuration_has_every_key_with_its_default() -> None:
    assert EXAMPLE.read_text() == example()
    settings, mistakes = parse(re.sub(r"^#(\w)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert mistakes == []
    assert Settings(**settings) == Settings()
    assert set(settings) == {key.name for key in keys()}


def test_the_installed_configuration_changes_nothing_as_it_is() -> None:
    assert all(content == {} for content in tomllib.loads(EXAMPLE.read_text()).values())


def test_the_document_has_the_tables_of_the_code() -> None:
    found = {match["name"]: match["table"].strip() for match in _TABLE.finditer(DOCUMENT.read_text())}
    assert found == {name: table() for name, table in TABLES.items()}


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_every_key_is_an_option_with_the_same_meaning(key: Key) -> None:
    options = {option.name: option for option in serve.command.params if isinstance(option, click.Option)}
    assert key.flag in options[key.name].opts
    assert key.meaning in (options[key.name].help or "")


@pytest.mark.parametrize(
    ("given", "endpoints"), [(1024, 1024), ("1025", 2048), (65_536, 65_536), (70_000, 131_072), (1_048_576, 1_048_576)]
)
def test_histories_are_kept_of_a_power_of_two_endpoints(given: object, endpoints: int) -> None:
    [history] = [key for key in keys() if key.name == "history"]
    assert history.type.read(given) == endpoints


@pytest.mark.parametrize("given", [0, 1023, 1_048_577, "-1", "many", True, 2048.0, 10**30])
def test_other_numbers_of_histories_are_refused_with_those_that_are_right(given: object) -> None:
    [history] = [key for key in keys() if key.name == "history"]
    with pytest.raises(ValueError, match=r"is not a number from 1024 to 1048576$"):
        history.type.read(given)


def test_no_two_keys_have_the_same_name() -> None:
    names = [key.name for key in keys()]
    assert len(set(names)) == len(names)


if __name__ == "__main__":
    EXAMPLE.write_text(example())
    DOCUMENT.write_text(
        _TABLE.sub(
            lambda match: f"<!-- {match['name']} -->\n{TABLES[match['name']]()}\n<!-- end -->", DOCUMENT.read_text()
        )
    )
