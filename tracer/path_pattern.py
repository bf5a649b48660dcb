"""One name for the many paths that differ only by what was made up for one run or one session.

`/tmp/tmpx3k_9aqd/app.sock` and `/run/user/1000/bus` come in as many spellings as there are runs and users. Where each
spelling costs (a row of counts, a time series) they are counted together, with `*` for what differs.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = r"(?<![0-9A-Za-z]){}(?![0-9A-Za-z])"

# What is replaced, in this order; a group is what stays.
_RULES = tuple(
    re.compile(rule)
    for rule in (
        # A doubled backslash stands for itself (tracer/escape.py); the others are bytes that are no text.
        r"(\\\\)|(?:\\x[0-9a-f]{2})+",
        # A UUID as text, RFC 9562.
        _WORD.format("()[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
        # A folder of mkdtemp(3) or its likes, where they are made: a separator and 6 (glibc), 8 (Python) or 12
        # (OpenSSH) characters, even if there is no digit among them.
        r"^(@?/(?:tmp|var/tmp|dev/shm)/[^/]*[-._])[A-Za-z0-9_]{6}(?:[A-Za-z0-9_]{2}){0,3}(?=/)",
        # A folder or file of Python's tempfile without a prefix of its own.
        r"(/tmp)[a-z0-9_]{8}(?=[/.]|$)",
        # Digests, container ids, addresses: hexadecimal with both, digits and letters.
        _WORD.format("()(?=[a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{4,}"),
        # Letters after digits, six characters and more: seldom a word.
        _WORD.format("()(?=[A-Za-z]*[0-9]+[A-Za-z])[0-9A-Za-z]{6,}"),
        "()[0-9]+",
    )
)

# 1.2 and 1.2.3 differ by no more than 1 and 2 do.
_SEVERAL = re.compile(r"\*(?:\.?\*)+")


def _star(match: re.Match[str]) -> str:
    kept = match[1] or ""
    return kept if kept == match[0] else kept + "*"


@lru_cache(maxsize=4096)
def path_pattern(path: str) -> str:
    r"""Return a path, as it is shown, with `*` for numbers, UUIDs, hexadecimal and random names and bytes (``\xNN``).

    Abstract names (`@name`) as well. The pattern of a pattern is itself.
    """
    for rule in _RULES:
        path = rule.sub(_star, path)
    return _SEVERAL.sub("*", path)
