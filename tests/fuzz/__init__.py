"""Feeds what reads untrusted input with whatever a fuzzer comes upon.

`make fuzz` runs it for a bounded time. Its corpus lies in tests/data, and tests/unit/test_fuzzed.py reads that again.
"""
