"""Pages as tests look at them: made of told stories, and read as a browser would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hangup.cli.ended import Ended
from hangup.cli.reporters.page.collected import Collected
from hangup.cli.reporters.page.content import Page, Source, page
from hangup.tracer.capture.files import write_capture
from hangup.tracer.record.facts import HostFact, pack_fact
from hangup.tracer.record.layout import Event, pack
from hangup.tracer.tracer import Tracer
from tests.stories import (
    CLIENT_SOCK,
    MILLISECOND,
    SERVER_SOCK,
    Story,
    Task,
    clean,
    established,
    latent,
    seeds_failure,
)
from tests.unit.playback import CLOCKS, Playback

HOST = HostFact(
    monotonic=0,
    boottime=0,
    wall=CLOCKS.wall(0),
    looked=0,
    kernel="6.1.0-38-amd64",
    version="0.1.0",
    probes="fentry",
    functions=("unix_accept", "unix_release_sock"),
)


def one_after_the_other(
    makers: Iterable[Callable[..., Story]], *, step: int = 250 * MILLISECOND, start: int = 1_000_000_000
) -> list[Event]:
    """Return the events of stories that begin so long after each other, in the order of their ends, in ns."""
    events: list[Event] = []
    for number, make in enumerate(makers):
        offset = number * 0x1000
        story = make(start=start + number * step, client_sock=CLIENT_SOCK + offset, server_sock=SERVER_SOCK + offset)
        events += story.events
    return sorted(events, key=lambda event: event.end)


def capture(path: Path, events: Iterable[Event], *, host: HostFact = HOST) -> Path:
    """Write a capture of these events."""
    write_capture(path, [pack_fact(host), *map(pack, events)])
    return path


def page_of(events: Iterable[Event], *, draw_all: bool = False, **options: Any) -> Page:
    """Return the page of what a tracer makes of these events."""
    collected = Collected(draw_all=draw_all)
    with Tracer(source=Playback(events), **options) as tracer:
        for alert in tracer.alerts():
            collected.add(alert, CLOCKS)
    begin, end = map(CLOCKS.wall, tracer.recorded.span or (0, 0))
    ended = Ended(tracer.statistics, tracer.losses(), (end - begin) / 10**9, tracer.flavour, len(tracer.functions))
    return page(collected, ended, Source(["a.capture"], HOST, (begin, end)))


def killed(**options: Any) -> Story:
    """Return a worker that is killed a while after it has read a request."""
    story = established(
        **{"path": "/run/php/fpm.sock", "client": Task("nginx", 20_481), "server": Task("php-fpm", 4000), **options}
    )
    story.client.write(780, syscall=20)
    story.server.read(780)
    story.wait(1200 * MILLISECOND)
    story.server.release(killed_by=9)
    story.client.read()
    story.client.release()
    return story


def unread(**options: Any) -> Story:
    """Return a server that closes with most of the request unread."""
    story = established(**options)
    story.client.write(3000)
    story.server.read(1000)
    story.server.release()
    story.client.write(500, error=32)
    story.client.release()
    return story


def mixed() -> list[Event]:
    """Return what every part of a page has something to show of."""
    makers: list[Callable[..., Story]] = []
    for number in range(60):
        makers.append(clean)
        if number % 3 == 0:
            makers.append(seeds_failure)
        if number % 20 == 5:
            makers += [killed, unread, latent]
    return one_after_the_other(makers)


_VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: Mapping[str, str]
    text: str = ""
    """All text within."""


@dataclass
class Read(HTMLParser):
    """Reads a page, strictly: what is opened is closed, in the opposite order."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element of SVG without content."""
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Add to the text of all that is open."""
        for element in self._open:
            element.text += data

    def all(self, tag: str, style: str | None = None) -> list[Element]:
        """Return the elements of a tag, of a class."""
        return [
            element
            for element in self.elements
            if element.tag == tag and (style is None or style in element.attributes.get("class", "").split())
        ]

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left open."""
        return not self._open


def read(html: str) -> Read:
    """Read a page; AssertionError if it is not well formed."""
    found = Read()
    found.feed(html)
    found.close()
    assert found.is_closed
    return found
