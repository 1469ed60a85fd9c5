"""Chunks and shards encoded straight with the codecs: zarr reads what we write, and we read what zarr writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.storage import MemoryStore

from aggrade.rechunking.object_codec import ABSENT, object_codec

DTYPES = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">u4",
    "i8",
    "f2",
    "<f4",
    ">f8",
    "c8",
    "c16",
    "<M8[ns]",
    "<m8[s]",
]
COMPRESSORS = [
    None,
    ZstdCodec(level=0),
    ZstdCodec(level=9, checksum=True),
    GzipCodec(level=3),
    BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle"),
]
SHAPE, SHARD = (11, 9), (8, 6)


def array_of(dtype, compressor, chunk, shard, location="end", **more):
    """Create an array in memory; return its store, itself, and its document."""
    store = MemoryStore()
    kind = {"compressors": [compressor] if compressor else None, "chunks": chunk, **more}
    if shard is not None:
        inner = [BytesCodec(), *([compressor] if compressor else [])]
        sharding = ShardingCodec(chunk_shape=chunk, codecs=inner, index_location=location)
        kind = {"chunks": shard, "serializer": sharding, "compressors": None}
    array = zarr.create_array(store, shape=SHAPE, dtype=dtype, config={"write_empty_chunks": True}, **kind)
    return store, array, json.loads(store._store_dict["zarr.json"].to_bytes())


def random_values(dtype, seed=0):
    """Return items of any type, made of random bits where those are a value, and some of them empty."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(SHAPE) < 0.5
    values = rng.integers(0, 100, SHAPE)
    values[rng.random(SHAPE) < 0.3] = 0
    return values.astype("i8").astype(kind)


def objects_of(codec, values):
    """Yield position and bytes of every object, each chunk encoded alone and put together."""
    padded = np.array(np.broadcast_to(codec.chunk.fill, (16, 12)), values.dtype)
    padded[:11, :9] = values
    unit, chunk = codec.unit, codec.chunk.shape
    for row in range(-(-11 // unit[0])):
        for column in range(-(-9 // unit[1])):
            whole = padded[row * unit[0] : (row + 1) * unit[0], column * unit[1] : (column + 1) * unit[1]]
            parts = [
                whole[i : i + chunk[0], j : j + chunk[1]]
                for i in range(0, unit[0], chunk[0])
                for j in range(0, unit[1], chunk[1])
            ]
            encoded = [
                None if codec.index and codec.chunk.is_fill(part) else codec.chunk.encode(part)
                for part in parts
            ]
            yield (row, column), codec.pack(enumerate(encoded))


@pytest.mark.parametrize(
    "layout", [((4, 3), None), ((4, 3), SHARD), ((2, 6), SHARD)], ids=["chunks", "shards", "flat"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zarr_reads_what_is_packed(dtype, layout):
    """Objects made here are, for zarr, the array that went in: any plain type, byte order and edge."""
    compressor = COMPRESSORS[DTYPES.index(dtype) % len(COMPRESSORS)]
    store, array, document = array_of(
        dtype, compressor, *layout, location=["start", "end"][DTYPES.index(dtype) % 2]
    )
    codec, values = object_codec(document), random_values(dtype)
    assert codec is not None
    for (row, column), data in objects_of(codec, values):
        store._store_dict[f"c/{row}/{column}"] = zarr.core.buffer.cpu.Buffer.from_bytes(data)
    assert np.array_equal(array[:], values)


@given(
    dtype=st.sampled_from(DTYPES),
    compressor=st.sampled_from(COMPRESSORS),
    layout=st.sampled_from([((4, 3), None), ((4, 3), SHARD), ((8, 2), SHARD)]),
    location=st.sampled_from(["start", "end"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_what_zarr_wrote_is_decoded(dtype, compressor, layout, location, seed):
    """Every chunk of what zarr wrote is found and has the values that went in."""
    store, array, document = array_of(dtype, compressor, *layout, location=location)
    values = random_values(dtype, seed)
    array[:] = values
    codec = object_codec(document)
    data = store._store_dict["c/0/0"].to_bytes()
    chunk = codec.chunk.shape
    if codec.index is None:
        assert np.array_equal(codec.chunk.decode(data), values[: chunk[0], : chunk[1]])
        return
    spans = codec.spans(data[: codec.index_bytes] if location == "start" else data[-codec.index_bytes :])
    for i, j in np.ndindex(codec.grid):
        offset, length = spans[i, j].tolist()
        part = codec.chunk.decode(memoryview(data)[offset : offset + length])
        here = values[i * chunk[0] : (i + 1) * chunk[0], j * chunk[1] : (j + 1) * chunk[1]]
        assert np.array_equal(part, here)


def test_the_same_bytes_as_zarr():
    """An object of one chunk has the very bytes that zarr would have written."""
    store, array, document = array_of("f4", ZstdCodec(level=3), (8, 6), None)
    array[:] = values = random_values("f4")
    codec = object_codec(document)
    mine = {f"c/{row}/{column}": data for (row, column), data in objects_of(codec, values)}
    theirs = {key: item.to_bytes() for key, item in store._store_dict.items() if key.startswith("c/")}
    assert mine == theirs


def test_a_chunk_of_fill_in_a_shard_is_absent():
    """A chunk that holds nothing but fill, NaN included, takes no bytes, and zarr reads fill there."""
    store, array, document = array_of("f4", ZstdCodec(), (4, 3), SHARD, fill_value=np.nan)
    document["fill_value"] = "NaN"
    store._store_dict["zarr.json"] = zarr.core.buffer.cpu.Buffer.from_bytes(json.dumps(document).encode())
    array = zarr.open_array(store, mode="r")
    codec = object_codec(document)
    empty = np.full((4, 3), np.nan, "f4")
    assert codec.chunk.is_fill(empty)
    empty[2, 1] = 0
    assert not codec.chunk.is_fill(empty)
    data = codec.pack(enumerate([codec.chunk.encode(empty), None, None, None]))
    spans = codec.spans(data[-codec.index_bytes :])
    assert (spans[1:] == ABSENT).all()
    store._store_dict["c/0/0"] = zarr.core.buffer.cpu.Buffer.from_bytes(data)
    found = array[:]
    assert found[2, 1] == 0
    assert np.isnan(found).sum() == found.size - 1


def test_damage_is_noticed():
    """A flipped bit of an index or of a chunk with a checksum is an error, and so is a chunk that is too short."""
    _, _, document = array_of("f4", None, (4, 3), SHARD)
    document["codecs"][0]["configuration"]["codecs"].append({"name": "crc32c"})
    codec = object_codec(document)
    part = codec.chunk.encode(np.ones((4, 3), "f4"))
    data = bytearray(codec.pack(enumerate([part] * 4)))
    data[-9] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        codec.spans(bytes(data[-codec.index_bytes :]))
    with pytest.raises(ValueError, match="checksum"):
        codec.chunk.decode(bytes([part[0] ^ 1]) + part[1:])
    plain = object_codec(array_of("f4", None, (4, 3), None)[2])
    with pytest.raises(ValueError, match="reshape"):
        plain.chunk.decode(bytes(4 * 11))


@pytest.mark.parametrize(
    "document",
    [
        array_of("f4", ZstdCodec(), (4, 3), None, filters=[TransposeCodec(order=(1, 0))])[2],
        array_of(np.dtypes.StringDType(), ZstdCodec(), (4, 3), None)[2],
        array_of("f4", ZstdCodec(), (4, 3), (4, 3))[2]
        | {
            "shape": [],
            "codecs": [{"name": "bytes"}],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": []}},
        },
    ],
    ids=["transposed", "text", "no dimensions"],
)
def test_the_rest_is_left_to_zarr(document):
    """What is not a row of plain items, compressed once, is none of ours."""
    assert object_codec(document) is None


@pytest.mark.parametrize("kind", DTYPES)
def test_fill_is_told_chunk_by_chunk(kind):
    """Of many chunks, those are fill of which each item is; one other item at any place makes a difference."""
    codec = object_codec(array_of(kind, None, (4, 3), SHARD)[2]).chunk
    fill, other = codec.fill, random_values(kind).ravel()
    other = other[[one.tobytes() != fill.tobytes() for one in other]][0]
    chunks = np.full((14, 4, 3), fill, codec.fill.dtype)
    for place in range(12):
        chunks[place].reshape(-1)[place] = other
    assert codec.are_fill(chunks).tolist() == [False] * 12 + [True] * 2
    assert codec.are_fill(np.moveaxis(chunks, 1, 2)).tolist() == [False] * 12 + [True] * 2
    assert codec.is_fill(chunks[12])


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("kind", DTYPES)
def test_chunks_are_encoded_together_as_each_alone(kind, compressor):
    """Many chunks that lie one behind the other give the bytes that each gives by itself, wherever they lie."""
    codec = object_codec(array_of(kind, compressor, (4, 3), SHARD)[2]).chunk
    values = random_values(kind)[:8].reshape(6, 4, 3).astype(codec.fill.dtype)
    alone = [codec.encode(chunk) for chunk in values]
    assert list(codec.encode_each(values)) == list(codec.encode_each(values[::-1][::-1])) == alone
    assert [codec.decode(data).tobytes() for data in alone] == [
        chunk.astype(codec.stored).tobytes() for chunk in values
    ]
