"""What can keep hangup from working, each as one line that says what is wrong and what to do."""

from __future__ import annotations


class HangupError(Exception):
    """A condition the user can mend; its text is the one line the user is shown.

    `exit_status` is what the command ends with: 2 for a wrong call, 125 for a host that cannot run hangup.
    """

    exit_status = 125

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy


def missing_module(error: ModuleNotFoundError) -> HangupError | None:
    """Return what is said where a Python module is not installed; None: it is hangup's own that is not there.

    Debian's packages of those that hangup needs (pyproject.toml) are called as they are.
    """
    name = (error.name or "").partition(".")[0]
    if name in ("", "hangup"):
        return None
    return HangupError(f"the {name} Python module is missing", f"apt install python3-{name.replace('_', '-')}")
