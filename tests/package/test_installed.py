"""What somebody has who installed the package with apt, on Debian 12 and 13."""

from __future__ import annotations

import re
import subprocess

import pytest

from hangup.cli.main import VERBS
from hangup.tracer.version import VERSION
from tests.package.debian_root import BUILD_ROOT, CHECKOUT, DebianRoot, depends
from tests.package.library import assert_readmes_example_gets_as_far_as_the_kernel
from tests.package.terminal import Terminal

PACKAGES = "/usr/lib/python3/dist-packages"
BASH = ("bash", "--norc", "--noprofile", "-i")
ZSH = ("zsh", "-f", "-i")


def pages(root: DebianRoot) -> list[str]:
    return sorted(path.name for path in root.path("/usr/share/man").rglob("hangup*"))


def test_apt_installs_the_package_with_all_it_needs(installed: DebianRoot) -> None:
    assert installed.run("hangup", "--version").stdout == f"hangup {VERSION}\n"
    for name in ["hangup", *depends()]:
        assert installed.run("dpkg-query", "--show", "--showformat=${Status}", name).stdout == "install ok installed"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_says_its_help(installed: DebianRoot, verb: str) -> None:
    assert VERBS[verb] in installed.run("hangup", verb, "--help").stdout


def test_nothing_that_the_caller_has_is_loaded_in_place_of_hangup(installed: DebianRoot) -> None:
    folder = "/srv/caller"
    installed.path(folder).mkdir()
    for name in ("click", "hangup", "json"):
        installed.path(f"{folder}/{name}.py").write_text("raise SystemExit('the caller was loaded')\n")
    command = f"cd {folder} && hangup peers --help && python3 /usr/bin/hangup --version"
    output = installed.run("sh", "-c", command, check=False, environment={"PYTHONPATH": folder}).stdout
    assert VERBS["peers"] in output
    # The second way is the test's own proof: without the launcher's first line they are loaded.
    assert "the caller was loaded" in output


def test_one_name_lands_in_dist_packages_and_no_link(installed: DebianRoot) -> None:
    listed = installed.run("dpkg", "--listfiles", "hangup").stdout.splitlines()
    below = [path for path in listed if path.startswith(f"{PACKAGES}/")]
    assert f"{PACKAGES}/hangup/bpf/include/linux/types.h" in below
    assert {path.removeprefix(f"{PACKAGES}/").split("/")[0] for path in below} == {"hangup"}
    assert not [path for path in below if installed.path(path).is_symlink()]
    assert not [path for path in listed if "site-packages" in path or path.startswith("/usr/share/hangup")]


def test_readmes_python_example_runs_with_debians_python(installed: DebianRoot) -> None:
    assert_readmes_example_gets_as_far_as_the_kernel(installed, "/usr/bin/python3")


def test_every_module_is_compiled_at_installation(installed: DebianRoot) -> None:
    modules = list(installed.path(f"{PACKAGES}/hangup").rglob("*.py"))
    assert modules
    for module in modules:
        assert list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")), module


def test_the_probes_are_found_and_the_event_record_read(installed: DebianRoot) -> None:
    program = (
        "from hangup.tracer.kernel import compiler; from hangup.tracer.record import layout;"
        " print(layout.SIZE > 0, layout.HEADER, *compiler.sources())"
    )
    found = installed.run("python3", "-I", "-c", program).stdout.split()
    assert found[:2] == ["True", f"{PACKAGES}/hangup/bpf/record.h"]
    assert "hangup.c" in found


def test_the_unit_tests_pass_with_the_versions_that_debian_has(installed: DebianRoot) -> None:
    subprocess.run(["cp", "--archive", BUILD_ROOT / "build" / "hangup", installed.path("/srv/checkout")], check=True)
    # With the examples that are the same each time (tests/unit/conftest.py): new ones are looked for by `make unit`.
    done = installed.run(
        *("sh", "-c", "cd /srv/checkout && python3 -m pytest -q -p no:cacheprovider tests/unit"),
        check=False,
        environment={"CI": "true"},
    )
    assert re.search(r"^\d+ passed", done.stdout.splitlines()[-1]), done.stdout


def test_the_service_is_there_and_neither_enabled_nor_running(installed: DebianRoot) -> None:
    assert installed.run("systemctl", "is-enabled", "hangup.service", check=False).stdout.strip() == "disabled"
    assert not list(installed.path("/etc/systemd").rglob("*hangup*"))


def test_systemd_finds_nothing_wrong_with_the_unit(installed: DebianRoot) -> None:
    # Man pages are asked for by --man, which is the default: those that the unit names have to be there.
    assert installed.run("systemd-analyze", "verify", "hangup.service").stdout == ""


def test_the_journal_knows_the_texts_of_alerts(installed: DebianRoot) -> None:
    ids = re.findall(r"^-- ([0-9a-f]{32})$", (CHECKOUT / "systemd" / "hangup.catalog").read_text(), re.MULTILINE)
    listed = installed.run("journalctl", "--no-pager", "--list-catalog", *ids, check=False).stdout
    assert ids
    for identity in ids:
        assert identity in listed


def test_the_command_and_each_verb_has_a_manual_page(installed: DebianRoot) -> None:
    assert set(pages(installed)) >= {f"hangup{name}.1.gz" for name in ("", *(f"-{verb}" for verb in VERBS))}
    # man-db's own search: the pages say what they are for.
    installed.run("mandb", "--quiet")
    for verb in VERBS:
        assert f"hangup-{verb}" in installed.run("apropos", "hangup").stdout


def test_groff_has_nothing_to_complain_of_in_any_page(installed: DebianRoot) -> None:
    assert pages(installed)
    for page in pages(installed):
        section = page.split(".")[-2]
        path = f"/usr/share/man/man{section}/{page}"
        script = f"man --warnings=all,mac --encoding=UTF-8 --local-file {path} >/dev/null"
        assert installed.run("sh", "-c", script, environment={"MANWIDTH": "80"}).stdout == ""


def test_bash_completes_verbs_options_and_values(installed: DebianRoot) -> None:
    with Terminal(installed.command(BASH)) as bash:
        bash.do(". /usr/share/bash-completion/bash_completion")
        assert bash.completed("hangup wat") == ["hangup", "watch"]
        assert bash.completed("hangup watch --pr") == ["hangup", "watch", "--probes"]
        assert bash.completed("hangup watch --probes k") == ["hangup", "watch", "--probes", "kprobe"]
        assert bash.completed("hangup watch --duration 5s -- /usr/bin/hang") == [
            *("hangup", "watch", "--duration", "5s", "--", "/usr/bin/hangup")
        ]
        assert "peers" in bash.offered("hangup ", r"(?s)doctor.*watch|watch.*doctor")


def test_zsh_completes_verbs_options_and_values(installed: DebianRoot) -> None:
    with Terminal(installed.command(ZSH)) as zsh:
        zsh.do("bindkey -e; unsetopt prompt_sp zle_bracketed_paste; autoload -U compinit && compinit -u -D")
        # More than once: click's own script forgets the second time.
        assert zsh.completed("hangup wat") == ["hangup", "watch"]
        assert zsh.completed("hangup watch --pr") == ["hangup", "watch", "--probes"]
        assert zsh.completed("hangup watch --probes k") == ["hangup", "watch", "--probes", "kprobe"]
        assert zsh.completed("hangup watch --duration 5s -- /usr/bin/hang") == [
            *("hangup", "watch", "--duration", "5s", "--", "/usr/bin/hangup")
        ]


def test_fish_completes_verbs_options_and_values(installed: DebianRoot) -> None:
    def completed(line: str) -> set[str]:
        output = installed.run("fish", "-c", f"complete --do-complete '{line}'").stdout
        return {offer.split("\t")[0] for offer in output.splitlines()}

    assert completed("hangup ") == set(VERBS)
    assert completed("hangup watch --pr") == {"--probes"}
    assert completed("hangup watch --probes k") == {"kprobe"}
    assert "/usr/bin/hangup" in completed("hangup watch --duration 5s -- /usr/bin/hang")
