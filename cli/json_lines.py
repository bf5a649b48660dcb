"""How `--json` prints: JSON Lines, each with the number of its schema and the kind of its record.

The fields of every record stand in a table of `Field`s beside the code that fills them; docs/json.md holds the same
tables (`markdown`), and a test compares the three. A field may be added under the same schema number; one that is
renamed, removed or given another meaning needs a new number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a JSON object: its name, its JSON type and what it means, with its unit."""

    name: str
    type: str
    meaning: str


HEADER = (
    Field("schema", "number", "1: the number of this description"),
    Field("record", "string", "what kind of line it is"),
)


def line(record: str, values: Mapping[str, Any]) -> str:
    """Return one line, without its end. It is ASCII, whatever is in it."""
    return json.dumps({"schema": SCHEMA, "record": record, **values}, separators=(",", ":"))


def values(fields: Iterable[tuple[Field, Callable[[Any], Any]]], item: object) -> dict[str, Any]:
    """Return an object's fields, each made of the item by the function beside it."""
    return {field.name: value(item) for field, value in fields}


def markdown(fields: Sequence[Field]) -> str:
    """Return the fields as the table that docs/json.md holds."""
    rows = [f"| `{field.name}` | {field.type} | {field.meaning} |" for field in fields]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])
