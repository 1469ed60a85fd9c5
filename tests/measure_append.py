"""Append lazy noise in a process of its own and print, as JSON, the plan's price and the memory that it took.

::

    python tests/measure_append.py s3://bucket/x.zarr '{"endpoint_url": …}' 6
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dask.array
import numpy as np
import xarray as xr

import aggrade


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def lazy_session(label: str, gigabytes: float) -> xr.Dataset:
    """Return a session of so many GB of noise in blocks of 2 MB, made when they are asked for."""
    windows = max(8, round(gigabytes * 1e9 / (64 * 1024 * 4)))
    pattern = np.random.default_rng(1).standard_normal((1, 8, 64, 1024), dtype=np.float32)
    rows = [8] * (windows // 8)
    noise = dask.array.map_blocks(
        lambda block_id: pattern + np.float32(block_id[1]),
        chunks=((1,), tuple(rows), (64,), (1024,)),
        dtype=np.float32,
        meta=pattern[:0],
    )
    dims = ("session", "window", "eeg_channel", "eeg_sample")
    return xr.Dataset({"eeg": (dims, noise)}, {"session": np.array([label], object)})


def main(url: str, options: str, gigabytes: str) -> None:
    """Append a small session and then the large one; print bytes priced, taken beyond the first, and resident."""
    how = {"grow": ("window",), "storage_options": json.loads(options)}
    aggrade.append(lazy_session("small", 0.01), url, **how)
    before = _resident("VmRSS")
    plan = aggrade.append(lazy_session("large", float(gigabytes)), url, dry_run=True, **how)
    aggrade.append(lazy_session("large", float(gigabytes)), url, **how)
    peak = _resident("VmHWM")
    print(json.dumps({"priced": plan.price.peak_memory, "taken": peak - before, "resident": peak}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
