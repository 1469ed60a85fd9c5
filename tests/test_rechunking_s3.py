"""Rechunking from and to a real S3 server."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import aggrade

pytestmark = pytest.mark.e2e


def _put(url, options, epochs):
    dataset = xr.Dataset(
        {"lightcurves": (("object", "band", "epoch"), np.random.default_rng(epochs).random((30, 2, epochs)))},
        coords={"object": [f"Ω {number}" for number in range(30)]},
    ).assign({"object": lambda data: data.object.astype(np.dtypes.StringDType())})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoding = {"lightcurves": {"chunks": (15, 2, 1)}}
        dataset.to_zarr(url, mode="w", zarr_format=3, storage_options=options, encoding=encoding)
    return dataset


def test_versions_on_s3_are_served_whole(s3_prefix):
    """On S3 a target is made, left alone while it is current, and replaced by its next version; old readers read on."""
    url, options = s3_prefix.url, s3_prefix.storage_options
    source, target = f"{url}/lightcurves.zarr", f"{url}/by_object.zarr"
    layout = {"chunks": {"object": 4, "epoch": -1}, "shards": {"object": 12}, "storage_options": options}
    first = _put(source, options, 5)
    receipt = aggrade.rechunk(source, target, **layout)
    assert aggrade.rechunk(source, target, **layout) == receipt
    assert receipt.requests["PUT"] < 20
    old = xr.open_zarr(target, storage_options=options)
    second = _put(source, options, 8)
    aggrade.rechunk(source, target, **layout)
    new = xr.open_zarr(target, storage_options=options)
    xr.testing.assert_equal(old.load(), first)
    xr.testing.assert_equal(new.load(), second)
    assert new["lightcurves"].encoding["shards"] == (12, 2, 8)
    assert aggrade.verify(target, storage_options=options).ok
