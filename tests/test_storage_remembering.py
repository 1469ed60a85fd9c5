"""Reading through a memory: the same bytes, fewer requests, and never more than it may hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_storage import MemoryStorage, Numbered, World

from aggrade.storage.remembering import Remembering


@pytest.fixture
def hooks():
    """Return what counts requests."""
    return Numbered()


@pytest.fixture
def storage(hooks):
    """Return a storage with ten objects of ten bytes."""
    held = MemoryStorage(World(), "s.zarr", hooks)
    for number in range(10):
        held.write(f"k{number}", bytes([number]) * 10)
    hooks.kinds.clear()
    return held


def test_an_object_is_read_once(storage, hooks):
    """Reading it again costs nothing, and neither does a part of it."""
    remembering = Remembering(storage)
    for _ in range(3):
        assert remembering.read("k1").data == bytes([1]) * 10
    assert remembering.read("k1", start=2, stop=5).data == bytes([1]) * 3
    assert remembering.read("k1", start=-4).data == bytes([1]) * 4
    assert hooks.kinds == ["GET s.zarr/k1"]


def test_a_part_alone_is_not_kept(storage, hooks):
    """Who asks for a part reads a part, each time."""
    remembering = Remembering(storage)
    for _ in range(2):
        assert remembering.read("k1", start=2, stop=5).data == bytes([1]) * 3
    assert len(hooks.kinds) == 2


def test_what_is_not_there(storage, hooks):
    """Nothing is not kept: it may come."""
    remembering = Remembering(storage)
    assert remembering.read("missing") is None
    storage.write("missing", b"now")
    assert remembering.read("missing").data == b"now"
    assert hooks.kinds.count("GET s.zarr/missing") == 2


def test_the_oldest_gives_way(storage, hooks):
    """When the memory is full, what was used longest ago is forgotten."""
    remembering = Remembering(storage, limit=25)
    for key in ("k1", "k2", "k1", "k3", "k1", "k2"):
        remembering.read(key)
    assert hooks.kinds == [f"GET s.zarr/{key}" for key in ("k1", "k2", "k3", "k2")]


def test_what_is_too_large_is_not_kept(storage, hooks):
    """An object larger than the memory doesn't empty it."""
    storage.write("large", bytes(100))
    hooks.kinds.clear()
    remembering = Remembering(storage, limit=25)
    for key in ("k1", "large", "large", "k1"):
        remembering.read(key)
    assert hooks.kinds == [f"GET s.zarr/{key}" for key in ("k1", "large", "large")]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), st.one_of(st.none(), st.integers(0, 12)))))
def test_every_read_is_what_the_storage_holds(reads):
    """Whatever was read before, bytes and marks are those of the storage."""
    storage = MemoryStorage(World(), "s.zarr")
    for number in range(3):
        storage.write(f"k{number}", bytes(range(10 * number, 10 * number + 10)))
    remembering = Remembering(storage, limit=15)
    for number, start, stop in reads:
        key = f"k{number}"
        assert remembering.read(key, start=start, stop=stop) == storage.read(key, start=start, stop=stop)


def test_threads_share_it(storage):
    """Readers at the same time see the same bytes."""
    remembering = Remembering(storage, limit=35)
    keys = [f"k{number % 10}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: remembering.read(key).data, keys))
    assert found == [bytes([int(key[1])]) * 10 for key in keys]


def test_what_it_writes_itself_is_seen(storage):
    """Who writes, copies or deletes through it reads what is there then."""
    remembering = Remembering(storage)
    mark = remembering.read("k1").etag
    remembering.write("k1", b"new", replacing=mark)
    assert remembering.read("k1").data == b"new"
    assert remembering.read("copied") is None
    remembering.copy("k1", "copied")
    assert remembering.read("copied").data == b"new"
    remembering.delete(["k1", "copied"])
    assert remembering.read("k1") is None
    assert remembering.within("f").url.endswith("s.zarr/f")
    assert remembering.above()[1] == "s.zarr"


def test_the_rest_is_the_storages(storage):
    """Sizes, listings and folders come from the storage."""
    remembering = Remembering(storage)
    assert remembering.url == storage.url
    assert remembering.stat("k3").size == 10
    assert len(list(remembering.list("k"))) == 10
    storage.write("folder/k", b"")
    assert remembering.folders() == ["folder"]
