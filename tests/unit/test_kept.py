"""What root keeps for its next run is only taken from where nobody else can have written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hangup.tracer.kernel import kept
from hangup.tracer.kernel.kept import DIRECTORY, MOST_FILES, Kept, NotKeptError, directory

US = os.geteuid()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a folder of ours, which is looked at, as all below it is."""
    tmp_path.chmod(0o755)
    return tmp_path


def ours(top: Path) -> Kept:
    (top / "cache").mkdir(exist_ok=True)
    return Kept(top / "cache" / "hangup", owner=US, top=top)


def files(store: Kept) -> set[str]:
    return {path.name for path in store.path.iterdir()}


def test_what_is_kept_is_read_again(top: Path) -> None:
    store = ours(top)
    assert store.read("one") is None
    store.write("one", b"abc")
    store.write("one", b"abcd")
    assert store.read("one") == b"abcd"
    assert store.read("other") is None
    assert files(store) == {"one.kept"}


def test_the_directory_is_made_for_its_owner_alone_but_not_what_is_above_it(top: Path) -> None:
    ours(top).write("one", b"abc")
    assert (top / "cache" / "hangup").stat().st_mode & 0o777 == 0o700
    assert (top / "cache" / "hangup" / "one.kept").stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotKeptError, match="No such file or directory"):
        Kept(top / "no" / "hangup", owner=US, top=top).write("one", b"abc")
    assert not (top / "no").exists()


@pytest.mark.parametrize("place", ["cache/hangup/one.kept", "cache/hangup", "cache", "."])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_where_others_may_write_nothing_is_taken(place: str, mode: int, top: Path) -> None:
    store = ours(top)
    store.write("one", b"abc")
    (top / place).chmod(mode)
    with pytest.raises(NotKeptError, match="others than root may write to"):
        store.read("one")
    if not place.endswith(".kept"):
        with pytest.raises(NotKeptError, match="others than root may write to"):
            store.write("one", b"abc")


@pytest.mark.skipif(US != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", ["cache/hangup/one.kept", "cache/hangup", "cache", "."])
def test_what_belongs_to_another_is_not_taken(place: str, top: Path) -> None:
    store = ours(top)
    store.write("one", b"abc")
    os.chown(top / place, 65534, 65534)
    try:
        with pytest.raises(NotKeptError, match="belongs to uid 65534"):
            store.read("one")
    finally:
        os.chown(top / place, US, -1)


def test_who_is_not_root_keeps_nothing(top: Path) -> None:
    store = Kept(top / "hangup", owner=US + 1, top=top)
    with pytest.raises(NotKeptError, match="is root's"):
        store.write("one", b"abc")
    with pytest.raises(NotKeptError, match="is root's"):
        store.read("one")


@pytest.mark.parametrize("place", ["cache/hangup/one.kept", "cache/hangup", "cache"])
def test_no_link_is_followed(place: str, top: Path) -> None:
    store = ours(top)
    store.write("one", b"abc")
    elsewhere = top / "elsewhere"
    (top / place).rename(elsewhere)
    (top / place).symlink_to(elsewhere)
    with pytest.raises(NotKeptError, match=r"link|symbolic"):
        store.read("one")
    assert (top / place).is_symlink()


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone(top: Path) -> None:
    store = ours(top)
    store.write("other", b"abc")
    target = top / "target"
    target.write_bytes(b"mine")
    (store.path / "one.kept").symlink_to(target)
    store.write("one", b"abc")
    assert store.read("one") == b"abc"
    assert target.read_bytes() == b"mine"


def test_a_fifo_or_a_folder_in_the_place_of_a_file_neither_blocks_nor_is_taken(top: Path) -> None:
    store = ours(top)
    store.write("other", b"abc")
    os.mkfifo(store.path / "one.kept", 0o600)
    (store.path / "two.kept").mkdir(0o700)
    for name in ("one", "two"):
        with pytest.raises(NotKeptError, match="no file that hangup has written"):
            store.read(name)


def test_a_file_that_hangup_cannot_have_written_is_not_read(top: Path) -> None:
    store = ours(top)
    store.write("one", b"abc")
    os.truncate(store.path / "one.kept", kept._LARGEST + 1)
    with pytest.raises(NotKeptError, match="no file that hangup has written"):
        store.read("one")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_file_system_leaves_what_there_was(
    number: int, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ours(top)
    store.write("one", b"abc")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(NotKeptError, match=os.strerror(number)):
        store.write("one", b"abcd")
    assert store.read("one") == b"abc"
    assert files(store) == {"one.kept"}


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_what_was_not_used_for_longest_goes_and_others_files_stay(top: Path) -> None:
    store = ours(top)
    day = 86400
    for number in range(MOST_FILES):
        store.write(f"{number}", b"abc")
        age(store.path / f"{number}.kept", day * (2 + number))
    (store.path / "notes").write_text("not ours")
    age(store.path / "notes", day * 100)
    # The oldest is used: it is the youngest now.
    assert store.read(f"{MOST_FILES - 1}") == b"abc"
    store.write("new", b"abc")
    gone = {f"{MOST_FILES - 2}.kept"}
    assert files(store) == {f"{number}.kept" for number in range(MOST_FILES)} - gone | {"new.kept", "notes"}


def test_what_was_left_half_written_goes_in_time(top: Path) -> None:
    store = ours(top)
    store.write("one", b"abc")
    for name, seconds in ((".unfinished-1-1", 7200), (".unfinished-2-2", 0)):
        (store.path / name).touch()
        age(store.path / name, seconds)
    store.write("one", b"abc")
    assert files(store) == {"one.kept", ".unfinished-2-2"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, DIRECTORY),
        ({"CACHE_DIRECTORY": "/var/cache/other"}, Path("/var/cache/other")),
        ({"CACHE_DIRECTORY": "/var/cache/one:/var/cache/two"}, Path("/var/cache/one")),
        ({"CACHE_DIRECTORY": "relative"}, DIRECTORY),
        ({"CACHE_DIRECTORY": ""}, DIRECTORY),
        ({"HOME": "/home/somebody", "XDG_CACHE_HOME": "/home/somebody/.cache"}, DIRECTORY),
    ],
)
def test_the_directory_is_systemds_or_roots_never_a_home(given: dict[str, str], found: Path) -> None:
    assert directory(given) == found
