"""A signal ends a wait, also one that comes right before it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from hangup.cli.wake import Wake


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """Have a handler for the signal that is sent."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


def is_woken(wake: Wake) -> bool:
    return bool(select.select([wake.descriptor], [], [], 0)[0])


def test_a_signal_is_there_to_be_read_until_it_is_cleared() -> None:
    with Wake() as wake:
        assert not is_woken(wake)
        wake.clear()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert is_woken(wake)
            wake.clear()
            assert not is_woken(wake)


def test_more_signals_than_anybody_clears_do_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    with Wake() as wake:
        full = os.fpathconf(wake.descriptor, "PC_PIPE_BUF") * 16 + 100
        for _ in range(full):
            signal.raise_signal(signal.SIGUSR1)
        wake.clear()
        assert not is_woken(wake)
    assert capfd.readouterr().err == ""


def test_afterwards_all_is_as_before() -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(write)
    try:
        with Wake() as wake:
            descriptor = wake.descriptor
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)
        os.kill(os.getpid(), signal.SIGUSR1)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not select.select([read], [], [], 0.1)[0]:
            pass
        assert os.read(read, 1)
        assert signal.set_wakeup_fd(before) == write
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
