"""The table at the end: alerts first, no number without its row, and what was lost."""

from __future__ import annotations

import errno

import pytest

from hangup.cli import terminal
from hangup.cli.ended import Ended
from hangup.cli.reporters.summary import summary_text
from hangup.tracer.statistics import Key, Statistics
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.tracer import Losses
from hangup.tracer.units import duration, moment
from hangup.tracer.verdicts import Kind
from tests.unit.snapshots import check

FASTCGI = Key("httpd", "uwsgi", "/tmp/helloFastCGI.s", Kind.ANSWERED)
LARGE = Key("nginx", "uwsgi-core", "/run/uwsgi/app/site/socket", Kind.UNREAD)


def statistics() -> Statistics:
    counts = Statistics()
    for number in range(741):
        counts.count(FASTCGI._replace(kind=Kind.CLEAN))
        if number < 259:
            counts.count(FASTCGI, symptom=Symptom.BROKEN_WRITE, gap=20_000 + number * 500, is_alert=True)
        if number < 300:
            symptom = Symptom.RESET_READ if number % 10 == 0 else Symptom.BROKEN_WRITE
            counts.count(LARGE, symptom=symptom, gap=number * 40_000, is_alert=True)
        if number < 12:
            counts.count(LARGE._replace(kind=Kind.LATENT))
    bad = Key("x", "?", "@\\x00bad", Kind.REFUSED)
    counts.count(bad, symptom=Symptom.FAILED_CONNECT, is_alert=True, error=errno.ECONNREFUSED)
    return counts


def full_of_symptoms() -> Statistics:
    """Return statistics in which every column has something, and connects failed by several errors."""
    counts = statistics()
    for symptom in Symptom:
        if symptom not in (Symptom.NONE, Symptom.FAILED_CONNECT):
            counts.count(LARGE._replace(kind=Kind.KILLED), symptom=symptom, gap=1_250_000, is_alert=True)
    counts.count(FASTCGI._replace(kind=Kind.REUSED), symptom=Symptom.BROKEN_WRITE, gap=3 * 10**9, is_harmless=True)
    missing = Key("php", "?", "/run/gone.s", Kind.CONNECT_FAILED)
    for error in (errno.ETIMEDOUT, errno.ENOENT, errno.ENOENT, errno.ENOENT):
        counts.count(missing, symptom=Symptom.FAILED_CONNECT, error=error)
    return counts


ENDED = Ended(statistics(), Losses({"ring_full": 0, "releases_missed": 0}), 61.25, "fentry", 11)
FULL = Ended(full_of_symptoms(), Losses({"ring_full": 0}), 61.25, "fentry", 11)


@pytest.mark.parametrize(("name", "width"), [("80", 80), ("120", 120), ("pipe", terminal.UNFOLDED_WIDTH)])
def test_the_table_fits_its_reader(name: str, width: int) -> None:
    text = summary_text(ENDED, width=width)
    check(f"summary-{name}", text + "\n")
    if width == 80:
        assert all(len(line.rsplit("  ", 1)[0]) <= 80 for line in text.splitlines())


@pytest.mark.parametrize(("name", "width"), [("80", 80), ("pipe", terminal.UNFOLDED_WIDTH)])
def test_a_table_with_every_column(name: str, width: int) -> None:
    check(f"summary-full-{name}", summary_text(FULL, width=width) + "\n")


def headings(counts: Statistics) -> list[str]:
    ended = Ended(counts, Losses({}), 1, "fentry", 11)
    return summary_text(ended, width=terminal.UNFOLDED_WIDTH).splitlines()[0].replace("GAP ", "GAP_").split()


def test_a_column_in_which_all_is_0_is_left_out() -> None:
    names = ["CLIENT", "SERVER", "PATH"]
    always = ["VERDICT", "CONNECTIONS", "BROKEN", "RESET"]
    one = Statistics()
    one.count(FASTCGI._replace(kind=Kind.CLEAN))
    assert headings(one) == [*always, *names]
    gaps = ["GAP_P50", "GAP_P90", "GAP_P99", "GAP_MAX"]
    assert headings(statistics()) == [*always, "LATENT", *gaps, *names]
    assert headings(full_of_symptoms()) == [*always, "CUT", "SHORT", "TOLD", "LATENT", "HARMLESS", *gaps, *names]


def test_columns_that_have_no_room_stand_beneath_their_rows_in_words() -> None:
    text = summary_text(FULL, width=80)
    assert all(len(line.rsplit("  ", 1)[0]) <= 80 for line in text.splitlines())
    assert "1 cut read, 1 short write, 1 told by SO_ERROR\n" in text
    assert "CUT" not in text


def test_what_is_all_harmless_is_not_marked() -> None:
    text = summary_text(FULL, width=80, paint=terminal.colour)
    assert "\x1b[1;31mkilled" in text
    assert "\x1b[1;31mreused" not in text


def test_every_column_adds_up_to_its_total() -> None:
    labels = {kind.label for kind in Kind}
    text = summary_text(FULL, width=terminal.UNFOLDED_WIDTH)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    rows = [[int(word) for word in words[1:9]] for words in lines if words[0] in labels]
    (total,) = ([int(word) for word in words[1:9]] for words in lines if words[0] == "total")
    assert [sum(column) for column in zip(*rows, strict=True)] == total
    assert all(total)


def test_the_errors_of_failed_connects_stand_beneath_them_the_most_frequent_first() -> None:
    lines = summary_text(FULL, width=80).splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("connect-failed"))
    assert lines[place + 1].strip() == "ENOENT 3, ETIMEDOUT 1"


def test_a_run_without_anything_says_so() -> None:
    text = summary_text(Ended(Statistics(), Losses({"ring_full": 0}), 0.5, "kprobe", 11), width=80)
    assert text == (
        "No connection ended or failed.\n0 alerts in 500 ms, watched with kprobe (11 functions); nothing lost"
    )


def test_every_loss_is_told_by_its_cause_also_one_without_words_for_it() -> None:
    losses = Losses({"ring_full": 1, "missed_return": 0, "releases_missed": 7, "moon_phase": 3})
    text = summary_text(Ended(Statistics(), losses, 1, None, 0), width=80)
    assert text.splitlines()[-1] == (
        "LOST: 1 operation, as the ring buffer was full; 7 connections whose end was missed; 3 moon phase"
    )


def test_alerts_are_marked_on_a_terminal() -> None:
    text = summary_text(ENDED, width=80, paint=terminal.colour)
    assert "\x1b[1;31manswered\x1b[0m" in text
    assert "\x1b[1;31mclean" not in text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (89_000, "89 µs"),
        (999_400, "999 µs"),
        (999_600, "1 ms"),
        (1_250_000, "1.25 ms"),
        (31_000_000_000, "31 s"),
        (7_200_000_000_000, "7200 s"),
    ],
)
def test_times_have_the_unit_that_suits_them(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_times_of_a_column_share_their_unit() -> None:
    assert [
        moment(1_500, whole) for whole in (900_000, 9_000_000, 9_000_000_000, 90_000_000_000, 90_000_000_000_000)
    ] == [
        "1.5 µs",
        "2 µs",
        "0.002 ms",
        "0.000002 s",
        "0.000 s",
    ]
