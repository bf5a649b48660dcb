"""What goes to the journal: its own protocol, on a socket that stands for journald's."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.service.limit import AlertKind, HeldBack
from hangup.cli.sinks import journal
from hangup.cli.sinks.journal import FIELDS, Journal, entry
from hangup.tracer.errors import HangupError
from hangup.tracer.tracer import Alert, Losses, Tracer
from hangup.tracer.verdicts import Kind
from tests.stories import established, latent, seeds_failure
from tests.unit.playback import CLOCKS, Playback, shown

CATALOG = Path(__file__).parents[2] / "systemd" / "hangup.catalog"


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        yield listening


def parsed(data: bytes) -> dict[str, str]:
    """Return an entry's fields, read as systemd.io/JOURNAL_NATIVE_PROTOCOL describes them."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            data = rest
        else:
            (length,) = struct.unpack_from("<Q", rest)
            value, data = rest[8 : 8 + length], rest[8 + length :]
            assert data[:1] == b"\n"
            data = data[1:]
        fields[name.decode()] = value.decode()
    return fields


def sent(journald: socket.socket) -> dict[str, str]:
    return parsed(journald.recv(1 << 20))


def the_alert() -> Alert:
    with Tracer(source=Playback(seeds_failure().events)) as tracer:
        [alert] = tracer.alerts()
    return alert


def test_an_alert_has_the_fields_of_the_table(journald: socket.socket) -> None:
    Journal(Path(journald.getsockname())).alert(the_alert(), CLOCKS)
    fields = sent(journald)
    assert set(fields) <= {field.name for field in FIELDS} | {"SYSLOG_IDENTIFIER"}
    assert "failed with EPIPE" in fields["MESSAGE"]
    assert fields["HANGUP_VERDICT"] == "answered"
    assert (fields["HANGUP_CLIENT_COMM"], fields["HANGUP_SERVER_COMM"]) == ("httpd", "uwsgi")
    assert fields["HANGUP_FAILED_BYTES"] == "8"
    assert fields["HANGUP_UNREAD_BYTES"] == "0"
    assert fields["ERRNO"] == "32"
    assert fields["OBJECT_PID"] == fields["HANGUP_SERVER_PID"]
    assert fields["PRIORITY"] == "4"
    assert "HANGUP_DOUBTS" not in fields
    assert fields["HANGUP_SYMPTOM"] == "broken write"
    assert fields["HANGUP_SURVIVOR"] == "client"
    assert fields["HANGUP_LOST_BYTES"] == "94"
    assert fields["HANGUP_ADVICE"] == Kind.ANSWERED.advice
    assert "BROKEN WRITE" in fields["HANGUP_STORY"]
    # Kernel addresses are nobody's business in a journal that many may read.
    assert "ffff88" not in fields["HANGUP_STORY"]
    assert "\n" in fields["HANGUP_STORY"]


def test_a_latent_hang_up_has_no_errno(journald: socket.socket) -> None:
    sink = Journal(Path(journald.getsockname()))
    shown(latent(), lambda alert: sink.alert(alert, CLOCKS), latent=True)
    fields = sent(journald)
    assert fields["HANGUP_VERDICT"] == "latent"
    assert fields["HANGUP_SYMPTOM"] == "none"
    assert "ERRNO" not in fields


def test_a_read_that_met_the_end_has_no_errno_and_says_how_it_showed(journald: socket.socket) -> None:
    story = established()
    story.client.write(300)
    story.server.read()
    story.server.release(killed_by=9)
    story.client.read(0)
    sink = Journal(Path(journald.getsockname()))
    shown(story, lambda alert: sink.alert(alert, CLOCKS))
    fields = sent(journald)
    assert (fields["HANGUP_VERDICT"], fields["HANGUP_SYMPTOM"]) == ("killed", "cut read")
    assert "ERRNO" not in fields
    assert fields["OBJECT_PID"] == "815"


def test_what_was_held_back_is_told_with_its_count(journald: socket.socket) -> None:
    Journal(Path(journald.getsockname())).held_back(HeldBack(AlertKind(Kind.UNREAD, "nginx", "uwsgi"), 31, 10, 60.0))
    fields = sent(journald)
    assert fields["MESSAGE"] == "held back 31 more alerts: nginx to uwsgi, unread, in 60 s"
    assert (fields["HANGUP_HELD_BACK"], fields["HANGUP_SENT"]) == ("31", "10")


def test_losses_are_told_by_cause(journald: socket.socket) -> None:
    Journal(Path(journald.getsockname())).losses(Losses({"ring_full": 3, "skipped": 0}))
    fields = sent(journald)
    assert fields["HANGUP_LOST_RING_FULL"] == "3"
    assert "HANGUP_LOST_SKIPPED" not in fields


def test_a_journal_that_does_not_read_costs_entries_which_are_counted_and_no_time(journald: socket.socket) -> None:
    sink = Journal(Path(journald.getsockname()))
    alert = the_alert()
    calls = 0
    while not sink.errors:
        sink.alert(alert, CLOCKS)
        calls += 1
        # The queue of a datagram socket is bounded (net.unix.max_dgram_qlen): this ends.
        assert calls < 1_000_000
    taken = calls - sink.errors
    journald.setblocking(False)
    assert [sent(journald)["MESSAGE_ID"] for _ in range(taken)] == [journal.ALERT_ID] * taken
    sink.alert(alert, CLOCKS)
    assert sent(journald)["HANGUP_VERDICT"] == "answered"
    assert sink.errors == calls - taken


def test_a_journal_that_was_restarted_gets_what_comes_next(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(str(path))
        sink = Journal(path)
    sink.losses(Losses({"ring_full": 1}))
    assert sink.errors == 1
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(path))
        sink.losses(Losses({"ring_full": 2}))
        assert sent(second)["HANGUP_LOST_RING_FULL"] == "2"


def test_without_a_journal_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match=r"no systemd journal.*journal = false"):
        Journal(tmp_path / "missing")


def test_a_story_that_is_too_long_for_an_entry_is_left_out(
    journald: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_LONGEST", 1000)
    Journal(Path(journald.getsockname())).alert(the_alert(), CLOCKS)
    fields = sent(journald)
    assert "HANGUP_STORY" not in fields
    assert fields["HANGUP_VERDICT"] == "answered"


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), st.text() | st.integers() | st.none()))
def test_whatever_a_field_holds_it_comes_out_as_it_went_in(fields: dict[str, object]) -> None:
    expected = {
        name: str(value).encode("utf-8", "backslashreplace").decode()
        for name, value in fields.items()
        if value is not None
    }
    assert parsed(entry(fields)) == expected


def test_the_catalog_explains_each_message_and_uses_only_fields_that_it_has() -> None:
    sections = re.split(r"^-- ", CATALOG.read_text(), flags=re.MULTILINE)[1:]
    by_id = {section[:32]: section for section in sections}
    assert set(by_id) == {journal.ALERT_ID, journal.HELD_BACK_ID, journal.LOSSES_ID}
    # Of a field that an entry lacks, the journal shows the name: only what every alert has.
    assert set(re.findall(r"@(\w+)@", by_id[journal.ALERT_ID])) == {"HANGUP_VERDICT"}
    assert re.findall(r"@(\w+)@", by_id[journal.LOSSES_ID]) == []
    assert f"MESSAGE_ID={journal.ALERT_ID}" in by_id[journal.ALERT_ID]
    for section in by_id.values():
        assert section.splitlines()[1].startswith("Subject: ")


def test_field_names_are_what_the_journal_takes() -> None:
    # journald drops fields whose names begin with an underscore or have small letters (systemd.journal-fields(7)).
    for field in FIELDS:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", field.name)
    assert len({field.name for field in FIELDS}) == len(FIELDS)
