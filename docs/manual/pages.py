"""The pages of the manual: one for the command, one for each verb, one for the configuration file."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import click

from docs.manual import roff
from docs.manual.roff import Page
from hangup.cli.commands.serve import toml
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import VERBS, hangup
from hangup.cli.service import configuration
from hangup.cli.service.settings import tables
from hangup.tracer.version import VERSION


def texts() -> dict[str, Any]:
    """Return what the command does not say itself; texts.toml describes its tables."""
    content: dict[str, Any] = tomllib.loads(files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
    return content


def pages(date: str) -> dict[str, str]:
    """Return all pages by their file names; `date` stands at the foot of each."""
    told = texts()
    found = {"hangup.1": _command_page(told, date)}
    for verb in VERBS:
        found[f"hangup-{verb}.1"] = _verb_page(verb, told, date)
    found["hangup.toml.5"] = _configuration_page(told, date)
    return found


def _command_page(told: Mapping[str, Any], date: str) -> str:
    page = Page("hangup", 1, date=date, version=VERSION)
    page.name("hangup", told["hangup"]["name"])
    page.synopsis("hangup", "[OPTIONS] COMMAND [ARGS ...]")
    page.heading("DESCRIPTION")
    page.paragraphs(told["hangup"]["description"])
    page.heading("COMMANDS")
    for verb, meaning in VERBS.items():
        page.definition(f"\\fBhangup {verb}\\fR", f"{meaning} See `hangup-{verb}`(1).")
    context = click.Context(hangup, info_name="hangup", **hangup.context_settings)
    _options(page, hangup, context)
    page.heading("EXIT STATUS")
    _statuses(page, ExitStatus)
    _environment(page, told, None)
    _files(page, told, None)
    page.heading("OVERHEAD")
    page.paragraphs(told["overhead"]["tracing"])
    _examples(page, told["hangup"])
    _see_also(page, [*(f"hangup-{verb}(1)" for verb in VERBS), *told["hangup"]["see_also"]])
    return page.text()


def _verb_page(verb: str, told: Mapping[str, Any], date: str) -> str:
    parent = click.Context(hangup, info_name="hangup", **hangup.context_settings)
    command = hangup.get_command(parent, verb)
    assert command is not None
    # A verb inherits what the group says about --help, as when it is really called.
    context = click.Context(command, info_name=verb, parent=parent, **command.context_settings)
    of_verb = told["verb"][verb]
    page = Page(f"hangup-{verb}", 1, date=date, version=VERSION)
    line = VERBS[verb].rstrip(".")
    page.name(f"hangup-{verb}", line[0].lower() + line[1:])
    page.synopsis(f"hangup {verb}", " ".join(command.collect_usage_pieces(context)))
    page.heading("DESCRIPTION")
    page.paragraphs(inspect.cleandoc(command.help or ""))
    _options(page, command, context)
    page.heading("EXIT STATUS")
    _statuses(page, [ExitStatus[name] for name in of_verb["exit"]])
    _environment(page, told, verb)
    _files(page, told, verb)
    page.heading("OVERHEAD")
    page.paragraphs(of_verb["overhead"])
    if of_verb["tracing"]:
        page.paragraphs(told["overhead"]["tracing"])
    _examples(page, of_verb)
    _see_also(page, ["hangup(1)", *of_verb["see_also"]])
    return page.text()


def _configuration_page(told: Mapping[str, Any], date: str) -> str:
    page = Page("hangup.toml", 5, date=date, version=VERSION)
    page.name("hangup.toml", told["configuration"]["name"])
    page.heading("SYNOPSIS")
    page.paragraphs(str(configuration.DEFAULT))
    page.heading("DESCRIPTION")
    page.paragraphs(told["configuration"]["description"])
    page.heading("KEYS")
    for table, of_table in tables().items():
        page.subheading(f"[{table}]")
        for key in of_table:
            meaning = f"{key.meaning} Default: `{toml(key.default)}`; as an option `{key.flag}`."
            if key.restart:
                meaning += " A change takes effect when the service is started again."
            page.definition(f"\\fB{roff.escape(key.name)}\\fR = \\fI{roff.escape(key.type.name)}\\fR", meaning)
    _files(page, told, "configuration")
    page.heading("EXAMPLES")
    page.paragraphs(told["configuration"]["example"])
    _see_also(page, ["hangup-serve(1)", "hangup(1)", "systemd.unit(5)"])
    return page.text()


def _options(page: Page, command: click.Command, context: click.Context) -> None:
    page.heading("OPTIONS")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        # An argument stands in the synopsis, and the description says what it is for.
        if record is not None and isinstance(parameter, click.Option):
            names, meaning = record
            page.definition(roff.term(names), meaning)


def _statuses(page: Page, statuses: Iterable[ExitStatus]) -> None:
    for status in statuses:
        page.definition(f"\\fB{status.value}\\fR", status.meaning[0].upper() + status.meaning[1:] + ".")


def _chosen(entries: Iterable[Mapping[str, Any]], verb: str | None) -> list[Mapping[str, Any]]:
    """Return the entries of a verb; those of the command itself are all."""
    return [entry for entry in entries if verb is None or verb in entry.get("verbs", [verb])]


def _environment(page: Page, told: Mapping[str, Any], verb: str | None) -> None:
    page.heading("ENVIRONMENT")
    for entry in _chosen(told["environment"], verb):
        page.definition(f"\\fB{roff.escape(entry['name'])}\\fR", entry["meaning"])


def _files(page: Page, told: Mapping[str, Any], verb: str | None) -> None:
    page.heading("FILES")
    for entry in _chosen(told["file"], verb):
        page.definition(f"\\fI{roff.escape(entry['name'])}\\fR", entry["meaning"])


def _examples(page: Page, of: Mapping[str, Any]) -> None:
    page.heading("EXAMPLES")
    for example in of["example"]:
        page.example(example["meaning"], example["command"])


def _see_also(page: Page, names: Iterable[str]) -> None:
    page.heading("SEE ALSO")
    written = []
    for name in names:
        title, section = name.rstrip(")").split("(")
        written.append(f"`{title}`({section})")
    page.paragraphs(", ".join(written))
