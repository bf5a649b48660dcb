"""What a filter may ask for, and what it is told if it may not."""

from __future__ import annotations

import sys

import pytest

from hangup.tracer.errors import HangupError
from hangup.tracer.filter.check import Subject, values_of
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import FIELDS
from hangup.tracer.filter.filter import understood
from hangup.tracer.filter.tree import Comparison


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("evt.failed=true and proc.pdi=7", 21, "there is no field 'proc.pdi'; did you mean proc.pid"),
        ("qwertz=7", 1, "there is no field 'qwertz'; `hangup fields` lists them"),
        ("proc.pid contains 3", 10, "'contains' where = != < <= > >= in exists was expected: proc.pid is a number"),
        ("evt.failed > true", 12, "'>' where = != in exists was expected: evt.failed is true or false"),
        ("fd.sock<1", 8, "'<' where = != in exists was expected: fd.sock is an address"),
        ("proc.pid=httpd", 10, "'httpd' where a number was expected"),
        ("proc.pid in (1, x)", 17, "'x' where a number was expected"),
        ("proc.pid=22000.0", 10, "'22000.0' where a whole number was expected"),
        ("user.uid in (33, 1.5)", 18, "'1.5' where a whole number was expected"),
        ("evt.rawres<-0.5", 12, "'-0.5' where a whole number was expected"),
        ("proc.pid=1ms", 10, "'1ms' where a number was expected"),
        ("proc.pid=" + "9" * 100, 10, "'" + "9" * 40 + "...' where a number was expected"),
        ("evt.dur>1kB", 9, "'1kB' where a time (10, 1.5ms, 2s) was expected"),
        ("evt.buflen>1ms", 12, "'1ms' where bytes (100, 4kB, 1MiB) was expected"),
        ("evt.failed=yes", 12, "'yes' where true or false was expected"),
        ("fd.sock=xyz", 9, "'xyz' where an address in hexadecimal was expected"),
        ("evt.res=EPIPPE", 9, "evt.res is never 'EPIPPE'; did you mean EPIPE"),
        ("evt.operation=x", 15, "evt.operation is never 'x'; they are connect, accept, socketpair, read, write"),
        ("verdict=answered", 1, "verdict does not work with trace, but with watch, serve, report"),
        ("verdict=answred", 9, "verdict is never 'answred'; did you mean answered"),
        ("evt.num=3", 1, "evt.num cannot be asked for: it is only printed, by -p"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text: str, column: int, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        understood(text, Subject.OPERATIONS)
    assert caught.value.problem.startswith(problem)
    assert caught.value.column == column
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("text", "subject", "problem"),
    [
        ("evt.failed=true", Subject.OPEN, "evt.failed does not work with peers, but with trace, watch, serve, report"),
        ("verdict.gap>1ms", Subject.OPEN, "verdict.gap does not work with peers, but with watch, serve, report"),
        ("thread.vtid=3", Subject.CONNECTIONS, "thread.vtid does not work with watch, serve, report, but with trace"),
    ],
)
def test_a_field_that_is_not_known_of_something_says_where_it_works(text: str, subject: Subject, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        understood(text, subject)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("evt.dur>1ms", 10**6),
        ("evt.dur>1.5us", 1500),
        ("evt.dur=2.3us", 2300),
        ("evt.dur>-0.5ms", -500_000),
        ("evt.buflen>0.3KiB", 307.2),
        ("evt.dur>2", 2),
        ("evt.dur>1s", 10**9),
        ("evt.buflen>4kB", 4000),
        ("evt.buflen>1KiB", 1024),
        ("evt.rawres=-32", -32),
        ("proc.pid=0x10", 16),
        ("fd.sock=ffff880108bcc440", 0xFFFF880108BCC440),
        ("fd.sock=0xffff880108bcc440", 0xFFFF880108BCC440),
        ("evt.failed=false", False),
        ("proc.name=systemd-journald", "systemd-journal"),
        ("thread.name=systemd-journald", "systemd-journal"),
        ("conn.client.comm=systemd-journald", "systemd-journal"),
        # As they are shown these are longer than what the kernel keeps, and are not cut.
        (r"thread.name='\\x1b\\x1b\\x1b\\x1b\\x1b'", r"\x1b\x1b\x1b\x1b\x1b"),
        (r"proc.name='abcdefghijklmno\\\\'", "abcdefghijklmno"),
        ("proc.name=ééééééé", "ééééééé"),
        ("proc.name=éééééééé", r"ééééééé\xc3"),
        ("proc.name contains systemd-journald", "systemd-journald"),
    ],
)
def test_a_value_is_what_its_field_is(text: str, value: object) -> None:
    tree = understood(text, Subject.OPERATIONS)
    assert isinstance(tree, Comparison)
    assert values_of(tree) == (value,)
    assert type(values_of(tree)[0]) is type(value)


@pytest.mark.parametrize("subject", Subject)
def test_every_field_can_be_asked_for_where_it_is_known(subject: Subject) -> None:
    for field in FIELDS:
        if subject.has(field):
            assert understood(f"{field.name} exists", subject) == Comparison(field.name, "exists")


def test_where_lark_is_missing_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lark", None)
    monkeypatch.delitem(sys.modules, "hangup.tracer.filter.parser", raising=False)
    with pytest.raises(HangupError, match="apt install python3-lark"):
        understood("proc.pid=7", Subject.OPERATIONS)
