"""Options that several verbs share, so that they mean the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hangup.cli.ready import Ready
from hangup.cli.reporters.filter_text import explained
from hangup.cli.users import uid_of
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.errors import FilterError
from hangup.tracer.filter.fields import BY_NAME
from hangup.tracer.filter.filter import filter_of, shorthand, understood

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


# What a filter begins with, and no program's name: a field, then what is asked of it.
_FILTER = re.compile(
    r"[\s(]*(?:not[\s(]+)*(?P<field>[a-z][a-z0-9_.]*)"
    r"(?P<asked>\s*(?:[=<>]|!=|\s(?:in|pmatch|contains|icontains|startswith|endswith|glob|exists)\b))?"
)


def is_filter(text: str) -> bool:
    """Whether a word is a filter, right or wrong, and no program's name."""
    found = _FILTER.match(text)
    if found is None:
        return False
    # A program may well be called as the fields that are one word.
    return found["asked"] is not None or ("." in found["field"] and found["field"] in BY_NAME)


_filter_option = click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="FILTER",
    help="Only what passes this filter, as in sysdig; `hangup fields` lists what it can ask for.",
)

# Each with the field that it asks for.
_WRITTEN_SHORTER = (
    (
        "conn.pid",
        click.option(
            "--pid",
            "pids",
            # PID_MAX_LIMIT, include/linux/threads.h
            type=click.IntRange(1, 1 << 22),
            multiple=True,
            metavar="PID",
            help="Only this process, at either end.",
        ),
    ),
    (
        "conn.uid",
        click.option(
            "--uid",
            "uids",
            callback=_uids,
            multiple=True,
            metavar="USER",
            help="Only processes of this real user (getuid(2)), a name or a number, at either end.",
        ),
    ),
    (
        "conn.cgroup",
        click.option(
            "--cgroup",
            "cgroups",
            callback=_cgroups,
            multiple=True,
            metavar="CGROUP",
            help="Only processes in this cgroup or below it, at either end: a path below /sys/fs/cgroup, or a unit.",
        ),
    ),
    (
        "conn.comm",
        click.option(
            "--comm", "comms", multiple=True, metavar="GLOB", help="Only processes of this name, at either end."
        ),
    ),
    (
        "conn.path",
        click.option(
            "--path",
            "paths",
            multiple=True,
            metavar="GLOB",
            help="Only connections to this socket path; abstract names are written @name.",
        ),
    ),
    (
        "conn.comm",
        click.option(
            "--ignore-comm",
            "ignored_comms",
            multiple=True,
            metavar="GLOB",
            help="Not connections with a process of this name at either end.",
        ),
    ),
    (
        "conn.path",
        click.option(
            "--ignore-path", "ignored_paths", multiple=True, metavar="GLOB", help="Not connections to this socket path."
        ),
    ),
)

_explain_option = click.option(
    "--explain-filter", is_flag=True, help="Say what of the filter the kernel decides; do nothing."
)


def filter_options(subject: Subject) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add -f, the filters that are written shorter (--pid and so on) and --explain-filter; the verb gets `wanted`.

    subject: what filters are asked about. The verb's arguments `filter_text` and `connections` are filters, too.
    """

    def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_filter(*args: Any, filters: tuple[str, ...], explain_filter: bool, **rest: Any) -> Any:
            texts = [*filters, *[text for text in [rest.pop("filter_text", None)] if text is not None]]
            try:
                trees = [understood(text, subject) for text in texts]
                wanted = filter_of(
                    [*trees, *shorthand(**{name: rest.pop(name) for name in _SHORTHAND if name in rest})], subject
                )
            except FilterError as error:
                raise click.BadParameter(error.pointed, click.get_current_context(), param_hint="FILTER") from None
            if explain_filter:
                click.echo(explained(wanted, is_live=not rest.get("read")))
                return None
            return function(*args, wanted=wanted, **rest)

        options = [_filter_option, *[option for field, option in _WRITTEN_SHORTER if subject.has(BY_NAME[field])]]
        made: Callable[..., Any] = with_filter
        for option in reversed([*options, _explain_option]):
            made = option(made)
        return made

    return with_options


_SHORTHAND = ("pids", "uids", "cgroups", "comms", "paths", "ignored_comms", "ignored_paths", "connections")


FILE = click.Path(path_type=Path, readable=False)
"""A file by its name: whoever opens it says in one line what is wrong with that, and what to do."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines; docs/json.md names the fields.")

addresses_option = click.option("--addresses", is_flag=True, help="Show the kernel's addresses of sockets, too.")


def value_of(key: Key) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return what reads the value that is given for a key of the service's configuration; None where none is."""

    def read(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is None or value == ():
            return None
        try:
            return key.type.read(value)
        except FilterError as error:
            raise click.BadParameter(error.pointed, ctx, param) from None
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return read


def key_option(key: Key) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of a key of the service's configuration; it is None, or empty, where it is not given."""
    default = ", ".join(key.default) if key.type.many else str(key.default)
    text = key.meaning if key.type.flag or not default else f"{key.meaning}  [default: {default}]"

    if key.type.flag:
        declared = f"{key.flag}/--no-{key.flag.removeprefix('--')}"
        return click.option(declared, key.name, default=None, help=text, callback=value_of(key))
    names = ("-f", key.flag) if key.name == "filter" else (key.flag,)
    return click.option(
        *names, key.name, metavar=key.type.metavar, multiple=key.type.many, help=text, callback=value_of(key)
    )


# Longer than anything runs, and short enough for every clock.
_LONGEST = 100 * 366 * 86400.0


def seconds_of(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
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
    @click.option("--duration", callback=seconds_of, metavar="TIME", help="End after so long: 10, 1.5, 30s, 5m, 1h.")
    @click.option(
        "--ready-file",
        type=FILE,
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
