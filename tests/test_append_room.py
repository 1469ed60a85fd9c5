"""Room on the disk of a local store, compared before the first byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from disk_room import disk
from make_datasets import CHUNKS, make_session

import aggrade

__all__ = ["disk"]


def append(url, label, seed, windows=3, **how):
    """Append one session."""
    session = make_session(label, windows, seed, channels=2, samples=500)
    return aggrade.append(session, url, grow=("window",), chunks=CHUNKS | {"eeg": (1, 8, 2, 500)}, **how)


def lying(folder):
    """Return the size of every file below a folder."""
    return {path: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def refused(url, folder, **how):
    """Assert that an append is refused for lack of room and leaves all as it was; return the problem."""
    before = lying(folder)
    with pytest.raises(aggrade.Refused) as caught:
        append(url, "big", 2, 200, **how)
    (problem,) = caught.value.problems
    assert problem.code == "disk-room"
    assert lying(folder) == before
    return problem


@pytest.mark.parametrize("dry_run", [False, True])
def test_too_little_for_the_data(tmp_path, disk, dry_run):
    """Noise of 800 kB is refused where 500 kB are free, on create as well; the message says what to free."""
    url = str(tmp_path / "x.zarr")
    disk(500_000)
    problem = refused(url, tmp_path, dry_run=dry_run)
    assert problem.found == "500.0 kB free on its disk"
    assert "prune_backups" in problem.fix


def test_enough(tmp_path, disk):
    """With some more than they take they go in."""
    disk(2_000_000)
    assert append(str(tmp_path / "x.zarr"), "big", 2, 200).layers == {"big": 0}


def test_too_little_for_a_full_backup(tmp_path, disk):
    """A backup of the whole store needs as much room again; without it the append goes in."""
    url = str(tmp_path / "x.zarr")
    append(url, "first", 1, 400)
    whole = sum(lying(url).values())
    disk(whole + 500_000)
    problem = refused(url, tmp_path, backup="full")
    assert "for the backup" in problem.expected
    assert append(url, "big", 2, 200).layers == {"big": 1}


def test_what_compresses_well(tmp_path, disk):
    """Values are counted as they are stored: 40 MB of zeros go in where 5 MB are free."""
    session = make_session("zeros", 1_000, 1, channels=2, samples=5_000)
    session["eeg"] = session["eeg"].dims, np.zeros(session["eeg"].shape, "f4"), session["eeg"].attrs
    disk(5_000_000)
    receipt = aggrade.append(session, str(tmp_path / "x.zarr"), grow=("window",))
    assert receipt.bytes_written < 5_000_000
