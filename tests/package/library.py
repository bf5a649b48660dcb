"""README's Python example in a root that may not trace."""

from __future__ import annotations

from tests.package.debian_root import DebianRoot
from tests.readme import python_example

# A root's commands run in a pid namespace of their own (DebianRoot.command): tracing is refused before anything is
# loaded, whatever the kernel below is.
REFUSED = (
    "this is a container's pid namespace: the kernel's pids mean other processes here: "
    "run it on the host itself, or in a container that shares the host's pids (--pid=host)"
)


def entering(root: DebianRoot, python: str, folder: str = "/srv") -> str:
    """Run README's example as it stands; return the line of the HangupError with which it ends."""
    (root.path(folder) / "example.py").write_text(python_example())
    done = root.run("sh", "-c", f"cd {folder} && {python} example.py", check=False)
    last = done.stdout.splitlines()[-1]
    error = "hangup.tracer.errors.HangupError: "
    # Any other error, an ImportError above all, is ours.
    assert last.startswith(error), done.stdout
    # It was raised by the with statement: the import before it has worked.
    assert "in __enter__" in done.stdout
    return last.removeprefix(error)


def assert_readmes_example_gets_as_far_as_the_kernel(root: DebianRoot, python: str, folder: str = "/srv") -> None:
    """Run README's example: all that it needs was found, and the one thing amiss is where it runs."""
    assert entering(root, python, folder) == REFUSED
