"""Documents, and the manual that is written from the command itself."""
