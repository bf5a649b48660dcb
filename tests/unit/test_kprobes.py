"""Return probes of tracefs: whose process is gone is taken away, whoever's they were else stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from hangup.tracer.kernel import kprobes

EVENTS = """\
r4096:kprobes/hangup_unix_accept_return_1_77 unix_accept
r4096:kprobes/hangup_unix_stream_recvmsg_isra_0_return_1_bcc_77 unix_stream_recvmsg.isra.0
r4096:kprobes/hangup_unix_accept_return_1_78 unix_accept
p:kprobes/hangup_unix_accept_return_1_77 unix_accept
r16:kprobes/somebodys_77 unix_accept
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a /proc in which 78 lives."""
    (tmp_path / "proc" / "78").mkdir(parents=True)
    return tmp_path / "proc"


def test_probes_of_the_dead_are_removed_and_no_others(tmp_path: Path, proc: Path) -> None:
    events = tmp_path / "kprobe_events"
    events.write_text(EVENTS)
    gone = ["hangup_unix_accept_return_1_77", "hangup_unix_stream_recvmsg_isra_0_return_1_bcc_77"]
    # Where tracefs is not mounted, the place is empty.
    assert kprobes.remove_leftovers((tmp_path / "empty", tmp_path), proc) == gone
    assert events.read_text() == EVENTS + "".join(f"-:kprobes/{name}\n" for name in gone)


def test_without_tracefs_nothing_is_left_over(tmp_path: Path, proc: Path) -> None:
    assert kprobes.remove_leftovers((tmp_path,), proc) == []
