"""Globs as tables that the kernel side matches names with (bpf/names.h).

All globs on one kind of name are matched at once, by shift-and (Baeza-Yates and Gonnet, 1992): each place in a glob is
a bit, set while the name may have come that far. A byte of the name moves the bits on whose symbols it matches, and
leaves those where they are that stand at a `*`.

The tables know names as they are printed (`tracer.escape`), and of those only such as are printed as they are: of a
name with any other byte the kernel side says that it may be selected, and is not ignored. So it is with globs that do
not fit: whatever comes to Python is matched there once more (`tracer.selection`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from hangup.tracer.escape import cut_comm, escape
from hangup.tracer.selection import Selection

WORDS = 1
"""So many of 64 bits there are for one kind of name (GLOB_WORDS)."""

_BITS = 64
# The highest bits of the first word say that a name is not plain.
_ODD_SEEN = 63
_ODD_AWAITED = 62

_PLAIN = frozenset(byte for byte in range(1, 256) if escape(bytes([byte])) == chr(byte))

_WORD = struct.Struct("=260Q")


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob: what each of its symbols matches, and before which of them anything may stand."""

    symbols: tuple[frozenset[int], ...]
    stars: frozenset[int]
    """Numbers of symbols; as many as there are symbols: at the end."""

    @property
    def bits(self) -> int:
        """How many it takes: a place before each symbol and one at the end, and one for having matched."""
        return len(self.symbols) + 2

    def shortened(self, bits: int) -> Glob:
        """Return one that takes no more bits and matches all that this one does, and more."""
        if self.bits <= bits:
            return self
        kept = bits - 2
        return Glob(self.symbols[:kept], frozenset(star for star in self.stars if star < kept) | {kept})


@dataclass(slots=True)
class Word:
    """struct globs: globs that have 64 bits together."""

    used: int = 0
    start: int = 0
    stay: int = 0
    selected: int = 0
    ignored: int = 0
    symbols: list[int] = field(default_factory=lambda: [0] * 256)
    """By byte; 0 ends a name."""

    def pack(self) -> bytes:
        """Return it as the C has it."""
        return _WORD.pack(self.start, self.stay, self.selected, self.ignored, *self.symbols)

    def add(self, glob: Glob, *, ignored: bool) -> None:
        """Take a glob that there is room for."""
        first, matched = self.used, self.used + len(glob.symbols) + 1
        self.used += glob.bits
        self.start |= 1 << first
        self.stay |= 1 << matched
        for star in glob.stars:
            self.stay |= 1 << first + star
        for place, symbol in enumerate(glob.symbols):
            for byte in symbol:
                self.symbols[byte] |= 1 << first + place
        self.symbols[0] |= 1 << matched - 1
        if ignored:
            self.ignored |= 1 << matched
        else:
            self.selected |= 1 << matched


class Tables(NamedTuple):
    """What the kernel side matches names with."""

    comms: Sequence[Word]
    """Empty: no name of a process matters."""
    paths: Sequence[Word]


def tables_of(selection: Selection) -> Tables:
    """Return the tables of a selection."""
    comms = table(_comm_globs(selection.comms), _comm_globs(selection.ignored_comms))
    paths = table(map(glob_of, selection.paths), map(glob_of, selection.ignored_paths))
    return Tables(
        comms if selection.comms or selection.ignored_comms else (),
        paths if selection.paths or selection.ignored_paths else (),
    )


def glob_of(pattern: str) -> Glob:
    """Return a pattern of fnmatch's; of what its symbols match only bytes that are printed as they are."""
    symbols: list[frozenset[int]] = []
    stars = set()
    for symbol in _split(pattern):
        if symbol == "*":
            stars.add(len(symbols))
        else:
            # What is in brackets is for fnmatch to say.
            symbols.append(frozenset(byte for byte in _PLAIN if fnmatchcase(chr(byte), symbol)))
    return Glob(tuple(symbols), frozenset(stars))


def table(selected: Iterable[Glob], ignored: Iterable[Glob]) -> Sequence[Word]:
    """Return the table for names that match one of the first, or of the second; without any of the first all do.

    Of globs that are too many, or too long, what is selected becomes more, by their beginnings, and what is ignored
    less.
    """
    everything = Glob((), frozenset({0}))
    room = _BITS - 2
    wanted = list(selected) or [everything]
    words = _filled([Word()], [glob.shortened(room) for glob in wanted])
    if words is None and (share := room // len(wanted)) > everything.bits:
        words = _filled([Word()], [glob.shortened(share) for glob in wanted])
    if words is None:
        words = _filled([Word()], [everything])
        assert words is not None
    for glob in ignored:
        if glob.bits <= room:
            words = _filled(words, [glob], ignored=True) or words
    words[0].start |= 1 << _ODD_AWAITED
    words[0].stay |= 1 << _ODD_AWAITED | 1 << _ODD_SEEN
    for byte in set(range(1, 256)) - _PLAIN:
        words[0].symbols[byte] |= 1 << _ODD_AWAITED
    return words


def _filled(words: list[Word], globs: Iterable[Glob], *, ignored: bool = False) -> list[Word] | None:
    """Add globs, each to the first word that has room; None: there is none."""
    for glob in globs:
        for number in range(WORDS):
            if number == len(words):
                words.append(Word())
            if words[number].used + glob.bits <= (_BITS if number else _BITS - 2):
                words[number].add(glob, ignored=ignored)
                break
        else:
            return None
    return words


def _comm_globs(patterns: Iterable[str]) -> Iterator[Glob]:
    for pattern in patterns:
        yield glob_of(pattern)
        cut = cut_comm(pattern)
        if cut != pattern:
            # As it is written: the kernel has cut a longer name (tracer/selection.py).
            yield Glob(tuple(frozenset({ord(character)}) & _PLAIN for character in cut), frozenset())


def _split(pattern: str) -> Iterator[str]:
    """Yield a pattern's symbols: a character, or what is in brackets; as fnmatch.translate() takes it apart."""
    place = 0
    while place < len(pattern):
        end = place + 1
        if pattern[place] == "[":
            closing = place + 1
            closing += pattern[closing : closing + 1] == "!"
            closing += pattern[closing : closing + 1] == "]"
            closing = pattern.find("]", closing)
            end = closing + 1 or end
        symbol = pattern[place:end]
        # A bracket that is not closed stands for itself.
        yield "[[]" if symbol == "[" else symbol
        place = end
