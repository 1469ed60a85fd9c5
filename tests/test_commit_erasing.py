"""Wiping rows out of objects that others share."""

from __future__ import annotations

import numpy as np
import pytest
from make_commits import add_rows, open_world_store, values_of
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered

from aggrade.commit import find_layer, find_receipt, read_snapshot
from aggrade.commit.chunks import Chunks
from aggrade.commit.erasing import (
    erase,
    held_objects,
    may_hold,
    same_values,
)
from aggrade.commit.layers import layer_key, removed
from aggrade.commit.plan import Erasure, Target
from aggrade.errors import Conflict


@pytest.fixture
def storage():
    """Return a store of six rows from as many commits."""
    storage = open_world_store()
    for label in "abcdef":
        add_rows(storage, label)
    return storage


def nothing():
    """Confirm an intent that nobody has taken."""


def wipe(storage, label="c", rows=(2,), *, dirty=(), confirm=nothing):
    """Wipe a row out."""
    documents = read_snapshot(storage).documents
    erase(storage, Erasure(label=label, dim="row", rows=rows), documents, dirty, 41, confirm)


def rows_of(storage):
    """Return what plain zarr reads."""
    group = read_snapshot(storage).open(storage)
    return group["x"][...], group["total"][...]


@pytest.mark.parametrize("rows", [(0,), (2,), (3,), (5,), (0, 1, 2), (1, 4), tuple(range(6))])
def test_rows_become_fill_and_others_stay(storage, rows):
    """In objects of their own and in shared ones alike."""
    wipe(storage, rows=rows)
    found, totals = rows_of(storage)
    for row, label in enumerate("abcdef"):
        expected = np.full(3, -1.0) if row in rows else values_of(label)
        np.testing.assert_array_equal(found[row], expected)
        assert totals[row] == (-1.0 if row in rows else values_of(label).sum())


def test_what_is_looked_at(storage):
    """Objects with the row, and those that nobody shows; no other rows' own ones."""
    storage.write("x/c/9/0", b"beyond")
    storage.write("x/c.2.0", b"another key space")
    storage.write("README.txt", b"not ours")
    storage.write("x/notes.txt", b"not ours either")
    erasure = Erasure(label="c", dim="row", rows=(2,))
    held = {
        one.info.key: one.place for one in held_objects(storage, erasure, read_snapshot(storage).documents)
    }
    assert held == {"x/c/2/0": (2, 0), "total/c/0": (0,), "x/c/9/0": None, "x/c.2.0": None}
    assert not may_hold("zarr.json", erasure, {})
    assert not may_hold("x/zarr.json", erasure, read_snapshot(storage).documents)


def test_what_nobody_shows_is_emptied(storage):
    """Objects beyond the shape and in other key spaces hold nothing afterwards, and keep their names taken."""
    storage.write("x/c/9/0", b"beyond")
    storage.write("total/5", b"another key space")
    storage.write("README.txt", b"not ours")
    wipe(storage)
    assert storage.read("x/c/9/0").data == b""
    assert storage.read("total/5").data == b""
    assert storage.read("README.txt").data == b"not ours"


def test_beyond_the_shape_of_a_shared_object(storage):
    """What a dead writer has left in a shared object, in rows that are not shown, goes as well."""
    document = read_snapshot(storage).documents["total"]
    chunks, stored = Chunks(document), storage.read("total/c/1")
    values = chunks.values(stored.data)
    values[3] = 77.0
    storage.write("total/c/1", chunks.bytes_of(values), replacing=stored.etag)
    keys = {"name": "default", "configuration": {"separator": "/"}}
    dirty = [Target(variable="total", bounds=((6, 8),), unit=(4,), key_encoding=keys)]
    wipe(storage, dirty=dirty)
    left = chunks.values(storage.read("total/c/1").data)
    np.testing.assert_array_equal(left, [values_of("e").sum(), values_of("f").sum(), -1, -1])


def test_records_and_receipts(storage):
    """The record gives way to a mark, the receipt loses the label; those of others stay."""
    write_id = find_layer(storage, "c").write_id
    wipe(storage)
    assert find_layer(storage, "c") is None
    assert storage.read(layer_key("c")).data == removed(41)
    assert find_receipt(storage, write_id).layers == {}
    assert find_layer(storage, "d").index == 3
    assert find_receipt(storage, find_layer(storage, "d").write_id).layers == {"d": 3}


def test_twice_is_once(storage):
    """Doing it again changes not a byte; doing it after a death at any request finishes it."""
    start = storage.world.copy()
    wipe(storage)
    done = dict(storage.world.objects)
    wipe(storage)
    again = {key for key in done if storage.world.objects[key][0] != done[key][0]}
    assert again == set()
    hooks = Numbered()
    wipe(MemoryStorage(start.copy(), storage.prefix, hooks))
    for place in range(1, hooks.count + 1):
        world = start.copy()
        with pytest.raises(Killed):
            wipe(MemoryStorage(world, storage.prefix, DiesAt(world, place, after=True)))
        wipe(MemoryStorage(world, storage.prefix))
        same = {key: data for key, (data, _) in world.objects.items() if not key.endswith("intent.json")}
        assert same == {key: data for key, (data, _) in done.items() if not key.endswith("intent.json")}


def test_an_object_that_can_t_be_decoded(storage):
    """Nobody can read anybody's rows of it: it becomes fill."""
    stored = storage.read("total/c/0")
    storage.write("total/c/0", b"torn", replacing=stored.etag)
    wipe(storage)
    np.testing.assert_array_equal(rows_of(storage)[1][:4], [-1, -1, -1, -1])


def test_a_taken_intent_ends_it(storage):
    """Whoever has lost the intent overwrites nothing."""
    before = {key: data for key, (data, _) in storage.world.objects.items()}

    def lost():
        raise Conflict

    with pytest.raises((Conflict, TypeError, ValueError)):
        wipe(storage, confirm=lost)
    assert {key: data for key, (data, _) in storage.world.objects.items()} == before


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (np.float32([np.nan, 1]), np.float32([np.nan, 1]), True),
        (np.float32([0.0]), np.float32([-0.0]), False),
        (np.float32([1]), np.float64([1]), False),
        (np.array(["a"], "T"), np.array(["a"], "T"), True),
        (np.array(["a"], "T"), np.array(["b"], "T"), False),
        (np.zeros(2), np.zeros((2, 1)), False),
    ],
)
def test_same_values(one, other, same):
    """Numbers are the same bit by bit, text letter by letter."""
    assert same_values(one, other) is same
