"""Writes the manual pages and the completions of the shells. Needs what `hangup --help` needs, and no privileges.

`python3 -m docs.manual FOLDER` writes FOLDER/man and FOLDER/completions; the Debian package is built with it. Names,
options, meanings, exit statuses and configuration keys come from where the command has them; texts.toml adds what it
does not say itself: examples, files, environment, cost. (Debian's click-man and help2man know no such sections.)
"""
