"""What holds for all unit tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

# hypothesis's own deadline is a time of this machine: 200 ms an example, whatever else the machine does meanwhile.
# Where CI is set it takes the same examples each time: what is red then is red by what was changed.
settings.register_profile("hangup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("hangup")

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals_as_in_the_foreground() -> Iterator[None]:
    """Have signals do what they do in the foreground: nohup(1) and a shell's background ignore some for us.

    hangup leaves alone what is ignored on purpose, so that a test which sends itself one would wait for ever.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def utc() -> Iterator[None]:
    """Have local time be UTC, wherever the tests run."""
    with pytest.MonkeyPatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()
