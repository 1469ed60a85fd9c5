"""Make a wide SNIRF file, cut a part of its channels in a process of its own, and print the memory that it took.

::

    python tests/measure_snirf.py /tmp/wide.snirf 51408 248832 9360
"""

from __future__ import annotations

import json
import sys
import zlib
from itertools import product
from pathlib import Path

import h5py
import numpy as np

from aggrade.windowing import cut_windows

RATE = 4.76
ROWS, COLUMNS = 256, 4096


def write_wide(path: str | Path, samples: int, columns: int) -> None:
    """Write (sample, column) float64, of which every block of 256 x 4096 is the same, packed once."""
    block = np.random.default_rng(1).normal(1, 0.1, 64).repeat(COLUMNS // 64)[None, :].repeat(ROWS, axis=0)
    packed = zlib.compress(block.astype("<f8").tobytes(), 1)
    with h5py.File(path, "w") as file:
        file["formatVersion"] = "1.1"
        tags = {"MeasurementDate": "2026-03-01", "MeasurementTime": "10:00:00Z", "TimeUnit": "s"}
        for name, value in tags.items():
            file.require_group("nirs/metaDataTags")[name] = value
        data = file.create_group("nirs/data1")
        data["time"] = np.arange(samples) / RATE
        shape, chunks = (samples, columns), (ROWS, COLUMNS)
        table = data.create_dataset("dataTimeSeries", shape, "<f8", chunks=chunks, compression=1)
        for row, column in product(range(0, samples, ROWS), range(0, columns, COLUMNS)):
            table.id.write_direct_chunk((row, column), packed)
        lists = data.create_group("measurementLists")
        lists["sourceIndex"] = np.arange(columns) + 1
        for name in ("detectorIndex", "wavelengthIndex", "dataType", "dataTypeIndex"):
            lists[name] = np.ones(columns, int)
        file.create_group("nirs/probe")["wavelengths"] = [760.0]


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def _measure(path: str, columns: int, kept: int) -> dict[str, int]:
    """Cut windows of 210 ms, one frame each, of the last columns, and say what is in memory."""
    before = _resident("VmRSS")
    names = [f"S{column + 1}_D1 760" for column in range(columns - kept, columns)]
    windows = cut_windows(path, {"window_size_s": 0.21, "fnirs_channels": names})
    taken = _resident("VmHWM")
    sizes = {"windows": windows.sizes["window"], "bytes": windows["fnirs"].nbytes, "dataset": windows.nbytes}
    return sizes | {"before": before, "peak": taken}


if __name__ == "__main__":
    path, numbers = sys.argv[1], [int(text) for text in sys.argv[2:]]
    if not Path(path).exists():
        write_wide(path, numbers[0], numbers[1])
    print(json.dumps(_measure(path, numbers[1], numbers[2])))  # noqa: T201
