"""Times and counts in words, the same in every way of showing."""

from __future__ import annotations


def duration(nanoseconds: int) -> str:
    """Return a time in the unit that suits it, to three digits: 89 µs, 1.25 ms, 31 s."""
    for limit, divisor, unit in ((10**3, 1, "ns"), (10**6, 10**3, "µs"), (10**9, 10**6, "ms")):
        # What would be rounded up to 1000 of a unit is shown in the next one.
        if nanoseconds < limit - limit // 2000:
            return f"{nanoseconds / divisor:.3g} {unit}"
    seconds = nanoseconds / 10**9
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def moment(nanoseconds: int, whole: int) -> str:
    """Return a time as one of a column of times up to `whole`: all in one unit, with as many digits as that needs."""
    if whole < 10**6:
        return f"{nanoseconds / 10**3:.1f} µs"
    if whole < 10 * 10**6:
        return f"{nanoseconds / 10**3:.0f} µs"
    if whole < 10 * 10**9:
        return f"{nanoseconds / 10**6:.3f} ms"
    # Nine characters: microseconds up to 99 s, then what there is room for.
    return f"{nanoseconds / 10**9:.{max(8 - len(str(whole // 10**9)), 0)}f} s"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return "1 byte", "2 bytes"."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def size(count: int) -> str:
    """Return bytes: exactly below 10,000 ("1 byte", "9999 bytes"), then to three digits: 12.3 kB (1000 bytes), 4.19 MB.

    Where every byte counts, as in JSON, the number itself is the better thing to show.
    """
    if count < 10_000:
        return counted(count, "byte")
    value = float(count)
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        # What would be rounded up to 1000 of a unit is shown in the next one.
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {unit}"
