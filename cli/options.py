"""Options that several verbs share, so that they mean the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hangup.cli.ready import Ready
from hangup.cli.users import uid_of
from hangup.tracer.selection import Selection

if TYPE_CHECKING:
    from hangup.cli.service.settings import Key


def _uids(ctx: click.Context, param: click.Parameter, users: tuple[str, ...]) -> tuple[int, ...]:
    try:
        return tuple(map(uid_of, users))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _cgroups(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if "" in names:
        raise click.BadParameter("an empty name is no cgroup's; / is the one that all are below", ctx, param)
    return names


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --pid, --uid, --cgroup, --comm, --path and what is ignored; the verb gets them as one `selection`."""

    @click.option(
        "--pid",
        "pids",
        # PID_MAX_LIMIT, include/linux/threads.h
        type=click.IntRange(1, 1 << 22),
        multiple=True,
        metavar="PID",
        help="Only this process, at either end.",
    )
    @click.option(
        "--uid",
        "uids",
        callback=_uids,
        multiple=True,
        metavar="USER",
        help="Only processes of this user, a name or a number, at either end.",
    )
    @click.option(
        "--cgroup",
        "cgroups",
        callback=_cgroups,
        multiple=True,
        metavar="CGROUP",
        help="Only processes in this cgroup or below it, at either end: a path below /sys/fs/cgroup, or a unit.",
    )
    @click.option("--comm", "comms", multiple=True, metavar="GLOB", help="Only processes of this name, at either end.")
    @click.option(
        "--path",
        "paths",
        multiple=True,
        metavar="GLOB",
        help="Only connections to this socket path; abstract names are written @name.",
    )
    @click.option(
        "--ignore-comm",
        "ignored_comms",
        multiple=True,
        metavar="GLOB",
        help="Not connections with a process of this name at either end.",
    )
    @click.option(
        "--ignore-path", "ignored_paths", multiple=True, metavar="GLOB", help="Not connections to this socket path."
    )
    @wraps(function)
    def with_selection(
        *args: Any,
        pids: tuple[int, ...],
        uids: tuple[int, ...],
        cgroups: tuple[str, ...],
        comms: tuple[str, ...],
        paths: tuple[str, ...],
        ignored_comms: tuple[str, ...],
        ignored_paths: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        selection = Selection(frozenset(pids), comms, paths, ignored_comms, ignored_paths, frozenset(uids), cgroups)
        return function(*args, selection=selection, **rest)

    return with_selection


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines; docs/json.md names the fields.")

addresses_option = click.option("--addresses", is_flag=True, help="Show the kernel's addresses of sockets, too.")


def key_option(key: Key) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of a key of the service's configuration; it is None, or empty, where it is not given."""
    default = ", ".join(key.default) if key.type.many else str(key.default)
    text = key.meaning if key.type.flag or not default else f"{key.meaning}  [default: {default}]"

    def read(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is None or value == ():
            return None
        try:
            return key.type.read(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    if key.type.flag:
        declared = f"{key.flag}/--no-{key.flag.removeprefix('--')}"
        return click.option(declared, key.name, default=None, help=text, callback=read)
    return click.option(key.flag, key.name, metavar=key.type.metavar, multiple=key.type.many, help=text, callback=read)


# Longer than anything runs, and short enough for every clock.
_LONGEST = 100 * 366 * 86400.0


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a time: a number of seconds, or one with its unit (30s, 5m, 1.5h)."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh]?)", value.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise click.BadParameter(f"{value!r} is not a time; write it like 10, 1.5, 30s, 5m or 1h", ctx, param)
    return seconds


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --probes, --duration, --ready-file and --ready-fd; the verb gets the last two as one `ready`."""

    @click.option(
        "--probes",
        type=click.Choice(["auto", "kprobe", "fentry"]),
        default="auto",
        show_default=True,
        help="How to attach: auto takes fentry where it misses nothing, and says so.",
    )
    @click.option("--duration", callback=_seconds, metavar="TIME", help="End after so long: 10, 1.5, 30s, 5m, 1h.")
    @click.option(
        "--ready-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write the pid and the kind of probes to FILE once they are attached.",
    )
    @click.option(
        "--ready-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="Write the same to descriptor N, and close it.",
    )
    @wraps(function)
    def with_ready(*args: Any, ready_file: Path | None, ready_fd: int | None, **rest: Any) -> Any:
        return function(*args, ready=Ready(ready_file, ready_fd), **rest)

    return with_ready
