"""A disk that is full in the middle of a rechunk: what was served is served on, and with room the run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

FULL = """
import shutil, subprocess, sys, warnings
from pathlib import Path
import numpy as np, xarray as xr
import aggrade
from make_stores import write_zarr

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
disk, source = folder / "disk", folder / "s.zarr"
target = str(disk / "t.zarr")
layout = {"chunks": {"a": 500, "b": -1}, "max_memory": "320 KiB"}

def mount(*options):
    subprocess.run(["mount", *options, str(disk)], check=True)

def put(rows, generation):
    shutil.rmtree(source, ignore_errors=True)
    values = np.random.default_rng(generation).random((rows, 16))
    write_zarr(xr.Dataset({"x": (("a", "b"), values)}), source, encoding={"x": {"chunks": (500, 4)}}, generation=generation)

def filling(work, pieces):
    for number, piece in enumerate(pieces):
        if number == 3:
            (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
        yield work(piece)

def shows(url):
    return xr.open_zarr(url).drop_attrs().load()

disk.mkdir()
mount("-t", "tmpfs", "-o", "size=8m", "tmpfs")
put(1000, 1)
aggrade.rechunk(str(source), target, **layout)
served = shows(target)
put(20_000, 2)
for how in ({"map": filling}, {}):
    try:
        aggrade.rechunk(str(source), target, **layout, **how)
    except (aggrade.Unavailable, aggrade.Refused) as error:
        print(error.code, "No space left" in str(error))
print("served", shows(target).identical(served), aggrade.verify(target).ok)
written = {path: path.stat().st_mtime_ns for path in (disk / "t.zarr/x").glob("c.*")}
(disk / "ballast").unlink()
aggrade.rechunk(str(source), target, **layout)
kept = sum(path.stat().st_mtime_ns == when for path, when in written.items())
print("whole", shows(target).identical(shows(source)), aggrade.verify(target).ok, kept >= len(written) - 2 > 3)
"""


@pytest.mark.long
def test_a_disk_that_is_full_in_the_middle(tmp_path):
    """The error says so, the version before is served and whole; run again, it is refused until there is room.

    With room it goes on: what was written is not written again.
    """
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()[-200:]}")
    told = ["disk-full True", "disk-room False", "served True True", "whole True True True"]
    assert done.stdout.splitlines() == told, done.stderr[-2000:]
