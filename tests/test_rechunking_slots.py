"""Versions of one store never share a key."""

from __future__ import annotations

import itertools

import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document
from zarr.storage import MemoryStore

from aggrade.rechunking import slots


def _keys(document):
    """Return the keys that zarr itself writes for an array."""
    memory = {}
    path = zarr.storage.StorePath(MemoryStore(memory), "x")
    zarr.Array(zarr.AsyncArray(metadata=document, store_path=path))[...] = 1
    return set(memory)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), max_size=4), st.integers(0, 9))
def test_successive_versions_share_no_key(shape, version):
    """No key is in two successive versions, nor in three where the array has dimensions."""
    document = make_document(shape, [1] * len(shape))
    now, later, latest = (_keys(slots.with_version(document, version + step)) for step in range(3))
    assert not now & later
    assert not later & latest
    assert not shape or not now & latest


def test_the_first_version_has_the_keys_of_any_zarr_store():
    """Version 0 is laid out as every zarr v3 store is."""
    document = make_document((4, 4), (2, 2))
    assert slots.with_version(document, 0) == document
    assert _keys(slots.with_version(document, 0)) == {
        f"x/c/{i}/{j}" for i, j in itertools.product("01", "01")
    }


@pytest.mark.parametrize(("version", "key"), [(0, "x/c"), (1, "x/0"), (2, "x/c")])
def test_a_scalar_takes_turns_between_two_keys(version, key):
    """An array without dimensions has two possible keys only."""
    assert _keys(slots.with_version(make_document((), ()), version)) == {key}


@pytest.mark.parametrize("version", range(3))
def test_only_keys_of_the_versions_at_hand_are_spared(version):
    """Chunks of other versions, of other shapes and beyond the shape are strangers; what is named is not."""
    document = make_document((4, 4), (2, 2))
    served = slots.with_version(document, version)
    others = {key for step in (1, 2) for key in _keys(slots.with_version(document, version + step))}
    beyond = {"x/c/2/0", "x/c.2.0", "x/2.0", "x/c/0", "x/c.0", "x/0", "x/c/0/0/0"}
    keys = {"x/zarr.json", *_keys(served), *others, *beyond}
    kept = min(others)
    assert set(slots.strangers("x", [served], keys, [kept])) == (others | beyond) - {kept}
    assert set(slots.strangers("x", [], keys)) == keys - {"x/zarr.json"}
