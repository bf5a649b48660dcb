"""The kernel's own list of Unix sockets, read with its unix_diag module (sock_diag(7), net/unix/diag.c).

`pyroute2` knows how netlink's messages are made up of fields and attributes; which of these there are is said here. The
netlink socket is ours, because a list covers the one network namespace in which its socket was made (unix_diag_dump
asks sock_net of it): `open_socket` makes one in any of them.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import logging
import operator
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from hangup.tracer.errors import HangupError
from hangup.tracer.escape import escape_socket_path

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 0x01
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
UDIAG_SHOW_NAME = 0x01
UDIAG_SHOW_PEER = 0x04
UDIAG_SHOW_ICONS = 0x08
UDIAG_SHOW_RQLEN = 0x10
CLONE_NEWNET = 0x40000000

# struct nlmsghdr: length, type, flags, sequence number, port; struct nlmsgerr: the error, negative, and the request.
_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")
_ALIGNMENT = 4

# A part of a list is at most 32 KiB (netlink_dump, net/netlink/af_netlink.c).
RECEIVE_SIZE = 65536

# A socket's sk_state is a TCP state whatever its family (include/net/tcp_states.h).
STATES = {1: "established", 2: "connecting", 7: "unconnected", 10: "listening"}
ALL_STATES = 0xFFFFFFFF
LISTENING_ONLY = 1 << 10
TYPES = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "dgram", socket.SOCK_SEQPACKET: "seqpacket"}


class UnixDiagMissingError(HangupError):
    """The kernel cannot list its Unix sockets."""

    def __init__(self) -> None:
        super().__init__(
            "this kernel has no unix_diag, so it cannot list its open sockets",
            "modprobe unix_diag (its configuration must have CONFIG_UNIX_DIAG)",
        )


class Pyroute2MissingError(HangupError):
    """Python does not find pyroute2."""

    def __init__(self) -> None:
        super().__init__("pyroute2 is not installed", "apt install python3-pyroute2, or pip install pyroute2")


@dataclass(frozen=True, slots=True)
class DiagSocket:
    """One Unix socket that has an inode, as the kernel lists it.

    A socket between connect and accept has no inode yet, and one whose last reference is gone has none any more: both
    are left out (sk_diag_dump), and their peers show `peer_inode` 0 (sk_diag_dump_peer). Inode numbers are unique over
    all namespaces and fit 32 bits: sockfs takes them from get_next_ino (fs/inode.c).
    """

    inode: int
    peer_inode: int | None
    """The other end's inode; 0 if there is another end without one, None if this socket has no other end."""
    path: str | None
    """The name it is bound to, escaped, abstract ones as @name. An accepted socket carries its listener's name."""
    type: str
    state: str
    receive_queue: int
    """Bytes unread (unix_inq_len; of a datagram socket the next datagram's); for a listener: connects not accepted."""
    send_queue: int
    """Memory of what this end sent and the other has not read, in bytes, with the kernel's overhead (unix_outq_len);
    for a listener: its backlog, as net.core.somaxconn left it. One more than that can wait (unix_recvq_full)."""
    shutdown: int
    """1: receives no more, 2: sends no more, 3: both, which is also the survivor of a hang-up (unix_release_sock)."""
    pending: tuple[int, ...]
    """For a listener: the inodes of the clients whose connects are not accepted yet (sk_diag_dump_icons)."""


def open_socket(namespace: int | None = None) -> socket.socket:
    """Make a netlink socket for `read_sockets`, in the network namespace that is open as descriptor `namespace`.

    Without a namespace it is our own. Raises OSError, PermissionError for a lack of CAP_SYS_ADMIN (setns(2)).
    """
    if namespace is None:
        return _netlink_socket()
    result: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            _setns(namespace, CLONE_NEWNET)
            result.append(_netlink_socket())
        except OSError as error:
            result.append(error)

    # setns moves the calling thread alone, and a socket stays in the namespace in which it was made. So a thread that
    # ends at once does it: no other thread of the process, of the caller's least of all, ever leaves its namespace.
    thread = threading.Thread(target=enter, name="setns", daemon=True)
    thread.start()
    thread.join()
    outcome = result[0]
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def read_sockets(connection: socket.socket, *, states: int = ALL_STATES) -> list[DiagSocket]:
    """List the Unix sockets of the network namespace that `connection` (from `open_socket`) is in.

    states: those to list, a bit for each number of STATES (unix_diag_dump leaves the others out).

    The kernel locks one bucket of its table at a time (unix_diag_dump), so the list is no snapshot of one instant:
    a socket that comes or goes meanwhile may be in it or not.

    Raises HangupError if the kernel has no unix_diag or pyroute2 is missing, OSError if the kernel refuses the list.
    """
    request_class, message_class = _codec()
    connection.send(_encode(request_class(), states))
    sockets: dict[int, DiagSocket] = {}
    while True:
        for kind, message in _messages(connection):
            if kind == NLMSG_DONE:
                return list(sockets.values())
            if kind == NLMSG_ERROR:
                _refused(message)
            elif kind == SOCK_DIAG_BY_FAMILY:
                entry = _entry(message_class(message))
                if entry is not None:
                    # Between two parts of a list a socket can move to a bucket that comes later: the latest word
                    # counts.
                    sockets[entry.inode] = entry


def check() -> None:
    """Ask for an empty list. Raises what `read_sockets` raises if the kernel cannot list its sockets."""
    request_class, _ = _codec()
    with open_socket() as connection:
        connection.send(_encode(request_class(), states=0))
        for kind, message in _messages(connection):
            if kind == NLMSG_ERROR:
                _refused(message)


def _messages(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Wait for the next part of a list and yield the type and the bytes of each message in it (netlink(7))."""
    data, sender = connection.recvfrom(RECEIVE_SIZE)
    # The kernel's port is 0. Whoever is root in a network namespace of its own may send to our socket in there
    # (netlink_allowed() in netlink_sendmsg(), net/netlink/af_netlink.c).
    if sender[0] != 0:
        return
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, data[offset : offset + length]
        offset += (length + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


def _netlink_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)


def _setns(descriptor: int, kind: int) -> None:
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _no_package_init(name: str) -> Iterator[None]:
    """Let modules of a package be imported without the package's own __init__.

    pyroute2's imports all of it: 166 modules, 20 MiB and a third of a second (0.7.2), of which we use three modules.
    Whoever imports the package itself before or afterwards has it whole.
    """
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if found is None or found.submodule_search_locations is None:
        yield
        return
    bare = ModuleType(name)
    bare.__path__ = list(found.submodule_search_locations)
    sys.modules[name] = bare
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def _codec() -> tuple[Any, Any]:
    """Return the classes of the request and of a message about one socket (include/uapi/linux/unix_diag.h)."""
    try:
        with _no_package_init("pyroute2"):
            # Not pyroute2.netlink.diag, which has both: it imports pyroute2.config, and that runs two commands, uname
            # and file, to learn what machine this is, and imports multiprocessing.
            from pyroute2.netlink import nla, nlmsg  # noqa: PLC0415
    except ImportError as error:
        raise Pyroute2MissingError from error

    # It logs a traceback of what it cannot decode, and without a handler that goes to standard error.
    logging.getLogger("pyroute2").addHandler(logging.NullHandler())

    class Request(nlmsg):  # type: ignore[misc]
        """struct unix_diag_req."""

        fields = (
            ("sdiag_family", "B"),
            ("sdiag_protocol", "B"),
            ("__pad", "H"),
            ("udiag_states", "I"),
            ("udiag_ino", "I"),
            ("udiag_show", "I"),
            ("udiag_cookie", "Q"),
        )

    class Queues(nla):  # type: ignore[misc]
        """struct unix_diag_rqlen."""

        fields = (("udiag_rqueue", "I"), ("udiag_wqueue", "I"))

    class Message(nlmsg):  # type: ignore[misc]
        """struct unix_diag_msg, and its attributes by their numbers, from 0."""

        fields = (
            ("udiag_family", "B"),
            ("udiag_type", "B"),
            ("udiag_state", "B"),
            ("__pad", "B"),
            ("udiag_ino", "I"),
            ("udiag_cookie", "Q"),
        )
        # A name is no text that ends with a NUL: abstract ones begin with one, and may have more.
        nla_map = (
            ("UNIX_DIAG_NAME", "cdata"),
            ("UNIX_DIAG_VFS", "hex"),
            ("UNIX_DIAG_PEER", "uint32"),
            ("UNIX_DIAG_ICONS", "cdata"),
            ("UNIX_DIAG_RQLEN", "queues"),
            ("UNIX_DIAG_MEMINFO", "hex"),
            ("UNIX_DIAG_SHUTDOWN", "uint8"),
        )
        queues = Queues

    return Request, Message


def _encode(request: Any, states: int = ALL_STATES) -> bytes:
    request["header"]["type"] = SOCK_DIAG_BY_FAMILY
    request["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    request["header"]["sequence_number"] = 1
    request["sdiag_family"] = socket.AF_UNIX
    request["udiag_states"] = states
    request["udiag_show"] = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN
    request.encode()
    return bytes(request.data)


def _entry(message: Any) -> DiagSocket | None:
    """Return the socket that a message is about; None if it cannot be understood: then the others still can."""
    try:
        message.decode()
        attributes = dict(tuple(attribute)[:2] for attribute in message["attrs"])
        queues = attributes.get("UNIX_DIAG_RQLEN") or {"udiag_rqueue": 0, "udiag_wqueue": 0}
        icons = attributes.get("UNIX_DIAG_ICONS") or b""
        peer = attributes.get("UNIX_DIAG_PEER")
        return DiagSocket(
            inode=operator.index(message["udiag_ino"]),
            peer_inode=None if peer is None else operator.index(peer),
            path=escape_socket_path(attributes.get("UNIX_DIAG_NAME") or b""),
            type=TYPES.get(message["udiag_type"], str(message["udiag_type"])),
            state=STATES.get(message["udiag_state"], str(message["udiag_state"])),
            receive_queue=operator.index(queues["udiag_rqueue"]),
            send_queue=operator.index(queues["udiag_wqueue"]),
            shutdown=operator.index(attributes.get("UNIX_DIAG_SHUTDOWN") or 0),
            pending=tuple(inode for inode in memoryview(icons).cast("I") if inode),
        )
    except Exception:
        # pyroute2 raises what it meets: struct.error, KeyError, its own, or it gives a value of another type.
        return None


def _refused(message: bytes) -> None:
    """Raise what a message of the type NLMSG_ERROR says (struct nlmsgerr); nothing if it says that all is well."""
    number = errno.EIO
    if len(message) >= _HEADER.size + _ERROR.size:
        number = -_ERROR.unpack_from(message, _HEADER.size)[0]
    if number == 0:
        return
    if number not in errno.errorcode:
        number = errno.EIO
    # sock_diag_lock_handler (net/core/sock_diag.c) knows no handler for AF_UNIX and could not load one.
    if number == errno.ENOENT:
        raise UnixDiagMissingError
    raise OSError(number, f"the kernel refused the list of Unix sockets: {os.strerror(number)}")
