"""`python3 -m hangup`: the command."""

from hangup.cli.main import main

main()
