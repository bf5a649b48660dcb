"""What a source has learnt is packed and unpacked without a loss, and whatever else a record holds is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.escape import escape, escaped
from hangup.tracer.record import facts as module
from hangup.tracer.record import layout
from hangup.tracer.record.facts import (
    Cgroup,
    CountsFact,
    Fact,
    HostFact,
    LostFact,
    LostPeriod,
    ProcessFact,
    SocketFact,
    is_whole,
    pack_fact,
    unpack_fact,
)
from hangup.tracer.record.layout import (
    Counted,
    Loss,
    RecordType,
    SectionType,
    SocketFlag,
    TextKind,
    pack_record,
    packed_section,
    type_of,
)
from tests import stories
from tests.records import unpack_all

numbers = st.integers(0, (1 << 64) - 1)
small = st.integers(0, (1 << 32) - 1)
# Names are anything, and are text once they were escaped.
texts = st.binary(max_size=40).map(escape)
pids = st.lists(small, max_size=5).map(tuple)
cgroups = st.none() | st.builds(Cgroup, texts, st.none() | texts, st.none() | texts, st.none() | texts, st.booleans())
FACTS: dict[RecordType, st.SearchStrategy[Fact]] = {
    RecordType.HOST: st.builds(
        HostFact,
        numbers,
        numbers,
        numbers,
        numbers,
        texts,
        texts,
        texts,
        texts,
        st.lists(texts, max_size=4).map(tuple),
        st.booleans(),
        st.integers(0, (1 << 32) - 1),
        pids,
        pids,
        st.lists(texts, max_size=4).map(tuple),
    ),
    RecordType.PROCESS: st.builds(
        ProcessFact, numbers, small, texts, st.none() | st.integers(1, 1 << 31), numbers, cgroups, numbers
    ),
    RecordType.SOCKET: st.builds(
        SocketFact,
        numbers,
        st.integers(0, sum(SocketFlag)).map(SocketFlag),
        st.none() | texts,
        numbers,
        numbers,
        pids,
        small,
        small,
    ),
    RecordType.COUNTS: st.builds(
        CountsFact,
        numbers,
        st.builds(
            Counted,
            numbers,
            numbers,
            numbers,
            st.binary(min_size=16, max_size=16),
            st.binary(min_size=16, max_size=16),
            st.binary(min_size=112, max_size=112),
            st.integers(0, 255),
            st.integers(0, 255),
            st.integers(0, 255),
            st.just(0),
            st.just(0),
        ),
    ),
    RecordType.LOST: st.sampled_from(Loss).flatmap(
        lambda cause: st.builds(
            LostFact,
            numbers,
            st.just(cause),
            numbers,
            st.lists(st.builds(LostPeriod, st.just(cause), numbers, numbers, numbers), max_size=5).map(tuple),
        )
    ),
}


@pytest.mark.parametrize("kind", FACTS)
@given(st.data())
def test_every_fact_comes_back_as_it_was(kind: RecordType, data: st.DataObject) -> None:
    fact = data.draw(FACTS[kind])
    record = pack_fact(fact)
    assert unpack_fact(record) == fact
    assert type_of(record) == kind
    assert int.from_bytes(record[:4], "little") == len(record) <= layout.LARGEST
    assert len(record) % 8 == 0
    assert is_whole(record)


def test_all_kinds_of_records_are_the_kernels_or_one_of_these() -> None:
    kernels = {RecordType.OPERATION, RecordType.HISTORY, RecordType.USER, RecordType.IDENTITY}
    assert set(RecordType) == {*kernels, *FACTS}


def test_the_longest_names_there_can_be_fit_into_a_record() -> None:
    longest = "\\xff" * 4096
    cgroup = Cgroup(longest, "u" * 255, "\\xff" * 255, "r" * 255)
    fact = ProcessFact(1, 7, "\\xff" * 15, 7, 7, cgroup)
    assert unpack_fact(pack_fact(fact)) == fact
    periods = tuple(LostPeriod(Loss.SKIPPED, number, number, 1) for number in range(3 * layout.LOST_PERIODS))
    lost = LostFact(1, Loss.SKIPPED, 5, periods)
    assert unpack_fact(pack_fact(lost)) == lost
    many = tuple(range(50_000))
    host = HostFact(1, 2, 3, 4, "k" * 200, pids=many, uids=many, cgroups=(longest,) * 16)
    assert len(pack_fact(host)) < layout.LARGEST
    assert is_whole(pack_fact(host))


def test_cgroups_that_are_too_long_to_be_told_are_not_told_in_part() -> None:
    few, many = (HostFact(1, 2, 3, 4, cgroups=("/a" * 1000,) * number) for number in (7, 8))
    assert unpack_fact(pack_fact(few)) == few
    assert unpack_fact(pack_fact(many)) == many._replace(cgroups=())


@given(st.sampled_from([*FACTS, 77]), st.binary(max_size=200))
def test_whatever_stands_behind_a_header_is_unpacked_or_refused(kind: int, content: bytes) -> None:
    record = pack_record(kind, 5, content)
    try:
        fact = unpack_fact(record)
    except struct.error:
        assert not is_whole(record)
    else:
        assert is_whole(record)
        assert fact is None or texts_of(fact) == [escaped(text.encode()) for text in texts_of(fact)]


sections = st.lists(
    st.builds(
        packed_section,
        st.integers(0, 14),
        st.binary(max_size=60)
        | st.builds(lambda kind, text: struct.pack("=II", kind, 0) + text, st.integers(0, 13), st.binary(max_size=20)),
    ),
    max_size=5,
).map(b"".join)


@pytest.mark.parametrize("kind", FACTS)
@given(st.data(), sections, sections)
def test_sections_that_are_not_known_or_come_twice_are_passed_over(
    kind: RecordType, data: st.DataObject, before: bytes, after: bytes
) -> None:
    good = pack_fact(data.draw(FACTS[kind]))
    record = pack_record(kind, 5, before + good[layout.SMALLEST :] + after)
    try:
        fact = unpack_fact(record)
    except struct.error:
        assert not is_whole(record)
    else:
        # The first section of a type is the one that counts: with that it may be a cause that nobody knows.
        assert fact is not None or kind == RecordType.LOST
        assert fact is None or all(text.isprintable() for text in texts_of(fact))


@given(st.binary(max_size=100))
def test_any_text_of_a_record_is_one_that_can_be_shown(raw: bytes) -> None:
    content = packed_section(SectionType.SOCKET, bytes(layout.layout_of("open_socket").size))
    content += packed_section(SectionType.TEXT, struct.pack("=II", TextKind.PATH, 0) + raw)
    fact = unpack_fact(pack_record(RecordType.SOCKET, 5, content))
    assert isinstance(fact, SocketFact)
    assert fact.path is not None
    assert fact.path.isprintable()
    # What was spelled so already is not spelled anew.
    assert escaped(escape(raw).encode()) == escape(raw)


def texts_of(fact: Fact) -> list[str]:
    found: list[str] = []
    for value in fact:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, tuple):
            found += [text for text in value if isinstance(text, str)]
    return found


def test_a_cause_that_is_not_known_is_passed_over() -> None:
    content = packed_section(SectionType.LOST, module._LOST.pack(total=5, cause=99))
    assert unpack_fact(pack_record(RecordType.LOST, 5, content)) is None


def test_records_that_are_not_the_kernels_are_handed_on_when_it_is_their_turn() -> None:
    told: list[object] = []
    host = pack_fact(HostFact(1, 2, 3, 4))
    one, other = stories.seeds_failure().events[:2]
    for event in unpack_all([layout.pack(one), host, layout.pack(other)], told.append):
        told.append(event)
    assert told == [one, host, other]
