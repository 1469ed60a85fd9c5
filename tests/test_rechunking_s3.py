"""Rechunking from and to a real S3 server."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import aggrade
from aggrade.storage import open_storage
from aggrade.storage.probe import conditions

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
    conditions(open_storage(url, options))  # a server is asked once in a process, which counts as requests
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


@pytest.mark.long
def test_all_is_compared_and_no_version_kept_on_s3(s3_prefix):
    """On S3 every value is compared, the version that was served goes behind the switch, and the plan said what that costs."""
    url, options = s3_prefix.url, s3_prefix.storage_options
    source, target = f"{url}/lightcurves.zarr", f"{url}/by_object.zarr"
    layout = {"chunks": {"object": 4, "epoch": -1}, "shards": {"object": 12}, "storage_options": options}
    _put(source, options, 5)
    aggrade.rechunk(source, target, **layout)
    second = _put(source, options, 8)
    plan = aggrade.rechunk(source, target, keep_versions=0, compare="full", dry_run=True, **layout)
    receipt = aggrade.rechunk(source, target, keep_versions=0, compare="full", **layout)
    assert receipt.details["compared"] == len(plan.pieces) + len(plan.kept)
    xr.testing.assert_equal(xr.open_zarr(target, storage_options=options).load(), second)
    keys = [info.key for info in open_storage(target, options).list("lightcurves/")]
    assert sorted(keys) == [*(f"lightcurves/c.{row}.0.0" for row in range(3)), "lightcurves/zarr.json"]
    assert plan.prunes == 3 + 1 + 1
    assert aggrade.verify(target, storage_options=options).ok
