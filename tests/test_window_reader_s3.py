"""Windows of a real S3 server: what one costs, and that an epoch is the same as on a disk."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_windows import numbered
from test_storage_shard_indexes import sessions

from aggrade import WindowReader, append

pytestmark = pytest.mark.e2e

SHAPES = {"eeg": (32, 500), "fnirs": (20, 40)}


def test_a_random_window_costs_little(s3_prefix, s3_proxy):
    """Cold, plain xarray sends 2 GETs per array and gets 1.2 times the window's bytes; the reader sends 1 later."""
    truth, root = sessions(SHAPES, 90), f"{s3_prefix.url}/data"
    append(truth, root, grow=("window",), storage_options=s3_prefix.storage_options)
    plain = xr.open_zarr(f"{root}/windows.zarr", storage_options=s3_proxy.storage_options, chunks=None)
    s3_proxy.clear()
    found = plain.isel(session=0, window=41)[list(SHAPES)].load()
    assert [s3_proxy.count()[kind] for kind in ("GET", "HEAD", "LIST")] == [4, 0, 0]
    assert sum(one.received for one in s3_proxy.requests) <= 1.2 * sum(found[name].nbytes for name in SHAPES)
    reader = WindowReader(root, 8, storage_options=s3_proxy.storage_options)
    for window, requests in ((41, 4), (42, 2)):
        s3_proxy.clear()
        read = reader.window("s", window)
        assert s3_proxy.count() == {"GET": requests}
        for name in SHAPES:
            np.testing.assert_array_equal(read[name], truth[name].values[0, window])


def test_an_epoch_is_the_same_as_on_a_disk(s3_prefix, tmp_path):
    """The same sessions give the same batches wherever they lie."""
    for number, count in enumerate((7, 4, 9)):
        dataset = numbered([f"ä {number}/#?"], [count], first=number)
        append(dataset, str(tmp_path), grow=("window",))
        append(dataset, f"{s3_prefix.url}/w", grow=("window",), storage_options=s3_prefix.storage_options)
    here = WindowReader(str(tmp_path), 4, seed=3)
    there = WindowReader(f"{s3_prefix.url}/w", 4, seed=3, storage_options=s3_prefix.storage_options)
    for one, other in zip(here, there, strict=True):
        for name in ("eeg", "fnirs", "session", "window", "label"):
            np.testing.assert_array_equal(one[name], other[name])
