"""`hangup explain`: what a verdict means and what to do about it, as docs/verdicts.md has it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from itertools import groupby
from typing import IO

import click
from click.shell_completion import CompletionItem

from hangup.cli import terminal
from hangup.cli.suggestion import did_you_mean
from hangup.cli.terminal import Paint, plain
from hangup.cli.verdict_document import Section, sections

# A text that is wider is hard to read, however wide the terminal is.
_WIDEST = 100


def _label(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the name as it is spelled in the document."""
    if value is None:
        return None
    label = value.lower().replace("_", "-")
    if label not in sections():
        near = did_you_mean(label, sections())
        raise click.BadParameter(f"there is no verdict {value!r}{near or ' (`hangup explain` lists them)'}", ctx, param)
    return label


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names that begin so."""
    return [
        CompletionItem(label, help=section.kind.meaning)
        for label, section in sections().items()
        if label.startswith(incomplete)
    ]


@click.command("explain")
@click.argument("verdict", required=False, callback=_label, shell_complete=_complete)
def command(verdict: str | None) -> None:
    """Say what a verdict means and what to do about it.

    VERDICT is a name that an alert, the table or --json shows; without one all verdicts are listed with their meanings.
    It needs no privileges. On a terminal the text is laid out; in a pipe it is as docs/verdicts.md has it.
    """
    if verdict is None:
        width = min(terminal.columns(sys.stdout), _WIDEST) if sys.stdout.isatty() else None
        click.echo(listing(sections().values(), width, terminal.painter(sys.stdout)))
    elif sys.stdout.isatty():
        show(sections()[verdict], sys.stdout)
    else:
        section = sections()[verdict]
        click.echo(f"{section.kind.label}\n\n{section.text}")


def listing(known: Iterable[Section], width: int | None, paint: Paint = plain) -> str:
    """Return the verdicts under their chapters, each with its meaning; width: where to fold, None: nowhere."""
    found = list(known)
    column = max(len(section.kind.label) for section in found) + 4
    lines: list[str] = []
    for chapter, of_chapter in groupby(found, key=lambda section: section.chapter):
        lines += [*([""] if lines else []), paint("bold", chapter)]
        for section in of_chapter:
            meaning = section.kind.meaning.replace("`", "")
            folded = textwrap.wrap(meaning, width - column, break_on_hyphens=False) if width else [meaning]
            lines.append(f"  {section.kind.label:<{column - 2}}{folded[0]}")
            lines += [" " * column + line for line in folded[1:]]
    return "\n".join(lines)


def show(section: Section, file: IO[str], *, width: int | None = None) -> None:
    """Print a section for a terminal; `width` (columns) is for tests."""
    from rich.markdown import Markdown  # noqa: PLC0415 - a pipe does without
    from rich.text import Text  # noqa: PLC0415

    console = terminal.console(file, width=width)
    console.width = min(console.width, _WIDEST)
    console.print(Text(f"{section.kind.label}\n", style="bold"))
    console.print(Markdown(section.text, hyperlinks=False))
