"""Writes a manual page in the man macros of groff; see groff_man(7)."""

from __future__ import annotations

import re

# What a reader types letter for letter is bold: `quoted` words, and options wherever they stand.
_LITERAL = re.compile(r"`([^`]+)`|(?<![\w\\-])(--?[A-Za-z][\w-]*)")

# The titles of the sections, man-pages(7).
_SECTIONS = {1: "User Commands", 5: "File Formats"}


def escape(text: str) -> str:
    """Return text that groff prints as it is; a hyphen stays one that can be copied (groff_man_style(7))."""
    escaped = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    return "\\&" + escaped if escaped.startswith(".") else escaped


def prose(text: str) -> str:
    """Return a paragraph on one line, with what is typed letter for letter in bold."""
    words = " ".join(text.split())
    parts: list[str] = []
    end = 0
    for found in _LITERAL.finditer(words):
        parts += [escape(words[end : found.start()]), f"\\fB{escape(found[1] or found[2])}\\fR"]
        end = found.end()
    line = "".join([*parts, escape(words[end:])])
    # A line that begins with a control character would be a request.
    return line if line[:1] not in ("'", ".") else "\\&" + line


def term(text: str) -> str:
    """Return a term such as `-h, --help` or `--pid PID`: options bold, what stands for something else italic."""

    def typed(word: str) -> str:
        if word == "/":
            return word
        name, comma, _ = word.partition(",")
        face = "B" if name.startswith("-") else "I"
        return f"\\f{face}{escape(name)}\\fR{comma}"

    return " ".join(typed(word) for word in text.split())


class Page:
    """A manual page that grows section by section."""

    def __init__(self, name: str, section: int, *, date: str, version: str) -> None:
        self._lines = [
            '.\\" Written by docs/manual; changes made here are lost.',
            f'.TH "{escape(name.upper())}" "{section}" "{date}" "hangup {version}" "{_SECTIONS[section]}"',
            # No hyphenation and a ragged right margin: names and options stay whole.
            ".nh",
            ".ad l",
        ]

    def heading(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f'.SH "{escape(title)}"')

    def name(self, name: str, meaning: str) -> None:
        """Write the section that whatis(1) reads."""
        self.heading("NAME")
        self._lines.append(f"{escape(name)} \\- {escape(meaning)}")

    def synopsis(self, command: str, arguments: str) -> None:
        """Write how the command is called."""
        self.heading("SYNOPSIS")
        self._lines.append(f"\\fB{escape(command)}\\fR {escape(arguments)}".rstrip())

    def paragraphs(self, text: str) -> None:
        """Write paragraphs, which empty lines part. One of several lines that each begin with spaces is kept as is."""
        for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
            lines = paragraph.splitlines()
            if all(line.startswith("    ") for line in lines):
                self.literal([line[4:] for line in lines])
            else:
                self._lines += [".PP", prose(paragraph)]

    def subheading(self, title: str) -> None:
        """Begin a part of a section."""
        self._lines.append(f'.SS "{escape(title)}"')

    def literal(self, lines: list[str]) -> None:
        """Write lines as they are, indented."""
        self._lines += [".PP", ".RS 4", ".nf", *(escape(line) or "\\&" for line in lines), ".fi", ".RE"]

    def definition(self, what: str, meaning: str) -> None:
        """Write a term, in groff's words already, and what it means."""
        self._lines += [".TP", what, *(prose(meaning).splitlines() or ["\\&"])]

    def example(self, meaning: str, command: str) -> None:
        """Write what somebody wants, and the command for it."""
        self._lines += [".TP", prose(meaning), f"\\fB{escape(command)}\\fR"]

    def text(self) -> str:
        """Return the page."""
        return "\n".join([*self._lines, ""])
