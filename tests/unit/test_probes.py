"""What the loader works out without a kernel: names, wake-ups, and when something was lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.errors import HangupError
from hangup.tracer.kernel import probes
from hangup.tracer.kernel.probes import (
    MOST_SNAPLEN,
    Probes,
    longest_record,
    merged_oldest,
    missed_returns,
    periods_of,
    renamed,
    wake_records,
)
from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import LOST_PERIODS, Loss

KALLSYMS = """\
ffffffff81a3f2d0 t unix_release_sock.isra.0
ffffffff81a3f2d0 t unix_release_sock.isra.0.cold
ffffffff81a40000 T unix_release_sock_more
ffffffff81a41000 t unix_shutdown.constprop.0
ffffffff81a42000 t unix_shutdown.constprop.1
ffffffff81a43000 t unix_accept.constprop.0.isra.0
ffffffff81a44000 d unix_connect.isra.0
"""


def test_a_function_that_the_compiler_renamed_is_found_by_its_symbol() -> None:
    assert renamed("unix_release_sock", KALLSYMS) == "unix_release_sock.isra.0"
    assert renamed("unix_accept", KALLSYMS) == "unix_accept.constprop.0.isra.0"


def test_a_function_of_which_there_are_several_or_none_is_not_guessed() -> None:
    assert renamed("unix_shutdown", KALLSYMS) is None
    assert renamed("unix_connect", KALLSYMS) is None
    assert renamed("unix_peer", KALLSYMS) is None


def test_the_kernels_count_of_returns_without_a_slot_is_of_our_probes_alone() -> None:
    profile = """\
  hangup_unix_accept_return_1_77                                      7               3
  hangup_unix_stream_recvmsg_return_1_77                             40              12
  hangup_unix_stream_recvmsg_return_2_77                             40              99
  myretprobe                                                              1               1
"""
    ours = {"hangup_unix_accept_return_1_77", "hangup_unix_stream_recvmsg_return_1_77"}
    assert missed_returns(profile, ours) == 15
    assert missed_returns("", ours) == 0
    assert missed_returns("hangup_unix_accept_return_1_77 is odd\n", ours) == 0


def test_a_file_of_which_the_kernel_gives_a_page_at_a_time_is_read_to_its_end(tmp_path: Path) -> None:
    """Each read of kprobe_profile gives 4,096 bytes at the most (seq_read_iter()), some fifty probes."""
    content = b"".join(b"  probe_%d 1 1\n" % number for number in range(500))
    (tmp_path / "kprobe_profile").write_bytes(content)
    descriptor = os.open(tmp_path / "kprobe_profile", os.O_RDONLY)

    def page(descriptor: int, count: int, offset: int) -> bytes:
        return os.pread(descriptor, min(count, 4096), offset)

    try:
        for _ in range(2):
            assert probes.read_from_start(descriptor, pread=page) == content.decode()
    finally:
        os.close(descriptor)


@given(st.integers(1, 8192))
def test_all_cpus_together_wake_the_reader_before_the_ring_is_full(cpus: int) -> None:
    records = wake_records(cpus)
    assert records >= 1
    # The ring holds two records of each of 8,192 cpus in a tenth of its room.
    assert cpus * (records + 1) * longest_record() < probes._RING_BYTES


@given(st.integers(1, 512), st.integers(0, MOST_SNAPLEN))
def test_so_they_do_when_each_record_has_payload(cpus: int, snaplen: int) -> None:
    records = wake_records(cpus, snaplen)
    assert 1 <= records <= wake_records(cpus)
    assert records & (records - 1) == 0
    assert cpus * (records + 1) * longest_record(snaplen) < probes._RING_BYTES


def words(*slots: tuple[int, int, int], begun: int, first: int = 0, overwritten: int = 0) -> list[int]:
    """Return a struct lost_periods."""
    flat = [word for slot in slots for word in slot]
    return [begun, first, overwritten, *flat] + [0] * (3 * LOST_PERIODS - len(flat))


def test_a_period_counts_what_was_lost_until_the_next_one_began() -> None:
    kept = words((100, 200, 0), (900, 950, 7), begun=2, first=100)
    assert periods_of(Loss.RING_FULL, kept, 10) == [
        LostPeriod(Loss.RING_FULL, 100, 200, 7),
        LostPeriod(Loss.RING_FULL, 900, 950, 3),
    ]


def test_nothing_lost_is_no_period() -> None:
    assert periods_of(Loss.RING_FULL, words(begun=0), 0) == []


def test_periods_whose_slots_were_taken_are_one() -> None:
    # 260 periods of two losses each: the first four are overwritten.
    slots = [(number * 1000, number * 1000 + 5, number * 2) for number in range(260)]
    kept = words(*slots[256:260], *slots[4:256], begun=260, first=0, overwritten=3005)
    periods = periods_of(Loss.RING_FULL, kept, 520)
    assert periods[0] == LostPeriod(Loss.RING_FULL, 0, 3005, 8)
    assert periods[1] == LostPeriod(Loss.RING_FULL, 4000, 4005, 2)
    assert periods[-1] == LostPeriod(Loss.RING_FULL, 259_000, 259_005, 2)
    assert len(periods) == 257
    assert sum(period.count for period in periods) == 520


def test_of_too_many_periods_the_older_half_becomes_one_of_each_cause() -> None:
    periods = [
        LostPeriod(Loss.SKIPPED if number % 2 else Loss.MISSED_RETURN, number, number + 1, 3) for number in range(8)
    ]
    assert merged_oldest(periods) == [
        LostPeriod(Loss.MISSED_RETURN, 0, 3, 6),
        LostPeriod(Loss.SKIPPED, 1, 4, 6),
        *periods[4:],
    ]


def test_probes_that_ctrl_c_met_half_taken_away_are_taken_away_by_closing_none_of_them_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[int] = []

    def close(descriptor: int) -> None:
        closed.append(descriptor)
        if len(closed) == 2:
            raise KeyboardInterrupt

    def refuse(*_args: object, **_options: object) -> None:
        raise HangupError("not on this host", "elsewhere")

    monkeypatch.setattr(probes, "keeper", refuse)
    monkeypatch.setattr(probes, "_library", lambda: None)
    attached = Probes.__new__(Probes)
    with pytest.raises(HangupError):
        attached.__init__()  # type: ignore[misc]
    attached._descriptors = [1001, 1002, 1003, 1004]
    monkeypatch.setattr("hangup.tracer.kernel.probes.os.close", close)
    with pytest.raises(KeyboardInterrupt):
        attached.detach()
    attached.close()
    assert closed == [1004, 1003, 1002, 1001]
