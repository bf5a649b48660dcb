"""docs/performance.md and its chart are what the generator makes of docs/performance.json.

`python -m tests.bench report` writes them anew.
"""

from __future__ import annotations

from xml.etree import ElementTree

from tests.bench import data, report
from tests.bench.chart import Bar, chart
from tests.bench.data import Row, Run
from tests.bench.targets import NOT_MEASURED, TARGETS


def _run(*rows: Row, part: str = "cost", kernel: str = "6.1") -> Run:
    return Run(part, kernel, f"{kernel}.0", 1, "instructions", "COMMAND", "c0ffee", "2026-01-02", {"perf": "6.1"}, rows)


def test_the_document_is_what_the_data_says() -> None:
    assert report.document(data.load(report.DATA)) == report.DOCUMENT.read_text()


def test_the_chart_is_what_the_data_says() -> None:
    assert report.picture(data.load(report.DATA)) == report.CHART.read_text()


def test_every_row_of_the_data_stands_under_a_name_that_the_document_knows() -> None:
    assert report.document(data.load(report.DATA))


def test_without_data_no_figure_is_given() -> None:
    for target in TARGETS:
        assert NOT_MEASURED in target.measured([]).text
        assert not target.measured([]).missed_by
    assert "instructions" not in report.picture([]).partition("<rect")[2]


def test_a_figure_that_is_missed_says_by_how_much_and_one_that_is_reached_does_not() -> None:
    def told(each: float) -> str:
        row = Row("pair", "watch-fentry", {"each": [each], "untraced": [100.0]})
        return next(line for line in report.document([_run(row)]).splitlines() if line.startswith("| `watch`, all"))

    assert "| 1.105 **missed by 0.025** |" in told(110.5)
    assert "| 1.075 |" in told(107.5)


def test_a_tracer_that_lost_records_says_so_in_its_row_and_in_the_chart() -> None:
    row = Row("solo", "perf-trace", {"each": [300.0], "untraced": [100.0]}, lost={"events": 1234})
    document, picture = report.document([_run(row)]), report.picture([_run(row)])
    assert "1,234 events" in document
    assert "3.00 (lost some)" in picture


def test_a_tracer_that_was_not_measured_stands_there_with_the_reason() -> None:
    row = Row("solo", "sysdig", missing="sysdig is not | there")
    assert "| sysdig | not measured here: sysdig is not / there |" in report.document([_run(row)])


def test_the_chart_is_xml_and_longer_bars_are_more() -> None:
    svg = chart("A & B", "<c>", [Bar("one", 1.1, "1.1", "floor"), Bar("ten", 10, "10", "other")])
    drawn = ElementTree.fromstring(svg)  # noqa: S314 - our own
    one, ten = (float(rect.attrib["width"]) for rect in drawn.iter("{http://www.w3.org/2000/svg}rect"))
    assert one < ten
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"A & B", "<c>", "one", "10"} <= texts
