"""What is read and written is recorded as far as it was asked for: by each call, with each kind of probes.

Who plays knows what he wrote: that is the truth.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hangup.tracer.kernel.probes import MOST_SNAPLEN, Probes
from hangup.tracer.record.layout import Loss, Operation, RecordType, payload_of, type_of, unpack
from tests.scenarios.flavours import exact_flavours
from tests.scenarios.ring import Ring, is_available
from tests.scenarios.stage import Player, client, fails, listener, receive

_SNAPLEN = 40
_TEXT = b"POST /hello HTTP/1.1\r\n\x00\x01\xff" + bytes(range(64, 120))
_WRITEV2, _SENDMMSG = 328, 307  # arch/x86/entry/syscalls/syscall_64.tbl
_libc = ctypes.CDLL(None, use_errno=True)


class Vector(ctypes.Structure):
    """struct iovec, readv(2)."""

    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Transfer(NamedTuple):
    """A read or a write as it was recorded."""

    operation: int
    result: int
    data: bytes


@pytest.fixture(scope="module", params=exact_flavours())
def probes(request: pytest.FixtureRequest) -> Iterator[Probes]:
    """Return probes of each kind, for all tests that are content with this length."""
    with Probes(flavour=request.param, snaplen=_SNAPLEN) as attached:
        yield attached


def recorded(probes: Probes, part: Callable[[], None]) -> list[Transfer]:
    """Return what a process read and wrote that played a part, in its order."""
    player = Player(part)
    player.end()
    records = []
    while not probes.drained:
        records += [record for record in probes.read(0) if type_of(record) == RecordType.OPERATION]
    assert probes.losses()[Loss.RING_FULL] == 0
    events = [(unpack(record), payload_of(record)) for record in records]
    return [
        Transfer(event.operation, event.result, data)
        for event, data in events
        if event.pid == player.pid and event.operation in (Operation.READ, Operation.WRITE)
    ]


def written(length: int, data: bytes | None = None) -> Transfer:
    return Transfer(Operation.WRITE, length, _TEXT[:_SNAPLEN] if data is None else data)


def read(length: int, data: bytes | None = None) -> Transfer:
    return Transfer(Operation.READ, length, _TEXT[:_SNAPLEN] if data is None else data)


# ---- each way --------------------------------------------------------------------------------------------------------


def parts_of(text: bytes, *lengths: int) -> list[bytes]:
    """Return a text in parts of these lengths, and what is left."""
    parts = []
    for length in lengths:
        parts.append(text[:length])
        text = text[length:]
    return [*parts, text]


def by_write(one: int, other: int) -> None:
    os.write(one, _TEXT)
    assert os.read(other, 200) == _TEXT


def by_vectors(one: int, other: int) -> None:
    os.writev(one, parts_of(_TEXT, 5, 0, 3))
    assert os.readv(other, [bytearray(7), bytearray(1), bytearray(192)]) == len(_TEXT)


def by_send(one: int, other: int) -> None:
    with socket.socket(fileno=os.dup(one)) as sending, socket.socket(fileno=os.dup(other)) as receiving:
        sending.send(_TEXT)
        receiving.recv(200)


def by_messages(one: int, other: int) -> None:
    with socket.socket(fileno=os.dup(one)) as sending, socket.socket(fileno=os.dup(other)) as receiving:
        sending.sendmsg(parts_of(_TEXT, 1, 30))
        receiving.recvmsg_into([bytearray(11), bytearray(200)])


def by_vectors_with_flags(one: int, other: int) -> None:
    vectors = (Vector * 2)(*[Vector(part, len(part)) for part in parts_of(_TEXT, 20)])
    assert _libc.syscall(_WRITEV2, one, vectors, 2, ctypes.c_long(-1), ctypes.c_long(-1), 0) == len(_TEXT)
    os.read(other, 200)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("transfer", [by_write, by_vectors, by_send, by_messages, by_vectors_with_flags])
def test_the_first_bytes_are_those_that_were_written_and_read(
    transfer: Callable[[int, int], None], kind: socket.SocketKind, probes: Probes
) -> None:
    def part() -> None:
        one, other = socket.socketpair(type=kind)
        transfer(one.fileno(), other.fileno())

    assert recorded(probes, part) == [written(len(_TEXT)), read(len(_TEXT))]


def test_what_was_read_is_what_there_was_and_not_what_there_was_room_for(probes: Probes) -> None:
    def part() -> None:
        one, other = socket.socketpair()
        one.send(b"short")
        other.recv(5, socket.MSG_PEEK)
        other.recv(200)
        one.setblocking(False)
        assert fails(lambda: one.recv(10)) == errno.EAGAIN
        other.close()
        assert one.recv(10) == b""

    assert recorded(probes, part) == [
        written(5, b"short"),
        read(5, b"short"),
        read(5, b"short"),
        read(-errno.EAGAIN, b""),
        read(0, b""),
    ]


def test_of_a_write_that_fails_it_is_known_what_was_lost(probes: Probes) -> None:
    def part() -> None:
        one, other = socket.socketpair()
        other.close()
        assert fails(lambda: os.writev(one.fileno(), [b"the last ", b"8 bytes"])) == errno.EPIPE

    assert recorded(probes, part) == [written(-errno.EPIPE, b"the last 8 bytes")]


@pytest.mark.parametrize(
    ("flavour", "snaplen"),
    [
        *((flavour, MOST_SNAPLEN) for flavour in exact_flavours()),
        *((exact_flavours()[0], length) for length in (1, 39)),
    ],
)
def test_as_many_bytes_are_recorded_as_were_asked_for(flavour: str, snaplen: int) -> None:
    text = bytes(number * 7 & 0xFF for number in range(6000))

    def part() -> None:
        one, other = socket.socketpair()
        one.send(text)
        os.writev(one.fileno(), parts_of(text, *[500] * 6))
        assert len(other.recv(6000, socket.MSG_WAITALL)) == 6000

    with Probes(flavour=flavour, snaplen=snaplen) as probes:
        found = recorded(probes, part)
    assert [transfer.data for transfer in found] == [text[:snaplen]] * 3


def test_of_many_parts_the_first_eight_are_looked_at(probes: Probes) -> None:
    def part() -> None:
        one, other = socket.socketpair()
        os.writev(one.fileno(), [bytes([number]) for number in range(20)])
        other.recv(20)

    assert recorded(probes, part) == [written(20, bytes(range(8))), read(20, bytes(range(20)))]


def test_what_is_not_in_the_process_s_own_memory_has_none(probes: Probes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(_TEXT)
    has_ring = is_available()

    def part() -> None:
        one, other = socket.socketpair()
        with (tmp_path / "file").open("rb") as file:
            os.sendfile(one.fileno(), file.fileno(), 0, len(_TEXT))
        if has_ring:
            Ring().send(one.fileno(), _TEXT)
        other.recv(2 * len(_TEXT))

    found = recorded(probes, part)
    assert [transfer.data for transfer in found] == [b""] * (1 + has_ring) + [_TEXT[:_SNAPLEN]]


def test_an_address_that_is_none_is_no_harm(probes: Probes) -> None:
    def part() -> None:
        one, _ = socket.socketpair()
        for address in (0, 1, 1 << 46, -4096):
            _libc.syscall(20, one.fileno(), ctypes.c_void_p(address), 3)
            _libc.syscall(1, one.fileno(), ctypes.c_void_p(address), 30)
            _libc.syscall(46, one.fileno(), ctypes.c_void_p(address), 0)
        one.send(b"alive")

    found = recorded(probes, part)
    assert found[-1] == written(5, b"alive")
    assert {transfer.data for transfer in found[:-1]} <= {b""}


def test_bytes_of_another_descriptor_are_not_taken_for_those_of_the_socket(probes: Probes) -> None:
    if not is_available():
        pytest.skip("this kernel has no io_uring")

    def part() -> None:
        one, other = socket.socketpair()
        reading, writing = os.pipe()
        ring = Ring()
        # Nothing to receive yet: the kernel does it later, at the end of whatever call this thread is in then.
        ring.begin_to_receive(one.fileno(), 30)

        def send() -> None:
            other.send(b"by the ring")
            while not ring.is_done:
                os.sched_yield()
            os.write(writing, b"secret of the pipe")

        sender = Player(send)
        assert os.read(reading, 30) == b"secret of the pipe"
        sender.end()

    *before, received = recorded(probes, part)
    assert received == read(11, b"")
    # It is tried at once, too.
    assert before in ([], [read(-errno.EAGAIN, b"")])


@pytest.mark.parametrize("call", ["read", "write"])
def test_what_an_io_uring_receives_is_not_taken_out_of_a_call_on_the_same_socket(probes: Probes, call: str) -> None:
    if not is_available():
        pytest.skip("this kernel has no io_uring")
    large = bytes(1_000_000)

    def part() -> None:
        one, other = socket.socketpair()
        ring = Ring()
        ring.begin_to_receive(one.fileno(), 30)

        def answer() -> None:
            other.send(b"by the ring")
            while not ring.is_done:
                os.sched_yield()
            other.send(b"by read")
            receive(other, len(large) if call == "write" else 0)

        sender = Player(answer)
        if call == "write":
            # It waits for room, which there is when the ring has received.
            one.sendall(large)
        assert os.read(one.fileno(), 30) == b"by read"
        sender.end()

    found = [transfer for transfer in recorded(probes, part) if transfer.operation == Operation.READ]
    assert [transfer for transfer in found if transfer.result > 0] == [read(11, b""), read(7, b"by read")]


def test_more_than_there_was_room_for_is_not_there(probes: Probes) -> None:
    def part() -> None:
        one, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        one.send(_TEXT)
        buffer = ctypes.create_string_buffer(b"#" * 100, 100)
        # recvfrom(2): it returns how long the message was, and not how much of it there was room for.
        assert _libc.syscall(45, other.fileno(), buffer, 6, socket.MSG_TRUNC, 0, 0) == len(_TEXT)
        assert buffer.raw[:7] == _TEXT[:6] + b"#"

    assert recorded(probes, part) == [written(len(_TEXT)), read(len(_TEXT), _TEXT[:6])]


def test_of_several_messages_at_once_none_is_told(probes: Probes) -> None:
    def part() -> None:
        one, other = socket.socketpair()
        vector = Vector(_TEXT, len(_TEXT))
        # struct mmsghdr, sendmmsg(2)
        header = struct.pack("=QIxxxxQQQQIxxxxIxxxx", 0, 0, ctypes.addressof(vector), 1, 0, 0, 0, 0)
        messages = ctypes.create_string_buffer(header * 2)
        assert _libc.syscall(_SENDMMSG, one.fileno(), messages, 2, 0) == 2
        other.recv(2 * len(_TEXT))

    assert recorded(probes, part) == [written(len(_TEXT), b"")] * 2 + [read(2 * len(_TEXT))]


@pytest.mark.parametrize("flavour", exact_flavours())
def test_without_a_length_nothing_is_recorded(flavour: str) -> None:
    def part() -> None:
        one, other = socket.socketpair()
        by_write(one.fileno(), other.fileno())

    with Probes(flavour=flavour) as probes:
        assert recorded(probes, part) == [written(len(_TEXT), b""), read(len(_TEXT), b"")]


# ---- as its users run it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", exact_flavours())
def test_a_recorded_load_is_searched_by_what_was_written(flavour: str, tmp_path: Path) -> None:
    capture, path = tmp_path / "capture", tmp_path / "socket"
    ready, report = os.pipe()
    options = ["-q", "-s", "80", "-w", str(capture), "--probes", flavour, "--ready-fd", str(report)]
    process = subprocess.Popen([sys.executable, "-m", "hangup", "trace", *options], pass_fds=(report,))
    os.close(report)
    try:
        with os.fdopen(ready) as reports:
            assert reports.readline()
        count = 211
        waiting = listener(path, backlog=count)

        def serve() -> None:
            for _ in range(count):
                end, _ = waiting.accept()
                end.recv(100)
                end.close()

        def call() -> None:
            for number in range(count):
                with client(path) as end:
                    end.send(f"{'POST' if number % 7 == 0 else 'GET'} /{number} HTTP/1.1".encode())
                    assert end.recv(1) == b""

        server, caller = Player(serve), Player(call)
        for player in (caller, server):
            player.end()
    finally:
        process.terminate()
        assert process.wait() == 0
    wanted = [number for number in range(count) if number % 7 == 0]

    def found(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "hangup", "trace", "-r", str(capture), *arguments]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout.splitlines()

    posted = f"conn.path={path} and evt.buffer startswith 'POST /'"
    lines = found(posted, "--format", "sysdig")
    exits = [line for line in lines if " < sendto " in line]
    assert [line.partition("data=")[2] for line in exits] == [f"POST /{number} HTTP/1.1" for number in wanted]
    objects = [json.loads(line) for line in found(posted, "--json")]
    assert [each["data"] for each in objects if each["record"] == "operation" and each["operation"] == "read"] == [
        f"POST /{number} HTTP/1.1" for number in wanted
    ]
    assert f'    data "POST /{wanted[-1]} HTTP/1.1"' in found(posted)
    assert len(found(f"conn.path={path} and evt.buffer contains 'GET /'", "-p", "%evt.buffer")) == 2 * (
        count - len(wanted)
    )
