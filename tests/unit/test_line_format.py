"""`hangup trace -p FORMAT`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.reporters.line_format import MAX_LENGTH, FormattedLines, parsed
from hangup.cli.reporters.times import Zero
from hangup.tracer.filter.check import works_with
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import FIELDS
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.tracer import Tracer
from tests.stories import seeds_failure
from tests.unit.playback import CLOCKS, Playback

pytestmark = pytest.mark.usefixtures("utc")


def _operated() -> list[Operated]:
    found: list[Operated] = []
    with Tracer(source=Playback(seeds_failure().events), on_operations=found.extend) as tracer:
        for _ in tracer.alerts():
            pass
    return found


OPERATED = _operated()


def find(cgroup_id: int, _pid: int, _comm: str) -> Cgroup | None:
    return Cgroup("/a", container="box") if cgroup_id == 1 else None


def lines(text: str, *, zero: Zero = "local") -> list[str]:
    return FormattedLines(parsed(text), find, zero=zero).lines(OPERATED, CLOCKS)


def test_fields_stand_in_the_text_around_them() -> None:
    assert lines("%evt.num: %proc.name[%proc.pid] %evt.type=%evt.res.")[-2:] == [
        "15: httpd[4711] writev=EPIPE.",
        "16: httpd[4711] close=SUCCESS.",
    ]


def test_a_field_can_be_cut_or_filled_up() -> None:
    assert lines("%3proc.name|%8proc.name|100%%")[0] == "htt|httpd   |100%"


def test_an_operation_without_a_value_is_left_out_unless_all_are_asked_for() -> None:
    assert lines("%evt.buflen")[:2] == ["16", "16"]
    assert lines("*%evt.buflen")[:3] == ["<NA>", "<NA>", "16"]
    assert lines("%evt.num %evt.buflen")[0] == "1 16"


def test_types_are_shown_as_filters_take_them() -> None:
    assert lines("%evt.failed %fd.sock %evt.rawres %container.name %fd.name")[-2] == (
        "true ffff880108bcc440,ffff880108bcba80 -32 box ffff880108bcc440->ffff880108bcba80 /tmp/helloFastCGI.s"
    )


def test_times_are_of_the_line() -> None:
    fields = "%evt.time %evt.datetime %evt.rawtime %evt.reltime %evt.deltatime %evt.dir"
    assert lines(fields)[:2] == [
        "00:00:00.000010000 2026-01-01 00:00:00.000010 1767225600000010000 0 0 <",
        "00:00:00.000020000 2026-01-01 00:00:00.000020 1767225600000020000 10000 10000 <",
    ]
    assert lines("%evt.outputtime", zero="relative")[:2] == ["0.000000000", "0.000010000"]


@pytest.mark.parametrize("name", ["evt.num", "evt.reltime", "evt.deltatime", "evt.outputtime"])
@pytest.mark.parametrize("zero", ["relative", "delta"])
def test_what_a_line_counts_from_is_a_line_wherever_in_the_format_it_stands(name: str, zero: Zero) -> None:
    # Only the two releases have it.
    before = [line.split() for line in lines(f"%{name} %conn.unread", zero=zero)]
    after = [line.split()[::-1] for line in lines(f"%conn.unread %{name}", zero=zero)]
    assert len(before) < len(OPERATED)
    assert before == after


def test_the_arguments_are_those_of_sysdig_s_lines() -> None:
    assert lines("%evt.info")[-2] == (
        "fd=7(<u>ffff880108bcc440->ffff880108bcba80 /tmp/helloFastCGI.s) size=8 res=-32(EPIPE) data="
    )


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if "-p" in works_with(field)], ids=lambda field: field.name
)
def test_every_field_that_can_be_printed_is(field: object) -> None:
    name = getattr(field, "name")  # noqa: B009
    assert len(lines(f"*%{name}")) == len(OPERATED)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 1, "no field in it"),
        ("*x", 2, "no field in it"),
        ("x %", 3, "% where a field"),
        ("%20", 1, "% where a field"),
        ("%proc.nam", 2, "there is no field 'proc.nam'; did you mean proc.name"),
        ("x %verdict", 4, "verdict cannot be printed: it works with watch, serve"),
        ("%1000proc.name", 1, "a width above 999"),
        ("%" + "9" * 4000 + "x", 1, "a width above 999"),
        ("%proc.name" * MAX_LENGTH, MAX_LENGTH + 1, "longer than 4096 characters"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, column: int, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parsed(text)
    assert caught.value.problem.startswith(problem)
    assert str(caught.value).startswith(f"column {column} of the format: ")


@given(st.one_of(st.text(), st.lists(st.sampled_from(["%", "%%", "*", "20", "proc.name", ".", " ", "é"])).map("".join)))
def test_no_format_is_answered_by_anything_but_lines_or_an_error(text: str) -> None:
    try:
        of = parsed(text)
    except FilterError:
        return
    assert len(FormattedLines(of, find).lines(OPERATED, CLOCKS)) == len(OPERATED)
