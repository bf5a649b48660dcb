"""The kernel's numbers by the names people know: system calls, errors, signals."""

from __future__ import annotations

import errno
import signal

SYSCALLS = {
    # arch/x86/entry/syscalls/syscall_64.tbl: those through which an operation on a socket, its release, or a change of
    # who a process is (commit_creds(), kernel/cred.c) can come.
    0: "read",
    1: "write",
    3: "close",
    17: "pread64",
    18: "pwrite64",
    19: "readv",
    20: "writev",
    33: "dup2",
    40: "sendfile",
    42: "connect",
    43: "accept",
    44: "sendto",
    45: "recvfrom",
    46: "sendmsg",
    47: "recvmsg",
    48: "shutdown",
    53: "socketpair",
    59: "execve",
    60: "exit",
    105: "setuid",
    106: "setgid",
    113: "setreuid",
    114: "setregid",
    116: "setgroups",
    117: "setresuid",
    119: "setresgid",
    122: "setfsuid",
    123: "setfsgid",
    126: "capset",
    157: "prctl",
    231: "exit_group",
    250: "keyctl",
    272: "unshare",
    275: "splice",
    288: "accept4",
    292: "dup3",
    295: "preadv",
    296: "pwritev",
    299: "recvmmsg",
    307: "sendmmsg",
    308: "setns",
    322: "execveat",
    326: "copy_file_range",
    327: "preadv2",
    328: "pwritev2",
    426: "io_uring_enter",
    436: "close_range",
}

# include/linux/errno.h: the kernel's own, which a system call's restart hides from programs.
KERNEL_RESTARTS = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"}

# shutdown(2)
_SHUTDOWNS = {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}

# include/uapi/linux/capability.h, from 0 on
CAPABILITIES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
)


def capability_names(bits: int) -> list[str]:
    """Return the names of the capabilities whose bits are set, cap_net_raw for 13."""
    return [
        f"cap_{CAPABILITIES[bit]}" if bit < len(CAPABILITIES) else f"capability {bit}"
        for bit in range(bits.bit_length())
        if bits >> bit & 1
    ]


def syscall_name(number: int, *, compat: bool = False, io_uring: bool = False) -> str:
    """Return a system call's name; io_uring's operations are named after it, for the call says little about them."""
    if io_uring:
        return "io_uring"
    if number < 0:
        return "kernel"
    if compat:
        return f"32-bit call {number}"
    return SYSCALLS.get(number, f"call {number}")


def shutdown_name(how: int) -> str:
    """Return what shutdown(2) is asked to end, SHUT_RDWR for 2."""
    return _SHUTDOWNS.get(how, str(how))


def error_name(number: int) -> str:
    """Return an errno's name (positive number)."""
    return KERNEL_RESTARTS.get(number) or errno.errorcode.get(number, f"error {number}")


def signal_name(number: int) -> str:
    """Return a signal's name, SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - 34}" if 34 <= number <= 64 else f"signal {number}"
