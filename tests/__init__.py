"""Tests: unit tests without privileges, scenario tests in a booted guest."""
