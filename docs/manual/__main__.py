"""`python3 -m docs.manual FOLDER`: writes the manual pages and the completions."""

from __future__ import annotations

from pathlib import Path

import click

from docs.manual.completions import completions
from docs.manual.pages import pages


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--date", metavar="YYYY-MM-DD", required=True, help="What stands at the foot of the pages.")
def write(folder: Path, date: str) -> None:
    """Write FOLDER/man/* and FOLDER/completions/SHELL/*."""
    for place, text in pages(date).items():
        _write(folder / "man" / place, text)
    for place, text in completions().items():
        _write(folder / "completions" / place, text)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
