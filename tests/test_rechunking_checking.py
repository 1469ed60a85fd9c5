"""What verify finds in a rechunked store."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from aggrade.commit import read_snapshot
from aggrade.commit.layers import RECEIPTS
from aggrade.commit.salting import objects_digest
from aggrade.rechunking import rechunk
from aggrade.rechunking.checking import copy_problems, every_key, last_receipt
from aggrade.storage import open_storage
from aggrade.verifying import verify


@pytest.fixture
def target(tmp_path):
    """Return a rechunked store with an all-fill chunk, an empty array and a scalar."""
    dataset = xr.Dataset(
        {"x": (("a", "b"), np.repeat([[0.0], [1.0]], 6, axis=1)), "none": ("c", np.zeros(0)), "one": 3}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "s.zarr", zarr_format=3)
    rechunk(str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), chunks={"a": 1, "b": 3})
    return open_storage(str(tmp_path / "t.zarr"))


def _problems(target):
    return list(copy_problems(target, read_snapshot(target)))


def test_a_copy_as_it_was_written_has_no_problems(target):
    """Nothing is found where nothing was touched, by verify either."""
    assert _problems(target) == []
    assert verify(target.url).ok


@pytest.mark.parametrize("key", ["x/c/0/1", "x/c/1/0", "one/c"])
def test_a_missing_object_is_found_even_where_it_is_fill(target, key):
    """Every object was written; one that is gone is a problem, whatever its values were."""
    target.delete([key])
    (problem,) = _problems(target)
    assert f"1 objects are missing, such as {key}" in problem
    assert not verify(target.url).ok


def test_an_object_with_other_bytes_is_found(target):
    """A chunk that was replaced behind our back is a problem though it can be decoded."""
    key = "x/c/1/0"
    target.write(key, target.read("x/c/0/0").data, replacing=target.stat(key).etag)
    (problem,) = _problems(target)
    assert "not the bytes that were written" in problem
    assert not verify(target.url).ok


def test_a_receipt_of_a_newer_version_is_told(target):
    """It ends no verify: what else there is to say is said, too."""
    (key,) = (info.key for info in target.list(RECEIPTS))
    newer = json.loads(target.read(key).data) | {"moon": "full"}
    target.write(key, json.dumps(newer).encode(), replacing=target.stat(key).etag)
    (problem,) = _problems(target)
    assert "update aggrade" in problem
    report = verify(target.url)
    assert not report.ok
    assert "update aggrade" in str(report)


def test_stores_that_are_no_copies_are_left_to_others(target):
    """A store without the mark of a rechunk has no problems here."""
    source = target.above()[0].within("s.zarr")
    source.delete(["x/c/1/0"])
    assert _problems(source) == []


def test_every_key_is_what_zarr_writes(target):
    """The keys that are checked are those of every chunk of every array."""
    expected = {f"x/c/{i}/{j}" for i in range(2) for j in range(2)} | {"one/c"}
    assert set(every_key(read_snapshot(target).documents)) == expected
    assert zarr.open_group(target.url, mode="r")["none"].nchunks == 0


def test_the_digest_of_objects_ignores_their_order():
    """Pieces finish in any order; keys and bytes decide."""
    one = objects_digest([("a", "1"), ("b", "2")])
    assert one == objects_digest([("b", "2"), ("a", "1")])
    assert one != objects_digest([("a", "2"), ("b", "1")])
    assert one != objects_digest([("a", "1")])


def test_the_receipt_is_found_after_a_fence(target):
    """A fence renames the root's write; the receipt of the rechunk that made the store is found all the same."""
    shown = read_snapshot(target)
    receipt = last_receipt(target, shown)
    assert receipt.write_id == shown.write_id
    fenced = {**shown.attributes, "aggrade": {**shown.mark, "write_id": "fence-1", "generation": 2}}
    assert last_receipt(target, type(shown)("e", fenced, shown.documents)) == receipt
