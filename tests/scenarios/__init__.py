"""Scenario tests: a real client, a real server, a real kernel; run inside a guest."""
