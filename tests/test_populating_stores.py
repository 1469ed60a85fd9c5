"""`populate` and the store it grows: several writers, flat cost, and what it does not touch."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from make_catalogues import write_table
from memory_storage import Hooks, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade import populate
from aggrade.errors import AggradeError, Damaged, Refused
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

SPEC = {
    "object_id": "id",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag"}},
}
ROOT, STORE = "world://data", "world://data/lightcurves.zarr"


@pytest.fixture
def world(tmp_path):
    """Return a world with thirty nights of four objects."""
    made = World()
    for index in range(30):
        rows = {"id": np.arange(4), "mag": np.arange(4) + index / 100}
        path = write_table(tmp_path / f"night_{index:02d}.parquet", rows, meta={"MJD": 60000.0 + index})
        made.objects[f"cats/{path.name}"] = (path.read_bytes(), made.mark(b""))
    return made


def nights(options, pattern):
    """Populate some nights."""
    return populate(f"world://cats/night_{pattern}.parquet", ROOT, SPEC, storage_options=options)


def cube(world):
    """Return what a bare reader sees."""
    return xr.open_zarr(ReadStore(MemoryStorage(world, "data/lightcurves.zarr")), consolidated=True).load()


def test_two_populations_at_once_both_land(open_world, world):
    """Two writers of different nights plan anew where the other was faster; every night lands once and whole."""
    failures: list[AggradeError] = []

    def run(pattern):
        try:
            nights(open_world(world, Hooks()), pattern)
        except AggradeError as error:
            failures.append(error)

    nights(open_world(world), "00")
    threads = [threading.Thread(target=run, args=(pattern,)) for pattern in ("0[1-9]", "1*", "2*")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    dataset = cube(world)
    assert sorted(dataset["epoch"].values.tolist()) == [f"{index:02d}" for index in range(30)]
    for index in range(30):
        values = dataset["lightcurves"].sel(epoch=f"{index:02d}").sortby("object").values[:, 0, 0]
        assert np.array_equal(values, (np.arange(4) + index / 100).astype("f4"))
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


def test_one_more_night_costs_the_same(open_world, world):
    """The requests of adding one night, by kind, are the same beside 4 nights and beside 28."""
    costs = []
    for there in ("0[0-3]", "[01]*"):
        grown = world.copy()
        nights(open_world(grown), there)
        hooks = Numbered()
        nights(open_world(grown, hooks), "29")
        kinds = Counter(kind.split()[0] for kind in hooks.kinds if "heartbeat" not in kind)
        costs.append(kinds)
    assert costs[0] == costs[1]


def test_a_store_without_its_receipt_is_damaged(open_world, world):
    """Where epochs are there but nothing tells of their commit, that is said."""
    nights(open_world(world), "0*")
    for key in [key for key in world.objects if "/.aggrade/receipts/" in key]:
        del world.objects[key]
    with pytest.raises(Damaged, match="no receipt of the commit that brought epoch 09"):
        nights(open_world(world), "0*")


def test_a_rechunked_copy_is_not_populated(open_world, world):
    """New nights go into the original; the copy is rechunked again."""
    nights(open_world(world), "0*")
    copy = "world://data/lightcurves_by_object.zarr"
    aggrade.rechunk(STORE, copy, chunks={"object": 2, "epoch": -1}, storage_options=open_world(world))
    with pytest.raises(Refused, match="a rechunked copy"):
        populate("world://cats", copy, SPEC, storage_options=open_world(world))
    receipt = nights(open_world(world), "1*")
    assert len(receipt.layers) == 10


def test_both_layouts_answer_alike(open_world, world):
    """A light curve read from the rechunked copy is the one of the original."""
    nights(open_world(world), "*")
    options = open_world(world)
    plain = aggrade.LightCurves(STORE, storage_options=options).lightcurve(2).load()
    copy = "world://data/lightcurves_by_object.zarr"
    aggrade.rechunk(STORE, copy, chunks={"object": 2, "epoch": -1}, storage_options=options)
    turned = aggrade.LightCurves(copy, storage_options=options).lightcurve(2).load()
    assert np.array_equal(plain["lightcurves"], turned["lightcurves"], equal_nan=True)
    assert np.array_equal(plain["status"], turned["status"])
    assert plain["lightcurves"].values[0, 0].tolist() == [np.float32(2 + index / 100) for index in range(30)]


def test_a_store_may_be_named_itself(open_world, world):
    """A Zarr store's own URL is taken as well as its dataset root's."""
    nights(open_world(world), "00")
    receipt = populate("world://cats/night_01.parquet", STORE, SPEC, storage_options=open_world(world))
    assert receipt.layers == {"01": 1}
    assert receipt.store == STORE


def test_no_ledger_is_left_behind(open_world, world):
    """Once the commit is published, nothing remains of the pieces' own entries."""
    nights(open_world(world), "*")
    assert not [key for key in world.objects if "/.aggrade/ledger/" in key]
