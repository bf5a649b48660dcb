"""`hangup explain` says of each verdict what docs/verdicts.md says of it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import explain
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.verdict_document import parse, sections
from hangup.tracer.verdicts import Kind
from tests.unit.snapshots import check

DOCUMENT = """\
# Verdicts

## How they come about

### Words

It is no verdict.

## It broke: alerts

### `unread`

Something
was lost.

> it was lost

- **Facts:** it is gone.

### `killed`

It was ended.

## Beneath

### `clean`

It has no end.
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, ["explain", *arguments])


def test_a_document_is_taken_apart_into_its_verdicts() -> None:
    found = parse(DOCUMENT)
    assert [section.kind for section in found.values()] == [Kind.UNREAD, Kind.KILLED, Kind.CLEAN]
    assert found["unread"].chapter == "It broke: alerts"
    assert found["unread"].text.startswith("Something\nwas lost.")
    assert found["unread"].text.endswith("- **Facts:** it is gone.")
    assert found["clean"].chapter == "Beneath"


def test_every_verdict_is_explained() -> None:
    assert set(sections()) == {kind.label for kind in Kind}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_a_pipe_gets_the_section_as_the_document_has_it(kind: Kind) -> None:
    result = run(kind.label)
    assert result.exit_code == ExitStatus.OK
    document = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
    label, text = result.output.split("\n\n", 1)
    assert label == kind.label
    assert f"### `{kind.label}`\n\n{text}" in document
    # And nothing of the next one.
    assert "\n#" not in text


def test_a_terminal_gets_the_words_without_the_marks_and_within_its_width() -> None:
    output = io.StringIO()
    # How rich lays it out differs from version to version; the words do not.
    explain.show(sections()["unread"], output, width=60)
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 60
    assert text.startswith("unread\n\n")
    assert "**" not in text
    assert "`" not in text
    words = " ".join(text.split())
    assert Kind.UNREAD.meaning in words
    assert f"What to do: {Kind.UNREAD.advice}" in words


def test_without_a_name_all_verdicts_are_listed_under_their_chapters() -> None:
    output = run().output
    for section in sections().values():
        assert re.search(rf"^  {section.kind.label} +{re.escape(section.kind.meaning)}$", output, re.MULTILINE)
        assert f"{section.chapter}\n" in output


def test_the_list_is_folded_for_a_terminal() -> None:
    check("explain-list", explain.listing(parse(DOCUMENT).values(), 30) + "\n")
    assert max(map(len, explain.listing(sections().values(), 80).splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "suggested"), [("unraed", "unread"), ("KILED", "killed"), ("backlog_ful", "backlog-full")]
)
def test_a_misspelled_verdict_is_an_error_of_the_call_that_suggests_the_right_one(name: str, suggested: str) -> None:
    result = run(name)
    assert result.exit_code == ExitStatus.USAGE
    assert f"there is no verdict '{name}'; did you mean " in result.output
    assert suggested in result.output


def test_a_name_that_is_near_to_none_is_told_where_the_names_are() -> None:
    assert "there is no verdict 'zzzz' (`hangup explain` lists them)" in run("zzzz").output


def test_case_and_underscores_do_not_matter() -> None:
    assert run("BACKLOG_FULL").output == run("backlog-full").output


def test_the_shell_completes_verdicts() -> None:
    environment = {"_HANGUP_COMPLETE": "bash_complete", "COMP_WORDS": "hangup explain un", "COMP_CWORD": "2"}
    output = CliRunner().invoke(hangup, [], env=environment, prog_name="hangup").output
    offered = {line.split(",")[1] for line in output.splitlines() if "," in line}
    assert offered == {label for label in sections() if label.startswith("un")}
