"""docs/verdicts.md as data: what `hangup explain` prints, and the advice with which an alert ends.

The document is installed beside the packages; in a checkout hangup/verdicts.md is a link to it. It is written by us and
compared with `Kind` by a test, so what is missing in it is a fault and not the user's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_CHAPTER = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!## ).*\n?)*)", re.MULTILINE)
_SECTION = re.compile(r"^### `(?P<label>[\w-]+)`\n(?P<body>(?:(?!###? ).*\n?)*)", re.MULTILINE)

# The item goes on until the next one, or until an empty line.
_ADVICE = re.compile(r"\*\*What to do:\*\* (?P<text>.+?)(?=\n- |\n\n|\Z)", re.DOTALL)
_SENTENCE = re.compile(r".+?[.!](?=\s|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Section:
    """What the document says of one verdict."""

    label: str
    """The verdict's name, as in `--json`."""
    chapter: str
    """The heading under which it stands, which says what such verdicts have in common."""
    meaning: str
    """Its first paragraph, on one line: what the verdict means."""
    text: str
    """All of it but its heading, in Markdown."""
    advice: str | None
    """The sentence with which "What to do" begins, without marks; None where nothing is to be done."""


@cache
def sections() -> dict[str, Section]:
    """Return every verdict's section by its label, in the order of the document."""
    document = files("hangup").joinpath("verdicts.md").read_text(encoding="utf-8")
    return parse(document)


def parse(document: str) -> dict[str, Section]:
    """Return the sections of such a document."""
    return {
        found["label"]: Section(
            label=found["label"],
            chapter=chapter["title"].strip(),
            meaning=" ".join(text.split("\n\n", 1)[0].split()),
            text=text,
            advice=_advice(text),
        )
        for chapter in _CHAPTER.finditer(document)
        for found in _SECTION.finditer(chapter["body"])
        for text in [found["body"].strip()]
    }


def advice(label: str) -> str | None:
    """Return in one sentence what to do about a verdict of this label; None if nothing is to be done."""
    section = sections().get(label)
    return section.advice if section else None


def _advice(text: str) -> str | None:
    item = _ADVICE.search(text)
    if item is None:
        return None
    words = " ".join(item["text"].replace("`", "").split())
    sentence = _SENTENCE.match(words)
    return sentence[0] if sentence else words
