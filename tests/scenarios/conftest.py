"""What the scenarios share: how many requests they send."""

import os

import pytest


@pytest.fixture(scope="session")
def requests_to_send() -> int:
    """How many requests one scenario sends: `make test` is content with few."""
    return int(os.environ.get("SCENARIO_REQUESTS", "200"))
