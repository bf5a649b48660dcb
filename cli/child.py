"""The command of `hangup watch -- COMMAND`: run as the user who called sudo, in the foreground, as if typed there."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hangup.cli.exit_status import ExitStatus
from hangup.tracer.errors import HangupError


class CommandNotStartedError(HangupError):
    """The command could not be started; the status is the one a shell gives then."""

    def __init__(self, name: str, error: OSError) -> None:
        found = not isinstance(error, FileNotFoundError)
        printable = "".join(character for character in name if character.isprintable())
        super().__init__(f"cannot run {printable}", error.strerror or str(error))
        self.exit_status = ExitStatus.COMMAND_NOT_RUN if found else ExitStatus.COMMAND_NOT_FOUND


@dataclass(frozen=True)
class User:
    """Whom the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


def invoking_user(environment: Mapping[str, str]) -> User | None:
    """Return the user who called sudo, with all groups; None if this is not root by sudo."""
    if os.geteuid() != 0:
        return None
    try:
        uid, gid = int(environment["SUDO_UID"]), int(environment["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if uid == 0:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        # A user of a container, say, who is in no list: the number is all there is.
        return User(uid, gid, (gid,), environment.get("SUDO_USER", str(uid)), "/")
    return User(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)), entry.pw_name, entry.pw_dir)


def environment_for(user: User, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it is, with HOME, USER and LOGNAME of the user where sudo has set root's."""
    changed = dict(environment)
    try:
        root = pwd.getpwuid(0)
        roots = {"HOME": root.pw_dir, "USER": root.pw_name, "LOGNAME": root.pw_name}
    except KeyError:
        roots = {"HOME": "/root", "USER": "root", "LOGNAME": "root"}
    for name, own in (("HOME", user.home), ("USER", user.name), ("LOGNAME", user.name)):
        if changed.get(name) == roots[name]:
            changed[name] = own
    return changed


class Child:
    """The running command."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it. Raises CommandNotStartedError."""
        identity: dict[str, Any] = {}
        user = invoking_user(os.environ)
        if user:
            identity = {
                "user": user.uid,
                "group": user.gid,
                "extra_groups": user.groups,
                "env": environment_for(user, os.environ),
            }
        try:
            self._process = subprocess.Popen(command, **identity)
        except OSError as error:
            raise CommandNotStartedError(command[0], error) from None

    @property
    def status(self) -> int | None:
        """How it ended, as a shell has it (128 + n for signal n); None while it runs."""
        status = self._process.poll()
        return 128 - status if status is not None and status < 0 else status

    def send(self, number: int) -> None:
        """Pass a signal on."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Ask it to end, and wait for that."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def sent_by_terminal() -> bool:
    """Whether a SIGINT of now is likely the terminal's, which the command has got as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
