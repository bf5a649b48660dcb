"""docs/json.md says of each field what the code says.

`python -m tests.unit.test_json_document` writes the tables anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from hangup.cli.commands import doctor, peers
from hangup.cli.json_lines import HEADER, Field, markdown
from hangup.cli.reporters import alert_json, operation_json, summary_json
from hangup.cli.sinks import alert_file

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"

# Every table of the document, by the name in the comment above it. Add yours here and its comments there.
TABLES: dict[str, Sequence[Field]] = {
    "header": HEADER,
    "watch alert": [field for field, _ in alert_json.ALERT_FIELDS],
    "watch end": [field for field, _ in alert_json.END_FIELDS],
    "watch sender": [field for field, _ in alert_json.SENDER_FIELDS],
    "watch consequence": [field for field, _ in alert_json.CONSEQUENCE_FIELDS],
    "watch figures": [field for field, _ in alert_json.FIGURE_FIELDS],
    "operation": [field for field, _ in operation_json.OPERATION_FIELDS],
    "trace operation": [field for field, _ in operation_json.TRACE_FIELDS[len(operation_json.OPERATION_FIELDS) :]],
    "summary": [field for field, _ in summary_json.ROW_FIELDS],
    "total": [field for field, _ in summary_json.TOTAL_FIELDS],
    "held back": [field for field, _ in alert_file.HELD_BACK_FIELDS],
    "losses": [field for field, _ in alert_file.LOSSES_FIELDS],
    "peers listener": [field for field, _ in peers.LISTENER_FIELDS],
    "peers connection": [field for field, _ in peers.CONNECTION_FIELDS],
    "peers end": [field for field, _ in peers.END_FIELDS],
    "peers process": [field for field, _ in peers.HOLDER_FIELDS],
    "doctor check": [field for field, _ in doctor.CHECK_FIELDS],
}

_TABLE = re.compile(r"<!-- fields: (?P<name>[\w ]+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def test_the_document_has_every_table_and_no_other() -> None:
    assert [match["name"] for match in _TABLE.finditer(DOCUMENT.read_text())] == list(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_document_describes_the_fields_as_the_code_does(name: str) -> None:
    tables = {match["name"]: match["table"].strip() for match in _TABLE.finditer(DOCUMENT.read_text())}
    assert tables[name] == markdown(TABLES[name])


def _write() -> None:
    def table(match: re.Match[str]) -> str:
        return f"<!-- fields: {match['name']} -->\n{markdown(TABLES[match['name']])}\n<!-- end -->"

    DOCUMENT.write_text(_TABLE.sub(table, DOCUMENT.read_text()))


if __name__ == "__main__":
    _write()


def test_a_name_of_an_alert_s_field_means_nothing_else_in_what_its_verdict_says() -> None:
    of_alert, of_consequence, of_figures = (
        {field.name for field, _ in fields}
        for fields in (alert_json.ALERT_FIELDS, alert_json.CONSEQUENCE_FIELDS, alert_json.FIGURE_FIELDS)
    )
    assert not of_alert & (of_consequence | of_figures)
    assert not of_consequence & of_figures
