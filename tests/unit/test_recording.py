"""What a tracer does differently while the kernel records: what it asks of the probes, waits for, counts and knows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel.probes import ENDPOINTS, endpoints_of, histories_bytes
from hangup.tracer.record.layout import COUNTED_BYTES, Event, RecordType, counted_of, pack
from hangup.tracer.tracer import POLL_SECONDS, QUIET_SECONDS, Tracer
from tests import stories
from tests.unit.playback import Playback
from tests.unit.sources import FakeProbes

_LONG = 600.0


class Waited(FakeProbes):
    """Has recorded these events, and remembers how it was made, for how long it was to wait, and what may wake it."""

    def __init__(self, events: Sequence[Event], **options: Any) -> None:
        super().__init__(map(pack, events))
        self.options = options
        self.waited: list[float] = []
        self.woken_by: list[int] = []

    def read(self, timeout: float) -> list[bytes]:
        """Return everything once."""
        self.waited.append(timeout)
        return super().read(timeout)

    def wake_by(self, descriptor: int) -> None:
        """Remember it."""
        self.woken_by.append(descriptor)

    def open_endpoints(self) -> int:
        """Return that both ends of it are open."""
        return 2


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Waited]:
    """Return where the probes of the next tracers come to stand."""
    made: list[Waited] = []

    def make(**options: Any) -> Waited:
        # The last record, of a release, would settle what it cost.
        story = stories.seeds_failure(start=time.monotonic_ns())
        made.append(Waited(story.events[:-1], **options))
        return made[-1]

    def refuse() -> None:
        raise HangupError("not here", "elsewhere")

    monkeypatch.setattr("hangup.tracer.kernel.preflight.require", lambda: None)
    monkeypatch.setattr("hangup.tracer.kernel.live.Probes", make)
    monkeypatch.setattr("hangup.tracer.kernel.live.snapshot", refuse)
    return made


@pytest.mark.parametrize(
    ("options", "recording", "endpoints"),
    [
        ({}, True, ENDPOINTS),
        ({"history": 5000}, True, 8192),
        ({"stream": True}, False, ENDPOINTS),
        ({"on_operation": print}, False, ENDPOINTS),
    ],
)
def test_the_probes_are_told_what_to_record(
    probes: list[Waited], options: dict[str, Any], recording: bool, endpoints: int
) -> None:
    with Tracer(**options) as tracer:
        assert tracer.recording == recording
    [made] = probes
    assert (made.options["recording"], made.options["endpoints"]) == (recording, endpoints)


def test_a_capture_is_no_recording() -> None:
    assert not Tracer(source=Playback([])).recording


@pytest.mark.parametrize(
    ("wanted", "endpoints"), [(1024, 1024), (1025, 2048), (65_536, 65_536), (65_537, 131_072), (1_048_576, 1_048_576)]
)
def test_so_many_endpoints_have_a_history_rounded_up_to_a_power_of_two(wanted: int, endpoints: int) -> None:
    assert endpoints_of(wanted) == endpoints


@pytest.mark.parametrize("wanted", [-1, 0, 1023, 1_048_577])
def test_a_number_of_endpoints_that_cannot_be_had_is_refused_at_once(wanted: int) -> None:
    with pytest.raises(ValueError, match=f"{wanted} is not a number from 1024 to 1048576"):
        Tracer(history=wanted)


def test_the_default_histories_take_what_they_may_take() -> None:
    assert ENDPOINTS == 65_536
    assert 60_000_000 < histories_bytes(ENDPOINTS) < 64_000_000


def test_while_nothing_is_waited_for_the_tracer_sleeps_for_long(probes: list[Waited]) -> None:
    with Tracer() as tracer:
        # What somebody does after a failure is waited for, at first it is not known that there is one.
        list(tracer.poll(_LONG))
        list(tracer.poll(_LONG))
        list(tracer.poll(0.01))
        time.sleep(0.15)
        assert len(list(tracer.poll(_LONG))) == 1
        list(tracer.poll(_LONG))
        assert probes[0].waited == [QUIET_SECONDS, POLL_SECONDS, 0.01, POLL_SECONDS, QUIET_SECONDS]
        tracer.stop()
        # What was under way may still come, but nothing else.
        assert list(tracer.alerts()) == []
        assert probes[0].waited[-1] == POLL_SECONDS


@pytest.mark.parametrize("options", [{"stream": True}, {"on_operation": lambda _: None}])
def test_where_every_operation_is_recorded_it_looks_as_often_as_ever(
    probes: list[Waited], options: dict[str, Any]
) -> None:
    with Tracer(**options) as tracer:
        for _ in range(3):
            list(tracer.poll(_LONG))
    assert probes[0].waited == [POLL_SECONDS] * 3


def test_a_descriptor_that_may_wake_it_is_handed_on_to_the_probes(probes: list[Waited]) -> None:
    with Tracer() as tracer:
        tracer.wake_by(7)
    assert probes[0].woken_by == [7]
    with Tracer(source=Playback([])) as tracer:
        tracer.wake_by(7)


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("stream", [False, True])
def test_records_are_counted_as_they_are_read_and_open_endpoints_by_the_kernel(stream: bool) -> None:
    with Tracer(stream=stream) as tracer:
        assert tracer.statistics.counts().records == {}
        list(tracer.poll(0))
        assert tracer.statistics.counts().records[RecordType.OPERATION] == len(stories.seeds_failure().events) - 1
        assert tracer.open_endpoints == 2


def test_of_a_capture_nobody_knows_which_endpoints_are_open() -> None:
    with Tracer(source=Playback([])) as tracer:
        assert tracer.open_endpoints is None


def test_of_the_table_of_what_ended_well_only_rows_with_a_count_are_taken() -> None:
    size = COUNTED_BYTES // 4096
    table = bytearray(COUNTED_BYTES)
    # ready, connections, operations
    for place, row in ((0, (0, 9, 90)), (7, (1, 2, 20)), (4095, (1, 3, 30))):
        for number, value in enumerate(row):
            table[place * size + 8 * number : place * size + 8 * number + 8] = value.to_bytes(8, "little")
    assert [(row.ready, row.connections, row.operations) for row in counted_of(bytes(table))] == [
        (0, 9, 90),
        (1, 2, 20),
        (1, 3, 30),
    ]
