"""Texts that hangup prints, compared character for character with files in tests/unit/snapshots/.

`HANGUP_UPDATE_SNAPSHOTS=1 pytest tests/unit` writes the files anew: read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "snapshots"


def check(name: str, text: str) -> None:
    """Compare a text with the file of this name."""
    path = _FOLDER / f"{name}.txt"
    if os.environ.get("HANGUP_UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} says otherwise; see tests/unit/snapshots.py"
