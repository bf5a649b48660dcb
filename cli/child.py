"""The COMMAND of `watch` and `trace`: run as the user who called sudo, in the foreground, as if typed there."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hangup.cli.exit_status import ExitStatus
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path


class CommandNotStartedError(HangupError):
    """The command could not be started; the status is the one a shell gives then."""

    def __init__(self, name: str, error: OSError) -> None:
        found = not isinstance(error, FileNotFoundError)
        super().__init__(f"cannot run {shown_path(name)}", error.strerror or str(error))
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


def owner_of_files() -> tuple[int, int] | None:
    """Return whose it is that is written, uid and gid: of who called sudo; None: it is ours.

    Who reads it needs no root, and has seen by root's leave what is in it.
    """
    user = invoking_user(os.environ)
    return (user.uid, user.gid) if user else None


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


def look_up(name: str) -> None:
    """See that a command is there and can be run by the user who will run it, before anything else is done for it.

    Raises CommandNotStartedError. What only execve(2) finds out (a file of no known format) shows when it is started.
    """
    user = invoking_user(os.environ)
    number = _what_is_wrong(name) if user is None else _asked_as(user, name)
    if number:
        raise CommandNotStartedError(name, OSError(number, os.strerror(number)))


def _what_is_wrong(name: str) -> int:
    """Return the errno with which the command cannot be run; 0: it can. It is looked for as execvp(3) does."""
    if not name:
        return errno.ENOENT
    wrong = errno.ENOENT
    for candidate in [name] if "/" in name else [os.path.join(folder, name) for folder in os.get_exec_path()]:  # noqa: PTH118
        try:
            regular = stat.S_ISREG(os.stat(candidate).st_mode)  # noqa: PTH116 - "./name" is not "name" here
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                wrong = error.errno or wrong
            continue
        if regular and os.access(candidate, os.X_OK):
            return 0
        wrong = errno.EACCES
    return wrong


def _asked_as(user: User, name: str) -> int:
    """Return what is wrong as that user sees it: root reads everywhere, but it is not root who runs it."""
    child = os.fork()
    if child == 0:
        number = errno.EPERM
        try:
            os.setgroups(user.groups)
            os.setgid(user.gid)
            os.setuid(user.uid)
            number = _what_is_wrong(name)
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
        # Only with a COMMAND; most starts have none.
        import subprocess  # noqa: PLC0415

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
