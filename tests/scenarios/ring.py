"""An io_uring, through the rings themselves: there is no Python binding in Debian."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_SETUP, _ENTER, _REGISTER = 425, 426, 427
_ENTER_GETEVENTS = 1
_REGISTER_FILES = 2
_SUBMISSIONS, _COMPLETIONS, _ENTRIES = (
    0,
    0x8000000,
    0x10000000,
)  # IORING_OFF_SQ_RING, IORING_OFF_CQ_RING, IORING_OFF_SQES
_OP_SEND, _OP_RECV = 26, 27
_FIXED_FILE = 1  # IOSQE_FIXED_FILE


class Ring:
    """A ring of one entry: one operation at a time."""

    def __init__(self) -> None:
        """Make one; `descriptor` is negative if this kernel has none, or does not allow it."""
        parameters = ctypes.create_string_buffer(120)
        self.descriptor = int(_libc.syscall(_SETUP, 1, parameters))
        self._parameters = parameters.raw
        self._done = 0

    def send(self, descriptor: int, data: bytes) -> int:
        """Send, wait until it is done, and return its result."""
        return self._run(_OP_SEND, 0, descriptor, ctypes.create_string_buffer(data, len(data)))

    def receive_registered(self, place: int, size: int) -> int:
        """Receive by a file that is registered, wait until it is done, and return its result."""
        return self._run(_OP_RECV, _FIXED_FILE, place, ctypes.create_string_buffer(size))

    def register(self, descriptors: Sequence[int]) -> None:
        """Have the ring hold files: then they live until it goes."""
        files = (ctypes.c_int * len(descriptors))(*descriptors)
        assert _libc.syscall(_REGISTER, self.descriptor, _REGISTER_FILES, files, len(descriptors)) == 0

    def begin_to_receive(self, descriptor: int, size: int) -> None:
        """Have it receive as soon as something comes: whoever has made the ring does that, whatever call it is in."""
        self._received = ctypes.create_string_buffer(size)
        self._submit(_OP_RECV, 0, descriptor, self._received, wanted=0)

    @property
    def is_done(self) -> bool:
        """Whether all is done that was submitted; any process that has the ring may ask."""
        return bool(struct.unpack_from("I", self._completions(), self._completion[1]) == (self._done,))

    @property
    def _completion(self) -> tuple[int, ...]:
        # struct io_cqring_offsets
        return struct.unpack_from("7I", self._parameters, 80)

    def _completions(self) -> mmap.mmap:
        return mmap.mmap(self.descriptor, self._completion[5] + 16 * 8, offset=_COMPLETIONS)

    def _run(self, operation: int, flags: int, descriptor: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
        completions, completion = self._completions(), self._completion
        (mask,) = struct.unpack_from("I", completions, completion[2])
        place = completion[5] + 16 * (self._done & mask)
        self._submit(operation, flags, descriptor, buffer, wanted=1)
        (_, result, _) = struct.unpack_from("QiI", completions, place)
        struct.pack_into("I", completions, completion[0], self._done)
        return int(result)

    def _submit(
        self, operation: int, flags: int, descriptor: int, buffer: ctypes.Array[ctypes.c_char], *, wanted: int
    ) -> None:
        """Submit one operation; wanted: of how many it is waited for the end."""
        submission = struct.unpack_from("8I", self._parameters, 40)  # struct io_sqring_offsets
        queue = mmap.mmap(self.descriptor, submission[6] + 4 * 8, offset=_SUBMISSIONS)
        entries = mmap.mmap(self.descriptor, 64, offset=_ENTRIES)
        self._done += 1
        # struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, msg_flags, user_data
        entries[:40] = struct.pack(
            "BBHiQQIIQ", operation, flags, 0, descriptor, 0, ctypes.addressof(buffer), len(buffer), 0, 1
        )
        struct.pack_into("I", queue, submission[6], 0)
        struct.pack_into("I", queue, submission[1], self._done)
        assert _libc.syscall(_ENTER, self.descriptor, 1, wanted, wanted * _ENTER_GETEVENTS, None, 0) == 1


def is_available() -> bool:
    """Whether io_uring_setup(2) is there and allowed."""
    return Ring().descriptor >= 0
