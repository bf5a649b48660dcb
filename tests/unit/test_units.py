"""Sizes are exact as long as that is short, and have three digits from then on."""

from __future__ import annotations

import pytest

from hangup.tracer.units import size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (2, "2 bytes"),
        (9_999, "9999 bytes"),
    ],
)
def test_a_size_below_ten_thousand_is_exact(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (10_000, "10.0 kB"),
        (12_345, "12.3 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (219_264, "219 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (4_194_304, "4.19 MB"),
        (9_994_999, "9.99 MB"),
        (9_995_000, "10.0 MB"),
        (21_000_000_000, "21.0 GB"),
        (2**63 - 1, "9.22 EB"),
    ],
)
def test_a_larger_size_has_three_digits_and_a_unit_of_powers_of_a_thousand(count: int, text: str) -> None:
    assert size(count) == text


def test_no_size_is_shown_as_a_thousand_of_a_unit_or_with_fewer_than_three_digits() -> None:
    for exponent in range(4, 19):
        for offset in (-1, 0, 1, 10 ** (exponent - 1) // 2):
            count = 10**exponent + offset
            if count >= 10_000:
                number = size(count).split(" ")[0]
                assert float(number) < 1000
                assert len(number.replace(".", "")) == 3
