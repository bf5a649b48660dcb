"""Cgroups that are selected are found, refused where there are none, and found again when they are made anew."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hangup.tracer.errors import HangupError
from hangup.tracer.host.cgroups import Hierarchy
from hangup.tracer.kernel.selected_cgroups import MOST_CGROUPS, SelectedCgroups

SECOND = 10**9


class FakeKernel:
    """Who is told of cgroups."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.code = 0

    def tell(self, number: int, folder: int) -> int:
        """Remember which folder was open."""
        self.told.append((number, os.fstat(folder).st_ino))
        return self.code


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def hierarchy(tmp_path: Path, root: Path) -> Hierarchy:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_bytes(b"30 22 0:26 / %b rw - cgroup2 cgroup2 rw\n" % os.fsencode(root))
    root.mkdir()
    (root / "cgroup.procs").touch()
    return Hierarchy(tmp_path)


def make(folder: Path) -> int:
    """Make a cgroup; returns its number."""
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").touch()
    return folder.stat().st_ino


def test_they_are_told_with_their_places_and_once(hierarchy: Hierarchy, root: Path) -> None:
    one, other = make(root / "app.slice"), make(root / "system.slice" / "app.service")
    cgroups = SelectedCgroups(["/app.slice", "app.service"], hierarchy)
    assert cgroups.paths == ("/app.slice", "/system.slice/app.service")
    kernel = FakeKernel()
    for now in (5 * SECOND, 7 * SECOND):
        cgroups.look(now, kernel.tell)
    assert kernel.told == [(0, one), (1, other)]


def test_the_root_is_one_as_well(hierarchy: Hierarchy, root: Path) -> None:
    kernel = FakeKernel()
    SelectedCgroups(["/sys/fs/cgroup"], hierarchy).look(SECOND, kernel.tell)
    assert kernel.told == [(0, root.stat().st_ino)]


def test_one_that_is_made_anew_is_told_within_a_second(hierarchy: Hierarchy, root: Path) -> None:
    first = make(root / "app.slice")
    cgroups, kernel = SelectedCgroups(["/app.slice"], hierarchy), FakeKernel()
    cgroups.look(5 * SECOND, kernel.tell)
    (root / "app.slice").rename(root / "old")
    cgroups.look(6 * SECOND, kernel.tell)
    second = make(root / "app.slice")
    cgroups.look(6 * SECOND + SECOND // 2, kernel.tell)
    assert kernel.told == [(0, first)]
    cgroups.look(7 * SECOND, kernel.tell)
    assert kernel.told == [(0, first), (0, second)]


def test_one_that_goes_while_it_is_told_is_no_error_and_told_again(hierarchy: Hierarchy, root: Path) -> None:
    number = make(root / "app.slice")
    cgroups, kernel = SelectedCgroups(["/app.slice"], hierarchy), FakeKernel()
    kernel.code = errno.ENOENT
    cgroups.look(5 * SECOND, kernel.tell)
    kernel.code = 0
    cgroups.look(6 * SECOND, kernel.tell)
    assert kernel.told == [(0, number), (0, number)]


def test_one_that_the_kernel_does_not_take_is_an_error(hierarchy: Hierarchy, root: Path) -> None:
    make(root / "app.slice")
    kernel = FakeKernel()
    kernel.code = errno.EPERM
    with pytest.raises(HangupError, match="does not take the cgroup /app"):
        SelectedCgroups(["/app.slice"], hierarchy).look(SECOND, kernel.tell)


@pytest.mark.parametrize("name", ["/app.slice", "nothing.service", "/system.slice/folder", "with\0nul", "/..", "/a\nb"])
def test_one_that_there_is_not_is_refused_in_a_line_that_says_what_to_do(
    name: str, hierarchy: Hierarchy, root: Path
) -> None:
    (root / "system.slice" / "folder").mkdir(parents=True)
    if name == "/..":
        # Nothing is above the root.
        assert SelectedCgroups([name], hierarchy).paths == ("/",)
        return
    with pytest.raises(HangupError, match="there is no cgroup") as raised:
        SelectedCgroups([name], hierarchy)
    assert str(raised.value).isprintable()
    assert "ControlGroup" in raised.value.remedy


def test_too_many_are_refused(hierarchy: Hierarchy) -> None:
    with pytest.raises(HangupError, match="17 cgroups are more than 16"):
        SelectedCgroups(["/"] * (MOST_CGROUPS + 1), hierarchy)


def test_a_host_with_cgroup_v1_alone_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_bytes(b"30 22 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
    with pytest.raises(HangupError, match="only cgroup v1") as raised:
        SelectedCgroups(["/app.slice"], Hierarchy(tmp_path))
    assert "systemd.unified_cgroup_hierarchy" in raised.value.remedy
