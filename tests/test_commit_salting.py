"""Replacements differ in bytes and not in values, whatever the codecs."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_arrays import random_values
from make_documents import make_document
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore, StorePath

from aggrade.commit.salting import salted, unsalted

INNER = [BytesCodec(), ZstdCodec()]
ROOMY = {
    "zstd": {"compressors": [ZstdCodec()]},
    "zstd with checksum": {"compressors": [ZstdCodec(checksum=True)]},
    "transposed": {"filters": [TransposeCodec(order=(1, 0))], "compressors": [ZstdCodec(level=9)]},
    "sharded": {"serializer": ShardingCodec(chunk_shape=(2, 3), codecs=INNER), "compressors": None},
    "sharded, uncompressed": {
        "serializer": ShardingCodec(chunk_shape=(2, 3), codecs=[BytesCodec()]),
        "compressors": None,
    },
    "sharded, index unchecked": {
        "serializer": ShardingCodec(chunk_shape=(2, 3), codecs=INNER, index_codecs=[BytesCodec()]),
        "compressors": None,
    },
    "sharded, index first": {
        "serializer": ShardingCodec(chunk_shape=(2, 3), codecs=INNER, index_location="start"),
        "compressors": None,
    },
    "sharded within shards": {
        "serializer": ShardingCodec(
            chunk_shape=(4, 3), codecs=[ShardingCodec(chunk_shape=(2, 3), codecs=INNER)]
        ),
        "compressors": None,
    },
}
FULL = {
    "uncompressed": {"compressors": None},
    "gzip": {"compressors": [GzipCodec()]},
    "blosc": {"compressors": [BloscCodec(cname="lz4")]},
    "checked": {"compressors": [ZstdCodec(), Crc32cCodec()]},
}
VALUES = random_values((4, 6), "f4", seed=3)


def document_of(layout, shape=(4, 6), dtype="float32"):
    """Return the document of an array of one chunk (or shard)."""
    return make_document(shape, shape, dtype=dtype, **layout)


def stored(document, values):
    """Return the one object that zarr writes for these values."""
    memory = {}
    array = zarr.Array(zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore(memory), "x")))
    array.with_config({"write_empty_chunks": True})[...] = values
    (data,) = (item.to_bytes() for key, item in memory.items() if not key.endswith("zarr.json"))
    return data


def opened(document, data):
    """Return the array of which `data` is the one object."""
    key = "x/c/" + "/".join("0" * len(document["shape"]))
    memory = {key: Buffer.from_bytes(data)}
    return zarr.Array(zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore(memory), "x")))


@pytest.mark.parametrize("layout", ROOMY | FULL)
def test_every_layout_decodes_to_the_same_values(layout):
    """Zarr reads a salted chunk, whole or in part, as if nothing had been added."""
    document = document_of((ROOMY | FULL)[layout])
    data = salted(document, stored(document, VALUES), 41)
    np.testing.assert_array_equal(opened(document, data)[...], VALUES)
    np.testing.assert_array_equal(opened(document, data)[1:3, 2:5], VALUES[1:3, 2:5])
    np.testing.assert_array_equal(opened(document, data)[3, 5], VALUES[3, 5])


@pytest.mark.parametrize("layout", ROOMY)
def test_no_two_generations_share_their_bytes(layout):
    """The same values in another generation are another object, and its mark can't come back."""
    document = document_of(ROOMY[layout])
    data = stored(document, VALUES)
    versions = [data, *(salted(document, data, generation) for generation in (1, 2, 2**40))]
    assert len(set(versions)) == 4
    assert {len(version) - len(data) for version in versions[1:]} == {16}


@pytest.mark.parametrize("layout", ROOMY)
def test_the_same_generation_has_the_same_bytes(layout):
    """A write that is sent twice sends the same object."""
    document = document_of(ROOMY[layout])
    data = stored(document, VALUES)
    assert salted(document, data, 7) == salted(document, data, 7)


@pytest.mark.parametrize("layout", FULL)
def test_codecs_without_room_leave_the_bytes_alone(layout):
    """Where a decoder might stumble over it, nothing is added."""
    document = document_of(FULL[layout])
    data = stored(document, VALUES)
    assert salted(document, data, 7) == data


@pytest.mark.parametrize("layout", ["sharded", "sharded, uncompressed", "sharded, index first"])
def test_a_shard_with_missing_chunks(layout):
    """Inner chunks that a shard doesn't hold stay fill."""
    document = document_of(ROOMY[layout])
    values = np.zeros((4, 6), "f4")
    values[0, 0] = 1.5
    memory = {}
    array = zarr.Array(zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore(memory), "x")))
    array[...] = values
    data = memory["x/c/0/0"].to_bytes()
    assert data != stored(document, values)
    np.testing.assert_array_equal(opened(document, salted(document, data, 3))[...], values)


@pytest.mark.parametrize("dtype", [str, "i2", "f8", "?"])
def test_any_data_type(dtype):
    """Text and numbers alike come back as they were."""
    values = random_values((5,), dtype, seed=1)
    document = document_of({}, (5,), dtype)
    data = salted(document, stored(document, values), 9)
    np.testing.assert_array_equal(opened(document, data)[...], values)
    assert data != stored(document, values)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(ROOMY)), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_any_generation_and_any_values(layout, generation, seed):
    """Whatever the values and however high the generation, they come back."""
    document = document_of(ROOMY[layout])
    values = random_values((4, 6), "f4", seed=seed)
    found = opened(document, salted(document, stored(document, values), generation))[...]
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("layout", ROOMY | FULL)
def test_salt_can_be_taken_out_again(layout):
    """However often an object was replaced by the same values, what remains without salt is what zarr wrote."""
    document = document_of((ROOMY | FULL)[layout])
    data = stored(document, VALUES)
    assert unsalted(document, data) == data
    assert unsalted(document, salted(document, salted(document, data, 3), 2**40)) == data


@pytest.mark.parametrize("layout", ROOMY)
@pytest.mark.parametrize("data", [b"", b"torn", b"x" * 40])
def test_what_is_no_chunk_is_left_alone(layout, data):
    """Bytes that can't be a chunk come back as they are."""
    assert unsalted(document_of(ROOMY[layout]), data) == data
