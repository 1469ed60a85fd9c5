"""What one task of a population writes: whole chunks, its own, from the catalogues that were planned."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_catalogues import write_table
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.catalogues.filling import fill_piece, read_array, read_objects, write_objects
from aggrade.catalogues.given import given_objects
from aggrade.catalogues.planning import FilledEpoch
from aggrade.commit import Transaction
from aggrade.errors import Conflict, Damaged

__all__ = ["open_world"]

SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "g"}, "r": {"value": "r"}},
}
STORE = "world://data/lightcurves.zarr"


def rows(index, count=6):
    """Return one night of two bands, every third value missing."""
    rng = np.random.default_rng(index)
    values = rng.normal(20, 1, (2, count))
    values[0, index % 3 :: 3] = np.nan
    return {
        "id": np.arange(count),
        "ra": np.arange(count) * 30.0,
        "dec": np.zeros(count),
        "mjd": 60000.0 + index + np.arange(count) / 1000,
        "g": values[0],
        "r": values[1],
    }


@pytest.fixture
def world(tmp_path):
    """Return a world with twelve nights."""
    made = World()
    for index in range(12):
        path = write_table(tmp_path / f"night_{index:02d}.csv", rows(index))
        made.objects[f"cats/{path.name}"] = (path.read_bytes(), made.mark(b""))
    return made


def planned(options, nights="*"):
    """Return the plan of a population and its object table."""
    plan = aggrade.populate(
        f"world://cats/night_{nights}.csv", STORE, SPEC, dry_run=True, storage_options=options
    )
    frame = pd.DataFrame({name: rows(0)[name] for name in ("id", "ra", "dec")})
    return plan, given_objects(frame, plan.how, None)


@pytest.fixture
def opened(world, open_world):
    """Return an open transaction in which the object table is written, its plan, and a worker."""
    options = open_world(world)
    plan, _ = planned(options)
    frame = pd.DataFrame({name: rows(0)[name] for name in ("id", "ra", "dec")})
    plan = aggrade.populate("world://cats", STORE, SPEC, objects=frame, dry_run=True, storage_options=options)
    storage = MemoryStorage(world, "data/lightcurves.zarr")
    with Transaction(storage, plan.commit) as txn:
        list(write_objects(txn.writer(), given_objects(frame, plan.how, None)))
        yield txn.writer(), plan, functools.partial(fill_piece, plan.how, options)


def test_a_piece_writes_its_chunks_and_no_others(opened, world):
    """Every chunk of the piece's epochs is written, whole, and nothing else; the counts are per epoch."""
    writer, plan, work = opened
    before = set(world.objects)
    receipt = work(writer, plan.pieces[1])
    written = {item.key for item in receipt.written}
    indices = [epoch.index for epoch in plan.pieces[1].epochs]
    names = {"lightcurves": "0/0/0", "status": "0/0", "time_offset": "0/0"}
    assert written == {f"{name}/c/{place}/{index}" for name, place in names.items() for index in indices}
    assert set(world.objects) - before == {f"data/lightcurves.zarr/{key}" for key in written}
    assert set(receipt.details["epochs"]) == {epoch.report.key for epoch in plan.pieces[1].epochs}
    assert receipt.digest == plan.pieces[1].digest
    assert work(writer, plan.pieces[1]) == receipt


def test_the_object_table_is_read_before_it_is_published(opened):
    """What was written is what is read, though no reader sees the store yet."""
    writer, plan, _ = opened
    table = read_objects(writer.storage, writer.documents)
    assert table.digest == plan.objects_digest
    assert table.ids.tolist() == given_objects(pd.DataFrame(rows(0)), plan.how, None).ids.tolist()


def test_another_object_table_is_damage(opened):
    """A piece that finds another object table than the planned one writes nothing."""
    writer, plan, work = opened
    piece = plan.pieces[0].model_copy(update={"objects_digest": "another"})
    with pytest.raises(Damaged, match="expected digest another"):
        work(writer, piece)


def test_another_content_than_the_planned_is_a_conflict(opened, world):
    """An epoch whose rows have another digest than was planned is not written."""
    writer, plan, work = opened
    epoch = plan.pieces[0].epochs[0]
    other = FilledEpoch(
        index=epoch.index, report=epoch.report.model_copy(update={"digest": "other", "mark": ""})
    )
    before = set(world.objects)
    with pytest.raises(Conflict, match="other rows than a moment ago"):
        work(writer, plan.pieces[0].model_copy(update={"epochs": (other,)}))
    assert set(world.objects) == before


def test_a_missing_chunk_is_damage(opened, world):
    """A chunk that should be there and isn't is not taken for fill."""
    writer, _, _ = opened
    del world.objects["data/lightcurves.zarr/ra/c/0"]
    with pytest.raises(Damaged, match="ra/c/0: found nothing"):
        read_array(writer.storage, "ra", writer.documents["ra"])


def expected(nights):
    """Return (object, epoch) tables of both bands, worked out with pandas."""
    frames = {index: pd.DataFrame(rows(index)).set_index("id") for index in nights}
    return {band: pd.DataFrame({f"{i:02d}": frame[band] for i, frame in frames.items()}) for band in "gr"}


def check(dataset, nights):
    """Compare a cube with the catalogues."""
    for band, table in expected(nights).items():
        cells = dataset.sel(measurement=band, object=table.index.to_numpy(), epoch=table.columns.to_list())
        assert np.array_equal(cells["lightcurves"].values[:, 0], table.to_numpy("f4"), equal_nan=True)
        assert np.array_equal(cells["status"], table.notna())
        times = cells["epoch_time"].values + cells["time_offset"].values / 86400
        own = np.array([[rows(int(key))["mjd"][each] for key in table.columns] for each in table.index])
        assert np.allclose(times, np.where(table.notna(), own, np.nan), rtol=0, atol=2e-11, equal_nan=True)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize(("unit", "there"), [(1, 3), (4, 3), (5, 5), (4, 10)])
def test_chunks_of_several_epochs_are_extended(world, open_world, tmp_path, unit, there):
    """Where a store has several epochs in a chunk, the last one's published epochs are kept and the new ones added."""
    first = "0[0-9]" if there == 10 else f"0[0-{there - 1}]"
    aggrade.populate(
        f"world://cats/night_{first}.csv", "world://made", SPEC, storage_options=open_world(world)
    )
    made = MemoryStorage(world, "made/lightcurves.zarr")
    for info in list(made.list("")):
        target = tmp_path / "made.zarr" / info.key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(made.read(info.key).data)
    dataset = xr.open_zarr(tmp_path / "made.zarr").load()
    for variable in dataset.variables.values():
        variable.encoding = {}
    encoding = {"lightcurves": {"chunks": (6, 2, 2, unit)}, "status": {"chunks": (4, 2, unit)}}
    dataset.to_zarr(tmp_path / "lightcurves.zarr", zarr_format=3, consolidated=True, encoding=encoding)

    cats = tmp_path
    receipt = aggrade.populate(f"{cats}/night_*.csv", str(tmp_path), SPEC)
    assert len(receipt.layers) == 12 - there
    check(xr.open_zarr(tmp_path / "lightcurves.zarr").load(), range(12))
