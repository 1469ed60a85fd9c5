"""Files that a killed writer left on a disk before they got their name go with a removal; of repair see test_repairing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from make_datasets import CHUNKS, make_session
from make_traces import traces

import aggrade
from aggrade.errors import BadInput
from aggrade.repairing import repair
from aggrade.session_catalogue import rebuild_catalogue
from aggrade.storage import files
from aggrade.storage.local import LocalStorage

HOW = {"grow": ("window",), "chunks": CHUNKS}
GONE = make_session("withdrawn", 3, 7)
PERSON = b"of withdrawn"
IN_STORE = ["eeg/c/3/0", "session/c", ".aggrade", ".aggrade/layers", ".aggrade/receipts"]


@pytest.fixture
def root(tmp_path):
    """Return a dataset of two sessions on a disk."""
    for session in (make_session("stays", 2, 1), GONE):
        aggrade.append(session, tmp_path, **HOW)
    return tmp_path


def left(folder):
    """Leave what a killed writer leaves in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".aggrade-tmp-0123456789abcdef"
    path.write_bytes(PERSON)
    return path


def found(root):
    """Return which files hold anything of the person."""
    there = {str(path): (path.read_bytes(), "") for path in root.rglob("*") if path.is_file()}
    return [*traces(there, GONE), *(key for key, (data, _) in there.items() if PERSON in data)]


def partition(root):
    """Return the folder of the common store's lines."""
    return root / "catalogue" / "partition=windows"


@pytest.mark.parametrize("purge", [True, False])
def test_a_removal_deletes_them(root, purge):
    """In the store and the catalogue in any case, in backups when these are purged."""
    backups = root / "windows.zarr.backups"
    paths = [left(root / "windows.zarr" / place) for place in IN_STORE] + [left(partition(root))]
    kept = [left(next(backups.iterdir())), left(backups / "00000009-dead" / "objects")]
    aggrade.remove(root, "withdrawn", purge_backups=purge)
    assert not any(path.exists() for path in paths)
    assert [path.exists() for path in kept] == [not purge] * 2
    assert not purge or found(root) == []
    assert aggrade.verify(root).ok


def test_in_a_store_that_holds_nothing_of_it_else(root):
    """The person has a store of its own; a dead append to the common one left a file there."""
    own = make_session("other", 2, 4)
    aggrade.append(own, root / "sessions" / "other_windowed.zarr", **HOW)
    path = left(root / "windows.zarr" / "eeg" / "c")
    aggrade.remove(root, "other")
    assert not path.exists()


@pytest.mark.parametrize(
    "place", ["sessions/withdrawn_windowed.zarr", "sessions/withdrawn_windowed.zarr.backups"]
)
@pytest.mark.parametrize("inside", [".aggrade", "x/objects"])
def test_a_folder_that_holds_nothing_else(tmp_path, place, inside):
    """Not even an intent got its name; no folder keeps the person's."""
    aggrade.append(make_session("stays", 2, 1), tmp_path, **HOW)
    left(tmp_path / place / inside)
    aggrade.remove(tmp_path, "withdrawn", purge_backups=True)
    assert [path for path in tmp_path.rglob("*") if "withdrawn" in str(path.relative_to(tmp_path))] == []
    with pytest.raises(BadInput, match="nothing of"):
        aggrade.remove(tmp_path, "withdrawn", purge_backups=True)


def test_a_store_of_its_own_goes_with_its_folder(tmp_path):
    """Files that never got a name keep no folder with the person's name."""
    aggrade.append(make_session("stays", 2, 1), tmp_path, **HOW)
    own = tmp_path / "sessions" / "withdrawn_windowed.zarr"
    aggrade.append(GONE, own, **HOW)
    rebuild_catalogue(str(tmp_path))
    for place in IN_STORE:
        left(own / place)
    left(tmp_path / "sessions" / "withdrawn_windowed.zarr.backups" / "x")
    left(tmp_path / "catalogue" / "partition=sessions")
    aggrade.remove(tmp_path, "withdrawn", purge_backups=True)
    assert found(tmp_path) == []
    assert [path for path in tmp_path.rglob("*") if "withdrawn" in str(path.relative_to(tmp_path))] == []


class StoppedError(Exception):
    """The process ends here."""


def test_a_removal_that_dies_before_it_is_recovered(root, monkeypatch):
    """Whoever rolls it forward deletes them."""
    paths = [left(root / "windows.zarr" / "eeg" / "c"), left(root / "windows.zarr.backups" / "x")]
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "0.2")
    real = LocalStorage.drop_partial

    def stop(_self, _paths):
        raise StoppedError

    monkeypatch.setattr(LocalStorage, "drop_partial", stop)
    with pytest.raises(StoppedError):
        aggrade.remove(root, "withdrawn", purge_backups=True)
    assert all(path.exists() for path in paths)
    monkeypatch.setattr(LocalStorage, "drop_partial", real)
    assert aggrade.recover(root)
    assert found(root) == []
    assert aggrade.verify(root).ok


def test_repair_finds_them_in_backups_and_catalogue(root):
    """Verify names them, a repair deletes them."""
    paths = [left(partition(root)), left(root / "windows.zarr.backups" / "00000009-dead")]
    assert "2 files that were never published" in str(aggrade.verify(root))
    assert repair(str(root)).ok
    assert not any(path.exists() for path in paths)
    assert aggrade.verify(root).notes == ()


@pytest.mark.parametrize("name", ["sessions/a_windowed.zarr", "windows/windows.zarr"])
def test_repair_leaves_young_ones_where_others_write(root, name):
    """Other stores' lines lie in the same folder: their writers may be at work."""
    aggrade.append(make_session("a", 2, 5), root / name, **HOW)
    rebuild_catalogue(str(root))
    folder = root / "catalogue" / ("partition=sessions" if "sessions" in name else "partition=windows")
    path = left(folder)
    assert repair(str(root)).done == ()
    assert path.exists()
    os.utime(path, (0, 0))
    assert repair(str(root)).ok
    assert not path.exists()


@pytest.mark.parametrize("replaces", [True, False])
def test_a_living_writer_writes_it_again(tmp_path, monkeypatch, replaces):
    """Its file is deleted before it gets its name: the object is there all the same, on the same condition."""
    storage, real, seen = LocalStorage(str(tmp_path)), files.spool, []
    before = storage.write("a/b", b"old").etag if replaces else None

    def spool(path, data, *, make_folder):
        spooled = real(path, data, make_folder=make_folder)
        if not seen:
            seen.append(LocalStorage(str(tmp_path)).partial_files(0))
            storage.drop_partial(seen[0])
        return spooled

    monkeypatch.setattr(files, "spool", spool)
    info = storage.write("a/b", b"new", replacing=before)
    assert len(seen[0]) == 1
    stored = storage.read("a/b")
    assert (stored.data, stored.etag) == (b"new", info.etag)
    assert storage.partial_files(0) == []


def test_a_file_that_always_vanishes(tmp_path, monkeypatch):
    """Whoever deletes it every time is told of."""
    storage, real = LocalStorage(str(tmp_path)), files.spool

    def spool(path, data, *, make_folder):
        temporary, etag = real(path, data, make_folder=make_folder)
        Path(temporary).unlink()
        return temporary, etag

    monkeypatch.setattr(files, "spool", spool)
    with pytest.raises(aggrade.Unavailable, match="temporary files that somebody deletes"):
        storage.write("a/b", b"new")
