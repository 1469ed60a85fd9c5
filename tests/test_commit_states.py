"""Earlier states, put together from backups."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from make_commits import add_rows, open_world_store, values_of

from aggrade.commit import manifests, read_snapshot
from aggrade.commit.backup import back_up
from aggrade.commit.chunks import Chunks
from aggrade.commit.plan import Target
from aggrade.commit.purging import purge
from aggrade.commit.states import KeptState
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.storage import ObjectInfo, StoredObject


@pytest.fixture
def storage():
    """Return a store of six rows from as many commits."""
    storage = open_world_store()
    for label in "abcdef":
        add_rows(storage, label)
    return storage


def state_of(storage, generation):
    """Return the state that the backup of a generation was made of."""
    return KeptState(storage, next(one.id for one in manifests(storage) if one.generation == generation))


def put(storage, key, data):
    """Overwrite an object, as nobody should."""
    stored = storage.read(key)
    storage.write(key, data, replacing=stored.etag if stored else None)


@pytest.mark.parametrize("generation", [1, 2, 3, 4, 5])
def test_the_root_of_then(storage, generation):
    """It shows as many rows as there were."""
    state = state_of(storage, generation)
    assert state.shown.length("row") == generation
    assert state.shown.generation == generation


@pytest.mark.parametrize("generation", [1, 3, 5])
def test_shared_objects_of_then(storage, generation):
    """An object that later commits have overwritten is read from the first backup since; others as they are."""
    state = state_of(storage, generation)
    key, document = "total/c/0", state.shown.documents["total"]
    totals = [values_of(label).sum() for label in "abcdef"]
    found = Chunks(document).values(state.read(key))
    first = min(generation, 4)
    np.testing.assert_array_equal(found[:first], totals[:first])
    assert state.source(key) is (None if generation > 3 else state.manifest)
    assert state.read("x/c/0/0") == storage.read("x/c/0/0").data


def test_what_was_damaged_since(storage):
    """A kept object is what it was, whatever lies there now."""
    before = storage.read("total/c/0").data
    state = state_of(storage, 2)
    put(storage, "total/c/0", b"torn")
    assert state.read("total/c/0") != b"torn"
    assert state_of(storage, 4).read("total/c/0") == b"torn"
    assert before != b"torn"


def test_what_was_not_there(storage):
    """An object in a region of which everything was kept, and that was not kept, was not there."""
    region = Target(variable="x", bounds=((6, 9), (0, 3)), unit=(1, 3), key_encoding={"name": "default"})
    root = storage.read("zarr.json")
    back_up(storage, "00000006-own", (6, "w"), "touched", {"zarr.json": root}, regions=[region])
    put(storage, "x/c/7/0", b"since then")
    assert state_of(storage, 6).read("x/c/7/0") is None
    assert state_of(storage, 6).read("x/c/9/0") is None
    put(storage, "x/c/9/0", b"elsewhere")
    assert state_of(storage, 6).read("x/c/9/0") == b"elsewhere"


def test_copies_are_read(storage):
    """What a backup holds as a copy is read from there, not from its archive."""
    root, info = storage.read("zarr.json"), storage.stat("x/c/2/0")
    before = storage.read("x/c/2/0").data
    back_up(storage, "00000006-own", (6, "w"), "touched", {"zarr.json": root}, copied=[info])
    put(storage, "x/c/2/0", b"other")
    assert state_of(storage, 6).read("x/c/2/0") == before
    assert state_of(storage, 1).read("x/c/2/0") == before


def test_a_full_backup_holds_everything_but_the_commit_under_way(storage):
    """Every object of the state is in it; the intent of the commit that made it is not."""
    add_rows(storage, "g", backup="full")
    state = state_of(storage, 6)
    assert "zarr.json" in state.manifest.objects
    assert not [key for key in state.manifest.objects if key.endswith("intent.json")]
    assert state.shown.length("row") == 6


class TestRefused:
    """What can't be put together."""

    def test_an_unknown_backup(self, storage):
        """Those that there are, are named."""
        with pytest.raises(BadInput, match=manifests(storage)[0].id):
            KeptState(storage, "nonsense")

    def test_a_purged_one(self, storage):
        """It says why."""
        (first, *_) = manifests(storage)
        purge(storage, [first])
        with pytest.raises(Refused, match="a removal has purged"):
            KeptState(storage, first.id)

    @pytest.mark.parametrize("content", ["nothing", "torn", "no root"])
    def test_one_without_its_root(self, storage, content):
        """A backup that has lost its archive, or whose archive is torn or lacks the root, is damaged."""
        first = manifests(storage)[0]
        parent, name = storage.above()
        key = f"{name}.backups/{first.id}/objects.zip"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("total/c/0", b"")
        parent.delete([key])
        if content != "nothing":
            parent.write(key, b"PK torn" if content == "torn" else buffer.getvalue())
        with pytest.raises(Damaged, match="restore another backup"):
            KeptState(storage, first.id)

    def test_one_whose_copy_is_gone(self, storage):
        """A copy that isn't there is damage, not fill."""
        root = StoredObject(storage.read("zarr.json").data, "")
        back_up(
            storage,
            "00000006-own",
            (6, "w"),
            "touched",
            {"zarr.json": root},
            copied=[ObjectInfo("x/c/2/0", 1, "1")],
        )
        parent, name = storage.above()
        parent.delete([f"{name}.backups/00000006-own/objects/x/c/2/0"])
        with pytest.raises(Damaged, match="no x/c/2/0"):
            state_of(storage, 6).read("x/c/2/0")


def test_the_store_itself_is_left_alone(storage):
    """Looking at an earlier state changes nothing."""
    before = dict(storage.world.objects)
    state = state_of(storage, 2)
    state.read("total/c/0")
    state.bookkeeping()
    assert storage.world.objects == before
    assert read_snapshot(storage).generation == 6
