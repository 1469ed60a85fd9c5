"""Objects that were added to a cube are sorted in where it is rechunked: order, content, price and what is kept."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from make_stores import let_show, light_curves
from zarr.codecs import BytesCodec, GzipCodec, TransposeCodec

import aggrade
from aggrade import LightCurves
from aggrade.commit.documents import grid_of
from aggrade.rechunking import rechunk_storage
from aggrade.rechunking.ordering import Order, digest_of, order_of
from aggrade.storage import open_storage
from aggrade.storage.counting import counted, requests_in

OBJECTS = 43
GRIDS = {
    "chunks": {"chunks": (10, 2, 2, 1)},
    "shards": {"chunks": (5, 1, 2, 1), "shards": (10, 2, 2, 2)},
    "only zarr reads it": {"chunks": (10, 2, 2, 1), "order": "F"},
}
LAYOUTS = {
    "chunks": {"chunks": {"object": 7, "epoch": -1}, "shards": None, "max_memory": 1 << 24},
    "little memory": {"chunks": {"object": 4, "epoch": 3}, "shards": None, "max_memory": 9000},
    "shards": {"chunks": {"object": 4, "epoch": 3}, "shards": {"object": 8}, "max_memory": 1 << 24},
}

rows = st.integers(1, 60).flatmap(lambda size: st.permutations(range(size))).map(np.array)


def _cube(epochs=6, *, added=(30,), ids=None, seed=0):
    """Return a cube whose objects lie in sorted runs that end at `added` and at the last one."""
    drawn = np.random.default_rng(seed)
    index = drawn.permutation(OBJECTS * 3)[:OBJECTS]
    runs = np.split(index, added)
    healpix = np.concatenate([np.sort(run) for run in runs])
    names = np.arange(OBJECTS) + 100 if ids is None else ids
    cube = light_curves(names, healpix * 0.5, healpix * 0.1, epochs=12).isel(epoch=slice(epochs))
    return cube.assign_coords(healpix=("object", healpix))


def _put(path, dataset, generation, grid="chunks", **mark):
    """Let a store show a cube, as its own writer would: what holds the same stays the same file."""
    encoding = {
        "lightcurves": _without_order(GRIDS[grid]),
        "status": {"chunks": (10, 2, 1)},
        "time_offset": {"chunks": (10, 1, 1)},
        **{name: {"chunks": (20,)} for name in ("object", "ra", "dec", "healpix")},
        **{name: {"chunks": (1,)} for name in ("epoch", "epoch_time", "filter")},
    }
    known = {name: how for name, how in encoding.items() if name in dataset.variables}
    return open_storage(let_show(path, dataset, encoding=known, generation=generation, dim="epoch", **mark))


def _without_order(grid):
    """Return an encoding; one that only zarr can read has a codec that aggrade does not know."""
    if "order" not in grid:
        return grid
    return {
        "chunks": grid["chunks"],
        "filters": [TransposeCodec(order=(3, 2, 1, 0))],
        "serializer": BytesCodec(),
        "compressors": [GzipCodec()],
    }


def _sorted(cube):
    """Return the cube as its copy has to be, by what is sorted and nothing else."""
    by = sorted(
        range(cube.sizes["object"]), key=lambda row: (cube["healpix"].values[row], cube["object"].values[row])
    )
    return cube.isel(object=by)


def _run(source, target, layout, **how):
    counts: Counter[str] = Counter()
    stores = [counted(storage, counts)[0] for storage in (source, target)]
    return rechunk_storage(*stores, layout, **how), requests_in(counts)


def _assert_shows(target, cube):
    shown = xr.open_zarr(target.url).load().drop_attrs()
    xr.testing.assert_identical(shown, _sorted(cube).drop_attrs())
    report = aggrade.verify(target.url)
    assert report.ok, report


@given(rows, st.lists(st.integers(1, 9), min_size=1, max_size=3), st.data())
def test_parts_are_those_that_one_counts(order, steps, data):
    """Of any run of the copy, for any steps: the places in the source's grids that its items have."""
    start = data.draw(st.integers(0, len(order)))
    stop = data.draw(st.integers(start, len(order)))
    wanted = {tuple(int(row) // step for step in steps) for row in order[start:stop]}
    assert Order("object", order).parts(start, stop, *steps) == len(wanted)


@given(rows, st.integers(1, 9), st.integers(1, 9))
def test_cells_are_those_that_hold_an_item(order, size, unit):
    """For each object of the source, the objects of the copy that hold one of its items."""
    for start in range(0, len(order), size):
        wanted = sorted({place // unit for place, row in enumerate(order) if start <= row < start + size})
        assert Order("object", order).cells(start, start + size, unit).tolist() == wanted


@given(rows)
def test_it_travels(order):
    """To another process, where it is the same; and it is small where few objects were added."""
    there = pickle.loads(pickle.dumps(Order("object", order)))
    np.testing.assert_array_equal(there.rows, order)
    assert there.digest == Order("object", order).digest != digest_of(None)


def test_it_is_small_where_little_was_added():
    """A million objects and a thousand that came later are far less than eight bytes each."""
    healpix = np.concatenate([np.arange(1_000_000) * 2, np.arange(1_000) * 1_999 + 1])
    order = order_of(healpix, lambda: np.arange(len(healpix)))
    assert len(pickle.dumps(order)) < 100_000


@pytest.mark.parametrize(
    ("healpix", "ids", "wanted"),
    [
        ([1, 4, 9], [7, 3, 1], None),
        ([1, 4, 4], [7, 1, 3], None),
        ([1, 4, 4], [7, 3, 1], [0, 2, 1]),
        ([1, 9, 4], [7, 3, 1], [0, 2, 1]),
        ([-1, 5, -1], ["b", "a", "a"], [2, 0, 1]),
        ([-1, -1, -1], ["10", "9", "a"], None),
        ([], [], None),
    ],
)
def test_objects_go_by_their_place_then_by_their_id(healpix, ids, wanted):
    """Those without a position come first, as in a table that is made at once."""
    found = order_of(np.array(healpix, "i8"), lambda: np.array(ids))
    assert (None if found is None else found.rows.tolist()) == wanted


@pytest.mark.parametrize(
    ("grid", "layout", "compare"),
    [
        ("chunks", "chunks", "full"),
        ("chunks", "little memory", "sampled"),
        ("shards", "little memory", "full"),
        ("shards", "shards", "sampled"),
        ("only zarr reads it", "chunks", "full"),
        ("only zarr reads it", "shards", "sampled"),
    ],
)
def test_a_copy_is_sorted_and_costs_what_was_said(grid, layout, compare, tmp_path):
    """Every array that has objects follows, whoever decodes it; requests at both stores are those of the plan.

    Where zarr reads chunks of shards it may join them: no more than were priced then.
    """
    cube = _cube(added=(20, 33, 40))
    source, target = _put(tmp_path / "s.zarr", cube, 1, grid), open_storage(str(tmp_path / "t.zarr"))
    plan, _ = _run(source, target, LAYOUTS[layout], compare=compare, dry_run=True)
    receipt, spent = _run(source, target, LAYOUTS[layout], compare=compare)
    _assert_shows(target, cube)
    priced = Counter(plan.price.requests)
    assert {**priced, "GET": 0} == {**spent, "GET": 0}
    if (grid, layout) == ("only zarr reads it", "shards"):
        assert priced["GET"] >= spent["GET"]
    else:
        assert priced["GET"] == spent["GET"]
    assert receipt.details["chunk_reads"] == plan.reads
    assert f"{plan.moved} have another place" in str(plan)
    assert plan.moved > 0


@pytest.mark.parametrize("ids", ["text", "numbers"])
def test_the_smallest_and_the_largest_place(ids, tmp_path):
    """Ids of either type follow their objects; one object alone in its run, and a run that goes before all others."""
    names = np.arange(OBJECTS)[::-1] if ids == "numbers" else [f"star {n:03d}" for n in range(OBJECTS)]
    cube = _cube(added=(1, 42), ids=names)
    source, target = _put(tmp_path / "s.zarr", cube, 1), open_storage(str(tmp_path / "t.zarr"))
    _run(source, target, LAYOUTS["chunks"])
    _assert_shows(target, cube)


def test_nights_without_new_objects_keep_what_there_is(tmp_path):
    """Where objects are in the order in which the copy has them, only what is new is made; where they are not, all is."""
    source, target = tmp_path / "s.zarr", open_storage(str(tmp_path / "t.zarr"))
    kept = []
    layout = LAYOUTS["little memory"]
    for number, (epochs, added) in enumerate([(6, (30,)), (7, (30,)), (8, (30,)), (8, (25,)), (9, ())]):
        cube = _cube(epochs, added=added)
        receipt, _ = _run(_put(source, cube, number + 1), target, layout)
        kept.append(receipt.details["kept"])
        _assert_shows(target, cube)
    assert kept[0] == kept[3] == kept[4] == 0
    assert min(kept[1:3]) > 0


def test_a_night_that_changes_reaches_every_place(tmp_path):
    """A chunk of the source whose objects lie scattered in the copy: all of them show the change, others are kept."""
    source, target = tmp_path / "s.zarr", open_storage(str(tmp_path / "t.zarr"))
    cube = _cube(added=(30,))
    _run(_put(source, cube, 1), target, LAYOUTS["little memory"])
    changed = cube.copy(deep=True)
    changed["lightcurves"][30:40, :, :, 4] = 1.5
    plan, _ = _run(_put(source, changed, 2), target, LAYOUTS["little memory"], dry_run=True)
    document = plan.documents["lightcurves"]
    wanted = {
        (row // 4, 0, 0, 1)
        for row, name in enumerate(_sorted(cube)["object"].values)
        if name in range(130, 140)
    }
    made = {
        index
        for index in np.ndindex(grid_of(document))
        for piece in plan.pieces
        if piece.variable == "lightcurves"
        and all(low <= i * 4 < high for i, (low, high) in zip(index[:1], piece.bounds[:1], strict=True))
        and piece.bounds[3][0] <= index[3] * 3 < piece.bounds[3][1]
    }
    assert made == wanted
    _run(open_storage(str(source)), target, LAYOUTS["little memory"])
    _assert_shows(target, changed)


@pytest.mark.parametrize("harm", ["another tool's", "adopted", "no cube"])
def test_what_is_no_cube_of_ours_keeps_its_order(harm, tmp_path):
    """A store of another tool, one that was adopted, and one with other arrays are copied as they lie."""
    cube = _cube()
    if harm == "no cube":
        cube = cube.drop_vars("status")
    mark = {"adopted": 6} if harm == "adopted" else {}
    source = _put(tmp_path / "s.zarr", cube, 0 if harm == "another tool's" else 1, **mark)
    target = open_storage(str(tmp_path / "t.zarr"))
    plan, _ = _run(source, target, LAYOUTS["chunks"], dry_run=True)
    _run(source, target, LAYOUTS["chunks"])
    assert plan.moved == 0
    xr.testing.assert_equal(xr.open_zarr(target.url).load(), cube)


def test_a_region_is_few_chunks_again(tmp_path):
    """What a cone reads of the copy are neighbours; of the source it takes the chunks of those that came later too."""
    cube = _cube(added=(30, 36))
    target = open_storage(str(tmp_path / "lightcurves_by_object.zarr"))
    source = _put(tmp_path / "lightcurves.zarr", cube, 1)
    _run(source, target, LAYOUTS["chunks"])
    curves = LightCurves(str(tmp_path))
    assert curves.layout == "lightcurves_by_object.zarr"
    chosen = curves.cone(0.0, 0.0, 12.0)["object"].values
    places = np.flatnonzero(np.isin(curves.dataset["object"].values, chosen))
    assert len(chosen) > 3
    assert places.tolist() == list(range(places[0], places[-1] + 1))


def test_a_chunk_that_is_damaged_is_named_as_it_lies(tmp_path):
    """The error names items of the source, where whoever mends it looks."""
    source = _put(tmp_path / "s.zarr", _cube(), 1)
    (tmp_path / "s.zarr" / "lightcurves/c/3/0/0/2").write_bytes(b"no chunk")
    with pytest.raises(aggrade.errors.Damaged, match=r"lightcurves\[3\d:\d\d, 0:2, 0:2, 2:3\]"):
        _run(source, open_storage(str(tmp_path / "t.zarr")), LAYOUTS["chunks"])


@pytest.mark.parametrize("name", ["healpix", "object"])
def test_an_order_that_can_not_be_read_is_damage(name, tmp_path):
    """Ids or places that can't be decoded end the dry run too, and nothing is written."""
    source = _put(tmp_path / "s.zarr", _cube(), 1)
    (tmp_path / "s.zarr" / name / "c" / "1").write_bytes(b"no chunk")
    for dry_run in (True, False):
        with pytest.raises(aggrade.errors.Damaged, match=f"s.zarr/{name}"):
            _run(source, open_storage(str(tmp_path / "t.zarr")), LAYOUTS["chunks"], dry_run=dry_run)
    assert not (tmp_path / "t.zarr").exists()
