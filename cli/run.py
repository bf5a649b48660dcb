"""What `watch` and `trace` share: run until a signal, a time or the end of a command, and lose nothing of the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import Protocol

from hangup.cli.child import Child, sent_by_terminal
from hangup.cli.output import note
from hangup.cli.wake import Wake
from hangup.tracer.tracer import QUIET_SECONDS, Alert

# timeout(1) sends its signal twice, to the process and to the group; a person needs longer to press Ctrl-C again.
_AGAIN_SECONDS = 0.5

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watched(Protocol):
    """The part of tracer.tracer.Tracer that is needed here."""

    def poll(self, timeout: float) -> Iterable[Alert]:
        """Wait a while and yield alerts."""

    def wake_by(self, descriptor: int) -> None:
        """Let what comes to be read there end the waiting."""

    def stop(self) -> None:
        """Take the probes away."""

    def alerts(self) -> Iterable[Alert]:
        """Yield what is left."""

    @property
    def exhausted(self) -> bool:
        """Whether a capture has been read to its end."""


class Signals:
    """The signals that end a run, noted while the context lasts; each interrupts a waiting poll."""

    def __init__(self, *, lets_end: Callable[[], bool] = lambda: False) -> None:
        """lets_end: whether the first Ctrl-C is for whoever writes what is read, whose end ends the run."""
        self._lets_end = lets_end
        self._noted: list[int] = []
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._interrupted: float | None = None
        self.received = False
        """Whether any came that ends the run."""

    def __enter__(self) -> Signals:
        for number in _ENDING:
            # nohup(1) and a shell's background ignore signals for us on purpose.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        # Its arrival is all that matters: it ends the poll that waits while the command ends.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
        if number != signal.SIGINT:
            self.received = True
            return
        now = time.monotonic()
        if self._interrupted is None:
            self._interrupted = now
            self.received = self.received or not self._lets_end()
        elif now - self._interrupted > _AGAIN_SECONDS:
            # Ctrl-C again: whoever presses it does not want to wait for what is left.
            if self.received:
                raise KeyboardInterrupt
            self.received, self._interrupted = True, now

    @property
    def has_waited(self) -> bool:
        """Whether Ctrl-C was pressed, and longer ago than it takes somebody who has got it as well to end."""
        return self._interrupted is not None and time.monotonic() - self._interrupted > _AGAIN_SECONDS

    def take(self) -> list[int]:
        """Return those that came since the last time."""
        noted, self._noted = self._noted, []
        return noted


@contextmanager
def first_interrupt_for(is_written: Callable[[], bool]) -> Iterator[None]:
    """Have Ctrl-C do what it does, but not the first one while somebody else writes what is read.

    A terminal sends it to whoever writes, too, and what is still written comes before the end.
    """
    first: float | None = None

    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        # It is ignored on purpose, or not Python's.
        yield
        return
    interrupt = before

    def note_it(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None and is_written():
            first = now
        elif first is None or now - first > _AGAIN_SECONDS:
            interrupt(number, frame)

    signal.signal(signal.SIGINT, note_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Command:
    """Starts the command, passes signals on to it, and leaves none behind."""

    def __init__(self, command: Sequence[str], starting: AbstractContextManager[None]) -> None:
        with starting:
            self._child = Child(command)

    def __enter__(self) -> _Command:
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        # Whatever ends the run early ends the command too: it must not stay behind without its foreground.
        if kind is not None and self._child.status is None:
            self._child.end()

    @property
    def status(self) -> int | None:
        return self._child.status

    def pass_on(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number != signal.SIGINT or not sent_by_terminal():
                self._child.send(number)


def run(
    tracer: Watched,
    *,
    on_alert: Callable[[Alert], None],
    after_batch: Callable[[], None] = lambda: None,
    on_ready: Callable[[], None] = lambda: None,
    duration: float | None = None,
    command: Sequence[str] = (),
    starting: AbstractContextManager[None] | None = None,
    reads_pipe: Callable[[], bool] = lambda: False,
) -> int | None:
    """Run until SIGINT, SIGTERM or SIGHUP, for `duration` seconds, or while the command runs; then drain.

    Of a capture what is left then is not read; its end ends the run as well. While a pipe is read the first SIGINT does
    not end it: a terminal sends that to whoever writes the pipe, too, and what is still written comes before its end.

    The tracer is attached already and stays in its context. on_ready: called when whatever happens is seen;
    after_batch: called after each look at the ring buffer. With a command, signals and the end of the duration (as
    SIGTERM) are passed on to it, and the run ends when it does; its status is returned. starting: it is started within
    this context. reads_pipe: whether a pipe is read now.
    """
    with Wake() as wake, Signals(lets_end=reads_pipe) as signals:
        tracer.wake_by(wake.descriptor)
        on_ready()
        deadline = None if duration is None else time.monotonic() + duration

        def look() -> None:
            # Failures, signals and the end of the command end the waiting; the tracer looks more often where it must.
            left = QUIET_SECONDS if deadline is None else max(deadline - time.monotonic(), 0)
            for alert in tracer.poll(min(QUIET_SECONDS, left)):
                on_alert(alert)
            wake.clear()
            after_batch()

        if command:
            with _Command(command, starting or nullcontext()) as child:
                while (status := child.status) is None:
                    look()
                    child.pass_on(signals.take())
                    if deadline is not None and time.monotonic() >= deadline:
                        child.pass_on([signal.SIGTERM])
                        deadline = None
        else:
            status = None
            is_told = False
            while not signals.received and (deadline is None or time.monotonic() < deadline):
                look()
                if tracer.exhausted:
                    break
                if signals.has_waited and not is_told:
                    note("the pipe goes on, and is read to its end; Ctrl-C again ends it")
                    is_told = True
        tracer.stop()
        for alert in tracer.alerts():
            on_alert(alert)
        after_batch()
        return status
