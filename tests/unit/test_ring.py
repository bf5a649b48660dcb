"""The ring buffer is read as the kernel writes it: whole records, in their order, each of them once."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel import ring
from hangup.tracer.kernel.ring import Ring, RingFill

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE
BUSY = 1 << 31
DISCARDED = 1 << 30


class Kernel:
    """Writes a ring buffer as kernel/bpf/ringbuf.c does, into a file in memory; wakes its reader when it is told to."""

    def __init__(self, position: int = 0, **options: int) -> None:
        self._file = os.memfd_create("ring")
        os.truncate(self._file, 2 * PAGE + 2 * SIZE)
        self._pages = mmap.mmap(self._file, 2 * PAGE + 2 * SIZE)
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK)
        self.produced = position
        self._position(0, position)
        self._position(PAGE, position)
        self.ring = Ring(self._file, SIZE, woken_by=self._wakes, **options)

    def close(self) -> None:
        """Free it."""
        self.ring.close()
        self._pages.close()
        os.close(self._file)
        os.close(self._wakes)

    @property
    def consumed(self) -> int:
        """The consumer's position."""
        (position,) = struct.unpack_from("Q", self._pages, 0)
        return int(position)

    def reserve(self, length: int) -> int:
        """Make room for a record; returns where it begins, -1 if there is none (__bpf_ringbuf_reserve())."""
        place = self.produced
        following = place + (8 + length + 7) // 8 * 8
        if following - self.consumed > SIZE - 1:
            return -1
        self._write(place, struct.pack("II", length | BUSY, 2 + place % SIZE // PAGE))
        self.produced = following
        self._position(PAGE, following)
        return place

    def submit(self, place: int, record: bytes, bits: int = 0) -> None:
        """Write a record for which there is room, and finish it (bpf_ringbuf_commit())."""
        self._write(place + 8, record)
        self._write(place, struct.pack("I", len(record) | bits))

    def output(self, *records: bytes, bits: int = 0) -> None:
        """Write whole records, which find room."""
        for record in records:
            place = self.reserve(len(record))
            assert place >= 0
            self.submit(place, record, bits)

    def wake(self) -> None:
        """Wake the reader (bpf_ringbuf_notify())."""
        os.eventfd_write(self._wakes, 1)

    def damage(self, place: int, length: int) -> None:
        """Write a header that the kernel never writes."""
        self._write(place, struct.pack("I", length))

    def produce(self, position: int) -> None:
        """Set the producer's position to whatever is wanted."""
        self._position(PAGE, position)

    def _position(self, offset: int, position: int) -> None:
        struct.pack_into("Q", self._pages, offset, position)

    def _write(self, position: int, data: bytes) -> None:
        # A file cannot have the same page at two places: what is written goes to both.
        for offset, byte in enumerate(data, position):
            place = 2 * PAGE + offset % SIZE
            self._pages[place] = self._pages[place + SIZE] = byte


@pytest.fixture
def make() -> Iterator[Callable[..., Kernel]]:
    made: list[Kernel] = []

    def one(position: int = 0, **options: int) -> Kernel:
        made.append(Kernel(position, **options))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.fixture
def kernel(make: Callable[..., Kernel]) -> Kernel:
    return make()


class Wait(NamedTuple):
    """A call of epoll_wait(2)."""

    milliseconds: int
    """At the longest."""
    result: int
    """1: something woke it; 0: nothing did, and the time was over; -1: a signal came."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[Wait]:
    """Return how it was waited, once for each read."""
    seen: list[Wait] = []
    really = ring._epoll_wait

    def wait(epoll: int, event: object, count: int, milliseconds: int) -> None:
        seen.append(Wait(milliseconds, really(epoll, event, count, milliseconds)))

    monkeypatch.setattr(ring, "_epoll_wait", wait)
    return seen


def test_an_empty_ring_gives_nothing_after_the_time_that_was_given(kernel: Kernel, waits: list[Wait]) -> None:
    assert kernel.ring.read(0.02) == []
    assert waits == [Wait(20, 0)]
    assert kernel.consumed == 0


def test_records_come_whole_and_in_order_each_of_them_once(kernel: Kernel) -> None:
    records = [b"one", b"", b"exactly8", b"sixteen bytes ..", bytes(range(256))]
    kernel.output(*records)
    assert kernel.ring.read(0) == records
    assert kernel.consumed == kernel.produced
    assert kernel.ring.read(0) == []
    kernel.output(b"more")
    assert kernel.ring.read(0) == [b"more"]


def test_what_is_discarded_is_passed_over_and_makes_room(kernel: Kernel) -> None:
    kernel.output(b"first")
    kernel.output(b"not wanted after all", b"", bits=DISCARDED)
    kernel.output(b"last")
    assert kernel.ring.read(0) == [b"first", b"last"]
    kernel.output(b"nor this", bits=DISCARDED)
    assert kernel.ring.read(0) == []
    assert kernel.consumed == kernel.produced


def test_nothing_behind_a_record_that_is_being_written_comes_before_it(kernel: Kernel) -> None:
    kernel.output(b"before")
    busy = kernel.reserve(len(b"busy"))
    kernel.output(b"behind")
    assert kernel.ring.read(0) == [b"before"]
    assert kernel.consumed == busy
    assert kernel.ring.read(0) == []
    kernel.submit(busy, b"busy")
    assert kernel.ring.read(0) == [b"busy", b"behind"]


def test_behind_a_record_that_is_being_written_it_is_looked_soon_without_a_wake_up(
    kernel: Kernel, waits: list[Wait]
) -> None:
    busy = kernel.reserve(len(b"woke nobody"))
    kernel.output(b"woke the reader")
    kernel.wake()
    assert kernel.ring.read(60) == []
    kernel.submit(busy, b"woke nobody")
    assert kernel.ring.read(60) == [b"woke nobody", b"woke the reader"]
    assert waits == [Wait(60_000, 1), Wait(1, 0)]


def test_a_record_that_goes_beyond_the_end_of_the_data_is_whole(kernel: Kernel) -> None:
    wrapped = 0
    for number in range(400):
        record = bytes([number % 256]) * 1000
        wrapped += kernel.produced % SIZE + 1008 > SIZE
        kernel.output(record)
        assert kernel.ring.read(0) == [record]
    assert wrapped > 20


def test_a_header_may_be_the_last_of_the_data_and_the_record_the_first(make: Callable[..., Kernel]) -> None:
    kernel = make(SIZE - 8)
    kernel.output(b"at the beginning", b"next")
    assert kernel.ring.read(0) == [b"at the beginning", b"next"]


@pytest.mark.parametrize("position", [2**32 - 16, 2**32, 5 * 2**40 - 8, 2**64 - 2**20])
def test_positions_are_of_64_bits(make: Callable[..., Kernel], position: int) -> None:
    kernel = make(position)
    records = [b"%d" % number * 5 for number in range(40)]
    kernel.output(*records)
    assert kernel.ring.read(0) == records
    assert kernel.consumed == kernel.produced > position
    assert kernel.ring.fill.bytes == kernel.produced - position


def test_a_full_ring_is_read_and_has_room_again(kernel: Kernel) -> None:
    written = 0
    while (place := kernel.reserve(100)) >= 0:
        kernel.submit(place, b"%0100d" % written)
        written += 1
    assert kernel.ring.read(0) == [b"%0100d" % number for number in range(written)]
    assert kernel.ring.fill.bytes > SIZE - 112
    assert kernel.reserve(100) >= 0


def test_of_a_burst_only_so_much_is_taken_at_a_time_and_the_rest_at_once(
    make: Callable[..., Kernel], waits: list[Wait]
) -> None:
    kernel = make(window_bytes=2 * PAGE)
    records = [b"%0100d" % number for number in range(140)]
    kernel.output(*records)
    # Each takes 112 bytes: so many of them lie within two pages.
    assert kernel.ring.read(0) == records[:73]
    taken = records[:73]
    while len(taken) < len(records):
        part = kernel.ring.read(60)
        assert 0 < len(part) <= 73
        taken += part
    assert taken == records
    assert set(waits) == {Wait(0, 0)}


def test_of_the_data_a_window_is_mapped_and_no_more(make: Callable[..., Kernel]) -> None:
    kernel = make(window_bytes=2 * PAGE)
    for number in range(100):
        kernel.output(b"%01000d" % number)
        assert kernel.ring.read(0) == [b"%01000d" % number]
        # And the producer's page.
        assert sum(_mapped_readable()) == 3 * PAGE


def _mapped_readable() -> Iterator[int]:
    """Yield how many bytes each mapping of the ring has that cannot be written."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights, *_, name = line.split(maxsplit=5)
        if rights == "r--s" and name == "/memfd:ring (deleted)":
            begin, end = addresses.split("-")
            yield int(end, 16) - int(begin, 16)


def test_its_fill_is_what_waited_and_the_most_that_ever_did(kernel: Kernel) -> None:
    assert kernel.ring.fill == RingFill(0, SIZE, 0)
    kernel.output(b"x" * 24, b"y" * 24)
    # Nobody has looked.
    assert kernel.ring.fill == RingFill(0, SIZE, 0)
    kernel.ring.read(0)
    assert kernel.ring.fill == RingFill(64, SIZE, 64)
    kernel.output(b"z" * 8)
    kernel.ring.read(0)
    assert kernel.ring.fill == RingFill(16, SIZE, 64)
    kernel.ring.read(0)
    assert kernel.ring.fill == RingFill(0, SIZE, 64)


@pytest.mark.parametrize("length", [64, SIZE, DISCARDED - 1, DISCARDED | (DISCARDED - 1)])
def test_a_length_that_leads_out_of_the_ring_ends_the_reading_after_what_is_good(kernel: Kernel, length: int) -> None:
    kernel.output(b"good")
    place = kernel.produced
    kernel.output(b"damaged")
    kernel.damage(place, length)
    assert kernel.ring.read(0) == [b"good"]
    with pytest.raises(HangupError, match="ring buffer"):
        kernel.ring.read(0)


@pytest.mark.parametrize("produced", [8, 64 + SIZE + 8, 2**64 - 8])
def test_positions_that_cannot_be_are_refused(make: Callable[..., Kernel], produced: int) -> None:
    kernel = make(64)
    kernel.produce(produced)
    with pytest.raises(HangupError, match="ring buffer"):
        kernel.ring.read(0)


def test_data_that_are_all_zero_end(kernel: Kernel) -> None:
    kernel.produce(SIZE)
    assert kernel.ring.read(0) == [b""] * (SIZE // 8)


# Each word of it could be the header of one that is as long.
_ALIKE = struct.pack("I", 24) * 6


@pytest.mark.parametrize("number", [1, 2, 3, 4, 31, 32, 33, 34, 35, 66, 67, 120])
def test_of_records_of_one_length_none_is_missed_and_what_stands_in_a_longer_one_is_none(
    kernel: Kernel, number: int
) -> None:
    records = [*[_ALIKE] * number, _ALIKE * 20, *[_ALIKE] * number, b"short", *[_ALIKE] * number]
    kernel.output(*records)
    assert kernel.ring.read(0) == records
    assert kernel.consumed == kernel.produced


@pytest.mark.parametrize("number", [2, 3, 10])
def test_among_records_of_one_length_one_may_be_discarded_or_still_be_written(kernel: Kernel, number: int) -> None:
    kernel.output(*[_ALIKE] * number)
    kernel.output(*[_ALIKE] * number, bits=DISCARDED)
    kernel.output(*[_ALIKE] * number)
    busy = kernel.reserve(len(_ALIKE))
    kernel.output(*[_ALIKE] * number)
    assert kernel.ring.read(0) == [_ALIKE] * 2 * number
    assert kernel.consumed == busy
    kernel.submit(busy, _ALIKE)
    assert kernel.ring.read(0) == [_ALIKE] * (number + 1)
    assert kernel.consumed == kernel.produced


@pytest.mark.parametrize("number", [2, 3, 10])
def test_the_last_of_some_records_of_one_length_may_be_damaged(kernel: Kernel, number: int) -> None:
    kernel.output(*[_ALIKE] * number)
    end = kernel.produced
    kernel.output(_ALIKE)
    # It leads beyond what was produced, and the one behind it is not there at all.
    kernel.produce(end + 8)
    assert kernel.ring.read(0) == [_ALIKE] * number
    assert kernel.consumed == end
    with pytest.raises(HangupError, match="ring buffer"):
        kernel.ring.read(0)


def test_a_wake_up_ends_the_waiting_and_none_that_came_before_it_is_lost(kernel: Kernel, waits: list[Wait]) -> None:
    for number in range(3):
        kernel.output(b"%d" % number)
        kernel.wake()
        assert kernel.ring.read(60) == [b"%d" % number]
    assert waits == [Wait(60_000, 1)] * 3


def test_records_that_woke_nobody_are_collected_until_the_time_is_over(kernel: Kernel, waits: list[Wait]) -> None:
    kernel.output(b"went wrong")
    kernel.wake()
    assert kernel.ring.read(60) == [b"went wrong"]
    for _ in range(2):
        kernel.output(b"went well")
        assert kernel.ring.read(0.02) == [b"went well"]
    assert waits[1:] == [Wait(20, 0)] * 2


def test_another_descriptor_ends_the_waiting_too_until_it_is_closed(kernel: Kernel, waits: list[Wait]) -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    kernel.ring.wake_by(read)
    for _ in range(2):
        # Before the waiting begins, and without anything in the ring.
        os.write(write, b"x")
        assert kernel.ring.read(60) == []
        assert os.read(read, 100) == b"x"
    os.close(read)
    os.close(write)
    assert kernel.ring.read(0.02) == []
    kernel.output(b"went wrong")
    kernel.wake()
    assert kernel.ring.read(60) == [b"went wrong"]
    assert waits == [Wait(60_000, 1), Wait(60_000, 1), Wait(20, 0), Wait(60_000, 1)]


def test_a_signal_ends_the_waiting(kernel: Kernel, waits: list[Wait]) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert kernel.ring.read(60) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert waits == [Wait(60_000, -1)]


def test_ctrl_c_at_any_moment_of_a_read_neither_loses_a_record_nor_repeats_one(kernel: Kernel) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    written: list[bytes] = []
    taken: list[bytes] = []
    interrupted = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for attempt in range(1500):
            for _ in range(3):
                written.append(b"%d" % len(written))
                kernel.output(written[-1])
            try:
                signal.setitimer(signal.ITIMER_REAL, (1 + attempt % 60) / 1e6)
                taken += kernel.ring.read(0)
                time.sleep(0.01)
            except KeyboardInterrupt:
                interrupted += 1
            taken += kernel.ring.read(0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted == 1500
    assert taken == written


def test_what_cannot_be_a_ring_is_an_os_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Ring(1_000_000, SIZE)


# Many in a row are to be of one length.
_contents = st.one_of(st.just(_ALIKE), st.just(_ALIKE * 2), st.binary(max_size=700))
_records = st.tuples(_contents, st.sampled_from([0, 0, 0, DISCARDED]), st.booleans())


@given(
    st.integers(0, 2**40).map(lambda number: 8 * number),
    st.lists(st.lists(_records, max_size=12) | st.lists(st.just((_ALIKE, 0, True)), max_size=80), max_size=12),
    st.sampled_from([2 * PAGE, 3 * PAGE, 1 << 20]),
)
def test_what_is_written_is_what_is_read(
    position: int, bursts: list[list[tuple[bytes, int, bool]]], window_bytes: int
) -> None:
    """Of each burst some records are finished after a read, in the reverse order."""
    kernel = Kernel(position, window_bytes=window_bytes)
    try:
        wanted: list[bytes] = []
        taken: list[bytes] = []
        for burst in bursts:
            late = []
            for record, bits, at_once in burst:
                place = kernel.reserve(len(record))
                if place < 0:
                    continue
                if not bits:
                    wanted.append(record)
                if at_once:
                    kernel.submit(place, record, bits)
                else:
                    late.append((place, record, bits))
            taken += kernel.ring.read(0)
            assert taken == wanted[: len(taken)]
            for place, record, bits in reversed(late):
                kernel.submit(place, record, bits)
            while kernel.consumed != kernel.produced:
                taken += kernel.ring.read(0)
            assert taken == wanted
    finally:
        kernel.close()
