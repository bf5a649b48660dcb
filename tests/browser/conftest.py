"""A headless Chromium, and the pages that it is shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from hangup.cli.reporters.page.render import html
from tests.stories import Story, Task, seeds_failure
from tests.unit import pages
from tests.unit.pages import one_after_the_other, page_of

# Nothing that it does by itself is of any use here, where there may be no network.
_QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, which `tests/setup browser` installs."""
    program = shutil.which("chromium")
    assert program, "there is no chromium: run tests/setup browser"
    # Its sandbox refuses root.
    options = [*_QUIET, "--no-sandbox"] if os.geteuid() == 0 else _QUIET
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=options)
        yield started
        started.close()


def _hostile(**place: int) -> Story:
    """Return the classic failure with names as long and as bad as they can be."""
    return seeds_failure(
        path=b"/run/</style><script>document.title='run'</script>" + 40 * b"\xff",
        client=Task(14 * "\x1b", 4_194_304),
        server=Task("<img src=//x>", 4_194_303, inner_pid=31),
        **place,
    )


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page with something in every part of it."""
    events = [*pages.mixed(), *one_after_the_other([_hostile] * 15, start=100_000_000_000)]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html(page_of(events, latent=True)), encoding="utf-8")
    return path
