"""The command line: `python -m tests.bench all|native|guest|report`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import click

from tests.bench import data, guest, native, report
from tests.bench.loads import LOADS
from tests.bench.tools import TOOLS
from tests.vmtest import kernels

_DATA = click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path),
    default=report.DATA,
    help="The data file instead of the project's.",
)
_KERNELS = [kernel.name for kernel in kernels.kernel_list()]

# Where `all` counts instructions: on the kernel of most figures, and where they are another's.
_COUNTED = ("6.1", "6.12", "newest")
# On all but the first of them it is enough to see that little changes.
_FEW_LOADS = ("solo", "pair", "elsewhere", "nginx", "open-1", "open-10000")


def _names(
    known: Collection[str],
) -> Callable[[click.Context, click.Parameter, str | None], list[str] | None]:
    """Return what reads names with commas between them."""

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[str] | None:
        names = value.split(",") if value else None
        for name in names or ():
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
        return names

    return read


@click.group()
def bench() -> None:
    """Measure what hangup costs; `python -m pydoc tests.bench` says more."""


@bench.command("native")
@click.argument("parts", nargs=-1, type=click.Choice(list(native.PARTS)))
@click.option("--quick", is_flag=True, help="A tenth of the operations.")
@_DATA
def measure_natively(*, parts: tuple[str, ...], quick: bool, path: Path) -> None:
    """Measure what loads nothing into a kernel, on this machine."""
    data.add(path, [native.measure(parts or tuple(native.PARTS), quick=quick)])


@bench.command("guest")
@click.argument("part", type=click.Choice(list(guest.PARTS)))
@click.option("--kernel", type=click.Choice(_KERNELS), default=kernels.default_kernel().name, show_default=True)
@click.option("--tracers", callback=_names(TOOLS), metavar="NAME,...", help="Only these.")
@click.option("--loads", callback=_names(LOADS), metavar="NAME,...", help="Only these.")
@click.option("--starts", type=click.IntRange(min=1), help="How often each tracer is started.")
@click.option("--repeats", type=click.IntRange(min=1), help="How often each load is played in each start.")
@click.option("--time-limit", type=float, help="Seconds for the guest.")
@_DATA
def measure_in_guest(*, part: str, kernel: str, path: Path, **chosen: object) -> None:
    """Measure a part in a guest. What a guest that is cut off had till then is kept."""
    guest.measure(guest.PARTS[part].but(**chosen), kernel, lambda run: data.add(path, [run]))


@bench.command("report")
@_DATA
def write_report(*, path: Path) -> None:
    """Write docs/performance.md and docs/performance.svg from the data."""
    if not path.exists():
        raise click.ClickException(f"{path} is not there: measure something first, or name another file with --data")
    report.write(data.load(path))


@bench.command("all")
@_DATA
def measure_all(*, path: Path) -> None:
    """Measure everything, and write the report. A part that fails does not stop the others."""
    data.add(path, [native.measure(tuple(native.PARTS), quick=False)])
    parts = [(guest.PARTS[name], kernels.default_kernel().name) for name in ("start", "latency", "wall")]
    cost = guest.PARTS["cost"]
    for kernel in _COUNTED:
        parts.append((guest.PARTS["preempted"], kernel))
        first = kernel == _COUNTED[0]
        parts.append((cost if first else cost.but(tracers=[*cost.tracers, "watch-auto"], loads=_FEW_LOADS), kernel))
    failed = []
    for part, kernel in parts:
        try:
            guest.measure(part, kernel, lambda run: data.add(path, [run]))
        except RuntimeError as error:
            print(f"bench: {error}", file=sys.stderr)
            failed.append(f"{part.name} on {kernel}")
    report.write(data.load(path))
    if failed:
        raise RuntimeError(f"not everything was measured: {', '.join(failed)}")


def main() -> None:
    """Run it; what goes wrong is one line."""
    try:
        bench()
    except (RuntimeError, ValueError, kernels.GuestError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
