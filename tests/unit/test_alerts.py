"""Many alerts alike: three in full, ten as a line each, then counts; and nothing goes unsaid."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from hangup.cli.reporters import alerts as reporter
from hangup.cli.reporters.alert import alert_row
from hangup.cli.reporters.alerts import AS_ROWS, COUNT_SECONDS, IN_FULL, Alerts
from hangup.tracer.clocks import Clocks
from hangup.tracer.tracer import Alert
from tests.stories import Story, Task, established, seeds_failure
from tests.unit.playback import CLOCKS, shown

pytestmark = pytest.mark.usefixtures("utc")


def alerts_of(*stories: Story) -> list[Alert]:
    return shown(stories, lambda alert: alert)


def block(alert: Alert, _clocks: Clocks) -> str:
    assert alert.story
    return f"BLOCK {alert.story.path}"


def many(count: int, path: str = "/run/app.s", **options: Task) -> list[Alert]:
    return alerts_of(*(seeds_failure(path=path, **options) for _ in range(count)))


def show(alerts: Sequence[Alert], shower: Alerts, now: float = 0.0) -> list[str]:
    return [text for alert in alerts for text in shower.shown(alert, CLOCKS, now)]


def test_the_first_three_are_blocks_the_next_ten_are_lines_and_the_rest_is_counted() -> None:
    shower = Alerts(block, show_all=False)
    alerts = many(442)
    texts = show(alerts, shower)
    assert texts == [
        *["BLOCK /run/app.s"] * IN_FULL,
        *(alert_row(alert, CLOCKS) for alert in alerts[IN_FULL : IN_FULL + AS_ROWS]),
    ]
    assert (IN_FULL, AS_ROWS) == (3, 10)
    assert list(shower.counts(0.0, ending=True)) == [
        "429 more alerts: answered, httpd to uwsgi, /run/app.s (--all shows each)"
    ]
    assert list(shower.counts(0.0, ending=True)) == []


def test_a_line_has_when_which_verdict_which_connection_where_and_the_sentence() -> None:
    [alert] = many(1)
    assert alert_row(alert, CLOCKS) == (
        "00:00:00.000219 answered #1 /run/app.s: uwsgi[815] read 723 bytes, answered 94 bytes and hung up; "
        "89 µs later httpd[4711]'s write of 8 bytes failed with EPIPE"
    )


def test_the_line_of_a_failed_connect_says_its_path_once() -> None:
    story = Story(path="/run/stale.s")
    story.connect(error=errno.ECONNREFUSED)
    [alert] = alerts_of(story)
    assert alert_row(alert, CLOCKS).count("/run/stale.s") == 1
    assert "\n" not in alert_row(alert, CLOCKS)


def test_with_all_every_one_is_a_block() -> None:
    shower = Alerts(block, show_all=True)
    assert show(many(50), shower) == ["BLOCK /run/app.s"] * 50
    assert list(shower.counts(1e9, ending=True)) == []


def test_counts_are_told_when_their_time_has_come_and_only_what_is_new() -> None:
    shower = Alerts(block, show_all=False)
    alerts = many(IN_FULL + AS_ROWS + 5)
    show(alerts[: IN_FULL + AS_ROWS], shower, now=100.0)
    # Nothing was counted so far, however long ago that is.
    assert list(shower.counts(500.0)) == []
    show(alerts[IN_FULL + AS_ROWS : -1], shower, now=500.0)
    assert list(shower.counts(500.0 + COUNT_SECONDS - 0.1)) == []
    [line] = shower.counts(500.0 + COUNT_SECONDS)
    assert line.startswith("4 more alerts: ")
    show(alerts[-1:], shower, now=510.0)
    assert list(shower.counts(514.9)) == []
    [line] = shower.counts(515.0)
    assert line.startswith("1 more alert: ")


def test_each_kind_has_its_own_three() -> None:
    shower = Alerts(block, show_all=False)
    unread = established()
    unread.client.write(100)
    unread.server.release()
    unread.client.write(8, error=errno.EPIPE)
    kinds = [
        many(4),
        many(4, path="/run/other.s"),
        many(4, client=Task("nginx", 20)),
        many(4, server=Task("gunicorn", 30)),
        alerts_of(unread, unread, unread, unread),
    ]
    for alerts in kinds:
        texts = show(alerts, shower)
        assert [text.startswith("BLOCK") for text in texts] == [True] * 3 + [False]


def test_workers_and_paths_of_one_run_are_one_kind() -> None:
    shower = Alerts(block, show_all=False)
    stories = [
        seeds_failure(path=f"/run/user/{1000 + number}/bus", client=Task("httpd", 500 + number)) for number in range(20)
    ]
    texts = show(alerts_of(*stories), shower)
    assert sum(text.startswith("BLOCK") for text in texts) == IN_FULL
    assert list(shower.counts(0.0, ending=True)) == [
        "7 more alerts: answered, httpd to uwsgi, /run/user/*/bus (--all shows each)"
    ]


def test_a_new_kind_in_the_middle_of_a_storm_is_a_block() -> None:
    shower = Alerts(block, show_all=False)
    storm = many(100)
    [new] = many(1, path="/run/new.s")
    show(storm, shower)
    assert show([new], shower) == ["BLOCK /run/new.s"]


def test_who_renames_itself_for_each_alert_fills_neither_the_screen_nor_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporter, "MAX_KINDS", 5)
    shower = Alerts(block, show_all=False)
    alerts = [alert for number in range(50) for alert in many(1, client=Task(f"client {number}", 7))]
    texts = show(alerts, shower)
    assert len(texts) == 5 + IN_FULL + AS_ROWS
    assert list(shower.counts(0.0, ending=True)) == [
        "32 more alerts: answered, (other) to (other), (other) (--all shows each)"
    ]
