"""Fuzzes the reader of captures, and what trace prints: what reaches lines that nothing reached before is gone on from.

    python -m tests.fuzz [libFuzzer's options] [FOLDER ...]

What is found goes into the first folder, and is read from all of them.
"""

from __future__ import annotations

import sys

import atheris

# What is imported here says which of its lines are reached.
with atheris.instrument_imports(include=["hangup.tracer", "hangup.cli.reporters"]):
    from tests.fuzz.capture import one_input

if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
