"""The command line: `python -m tests.vmtest [--kernel NAME|all] -- COMMAND...`."""

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from tests.vmtest import guest, kernels, paths, root


@dataclass(frozen=True)
class Outcome:
    """What became of the command on one kernel."""

    kernel: kernels.Kernel
    status: int
    seconds: float


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--kernel", "name", metavar="NAME|all", help="A kernel of tests/kernels.toml (default: the one marked).")
@click.option(
    "--servers", "root_name", flag_value="servers", help="Boot the root with the servers of vagrant/servers.list."
)
@click.option("--peers", "root_name", flag_value="peers", help="Boot the root with the tracers of vagrant/peers.list.")
@click.option("--root", "root_directory", type=click.Path(path_type=Path, exists=True), help="Boot this root instead.")
@click.option("--results", type=click.Path(path_type=Path), default=paths.RESULTS, help="The guest's /results.")
@click.option("--kvm/--no-kvm", default=None, envvar="VMTEST_KVM", help="Do not try whether KVM works: it does or not.")
@click.option("--cpus", default=2, show_default=True, help="Processors of the guest.")
@click.option("--memory", default="4G", show_default=True, help="Memory of the guest.")
@click.option("--qemu-options", default="", help="More options for QEMU.")
@click.option("--time-limit", default=900.0, show_default=True, help="Seconds for boot and command, on each kernel.")
@click.option("--verbose", is_flag=True, help="Keep the guest's kernel log in /results/.guest/console.")
@click.argument("command", nargs=-1)
def main(
    *,
    name: str | None,
    root_name: str | None,
    root_directory: Path | None,
    results: Path,
    kvm: bool | None,
    cpus: int,
    memory: str,
    qemu_options: str,
    time_limit: float,
    verbose: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as root in a guest: in /hangup (a copy of the checkout), with /results to write to.

    The exit status is the command's; with several kernels, that of the first one that failed; 125 when there is no
    guest. Without a command, only what a guest needs is made and fetched.
    """
    # Whoever stops us by a signal, as timeout(1) does, wants no guest left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chosen = kernels.kernel_list() if name == "all" else None
    outcomes = []
    try:
        chosen = chosen or [kernels.find_kernel(name) if name else kernels.default_kernel()]
        with guest.one_at_a_time():
            directory = root_directory or root.ensure_root(root_name or "plain")
            for kernel in chosen:
                kernels.ensure_kernel(kernel, directory)
            if not command:
                return
            with_kvm = kvm if kvm is not None else _kvm_works(directory)
            usr_image = None if root_directory else root.ensure_usr_image(directory)
            machine = guest.Machine(cpus, memory, with_kvm, verbose, usr_image, qemu_options)
            root.copy_checkout(directory)
            for kernel in chosen:
                outcomes.append(
                    _run(kernel, directory, list(command), results=results, machine=machine, time_limit=time_limit)
                )
    except kernels.GuestError as error:
        print(f"vmtest: {error}", file=sys.stderr)
        sys.exit(125)
    except KeyboardInterrupt:
        sys.exit(130)
    if len(outcomes) > 1:
        for outcome in outcomes:
            verdict = "passed" if outcome.status == 0 else f"failed ({outcome.status})"
            print(f"kernel {outcome.kernel.name} ({outcome.kernel.release}): {verdict} in {outcome.seconds:.0f} s")
    sys.exit(next((outcome.status for outcome in outcomes if outcome.status != 0), 0))


def _kvm_works(directory: Path) -> bool:
    kernel = kernels.default_kernel()
    kernels.ensure_kernel(kernel, directory)
    kernels.install_modules(kernel, directory)
    return guest.kvm_works(kernel, directory)


def _run(
    kernel: kernels.Kernel,
    directory: Path,
    command: list[str],
    *,
    results: Path,
    machine: guest.Machine,
    time_limit: float,
) -> Outcome:
    kernels.install_modules(kernel, directory)
    own_results = (results / kernel.name).resolve()
    print(f"guest: booting {kernel.release} with{'' if machine.kvm else 'out'} KVM", flush=True)
    started = time.monotonic()
    status = guest.run_in_guest(kernel, directory, command, results=own_results, machine=machine, time_limit=time_limit)
    seconds = time.monotonic() - started
    print(f"guest: {kernel.release} done in {seconds:.0f} s, exit status {status}", flush=True)
    return Outcome(kernel, status, seconds)


main()
