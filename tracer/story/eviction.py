"""Of more connections than can be known at a time: which of them is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

MAX_CONNECTIONS = 20_000
"""So many are known at a time. Each takes a few KiB, a busy one whose operations are kept up to 60."""

# So many that turn out to have been used are passed over in search of one that has not.
_MOST_LOOKED_AT = 64

_Connection = TypeVar("_Connection")


def least_used(connections: OrderedDict[int, _Connection], is_used: Callable[[_Connection], bool]) -> _Connection:
    """Return the connection that has not been used for longest, or nearly so; there is one.

    The clock algorithm: whatever has been used since it was last looked at goes behind the others. connections: by
    number, in the order in which they began or were last found to be in use. is_used: whether it has been since it was
    asked that last.
    """
    for _ in range(_MOST_LOOKED_AT):
        number, connection = next(iter(connections.items()))
        if not is_used(connection):
            return connection
        connections.move_to_end(number)
    return next(iter(connections.values()))
