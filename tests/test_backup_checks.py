"""`verify` looks at what a restore would need: backups, rows that were replaced, the intent's record of left-overs."""

from __future__ import annotations

import json

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.commit import read_intent
from aggrade.errors import Damaged, Refused
from aggrade.repairing import repair

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
BACKUPS = "data/windows.zarr.backups"


class Store:
    """Two sessions, of which the second was replaced; three commits, two backups."""

    def __init__(self, open_world):
        self.world = World()
        self.options = open_world(self.world)
        self.receipts = [
            aggrade.append(
                make_session(label, 3, seed),
                STORE,
                grow=("window",),
                chunks=CHUNKS,
                on_conflict="replace",
                storage_options=self.options,
            )
            for label, seed in (("s0", 0), ("s1", 1), ("s1", 2))
        ]

    def problems(self):
        """Return what verify complains of."""
        return aggrade.verify(STORE, storage_options=self.options).problems

    def put(self, key, data):
        """Overwrite an object, or take it away, as another program would."""
        storage = MemoryStorage(self.world, "")
        if data is None:
            storage.delete([key])
        else:
            storage.write(key, data, replacing=storage.stat(key).etag)

    def read(self, key):
        """Return an object."""
        return MemoryStorage(self.world, "").read(key).data


@pytest.fixture
def store(open_world):
    """Return a sound store with backups."""
    store = Store(open_world)
    report = aggrade.verify(STORE, storage_options=store.options)
    assert report.ok, report
    assert report.checked["backups"] == 2
    return store


def flipped(data):
    """Return bytes of which the one in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 5]) + data[middle + 1 :]


def encrypted(data):
    """Return an archive whose directory says that its first member is encrypted."""
    place = data.index(b"PK\x01\x02") + 8
    return data[:place] + bytes([data[place] | 1]) + data[place + 1 :]


def compressed_otherwise(data):
    """Return an archive whose directory names a method that nobody has."""
    place = data.index(b"PK\x01\x02") + 10
    return data[:place] + bytes([99]) + data[place + 1 :]


DAMAGE = {"lost": lambda _: None, "flipped": flipped, "cut": lambda data: data[:-3], "empty": lambda _: b""}
ARCHIVES = {**DAMAGE, "encrypted": encrypted, "another method": compressed_otherwise}


@pytest.mark.parametrize("damage", sorted(ARCHIVES))
def test_an_archive(store, damage):
    """An archive that is lost or torn is named with its backup, and stays for a person to decide."""
    backup = store.receipts[1].backup
    key = f"{BACKUPS}/{backup}/objects.zip"
    store.put(key, ARCHIVES[damage](store.read(key)))
    (problem,) = store.problems()
    assert backup in problem
    assert "archive" in problem


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_manifest_that_is_torn(store, damage):
    """It is named, and whoever needs it is told the same."""
    backup = store.receipts[1].backup
    key = f"{BACKUPS}/{backup}/manifest.json"
    store.put(key, DAMAGE[damage](store.read(key)))
    (problem,) = store.problems()
    assert "manifest" in problem
    with pytest.raises(Damaged, match="manifest of this version"):
        aggrade.restore(STORE, backup, storage_options=store.options)


def test_a_manifest_that_is_lost(store):
    """A backup of a commit that took effect was finished: it is a problem, and no repair deletes it."""
    backup = store.receipts[1].backup
    store.put(f"{BACKUPS}/{backup}/manifest.json", None)
    (problem,) = store.problems()
    assert "lost their manifest" in problem
    assert "--repair" not in problem
    assert not repair(STORE, storage_options=store.options).ok
    assert store.read(f"{BACKUPS}/{backup}/objects.zip")


def test_a_copy_that_is_lost(store):
    """What a restore gave up was copied; a copy that is missing is named."""
    backup = aggrade.restore(STORE, store.receipts[2].backup, storage_options=store.options).backup
    assert store.problems() == ()
    keys = [key for key in store.world.objects if f"{backup}/objects/" in key]
    store.put(keys[0], None)
    (problem,) = store.problems()
    assert "misses 1 copies" in problem


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_row_that_was_replaced(store, damage):
    """Chunks of a superseded row are what a restore shows again: they are proven like any other."""
    key = next(key for key in store.world.objects if key.startswith("data/windows.zarr/eeg/c/1/"))
    store.put(key, DAMAGE[damage](store.read(key)))
    (problem,) = store.problems()
    assert "before it was replaced" in problem


def test_an_intent_that_is_lost(store):
    """With it goes what dead writers left on record; a repair makes a new one."""
    store.put("data/windows.zarr/.aggrade/intent.json", None)
    (problem,) = store.problems()
    assert "its intent is gone" in problem
    assert repair(STORE, storage_options=store.options).ok
    assert read_intent(MemoryStorage(store.world, "data/windows.zarr"))[0].state == "free"
    assert store.problems() == ()


@pytest.mark.parametrize("change", [{"moon": "full"}, {"kind": "delta"}])
def test_a_manifest_of_a_newer_version_is_left(store, change):
    """It is named with the advice to update; restoring, pruning and purging keep their hands off."""
    backup = store.receipts[2].backup
    key = f"{BACKUPS}/{backup}/manifest.json"
    store.put(key, json.dumps(json.loads(store.read(key)) | change).encode())
    (problem,) = store.problems()
    assert problem.endswith("; update aggrade, then try again.")
    before = dict(store.world.objects)
    with pytest.raises(Refused, match="update aggrade"):
        aggrade.restore(STORE, backup, storage_options=store.options)
    with pytest.raises(Refused, match="update aggrade"):
        aggrade.remove(STORE, "s1", purge_backups=True, storage_options=store.options)
    assert store.world.objects == before
    pruned = aggrade.prune_backups(STORE, keep=0, storage_options=store.options)
    assert [one.id for one in pruned] == [store.receipts[1].backup]
    assert store.read(key) == before[key][0]
