"""Options that several verbs share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from tracer.selection import Selection


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --pid, --comm and --path; the verb gets them as one `selection`."""

    @click.option(
        "--pid",
        "pids",
        type=click.IntRange(min=1),
        multiple=True,
        metavar="PID",
        help="Only this process, at either end.",
    )
    @click.option("--comm", "comms", multiple=True, metavar="GLOB", help="Only processes of this name, at either end.")
    @click.option(
        "--path",
        "paths",
        multiple=True,
        metavar="GLOB",
        help="Only connections to this socket path; abstract names are written @name.",
    )
    @wraps(function)
    def with_selection(
        *args: Any, pids: tuple[int, ...], comms: tuple[str, ...], paths: tuple[str, ...], **rest: Any
    ) -> Any:
        return function(*args, selection=Selection(frozenset(pids), comms, paths), **rest)

    return with_selection


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines; docs/json.md names the fields.")
