"""docs/verdicts.md has every verdict: its name, its meaning word for word, and a sentence that is really said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hangup.tracer.verdicts import Kind
from tests.unit.test_verdicts import CASES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
SECTIONS = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))


def test_the_document_has_every_verdict_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(kind.label for kind in Kind)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_a_verdict_has_its_meaning_and_a_sentence_that_is_said(kind: Kind) -> None:
    meaning, example = SECTIONS[kind.label].strip().split("\n\n")[:2]
    assert meaning == kind.meaning
    assert example.removeprefix("> ") in {case.sentence for case in CASES if case.kind is kind}


def test_alerts_stand_where_alerts_are_announced() -> None:
    alerts = {kind.label for kind in Kind if kind.is_alert}
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL):
        labels = set(re.findall(r"^### `([\w-]+)`", body, re.MULTILINE))
        if heading.endswith(": alerts"):
            assert labels <= alerts
        if heading == "Nobody failed":
            assert not labels & alerts
