"""Runs the tests in a real machine: makes a Vagrant box, brings it up with vagrant/Vagrantfile, takes it down again.

Unlike the guests of tests/vmtest, which boot a kernel on a folder, this is a whole Debian with its systemd, and hangup
is in it as a package and a service. The host needs neither KVM nor a network to download a box from.

    python -m tests.vagrant test bookworm
"""
