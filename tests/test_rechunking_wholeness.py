"""A source of ours that misses objects is refused."""

from __future__ import annotations

import pytest
import xarray as xr
from make_datasets import make_session

import aggrade
from aggrade.errors import Damaged
from aggrade.rechunking import rechunk

LAYOUT = {"chunks": {"session": 2, "window": 1}}


@pytest.fixture
def source(tmp_path):
    """Return the folder of a store of two sessions of one chunk each."""
    path = tmp_path / "windows.zarr"
    for number in range(2):
        session = make_session(f"s{number}", 3, number, channels=4, samples=400)
        aggrade.append(session, str(path), chunks={"session": 1})
    return path


@pytest.mark.parametrize("lost", ["eeg/c/1/0/0/0", "eeg_channel/c/0"])
def test_a_chunk_that_was_written_and_is_missing_is_damage(source, tmp_path, lost):
    """A chunk of a session and one of an array that all share are named, and what was served is served on."""
    target = str(tmp_path / "t.zarr")
    rechunk(str(source), target, **LAYOUT)
    served = xr.open_zarr(target).load()
    aggrade.append(make_session("s2", 3, 2, channels=4, samples=400), str(source))
    (source / lost).unlink()
    for dry_run in (True, False):
        with pytest.raises(Damaged, match=lost) as caught:
            rechunk(str(source), target, dry_run=dry_run, **LAYOUT)
        assert caught.value.code == "chunk-missing"
    xr.testing.assert_identical(xr.open_zarr(target).load(), served)


def test_a_copy_that_misses_an_object_is_no_source(source, tmp_path):
    """A rechunked copy has every object; one that was lost is not copied on as fill."""
    copy = tmp_path / "t.zarr"
    rechunk(str(source), str(copy), **LAYOUT)
    (copy / "eeg/c/0/1/0/0").unlink()
    with pytest.raises(Damaged, match="eeg/c/0/1/0/0") as caught:
        rechunk(str(copy), str(tmp_path / "other.zarr"), chunks={"session": 1})
    assert caught.value.code == "chunk-missing"
