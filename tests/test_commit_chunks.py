"""Single objects of an array, from bytes to values and back."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_arrays import random_values
from make_documents import make_document
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore, StorePath

from aggrade.commit.chunks import Chunks

LAYOUTS = {
    "plain": {},
    "uncompressed": {"compressors": None},
    "sharded": {
        "serializer": ShardingCodec(chunk_shape=(2, 3), codecs=[BytesCodec(), ZstdCodec()]),
        "compressors": None,
    },
}


def as_zarr_reads(document, objects):
    """Return what zarr reads of an array that consists of these objects."""
    memory = {key: Buffer.from_bytes(data) for key, data in objects.items()}
    store = StorePath(MemoryStore(memory), "x")
    return zarr.Array(zarr.AsyncArray(metadata=document, store_path=store))[...]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f4", "i2", "?"])
def test_values_come_back(layout, dtype):
    """What was encoded is decoded, bit by bit."""
    chunks = Chunks(make_document((40, 60), (4, 6), dtype=dtype, **LAYOUTS[layout]))
    values = random_values((4, 6), dtype, seed=5)
    np.testing.assert_array_equal(chunks.values(chunks.bytes_of(values)), values)


def test_text_comes_back():
    """So is text of any length and script."""
    chunks = Chunks(make_document((4,), (4,), dtype=str))
    values = np.array(["", "Sub 03/ä", "日本" * 50, "x"], np.dtypes.StringDType())
    assert list(chunks.values(chunks.bytes_of(values))) == list(values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr_reads_what_was_encoded(layout):
    """Two objects side by side are read by zarr as one array."""
    document = make_document((4, 9), (4, 6), **LAYOUTS[layout])
    one, other = random_values((4, 6), "f4", seed=1), random_values((4, 6), "f4", seed=2)
    chunks = Chunks(document)
    found = as_zarr_reads(document, {"x/c/0/0": chunks.bytes_of(one), "x/c/0/1": chunks.bytes_of(other)})
    np.testing.assert_array_equal(found, np.concatenate([one, other[:, :3]], axis=1))


@settings(deadline=None, max_examples=25)
@given(st.floats(width=32), st.integers(0, 3))
def test_no_object_is_fill(fill, dimensions):
    """Where there is no object, every value is the array's fill."""
    chunks = Chunks(make_document((3,) * dimensions, (2,) * dimensions, fill_value=fill))
    np.testing.assert_array_equal(chunks.values(None), np.full((2,) * dimensions, fill, "f4"))


def test_fill_is_an_object_too():
    """An object of nothing but fill is written, not left out."""
    chunks = Chunks(make_document((3,), (2,), fill_value=-1.0))
    data = chunks.bytes_of(chunks.values(None))
    assert data
    np.testing.assert_array_equal(chunks.values(data), [-1, -1])


@pytest.mark.parametrize("data", [b"", b"torn", b"x" * 100])
def test_torn_objects_raise(data):
    """Bytes that no codec wrote are not taken for values."""
    chunks = Chunks(make_document((4,), (4,)))
    with pytest.raises((RuntimeError, ValueError)):
        chunks.values(data)
