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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import Shown
from hangup.cli.reporters.losses import losses_text
from hangup.cli.service.limit import HeldBack
from hangup.cli.terminal import UNFOLDED_WIDTH
from hangup.tracer.errors import HangupError
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


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an alert's entry: its name and what it holds."""

    name: str
    meaning: str
    value: Callable[[Shown], object]


def _attribute(role: str, attribute: str) -> Callable[[Shown], object]:
    # A holder that was seen doing nothing has no user id, and a failed connect no server.
    return lambda shown: getattr(getattr(shown.alert, role), attribute, None)


def _fields_of_end(role: str) -> tuple[Field, ...]:
    attributes = (
        ("comm", "name, escaped"),
        ("pid", "process id, as the host has it"),
        ("inner_pid", "process id in its own pid namespace: in a container another one than outside"),
        ("uid", "user id, at the time of its last read or write"),
        ("unit", "systemd unit"),
        ("container", "container: its name, or the beginning of its id"),
    )
    upper = role.upper()
    return tuple(
        Field(
            f"HANGUP_{upper}_{attribute.upper()}",
            f"the {role}'s {meaning}",
            _attribute(role, attribute),
        )
        for attribute, meaning in attributes
    )


def _figure(name: str) -> Callable[[Shown], object]:
    return lambda shown: getattr(shown.alert.verdict.figures, name)


def _object_pid(shown: Shown) -> int | None:
    """Return who is to blame or to ask, see `Alert.culprit`."""
    culprit = shown.alert.culprit
    return culprit.pid if culprit else None


def _errno(shown: Shown) -> int | None:
    failed = shown.alert.failed
    return -failed.result if failed and failed.result < 0 else None


FIELDS: tuple[Field, ...] = (
    Field("MESSAGE", "the verdict in words", lambda shown: shown.alert.verdict.sentence),
    Field("MESSAGE_ID", f"`{ALERT_ID}`: it is an alert", lambda _: ALERT_ID),
    Field(
        "PRIORITY",
        "4 (warning); 5 (notice) of an uncertain verdict",
        lambda shown: WARNING if shown.alert.verdict.certain else NOTICE,
    ),
    Field("ERRNO", "what the failed operation failed with, as a number: 32 is EPIPE", _errno),
    Field(
        "OBJECT_PID",
        "the process at the other end, of `own-shutdown` the one that called shutdown(2): the journal adds its unit, "
        "so that it finds this too",
        _object_pid,
    ),
    Field(
        "HANGUP_VERDICT", "the verdict; docs/verdicts.md explains each", lambda shown: shown.alert.verdict.kind.label
    ),
    Field(
        "HANGUP_DOUBTS",
        "why the verdict may be wrong; missing: it is certain",
        lambda shown: "; ".join(shown.alert.verdict.doubts) or None,
    ),
    Field("HANGUP_PATH", "the listener's path, escaped, an abstract name as `@name`", lambda shown: shown.alert.path),
    Field(
        "HANGUP_SYMPTOM",
        "how it showed: `broken write`, `cut read` and the like",
        lambda shown: shown.alert.verdict.symptom.value,
    ),
    Field("HANGUP_SURVIVOR", "`client` or `server`: who was hurt", lambda shown: shown.alert.verdict.victim),
    Field("HANGUP_ADVICE", "what to do about it", lambda shown: shown.alert.verdict.kind.advice),
    *_fields_of_end("client"),
    *_fields_of_end("server"),
    Field("HANGUP_SENT_BYTES", "what the process that was hurt had written in its last turn", _figure("sent_bytes")),
    Field("HANGUP_READ_BYTES", "what the other had read of that", _figure("read_bytes")),
    Field("HANGUP_UNREAD_BYTES", "what the other left unread when it went", _figure("unread_bytes")),
    Field("HANGUP_ANSWERED_BYTES", "what the other had answered to it", _figure("answered_bytes")),
    Field(
        "HANGUP_LOST_BYTES",
        "how much of what it had been sent it never read",
        lambda shown: shown.alert.verdict.consequence.lost_bytes,
    ),
    Field("HANGUP_FAILED_BYTES", "what the broken write was to send", _figure("failed_bytes")),
    Field("HANGUP_GAP_NS", "from the hang-up to the failure, in ns", _figure("gap")),
    Field(
        "HANGUP_MONOTONIC_NS",
        "when it happened, in ns of CLOCK_MONOTONIC; the entry's own time is when it was written",
        lambda shown: shown.alert.when,
    ),
    Field(
        "HANGUP_STORY",
        "both ends' operations, as `hangup watch` shows them",
        lambda shown: alert_block(shown.alert, shown.offset, width=UNFOLDED_WIDTH).rstrip("\n"),
    ),
)


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

    def alert(self, alert: Alert, offset: int) -> None:
        """Send an alert; offset: what makes a wall-clock time of its times, in ns."""
        shown = Shown(alert, offset)
        self._send({field.name: field.value(shown) for field in FIELDS})

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
