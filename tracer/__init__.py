"""The library: everything from loading the probes to alerts. Nothing here prints, exits, or knows of the command."""
