"""What was read and written: as the record has it, and as each view of `hangup trace` shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.reporters.operation import operation_rows
from hangup.tracer.escape import dotted, escape
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.compile import over_operations
from hangup.tracer.filter.filter import understood
from hangup.tracer.record.facts import HostFact, pack_fact
from hangup.tracer.record.layout import Operation, pack, payload_of, reader_of, sections, trimmed, unpack, with_payload
from hangup.tracer.story.places import Placed
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Tracer
from tests.captures import RECORDS, file_of
from tests.stories import seeds_failure
from tests.unit.playback import CLOCKS
from tests.unit.sources import Records

pytestmark = pytest.mark.usefixtures("utc")

EVENTS = seeds_failure().events
TRANSFERS = (Operation.READ, Operation.WRITE)
CARRYING = [event for event in EVENTS if event.operation in TRANSFERS]
# FastCGI's header of parameters, as the classic client writes them; longer than what was recorded of it.
DATA = b"\x01\x04\x00\x01POST /\xc3\xa9\xff \x1b[2J"


def recorded(data: bytes = DATA) -> list[bytes]:
    """Return the classic failure's records, with this payload in all that read or wrote."""
    return [with_payload(pack(event), data) if event.operation in TRANSFERS else pack(event) for event in EVENTS]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "a.hup"
    path.write_bytes(file_of([[pack_fact(HostFact(0, 0, 10**18, 0, probes="fentry", snaplen=80)), *recorded()]]))
    return path


@pytest.fixture
def without(tmp_path: Path) -> Path:
    path = tmp_path / "without.hup"
    path.write_bytes(file_of([RECORDS]))
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(hangup, ["trace", *map(str, arguments)])


def printed(*arguments: object) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return [line for line in result.output.splitlines() if not line.startswith("hangup: ")]


# ---- the record ------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=4096), st.binary(max_size=80))
def test_a_record_has_it_behind_the_operation_and_no_more_of_the_rings_place(data: bytes, behind: bytes) -> None:
    for event in CARRYING:
        record = with_payload(pack(event), data)
        assert unpack(record) == event
        in_ring = record + behind
        assert payload_of(in_ring) == data
        assert trimmed(in_ring) == record
        assert reader_of("end", "uid", "payload")(in_ring) == (event.end, event.uid, data)
        assert reader_of("payload")(in_ring) == (data,)


def test_an_address_or_nothing_is_no_payload() -> None:
    assert any(event.address for event in EVENTS)
    assert {payload_of(pack(event)) for event in EVENTS} == {b""}


@given(st.integers(0, 40), st.binary(max_size=40))
def test_of_a_record_that_is_cut_off_no_more_is_told_than_there_is(end: int, data: bytes) -> None:
    record = with_payload(pack(CARRYING[0]), data)
    cut = record[: len(record) - end]
    assert data.startswith(payload_of(cut))
    assert list(sections(record, len(pack(CARRYING[0])))) == [(17, data)]


# ---- what is printed -------------------------------------------------------------------------------------------------


@given(st.binary())
def test_dots_stand_for_what_is_not_printable_ascii(data: bytes) -> None:
    text = dotted(data)
    assert len(text) == len(data)
    assert text.isascii()
    assert text.isprintable()
    assert all(shown in (chr(byte), ".") for shown, byte in zip(text, data, strict=True))


def test_sysdigs_layout_has_it_as_sysdig_does(capture: Path) -> None:
    lines = printed("-r", capture, "--format", "sysdig")
    written = [line for line in lines if " < writev " in line]
    assert all(line.endswith(" data=....POST /... .[2J") for line in written)
    assert any("res=-32(EPIPE)" in line for line in written)
    # What failed to read has none, and what else there is no place for it.
    assert {line.partition("data=")[2] for line in lines} == {"", "....POST /... .[2J"}
    assert not any("data=" in line for line in lines if " connect " in line or " close " in line)


def test_a_line_of_text_has_it_below_escaped(capture: Path) -> None:
    lines = printed("-r", capture)
    below = [line for line in lines if line.startswith("    data ")]
    assert len(below) == len(CARRYING)
    text = '"\\x01\\x04\\x00\\x01POST /é\\xff \\x1b[2J"'
    # Where there were more bytes than those that were recorded, it says so.
    assert set(below) == {f"    data {text}", f"    data {text}..."}
    for line, event in zip(below, CARRYING, strict=True):
        assert line.endswith("...") == ((event.size if event.result < 0 else event.result) > len(DATA))


@pytest.mark.parametrize("width", [1, 8, 13, 14, 20, 40, 60, 80])
def test_on_a_terminal_it_is_cut_to_what_fits(width: int, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangup.cli.terminal.columns", lambda _file: width)
    below = [line for line in printed("-r", capture) if line.startswith("    data ")]
    assert below
    assert max(map(len, below)) <= max(width, len('    data ""...'))
    assert all(line.endswith("...") for line in below) == (width < len('    data ""') + len(escape(DATA)) + 3)


def test_json_has_it_escaped_and_null_where_there_is_none(capture: Path, without: Path) -> None:
    objects = [json.loads(line) for line in printed("-r", capture, "--json")]
    told = [each for each in objects if each["record"] == "operation"]
    assert len(told) == len(EVENTS)
    for each in told:
        carries = each["operation"] in ("read", "write")
        assert each["data"] == (escape(DATA) if carries else None)
        assert each["data_bytes"] == (len(DATA) if carries else None)
    bare = [json.loads(line) for line in printed("-r", without, "--json")]
    assert {each["data"] for each in bare if each["record"] == "operation"} == {None}


def test_a_format_prints_it_with_dots(capture: Path) -> None:
    lines = printed("-r", capture, "-p", "%evt.type|%evt.buffer|")
    assert len(lines) == len(CARRYING)
    assert {line.partition("|")[2] for line in lines} == {"....POST /... .[2J|"}
    assert "data=....POST /" in printed("-r", capture, "-p", "%evt.info")[-2]


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("evt.buffer contains 'POST /'", True),
        ("evt.buffer icontains 'post /é'", True),
        ("evt.buffer contains 'GET /'", False),
        ("evt.buffer startswith POST", False),
        ("evt.buffer glob '*POST*'", True),
        ("evt.buffer exists", True),
        # Bytes that are no text, in quotes, bare, and as a line of text or JSON has spelled them.
        (r"evt.buffer contains '\x01\x04'", True),
        (r"evt.buffer contains \x01\x04", True),
        (r"evt.buffer contains '\xff \x1b['", True),
        (r"evt.buffer startswith '\x01\x04\x00\x01POST'", True),
        (r"evt.buffer glob '*\x1b*'", True),
        (r"evt.buffer glob '*\x1c*'", False),
        (r"evt.buffer contains '\x02'", False),
        (r"evt.buffer in (x, '\x01\x04\x00\x01POST /\xc3\xa9\xff \x1b[2J')", True),
        (r"evt.buffer contains '\xc3'", True),
    ],
)
def test_filters_ask_for_its_bytes(text: str, matches: bool, capture: Path) -> None:
    found = printed("-r", capture, text, "-p", "%evt.type")
    assert len(found) == matches * len(CARRYING)


def test_the_library_hands_it_on() -> None:
    found: list[Traced] = []
    with Tracer(source=Records(recorded()), on_operation=found.append) as tracer:
        assert [alert.verdict.kind.label for alert in tracer.alerts()] == ["answered"]
    assert [traced.payload for traced in found] == [
        DATA if traced.event.operation in TRANSFERS else b"" for traced in found
    ]


def _rows(payload: bytes, width: int = 200) -> list[str]:
    rows_of, lines = operation_rows(), list[str]()

    def show(placed: Sequence[Placed]) -> None:
        lines.extend(rows_of(placed, CLOCKS, width))

    with Tracer(source=Records(recorded(payload)), on_places=show) as tracer:
        for _ in tracer.alerts():
            pass
    return lines


# ---- what is asked for and is not there ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["evt.buffer contains x"], ["-p", "%evt.buffer"]])
def test_who_asks_for_it_and_does_not_record_it_is_told_how(arguments: list[str], without: Path) -> None:
    refused = run(*arguments)
    assert "evt.buffer is what -s records, as in -s 80, which is not given" in refused.output
    found = run("-r", without, *arguments)
    assert found.exit_code == 0
    note = "hangup: no evt.buffer in it: what is read or written was not recorded (trace -s)"
    assert note in found.output
    if not arguments[0].startswith("-p"):
        assert note in run("-r", without, "--json", *arguments).output


def test_of_a_capture_that_has_it_nothing_is_said(capture: Path) -> None:
    assert "no evt.buffer" not in run("-r", capture, "evt.buffer contains x").output


@pytest.mark.parametrize(
    ("text", "payload", "matches"),
    [
        # As it was printed: in quotes, without, and what has a backslash of its own.
        (r"""evt.buffer = '\\x41'""", rb"\x41", True),
        (r"""evt.buffer = "\\x41\"" """, b'\\x41"', True),
        (r"""evt.buffer = \\x41""", rb"\x41", True),
        (r"""evt.buffer = '\x41'""", rb"\x41", False),
        (r"""evt.buffer = '\x41'""", b"A", True),
        (r"""evt.buffer = \x41""", b"A", True),
        (r"""evt.buffer = '\\x41'""", b"A", False),
        (r"""evt.buffer contains 'C:\\temp'""", rb"C:\temp", True),
        (r"""evt.buffer contains C:\temp""", rb"C:\temp", True),
    ],
)
def test_a_byte_that_is_written_out_is_told_from_its_spelling(text: str, payload: bytes, matches: bool) -> None:
    tree = understood(text, Subject.OPERATIONS)
    for each in (tree, understood(str(tree), Subject.OPERATIONS)):
        passes = over_operations(each, lambda *_: None)
        assert passes(with_payload(pack(CARRYING[0]), payload), None) == matches


@given(st.binary(min_size=1, max_size=40))
def test_what_was_printed_finds_it_again(payload: bytes) -> None:
    [line] = [row for row in _rows(payload) if row.startswith("    data ")][:1]
    tree = understood("evt.buffer = " + line.removeprefix("    data ").removesuffix("..."), Subject.OPERATIONS)
    assert over_operations(tree, lambda *_: None)(with_payload(pack(CARRYING[0]), payload), None)


@pytest.mark.parametrize("width", range(20, 60))
def test_what_is_cut_to_fit_ends_with_a_whole_character(width: int) -> None:
    [line] = [row for row in _rows("中文字é".encode() * 9, width) if row.startswith("    data ")][:1]
    assert "\\x" not in line
    assert line.endswith('"...')


@pytest.mark.parametrize("value", ["0", "4097", "x"])
def test_a_length_that_cannot_be_is_refused(value: str) -> None:
    refused = run("-s", value)
    assert refused.exit_code == ExitStatus.CANNOT_RUN
    assert "Invalid value for '-s'" in refused.output
    if value.isdigit() and int(value):
        with pytest.raises(ValueError, match="4097 is not a number from 0 to 4096"):
            Tracer(stream=True, snaplen=int(value))


def test_histories_have_none_and_nobody_waits_for_it() -> None:
    with pytest.raises(ValueError, match="a history has no payload"):
        Tracer(snaplen=80)


def test_one_capture_of_several_that_has_it_is_enough(capture: Path, without: Path) -> None:
    found = run("-r", capture, "-r", without, "evt.buffer contains POST")
    assert "no evt.buffer" not in found.output
    assert found.output.count("POST") == len(CARRYING)


@pytest.mark.parametrize("verb", ["watch", "report"])
def test_who_judges_a_capture_that_has_it_judges_as_without(
    verb: str, capture: Path, without: Path, tmp_path: Path
) -> None:
    def judged(path: Path) -> str:
        page = tmp_path / f"{path.stem}.html"
        more = ["-o", str(page)] if verb == "report" else ["--json"]
        result = CliRunner().invoke(hangup, [verb, "-r", str(path), *more])
        return page.read_text() if verb == "report" else result.output

    found = judged(capture)
    assert "answered" in found
    assert "POST" not in found
    if verb == "watch":
        alerts = [json.loads(text.splitlines()[0]) for text in (found, judged(without))]
        one, other = ({name: alert[name] for name in ("verdict", "sentence", "doubts", "path")} for alert in alerts)
        assert one == other


def test_quotes_in_it_are_told_from_those_around_it() -> None:
    [line] = [row for row in _rows(b'a"b\\') if row.startswith("    data ")][:1]
    assert line == r'    data "a\"b\\"...'


def test_a_capture_has_what_it_has(capture: Path) -> None:
    refused = run("-r", capture, "-s", "80")
    assert refused.exit_code == ExitStatus.CANNOT_RUN
    assert "--snaplen is for watching this host, and -r reads a capture" in refused.output
