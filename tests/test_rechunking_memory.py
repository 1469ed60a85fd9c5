"""The memory that a rechunk takes, measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from aggrade.rechunking.memory import return_freed_memory

ROOT = Path(__file__).parent.parent
MIB = 1 << 20
SLACK = 40 * MIB
SHAPE = (40_000, 4, 100)
BANDS = {"chunks": (10_000, 4, 1)}
CASES = {
    "too little for all at once": (BANDS, {"chunks": {"a": 1000, "c": -1}}, 40 * MIB),
    "into shards": (BANDS, {"chunks": {"a": 16, "c": -1}, "shards": {"a": 8000}}, 96 * MIB),
    "from shards": (
        {"chunks": (100, 4, 100), "shards": (20_000, 4, 100)},
        {"chunks": {"a": -1, "c": 1}},
        96 * MIB,
    ),
    "into shards, all compared": (
        BANDS,
        {"chunks": {"a": 16, "c": -1}, "shards": {"a": 8000}, "compare": "full"},
        96 * MIB,
    ),
    "from large chunks": ({"chunks": (40_000, 4, 50)}, {"chunks": {"a": 100, "c": -1}}, 160 * MIB),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.long] * (place > 0)) for place, case in enumerate(CASES)]
)
def test_no_more_memory_is_taken_than_was_priced(tmp_path, case):
    """What a rechunk of noise takes beside the program stays within its price and 40 MiB, and is most of it."""
    encoding, layout, bound = CASES[case]
    values = np.random.default_rng(0).integers(0, 1 << 16, SHAPE).astype("f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix, part in (("", values), (".small", values[:20, :, :10])):
            dataset = xr.Dataset({"x": (("a", "b", "c"), part)})
            dataset.to_zarr(f"{tmp_path}/s.zarr{suffix}", zarr_format=3, encoding={"x": encoding})
    places = [str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr")]
    command = [
        sys.executable,
        str(ROOT / "tests/measure_rechunk.py"),
        *places,
        str(bound),
        json.dumps(layout),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["priced"] <= bound
    assert 0.5 * measured["priced"] <= measured["taken"] <= measured["priced"] + SLACK, measured


def test_giving_memory_back_is_set_once():
    """Asking again changes nothing, and the answer says whether it could be set."""
    assert return_freed_memory() is return_freed_memory()
    assert return_freed_memory() in {True, False}
