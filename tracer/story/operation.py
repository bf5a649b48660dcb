"""What can be said of one operation: its family, its system call, its error, how its process ended."""

from __future__ import annotations

from hangup.tracer.names import error_name, signal_name, syscall_name
from hangup.tracer.record.layout import DIED, Event, EventFlag, Operation

# Plain numbers: an IntEnum's comparison costs more than all else.
_COMPAT, _IO_URING = int(EventFlag.COMPAT), int(EventFlag.IO_URING)
_EXITING = int(EventFlag.EXITING)
_RELEASE = int(Operation.RELEASE)

# exit(2) and exit_group(2): syscall_64.tbl, and syscall_32.tbl
_EXITS = (60, 231)
_COMPAT_EXITS = (1, 252)

NOT_KEPT = -2
"""In place of a system call's number: the kernel's history of an endpoint does not have it. (-1: there was none.)"""


def operation_name(event: Event) -> str:
    """Return an operation's family in lower case."""
    try:
        return Operation(event.operation).name.lower()
    except ValueError:
        return f"operation {event.operation}"


def syscall_of(event: Event) -> str | None:
    """Return the name of the system call behind an operation, None if it is not known.

    A thread that a signal or another thread's exit_group(2) ends in the middle of a system call still has that one in
    its registers, and so its number in the record: its exit is what released the socket.
    """
    if event.syscall == NOT_KEPT:
        return None
    if _is_exit(event) and event.syscall not in (_COMPAT_EXITS if event.flags & _COMPAT else _EXITS):
        return "exit"
    return syscall_name(
        event.syscall,
        compat=bool(event.flags & _COMPAT),
        io_uring=bool(event.flags & _IO_URING),
    )


def descriptor_of(event: Event) -> int | None:
    """Return the file descriptor of an operation, None if it is not known."""
    return event.descriptor if event.descriptor >= 0 and not _is_exit(event) else None


def _is_exit(event: Event) -> bool:
    return event.operation == _RELEASE and bool(event.flags & _EXITING)


def error_of(event: Event) -> str | None:
    """Return the name of the error an operation failed with."""
    return error_name(-event.result) if event.result < 0 else None


def exit_of(event: Event) -> tuple[int | None, str | None]:
    """Return the exit status or the signal's name of a release by a process that was ending, or had (wait(2))."""
    if event.operation != _RELEASE or not event.flags & DIED:
        return None, None
    number = event.exit_code & 0x7F
    return (None, signal_name(number)) if number else (event.exit_code >> 8 & 0xFF, None)


def address(value: int) -> str | None:
    """Return a kernel address as other tools print it; None for no address."""
    return f"{value:016x}" if value else None
