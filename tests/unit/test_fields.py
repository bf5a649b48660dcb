"""The one list of what can be said: no two things have one name, and none is missing without saying so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from hangup.cli import json_lines
from hangup.cli.commands import doctor, peers
from hangup.cli.commands import fields as fields_verb
from hangup.cli.reporters import kept_text, summary_json
from hangup.cli.reporters.operation import operation_rows, operation_text
from hangup.cli.reporters.operation_json import operation_lines
from hangup.cli.sinks import alert_file, journal
from hangup.tracer import fields
from hangup.tracer.field import Field, inside, named, of_part
from hangup.tracer.fields import Placed
from hangup.tracer.record.facts import Cgroup
from hangup.tracer.record.layout import Event, brief_of, glance_of, pack
from hangup.tracer.story.connection import Place
from hangup.tracer.story.places import Where
from hangup.tracer.story.process import process_of
from hangup.tracer.story.story import Traced
from hangup.tracer.tracer import Tracer
from tests.stories import Story, latent, seeds_failure
from tests.unit.playback import CLOCKS, Playback, shown
from tests.unit.test_alert_text import STORIES

LISTS: dict[str, Iterable[Field[Any]]] = {
    "alert": fields.ALERT,
    "end": fields.END,
    "sender": fields.SENDER,
    "consequence": fields.CONSEQUENCE,
    "figures": fields.FIGURES,
    "traced": fields.TRACED,
    "row": fields.ROW,
    "total": summary_json.TOTAL,
    "held back": alert_file.HELD_BACK,
    "losses": alert_file.LOSSES,
    "listener": peers.LISTENER,
    "connection": peers.CONNECTION,
    "socket": peers.END,
    "holder": peers.HOLDER,
    "check": doctor.CHECK,
    "field": fields_verb.FIELD,
    "entry": journal.FIELDS,
}
EVERY_LIST = pytest.mark.parametrize("of_list", LISTS.values(), ids=LISTS)


@EVERY_LIST
def test_no_two_fields_of_a_list_have_the_same_name(of_list: Iterable[Field[Any]]) -> None:
    names = [field.name for field in of_list]
    assert len(set(names)) == len(names)


@EVERY_LIST
def test_a_number_whose_name_says_its_unit_has_that_unit(of_list: Iterable[Field[Any]]) -> None:
    for field in of_list:
        for unit in ("ns", "bytes"):
            if field.name.lower().endswith(f"_{unit}"):
                assert (field.type, field.unit) == ("number", unit), field.name
        if field.unit:
            assert field.type == "number", field.name


@EVERY_LIST
def test_what_a_field_means_is_a_phrase_that_a_document_can_go_on_from(of_list: Iterable[Field[Any]]) -> None:
    for field in of_list:
        assert field.meaning.strip() == field.meaning
        assert not field.meaning.endswith(".")
        assert "null" not in field.meaning
        assert "\n" not in field.meaning
        assert bool(field.fields) == (field.type in ("object", "objects"))
    for field in of_list:
        assert field.kept or str(field.not_kept).endswith(".")


def of_objects(of_list: Iterable[Field[Any]], item: object) -> Iterator[tuple[Field[Any], object]]:
    """Yield every field with its value, those of objects too."""
    for field in of_list:
        value = field.get(item)
        yield field, value
        for each in value if field.type == "objects" else [value] if field.fields and value is not None else []:
            yield from of_objects(field.fields, each)


@pytest.mark.parametrize("name", STORIES)
def test_only_a_field_that_says_when_has_no_value(name: str) -> None:
    for pairs in shown(STORIES[name](), lambda alert: list(of_objects(fields.ALERT, alert)), latent=True):
        assert [field.name for field, value in pairs if value is None and field.absent is None] == []


def test_a_field_of_a_part_is_got_by_way_of_the_part_and_otherwise_the_same() -> None:
    [name] = of_part([named(fields.KEY, "client")], lambda row: row[0])
    key = shown(seeds_failure(), lambda alert: alert.key)[0]
    assert name.get((key, None)) == "httpd"
    assert name.meaning == named(fields.KEY, "client").meaning


def test_a_field_of_an_object_that_is_not_there_has_no_value() -> None:
    [comm] = inside(fields.ALERT, "server", "comm")
    assert shown(seeds_failure(), comm.get) == ["uwsgi"]
    assert shown(STORIES["refused"](), comm.get) == [None]


def test_an_alert_s_line_is_the_object_of_its_list() -> None:
    [alert] = shown(latent(), lambda alert: alert, latent=True)
    text = json_lines.line("alert", fields.ALERT)(alert, CLOCKS.wall)
    told = json.loads(text)
    assert text == json.dumps(told, separators=(",", ":"))
    assert told["client"]["comm"] == named(fields.END, "comm").get(named(fields.ALERT, "client").get(alert))


def operations() -> list[Traced]:
    """Return operations of all kinds."""
    found: list[Traced] = []
    stories: list[Callable[[], Story]] = [*STORIES.values(), seeds_failure]
    source = Playback(event for story in stories for event in story().events)
    with Tracer(source=source, on_operation=found.append) as tracer:
        for _ in tracer.alerts():
            pass
    return found


def altered(random: Random, traced: Traced, other: Traced) -> Traced:
    """Return an operation that has some of another one's values."""
    event = Event._make(random.choice(both) for both in zip(traced.event, other.event, strict=True))
    place = Place._make(random.choice(both) for both in zip(traced.place, other.place, strict=True))
    return Traced(event._replace(owner_pid=random.choice([0, 4242])), place)


@pytest.mark.parametrize("most", [1, 7, kept_text.MOST])
def test_a_text_that_is_found_again_is_what_would_be_made_anew(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(kept_text, "MOST", most)
    random = Random(1)
    all_of_them = operations()
    cgroups = [None, Cgroup("/"), Cgroup("/system.slice/a.service", unit="a.service")]
    kept, kept_rows = operation_lines(), operation_rows(addresses=True)
    plain = json_lines.line("operation", fields.TRACED)
    for _ in range(3000):
        traced = random.choice(all_of_them)
        if random.random() < 0.5:
            traced = altered(random, traced, random.choice(all_of_them))
        cgroup = random.choice(cgroups)
        record = pack(traced.event)
        place = traced.place
        operated = record, brief_of(record), place
        assert kept([operated], CLOCKS, partial(lambda found, _id, _pid: found, cgroup)) == [
            plain(Placed(traced, cgroup), CLOCKS.wall)
        ]
        width = random.choice([60, 80, 200])
        process = process_of(traced.event)
        where = partial(Where, process, place.number, place.path, (place.peer_comm, place.peer_pid))
        glance = glance_of(record)
        [row] = kept_rows([(glance, where(pair=place.pair), record)], CLOCKS, width)
        assert [row] == operation_rows(addresses=True)([(glance, where(pair=place.pair), record)], CLOCKS, width)
        # Both are made by parts of the operation; this is made of all of it.
        thread = "" if process.tid == process.pid else f"/{process.tid}"
        assert row.split(" ", 1)[1].startswith(f"{process.comm}[{process.pid}{thread}] ")
        assert operation_text(traced.event) in row.replace(f"({traced.event.descriptor})", "", 1)


def test_no_more_texts_are_kept_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_text, "MOST", 10)
    texts = kept_text.KeptText[int](str)
    assert [texts[number] for number in range(100)] == [str(number) for number in range(100)]
    assert len(texts) == 10
