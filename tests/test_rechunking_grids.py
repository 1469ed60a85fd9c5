"""Chunks, codecs and blocks as array documents state them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document

from aggrade.rechunking import grids

SIZES = st.integers(0, 30)
STEPS = st.integers(1, 12)


def test_a_chunk_is_decoded_alone_where_there_are_no_shards():
    """Without shards the chunk is the object, and its codecs are the document's."""
    document = make_document((10, 20), (3, 4))
    assert grids.inner_of(document) == (3, 4)
    assert not grids.is_sharded(document)
    assert grids.chunk_codecs(document) == document["codecs"]


def test_a_chunk_of_a_shard_is_decoded_alone():
    """With shards the inner chunk is what is decoded, and sharding is no codec of it."""
    plain = make_document((10, 20), (3, 4))
    document = make_document((10, 20), (3, 4), (6, 8))
    assert grids.inner_of(document) == (3, 4)
    assert grids.is_sharded(document)
    assert grids.chunk_codecs(document) == plain["codecs"]


def test_shards_in_shards_come_off_together():
    """Sharding is taken off however deep it goes."""
    document = make_document((16,), (4,), (8,))
    outer = make_document((16,), (8,), (16,))
    outer["codecs"][0]["configuration"]["codecs"] = document["codecs"]
    assert [codec["name"] for codec in grids.chunk_codecs(outer)] == ["bytes", "zstd"]


def test_a_transposed_shard_is_decoded_whole():
    """Where something is done to the shard first, its chunks are not on the array's own axes."""
    document = make_document((8, 8), (2, 4), (4, 8))
    document["codecs"].insert(0, {"name": "transpose", "configuration": {"order": [1, 0]}})
    assert grids.inner_of(document) == (4, 8)
    assert grids.is_sharded(document)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "float32", "float64", "complex128", "M8[ns]", "U7", "S3"]
)
def test_items_have_the_bytes_that_numpy_gives_them(dtype):
    """An item of fixed size counts as NumPy counts it, and so does the array."""
    document = make_document((5, 3), (5, 3), dtype=dtype)
    assert grids.item_bytes(document) == np.dtype(dtype).itemsize
    assert grids.raw_bytes(document) == np.empty((5, 3), dtype).nbytes
    assert grids.raw_bytes(document, (2, 2)) == np.empty((2, 2), dtype).nbytes


def test_text_counts_by_an_estimate():
    """Text has no fixed size; an item counts more than its pointer."""
    assert grids.item_bytes(make_document((5,), (5,), dtype=str)) == grids.VARIABLE_ITEM_BYTES > 8


def test_an_unknown_data_type_is_an_error():
    """A data type that zarr does not know raises ValueError."""
    document = make_document((5,), (5,)) | {"data_type": "float1024"}
    with pytest.raises(ValueError, match="float1024"):
        grids.native_dtype(document)


@settings(deadline=None)
@given(st.lists(st.tuples(SIZES, SIZES, STEPS), max_size=3))
def test_blocks_hold_every_item_once_and_none_spans_the_grid(axes):
    """The blocks of a box cover it once, and each lies in one cell of the grid."""
    bounds = tuple((min(one, other), max(one, other)) for one, other, _ in axes)
    steps = tuple(step for *_, step in axes)
    counts = np.zeros([stop for _, stop in bounds], int)
    for part in grids.blocks(bounds, steps):
        counts[tuple(slice(*pair) for pair in part)] += 1
        for (start, stop), step in zip(part, steps, strict=True):
            assert start // step == (stop - 1) // step
    inside = np.zeros_like(counts)
    inside[tuple(slice(*pair) for pair in bounds)] = 1
    assert np.array_equal(counts, inside)


@settings(deadline=None)
@given(st.lists(st.tuples(STEPS, SIZES), min_size=1, max_size=4), st.integers(0, 5000))
def test_the_largest_block_is_whole_units_within_the_limit(axes, most):
    """A block is whole units, no longer than it needs, within the limit unless it is one unit."""
    unit, extent = tuple(step for step, _ in axes), tuple(size for _, size in axes)
    block = grids.largest_block(unit, extent, most)
    assert all(length % step == 0 for length, step in zip(block, unit, strict=True))
    assert all(length < max(size, 1) + step for length, step, size in zip(block, unit, extent, strict=True))
    assert block == unit or math.prod(block) <= most
