"""A report as its reader has it: on any screen, light or dark, by keyboard, and read aloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

SCHEMES = ("light", "dark")
WIDTHS = (320, 375, 768, 1280, 1920)

OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(element =>
    !element.closest(".scroll > *") && element.getBoundingClientRect().right > innerWidth + 0.5 &&
    !element.matches(".skip")).map(element => element.outerHTML.slice(0, 200))"""


class Shown:
    """A page in a window, and what was said and asked for while it was there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def open_all(self) -> None:
        """Open whatever can be."""
        for summary in self.page.query_selector_all("details:not([open]) > summary"):
            summary.click()

    def focused(self) -> str:
        """Return what has the focus: its tag and its text or name."""
        return str(
            self.page.evaluate(
                "() => document.activeElement.tagName + ' ' + (document.activeElement.getAttribute('aria-labelledby')"
                " || document.activeElement.textContent).trim().slice(0, 60)"
            )
        )


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=str)
def everywhere(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Shown]:
    """Show the report in a window of each width, light and dark."""
    width, scheme = request.param
    yield from _shown(browser, report, width, scheme)


@pytest.fixture(params=SCHEMES)
def shown(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Shown]:
    """Show the report light and dark."""
    yield from _shown(browser, report, 1280, request.param)


def _shown(browser: Browser, report: Path, width: int, scheme: str) -> Iterator[Shown]:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    window = Shown(context.new_page())
    window.page.goto(report.as_uri())
    yield window
    context.close()


def test_nothing_is_wider_than_the_window(everywhere: Shown) -> None:
    everywhere.open_all()
    page = everywhere.page
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_console_is_silent_and_nothing_but_the_page_is_asked_for(everywhere: Shown, report: Path) -> None:
    everywhere.open_all()
    everywhere.page.wait_for_load_state("networkidle")
    assert everywhere.said == []
    # The first request came before anybody listened, or is the page itself.
    assert set(everywhere.requested) <= {report.as_uri()}


def test_axe_finds_nothing(everywhere: Shown) -> None:
    everywhere.open_all()
    results = Axe().run(everywhere.page)
    assert results.response["passes"], "axe has looked at nothing"
    assert results.violations_count == 0, results.generate_report()


def test_text_is_the_scheme_s_own(shown: Shown) -> None:
    def channel(element: str, of: str) -> int:
        text = shown.page.evaluate(f"getComputedStyle(document.querySelector('{element}')).{of}")
        return int(text.split("(")[1].split(",")[0])

    is_dark = shown.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (channel("html", "backgroundColor") < channel("h1", "color")) == is_dark
    assert (channel(".scroll", "backgroundColor") < channel("svg text.name", "fill")) == is_dark


def test_the_keyboard_reaches_what_can_be_opened_and_enter_opens_it(shown: Shown) -> None:
    page = shown.page
    page.keyboard.press("Tab")
    assert shown.focused() == "A To the findings"
    closed = page.locator("details:not([open])").first.element_handle()
    assert closed is not None
    for _ in range(100):
        if closed.evaluate("element => element.firstElementChild === document.activeElement"):
            break
        page.keyboard.press("Tab")
    assert shown.focused().startswith("SUMMARY ")
    page.keyboard.press("Enter")
    assert closed.evaluate("element => element.open")
    page.keyboard.press("Enter")
    assert not closed.evaluate("element => element.open")


def test_the_skip_link_leads_past_the_header(shown: Shown) -> None:
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Enter")
    assert shown.focused().startswith("MAIN")


def test_a_table_on_a_narrow_screen_scrolls_by_the_arrow_keys(browser: Browser, report: Path) -> None:
    for window in _shown(browser, report, 320, "light"):
        region = window.page.locator(".scroll").first
        region.focus()
        # What polls inside the page is an eval(), which the page's policy forbids: an event says when it moved.
        region.evaluate(
            """element => {
                window.scrolled = new Promise(resolve => element.addEventListener("scroll", resolve, {once: true}));
            }"""
        )
        window.page.keyboard.press("ArrowRight")
        window.page.evaluate("() => window.scrolled")
        assert region.evaluate("element => element.scrollLeft") > 0


def test_the_policy_is_in_force(shown: Shown) -> None:
    """What would have slipped through the escaping runs nothing, loads nothing and is no style."""
    broken = shown.page.evaluate(
        """() => new Promise(resolve => {
            const broken = [];
            document.addEventListener("securitypolicyviolation", event => {
                broken.push(event.effectiveDirective);
                if (broken.length === 3) resolve(broken.sort());
            });
            const script = document.createElement("script");
            script.textContent = "document.title = 'run'";
            const image = document.createElement("img");
            image.src = "x.png";
            const style = document.createElement("style");
            style.textContent = "h1 { display: none }";
            document.body.append(script, image, style);
        })"""
    )
    assert broken == ["img-src", "script-src-elem", "style-src-elem"]
    assert shown.page.title().startswith("hangup: ")
    assert shown.page.locator("h1").is_visible()
