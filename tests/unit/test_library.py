"""`hangup` as a library: what README promises, from a checkout and from one without symbolic links."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import hangup
from hangup.tracer.tracer import Tracer
from tests import stories
from tests.readme import python_example
from tests.unit.playback import Playback

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("bpf", "cli", "tracer")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python as from a shell that stands in a folder, where nothing of hangup is installed."""
    # -S: the tests' own environment may know where the checkout lies. What hangup depends on is not needed so far.
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_readmes_example_prints_the_sentence_of_each_alert(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    story = stories.seeds_failure()
    monkeypatch.setattr(hangup, "Tracer", partial(Tracer, source=Playback(story.events)), raising=False)
    exec(python_example(), {})  # noqa: S102 - it is ours
    with Tracer(source=Playback(story.events)) as tracer:
        sentences = [alert.verdict.sentence for alert in tracer.alerts()]
    assert sentences
    assert capsys.readouterr().out == "".join(f"{sentence}\n" for sentence in sentences)


def test_every_name_that_hangup_offers_is_there_and_no_other() -> None:
    for name in hangup.__all__:
        assert getattr(hangup, name).__name__ == name
    with pytest.raises(AttributeError, match="Hangup"):
        _ = hangup.Hangup


def test_importing_hangup_loads_nothing_of_it() -> None:
    done = python(CHECKOUT, "-c", "import hangup, sys; print([name for name in sys.modules if 'hangup.' in name])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_checkouts_links_are_the_folders_of_its_top() -> None:
    links = {path.name: str(path.readlink()) for path in (CHECKOUT / "hangup").iterdir() if path.is_symlink()}
    # In an archive, and where the checkout was copied with its links followed, they are folders.
    assert set(links.items()) <= {*((name, f"../{name}") for name in FOLDERS), ("verdicts.md", "../docs/verdicts.md")}
    for name in FOLDERS:
        assert (CHECKOUT / "hangup" / name / "__init__.py").is_file()


@pytest.mark.parametrize("arguments", [("-m", "hangup"), ("-c", "from hangup import Tracer")])
def test_a_checkout_without_symbolic_links_says_so_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    package = tmp_path / "hangup"
    package.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (package / name).write_text((CHECKOUT / "hangup" / name).read_text())
    for name in FOLDERS:
        # As `git -c core.symlinks=false clone` leaves them.
        (package / name).write_text(f"../{name}")
    done = python(tmp_path, *arguments)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert f"{package / 'tracer'} is not the link to ../tracer" in said
    assert "install its package" in said
    if arguments[0] == "-m":
        assert done.stderr.count("\n") == 1
