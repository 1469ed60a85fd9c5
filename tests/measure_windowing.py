"""Cut, stage and land one long recording in a process of its own; print, as JSON, the plan's memory and what it took.

::

    python tests/measure_windowing.py FOLDER MINUTES
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from aggrade.landing import land, plan_landing
from aggrade.staging import stage
from aggrade.windowing import cut_windows
from flows.recording_writers import write_edf

SPEC = {"window_size_s": 2}
CHANNELS, RATE, RECORDS = 64, 500, slice(236, 244)


def write_recording(path: Path, minutes: int) -> Path:
    """Write an EDF file of 64 channels at 500 Hz, the same minute again and again."""
    samples = np.random.default_rng(0).normal(0, 30, (60 * RATE, CHANNELS))
    start = datetime(2026, 3, 1, 10, tzinfo=UTC)
    write_edf(path, start, samples, rate=RATE, labels=[f"EEG {index}" for index in range(CHANNELS)])
    data, size = bytearray(path.read_bytes()), 256 * (1 + CHANNELS)
    data[RECORDS] = str(60 * minutes).encode().ljust(8)
    with path.open("wb") as file:
        file.write(data[:size])
        for _ in range(minutes):
            file.write(data[size:])
    return path


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def main(folder: str, minutes: str) -> None:
    """Take a short recording and then the long one through every step."""
    root = f"{folder}/data"
    short = write_recording(Path(folder) / "short.edf", 1)
    plan_landing(cut_windows(short, SPEC), root, "planned")
    staged = stage(cut_windows(short, SPEC), root, "short")
    land(staged, staged.store())
    long = write_recording(Path(folder) / "long.edf", int(minutes))
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    staged = stage(cut_windows(long, SPEC), root, "long")
    land(staged, staged.store())
    taken = _resident("VmHWM") - before
    plan = plan_landing(cut_windows(long, SPEC), root, "again", on_conflict="replace")
    again = plan_landing(
        cut_windows(long, SPEC).assign_coords(session=np.array(["other"], object)), root, "other"
    )
    stated = max(plan.price.peak_memory, again.price.peak_memory)
    print(json.dumps({"stated": stated, "taken": taken, "windows": staged.bytes}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
