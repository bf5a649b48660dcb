"""The scripts with which bash, zsh and fish ask hangup how a word may go on."""

from __future__ import annotations

import re

from click.shell_completion import get_completion_class

from hangup.cli.main import hangup

# Where each shell looks, below the folder of the completions.
PLACES = {"bash": "bash/hangup", "zsh": "zsh/_hangup", "fish": "fish/hangup.fish"}

# How click's script for zsh ends: older ones only register the function, newer ones ask whether they are being loaded
# from fpath. Read from fpath the file is itself the function that is called, and each way one Tab does nothing.
_ZSH_END = re.compile(r"^(?:if \[\[ \$zsh_eval_context|compdef ).*\Z", re.MULTILINE | re.DOTALL)


def completions() -> dict[str, str]:
    """Return the scripts by their places: click's own, nearly as `_HANGUP_COMPLETE=bash_source hangup` prints them."""
    scripts = {}
    for shell, place in PLACES.items():
        of_shell = get_completion_class(shell)
        assert of_shell is not None
        scripts[place] = of_shell(hangup, {}, "hangup", "_HANGUP_COMPLETE").source()
    scripts[PLACES["zsh"]], ends = _ZSH_END.subn('_hangup_completion "$@"\n', scripts[PLACES["zsh"]])
    assert ends == 1, "click's script for zsh ends otherwise"
    return scripts
