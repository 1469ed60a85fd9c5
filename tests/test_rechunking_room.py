"""Room on the disk of a local target: what cannot fit is refused before the first byte."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from disk_room import disk
from make_documents import make_document
from make_stores import write_zarr
from memory_storage import MemoryStorage, World

from aggrade.errors import Refused
from aggrade.price import human_bytes
from aggrade.rechunking import rechunk
from aggrade.rechunking.pricing import plan_array
from aggrade.rechunking.room import Room, expected_bytes, lacking_room, room_for
from aggrade.storage import open_storage

__all__ = ["disk"]

LAYOUT = {"chunks": {"a": 500, "b": -1}}
SIZE = 20_000 * 16 * 8
MARGIN = 1.3
"""What a plan may take more than its values: the last blocks of some 100 files, 2 %, and 64 kB."""


@pytest.fixture
def target(tmp_path):
    """Return the URL of a target that does not exist."""
    return str(tmp_path / "t.zarr")


def _put(folder, values, generation=1, **encoding):
    """Write a source; noise, unless told otherwise, that no codec makes smaller."""
    shutil.rmtree(folder / "s.zarr", ignore_errors=True)
    dataset = xr.Dataset({"x": (("a", "b"), values)})
    write_zarr(
        dataset,
        folder / "s.zarr",
        encoding={"x": {"chunks": (2000, 4), **encoding}},
        generation=generation,
        write_id=f"write-{generation}",
    )
    return str(folder / "s.zarr")


def _noise(rows=20_000, seed=0):
    return np.frombuffer(np.random.default_rng(seed).bytes(rows * 16 * 8), "i8").reshape(rows, 16)


def _files(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_fit_is_refused_before_the_first_byte(tmp_path, target, disk, dry_run):
    """Noise of 2.6 MB does not fit into 2.5 MB; the dry run says so, too, and nothing is made."""
    source = _put(tmp_path, _noise())
    before = _files(tmp_path)
    disk(2_500_000)
    with pytest.raises(Refused, match=r"2\.5 MB free on its disk, expected about 2\.[6-9] MB") as caught:
        rechunk(source, target, dry_run=dry_run, **LAYOUT)
    assert caught.value.code == "disk-room"
    assert _files(tmp_path) == before
    assert not Path(target).exists()


def test_what_fits_is_done_and_the_dry_run_tells_the_room(tmp_path, target, disk):
    """With some more the same rechunk runs; the plan names what is needed and what is free."""
    source = _put(tmp_path, _noise())
    disk(int(MARGIN * SIZE))
    plan = rechunk(source, target, dry_run=True, **LAYOUT)
    assert SIZE < plan.room.needed <= plan.room.free == int(MARGIN * SIZE)
    assert f"room: about {human_bytes(plan.room.needed)} of 3.3 MB that are free" in str(plan)
    rechunk(source, target, **LAYOUT)
    written = sum(path.stat().st_size for path in Path(target).rglob("*"))
    assert SIZE < written < plan.room.needed


def test_what_was_served_stays_where_the_next_version_does_not_fit(tmp_path, target, disk):
    """The version served takes its room beside the next one, and is served on."""
    rechunk(_put(tmp_path, _noise()), target, **LAYOUT)
    served = xr.open_zarr(target).load()
    source = _put(tmp_path, _noise(seed=1), generation=2)
    disk(2_000_000)
    with pytest.raises(Refused, match="free some room"):
        rechunk(source, target, **LAYOUT)
    xr.testing.assert_identical(xr.open_zarr(target).load(), served)


def test_what_compresses_needs_less(tmp_path, target, disk):
    """Values that are packed in the source are expected to be packed in the copy; a megabyte does for 2.6 MB of them."""
    source = _put(tmp_path, np.zeros((20_000, 16), "i8") + np.arange(16))
    disk(1_000_000)
    plan = rechunk(source, target, dry_run=True, **LAYOUT)
    assert plan.room.needed < 1_000_000 < plan.price.bytes_written


def test_versions_that_go_make_room(tmp_path, target, disk):
    """The version before the one served is deleted first: its room counts as free."""
    for generation in (1, 2, 3):
        source = _put(tmp_path, _noise(seed=generation), generation=generation)
        if generation == 3:
            disk(1_000_000)
        rechunk(source, target, **LAYOUT)
    assert np.array_equal(xr.open_zarr(target)["x"], _noise(seed=3))


def test_another_name_of_a_served_file_makes_none(tmp_path):
    """On a disk, versions share files; deleting one of two names frees nothing."""
    document = make_document((4, 4), (2, 4), dtype="i8")
    (tmp_path / "x/c/0").mkdir(parents=True)
    (tmp_path / "x/c/0/0").write_bytes(b"s" * 100)
    (tmp_path / "x/c.0.0").write_bytes(b"f" * 1000)
    os.link(tmp_path / "x/c/0/0", tmp_path / "x/c.1.0")
    storage = open_storage(str(tmp_path))
    free = storage.space()[1]
    found = room_for(storage, 0, 0, {"x": document}, ["x", "gone"])
    assert abs(found.free - free - 1000) < 1 << 26, "other processes use the disk, too"
    none = room_for(storage, 0, 0, {}, ["x"])
    assert isinstance(none, Room)


def test_a_store_without_a_disk_has_room_for_everything():
    """An object store is never full."""
    assert room_for(MemoryStorage(World(), "t.zarr"), 1 << 60, 1, {}, ["x"]) is None
    assert not list(lacking_room("s3://b/t.zarr", None))


def test_a_human_can_decide_otherwise(tmp_path, target, disk, monkeypatch):
    """Where a copy is known to pack better than its source, less room does; the error names the setting."""
    steady = np.repeat(_noise()[:, :1], 16, axis=1)
    source = _put(tmp_path, steady, chunks=(20_000, 1))
    disk(1_000_000)
    with pytest.raises(Refused) as caught:
        rechunk(source, target, **LAYOUT)
    (name,) = re.findall(r"AGGRADE_\w+", str(caught.value))
    monkeypatch.setenv(name, "0.3")
    rechunk(source, target, **LAYOUT)
    assert np.array_equal(xr.open_zarr(target)["x"], steady)


@pytest.mark.parametrize(
    ("compressed", "stored", "expected"), [(False, 800, 1600), (False, 400, 800), (True, 300, 300)]
)
def test_what_is_expected_of_an_array(compressed, stored, expected):
    """Padding counts where nothing is compressed; what the source leaves out is left out."""
    how = {} if compressed else {"compressors": None}
    before = make_document((10, 10), (10, 1), dtype="i8", **how)
    after = make_document((10, 10), (1, 20), dtype="i8", **how)
    assert expected_bytes(before, after, plan_array(before, after, 1 << 20), stored) == expected
