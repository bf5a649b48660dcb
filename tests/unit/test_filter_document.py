"""docs/filters.md lists the fields that there are, and its filters are understood.

`python -m tests.unit.test_filter_document` writes the list anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hangup.cli.commands.fields import listing, meaning_of, type_of
from hangup.cli.main import hangup
from hangup.tracer.filter.check import Subject, operators_of
from hangup.tracer.filter.fields import BY_NAME, FIELDS
from hangup.tracer.filter.filter import understood
from hangup.tracer.filter.tree import OPERATORS

DOCUMENT = Path(__file__).parents[2] / "docs" / "filters.md"
_TABLE = re.compile(r"<!-- filter fields -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)
_SUBJECTS = {"trace": Subject.OPERATIONS, "watch": Subject.CONNECTIONS, "peers": Subject.OPEN, "diff": Subject.COUNTS}


def table() -> str:
    """Return the fields as the document has them."""
    rows = [f"| `{field.name}` | {type_of(field)} | {meaning_of(field)} |\n" for field in FIELDS]
    return "".join(["| field | type | meaning |\n", "|---|---|---|\n", *rows])


def test_the_document_lists_every_field_as_the_code_has_it() -> None:
    found = _TABLE.search(DOCUMENT.read_text())
    assert found is not None
    assert found["table"] == table()


@pytest.mark.parametrize("line", re.findall(r"^    hangup .*'.*$", DOCUMENT.read_text(), re.MULTILINE))
def test_the_document_s_filters_are_understood(line: str) -> None:
    verb = line.split()[1]
    filters = [text for text in re.findall(r"'([^']*)'", line) if not text.startswith("%")]
    assert filters
    for text in filters:
        understood(text, _SUBJECTS[verb])


def test_the_document_s_mistake_and_its_explanation_are_what_is_printed() -> None:
    shown = re.findall(r"^    \$ hangup (\w+) (--explain-filter )?'(.*)'\n((?:    .*\n)+)", DOCUMENT.read_text(), re.M)
    assert len(shown) == 2
    for verb, flag, text, output in shown:
        result = CliRunner().invoke(hangup, [verb, *([flag.strip()] if flag else []), text])
        expected = re.sub("^    ", "", output, flags=re.M)
        assert expected in result.output


def test_a_pipe_gets_a_line_a_field() -> None:
    lines = CliRunner().invoke(hangup, ["fields"]).output.splitlines()
    assert [line.split()[0] for line in lines] == ["FIELD", *BY_NAME]
    assert lines[1].startswith("proc.pid")
    assert lines[1].endswith("process id; none if not known [trace, watch, serve, report, peers, -p]")


def test_a_terminal_gets_folded_meanings() -> None:
    lines = listing(FIELDS, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["FIELD", *BY_NAME]


def test_json_has_every_field_with_what_can_be_asked_of_it() -> None:
    lines = CliRunner().invoke(hangup, ["fields", "--json"]).output.splitlines()
    found = {each["name"]: each for each in map(json.loads, lines)}
    assert list(found) == list(BY_NAME)
    assert found["evt.dur"]["unit"] == "ns"
    assert found["evt.dur"]["works_with"] == ["trace", "watch", "serve", "report", "-p"]
    assert found["verdict"]["works_with"] == ["watch", "serve", "report"]
    assert found["evt.num"]["works_with"] == ["-p"]
    assert found["evt.num"]["operators"] == []
    assert found["evt.buffer"]["works_with"] == ["trace", "-p"]
    assert {each for field in FIELDS for each in operators_of(field)} == set(OPERATORS)


if __name__ == "__main__":
    DOCUMENT.write_text(_TABLE.sub(lambda _: f"<!-- filter fields -->\n{table()}<!-- end -->", DOCUMENT.read_text()))
