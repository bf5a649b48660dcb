"""Text that is safe to show, made of bytes that a traced process chose.

A process names itself (comm) and its sockets (path) with any bytes it likes: escape sequences that move the cursor,
new lines that forge an alert, bidirectional overrides that turn a name around. Every such byte string passes through
here once, where it enters the library, and is text from then on. What is printed is also what filters match and what
JSON carries, so one spelling of a name serves everywhere.

The spelling is reversible: two different byte strings never look the same.
"""

from __future__ import annotations


def escape(raw: bytes) -> str:
    r"""Spell bytes as printable text.

    UTF-8 that can be printed stays as it is. A backslash becomes ``\\``; every other byte, be it a control character
    (C0 or C1), part of an invisible or bidirectional format character, or not UTF-8 at all, becomes ``\xNN``.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\", b"\\\\")
    text = raw.decode("utf-8", "backslashreplace")
    # str.isprintable is false for every control, format, surrogate, private, unassigned character and for every
    # separator but the space: exactly what a terminal might act on or show as nothing.
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape_bytes(character) for character in text)


def escape_comm(raw: bytes) -> str:
    """Spell a task's comm, which ends at its first NUL (TASK_COMM_LEN is 16 with the NUL, include/linux/sched.h)."""
    return escape(raw.split(b"\0", 1)[0])


def escape_socket_path(raw: bytes) -> str | None:
    r"""Spell the address of a Unix socket, given what the kernel keeps of ``sun_path``; None for an unnamed socket.

    A name in the file system ends at its first NUL. An abstract name begins with a NUL, is as long as it is, may hold
    NULs, and is shown with an ``@`` in place of the first (unix(7)). A file whose name begins with an ``@`` gets that
    one escaped, so that it cannot be taken for an abstract name.
    """
    if not raw:
        return None
    if raw[0] == 0:
        return "@" + escape(raw[1:])
    text = escape(raw.split(b"\0", 1)[0])
    return r"\x40" + text[1:] if text.startswith("@") else text


def _escape_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8"))
