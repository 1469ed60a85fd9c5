"""Whole shards are decoded as Zarr decodes them; other layouts are left to Zarr, broken shards are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, ZstdCodec

from aggrade.errors import Damaged
from aggrade.storage import open_storage
from aggrade.storage.counting import Counted
from aggrade.window_shards import shards_of

SHAPE, SHARD = (2, 21, 3, 16), (1, 8, 3, 16)


def make(path, *, dtype="float32", chunks=(1, 1, 3, 16), shards=SHARD, **options):
    """Write an array by zarr, the windows 9 to 11 of it fill; return it with its values and its document."""
    array = zarr.create_array(
        path, name="eeg", shape=SHAPE, dtype=dtype, chunks=chunks, shards=shards, fill_value=np.nan, **options
    )
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(dtype)
    values[:, 9:12] = np.nan
    array[:] = values
    return values, json.loads((path / "eeg" / "zarr.json").read_text())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(windows=st.sets(st.integers(0, 20), min_size=1))
def test_windows_are_those_that_zarr_reads(tmp_path_factory, windows):
    """Any windows of a session come out bit by bit, from whole shards and parts of them, fill included."""
    path = tmp_path_factory.mktemp("shards")
    values, document = make(path, compressors=ZstdCodec(level=1))
    chosen = np.array(sorted(windows))
    out = np.zeros((len(chosen), *SHAPE[2:]), np.float32)
    shards_of("eeg", document, {}).read(open_storage(str(path)), 1, chosen, out)
    np.testing.assert_array_equal(out, values[1, chosen])


def test_a_whole_shard_is_one_request(tmp_path):
    """Of 21 windows in shards of 8, two shards are one request each; the third, which isn't full, is two."""
    _, document = make(tmp_path, compressors=ZstdCodec())
    storage = Counted(open_storage(str(tmp_path)))
    shards_of("eeg", document, {}).read(storage, 0, np.arange(16), np.zeros((16, 3, 16), np.float32))
    assert storage.counts["GET"] == 2
    shards_of("eeg", document, {}).read(storage, 0, np.arange(16, 21), np.zeros((5, 3, 16), np.float32))
    assert storage.counts["GET"] == 4


def test_a_missing_shard_is_fill(tmp_path):
    """What was never written is NaN, as Zarr reads it."""
    _, document = make(tmp_path, compressors=ZstdCodec())
    out = np.zeros((3, 3, 16), np.float32)
    shards_of("eeg", document, {}).read(open_storage(str(tmp_path / "x")), 0, np.arange(3), out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("windows", [8, 3], ids=["whole", "part"])
@pytest.mark.parametrize("place", ["chunk", "index", "cut"])
def test_a_broken_shard_is_refused(tmp_path, windows, place):
    """A byte that changed in a chunk's header or in the index, or an end that is missing, is never a window."""
    _, document = make(tmp_path, compressors=ZstdCodec())
    shard = tmp_path / "eeg" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    if place == "cut":
        data = data[:-3]
    else:
        data[0 if place == "chunk" else -20] ^= 0xFF
    shard.write_bytes(data)
    out = np.zeros((windows, 3, 16), np.float32)
    with pytest.raises(Damaged, match="a shard that can't be decoded") as caught:
        shards_of("eeg", document, {}).read(open_storage(str(tmp_path)), 0, np.arange(windows), out)
    assert caught.value.code == "broken-shard"


def test_a_chunk_of_another_length_is_refused(tmp_path):
    """A chunk that holds less than a window is no window, though it can be decompressed."""
    make(tmp_path, compressors=ZstdCodec())
    document = json.loads((tmp_path / "eeg" / "zarr.json").read_text())
    out = np.zeros((8, 3, 17), np.float32)
    with pytest.raises(Damaged, match="too short"):
        shards_of("eeg", document, {}).read(open_storage(str(tmp_path)), 0, np.arange(8), out)


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "float64"},
        {"shards": None, "chunks": SHARD},
        {"chunks": (1, 2, 3, 16)},
        {"chunks": (1, 1, 1, 16)},
        {"shards": (2, 8, 3, 16)},
        {"compressors": BloscCodec()},
        {"compressors": None},
    ],
    ids=["type", "no shards", "wider chunks", "several chunks", "several channels", "blosc", "plain"],
)
def test_other_layouts_are_left_to_zarr(tmp_path, given):
    """Other types, chunks, shards and codecs are not decoded here."""
    _, document = make(tmp_path, **{"compressors": ZstdCodec(), **given})
    assert shards_of("eeg", document, {}) is None


@pytest.mark.parametrize("encoding", [{"scale_factor": 2.0}, {"add_offset": 1.0}, {"_FillValue": 0.0}])
def test_values_that_xarray_decodes_are_left_to_it(tmp_path, encoding):
    """Packed numbers and other marks of absence are not decoded here; NaN is."""
    _, document = make(tmp_path, compressors=ZstdCodec())
    assert shards_of("eeg", document, encoding) is None
    assert shards_of("eeg", document, {"_FillValue": np.nan}) is not None
    assert shards_of("eeg", None, {}) is None
