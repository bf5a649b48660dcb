"""The manual says what the command says, of every verb and key."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from docs.manual import roff
from docs.manual.completions import completions
from docs.manual.pages import pages, texts
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import VERBS, hangup
from hangup.cli.service.settings import keys

PAGES = pages("2026-11-23")


def read(page: str) -> str:
    """Return a page without its marks."""
    text = re.sub(r"\\f[BIR]", "", PAGES[page])
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "")


def test_there_is_a_page_for_the_command_each_verb_and_the_configuration() -> None:
    assert list(PAGES) == ["hangup.1", *(f"hangup-{verb}.1" for verb in VERBS), "hangup.toml.5"]
    assert set(texts()["verb"]) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_of_a_verb_has_every_section_and_every_option_with_its_meaning(verb: str) -> None:
    page = read(f"hangup-{verb}.1")
    headings = re.findall(r'^\.SH "(.*)"$', page, re.MULTILINE)
    sections = ["OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "OVERHEAD", "EXAMPLES", "SEE ALSO"]
    assert headings == ["NAME", "SYNOPSIS", "DESCRIPTION", *sections]
    command = hangup.get_command(click.Context(hangup), verb)
    assert command is not None
    context = click.Context(command, **hangup.context_settings)
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    assert options
    for option in options:
        assert all(name in page for name in [*option.opts, *option.secondary_opts])
        assert " ".join((option.help or "").replace("`", "").split()) in page


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_are_calls_that_the_command_understands(verb: str) -> None:
    for example in texts()["verb"][verb]["example"]:
        words = shlex.split(example["command"].removeprefix("sudo "))
        if words[0] == "hangup":
            assert words[1] == verb
            command = hangup.get_command(click.Context(hangup), verb)
            assert command is not None
            command.make_context(verb, words[2:])


def test_the_page_of_the_command_has_every_verb_and_every_exit_status() -> None:
    page = read("hangup.1")
    for verb, meaning in VERBS.items():
        assert f"hangup {verb}\n{meaning}" in page
    for status in ExitStatus:
        assert f".TP\n{status.value}\n" in page


def test_watch_has_no_status_of_its_own_that_a_command_commonly_has() -> None:
    page = read("hangup-watch.1")
    not_its_own = (ExitStatus.WORSE, ExitStatus.USAGE, ExitStatus.NOT_COMPARABLE, ExitStatus.FAULT)
    for status in ExitStatus:
        assert (f".TP\n{status.value}\n" in page) == (status not in not_its_own)


def test_the_page_of_the_configuration_has_every_key_with_its_meaning_and_its_option() -> None:
    page = read("hangup.toml.5")
    for key in keys():
        assert f"\n{key.name} = {key.type.name}\n" in page
        assert key.meaning.replace("`", "") in page
        assert f"option {key.flag}" in page


def test_what_groff_would_take_for_its_own_is_escaped() -> None:
    assert roff.prose(".SH `a-b` c\\d --path it's") == "\\&.SH \\fBa\\-b\\fR c\\ed \\fB\\-\\-path\\fR it\\(aqs"
    assert roff.escape(".TH") == "\\&.TH"


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here; make test-package asks it")
def test_groff_has_nothing_to_complain_of(tmp_path: Path) -> None:
    for name, text in PAGES.items():
        page = tmp_path / name
        page.write_text(text, encoding="utf-8")
        command = ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", str(page)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


def test_each_shell_has_a_script_that_asks_hangup() -> None:
    scripts = completions()
    assert set(scripts) == {"bash/hangup", "zsh/_hangup", "fish/hangup.fish"}
    for place, script in scripts.items():
        assert f"_HANGUP_COMPLETE={place.split('/')[0]}_complete" in script
    assert scripts["zsh/_hangup"].startswith("#compdef hangup\n")
