"""Two writers at once: as people write it, epochs are lost; as `populate` does it, from the same files, none is."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from make_catalogues import write_table
from memory_storage import Hooks, MemoryStorage, World, open_world
from zarr.storage import MemoryStore, WrapperStore

from aggrade import populate
from aggrade.catalogues.planning import FilledPiece, PopulatePlan
from aggrade.errors import Refused
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

SPEC = {
    "object_id": "id",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag"}},
}
STORE = "world://data/lightcurves.zarr"
EPOCHS, OBJECTS, DETECTORS, SECONDS = 16, 6, ("a", "b"), 60


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two files per epoch, one of each detector, which has half of the objects."""
    for epoch in range(EPOCHS):
        for half, detector in enumerate(DETECTORS):
            ids = np.arange(OBJECTS).reshape(2, -1)[half]
            rows = {"id": ids, "mag": 15 + epoch + ids / 10}
            write_table(
                tmp_path / f"night_{epoch:02d}_{detector}.parquet", rows, meta={"MJD": 60000.0 + epoch}
            )
    return tmp_path


def magnitudes():
    """Return (object, epoch) what the files say."""
    return (15 + np.arange(EPOCHS) + np.arange(OBJECTS)[:, None] / 10).astype("f4")


class Meeting(WrapperStore):
    """A store whose two users always read a chunk at the same time, before either of them writes it."""

    def __init__(self, store):
        super().__init__(store)
        self.barrier = asyncio.Barrier(2)

    async def get(self, key, *args, **kwargs):
        """Read when both are here, and go on when both have read."""
        if not key.startswith("c/"):
            return await super().get(key, *args, **kwargs)
        await asyncio.wait_for(self.barrier.wait(), SECONDS)
        found = await super().get(key, *args, **kwargs)
        await asyncio.wait_for(self.barrier.wait(), SECONDS)
        return found


def naive(folder, files_of, per_chunk, *, at_once):
    """Populate a cube by two writers, each assigning its own rows; return (object, epoch) what lies there then."""
    shape, chunks = (OBJECTS, EPOCHS), (OBJECTS, per_chunk)
    store = MemoryStore()
    zarr.create_array(store, shape=shape, chunks=chunks, dtype="f4", fill_value=np.nan)

    def write(paths, target):
        for path in paths:
            rows, epoch = pd.read_parquet(path), int(path.name.split("_")[1])
            target[rows.id.min() : rows.id.max() + 1, epoch] = rows.mag.to_numpy("f4")

    shared = zarr.open_array(Meeting(store) if at_once else store)
    with ThreadPoolExecutor(2 if at_once else 1) as pool:
        for done in [pool.submit(write, files_of(folder, writer), shared) for writer in (0, 1)]:
            done.result(SECONDS)
    return zarr.open_array(store)[...]


def of_detector(folder, writer):
    """Return the files of one detector: every epoch has two writers."""
    return sorted(folder.glob(f"*_{DETECTORS[writer]}.parquet"))


def of_nights(folder, writer):
    """Return the files of every other night: every epoch has one writer, every chunk of two epochs has two."""
    return [path for path in sorted(folder.glob("*.parquet")) if int(path.name.split("_")[1]) % 2 == writer]


class Together(Hooks):
    """Two pieces write their first chunks at the same moment."""

    def __init__(self):
        self.barrier, self.met = threading.Barrier(2), 0

    def before(self, kind, key):
        """Wait for the other piece."""
        if kind == "PUT" and key.endswith(("lightcurves/c/0/0/0/0", "lightcurves/c/0/0/0/8")):
            self.met += 1
            self.barrier.wait(SECONDS)


def recut(plan, cuts, per_chunk):
    """Return the plan with its epochs dealt out in another way, over chunks of so many epochs."""
    for name in ("lightcurves", "status"):
        plan.commit.documents[name]["chunk_grid"]["configuration"]["chunk_shape"][-1] = per_chunk
    pieces = [FilledPiece.of([plan.epochs[index] for index in cut], "o", plan.shape) for cut in cuts]
    return PopulatePlan(**{**dict(plan), "pieces": tuple(pieces)})


@pytest.mark.parametrize(
    ("files_of", "per_chunk", "cuts"),
    [
        (of_detector, 1, [range(EPOCHS)] * 2),
        (of_nights, 2, [range(0, EPOCHS, 2), range(1, EPOCHS, 2)]),
    ],
)
def test_naive_writers_lose_epochs_and_populate_does_not(files_of, per_chunk, cuts, folder, open_world):
    """Writers that meet lose half of every chunk, so that epochs are not whole; pieces that meet lose nothing."""
    truth = magnitudes()
    assert np.array_equal(naive(folder, files_of, per_chunk, at_once=False), truth)
    lost = np.isnan(naive(folder, files_of, per_chunk, at_once=True))
    assert (lost.reshape(OBJECTS, -1, per_chunk).mean(axis=(0, 2)) == 0.5).all()
    assert lost.any(axis=0).sum() >= EPOCHS // 2

    world, meeting = World(), Together()
    for path in folder.glob("*.parquet"):
        world.objects[f"cats/{path.name}"] = (path.read_bytes(), world.mark(b""))
    options = open_world(world, meeting)
    plan = populate("world://cats", STORE, SPEC, dry_run=True, storage_options=options)
    with pytest.raises(Refused, match="chunks with several tasks") as caught:
        recut(plan, cuts, per_chunk)
    assert caught.value.code == "shared-chunk"

    with ThreadPoolExecutor(2) as pool:
        populate("world://cats", STORE, SPEC, map=pool.map, storage_options=options)
    assert meeting.met == 2
    cube = xr.open_zarr(ReadStore(MemoryStorage(world, "data/lightcurves.zarr")), consolidated=True)
    cells = cube.lightcurves.sel(object=np.arange(OBJECTS), measurement="g", value="mag")
    assert cube.epoch.values.tolist() == [f"{epoch:02d}" for epoch in range(EPOCHS)]
    assert np.array_equal(cells.values, truth)
    assert (cube.status.values == 1).all()
