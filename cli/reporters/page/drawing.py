"""A drawing as plain data: texts, lines and boxes with their places, which the template writes as SVG.

Colours are classes of page.css: the page's policy lets no drawing bring a style of its own. Widths of texts are
estimated, because nobody knows what font a reader has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "middle", "end"]

CHARACTER = 6.6
"""About how wide a character of a drawing's texts is, in its units (pixels at the size at which it is drawn)."""

# Texts of these styles stand in the middle of where they are.
_IN_THE_MIDDLE = ("note", "role", "sent")


@dataclass(frozen=True, slots=True)
class Text:
    """A text."""

    x: float
    y: float
    """Of its base line."""
    text: str
    style: str = ""
    anchor: Anchor = "start"

    @property
    def classes(self) -> str:
        """Its classes in the page's style sheet."""
        if self.style.partition(" ")[0] in _IN_THE_MIDDLE:
            # The style sheet has it: of a thousand alerts these are many texts.
            return self.style
        return f"{self.style} {self.anchor}".removesuffix("start").strip()


@dataclass(frozen=True, slots=True)
class Line:
    """One or several strokes of one style."""

    path: str
    """As in the attribute `d` of SVG's path."""
    style: str
    width: float | None = None
    """None: as the style says."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    style: str
    title: str = ""
    """What is shown when a pointer rests on it."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture."""

    width: int
    height: int
    title: str
    """What it is, for who does not see it."""
    description: str
    """What it shows, for the same."""
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    texts: tuple[Text, ...] = ()


_BOLD = 7.8
"""The same of a bold one."""


def shortened(text: str, room: float, *, bold: bool = False) -> str:
    """Return a text that takes no more room than this: the middle of a longer one is left out."""
    most = max(int(room / (_BOLD if bold else CHARACTER)), 3)
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def width_of(text: str, *, bold: bool = False) -> float:
    """Return how much room a text takes, about."""
    return len(text) * (_BOLD if bold else CHARACTER)
