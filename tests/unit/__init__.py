"""Unit tests: everything after the source, no privileges, no kernel."""
