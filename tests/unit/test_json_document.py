"""docs/json.md says of each field what the code says.

`python -m tests.unit.test_json_document` writes the tables anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.commands import doctor, peers
from hangup.cli.commands import fields as fields_verb
from hangup.cli.json_lines import HEADER, markdown, not_kept_markdown
from hangup.cli.reporters import difference_json, summary_json
from hangup.cli.sinks import alert_file
from hangup.tracer import fields
from hangup.tracer.field import Field

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"

# Every table of the document, by the name in the comment above it. Add yours here and its comments there.
FIELDS: dict[str, Iterable[Field[Any]]] = {
    "header": HEADER,
    "watch alert": fields.ALERT,
    "watch end": fields.END,
    "watch sender": fields.SENDER,
    "watch consequence": fields.CONSEQUENCE,
    "watch figures": fields.FIGURES,
    "operation": fields.OPERATION,
    "identity": fields.CHANGE,
    "credentials": fields.CREDENTIALS,
    "trace operation": fields.TRACED[len(fields.OPERATION) :],
    "summary": fields.ROW,
    "total": summary_json.TOTAL,
    "held back": alert_file.HELD_BACK,
    "losses": alert_file.LOSSES,
    "peers listener": peers.LISTENER,
    "peers connection": peers.CONNECTION,
    "peers end": peers.END,
    "peers process": peers.HOLDER,
    "fields field": fields_verb.FIELD,
    "difference": difference_json.ROW,
    "difference kind": difference_json.KIND,
    "difference total": difference_json.TOTAL,
    "doctor check": doctor.CHECK,
}
TABLES = {name: markdown(of_record) for name, of_record in FIELDS.items()}
TABLES["not kept"] = not_kept_markdown((*fields.ALERT, *fields.END, *fields.OPERATION))

_TABLE = re.compile(r"<!-- fields: (?P<name>[\w ]+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def test_the_document_has_every_table_and_no_other() -> None:
    assert sorted(match["name"] for match in _TABLE.finditer(DOCUMENT.read_text())) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_document_describes_the_fields_as_the_code_does(name: str) -> None:
    tables = {match["name"]: match["table"].strip() for match in _TABLE.finditer(DOCUMENT.read_text())}
    assert tables[name] == TABLES[name]


def _write() -> None:
    def table(match: re.Match[str]) -> str:
        return f"<!-- fields: {match['name']} -->\n{TABLES[match['name']]}\n<!-- end -->"

    DOCUMENT.write_text(_TABLE.sub(table, DOCUMENT.read_text()))


if __name__ == "__main__":
    _write()


def test_a_name_of_an_alert_s_field_means_nothing_else_in_what_its_verdict_says() -> None:
    of_alert, of_consequence, of_figures = (
        {field.name for field in of_object} for of_object in (fields.ALERT, fields.CONSEQUENCE, fields.FIGURES)
    )
    assert not of_alert & (of_consequence | of_figures)
    assert not of_consequence & of_figures
