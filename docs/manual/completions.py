"""The scripts with which bash, zsh and fish ask hangup how a word may go on."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from cli.main import hangup

# Where each shell looks, below the folder of the completions.
PLACES = {"bash": "bash/hangup", "zsh": "zsh/_hangup", "fish": "fish/hangup.fish"}


def completions() -> dict[str, str]:
    """Return the scripts by their places: click's own, as `_HANGUP_COMPLETE=bash_source hangup` prints them."""
    scripts = {}
    for shell, place in PLACES.items():
        of_shell = get_completion_class(shell)
        assert of_shell is not None
        scripts[place] = of_shell(hangup, {}, "hangup", "_HANGUP_COMPLETE").source()
    return scripts
