"""The layout of the light-curve store is the one that docs/lightcurves.md fixes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from aggrade.catalogues.cube import Shape, documents_of, shape_of
from aggrade.commit.snapshot import root_bytes

PAGE = (Path(__file__).parents[1] / "docs" / "lightcurves.md").read_text()


def shape(**changes):
    """Return a store of two bands."""
    base = {
        "objects": 7,
        "text_ids": True,
        "units": {"g": "mag", "r": "mag"},
        "value": "mag",
        "time_scale": "utc",
        "offsets": True,
    }
    return Shape(**{**base, **changes})


def opened(documents):
    """Return what xarray makes of array documents alone."""
    import json

    held = {"zarr.json": Buffer.from_bytes(root_bytes({}, documents))}
    held |= {
        f"{name}/zarr.json": Buffer.from_bytes(json.dumps(doc).encode()) for name, doc in documents.items()
    }
    return xr.open_zarr(MemoryStore(held), consolidated=True, chunks=None)


def documented():
    """Return name → (dims, dtype) of the page's two tables of variables."""
    rows = re.findall(r"^\| (`.+?`) \| ([a-z, ]+) \| ([a-z0-9 ]+) \|", PAGE, re.MULTILINE)
    return {name: (dims, dtype) for names, dims, dtype in rows for name in re.findall(r"`(\w+)`", names)}


def test_the_store_is_the_one_on_the_page():
    """Names, dimensions and types of all variables are those of the page, and there are no others."""
    still, page = opened(documents_of(shape(), 3)), documented()
    dataset = opened(documents_of(shape(motion=True), 3))
    assert set(dataset.variables) - set(still.variables) == {"pmra", "pmdec", "ref_epoch"}
    assert set(dataset.variables) == set(page)
    for name, (dims, dtype) in page.items():
        assert ", ".join(dataset[name].dims) == dims, name
        kind = "string" if dataset[name].dtype.kind in "TO" else str(dataset[name].dtype)
        assert kind in dtype.split(" or "), name
    assert dict(dataset.sizes) == {"object": 7, "measurement": 2, "value": 2, "epoch": 3}


def test_fills_say_that_nothing_is_known():
    """Cells that were never written read as NaN, status 0."""
    dataset = opened(documents_of(shape(), 3))
    assert np.isnan(dataset["lightcurves"]).all()
    assert np.isnan(dataset["time_offset"]).all()
    assert dataset["status"].dtype == np.uint8
    assert (dataset["status"] == 0).all()


def test_attributes_are_those_of_the_page():
    """Units, system, scale and reference place are attributes."""
    dataset = opened(documents_of(shape(system="AB", time_ref="barycentric", time_scale="tdb"), 1))
    assert dataset["lightcurves"].attrs == {"value": "mag", "units": "mag", "system": "AB"}
    expected = {"units": "d", "format": "mjd", "time_scale": "tdb", "time_ref": "barycentric"}
    assert dataset["epoch_time"].attrs == expected
    assert dataset["status"].attrs["flag_meanings"].split() == [
        "not_observed",
        "detected",
        "upper_limit",
        "flagged",
    ]
    mixed = opened(documents_of(shape(units={"g": "mag", "r": "nJy"}), 1))
    assert "units" not in mixed["lightcurves"].attrs


@pytest.mark.parametrize(
    ("objects", "measurements", "expected"),
    [(7, 2, 7), (10**6, 2, 2**20), (3 * 10**6, 2, 2**20), (10**6, 4, 2**19)],
)
def test_chunks_are_one_epoch_of_many_objects(objects, measurements, expected):
    """A chunk holds one epoch of as many objects as fit into 16 MiB; the other arrays have the same borders."""
    units = {f"band {index}": "mag" for index in range(measurements)}
    documents = documents_of(shape(objects=objects, units=units), 5)
    chunks = {name: doc["chunk_grid"]["configuration"]["chunk_shape"] for name, doc in documents.items()}
    want = min(objects, expected)
    assert chunks["lightcurves"] == [want, measurements, 2, 1]
    assert chunks["status"] == chunks["time_offset"] == [want, measurements, 1]
    assert np.prod(chunks["lightcurves"]) * 4 <= 2**24
    assert chunks["epoch"] == chunks["rows"] == [1024]
    assert chunks["ra"] == [min(objects, 2**20)]


@pytest.mark.parametrize(
    "changes", [{}, {"offsets": False, "text_ids": False}, {"system": "Vega", "value": "flux"}]
)
def test_a_store_tells_what_it_is(changes):
    """What a store is can be read back from its documents."""
    asked = shape(**changes)
    documents = documents_of(asked, 4)
    assert shape_of(documents, ["g", "r"], ["mag", "mag"]) == asked
    assert ("time_offset" in documents) is asked.offsets


def test_bytes_are_those_of_the_arrays():
    """An epoch's bytes are those of its chunks before compression."""
    documents = documents_of(shape(), 1)
    arrays = [
        zarr.open_array(
            MemoryStore({"a/zarr.json": Buffer.from_bytes(_json(documents[name]))}), path="a", mode="r"
        )
        for name in ("lightcurves", "status", "time_offset")
    ]
    assert shape().epoch_bytes == sum(array.nbytes for array in arrays)


def _json(document):
    import json

    return json.dumps(document).encode()
