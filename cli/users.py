"""Users of this host, as they are named where connections are selected."""

from __future__ import annotations

import pwd
import re

# (uid_t)-1 is nobody's: setreuid(2).
_HIGHEST = 2**32 - 2


def uid_of(user: object) -> int:
    """Return a user's number; user: that, or a name that this host knows. ValueError says what is wrong with it."""
    if isinstance(user, str) and re.fullmatch(r"\d{1,10}", user, re.ASCII):
        user = int(user)
    if isinstance(user, int) and not isinstance(user, bool):
        if 0 <= user <= _HIGHEST:
            return user
        raise ValueError(f"{user} is not a user's number: 0 to {_HIGHEST}")
    if not isinstance(user, str):
        raise ValueError(f"{user!r} is neither a user's name nor a number")
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        # ValueError: there is a NUL in it.
        raise ValueError(f"there is no user {user!r} on this host; `getent passwd` lists them") from None
