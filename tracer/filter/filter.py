"""A filter, from what was asked for to what is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from hangup.tracer.errors import HangupError
from hangup.tracer.filter.check import Subject, check
from hangup.tracer.filter.split import Split, split
from hangup.tracer.filter.tree import Comparison, Not, Tree, all_of, any_of, comparisons_of, spelled
from hangup.tracer.selection import IGNORED_PATHS, Selection


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for, and who decides it."""

    tree: Tree | None
    """All of it; None: everything passes."""
    subject: Subject
    """What it is asked about."""
    parts: Split

    @property
    def selection(self) -> Selection:
        """What the kernel selects by."""
        return self.parts.selection

    @property
    def selection_of_read(self) -> Selection:
        """What has to be selected where a capture is read: what the rest decides is not selected by before that."""
        return self.parts.undecided

    @property
    def selection_to_judge(self) -> Selection:
        """The same for who judges: without the paths on which failures mean nothing, unless it names such paths."""
        return replace(self.selection, ignored_paths=self.selection.ignored_paths or IGNORED_PATHS)

    @property
    def names(self) -> frozenset[str]:
        """The fields that it asks for."""
        return frozenset() if self.tree is None else frozenset(each.name for each in comparisons_of(self.tree))

    @property
    def rest(self) -> Tree | None:
        """What is decided here; None: nothing is left."""
        return self.parts.rest


def filter_of(trees: Iterable[Tree], subject: Subject) -> Filter:
    """Return the filter that all of these make. Raises FilterError where one cannot be asked of such a thing."""
    tree = all_of(trees)
    if tree is not None:
        check(tree, subject)
    return Filter(tree, subject, split(tree, subject))


def understood(text: str, subject: Subject) -> Tree:
    """Return the tree of a filter's text.

    Raises FilterError where it is none, or cannot be asked of such a thing, and HangupError where lark is missing.
    """
    try:
        # Lark takes longer to import than all else: most runs have no filter.
        from hangup.tracer.filter.parser import parse  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "lark":
            raise
        raise HangupError("filters need lark, which is not installed", "apt install python3-lark") from None
    tree = parse(text)
    check(tree, subject, text)
    return tree


def shorthand(
    *,
    pids: Collection[int] = (),
    uids: Collection[int] = (),
    cgroups: Collection[str] = (),
    comms: Collection[str] = (),
    paths: Collection[str] = (),
    ignored_comms: Collection[str] = (),
    ignored_paths: Collection[str] = (),
    connections: Collection[int] = (),
) -> list[Tree]:
    """Return the filters that are written shorter, as options: all of them are to hold, of one option any value.

    cgroups: as a Selection names them; comms, paths: globs; connections: their numbers.
    """
    trees: list[Tree] = []
    if pids:
        trees.append(Comparison("conn.pid", "in", tuple(map(str, pids))))
    if connections:
        trees.append(Comparison("conn.number", "in", tuple(map(str, connections))))
    if uids:
        trees.append(Comparison("conn.uid", "in", tuple(map(str, uids))))
    if cgroups:
        trees.append(Comparison("conn.cgroup", "pmatch", tuple(cgroups)))
    comms, paths, ignored_comms, ignored_paths = map(_spelled, (comms, paths, ignored_comms, ignored_paths))
    for field, globs in (("conn.comm", comms), ("conn.path", paths)):
        if globs:
            trees.append(any_of(Comparison(field, "glob", (glob,)) for glob in globs))
    for field, globs in (("conn.comm", ignored_comms), ("conn.path", ignored_paths)):
        trees += [Not(Comparison(field, "glob", (glob,))) for glob in globs]
    return trees


def _spelled(globs: Collection[str]) -> list[str]:
    # As a command line has bytes that are not UTF-8.
    return [spelled(glob.encode("utf-8", "surrogateescape")) for glob in globs]
