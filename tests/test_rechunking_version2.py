"""Arrays of Zarr format 2 in the form of format 3."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from make_documents import open_document
from zarr.storage import MemoryStore

from aggrade.rechunking.version2 import as_version3


def _version2(dtype, **options):
    """Return a filled array of format 2 and its document."""
    options = {"shape": (6, 4), "chunks": (2, 3), "compressors": None, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(MemoryStore(), dtype=dtype, zarr_format=2, **options)
        document = dict(array.metadata.to_dict())
    kept = document["fill_value"]
    document["fill_value"] = kept.item() if isinstance(kept, np.generic) else kept
    return array, document


@pytest.mark.parametrize("dtype", ["bool", "i1", "<u2", ">f4", "f8", "c8"])
def test_numbers_keep_type_shape_and_fill(dtype):
    """The document that zarr opens has the array's dtype, shape, chunks and fill value."""
    array, document = _version2(dtype, fill_value=1)
    there = open_document(as_version3(document))
    assert there.dtype == array.dtype.newbyteorder("=")
    assert (there.shape, there.chunks) == (array.shape, array.chunks)
    assert np.array_equal(there[...], array[...])


def test_times_keep_their_unit():
    """Times stay times, and not-a-time stays the fill."""
    array, document = _version2("M8[ns]")
    document["fill_value"] = 0
    there = open_document(as_version3(document))
    assert there.dtype == array.dtype
    assert (there[...] == np.datetime64(0, "ns")).all()


@pytest.mark.parametrize("dtype", ["U5", str])
def test_text_becomes_text_of_any_length(dtype):
    """Fixed-width text, which v3 does not specify, becomes ``string``."""
    _, document = _version2(dtype)
    assert open_document(as_version3(document)).dtype == np.dtypes.StringDType()


def test_no_fill_value_is_the_types_own():
    """Format 3 must have a fill value; without one it is zero, and nothing is masked."""
    _, document = _version2("f8")
    described = as_version3({**document, "fill_value": None})
    assert described["fill_value"] == 0
    assert "_FillValue" not in described["attributes"]


COMPRESSORS = [
    (None, None),
    ({"id": "zstd", "level": 3}, {"name": "zstd", "configuration": {"level": 3, "checksum": False}}),
    ({"id": "gzip", "level": 5}, {"name": "gzip", "configuration": {"level": 5}}),
    ({"id": "lzma", "preset": 1}, {"name": "zstd", "configuration": {"level": 0, "checksum": False}}),
]


@pytest.mark.parametrize(("compressor", "codec"), COMPRESSORS)
def test_compressors_keep_their_name_where_they_have_one(compressor, codec):
    """Compressors that v3 names stay; others become zstd; none stays none."""
    _, document = _version2("f8")
    described = as_version3({**document, "compressor": compressor})
    assert described["codecs"][1:] == ([] if codec is None else [codec])
    open_document(described)


def test_blosc_keeps_its_parameters():
    """Blosc is a codec of v3 too, and keeps level, name and shuffle."""
    _, document = _version2("f8")
    blosc = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    codec = as_version3({**document, "compressor": blosc})["codecs"][1]
    expected = {"typesize": 8, "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}
    assert codec == {"name": "blosc", "configuration": expected}
    open_document(as_version3({**document, "compressor": blosc}))


@pytest.mark.parametrize(("dtype", "fill"), [("f4", np.nan), ("f8", -1.0), ("i4", -9), ("u1", 255)])
def test_what_xarray_masks_stays_masked(tmp_path, dtype, fill):
    """Xarray masks the fill value of format 2; the attribute that says so in format 3 has the same value."""
    values = np.array([0, 1, 2], dtype)
    dataset = xr.Dataset({"x": ("i", values, {"units": "V"})})
    dataset["x"].encoding["_FillValue"] = np.array(fill, dtype)[()]
    dataset.to_zarr(tmp_path / "two.zarr", zarr_format=2)
    stored = zarr.open_group(tmp_path / "two.zarr", mode="r")["x"]
    document = dict(stored.metadata.to_dict())
    described = as_version3(document)
    assert described["attributes"]["units"] == "V"
    assert described["dimension_names"] == ["i"]
    assert "_ARRAY_DIMENSIONS" not in described["attributes"]
    store = MemoryStore()
    group = zarr.create_group(store)
    made = group.create_array(
        "x", shape=(3,), dtype=dtype, dimension_names=["i"], attributes=described["attributes"]
    )
    made[...] = values
    xr.testing.assert_identical(
        xr.open_zarr(store, consolidated=False), xr.open_zarr(tmp_path / "two.zarr").load()
    )
