"""Reads the configuration file of `hangup serve`; whatever is wrong in it is told with file, line and key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangup.cli.exit_status import ExitStatus
from hangup.cli.service.settings import Settings, keys, tables
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import escape, shown_path

DEFAULT = Path("/etc/hangup/hangup.toml")

# A configuration is some lines; what is much more is another file.
MAX_BYTES = 1 << 16


class ConfigurationError(HangupError):
    """What is wrong in a configuration file, a line each: "FILE:LINE: KEY: what"."""

    exit_status = ExitStatus.USAGE

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\nhangup: ".join(self.lines), "`hangup serve --check` looks again")

    def __str__(self) -> str:
        """Return the lines; each says itself what is to be mended."""
        return "\nhangup: ".join(self.lines)


@dataclass(frozen=True, slots=True)
class _Mistake:
    line: int
    key: str
    what: str


def load(path: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Return the settings: defaults, then those of the file, then those of the flags (read already).

    path: the file; None: the default one, which may be missing. Raises ConfigurationError.
    """
    return Settings(**{**read(path), **flags})


def read(path: Path | None) -> dict[str, Any]:
    """Return the settings that the file has. Raises ConfigurationError."""
    chosen = path or DEFAULT
    name = shown_path(chosen)
    try:
        with chosen.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path is None:
            return {}
        raise ConfigurationError(
            [f"{name}: there is no such file: name another, or leave out --config: {DEFAULT} is read if it exists"]
        ) from None
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read ({error.strerror})"]) from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError([f"{name}: is larger than {MAX_BYTES} bytes: not a configuration of hangup"])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{name}:{line}: is not UTF-8, as TOML has to be"]) from None
    settings, mistakes = parse(text)
    if mistakes:
        told = sorted(mistakes, key=lambda mistake: mistake.line)
        raise ConfigurationError(
            f"{name}:{mistake.line}: {mistake.key + ': ' if mistake.key else ''}{mistake.what}" for mistake in told
        )
    return settings


def parse(text: str) -> tuple[dict[str, Any], list[_Mistake]]:
    """Return the settings in a text, and what is wrong in it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, [_syntax(text, str(error))]
    except RecursionError:
        return {}, [_Mistake(1, "", "is not TOML: too deeply nested")]
    known = tables()
    settings: dict[str, Any] = {}
    mistakes: list[_Mistake] = []
    for table, content in document.items():
        if table not in known or not isinstance(content, dict):
            mistakes.append(_Mistake(_line(text, (table,)), _shown(table), _unknown_table(table, content)))
            continue
        of_table = {key.name: key for key in known[table]}
        for name, value in content.items():
            place = (table, name)
            if name not in of_table:
                mistakes.append(_Mistake(_line(text, place), _shown(f"{table}.{name}"), _unknown_key(table, name)))
                continue
            try:
                settings[name] = of_table[name].type.read(value)
            except ValueError as error:
                mistakes.append(_Mistake(_line(text, place), f"{table}.{name}", _shown(str(error))))
    return settings, mistakes


def _unknown_table(table: str, content: object) -> str:
    known = tables()
    if table in known:
        return f"is a table: write [{table}] and its keys below"
    if not isinstance(content, dict):
        home = next((key.table for key in keys() if key.name == table), None)
        if home:
            return f"stands outside its table: put it below [{home}]"
    return f"there is no such table{_meant(table, known)}; there are {', '.join(f'[{name}]' for name in known)}"


def _unknown_key(table: str, name: str) -> str:
    home = next((key.table for key in keys() if key.name == name), None)
    if home:
        return f"belongs below [{home}]"
    return f"there is no such key{_meant(name, [key.name for key in tables()[table]])}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (is {close[0]} meant?)" if close else ""


def _syntax(text: str, message: str) -> _Mistake:
    # tomllib says where only in words: "... (at line 3, column 5)", or "(at end of document)".
    found = re.fullmatch(r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column \d+|end of document)\)", message, re.DOTALL)
    if not found:
        return _Mistake(1, "", f"is not TOML: {_shown(message)}")
    # str.splitlines() would end a line at whatever Unicode does; TOML's end with a line feed.
    line = int(found["line"]) if found["line"] else text.removesuffix("\n").count("\n") + 1
    return _Mistake(line, "", f"is not TOML: {_shown(found['what'])}")


def _line(text: str, place: tuple[str, ...]) -> int:
    """Return the number of the line on which a table or key begins.

    tomllib keeps no lines, but it can be asked whether the file is whole without the key up to a line; the last such
    line with the key's name on it is where it begins, whatever TOML allows.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    said = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    # A name that is written with escapes stands on no line; then any may be its.
    named = [number for number in said if place[-1] in lines[number]] or said[:_TRIED]
    for number in reversed(named[:_TRIED]):
        if _lacks("".join(lines[:number]), place):
            return number + 1
    return 1


# How many lines are tried: a file that has a name on more of them is nobody's configuration.
_TRIED = 200


def _lacks(text: str, place: tuple[str, ...]) -> bool:
    """Whether a text is TOML, and has no such table or key."""
    try:
        document: object = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    for part in place:
        document = document.get(part) if isinstance(document, dict) else None
    return document is None


def _shown(text: str) -> str:
    """Return a text from the file or the command line as it may be shown: with nothing that moves a terminal."""
    return escape(text.encode("utf-8", "surrogateescape"))
