"""Options that say which verdicts are alerts: apart from the others, because they import what makes verdicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from hangup.tracer.verdicts import Kind


def verdict_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --latent, --harmless and --verdict: the verb gets whether, whether, and which `verdicts` alone are alerts."""

    @click.option(
        "--latent", is_flag=True, help="Show latent hang-ups as alerts, too: some 64 in a second, or all with --stream."
    )
    @click.option("--harmless", is_flag=True, help="Show failures that nobody misses anything by as alerts, too.")
    @click.option(
        "--verdict",
        "verdicts",
        type=click.Choice([kind.label for kind in Kind if kind.is_alert or kind is Kind.LATENT]),
        multiple=True,
        metavar="VERDICT",
        help="Only this verdict is an alert; `hangup explain` lists them. May be given several times.",
    )
    @wraps(function)
    def with_verdicts(*args: Any, latent: bool, verdicts: tuple[str, ...], **rest: Any) -> Any:
        wanted = frozenset(Kind.named(label) for label in verdicts)
        return function(*args, latent=latent or Kind.LATENT in wanted, verdicts=wanted, **rest)

    return with_verdicts
