"""Shards that are encoded at once: byte for byte what zarr writes, and nothing where they have another form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_arrays import random_values
from make_documents import make_document, open_document
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from aggrade.commit.sharding import LARGE, shard_form
from aggrade.commit.writer import Writer

DTYPES = ["f4", "f8", "f2", "i2", "u1", "?", "c8", "i8"]


def by_zarr(document, box, values):
    """Return every object that plain zarr writes for a part of an array, by its key."""
    memory = {"x/zarr.json": Buffer.from_bytes(json.dumps(document).encode())}
    array = zarr.open_array(MemoryStore(memory), path="x", mode="r+")
    array.with_config({"write_empty_chunks": True})[tuple(slice(*pair) for pair in box)] = values
    return {key: data.to_bytes() for key, data in memory.items() if not key.endswith("zarr.json")}


def by_writer(document, box, values, hooks=None):
    """Return every object that the writer writes."""
    storage = MemoryStorage(World(), "s.zarr", hooks) if hooks else MemoryStorage(World(), "s.zarr")
    written = Writer(storage, {"x": document}, {}, {}).write("x", tuple(slice(*pair) for pair in box), values)
    found = {info.key: storage.read(info.key).data for info in storage.list()}
    assert sorted(item.key for item in written) == sorted(found)
    return found


def form_of(document):
    """Return the form of an array's shards."""
    array = open_document(document)
    return shard_form(document, array.dtype, array.fill_value)


@st.composite
def cases(draw):
    """Draw a document whose shards have several chunks along one axis, and a box that begins with a shard."""
    ndim = draw(st.integers(1, 4))
    inner = draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim))
    axis = draw(st.integers(0, ndim - 1))
    unit = [size * (draw(st.integers(2, 5)) if at == axis else 1) for at, size in enumerate(inner)]
    shape = [draw(st.integers(1, 2 * length + 1)) for length in unit]
    box = []
    for length, size in zip(unit, shape, strict=True):
        start = draw(st.integers(0, (size - 1) // length)) * length
        stop = draw(st.integers(start // length + 1, -(-size // length))) * length
        box.append((start, min(stop, size)))
    dtype = draw(st.sampled_from(DTYPES))
    fill = {} if dtype == "?" else {"fill_value": draw(st.sampled_from([0, 1]))}
    level, checksum = draw(st.sampled_from([0, 1, 9])), draw(st.booleans())
    how = {"compressors": [ZstdCodec(level=level, checksum=checksum)], **fill}
    return make_document(shape, inner, unit, dtype=dtype, **how), tuple(box), dtype


@settings(deadline=None, max_examples=150)
@given(cases(), st.integers(0, 99), st.booleans())
def test_the_bytes_are_those_of_zarr(case, seed, blank):
    """Whatever the shape, the fill and the type; values that are all fill are written, too."""
    document, box, dtype = case
    shape = [stop - start for start, stop in box]
    form = form_of(document)
    assert form is not None
    values = np.full(shape, form.fill, dtype) if blank else random_values(shape, dtype, seed)
    assert by_writer(document, box, values) == by_zarr(document, box, values)


def test_a_large_shard_too():
    """Several threads compress it; one is whole, the other ends within the array."""
    document = make_document((70, 64, 300), (1, 64, 300), (64, 64, 300))
    values = random_values((70, 64, 300), "f4")
    assert values[:64].nbytes > LARGE > values[64:].nbytes
    assert by_writer(document, ((0, 70), (0, 64), (0, 300)), values) == by_zarr(
        document, ((0, 70), (0, 64), (0, 300)), values
    )


@pytest.mark.parametrize("order", ["F", "strided", "swapped"])
def test_however_the_values_lie_in_memory(order):
    """They are stored in C order, little-endian."""
    document = make_document((6, 5), (2, 5), (6, 5), dtype="f4")
    values = random_values((6, 5), "f4", 3)
    given_so = {
        "F": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
        "swapped": values.astype(">f4"),
    }[order]
    assert by_writer(document, ((0, 6), (0, 5)), given_so) == by_zarr(document, ((0, 6), (0, 5)), values)


def test_a_region_that_begins_within_a_shard():
    """What lies before it is fill there: zarr makes that shard."""
    document = make_document((9,), (2,), (8,), dtype="f4", fill_value=7)
    values = random_values((4,), "f4")
    assert by_writer(document, ((3, 7),), values) == by_zarr(document, ((3, 7),), values)


@pytest.mark.parametrize("at_once", [1, 8])
def test_each_shard_is_one_request(monkeypatch, at_once):
    """As many as there are; what has failed once sends nothing more when it is alone."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", str(at_once))
    document, hooks = make_document((16, 3), (1, 3), (4, 3)), Numbered()
    by_writer(document, ((0, 16), (0, 3)), np.ones((16, 3), "f4"), hooks)
    assert sorted(kind for kind in hooks.kinds if "PUT" in kind) == [
        f"PUT s.zarr/x/c/{i}/0" for i in range(4)
    ]
    world = World()
    dying = MemoryStorage(world, "s.zarr", DiesAt(world, 2, after=False))
    with pytest.raises(Killed):
        Writer(dying, {"x": document}, {}, {}).write("x", (slice(0, 16), slice(0, 3)), np.ones((16, 3), "f4"))
    assert len(world.objects) == 1


@pytest.mark.parametrize(
    "document",
    [
        make_document((4, 4), (2, 2)),
        make_document((4, 4), (2, 2), (4, 4)),
        make_document((4, 4), (2, 2), (2, 2)),
        make_document((4,), (2,), (4,), dtype=str),
        make_document((4,), (2,), (4,), compressors=[GzipCodec()]),
        make_document((4,), (2,), (4,), compressors=[BloscCodec()]),
        make_document((4,), (2,), (4,), compressors=None),
        make_document((4,), (2,), (4,), compressors=[ZstdCodec(), Crc32cCodec()]),
        make_document((4,), (2,), (4,), serializer=BytesCodec(endian="big")),
        make_document((4,), (2,), (4,), dtype="M8[s]"),
        make_document((), ()),
    ],
    ids=[
        "chunks",
        "two axes",
        "one chunk",
        "text",
        "gzip",
        "blosc",
        "plain",
        "checksums",
        "big",
        "times",
        "scalar",
    ],
)
def test_another_form_is_left_to_zarr(document):
    """It still comes back as it was written."""
    assert form_of(document) is None


@pytest.mark.parametrize(
    "change",
    [
        {"index_location": "start"},
        {"index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]},
    ],
)
def test_another_index_is_left_to_zarr(change):
    """Wherever it lies, and whether it has a checksum."""
    document = make_document((8,), (2,), (4,))
    document["codecs"][0]["configuration"] |= change
    values = random_values((8,), "f4")
    assert form_of(document) is None
    assert by_writer(document, ((0, 8),), values) == by_zarr(document, ((0, 8),), values)
