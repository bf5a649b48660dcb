"""The BPF ring buffer (kernel/bpf/ringbuf.c), mapped and taken in blocks.

Three parts of it can be mapped (ringbuf_map_mmap_kern()): a page that begins with the consumer's position, which is
ours to write; a page that begins with the producer's; and the data, in which the same pages come twice, so that a
record that goes beyond their end is in one piece all the same (bpf_ringbuf_area_alloc()). A position is a count of
bytes, 64 bits wide; modulo the ring's size, a power of two, it is a place in the data. A record is a header of 8 bytes
(its length with two bits, then a number that only the kernel needs) and as many bytes as the length says, rounded up to
8.

Of the data only a window is mapped, which goes along with the consumer: a mapping of them has all their pages at once
(remap_vmalloc_range(), mm/memory.c), and each counts as memory of this process, twice where the pages come twice.
"""

from __future__ import annotations

import ctypes
import mmap
import select
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hangup.tracer.errors import HangupError

# include/uapi/linux/bpf.h
_BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT: it is being written
_DISCARDED = 1 << 30  # BPF_RINGBUF_DISCARD_BIT: its writer thought better of it
_HEADER = 8  # BPF_RINGBUF_HDR_SZ

# So many bytes of the data are mapped. Of a burst that does not end no more are taken at a time, so that signals and
# losses are seen in between. The longest record (struct history_record) has some KiB.
_WINDOW_BYTES = 1 << 20

# So many records of the same length are copied at once, at most.
_RUN = 32

# Behind a record that is being written it is looked again after this time at the latest. Those that lie there may have
# woken us already, and that one need not; to write it takes some microseconds.
_WRITTEN_SECONDS = 0.001

# select.epoll.poll() waits on after a signal whose handler does not raise (PEP 475); this returns.
_epoll_wait = ctypes.CDLL(None).epoll_wait
_epoll_wait.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]


@dataclass(frozen=True, slots=True)
class RingFill:
    """How full the ring buffer was when the reader came to it."""

    bytes: int
    """What waited to be read."""
    size: int
    """How many bytes it holds."""
    highest: int
    """The most that ever waited, in bytes."""


class _Window(NamedTuple):
    """What is mapped of the data."""

    position: int
    """Where in the stream of all bytes it begins."""
    data: mmap.mmap
    lengths: memoryview
    """The same, as numbers of 32 bits."""


class Ring:
    """The one reader of a ring buffer."""

    def __init__(
        self, descriptor: int, size: int, *, window_bytes: int = _WINDOW_BYTES, woken_by: int | None = None
    ) -> None:
        """Map it. Raises OSError.

        descriptor: the map's, which has to stay open. size: how many bytes of data it holds. window_bytes: how many of
        them are mapped, and so at most taken, at a time; whole pages, and one more than the longest record needs.
        woken_by: a descriptor that is waited on in place of the map's.
        """
        page = mmap.PAGESIZE
        self._descriptor = descriptor
        self._size = size
        self._window_bytes = min(window_bytes, size)
        self._patience: float | None = None
        self.fill = RingFill(0, size, 0)
        """How full it was before the last read."""
        self._maps = [
            mmap.mmap(descriptor, page),
            mmap.mmap(descriptor, page, prot=mmap.PROT_READ, offset=page),
        ]
        consumer, producer = self._maps
        # An item of these is read and written by a memcpy() of a constant size, which is one instruction: what struct
        # does with "=Q", byte by byte, would see half of a position that changes.
        self._consumed = memoryview(consumer).cast("Q")
        self._produced = memoryview(producer).cast("Q")
        self._window: _Window | None = self._window_from(self._consumed[0])
        # Edge-triggered: otherwise it would not wait while there are records that did not wake.
        self._epoll = select.epoll()
        self._epoll.register(descriptor if woken_by is None else woken_by, select.EPOLLIN | select.EPOLLET)
        self._event = ctypes.create_string_buffer(16)  # struct epoll_event, of which nothing is read

    def close(self) -> None:
        """Unmap it; what was not read is gone. It may be closed again, but not read."""
        self._epoll.close()
        self._window = None
        for view in (self._consumed, self._produced):
            view.release()
        for mapped in self._maps:
            mapped.close()

    def wake_by(self, descriptor: int) -> None:
        """Let whatever comes to be read from this descriptor end the waiting as well, until it is closed."""
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    @property
    def drained(self) -> bool:
        """Whether it is empty."""
        return bool(self._consumed[0] == self._produced[0])

    def read(self, timeout: float) -> list[bytes]:
        """Return the next records, in the order in which room for them was taken.

        It waits until it is woken or a signal comes, but `timeout` seconds at the longest, and then returns whatever is
        there: records that woke nobody, or none at all. Raises HangupError if it is not what the kernel writes, OSError
        if the next part of it cannot be mapped.

        Whatever an exception of a signal's handler interrupts, each record is returned by this read or by a later one.
        """
        # No wake-up is lost. What wakes us does so when it is finished (bpf_ringbuf_commit()), and always, because it
        # asks for it (BPF_RB_FORCE_WAKEUP): it does not matter whether the kernel sees our position in time, so that no
        # barrier is needed between writing it and waiting. epoll forgets a wake-up before it returns, and the
        # producer's position is read after that: what is not seen now wakes us later.
        milliseconds = int((timeout if self._patience is None else min(timeout, self._patience)) * 1000)
        _epoll_wait(self._epoll.fileno(), self._event, 1, milliseconds)
        return self._take()

    def _take(self) -> list[bytes]:
        # The kernel writes a header (busy) before the producer's position (__bpf_ringbuf_reserve()), and data before a
        # header that is not busy; we read them the other way round. x86 keeps the order of loads and that of stores
        # (TSO); another machine would need barriers. That is also why headers are read in place, and only what lies
        # behind a finished one is copied: memcpy() of a whole block copies in an order of its own, in which a header
        # could be newer than its data.
        (position, data, lengths), begin, end = self._look()
        offset = begin
        stop = min(end, self._window_bytes)
        busy = False
        records: list[bytes] = []
        append = records.append
        # The lengths of the two records before, and one that was met three times in a row.
        one = other = often = -1
        while offset < stop:
            length = lengths[offset >> 2]
            if length == often:
                # Most operations have one length, so it is known where the next headers should be. What is read there
                # is a header as long as all before it had that length, too. They are all read before what is copied.
                step = (_HEADER + length + 7) & -8
                count = 0
                for header in lengths[offset >> 2 : (min(stop, offset + _RUN * step) - step >> 2) + 1 : step >> 2]:
                    if header != length:
                        break
                    count += 1
                if not count:
                    # It leads beyond the end, see below.
                    break
                records += _layout(length, count).unpack_from(data, offset)
                offset += count * step
                one = length
                if count < 3:
                    # One at a time would take longer this way.
                    often = -1
                continue
            taken = length < _DISCARDED
            if not taken:
                if length & _BUSY:
                    busy = True
                    break
                length ^= _DISCARDED
            start = offset + _HEADER
            following = (start + length + 7) & -8
            if following > stop:
                # The first one lies in the first page of the window, or all that waits does.
                if offset == begin:
                    raise _damaged()
                # What lies before it is good.
                break
            if taken:
                append(data[start : start + length])
            if length == one and length == other:
                often = length
            other, one = one, length
            offset = following
        self._patience = (_WRITTEN_SECONDS if busy else 0.0) if offset < end else None
        # Nothing may stand between this and the return: CPython runs handlers of signals when a function is called or
        # begins, and where a loop goes back. It makes room for the whole block at once.
        self._consumed[0] = position + offset
        return records

    def _look(self) -> tuple[_Window, int, int]:
        """Return the window of the data, and where in it what waits begins and ends; it may end behind the window."""
        consumed = self._consumed[0]
        waiting = self._produced[0] - consumed
        if not 0 <= waiting <= self._size:
            raise _damaged()
        self.fill = RingFill(waiting, self._size, max(self.fill.highest, waiting))
        window = self._window
        assert window is not None, "it is closed"
        if consumed + waiting > window.position + self._window_bytes:
            # At once in the place of the one before, which nobody else holds and so is unmapped: whatever interrupts
            # this, a window and its position belong together.
            window = self._window = self._window_from(consumed)
        begin = consumed - window.position
        return window, begin, begin + waiting

    def _window_from(self, position: int) -> _Window:
        """Map the data from the page on in which a position lies. Raises OSError.

        Who has the descriptor may, with whatever privileges are left (bpf_map_mmap(), kernel/bpf/syscall.c).
        """
        page = mmap.PAGESIZE
        begin = position & -page
        # The data are the third part. A window may go beyond their end, as they come twice.
        offset = 2 * page + (begin & (self._size - 1))
        data = mmap.mmap(self._descriptor, self._window_bytes, prot=mmap.PROT_READ, offset=offset)
        return _Window(begin, data, memoryview(data).cast("I"))


@lru_cache(maxsize=512)
def _layout(length: int, count: int) -> struct.Struct:
    """Return what finds the bytes of some records in a row, each so long, where they lie with their headers."""
    return struct.Struct("=" + f"{_HEADER}x{length}s{-length % 8}x" * count)


def _damaged() -> HangupError:
    return HangupError(
        "the BPF ring buffer does not hold what the kernel writes", "report it with the output of `hangup doctor`"
    )
