"""docs/verdicts.md as data: what `hangup explain` prints.

What a verdict means and what to do about it, in a sentence each, are `Kind`'s; a test holds the document to it. The
document is installed beside the packages; in a checkout hangup/verdicts.md is a link to it. It is written by us, so
what is missing in it is a fault and not the user's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hangup.tracer.verdicts import Kind

_CHAPTER = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!## ).*\n?)*)", re.MULTILINE)
_SECTION = re.compile(r"^### `(?P<label>[\w-]+)`\n(?P<body>(?:(?!###? ).*\n?)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """What the document says of one verdict."""

    kind: Kind
    chapter: str
    """The heading under which it stands, which says what such verdicts have in common."""
    text: str
    """All of it but its heading, in Markdown."""


@cache
def sections() -> dict[str, Section]:
    """Return every verdict's section by its label, in the order of the document."""
    document = files("hangup").joinpath("verdicts.md").read_text(encoding="utf-8")
    return parse(document)


def parse(document: str) -> dict[str, Section]:
    """Return the sections of such a document. Raises KeyError for one that is no verdict's."""
    return {
        found["label"]: Section(Kind.named(found["label"]), chapter["title"].strip(), found["body"].strip())
        for chapter in _CHAPTER.finditer(document)
        for found in _SECTION.finditer(chapter["body"])
    }
