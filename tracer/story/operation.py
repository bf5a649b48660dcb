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
# execve(2) and execveat(2), likewise
_EXECUTIONS = (59, 322)
_COMPAT_EXECUTIONS = (11, 358)

NOT_KEPT = -2
"""In place of a system call's number: the kernel's history of an endpoint does not have it. (-1: there was none.)"""


def operation_name(event: Event) -> str:
    """Return an operation's family in lower case."""
    return named_operation(event.operation)


def named_operation(operation: int) -> str:
    """Return the name of a family of operations in lower case."""
    try:
        return Operation(operation).name.lower()
    except ValueError:
        return f"operation {operation}"


def syscall_of(event: Event) -> str | None:
    """Return the name of the system call behind an operation, None if it is not known.

    A thread that a signal or another thread's exit_group(2) ends in the middle of a system call still has that one in
    its registers, and so its number in the record: its exit is what released the socket.
    """
    return named_syscall(event.flags, event.syscall, event.operation)


def named_syscall(flags: int, number: int, operation: int) -> str | None:
    """Return the same by the values that stand in the record."""
    if number == NOT_KEPT:
        return None
    if _is_exit(flags, operation) and number not in (_COMPAT_EXITS if flags & _COMPAT else _EXITS):
        return "exit"
    return syscall_name(number, compat=bool(flags & _COMPAT), io_uring=bool(flags & _IO_URING))


def descriptor_of(event: Event) -> int | None:
    """Return the file descriptor of an operation, None if it is not known."""
    return known_descriptor(event.flags, event.descriptor, event.operation)


def known_descriptor(flags: int, descriptor: int, operation: int) -> int | None:
    """Return the same by the values that stand in the record."""
    return descriptor if descriptor >= 0 and not _is_exit(flags, operation) else None


def _is_exit(flags: int, operation: int) -> bool:
    return operation == _RELEASE and bool(flags & _EXITING)


def error_of(event: Event) -> str | None:
    """Return the name of the error an operation failed with."""
    return error_name(-event.result) if event.result < 0 else None


def has_died(release: Event) -> bool:
    """Whether a release came of the end of its process, as far as that can be told (`is_exit_of_thread`).

    A thread that ends without an error is not taken for its process: the C library ends each one so, and a process,
    with its last thread as well, by exit_group(2).
    """
    return bool(release.flags & DIED) and not (is_exit_of_thread(release) and not release.exit_code)


def is_exit_of_thread(release: Event) -> bool:
    """Whether a release came of the exit(2) of a thread that is not its process's first.

    It had descriptors of its own (unshare(2), CLONE_FILES), and its process may go on; or it was the last one to have
    them (exit_files()), and with it the process may have ended. The record does not tell which.
    """
    ends_thread = release.syscall == (_COMPAT_EXITS if release.flags & _COMPAT else _EXITS)[0]
    by_itself = bool(release.flags & _EXITING) and not release.exit_code & 0x7F
    return by_itself and ends_thread and release.tid != release.pid


def is_execution(event: Event) -> bool:
    """Whether it came of a system call that executes another program."""
    return event.syscall in (_COMPAT_EXECUTIONS if event.flags & _COMPAT else _EXECUTIONS)


def has_executed(release: Event) -> bool:
    """Whether a release is by a process that executed another program: the descriptor was closed on that.

    do_close_on_exec() leaves it to task work (fput()), which runs when the process has its new name and user
    (begin_new_exec()).
    """
    return not release.flags & DIED and is_execution(release)


def exit_of(event: Event) -> tuple[int | None, str | None]:
    """Return the exit status or the signal's name of a release by a process that was ending, or had (wait(2))."""
    if event.operation != _RELEASE or not has_died(event):
        return None, None
    number = event.exit_code & 0x7F
    return (None, signal_name(number)) if number else (event.exit_code >> 8 & 0xFF, None)


def address(value: int) -> str | None:
    """Return a kernel address as other tools print it; None for no address."""
    return f"{value:016x}" if value else None
