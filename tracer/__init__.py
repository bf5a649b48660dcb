"""The library: everything from loading the probes to alerts, usable without the command line."""
