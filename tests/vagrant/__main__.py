"""The command line: `python -m tests.vagrant test|up|update|ssh|destroy SUITE`."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from tests.vagrant import machine as machines
from tests.vagrant.machine import Machine
from tests.vmtest import guest, kernels, paths, root
from tests.vmtest.kernels import GuestError

SUITES = ("bookworm", "trixie")
_TEST_LIMIT = 1200.0
_COMMAND_LIMIT = 3600.0
_SUITE = click.argument("suite", type=click.Choice(SUITES))

_SCENARIOS, _SERVICE = "tests/scenarios", "tests/vm"
_PYTEST = "sudo python3 -m pytest -p no:cacheprovider"
# What has to be so before each: the scenarios count every operation on the machine, and a service that watches as well
# has some of its own.
_BEFORE = {_SCENARIOS: "sudo systemctl stop hangup && ", _SERVICE: "sudo systemctl is-system-running --wait; "}


class Steps:
    """Names each step, and says how long it took."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens in the context; a GuestError that leaves it names the step."""
        print(f"vagrant: {name}", flush=True)
        began = time.monotonic()
        try:
            yield
        except GuestError as error:
            raise GuestError(f"{name}: {error}") from None
        finally:
            self._taken.append((name, time.monotonic() - began))

    def __str__(self) -> str:
        lines = [f"  {seconds:5.0f} s  {name}" for name, seconds in self._taken]
        return "\n".join([*lines, f"  {sum(seconds for _, seconds in self._taken):5.0f} s  in all"])


@click.group()
def main() -> None:
    """Bring up vagrant/Vagrantfile on a box of our own, without KVM if need be, and run the tests in it."""
    if os.getuid() != 0:
        print("vagrant: must run as root: it makes a box and runs Vagrant as nobody", file=sys.stderr)
        sys.exit(125)
    # Whoever stops us by a signal wants no machine left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@main.command()
@click.argument("suite", type=click.Choice((*SUITES, "all")))
@click.argument("tests", nargs=-1)
def test(suite: str, tests: tuple[str, ...]) -> None:
    """Do everything from nothing: box, up, tests, destroy. The exit status is the tests'.

    TESTS: only these of tests/scenarios and tests/vm, in that order.
    """
    statuses = []
    for name in SUITES if suite == "all" else (suite,):
        steps = Steps()
        status = 125
        try:
            with guest.one_at_a_time():
                status = _test(name, tests or (_SCENARIOS, _SERVICE), steps)
        except GuestError as error:
            print(f"vagrant: {error}", file=sys.stderr, flush=True)
        print(f"vagrant: {name} {'passed' if status == 0 else f'failed ({status})'}\n{steps}", flush=True)
        statuses.append(status)
    sys.exit(next((status for status in statuses if status != 0), 0))


@main.command()
@_SUITE
def up(suite: str) -> None:
    """Leave a machine running, to work with: `ssh` and `update` it, and `destroy` it in the end."""
    steps = Steps()
    with _reporting(), guest.one_at_a_time():
        try:
            _up(suite, steps)
        finally:
            print(steps)


@main.command()
@_SUITE
def update(suite: str) -> None:
    """Give the running machine the checkout and the package as they are now."""
    with _reporting():
        _running(suite).update()


@main.command(context_settings={"ignore_unknown_options": True})
@_SUITE
@click.argument("command", nargs=-1, required=True)
def ssh(suite: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the machine, in /hangup, as the user vagrant; a single word is a line for the shell."""
    with _reporting():
        sys.exit(_running(suite).ssh(command, _COMMAND_LIMIT))


@main.command()
@_SUITE
def reboot(suite: str) -> None:
    """Boot the running machine again."""
    with _reporting():
        _running(suite).reboot()


@main.command()
@_SUITE
def destroy(suite: str) -> None:
    """Take the machine down."""
    with _reporting():
        machine = machines.find(suite)
        if machine is not None:
            machine.destroy()


def _test(suite: str, tests: Sequence[str], steps: Steps) -> int:
    scenarios, service = ([test for test in tests if test.startswith(folder)] for folder in (_SCENARIOS, _SERVICE))
    statuses = []
    try:
        machine = _up(suite, steps)
        if scenarios:
            statuses.append(_run_tests(machine, steps, _SCENARIOS, scenarios))
        if service:
            # They begin with what a boot does, and end by removing the package (tests/vm/conftest.py).
            with steps.step(f"booting {suite} again"):
                machine.reboot()
            statuses.append(_run_tests(machine, steps, _SERVICE, service))
    finally:
        left = machines.find(suite)
        if left is not None:
            with steps.step(f"destroying {suite}"):
                left.destroy()
    return next((status for status in statuses if status != 0), 0)


def _run_tests(machine: Machine, steps: Steps, folder: str, tests: Sequence[str]) -> int:
    with steps.step(f"{folder} on {machine.suite}"):
        return machine.ssh((f"{_BEFORE[folder]}{_PYTEST} --durations=10 {shlex.join(tests)}",), _TEST_LIMIT)


def _up(suite: str, steps: Steps) -> Machine:
    left = machines.find(suite)
    if left is not None:
        with steps.step(f"destroying the {suite} that was left running"), suppress(GuestError):
            left.destroy()  # what is left of it is gone, whatever Vagrant thinks of it
    with steps.step("installing what Vagrant needs"):
        _run("setup", str(paths.CHECKOUT / "tests" / "setup"), "vagrant")
    box = paths.CACHE / f"{suite}.box"
    with steps.step(f"the box of {suite}"):
        _run("build-box", "env", f"PIP={sys.executable} -m pip", str(paths.VAGRANT / "build-box"), suite, str(box))
    machine = machines.create(suite, box, kvm_groups=_kvm_groups())
    with steps.step(f"vagrant up {suite}"):
        machine.up()
    return machine


def _kvm_groups() -> tuple[int, ...] | None:
    """Return the groups that nobody must be in to use KVM; None when it cannot or KVM does not boot a guest."""
    device = Path("/dev/kvm")
    if not device.exists():
        return None
    status = device.stat()
    if status.st_mode & 0o006 == 0o006:
        groups: tuple[int, ...] = ()
    elif status.st_mode & 0o060 == 0o060 and status.st_gid != 0:
        groups = (status.st_gid,)
    else:
        return None
    kernel, directory = kernels.default_kernel(), root.ensure_root("plain")
    kernels.ensure_kernel(kernel, directory)
    kernels.install_modules(kernel, directory)
    return groups if guest.kvm_works(kernel, directory) else None


def _running(suite: str) -> Machine:
    machine = machines.find(suite)
    if machine is None:
        raise GuestError(f"there is no {suite}: run `python -m tests.vagrant up {suite}`")
    return machine


def _run(name: str, *command: str) -> None:
    sys.stdout.flush()
    if subprocess.run(command, check=False).returncode != 0:
        raise GuestError(f"{name} failed")


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except GuestError as error:
        print(f"vagrant: {error}", file=sys.stderr)
        sys.exit(125)


main()
