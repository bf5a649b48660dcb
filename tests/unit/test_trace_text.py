"""`hangup trace` prints one line an operation: who, what, which connection, and with whom, in 80 columns."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from hangup.cli.reporters.operation import operation_rows, operation_text
from hangup.cli.terminal import UNFOLDED_WIDTH
from hangup.tracer.fields import CALL
from hangup.tracer.record.layout import EventFlag
from hangup.tracer.story.operation import NOT_KEPT, syscall_of
from hangup.tracer.story.places import Placed
from hangup.tracer.story.story import Moment
from hangup.tracer.tracer import Tracer
from tests.stories import CLIENT_SOCK, SERVER_SOCK, Story, Task, established, seeds_failure
from tests.unit.playback import CLOCKS, Playback
from tests.unit.snapshots import check

pytestmark = pytest.mark.usefixtures("utc")


def rows(*stories: Story, width: int = 80, addresses: bool = False) -> list[str]:
    lines: list[str] = []
    rows_of = operation_rows(addresses=addresses)

    def show(placed: Sequence[Placed]) -> None:
        lines.extend(rows_of(placed, CLOCKS, width))

    source = Playback(event for story in stories for event in story.events)
    with Tracer(source=source, on_places=show) as tracer:
        for _ in tracer.alerts():
            pass
    return lines


def test_where_the_system_call_was_not_kept_the_operation_s_family_takes_its_place() -> None:
    kept = seeds_failure().events
    events = [event._replace(syscall=NOT_KEPT, descriptor=-1) for event in kept]
    texts = [operation_text(event) for event in events]
    assert texts[:4] == ["connect", "accept", "write 16", "read 16"]
    assert texts[-2] == "write 8: EPIPE"
    assert syscall_of(events[0]) is None
    # -1: there was none, which is something else.
    assert operation_text(kept[2]._replace(syscall=-1, descriptor=-1)) == "kernel (write) 16"


@pytest.mark.parametrize("syscall", [230, 3, 426])
def test_who_is_killed_in_the_middle_of_a_system_call_has_released_its_socket_by_its_exit(syscall: int) -> None:
    story = established()
    # clock_nanosleep(2); close(2) of another descriptor; io_uring_enter(2), which the kernel side flags.
    flags = EventFlag.EXITING | (EventFlag.IO_URING if syscall == 426 else 0)
    released = story.server.release(killed_by=9, syscall=syscall, descriptor=12, flags=int(flags))
    in_json = {field.name: field.get(Moment(released.end, "server", released)) for field in CALL}
    assert (in_json["syscall"], in_json["descriptor"]) == ("exit", None)
    assert operation_text(released) == "killed by SIGKILL"
    assert "  killed by SIGKILL #1  " in rows(story)[-1]
    exited = released._replace(syscall=231, exit_code=0, flags=int(EventFlag.EXITING))
    assert (syscall_of(exited), operation_text(exited)) == ("exit_group", "exit with 0")


def several() -> list[Story]:
    """Return the classic failure, a refused connect, a socketpair, and names and paths as long as they get."""
    refused = Story(path="/run/gone.s", client=Task("nginx", 206), start=2_000_000_000)
    refused.connect(error=errno.ECONNREFUSED)
    pair = Story(client=Task("sshd", 812), server=Task("sshd", 813), start=3_000_000_000)
    pair.socketpair()
    pair.client.write(64)
    pair.server.read(64)
    pair.client.release(exit_status=0)
    pair.server.release()
    long = established(
        path="/run/user/1000/systemd/" + "x" * 60,
        client=Task("systemd-journal", 2_345_678, 2_345_680),
        server=Task("dbus-daemon", 2_345_679),
        start=4_000_000_000,
    )
    long.client.write(4_194_304, result=219_264)
    long.server.read(4096)
    long.server.release()
    long.client.release()
    return [seeds_failure(), refused, pair, long]


def test_an_operation_is_a_line_of_80_columns() -> None:
    lines = rows(*several())
    check("trace", "\n".join([*lines, ""]))
    too_long = [line for line in lines if len(line) > 80]
    # Only a path is worth a longer line, where its connection begins.
    assert [line.split()[2].split("(")[0] for line in too_long] == ["connect", "accept4"]
    assert all(line.endswith("x" * 60) for line in too_long)


def test_a_pipe_gets_number_peer_and_path_with_every_operation_of_a_connection() -> None:
    lines = rows(seeds_failure(), width=UNFOLDED_WIDTH)
    check("trace-pipe", "\n".join([*lines, ""]))
    assert all(line.endswith(" /tmp/helloFastCGI.s") for line in lines)
    number = lines[0].split("#")[1].split()[0]
    assert all(f" #{number} " in line for line in lines)


def test_the_lines_of_two_connections_that_had_the_same_addresses_are_told_apart_by_their_numbers() -> None:
    second = established(start=2_000_000_000)
    second.server.release()
    second.client.release()
    numbers = [line.split("#")[1].split()[0] for line in rows(seeds_failure(), second)]
    assert len(set(numbers)) == 2
    assert numbers == sorted(numbers)


def test_addresses_of_the_kernel_are_shown_only_if_asked_for() -> None:
    address = f"{CLIENT_SOCK:016x}"
    assert not any(address in line for line in rows(*several(), width=UNFOLDED_WIDTH))
    lines = rows(seeds_failure(), addresses=True)
    assert f" {CLIENT_SOCK:016x}->{SERVER_SOCK:016x}" in lines[0]
    assert all(address in line for line in lines)
