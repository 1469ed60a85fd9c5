"""Memory and price of rechunks of random geometries, each measured in a process of its own, and their result."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from make_geometries import COUNT, LEAST, MIB, MOST, difference, geometry, priced_memory, write_source

ROOT = Path(__file__).parent.parent
SLACK = 150_000_000
QUIET = {"AGGRADE_LEASE_SECONDS": "7200"}
"""So that no heartbeat is counted."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def test_the_geometries_are_what_they_are_to_be():
    """Bounds go from 256 MiB to 4 GiB; most plans take most of them; every type, order, format and kind of shard occurs."""
    drawn = [geometry(number) for number in range(COUNT)]
    assert (drawn[0].max_memory, drawn[-1].max_memory) == (LEAST, MOST)
    assert all(LEAST <= one.max_memory <= MOST for one in drawn)
    assert sum(priced_memory(one) > 0.6 * one.max_memory for one in drawn) >= 35
    assert {len(one.shape) for one in drawn} == {1, 2, 3, 4}
    assert {one.zarr_format for one in drawn} == {2, 3}
    kinds = {(one.shards is None, one.to_shards is None) for one in drawn}
    assert len(kinds) == 4
    assert sum(one.order is not None for one in drawn) >= 5
    assert len({one.dtype for one in drawn}) >= 7


@pytest.mark.parametrize("number", range(COUNT))
def test_memory_price_and_result_are_what_was_said(number):
    """The process never takes more than its bound and 150 MB, sends what was priced, and the copy has each value."""
    one = geometry(number)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "s.zarr"), Path(folder, "t.zarr")
        write_source(one, source)
        measured = _measured(source, target, one)
        assert difference(one, target) == "", one
    assert measured["priced"] <= one.max_memory, one
    assert measured["taken"] <= one.max_memory + SLACK, f"{measured} of {one}"
    _assert_counted(one, measured)


def _measured(source, target, one):
    command = [sys.executable, "tests/measure_geometry.py", str(source), str(target), json.dumps(one.layout)]
    env = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr[-2000:]} of {one}"
    measured = json.loads(done.stdout)
    logging.getLogger(__name__).info("%s: %s", _said(one), measured)
    return measured


def _said(one):
    """Say which geometry it is, in a line."""
    size = math.prod(one.shape) * (128 if one.dtype == "str" else np.dtype(one.dtype).itemsize)
    return f"{size // MIB} MiB of {one.dtype} within {one.max_memory // MIB} MiB"


def _assert_counted(one, measured):
    """Assert that requests are those of the price; only chunks of shards that zarr itself decodes may be fewer."""
    counted, priced = measured["requests"], measured["price"]
    assert {**priced, "GET": 0} == {**counted, "GET": 0}, f"{measured} of {one}"
    if one.shards and (one.order or one.dtype == "str"):
        assert counted["GET"] <= priced["GET"], f"{measured} of {one}"
    else:
        assert counted["GET"] == priced["GET"], f"{measured} of {one}"
    if not one.compressed and not (one.shards or one.to_shards) and one.dtype != "str":
        _assert_bytes(one, measured)


def _assert_bytes(one, measured):
    """Assert that of an array that is not compressed the bytes are those of the price, with samples, padding and documents."""
    item = np.dtype(one.dtype).itemsize
    samples = 8 * item * (math.prod(one.chunks) + math.prod(one.to_chunks))
    grid = [-(-size // step) * step for size, step in zip(one.shape, one.to_chunks, strict=True)]
    read, written = (measured["bytes"][name] for name in ("bytes_read", "bytes_written"))
    assert 0 <= read - measured["values"]["bytes_read"] <= samples + MIB, f"{measured} of {one}"
    assert measured["values"]["bytes_written"] == item * math.prod(one.shape), f"{measured} of {one}"
    assert 0 <= written - item * math.prod(grid) <= 2 * MIB, f"{measured} of {one}"
