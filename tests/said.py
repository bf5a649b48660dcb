"""What is said of an alert, field by field, as far as it does not depend on how was watched (tracer/fields.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from hangup.tracer.field import Field


def said(of: Iterable[Field[Any]], item: object, *, without: Collection[str] = ()) -> dict[str, object]:
    """Return the values that the recorder keeps as a stream does, those of objects by their names; without: not these.

    Of several objects there is a list.
    """

    def value(field: Field[Any]) -> object:
        found = field.get(item)
        if field.type == "objects":
            return [said(field.fields, each, without=without) for each in found]
        return said(field.fields, found, without=without) if field.fields and found is not None else found

    return {field.name: value(field) for field in of if field.kept and field.name not in without}
