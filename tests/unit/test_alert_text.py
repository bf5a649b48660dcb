"""An alert as it is printed: who, where and what both ends did, in 80 columns."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangup.cli import terminal
from hangup.cli.reporters.alert import alert_block
from hangup.tracer.cgroups import Cgroups
from hangup.tracer.record import Loss
from hangup.tracer.tracer import Tracer
from tests.stories import HTTPD, MILLISECOND, SHUT_RD, SHUT_WR, Story, Task, established, latent, seeds_failure
from tests.unit.playback import OFFSET, Playback, shown
from tests.unit.snapshots import check


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def cgroups() -> Cgroups:
    """Return what knows the cgroups of the stories."""
    # Not this host's /proc: it may have processes of these pids.
    return Cgroups(proc=Path("/nowhere"), find=lambda number: CGROUPS[number].encode())


def blocks(story: Story, width: int = 80, paint: terminal.Paint = terminal.plain) -> str:
    texts = shown(
        story, lambda alert: alert_block(alert, OFFSET, width=width, paint=paint), latent=True, cgroups=cgroups()
    )
    assert len(texts) == 1
    return texts[0] + "\n"


def large_body() -> Story:
    """Nginx sends a body that uWSGI does not read: partial writes, EAGAIN, and more operations than are kept."""
    nginx = Task("nginx", 20_481)
    story = established(path="/run/uwsgi/app/site/socket", client=nginx)
    story.client.write(780, syscall=20)
    story.server.read(780)
    for _ in range(40):
        story.client.write(4096, syscall=20)
        story.client.write(8192, syscall=46)
    story.client.write(300_000, result=212_992, syscall=20)
    story.client.write(87_008, error=errno.EAGAIN, syscall=20)
    story.server.write(94)
    story.server.release()
    story.wait(3 * MILLISECOND)
    story.client.write(87_008, error=errno.EPIPE, syscall=20)
    return story


def reset_read() -> Story:
    story = established()
    story.client.write(3000, syscall=44)
    story.server.read(1000, syscall=45, message_flags=0)
    story.server.read(peek=True, syscall=47)
    story.server.release()
    story.client.read(error=errno.ECONNRESET, syscall=45)
    return story


def killed() -> Story:
    story = established(path=b"\0abstract/" + b"x" * 90, server=Task("a-15-letter-com", 4_194_304, uid=65_534))
    story.client.write(1, syscall=40)
    story.server.read(1)
    story.wait(12_000 * MILLISECOND)
    story.server.release(killed_by=9)
    story.client.write(300, error=errno.EPIPE, syscall=275)
    return story


def own_shutdown() -> Story:
    story = established()
    story.client.write(5)
    story.server.read(5)
    story.client.shutdown(SHUT_WR)
    story.server.read(0)
    story.client.write(5, error=errno.EPIPE)
    return story


def pair() -> Story:
    story = Story(path="", client=HTTPD, server=HTTPD)
    story.socketpair()
    story.client.write(7)
    story.server.shutdown(SHUT_RD)
    story.server.release(exit_status=3)
    story.client.write(9, error=errno.EPIPE)
    return story


def older() -> Story:
    story = Story(older=True)
    story.client.write(100)
    story.server.release()
    story.client.write(100, error=errno.EPIPE)
    return story


def refused() -> Story:
    story = Story(path="/run/stale.s")
    story.connect(error=errno.ECONNREFUSED)
    return story


def hostile() -> Story:
    story = Story(path=b"/run/\x1b[2J\n[red].s", client=Task("\x1b[31mx\n", 666))
    story.connect(error=errno.EAGAIN)
    return story


HEX = "3f9c0a17b2d4" + 52 * "e"
CGROUPS = {
    11: f"/system.slice/docker-{HEX}.scope",
    12: "/machine.slice/systemd-nspawn@web.service/payload/system.slice/uwsgi.service",
    13: "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.example.Application-4711.scope",
    14: "/lxc.payload.\x1b[2J" + 30 * "x",
}


def containers() -> Story:
    """Let nginx in a container of Docker's talk to uWSGI in a container with systemd."""
    nginx = Task("nginx", 3012, inner_pid=7, cgroup=11)
    return seeds_failure(client=nginx, server=Task("uwsgi", 2948, uid=998, inner_pid=41, cgroup=12))


def units() -> Story:
    """Let a desktop's program talk to one in a container whose name is hostile."""
    return seeds_failure(client=Task("app", 4711, cgroup=13), server=Task("sh", 815, inner_pid=1, cgroup=14))


def hostless() -> Story:
    story = Story(path="/run/stale.s", client=Task("nginx", 3012, inner_pid=7, cgroup=11))
    story.connect(error=errno.ECONNREFUSED)
    return story


STORIES = {
    "containers": containers,
    "units": units,
    "refused-in-a-container": hostless,
    "answered": seeds_failure,
    "large-body": large_body,
    "reset-read": reset_read,
    "killed": killed,
    "own-shutdown": own_shutdown,
    "socketpair": pair,
    "older-than-the-tracer": older,
    "refused": refused,
    "hostile-names": hostile,
    "latent": latent,
}


@pytest.mark.parametrize("name", STORIES)
def test_a_block_says_who_where_and_what_both_ends_did(name: str) -> None:
    check(f"alert-{name}", blocks(STORIES[name]()))


@pytest.mark.parametrize("name", STORIES)
def test_a_block_fits_80_columns_but_for_the_path(name: str) -> None:
    story = STORIES[name]()
    path = story.address.decode().replace("\0", "@")
    for line in blocks(story).splitlines():
        assert len(line) <= 80 or (path and path in line)
        assert line.rstrip() == line


def test_a_wider_terminal_folds_the_sentence_later_and_a_pipe_not_at_all() -> None:
    check("alert-answered-120", blocks(seeds_failure(), 120))
    check("alert-answered-pipe", blocks(seeds_failure(), terminal.UNFOLDED_WIDTH))


def test_a_terminal_gets_colours_around_what_words_say_too() -> None:
    coloured = blocks(seeds_failure(), paint=terminal.colour)
    check("alert-answered-colour", coloured)
    for code in terminal._CODES.values():
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace("\x1b[0m", "") == blocks(seeds_failure())


def test_nothing_of_a_traced_process_reaches_the_terminal_unescaped() -> None:
    text = blocks(hostile())
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\x1b[2J\\x0a[red].s" in text


def test_a_process_of_no_unit_has_no_row_for_it() -> None:
    rows = [line.split()[:1] for line in blocks(seeds_failure()).splitlines()]
    assert ["unit"] not in rows
    assert ["container"] not in rows


def test_every_doubt_is_told() -> None:
    class Losing(Playback):
        """Loses records while it is read."""

        def read(self, timeout: float) -> list[bytes]:
            records = super().read(timeout)
            self._losses = {Loss.RING_FULL: 12}
            return records

    with Tracer(source=Losing(seeds_failure().events)) as tracer:
        (block,) = [alert_block(alert, OFFSET, width=80) for alert in tracer.alerts()]
    assert "uncertain: 12 records were lost while it was open" in block.splitlines()


def test_operations_that_are_not_shown_are_counted() -> None:
    story = large_body()
    text = blocks(story)
    (left_out,) = (line for line in text.splitlines() if "operations not shown" in line)
    rows = [line[13:] for line in text.splitlines() if line[:11].strip().endswith((" µs", " ms"))]
    assert len(rows) + int(left_out.split()[1]) == len(story.events)


def test_the_same_operation_over_and_over_is_one_row() -> None:
    story = established()
    for _ in range(9):
        story.client.write(100)
    story.server.release()
    story.client.write(100, error=errno.EPIPE)
    text = blocks(story)
    assert "  write 100, 9 times\n" in text
    assert text.count("write 100") == 2


def test_what_another_process_did_is_marked_with_its_name() -> None:
    story = established()
    story.server.write(5)
    story.server.release(by=Task("heir", 99))
    story.client.write(5, error=errno.EPIPE)
    assert "by heir[99]" in blocks(story)
