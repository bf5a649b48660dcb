"""Intervals of rates are those of the papers that they are from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.rates import Rate, difference, wilson

RATES = st.integers(1, 10_000).flatmap(lambda of: st.builds(Rate, st.integers(0, of), st.just(of)))


@pytest.mark.parametrize(
    ("rate", "low", "high"),
    [
        # R. G. Newcombe: Two-sided confidence intervals for the single proportion. Statistics in Medicine 17 (1998),
        # 857-872, table I, method 3.
        (Rate(81, 263), 0.2553, 0.3662),
        (Rate(15, 148), 0.0624, 0.1605),
        (Rate(0, 20), 0.0, 0.1611),
        (Rate(1, 29), 0.0061, 0.1718),
    ],
)
def test_the_interval_of_a_rate_is_wilsons(rate: Rate, low: float, high: float) -> None:
    assert wilson(rate, 0.95) == pytest.approx((low, high), abs=0.00005)


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [
        # Table II of the paper that is cited, method 10; there it is the first less the second.
        (Rate(48, 80), Rate(56, 70), 0.0524, 0.3339),
        (Rate(3, 10), Rate(9, 10), 0.1705, 0.8090),
        (Rate(2, 7), Rate(6, 7), 0.0582, 0.8062),
        (Rate(0, 29), Rate(5, 56), -0.0381, 0.1926),
        (Rate(0, 20), Rate(0, 10), -0.1611, 0.2775),
        (Rate(0, 10), Rate(0, 10), -0.2775, 0.2775),
        (Rate(0, 20), Rate(10, 10), 0.6791, 1.0),
        (Rate(0, 10), Rate(10, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_newcombes(before: Rate, after: Rate, low: float, high: float) -> None:
    assert difference(before, after, 0.95) == pytest.approx((low, high), abs=0.00005)


@given(RATES, RATES, st.sampled_from([0.5, 0.95, 0.999]))
def test_a_difference_is_within_its_bounds_and_turned_round_they_are_too(
    before: Rate, after: Rate, confidence: float
) -> None:
    low, high = difference(before, after, confidence)
    assert -1.000001 <= low <= after.value - before.value <= high <= 1.000001
    assert difference(after, before, confidence) == pytest.approx((-high, -low))


@given(RATES, RATES)
def test_who_wants_to_be_surer_gets_wider_bounds(before: Rate, after: Rate) -> None:
    low, high = difference(before, after, 0.9)
    lower, higher = difference(before, after, 0.99)
    assert lower <= low
    assert higher >= high


def test_of_nothing_nothing_is_known() -> None:
    assert Rate(0, 0).value == 0
    assert wilson(Rate(0, 0), 0.95) == (0, 1)
