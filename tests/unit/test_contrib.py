"""What contrib/ asks Prometheus for is there to be had. promtool itself runs in tests/scenarios/test_metrics.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.sinks.metrics_table import METRICS, PROCESS_METRICS, Described
from hangup.tracer.verdicts import Kind

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus" / "hangup.rules.yml"
RULE_TESTS = CONTRIB / "prometheus" / "hangup.rules.test.yml"
SCRAPE = CONTRIB / "prometheus" / "scrape.yml"
DASHBOARD = CONTRIB / "grafana" / "hangup.json"

BY_NAME = {metric.name: metric for metric in (*METRICS, *PROCESS_METRICS)}
# What Prometheus itself adds to every series.
ADDED = {"instance", "job"}

_NAME = re.compile(r"(?<![\w:$.])(?:hangup|process)_\w+")
_MATCHERS = re.compile(r"((?:hangup|process)_\w+)\{([^}]*)\}")


def base(name: str) -> Described | None:
    """Return the metric that a series belongs to."""
    return BY_NAME.get(name) or BY_NAME.get(re.sub(r"_(bucket|count|sum)$", "", name))


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def queries() -> Iterator[str]:
    """Yield every expression of rules and dashboard."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    # An expression goes on in lines that are indented more.
    yield from re.findall(r"^ +expr: (.*(?:\n {10,}.*)*)", RULES.read_text(), re.MULTILINE)


def test_there_is_something_to_test() -> None:
    assert len(list(panels())) > 10
    assert sum("hangup_failures" in query for query in queries()) > 1
    assert len(list(queries())) > 30


def test_every_metric_that_is_asked_for_exists() -> None:
    for query in queries():
        names = _NAME.findall(query)
        assert names or "client_server_path:" in query or "up{" in query, query
        for name in names:
            assert base(name), f"{name} in {query}"


def test_a_metric_is_asked_for_by_labels_that_it_has() -> None:
    for query in queries():
        for name, matchers in _MATCHERS.findall(query):
            metric = base(name)
            assert metric
            for label, wanted in re.findall(r'(\w+) ?(?:=|!=|=~|!~) ?"([^"]*)"', matchers):
                assert label in {*metric.labels, *ADDED}, query
                if label == "verdict":
                    assert set(wanted.split("|")) <= {kind.label for kind in Kind}, query


def test_sums_are_by_labels_that_there_are() -> None:
    labels = {label for metric in BY_NAME.values() for label in metric.labels} | ADDED | {"le"}
    for query in queries():
        for group in re.findall(r"(?:by|without) \(([^)]*)\)", query):
            assert set(group.split(", ")) <= labels, query


def test_metrics_that_are_asked_for_in_rule_tests_and_texts_exist() -> None:
    for file in (RULES, RULE_TESTS):
        # Not those that the rules themselves record.
        names = set(_NAME.findall(re.sub(r"\w+:hangup_[\w:]+", "", file.read_text())))
        assert all(base(name) for name in names), names


def test_every_alert_of_the_rules_is_tested_firing() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", RULE_TESTS.read_text())
    assert alerts
    assert set(alerts) == set(fired)


def test_every_metric_stands_somewhere_in_the_dashboard_or_the_rules() -> None:
    asked = {base(name) for query in queries() for name in _NAME.findall(query)}
    assert {metric.name for metric in METRICS if metric not in asked} == set()


def test_every_panel_has_a_title_a_unit_and_a_description() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_dashboard_asks_the_data_source_and_the_instances_that_are_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["instance"]["multi"]
    for panel in panels():
        for target in (panel, *panel["targets"]):
            assert target["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            for _, matchers in _MATCHERS.findall(target["expr"]):
                assert 'instance=~"$instance"' in matchers
            bare = re.sub(_MATCHERS, "", target["expr"])
            assert not _NAME.findall(bare), "a metric of all instances"
    used = set(re.findall(r"\$(?!__)\{?(\w+)", DASHBOARD.read_text()))
    assert used == set(variables)


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        ids.append(panel["id"])
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("file", [RULES, DASHBOARD, SCRAPE], ids=lambda file: file.name)
def test_the_job_has_one_name(file: Path) -> None:
    jobs = re.findall(r'job(?:_name: |=\\?")(\w+)', file.read_text())
    assert jobs
    assert set(jobs) == {"hangup"}
