"""docs/verdicts.md has every verdict: its meaning and advice word for word, and sentences that are really said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hangup.tracer.record import layout
from hangup.tracer.story.connection import IDLE, KEPT_FIRST, KEPT_LAST
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.verdicts import Kind
from hangup.tracer.verdicts.rules import FAREWELL
from tests.unit.verdict_examples import EXAMPLES, HARMLESS, said, two_victims, verdicts

DOCUMENT = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
CHAPTERS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
SECTIONS = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
HELD_TO_KIND = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)


def quotations(text: str) -> list[str]:
    return re.findall(r"^ *> (.*)$", text, re.MULTILINE)


def test_the_document_has_every_verdict_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(kind.label for kind in Kind)


@HELD_TO_KIND
def test_a_verdict_begins_with_its_meaning(kind: Kind) -> None:
    assert SECTIONS[kind.label].strip().split("\n\n")[0] == kind.meaning


@HELD_TO_KIND
def test_what_to_do_begins_with_the_advice_of_the_alert(kind: Kind) -> None:
    words = " ".join(SECTIONS[kind.label].split())
    assert re.search(rf"\*\*What to do:\*\* {re.escape(kind.advice)}(?= |$)", words)


@HELD_TO_KIND
def test_every_quotation_is_what_is_said_of_its_example(kind: Kind) -> None:
    judged = verdicts(kind)
    assert {verdict.kind for verdict in judged} <= {kind}
    assert quotations(SECTIONS[kind.label]) == [verdict.sentence for verdict in judged]


def test_every_verdict_has_an_example_but_the_one_that_says_nothing() -> None:
    assert set(EXAMPLES) == set(Kind) - {Kind.CLEAN}


def test_what_is_kept_of_each_end_is_what_the_code_keeps() -> None:
    words = " ".join(CHAPTERS["What is not known"].split())
    last = layout._DEFINES["LAST_MOMENTS"]
    assert f"the first {layout.FIRST_MOMENTS} and the last {last} operations of each end: those between" in words
    assert f"the first {KEPT_FIRST} and the last {KEPT_LAST} operations of each end. The verdict" in words


def test_the_two_ways_to_be_harmless_are_those_of_the_examples() -> None:
    judged = [verdict for story in HARMLESS for verdict in said(story())]
    assert all(verdict.consequence.harmless for verdict in judged)
    assert quotations(CHAPTERS["Harmless failures"]) == [verdict.sentence for verdict in judged]


def test_the_second_alert_on_a_connection_is_that_of_the_example() -> None:
    first, second = said(two_victims())
    assert [first.kind, second.kind] == [Kind.OWN_SHUTDOWN, Kind.PEER_SHUTDOWN]
    assert quotations(CHAPTERS["How a connection is judged"]) == [second.sentence]


def test_no_other_example_is_harmless() -> None:
    assert not any(verdict.consequence.harmless for kind in Kind for verdict in verdicts(kind))


def test_meanings_and_advice_are_a_line_each() -> None:
    for kind in Kind:
        for text in (kind.meaning, kind.advice):
            assert re.fullmatch(r"[A-Z][^\n*]*\.", text), text
            # One sentence: nothing begins again behind a full stop.
            assert not re.search(r"\. [A-Z]", text), text


def test_the_table_of_symptoms_is_the_list() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", CHAPTERS["Symptoms"], re.MULTILINE)
    assert rows == [symptom.value for symptom in Symptom]


def test_doubts_are_explained() -> None:
    rows = " ".join(CHAPTERS["How sure it is"].split())
    doubts = {doubt for kind in Kind for verdict in verdicts(kind) for doubt in verdict.doubts}
    assert doubts
    for doubt in doubts:
        assert f"| {doubt} |" in rows


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{FAREWELL} bytes" in CHAPTERS["Harmless failures"]
    assert f"{IDLE // 10**6} ms" in CHAPTERS["Words"]


def test_alerts_stand_where_alerts_are_announced() -> None:
    for heading, body in CHAPTERS.items():
        for label in re.findall(r"^### `([\w-]+)`", body, re.MULTILINE):
            assert Kind.named(label).is_alert == heading.endswith(": alerts"), label
