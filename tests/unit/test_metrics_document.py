"""docs/metrics.md says of each metric what the code says, and of each loss what to do about it.

`python -m tests.unit.test_metrics_document` writes the tables anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hangup.cli.sinks.listen import parse_listen
from hangup.cli.sinks.metrics import MAX_SERIES
from hangup.cli.sinks.metrics_table import LABELS, METRICS, PROCESS_METRICS, labels_markdown, markdown
from hangup.tracer.kernel.probes import KRETPROBE_SLOTS
from hangup.tracer.record.layout import Loss
from hangup.tracer.story.eviction import MAX_CONNECTIONS
from hangup.tracer.tracer import Tracer
from tests.unit.sources import Records

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
TABLES = {"hangup": markdown(METRICS), "labels": labels_markdown(LABELS), "process": markdown(PROCESS_METRICS)}

_TABLE = re.compile(r"<!-- metrics: (?P<name>\w+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def test_the_document_has_every_table_and_no_other() -> None:
    assert [match["name"] for match in _TABLE.finditer(DOCUMENT.read_text())] == list(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_document_describes_the_metrics_as_the_code_does(name: str) -> None:
    tables = {match["name"]: match["table"].strip() for match in _TABLE.finditer(DOCUMENT.read_text())}
    assert tables[name] == TABLES[name]


def test_no_metric_is_described_by_what_is_also_true_of_another() -> None:
    described = [metric.meaning.rstrip(".") for metric in METRICS]
    for one in described:
        assert [other for other in described if other.startswith(one)] == [one]


def test_the_document_knows_every_cause_of_a_loss_and_no_other() -> None:
    with Tracer(source=Records()) as tracer:
        causes = {loss.name.lower() for loss in Loss} | set(tracer.losses().by_cause)
    section = DOCUMENT.read_text().split("## What is missing")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == causes


def test_numbers_and_addresses_of_the_document_are_the_codes() -> None:
    text = DOCUMENT.read_text()
    assert f"first {MAX_SERIES} (`metrics_series`)" in text
    assert f"more than {MAX_CONNECTIONS:,} connections" in text
    assert f"more than {KRETPROBE_SLOTS} threads" in text
    for listen in ("127.0.0.1:9754", "[::1]:9754", "unix:/run/hangup/metrics.sock"):
        assert listen in text
        assert str(parse_listen(listen)) == listen


def _write() -> None:
    def table(match: re.Match[str]) -> str:
        return f"<!-- metrics: {match['name']} -->\n{TABLES[match['name']]}\n<!-- end -->"

    DOCUMENT.write_text(_TABLE.sub(table, DOCUMENT.read_text()))


if __name__ == "__main__":
    _write()
