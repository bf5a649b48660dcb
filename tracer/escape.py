"""Text that is safe to show, made of bytes that a traced process chose.

A process names itself (comm) and its sockets (path) with any bytes it likes: escape sequences that move the cursor,
new lines that forge an alert, bidirectional overrides that turn a name around. Every such byte string passes through
here once, where it enters the library, and is text from then on. What is printed is also what filters match and what
JSON carries, so one spelling of a name serves everywhere.

The spelling is reversible: two different byte strings never look the same.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

# What Python calls printable and nobody sees, so that two names would look the same. The first are all code points with
# the property Default_Ignorable_Code_Point, for which a font shows nothing (DerivedCoreProperties.txt of the Unicode
# Character Database, version 14.0; unassigned ones have it too). The last two are blank by their names in the code
# charts: BRAILLE PATTERN BLANK and MUSICAL SYMBOL NULL NOTEHEAD.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\u2800\U0001d159]"
)

_DOTS = bytes(byte if 0x20 <= byte < 0x7F else ord(".") for byte in range(256))

# What escape() makes of a byte.
_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")

COMM_LENGTH = 15
"""Bytes of the longest name of a task: TASK_COMM_LEN is 16 with the NUL (include/linux/sched.h)."""


def escape(raw: bytes) -> str:
    r"""Spell bytes as printable text.

    UTF-8 that can be printed and seen stays as it is. A backslash becomes ``\\``; every other byte, be it a control
    character (C0 or C1), part of an invisible, blank or bidirectional format character, or not UTF-8 at all, becomes
    ``\xNN``.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\", b"\\\\")
    text = raw.decode("utf-8", "backslashreplace")
    # str.isprintable is false for every control, format, surrogate, private, unassigned character and for every
    # separator but the space: exactly what a terminal might act on or show as nothing.
    if not text.isprintable():
        text = "".join(character if character.isprintable() else _escape_bytes(character) for character in text)
    return text if text.isascii() else _INVISIBLE.sub(lambda match: _escape_bytes(match[0]), text)


def dotted(raw: bytes) -> str:
    """Spell bytes as sysdig does: ASCII that can be printed stays as it is, a dot stands for every other byte.

    Which one it was is not to be seen; but a byte is a character.
    """
    return raw.translate(_DOTS).decode("ascii")


def unescaped(text: str) -> bytes:
    r"""Return the bytes that escape() spells so; of what it does not, a backslash that means nothing is one."""
    return _ESCAPED.sub(_unescaped, text.encode("utf-8", "surrogateescape"))


def escaped(raw: bytes) -> str:
    """Return a text that is spelled so already, as a record has it; what is not, or not UTF-8, is escaped."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return escape(raw)
    return text if text.isprintable() and not _INVISIBLE.search(text) else escape(raw)


@lru_cache(maxsize=1024)
def escape_comm(raw: bytes) -> str:
    """Spell a task's comm, which ends at its first NUL, if there is one."""
    return escape(raw.split(b"\0", 1)[0])


def cut_comm(name: str) -> str:
    """Return a task's name, as escape() spells it, as the kernel keeps it: of a longer one the first 15 bytes."""
    # Nothing that is shown takes more bytes than characters, but for what is not ASCII.
    if len(name) <= COMM_LENGTH and name.isascii():
        return name
    raw = unescaped(name)
    return name if len(raw) <= COMM_LENGTH else escape(raw[:COMM_LENGTH])


def shown_path(path: str | Path) -> str:
    """Spell the name of a file as it may be shown: whoever has made the file has chosen it."""
    return escape(os.fsencode(path))


@lru_cache(maxsize=1024)
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


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"\\" if match[1] == b"\\" else bytes.fromhex(match[1][1:].decode())


def _escape_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8"))
