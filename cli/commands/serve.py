"""`hangup serve`: watches for good, as a systemd service, and tells the journal, a file and Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from hangup.cli.options import FILE, key_option, value_of
from hangup.cli.output import note
from hangup.cli.reporters.filter_text import explained
from hangup.cli.service import configuration
from hangup.cli.service.privileges import give_up
from hangup.cli.service.service import Service, Signals, filter_of_settings, verdicts_of, wants_latent
from hangup.cli.service.settings import Settings, keys
from hangup.cli.service.systemd import Systemd, notifier, watchdog_seconds
from hangup.cli.sinks.metrics import Metrics, MetricsServer, Snapshot
from hangup.tracer.escape import shown_path
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.statistics import Statistics
from hangup.tracer.tracer import Tracer


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every key of the configuration; the verb gets those that are given as `flags`."""

    def with_flags(*args: Any, **given: Any) -> Any:
        flags = {key.name: given.pop(key.name) for key in keys()}
        return function(*args, flags={name: value for name, value in flags.items() if value is not None}, **given)

    with_flags.__doc__ = function.__doc__
    for key in reversed(keys()):
        with_flags = key_option(key)(with_flags)
    return with_flags


_FILTER = next(key for key in keys() if key.name == "filter")


@click.command("serve")
@click.option(
    "--config",
    type=FILE,
    metavar="FILE",
    help=f"Read this configuration instead of {configuration.DEFAULT}.",
)
@click.option("--check", is_flag=True, help="Say whether the configuration is right, and what is in force; do nothing.")
@click.option("--explain-filter", is_flag=True, help="Say what of the filter the kernel decides; do nothing.")
@click.argument("filter_text", metavar="[FILTER]", required=False, callback=value_of(_FILTER))
@settings_options
def command(
    *, config: Path | None, check: bool, explain_filter: bool, flags: dict[str, Any], filter_text: str | None
) -> None:
    """Watch for good, as a systemd service.

    Reads /etc/hangup/hangup.toml, of which every key is also an option here; an option goes before the file. Alerts go
    to the systemd journal with structured fields, and to a file of JSON Lines if one is named; Prometheus finds the
    counts. Of many alerts of one kind the first ones are reported in full, then how many more there were. FILTER is the
    same as -f; where both are given, both have to hold.

    SIGHUP has it read the configuration again without losing probes or counts; a mistake in it is reported, and
    everything stays as it was. SIGTERM ends it.
    """
    texts = [text for text in (flags.get("filter"), filter_text) if text]
    if texts:
        flags["filter"] = " and ".join(f"({text})" for text in texts) if texts[1:] else texts[0]
    read = partial(configuration.load, config, flags)
    settings = read()
    if check:
        click.echo(in_force(settings))
        return
    wanted = filter_of_settings(settings)
    if explain_filter:
        click.echo(explained(wanted, is_live=True))
        return
    tell = notifier()
    with (
        Signals() as signals,
        Tracer(
            selection=wanted.selection,
            only=wanted.rest,
            probes=settings.probes,
            stream=settings.stream,
            history=settings.history,
            latent=wants_latent(settings),
            verdicts=verdicts_of(settings),
            # It runs for good: paths that are made up for one run must not use up the rows.
            statistics=Statistics(pattern=path_pattern),
        ) as tracer,
    ):
        # What is opened from here on is opened with no more rights than it will have when it is opened again.
        give_up()

        def open_metrics(snapshot: Callable[[], Snapshot]) -> Callable[[str], MetricsServer]:
            metrics = Metrics(snapshot, series=settings.metrics_series)
            return lambda listen: MetricsServer(listen, metrics)

        service = Service(
            tracer, settings, read=read, systemd=Systemd(tell, watchdog_seconds()), open_metrics=open_metrics
        )
        note(f"watching with {tracer.flavour} ({len(tracer.functions)} functions); {destinations(settings)}")
        service.run(signals)
    note("ended")


def destinations(settings: Settings) -> str:
    """Say where alerts and counts go."""
    file, metrics = shown_path(settings.file), shown_path(settings.metrics)
    alerts = [name for name, wanted in (("the journal", settings.journal), (file, file)) if wanted]
    to = f"alerts go to {' and '.join(alerts)}" if alerts else "alerts are only counted"
    return f"{to}; metrics at {metrics}" if metrics else f"{to}; no metrics"


def in_force(settings: Settings) -> str:
    """Return the settings as a configuration file, defaults included."""
    values = asdict(settings)
    lines: list[str] = []
    table = ""
    for key in keys():
        if key.table != table:
            table = key.table
            lines += ["", f"[{table}]"] if lines else [f"[{table}]"]
        lines.append(f"{key.name} = {toml(values[key.name])}")
    return "\n".join(lines)


def toml(value: object) -> str:
    """Return a value of the settings as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
