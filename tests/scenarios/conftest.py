"""What the scenarios share: how many requests they send, and a folder that their servers may use."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def requests_to_send() -> int:
    """How many requests one scenario sends: `make test` is content with few."""
    return int(os.environ.get("SCENARIO_REQUESTS", "200"))


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """Make a folder with a short name: a Unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="hangup-") as directory:
        yield Path(directory)
