"""What somebody who mistyped a word may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean watch?", or nothing if no known word is near."""
    near = get_close_matches(word.lower(), list(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""
