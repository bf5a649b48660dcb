"""Alerts in the systemd journal, with structured fields.

`journalctl -u hangup HANGUP_VERDICT=unread HANGUP_SERVER_COMM=uwsgi` finds them by any of `FIELDS`. With OBJECT_PID the
journal itself adds the unit of the process that hung up, so that `journalctl -u uwsgi` and `systemctl status uwsgi`
show the alert too.

The journal is spoken to in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram an entry) and not by way
of python3-systemd, whose send waits while a stalled journald does not read, with the interpreter's lock held: nothing
would be traced meanwhile. What the journal does not take at once is counted instead.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.losses import losses_text
from hangup.cli.service.limit import HeldBack
from hangup.cli.terminal import UNFOLDED_WIDTH
from hangup.tracer.clocks import Clocks
from hangup.tracer.errors import HangupError
from hangup.tracer.field import Field, inside, named, of_part
from hangup.tracer.fields import ADVICE, ALERT, CULPRIT_PID, ERRNO
from hangup.tracer.story.connection import Role
from hangup.tracer.tracer import Alert, Losses
from hangup.tracer.units import counted

SOCKET = Path("/run/systemd/journal/socket")

# systemd/hangup.catalog explains each to the readers of `journalctl -x`; a test compares.
ALERT_ID = "f4e6f4b27b2f4fcbb01d6f7ba58c14a2"
HELD_BACK_ID = "022bde4ab1b346a99f1af3a48644a306"
LOSSES_ID = "080d0e23cc994b20af713ded2694d775"

# syslog(3)
WARNING, NOTICE = 4, 5

# A longer one might not fit into the socket's buffer (net.core.wmem_max); the story is left out of it.
_LONGEST = 128 * 1024


class Shown(NamedTuple):
    """An alert, and what makes a wall-clock time of its times."""

    alert: Alert
    clocks: Clocks


def _called(name: str, field: Field[Alert], more: str = "") -> Field[Shown]:
    """Return a field of an alert as one of its entry; more: what is to be said of it there."""
    [called] = of_part([replace(field, name=name, meaning=field.meaning + more)], lambda shown: shown.alert)
    return called


def _own(*fields: Field[Alert]) -> tuple[Field[Shown], ...]:
    """Return fields of an alert under names of our own."""
    return tuple(_called(f"HANGUP_{field.name.upper()}", field) for field in fields)


def _joined(field: Field[Alert]) -> Field[Alert]:
    """Return a field of several texts as one of them all: an entry has none of several."""
    return replace(
        field, type="string", get=lambda alert: "; ".join(field.get(alert)) or None, absent="if it is certain"
    )


def _of_end(role: Role) -> tuple[Field[Shown], ...]:
    fields = inside(ALERT, role, "comm", "pid", "inner_pid", "uid", "unit", "container")
    return _own(
        *(replace(field, name=f"{role}_{field.name}", meaning=f"of the {role}: {field.meaning}") for field in fields)
    )


FIELDS: tuple[Field[Shown], ...] = (
    _called("MESSAGE", named(ALERT, "sentence")),
    Field("MESSAGE_ID", "string", f"`{ALERT_ID}`: it is an alert", lambda _: ALERT_ID),
    Field(
        "PRIORITY",
        "number",
        "4 (warning); 5 (notice) of an uncertain verdict",
        lambda shown: WARNING if shown.alert.verdict.certain else NOTICE,
    ),
    _called("ERRNO", ERRNO),
    _called("OBJECT_PID", CULPRIT_PID, ": the journal adds its unit, so that it finds this too"),
    *_own(named(ALERT, "verdict"), _joined(named(ALERT, "doubts")), named(ALERT, "path")),
    *_own(named(ALERT, "symptom"), named(ALERT, "survivor"), ADVICE),
    *_of_end("client"),
    *_of_end("server"),
    *_own(
        *inside(ALERT, "figures", "sent_bytes", "read_bytes", "unread_bytes", "answered_bytes"),
        *inside(ALERT, "consequence", "lost_bytes"),
        *inside(ALERT, "figures", "failed_bytes", "gap_ns"),
    ),
    _called("HANGUP_MONOTONIC_NS", named(ALERT, "monotonic_ns"), "; the entry's own time is when it was written"),
    Field(
        "HANGUP_STORY",
        "string",
        "both ends' operations, as `hangup watch` shows them",
        lambda shown: alert_block(shown.alert, shown.clocks, width=UNFOLDED_WIDTH).rstrip("\n"),
    ),
)
"""What the entry of an alert has."""


def entry(fields: Mapping[str, object]) -> bytes:
    """Return an entry as the journal's protocol has it; fields that are None are left out."""
    parts = []
    for name, value in fields.items():
        if value is None:
            continue
        data = str(value).encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class Journal:
    """Sends entries, and never waits."""

    name = "journal"

    def __init__(self, path: Path = SOCKET) -> None:
        """Open it. Raises HangupError if there is no journal."""
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        # As sd_journal_send(3) does: as much room as net.core.wmem_max and net.unix.max_dgram_qlen grant.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self.errors = 0
        """How many entries the journal did not take."""
        if not path.exists():
            self._socket.close()
            raise HangupError(
                f"there is no systemd journal here ({path} is missing)", "set sinks.journal = false, or --no-journal"
            )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def alert(self, alert: Alert, clocks: Clocks) -> None:
        """Send an alert; clocks: what makes wall-clock times of its times."""
        shown = Shown(alert, clocks)
        self._send({field.name: field.get(shown) for field in FIELDS})

    def held_back(self, held: HeldBack) -> None:
        """Say how many alerts were counted instead of sent."""
        kind = held.kind
        more = counted(held.count, "more alert", "more alerts")
        self._send(
            {
                "MESSAGE": f"held back {more}: {kind.client} to {kind.server}, {kind.verdict.label}, "
                f"in {held.seconds:.0f} s",
                "MESSAGE_ID": HELD_BACK_ID,
                "PRIORITY": WARNING,
                "HANGUP_VERDICT": kind.verdict.label,
                "HANGUP_CLIENT_COMM": kind.client,
                "HANGUP_SERVER_COMM": kind.server,
                "HANGUP_HELD_BACK": held.count,
                "HANGUP_SENT": held.sent,
            }
        )

    def losses(self, losses: Losses) -> None:
        """Say what was not seen so far."""
        causes = {f"HANGUP_LOST_{cause.upper()}": count for cause, count in losses.by_cause.items() if count}
        self._send({"MESSAGE": losses_text(losses), "MESSAGE_ID": LOSSES_ID, "PRIORITY": WARNING, **causes})

    def _send(self, fields: dict[str, object]) -> None:
        fields["SYSLOG_IDENTIFIER"] = "hangup"
        data = entry(fields)
        if len(data) > _LONGEST:
            fields.pop("HANGUP_STORY", None)
            data = entry(fields)
        try:
            self._socket.sendto(data, self._path)
        except OSError:
            # EAGAIN: journald does not read. ECONNREFUSED, ENOENT: it is being restarted. Neither is a reason to stop.
            self.errors += 1
