"""Gives up what the service no longer needs once its probes are attached."""

from __future__ import annotations

from hangup.tracer.errors import HangupError

# Names of capabilities(7), and what each is kept for.
KEPT = {
    "sys_ptrace": "reads which unit, container and name a process has when /proc is mounted with hidepid",
    "dac_read_search": "reads /proc/PID of other users' processes, opens a cgroup by its id (open_by_handle_at(2))",
    "bpf": "asks the kernel how often it skipped a program: before 6.4 every bpf(2) call wants it (__sys_bpf())",
}


def give_up(kept: tuple[str, ...] = tuple(KEPT)) -> tuple[str, ...]:
    """Give up all capabilities but these; returns those that are left.

    It is for good where the process has NoNewPrivileges, as the unit sees to: else root's execve(2) would regain them.

    A capability that the process does not have is not missed. Threads that are started later have no more either.
    Raises HangupError.
    """
    try:
        import capng  # noqa: PLC0415 - only the service gives up anything
    except ImportError:
        raise HangupError("python3-cap-ng is missing", "apt install python3-cap-ng") from None
    numbers = [(name, capng.capng_name_to_capability(name)) for name in kept]
    had = [
        (name, number)
        for name, number in numbers
        if number >= 0 and capng.capng_have_capability(capng.CAPNG_PERMITTED, number)
    ]
    capng.capng_clear(capng.CAPNG_SELECT_CAPS)
    for _, number in had:
        capng.capng_update(capng.CAPNG_ADD, capng.CAPNG_EFFECTIVE | capng.CAPNG_PERMITTED, number)
    if capng.capng_apply(capng.CAPNG_SELECT_CAPS) < 0:
        raise HangupError("cannot give up capabilities", "report it with the kernel's version")
    return tuple(name for name, _ in had)
