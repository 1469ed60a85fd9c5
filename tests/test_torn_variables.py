"""What an append compares with, or shares a chunk with, and that can't be decoded, is damage with a name."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.commit import read_snapshot
from aggrade.errors import Damaged
from aggrade.storage.zarr_store import ReadStore
from aggrade.torn_variables import torn_variables

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
TORN = {
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda _: b"",
}
SHARED, COMPARED = ["n_windows/c/0", "label/c/0/0"], ["session/c/0", "eeg_channel/c/0"]


class Store:
    """Two sessions that share chunks of their small arrays."""

    def __init__(self, open_world):
        self.world = World()
        self.options = {"storage_options": open_world(self.world)}
        self.storage = MemoryStorage(self.world, "data/windows.zarr")
        self.append("a")
        self.append("b")

    def append(self, label, seed=0, **how):
        """Append a session."""
        session = make_session(label, 3, seed)
        return aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, **self.options, **how)

    def shown(self, but):
        """Return what a bare reader sees, but for one array."""
        with xr.open_zarr(ReadStore(self.storage), drop_variables=[but], chunks=None) as opened:
            return opened.drop_attrs(deep=False).load()

    def tear(self, key, how):
        """Tear an object."""
        data = how(self.world.objects[f"data/windows.zarr/{key}"][0])
        self.world.objects[f"data/windows.zarr/{key}"] = (data, self.world.mark(data))


@pytest.fixture
def store(open_world):
    """Return such a store."""
    return Store(open_world)


@pytest.mark.parametrize("how", sorted(TORN))
@pytest.mark.parametrize("key", [*SHARED, *COMPARED])
def test_appends_and_replacements_are_refused(store, key, how):
    """The error names the array, and nothing that shows changes; a dry run says the same."""
    store.tear(key, TORN[how])
    before = store.shown(but=key.partition("/")[0])
    for asked in ({"label": "c"}, {"label": "a", "seed": 7, "on_conflict": "replace"}):
        for dry_run in (True, False):
            with pytest.raises(Damaged, match="can't be decoded") as caught:
                store.append(**asked, dry_run=dry_run)
            assert caught.value.code == "torn"
            assert f"{STORE}/{key.partition('/')[0]}" in caught.value.problems[0].where
            assert "aggrade verify" in caught.value.problems[0].fix
    xr.testing.assert_identical(store.shown(but=key.partition("/")[0]), before)
    assert not aggrade.verify(STORE, **store.options).ok


@pytest.mark.parametrize("key", COMPARED)
def test_readers_are_told(store, key):
    """What `open_windows` needs at once is damage, not an error of a codec."""
    store.tear(key, TORN["cut"])
    with pytest.raises(Damaged, match="does not open"):
        aggrade.open_windows(STORE, **store.options)


def test_what_the_caller_hands_over_is_his(store):
    """An error of a dataset that is computed late is not laid at the store's door."""

    class Broken(xr.backends.BackendArray):
        shape, dtype = (1,), np.dtype("i4")

        def __getitem__(self, key):
            raise RuntimeError("the disk of the caller")

    lazy = xr.Variable(("session",), xr.core.indexing.LazilyIndexedArray(Broken()))
    session = make_session("c", 3, 0).assign(n_windows=lazy)
    with pytest.raises(RuntimeError, match="the disk of the caller"):
        aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, **store.options)


def test_only_what_is_torn_is_named(store):
    """Samples, which no guard reads, are not looked at."""
    store.tear("eeg_channel/c/0", TORN["cut"])
    store.tear("eeg/c/0/0/0/0", TORN["cut"])
    stored = read_snapshot(store.storage).dataset(store.storage)
    (problem,) = torn_variables(STORE, stored, "session")
    assert problem.where == f"{STORE}/eeg_channel"
