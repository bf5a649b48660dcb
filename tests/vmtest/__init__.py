"""Runs a command on a real kernel: boots one in a virtual machine on a root of ours, and gives back what it said.

The host needs QEMU and virtme-ng and, without KVM, patience; nothing of hangup is ever loaded into its own kernel.

    python -m tests.vmtest --kernel 6.1 -- python3 -m pytest tests/scenarios
"""
