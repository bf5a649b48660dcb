"""`hangup fields`: what filters can ask for, and what -p can print."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

import click

from hangup.cli import json_lines, terminal
from hangup.cli.options import json_option
from hangup.cli.terminal import Paint, plain
from hangup.tracer.field import Field, FilterField
from hangup.tracer.filter.check import operators_of, works_with
from hangup.tracer.filter.fields import FIELDS

# A text that is wider is hard to read, however wide the terminal is.
_WIDEST = 120

FIELD: tuple[Field[FilterField], ...] = (
    Field("name", "string", "what it is called", lambda field: field.name),
    Field(
        "type",
        "string",
        '`"number"`, `"string"`, `"boolean"` or `"address"` (in hexadecimal)',
        lambda field: field.type,
    ),
    Field("unit", "string", '`"ns"` or `"bytes"`', lambda field: field.unit or None, absent="if it counts things"),
    Field("meaning", "string", "what it means", lambda field: field.meaning),
    Field(
        "absent",
        "string",
        "when there is no value: then no comparison holds",
        lambda field: field.absent,
        absent="if there always is one",
    ),
    Field("operators", "strings", "what can be asked of it", operators_of),
    Field(
        "works_with",
        "strings",
        "the commands whose filters can ask for it, and `-p` if `trace -p` can print it",
        works_with,
    ),
)
"""One line of `--json`."""

_line = json_lines.line("field", FIELD)


@click.command("fields")
@json_option
def command(as_json: bool) -> None:
    """List what filters can ask for.

    Of each field: its name, its type with the unit, what it means, and where it works: in the filters of these
    commands, and in the FORMAT of `trace -p`. docs/filters.md describes the language. It needs no privileges.
    """
    if as_json:
        for field in FIELDS:
            click.echo(_line(field, json_lines.no_times))
        return
    width = min(terminal.columns(sys.stdout), _WIDEST) if sys.stdout.isatty() else None
    click.echo(listing(FIELDS, width, terminal.painter(sys.stdout)))


def listing(fields: Iterable[FilterField], width: int | None, paint: Paint = plain) -> str:
    """Return the fields as a table; width: where to fold meanings, None: nowhere."""
    of_fields = ((field.name, type_of(field), meaning_of(field).replace("`", "")) for field in fields)
    rows = [("FIELD", "TYPE", "MEANING"), *of_fields]
    name_width, type_width = (max(len(row[number]) for row in rows) + 2 for number in (0, 1))
    begin = name_width + type_width
    lines: list[str] = []
    for name, kind, meaning in rows:
        folded = textwrap.wrap(meaning, max(width - begin, 20), break_on_hyphens=False) if width else [meaning]
        first = f"{name:<{name_width}}{kind:<{type_width}}{folded[0]}"
        lines.append(first if lines else paint("bold", first))
        lines += [" " * begin + line for line in folded[1:]]
    return "\n".join(lines)


def type_of(field: FilterField) -> str:
    """Return a field's type with its unit."""
    return f"{field.type} ({field.unit})" if field.unit else field.type


def meaning_of(field: FilterField) -> str:
    """Return what a field means, when it has no value, and where it works."""
    absent = f"; none {field.absent}" if field.absent else ""
    works = works_with(field)
    return f"{field.meaning}{absent} [{', '.join(works)}]" if works else f"{field.meaning}{absent}"
