"""README's example of the library, as somebody would copy it."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"

_FENCED = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def python_example() -> str:
    """Return the one Python program that stands in README."""
    [program] = _FENCED.findall(README.read_text())
    return str(program)
