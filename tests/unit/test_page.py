"""The page of a report: says what the capture says, is well formed, loads nothing, and is small whatever comes."""

from __future__ import annotations

import base64
import errno
import hashlib
import re
from collections.abc import Callable
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.reporters.alerts import AS_ROWS, IN_FULL
from hangup.cli.reporters.page import charts, collected, content, network
from hangup.cli.reporters.page.charts import OverTime
from hangup.cli.reporters.page.drawing import Drawing, shortened
from hangup.cli.reporters.page.network import Pair
from hangup.cli.reporters.page.render import html, prose
from hangup.tracer.statistics import GAP_BOUNDS, Histogram, Statistics
from hangup.tracer.verdicts import Kind
from tests.stories import MILLISECOND, Story, Task, clean, established, latent, seeds_failure
from tests.unit import pages
from tests.unit.pages import Read, one_after_the_other, page_of, read

SECOND = 10**9
MIXED = pages.mixed()


@pytest.fixture(scope="module")
def whole() -> Read:
    return read(html(page_of(MIXED, latent=True)))


def texts(drawing: Drawing | None) -> list[str]:
    assert drawing is not None
    return [text.text for text in drawing.texts]


# ---- the document


def test_it_says_first_how_many_failed(whole: Read) -> None:
    # 20 + 3 + 3 of the 89 connections; 3 more left bytes unread and nobody failed.
    assert [heading.text for heading in whole.all("h1")] == ["26 of 89 connections failed: 29.2 %."]


def test_one_that_nothing_failed_in_says_so() -> None:
    page = page_of(clean().events)
    assert page.headline == "None of 1 connection failed."
    assert (page.over_time, page.gaps, page.kinds) == (None, None, ())
    read(html(page))


def test_an_empty_capture_has_a_page() -> None:
    page = page_of([])
    assert page.headline == "No connection ended or failed."
    assert page.network is None
    assert "Nothing was counted." in html(page)


def test_shares_are_never_rounded_to_none_or_all() -> None:
    many = page_of(MIXED)
    assert many.headline.endswith("%.")
    for some, of_all, text in ((1, 10_000, "less than 0.1 %"), (9_999, 10_000, "more than 99.9 %"), (3, 3, "100.0 %")):
        assert content._share(some, of_all) == text


def test_it_has_landmarks_and_names_and_every_reference_is_to_something(whole: Read) -> None:
    for landmark in ("header", "nav", "main", "footer", "title"):
        assert len([element for element in whole.all(landmark) if landmark != "title" or element.text]) >= 1
    ids = [element.attributes["id"] for element in whole.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in whole.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            if name in element.attributes:
                assert element.attributes[name] in ids
        if element.tag == "a":
            assert element.attributes["href"].removeprefix("#") in ids


def test_every_drawing_has_a_title_and_a_description(whole: Read) -> None:
    drawings = whole.all("svg")
    assert len(drawings) > 5
    titles = [element.text for element in whole.all("title") if "id" in element.attributes]
    assert len(titles) == len(whole.all("desc")) == len(drawings)
    assert all(titles)
    assert all(element.text for element in whole.all("desc"))


def test_what_scrolls_can_be_reached_by_the_keyboard(whole: Read) -> None:
    regions = whole.all("div", "scroll")
    assert len(regions) == len(whole.all("svg")) + len(whole.all("table"))
    assert {region.attributes["tabindex"] for region in regions} == {"0"}


def test_its_policy_allows_its_style_sheet_and_nothing_else(whole: Read) -> None:
    [policy] = [meta.attributes["content"] for meta in whole.all("meta") if "http-equiv" in meta.attributes]
    [style] = whole.all("style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # It stands before whatever it is to forbid.
    tags = [element.tag for element in whole.elements]
    first = next(number for number, element in enumerate(whole.elements) if "http-equiv" in element.attributes)
    assert "style" not in tags[:first]


def test_it_loads_and_runs_nothing(whole: Read) -> None:
    for element in whole.elements:
        assert element.tag not in ("script", "link", "img", "iframe", "object", "embed", "form", "image", "use")
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "style", "srcset", "action")
            assert "://" not in value
    assert "url(" not in whole.all("style")[0].text
    assert "@import" not in whole.all("style")[0].text


HOSTILE = b"/run/</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;.s"


def test_whatever_a_process_calls_itself_is_text() -> None:
    story = seeds_failure(path=HOSTILE, client=Task("<b>&lt;\"'", 4711), server=Task("{{ 7*7 }}", 815))
    failed = Story(path=HOSTILE, client=Task("</svg><s>", 1))
    failed.connect(error=errno.EAGAIN)
    text = html(page_of([*story.events, *failed.events]))
    found = read(text)
    assert not found.all("script")
    assert not found.all("img")
    assert not found.all("b")
    assert not found.all("s")
    for name in (HOSTILE.decode(), "<b>&lt;\"'", "{{ 7*7 }}", "</svg><s>"):
        assert any(name in element.text for element in found.all("td")), name


def test_our_own_texts_may_mark_what_is_typed_and_nothing_more() -> None:
    assert prose("see `namei -l PATH` & <b>") == "see <code>namei -l PATH</code> &amp; &lt;b&gt;"
    assert prose("`a`") == "<code>a</code>"


def test_what_was_lost_stands_at_its_head() -> None:
    page = page_of(MIXED)
    assert page.warnings == ()
    assert ("lost", "nothing") in page.facts


# ---- which alerts are shown


def many(count: int, **options: object) -> list[Callable[..., Story]]:
    return [lambda **place: seeds_failure(**options, **place)] * count


def test_of_alerts_that_are_alike_some_are_drawn_some_are_lines_and_the_rest_is_counted() -> None:
    page = page_of(one_after_the_other(many(50)))
    [kind] = page.kinds
    assert (kind.count, len(kind.drawn), len(kind.lines), kind.more) == (50, IN_FULL, AS_ROWS, 50 - IN_FULL - AS_ROWS)
    text = html(page)
    assert "37 more like these" in text
    assert len(read(text).all("details")) == IN_FULL + 1
    # The newest of them are the ones after the first.
    assert [alert.number for alert in kind.drawn] == ["#1", "#2", "#3"]


def test_all_of_them_are_drawn_if_that_is_asked_for() -> None:
    [kind] = page_of(one_after_the_other(many(50)), draw_all=True).kinds
    assert (len(kind.drawn), len(kind.lines), kind.more) == (50, 0, 0)


def test_the_most_frequent_kind_comes_first_and_its_first_alert_is_open() -> None:
    page = page_of(MIXED)
    assert [kind.count for kind in page.kinds] == [20, 3, 3]
    found = read(html(page))
    assert ["open" in details.attributes for details in found.all("details")].count(True) == 1
    assert "open" in found.all("details")[0].attributes


def letters(number: int) -> str:
    """Return a name without a digit, so that no two are alike."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:04}")


def different(count: int) -> list[Callable[..., Story]]:
    def make(name: str) -> Callable[..., Story]:
        return lambda **place: seeds_failure(path=f"/run/{name}.sock", **place)

    return [make(letters(number)) for number in range(count)]


@pytest.mark.parametrize("makers", [many(1000), different(1000)], ids=["alike", "different"])
def test_a_thousand_alerts_are_a_page_below_five_megabytes(makers: list[Callable[..., Story]]) -> None:
    page = page_of(one_after_the_other(makers))
    assert sum(kind.count for kind in page.kinds) == 1000
    assert sum(len(kind.drawn) for kind in page.kinds) <= collected.MOST_DRAWN
    assert len(html(page).encode()) < 5_000_000


def test_a_failed_connect_is_told_without_a_drawing() -> None:
    story = Story(path="/run/stale.s")
    story.connect(error=errno.ECONNREFUSED)
    [kind] = page_of(story.events).kinds
    [alert] = kind.drawn
    assert (alert.drawing, alert.operation) == (None, "connect: ECONNREFUSED")


def test_the_table_ends_with_one_row_for_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_ROWS", 5)
    page = page_of(one_after_the_other(different(8)))
    assert (len(page.rows), page.rows_left_out, page.total.connections) == (5, 3, 8)
    assert "3 rows with fewer connections are left out" in html(page)


def test_what_is_no_failure_is_not_marked_as_one() -> None:
    found = read(html(page_of(one_after_the_other([latent, seeds_failure]), latent=True)))
    marked = {mark.text for mark in found.all("span", "bad")}
    assert "answered" in marked
    assert "latent" not in marked


def test_each_alert_says_how_it_showed() -> None:
    story = established()
    story.client.write(100)
    story.server.read()
    story.server.write(250)
    story.client.read()
    story.server.release()
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    [kind] = page_of(story.events, harmless=True).kinds
    assert [alert.symptom for alert in kind.drawn] == ["broken write, harmless"]
    assert "broken write, harmless" in html(page_of(story.events, harmless=True))


# ---- the sequence of an alert


def drawing_of(story: Story) -> Drawing:
    [kind] = page_of(story.events).kinds
    [alert] = kind.drawn
    assert alert.drawing is not None
    return alert.drawing


def strokes(drawing: Drawing, style: str) -> int:
    """Return how many strokes of a style begin somewhere."""
    return sum(len(re.findall("M", line.path)) for line in drawing.lines if line.style == style)


def test_a_sequence_has_an_arrow_for_each_write_and_one_that_never_arrives() -> None:
    drawing = drawing_of(seeds_failure())
    assert (strokes(drawing, "sends"), strokes(drawing, "connects"), strokes(drawing, "failed")) == (8, 1, 1)
    # A mark for the accept and the reads, a cross for each end's close.
    assert (strokes(drawing, "dot"), strokes(drawing, "leave cause"), strokes(drawing, "leave")) == (4, 1, 1)


def test_a_sequence_says_who_what_was_unread_and_how_long_after_the_hang_up_it_failed() -> None:
    said = texts(drawing_of(pages.unread()))
    assert {"httpd[4711]", "uwsgi[815]", "client", "server"} <= set(said)
    assert {"write 3000", "read 1000", "close: HANG-UP", "2000 bytes unread"} <= set(said)
    assert {"write 500: EPIPE", "BROKEN WRITE"} <= set(said)
    assert any(text.endswith("after the hang-up") for text in said)


def test_a_sequence_shows_silence() -> None:
    drawing = drawing_of(pages.killed())
    assert "1.2 s of silence" in texts(drawing)
    assert strokes(drawing, "silence") == 2


def test_a_long_story_is_no_longer_than_its_rows_that_are_shown() -> None:
    story = established()
    for size in range(200):
        story.client.write(100 + size)
        story.server.read(100 + size)
    story.server.release()
    story.client.write(7, error=errno.EPIPE)
    drawing = drawing_of(story)
    assert drawing.height < 1300
    assert any(text.endswith("not shown") for text in texts(drawing))


def test_everything_of_a_drawing_is_within_it() -> None:
    for story in (seeds_failure(), pages.killed(), seeds_failure(client=Task("c" * 15, 4_194_304))):
        drawing = drawing_of(story)
        assert all(0 <= text.x <= drawing.width and 0 < text.y < drawing.height for text in drawing.texts)
        assert all(box.x >= 0 and box.x + box.width <= drawing.width for box in drawing.boxes)
        assert all(box.y >= 0 and box.y + box.height <= drawing.height for box in drawing.boxes)


@given(st.text(max_size=60), st.floats(0, 500))
def test_a_text_that_is_too_long_loses_its_middle(text: str, room: float) -> None:
    short = shortened(text, room)
    assert len(short) <= max(int(room / 6.6), 3)
    assert short == text or (short[0] == text[0] and short[-1] == text[-1] and "…" in short)


# ---- over time, gaps


@given(st.lists(st.tuples(st.sampled_from([Kind.UNREAD, Kind.KILLED]), st.integers(0, 10**18)), max_size=50))
def test_no_failure_is_missing_from_the_bars(failures: list[tuple[Kind, int]]) -> None:
    over_time = OverTime()
    for kind, when in failures:
        over_time.add(kind, when)
    begin, end = 5 * 10**17, 6 * 10**17
    first, step, binned = over_time.binned(begin, end)
    assert sum(map(sum, binned.values())) == len(failures)
    assert all(len(counts) <= 60 for counts in binned.values())
    for kind, counts in binned.items():
        for place, count in enumerate(counts):
            within = [each for each, when in failures if each is kind and place == (when - first) // step]
            assert count == len(within)


def test_a_bar_is_as_short_as_the_time_allows() -> None:
    for lasted, step in ((40 * MILLISECOND, MILLISECOND), (61 * SECOND, 2 * SECOND), (3000 * SECOND, 60 * SECOND)):
        over_time = OverTime()
        for number in range(100):
            over_time.add(Kind.UNREAD, number * lasted // 100)
        assert over_time.binned(0, lasted)[1] == step


def test_the_bars_of_a_clock_that_was_set_for_years_are_still_few() -> None:
    over_time = OverTime()
    over_time.add(Kind.UNREAD, 0)
    over_time.add(Kind.UNREAD, 400 * 366 * 86_400 * SECOND)
    drawing = charts.over_time(over_time, 0, 1)
    assert drawing is not None
    assert len(drawing.boxes) == 2


def test_a_verdict_s_row_ends_with_its_total_and_the_description_says_when_most_were() -> None:
    page = page_of(MIXED)
    said = texts(page.over_time)
    assert said[:6] == ["answered", "20", "killed", "3", "unread", "3"]
    assert page.over_time is not None
    assert re.search(
        r"answered: 20, most of them \(\d\) from 00:00:\d\d\.\d00 UTC, 500 ms;", page.over_time.description
    )


def test_gaps_are_drawn_from_the_first_to_the_last_that_there_are() -> None:
    statistics = Statistics()
    assert charts.gaps(statistics.counts().gaps) is None
    page = page_of(MIXED)
    assert page.gaps is not None
    assert "answered: most of them 50 µs to 100 µs" in page.gaps.description
    over = Histogram((*(0 for _ in GAP_BOUNDS), 4), 40 * 10**9)
    drawing = charts.gaps({Kind.REUSED: over})
    assert drawing is not None
    assert "reused: most of them over 10 s" in drawing.description


# ---- who pairs to whom


def test_those_who_fail_most_are_drawn_first_and_the_rest_is_counted() -> None:
    pairs = [Pair(f"c{number}", "/run/a.s", "server", 1000 + number, 0) for number in range(40)]
    drawing = network.network([*pairs, Pair("broken", "/run/b.s", "server", 3, 2)])
    said = texts(drawing)
    assert said[0] == "broken"
    assert "2 of 3 failed" in said
    assert "c39" in said
    assert "c0" not in said
    assert drawing is not None
    assert drawing.description.endswith("17 more pairs not drawn.")


def test_a_wider_line_is_more_connections_and_what_failed_is_drawn_last() -> None:
    drawing = network.network([Pair("a", "/a", "s", 10, 1), Pair("b", "/b", "s", 10_000, 0)])
    assert drawing is not None
    widths = [line.width for line in drawing.lines]
    assert widths[0] is not None
    assert widths[-1] is not None
    assert widths[0] > widths[-1]
    assert [line.style for line in drawing.lines] == ["link", "link", "link bad", "link bad"]


# ---- colours


STYLE = files("hangup.cli.reporters.page").joinpath("templates/page.css").read_text()


def colours(scheme: str) -> dict[str, str]:
    """Return the colours of a scheme by their names."""
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)", 1)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark.split("\n}\n")[0]))


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2, "relative luminance")."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_drawings_have_the_contrast_that_wcag_asks_for(scheme: str) -> None:
    of = colours(scheme)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for text in ("ink", "soft", "bad", "link", "sent"):
        for ground in ("paper", "card", "faint"):
            assert contrast(of[text], of[ground]) >= 4.5, (text, ground)
    for text, ground in (("ink", "cause"), ("cause", "cause"), ("bad", "bad"), ("soft", "cause"), ("soft", "bad")):
        assert contrast(of[text], of[f"{ground}-paper"]) >= 4.5, (text, ground)
    for shape in ("bar", "mild", "cause", "bad", "sent"):
        assert contrast(of[shape], of["card"]) >= 3, shape


def test_both_schemes_have_the_same_colours_and_every_colour_that_is_used_is_one_of_them() -> None:
    assert set(colours("light")) == set(colours("dark"))
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) <= set(colours("light"))
