"""One piece: read block by block, written whole, on any worker."""

from __future__ import annotations

import functools
import math
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import hypothesis
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from make_arrays import random_values

from aggrade.commit import Writer
from aggrade.errors import Damaged
from aggrade.rechunking.engine import copy_piece, read_box
from aggrade.rechunking.plan import SourceState, plan_rechunk
from aggrade.rechunking.source import open_array, read_source
from aggrade.storage import open_storage
from aggrade.storage.counting import Counted

STATE = SourceState(store="../source.zarr", generation=0, write_id="")


def _source(path, values, chunks, shards=None):
    """Write one array as a store and return the state of it, with requests counted."""
    dims = [f"d{axis}" for axis in range(values.ndim)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.create_group(path)
        array = group.create_array(
            "x", shape=values.shape, dtype=values.dtype, chunks=chunks, shards=shards, dimension_names=dims
        )
        array[...] = values
    return read_source(Counted(open_storage(str(path))))


def _copied(source, tmp_path, max_memory=1 << 20, map=map, **asked):  # noqa: A002 - it is a map
    """Copy every piece and return the plan, the requests, and what the target holds then."""
    plan = plan_rechunk(STATE, source.documents, "target", max_memory=max_memory, **asked)
    target = Counted(open_storage(str(tmp_path / "target.zarr")))
    source.storage.counts.clear()
    work = functools.partial(copy_piece, source=source, arrays=plan.arrays)
    receipts = list(map(functools.partial(work, Writer(target, plan.documents, {}, {})), plan.pieces))
    reads, writes = source.storage.counts["GET"], target.counts["PUT"]
    values = open_array(target, "x", plan.documents["x"])[...]
    return plan, receipts, (reads, writes), values


def test_requests_are_the_plans(tmp_path):
    """Each source chunk of each piece is one GET, each target object one PUT, as the plan said."""
    values = np.random.default_rng(0).random((60, 7, 33))
    source = _source(tmp_path / "s.zarr", values, (25, 7, 2))
    plan, receipts, (reads, writes), copied = _copied(
        source, tmp_path, 64_000, chunks={"d0": 4, "d2": -1}, shards={"d0": 8}
    )
    assert len(plan.pieces) > 3
    assert reads == plan.copying.requests["GET"] == plan.reads > plan.arrays["x"].chunks
    assert writes == plan.copying.requests["PUT"] == sum(len(receipt.written) for receipt in receipts) == 8
    assert np.array_equal(copied, values)


@pytest.mark.parametrize("bound", [8_000, 60_000], ids=["by chunks", "whole"])
def test_a_sharded_source_is_read_with_the_requests_of_the_price(tmp_path, bound):
    """Shards that fit are read whole by one request each, larger ones by their index and their chunks."""
    values = np.random.default_rng(0).random((64, 48)).astype("f4")
    source = _source(tmp_path / "s.zarr", values, (4, 4), (32, 24))
    plan, _, (reads, _), copied = _copied(source, tmp_path, bound, chunks={"d0": 32, "d1": 3})
    assert reads == plan.copying.requests["GET"]
    assert (reads <= 4 * len(plan.pieces)) == (bound == 60_000)
    assert np.array_equal(copied, values)


GRID = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@given(
    shape=st.tuples(st.integers(1, 23), st.integers(1, 23), st.integers(1, 23)),
    grids=st.tuples(GRID, GRID),
    shards=st.tuples(*[st.none() | st.tuples(*[st.integers(1, 3)] * 3)] * 2),
    bound=st.integers(0, 3),
    missing=st.integers(0, 3),
)
@hypothesis.settings(max_examples=40)
def test_any_grid_becomes_any_grid(tmp_path_factory, shape, grids, shards, bound, missing):
    """Whatever the chunks and shards of both sides, the copy has the source's values, at the price's requests."""
    folder = tmp_path_factory.mktemp("grids")
    values = np.random.default_rng(sum(shape)).integers(1, 99, shape).astype("i4")
    (before, after), (packs, wanted) = grids, shards
    whole = packs and tuple(chunk * count for chunk, count in zip(before, packs, strict=True))
    source = _source(folder / "s.zarr", values, before, whole)
    for path in sorted((folder / "s.zarr/x/c").rglob("*"))[:missing]:
        if path.is_file():
            path.unlink()
    expected = zarr.open_array(folder / "s.zarr/x", mode="r")[...]
    asked = {"chunks": {"x": after}}
    if wanted:
        asked["shards"] = {"x": tuple(chunk * count for chunk, count in zip(after, wanted, strict=True))}
    unit = math.prod(asked["shards"]["x"] if wanted else after) * 4
    least = max(unit, math.prod(before) * 4)
    plan, _, (reads, writes), copied = _copied(source, folder, (4 << bound) * least + 64, **asked)
    assert np.array_equal(copied, expected)
    assert writes == plan.copying.requests["PUT"]
    assert reads == plan.copying.requests["GET"] or (missing and reads < plan.copying.requests["GET"])


@pytest.mark.parametrize("dtype", ["bool", "i1", "u8", "f2", "f8", "c16", "M8[ns]", "m8[s]", "U5", "S4", str])
@pytest.mark.parametrize("shards", [None, (6, 8)])
def test_values_of_every_type_are_copied_bit_by_bit(tmp_path, dtype, shards):
    """Whatever the data type, sharded or not, what is read from the copy is what was in the source."""
    values = random_values((13, 11), dtype)
    source = _source(tmp_path / "s.zarr", values, (3, 4), shards)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        *_, copied = _copied(source, tmp_path, 60_000, chunks={"d0": 5, "d1": 2}, shards={"d0": 10})
    assert copied.dtype == values.dtype
    assert (
        copied.tolist() == values.tolist() if copied.dtype.hasobject else copied.tobytes() == values.tobytes()
    )


def _in_threads(work, pieces):
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(work, pieces))


def _in_processes(work, pieces):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, pieces))


@pytest.mark.parametrize("map_pieces", [_in_threads, _in_processes])
def test_pieces_can_be_copied_anywhere(tmp_path, map_pieces):
    """Threads and fresh processes give the same objects as a loop does."""
    values = np.random.default_rng(0).random((40, 30))
    source = _source(tmp_path / "s.zarr", values, (40, 3))
    _, alone, _, _ = _copied(source, tmp_path / "alone", 12_000, chunks={"d0": 4, "d1": 30})
    _, shared, _, copied = _copied(
        source, tmp_path / "shared", 12_000, map_pieces, chunks={"d0": 4, "d1": 30}
    )
    assert np.array_equal(copied, values)
    written = [
        [(item.key, item.sha256) for receipt in one for item in receipt.written] for one in (alone, shared)
    ]
    assert sorted(written[0]) == sorted(written[1])


def test_a_piece_with_all_it_needs_can_be_pickled(tmp_path):
    """Work, writer and piece survive pickling, as a cluster demands."""
    source = _source(tmp_path / "s.zarr", np.ones((4, 4)), (2, 2))
    plan = plan_rechunk(STATE, source.documents, "t", max_memory=1000, chunks={"d0": 4})
    work = functools.partial(copy_piece, source=source, arrays=plan.arrays)
    writer = Writer(open_storage(str(tmp_path / "t.zarr")), plan.documents, {}, {})
    again, piece, there = pickle.loads(pickle.dumps((work, plan.pieces[0], writer)))
    assert again(there, piece).digest == plan.pieces[0].digest


CODECS = [
    None,
    [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
    [{"name": "gzip", "configuration": {"level": 1}}],
]


@pytest.mark.parametrize("codecs", CODECS)
@pytest.mark.parametrize("left", [b"", b"x" * 9, None], ids=["empty", "rubbish", "half"])
def test_a_chunk_that_cannot_be_decoded_is_damage(tmp_path, codecs, left):
    """A chunk that was cut off or overwritten is an error that names the place, whatever the codec."""
    values = np.random.default_rng(0).random((8, 8))
    encoding = {"x": {"chunks": (4, 8), "compressors": codecs}}
    dataset = xr.Dataset({"x": (("a", "b"), values)})
    dataset.to_zarr(tmp_path / "s.zarr", zarr_format=3, consolidated=False, encoding=encoding)
    chunk = tmp_path / "s.zarr/x/c/1/0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2] if left is None else left)
    source = read_source(open_storage(str(tmp_path / "s.zarr")))
    plan = plan_rechunk(STATE, source.documents, "t", max_memory=1 << 20, chunks={"a": 8}).arrays["x"]
    assert np.array_equal(read_box(source, "x", ((0, 4), (0, 8)), plan), values[:4])
    with pytest.raises(Damaged, match=r"x\[4:8, 0:8\]") as caught:
        read_box(source, "x", ((0, 8), (0, 8)), plan)
    assert caught.value.code == "chunk-undecodable"
    assert caught.value.__cause__ is not None


BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 1, "shuffle": "noshuffle", "typesize": 8},
}
FRAMES = {
    "straight": {"zarr_format": 3, "filters": None},
    "by zarr": {"zarr_format": 3, "filters": [{"name": "transpose", "configuration": {"order": [1, 0]}}]},
    "of format 2": {"zarr_format": 2, "filters": None},
}


@pytest.mark.parametrize("stored", FRAMES)
@pytest.mark.parametrize("lost", [1, 30, 250])
def test_a_frame_of_blosc_that_is_cut_off_is_damage(tmp_path, stored, lost):
    """The decoder takes what lies behind the bytes in memory for the rest of them, be it one byte that is missing."""
    values, how = np.random.default_rng(0).random((8, 8)), dict(FRAMES[stored])
    zarr_format = how.pop("zarr_format")
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=zarr_format)
    how["compressors"] = numcodecs.Blosc() if zarr_format == 2 else BLOSC
    group.create_array("x", shape=(8, 8), chunks=(4, 8), dtype="f8", **how)[:] = values
    chunk = tmp_path / "s.zarr/x" / ("1.0" if zarr_format == 2 else "c/1/0")
    chunk.write_bytes(chunk.read_bytes()[:-lost])
    source = read_source(open_storage(str(tmp_path / "s.zarr")))
    plan = plan_rechunk(STATE, source.documents, "t", max_memory=1 << 20, chunks={"x": (8, 8)}).arrays["x"]
    assert (source.codec("x") is not None) == (stored == "straight")
    assert np.array_equal(read_box(source, "x", ((0, 4), (0, 8)), plan), values[:4])
    with pytest.raises(Damaged, match=r"x\[4:8, 0:8\]"):
        read_box(source, "x", ((4, 8), (0, 8)), plan)


def test_a_missing_chunk_reads_as_fill(tmp_path):
    """Zarr leaves chunks of fill out; they are copied as fill, as every reader sees them."""
    source = _source(tmp_path / "s.zarr", np.zeros((6, 4), "i4"), (2, 2))
    assert not (tmp_path / "s.zarr/x/c").exists()
    _, receipts, (_, writes), copied = _copied(source, tmp_path, chunks={"d0": 3, "d1": 4})
    assert not copied.any()
    assert writes == sum(len(receipt.written) for receipt in receipts) == 2
