"""`populate` from a real S3 server to a real S3 server."""

from __future__ import annotations

import pytest
import xarray as xr
from make_catalogues import make_survey
from test_populating import cube

from aggrade import LightCurves, populate, verify
from aggrade.storage import open_storage

pytestmark = pytest.mark.e2e


def test_a_bucket_is_populated_as_a_folder_is(tmp_path, s3_prefix, s3_proxy):
    """The cube is that of a local run; the same again sends no write and reads not one catalogue."""
    survey = make_survey(objects=60, epochs=4)
    paths = survey.write(tmp_path / "cats")
    options = s3_prefix.storage_options
    storage = open_storage(f"{s3_prefix.url}/cats", options)
    for path in paths:
        storage.write(path.name, path.read_bytes())
    root = f"{s3_prefix.url}/data"
    asked = {"spec": survey.SPEC, "objects": survey.objects()}
    receipt = populate(f"{s3_prefix.url}/cats", root, storage_options=options, **asked)
    populate(tmp_path / "cats", str(tmp_path), **asked)
    there = xr.open_zarr(f"{root}/lightcurves.zarr", storage_options=options).load()
    here = cube(tmp_path)
    xr.testing.assert_identical(
        there.drop_vars("source_mark").drop_attrs(), here.drop_vars("source_mark").drop_attrs()
    )
    assert verify(root, storage_options=options).ok
    assert LightCurves(root, storage_options=options).dataset.sizes["epoch"] == 4

    again = populate(f"{s3_prefix.url}/cats/*.fits", root, storage_options=s3_proxy.storage_options, **asked)
    assert again == receipt
    sent = s3_proxy.count()
    assert not {"PUT", "COPY", "DELETE", "POST"} & set(sent)
    assert not [request for request in s3_proxy.requests if request.kind == "GET" and "visit_" in request.key]
