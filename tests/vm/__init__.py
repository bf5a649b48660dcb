"""Tests of hangup as a package and a service: run as root inside the Vagrant VM, in the order of conftest.py."""
