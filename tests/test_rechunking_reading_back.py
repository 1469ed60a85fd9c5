"""Reading a copy back and comparing all of it with its source."""

from __future__ import annotations

import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from make_arrays import random_values

from aggrade.errors import Damaged
from aggrade.rechunking import rechunk, rechunk_storage
from aggrade.rechunking.reading_back import Comparison, compare_piece, comparisons
from aggrade.rechunking.source import Source, read_source
from aggrade.storage import open_storage

SHAPE = (11, 7)
DTYPES = ["bool", "i2", "f4", "M8[ns]", str]
LAYOUTS = {
    "nothing to cut": {"chunks": {}, "shards": None},
    "chunks": {"chunks": {"a": 4, "b": 3}, "shards": None},
    "shards": {"chunks": {"a": 2, "b": 3}, "shards": {"a": 4, "b": 6}},
}

CUT = ["chunks", "shards"]


def _copied(folder, values, layout, **encoding):
    """Rechunk an array; return source and copy as they are compared, and the plan."""
    dims = ("a", "b")[: values.ndim]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"x": (dims, values)}).to_zarr(
            folder / "s.zarr", zarr_format=3, encoding={"x": {"compressors": None, **encoding}}
        )
    source, target = open_storage(str(folder / "s.zarr")), open_storage(str(folder / "t.zarr"))
    asked = {**LAYOUTS[layout], "max_memory": 1 << 20}
    plan = rechunk_storage(source, target, asked, dry_run=True)
    rechunk_storage(source, target, asked)
    return read_source(source), Source(target, 0, "", documents=plan.documents, stored=plan.documents), plan


def _compared(source, copy, plan):
    return [
        compare_piece(item, source=source, target=copy, arrays=plan.arrays)
        for item in comparisons(plan, "run")
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", CUT)
def test_a_copy_of_any_type_agrees_with_its_source(tmp_path, dtype, layout):
    """Nothing differs, whatever the values are, NaN and NaT among them."""
    found = _compared(*_copied(tmp_path, random_values(SHAPE, dtype), layout))
    assert [one.differing for one in found] == [()]


def test_a_scalar_agrees_with_its_source(tmp_path):
    """An array without dimensions is compared, too."""
    found = _compared(*_copied(tmp_path, np.array(3.5), "nothing to cut"))
    assert [(one.variable, one.differing) for one in found] == [("x", ())]


@pytest.mark.parametrize("layout", CUT)
@pytest.mark.parametrize("place", [(0, 0), (5, 6), (10, 4)])
def test_a_single_other_value_is_found_in_its_object(tmp_path, layout, place):
    """Whichever value the source has otherwise, the object of the copy that holds it is named, and no other."""
    values = np.random.default_rng(0).random(SHAPE)
    source, copy, plan = _copied(tmp_path, values, layout)
    changed = values.copy()
    changed[place] += 1
    (tmp_path / "other").mkdir()
    other, _, _ = _copied(tmp_path / "other", changed, layout)
    found = [box for one in _compared(other, copy, plan) for box in one.differing]
    unit = {"chunks": (4, 3), "shards": (4, 6)}[layout]
    corner = [index // step * step for index, step in zip(place, unit, strict=True)]
    wanted = tuple((low, min(low + step, size)) for low, step, size in zip(corner, unit, SHAPE, strict=True))
    assert found == [wanted]
    assert all(one.differing == () for one in _compared(source, copy, plan))


def test_a_copy_that_cannot_be_decoded_differs(tmp_path):
    """Rubbish in one object of a piece is a difference, no crash."""
    source, copy, plan = _copied(tmp_path, np.random.default_rng(0).random(SHAPE), "chunks")
    Path(tmp_path, "t.zarr/x/c/0/0").write_bytes(b"rubbish")
    assert ((0, 4), (0, 3)) in [box for one in _compared(source, copy, plan) for box in one.differing]


def test_a_source_that_cannot_be_decoded_is_damaged(tmp_path):
    """It is the source that is named then, not the copy."""
    source, copy, plan = _copied(tmp_path, np.random.default_rng(0).random(SHAPE), "chunks")
    next(path for path in Path(tmp_path, "s.zarr/x/c").rglob("*") if path.is_file()).write_bytes(b"rubbish")
    with pytest.raises(Damaged, match=r"s\.zarr/x\["):
        _compared(source, copy, plan)


def test_what_is_kept_is_compared_in_pieces_that_fit(tmp_path):
    """Every item lies in one comparison, and none is larger than a piece, though more objects are kept together."""
    values = np.random.default_rng(0).random((64, 6))
    layout = {"chunks": {"a": 2, "b": 3}, "shards": None, "max_memory": 400}
    for columns in (3, 6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            xr.Dataset({"x": (("a", "b"), values[:, :columns])}).to_zarr(
                tmp_path / "s.zarr", zarr_format=3, mode="w", encoding={"x": {"chunks": (2, 3)}}
            )
        for path in Path(tmp_path, "s.zarr/x/c").glob("*/0"):
            os.utime(path, ns=(0, 0))
        source, target = open_storage(str(tmp_path / "s.zarr")), open_storage(str(tmp_path / "t.zarr"))
        plan = rechunk_storage(source, target, layout, dry_run=True)
        rechunk_storage(source, target, layout)
    items = comparisons(plan, "run")
    counts = np.zeros((64, 6), int)
    for item in items:
        counts[tuple(slice(*pair) for pair in item.bounds)] += 1
    assert (counts == 1).all()
    assert max(item.size for item in items) <= 8 * np.prod(plan.arrays["x"].piece)
    assert len({item.digest for item in items}) == len(items)


def test_no_two_runs_share_a_comparison(tmp_path):
    """A result that is kept somewhere says nothing of another run."""
    _, _, plan = _copied(tmp_path, np.zeros(SHAPE), "chunks")
    one, other = ({item.digest for item in comparisons(plan, run)} for run in ("one", "other"))
    assert not one & other


def test_comparisons_run_anywhere(tmp_path):
    """What is compared can be pickled, and any map will do."""
    source, copy, plan = _copied(tmp_path, random_values(SHAPE, "f4"), "chunks")
    (item,) = comparisons(plan, "run")
    sent = pickle.loads(pickle.dumps((item, source, copy, plan.arrays)))
    assert compare_piece(sent[0], source=sent[1], target=sent[2], arrays=sent[3]).differing == ()
    assert isinstance(sent[0], Comparison)
    with ThreadPoolExecutor(2) as pool:
        done = rechunk(
            str(tmp_path / "s.zarr"), str(tmp_path / "u.zarr"), chunks={"a": 2}, compare="full", map=pool.map
        )
    assert done.details["compared"] == 1
