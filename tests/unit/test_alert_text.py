"""An alert as it is printed: who, where and what both ends did, in 80 columns."""

from __future__ import annotations

import errno

import pytest

from hangup.cli import terminal
from hangup.cli.reporters.alert import alert_block
from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import Loss
from hangup.tracer.tracer import Alert, Tracer
from tests.stories import (
    CLIENT_SOCK,
    HTTPD,
    MILLISECOND,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    Story,
    Task,
    established,
    latent,
    seeds_failure,
)
from tests.unit.playback import CLOCKS, Playback, shown
from tests.unit.snapshots import check

pytestmark = pytest.mark.usefixtures("utc")


def blocks(story: Story, width: int = 80, paint: terminal.Paint = terminal.plain, *, addresses: bool = False) -> str:
    def block(alert: Alert) -> str:
        return alert_block(alert, CLOCKS, width=width, paint=paint, addresses=addresses)

    texts = shown(story, block, latent=True, cgroups=CGROUPS)
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


def hostile_ends() -> Story:
    """Let both ends have names that are as long as they can get when they are escaped."""
    return seeds_failure(client=Task(14 * "\x1b", 4_194_304), server=Task(14 * "\x07", 4_194_303, inner_pid=31))


def io_uring() -> Story:
    """Let a ring write the most that a cell has to hold."""
    story = established()
    story.client.write(8)
    story.client.release()
    story.server.write(4_194_304, error=errno.ECONNRESET, syscall=426)
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
    "hostile-ends": hostile_ends,
    "io-uring": io_uring,
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
    start = seeds_failure().events[0].start
    periods = (
        LostPeriod(Loss.RING_FULL, start, start + 1000, 12),
        LostPeriod(Loss.RING_FULL, start + 10**9, start + 2 * 10**9, 300),
    )
    with Tracer(source=Playback(seeds_failure().events, periods=periods)) as tracer:
        (block,) = [alert_block(alert, CLOCKS, width=80) for alert in tracer.alerts()]
    assert "uncertain: 12 records were lost while it was open" in block.splitlines()


def test_operations_that_are_not_shown_are_counted() -> None:
    story = large_body()
    text = blocks(story)
    assert operations_of(text) == len(story.events)
    assert "... 45 operations of the client not kept ..." in text


@pytest.mark.parametrize(
    ("before", "after", "notes"),
    [
        # Twelve of the first ones are kept, the connect among them, and 28 of the last ones.
        (20, 60, [9, "failed", 32]),
        (11, 60, ["failed", 32]),
        (20, 28, [9, "failed"]),
        (40, 10, [12, "failed"]),
        (20, 10, ["failed"]),
    ],
)
def test_operations_that_were_not_kept_stand_on_the_side_of_the_failure_on_which_they_were(
    before: int, after: int, notes: list[object]
) -> None:
    story = established()
    for _ in range(before):
        story.client.write(100)
    story.server.release()
    story.client.write(8, error=errno.EPIPE)
    # It does not stop at that, which nobody but a timeline with room for all of it shows.
    for _ in range(after):
        story.client.write(9, error=errno.EPIPE)
    text = blocks(story)
    found: list[object] = []
    for line in text.splitlines():
        if "of the client not kept" in line:
            found.append(int(line.split()[1]))
        elif "BROKEN WRITE" in line:
            found.append("failed")
    assert found == notes
    assert operations_of(text) == len(story.events)


def operations_of(text: str) -> int:
    """Return how many operations a block speaks of: its rows, and what is said to be folded or left out."""
    rows: list[int] = []
    for line in text.splitlines():
        words = line.replace("(", "").split()
        if "operations" in words and words[0] == "...":
            rows.append(int(words[1]))
        elif words[:1] == ["these"]:
            length, times = int(words[1]), int(words[3])
            # Silences in what is folded are rows, and no operations.
            rows.append(sum(rows[-length:]) * times)
        elif "of silence" in line:
            rows.append(0)
        elif line[:11].strip().endswith((" µs", " ms", " s")):
            rows.append(int(words[-2]) if words[-1] == "times" else 1)
    return sum(rows)


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
    text = blocks(story)
    # The heading names who hung up, as the sentence does: its own rows need no name.
    assert "process    httpd[4711] uid 33                heir[99] uid 33" in text
    assert "write 5, by uwsgi[815]" in text
    assert "by heir[99]" not in text


def test_the_hang_up_is_the_other_ends_release_never_the_one_of_who_was_hurt() -> None:
    story = own_shutdown()
    story.client.release()
    text = blocks(story)
    assert "HANG-UP" not in text
    assert timeline(text)[-2:] == ["write 5: EPIPE, BROKEN WRITE", "close"]


def polling(times: int, *, step: int = 1000 * MILLISECOND) -> Story:
    """Return a connection with so many requests, each with its answer and then silence, and one that fails."""
    story = established()
    for _ in range(times):
        story.client.write(100)
        story.server.read()
        story.server.write(250)
        story.client.read()
        story.wait(step)
    return story


def timeline(text: str) -> list[str]:
    """Return the rows of a block without their times."""
    return [line[11:].strip() for line in text.split("accept4\n")[1].split("\n\n", maxsplit=1)[0].splitlines()]


def test_requests_and_answers_that_repeat_are_folded_and_nothing_is_lost_by_it() -> None:
    story = polling(5, step=0)
    story.server.release()
    story.client.write(100, error=errno.EPIPE)
    text = blocks(story)
    assert timeline(text) == [
        "write 100",
        "read 100",
        "write 250",
        "read 250",
        "(these 4 rows 4 more times)",
        "close: HANG-UP, nothing unread",
        "write 100: EPIPE, BROKEN WRITE, 20 µs after the hang-up",
    ]
    assert operations_of(text) == len(story.events)


def test_a_rhythm_is_folded_with_its_silences_and_one_that_stands_out_is_a_row() -> None:
    story = polling(6)
    story.wait(9000 * MILLISECOND)
    story.server.release()
    story.wait(3000 * MILLISECOND)
    story.client.write(100, error=errno.EPIPE)
    text = blocks(story)
    rows = timeline(text)
    assert rows[:6] == ["write 100", "read 100", "write 250", "read 250", "--- 1 s of silence ---", rows[5]]
    assert rows[5] == "(these 5 rows 4 more times)"
    # Its last round has the longer silence behind it.
    assert rows[6:10] == rows[:4]
    assert rows[10:] == [
        "--- 10 s of silence ---",
        "close: HANG-UP, nothing unread",
        "--- 3 s of silence ---",
        "write 100: EPIPE, BROKEN WRITE, 3 s after the hang-up",
    ]
    assert operations_of(text) == len(story.events)


def test_silences_of_other_lengths_are_not_folded_away() -> None:
    story = established()
    for silence in (1, 30, 1, 30):
        story.client.write(100)
        story.server.read()
        story.wait(silence * 1000 * MILLISECOND)
    story.server.release()
    story.client.write(100, error=errno.EPIPE)
    assert [row for row in timeline(blocks(story)) if "silence" in row] == [
        "--- 1 s of silence ---",
        "--- 30 s of silence ---",
    ]
    assert "(these 6 rows 1 more time)" in blocks(story)


@pytest.mark.parametrize("after", [0, 60])
@pytest.mark.parametrize("before", [0, 60])
def test_what_went_wrong_is_never_left_out(before: int, after: int) -> None:
    story = established()
    for size in range(before):
        story.client.write(100 + size)
        story.server.read(100 + size)
    story.client.write(50_000)
    story.server.release()
    for size in range(after):
        story.client.read(1 + size)
    story.client.write(7, error=errno.EPIPE)
    text = blocks(story)
    assert text.count("HANG-UP, 50.0 kB unread") == 1
    assert text.count("write 7: EPIPE, BROKEN WRITE") == 1
    assert operations_of(text) == len(story.events)
    assert len(timeline(text)) < 50


@pytest.mark.parametrize("how", [SHUT_WR, SHUT_RDWR])
def test_a_shutdown_that_was_the_cause_is_never_left_out_or_folded(how: int) -> None:
    story = established()
    story.client.shutdown(how)
    for size in range(60):
        story.server.write(100 + size)
        story.client.read(100 + size)
    story.client.write(7, error=errno.EPIPE)
    coloured = blocks(story, paint=terminal.colour)
    assert "own-shutdown" in coloured
    [row] = (line for line in coloured.splitlines() if "  " in line and "shutdown SHUT_" in line)
    assert "\x1b[1;33mshutdown" in row


def test_addresses_of_the_kernel_are_shown_only_if_asked_for() -> None:
    address = f"{CLIENT_SOCK:016x}"
    assert address not in blocks(seeds_failure())
    check("alert-answered-addresses", blocks(seeds_failure(), addresses=True))
    assert address in blocks(seeds_failure(), addresses=True)
    assert address in blocks(refused(), addresses=True)


def test_a_thread_is_named_only_where_it_is_not_the_processes_first() -> None:
    text = blocks(seeds_failure(client=Task("nginx", 20), server=Task("uwsgi", 815, 817)))
    assert "  thread                                       uwsgi[817]\n" in text
    assert "thread" not in blocks(seeds_failure(client=Task("nginx", 20), server=Task("uwsgi", 815)))


def test_an_alert_that_is_harmless_says_so_and_is_not_red() -> None:
    story = polling(1)
    story.server.release()
    story.client.write(5, error=errno.EPIPE)
    story.client.release()
    (text,) = shown(story, lambda alert: alert_block(alert, CLOCKS, width=80, paint=terminal.colour), harmless=True)
    assert "reused  harmless  broken write  " in text
    assert text.startswith("\x1b[1;33m")
    assert shown(story, lambda alert: alert) == []
