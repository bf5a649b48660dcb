"""The Debian package and the wheel, in clean roots of Debian 12 and 13. `make test-package` runs them, as root."""
