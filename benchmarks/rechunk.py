"""How far `rechunk` is from what the machine can do, beside Dask's own rechunking.

    python benchmarks/rechunk.py [--objects 40000] [--epochs 100] [--rounds 3] [--threads 2] [--folder DIR]

The work is the light-curve cube of ``docs/lightcurves.md``: float32 ``(object, measurement, value, epoch)`` in chunks of
one epoch, to be read as chunks of 1,000 objects with all epochs. Compared are

- **floor**: every source chunk read and decoded once, every target chunk encoded and written once, nothing between;
- **ours**: `aggrade.rechunk`, alone and with pieces in threads, with its verification and its synced writes;
- **dask**: ``xarray.open_zarr(…).chunk(…).to_zarr(…)`` on as many threads; unverified, neither resumable nor bounded.

Contestants run in turn, round by round, so that a busy minute hurts all of them; printed are medians and ranges.
"""

from __future__ import annotations

import argparse
import functools
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr
from numcodecs.zstd import Zstd

import aggrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DIMS = ("object", "measurement", "value", "epoch")
LAYOUT = {"object": 1000, "epoch": -1}
CODEC = Zstd(level=0)


def make_source(path: Path, objects: int, epochs: int) -> np.ndarray[Any, Any]:
    """Write the cube, one epoch a chunk, a fifth of it unseen; return its values."""
    rng = np.random.default_rng(0)
    values = rng.normal(18, 1, (objects, 2, 2, epochs)).round(3).astype("f4")
    np.moveaxis(values, 3, 1)[rng.random((objects, epochs)) < 0.2] = np.nan
    encoding = {"lightcurves": {"chunks": (min(objects, 50_000), 2, 2, 1)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"lightcurves": (DIMS, values)}).to_zarr(path, zarr_format=3, encoding=encoding)
    return values


def run_floor(source: Path, target: Path, chunks: list[np.ndarray[Any, Any]], threads: int) -> None:
    """Read and decode every source chunk, encode and write every target chunk."""

    def write(numbered: tuple[int, np.ndarray[Any, Any]]) -> None:
        number, chunk = numbered
        (target / str(number)).write_bytes(CODEC.encode(chunk))

    files = [path for path in (source / "lightcurves/c").rglob("*") if path.is_file()]
    target.mkdir()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda path: CODEC.decode(path.read_bytes()), files))
        list(pool.map(write, enumerate(chunks)))


def run_ours(source: Path, target: Path, threads: int) -> None:
    """Rechunk with aggrade, pieces in threads where there are several."""
    if threads == 1:
        aggrade.rechunk(str(source), str(target), chunks=LAYOUT)
        return
    with ThreadPoolExecutor(threads) as pool:
        aggrade.rechunk(str(source), str(target), chunks=LAYOUT, max_memory="64 MiB", map=pool.map)


def run_dask(source: Path, target: Path, threads: int) -> None:
    """Rechunk with Dask's threaded scheduler through xarray."""
    with warnings.catch_warnings(), dask.config.set(scheduler="threads", num_workers=threads):
        warnings.simplefilter("ignore")
        dataset = xr.open_zarr(source).chunk(LAYOUT)
        for variable in dataset.variables.values():
            variable.encoding = {}
        dataset.to_zarr(target, zarr_format=3)


def timed(run: Callable[[Path], None], target: Path) -> tuple[float, float]:
    """Return seconds of wall clock and of processor that one run takes; its result is deleted."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    run(target)
    took = time.perf_counter() - wall, _cpu_seconds() - cpu
    for leftover in (target, target.with_name(f"{target.name}.backups")):
        shutil.rmtree(leftover, ignore_errors=True)
    return took


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def check(source: Path, target: Path, values: np.ndarray[Any, Any]) -> None:
    """Stop if what we time is wrong."""
    run_ours(source, target, 1)
    found = xr.open_zarr(target)["lightcurves"].values
    if not np.array_equal(found, values, equal_nan=True):
        raise SystemExit("aggrade.rechunk gave other values than the source has")
    shutil.rmtree(target)


def report(rounds: dict[str, list[tuple[float, float]]]) -> Iterable[str]:
    """Yield the table: medians, ranges, and ratios to the floor."""
    floor = [statistics.median(column) for column in zip(*rounds["floor"], strict=True)]
    yield f"{'contestant':<22}{'wall s':>8}{'range':>14}{'x floor':>9}{'cpu s':>8}{'x floor':>9}"
    for name, runs in rounds.items():
        walls, cpus = zip(*runs, strict=True)
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        spread = f"{min(walls):.1f}-{max(walls):.1f}"
        yield f"{name:<22}{wall:>8.2f}{spread:>14}{wall / floor[0]:>9.2f}{cpu:>8.2f}{cpu / floor[1]:>9.2f}"


def main() -> None:
    """Make the cube, run everybody in turn, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where to work; a temporary folder otherwise")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        source, target = Path(folder, "source.zarr"), Path(folder, "target.zarr")
        values = make_source(source, asked.objects, asked.epochs)
        check(source, target, values)
        chunks = [
            np.ascontiguousarray(values[start : start + 1000]) for start in range(0, asked.objects, 1000)
        ]
        contestants: dict[str, Callable[[Path], None]] = {
            "floor": functools.partial(run_floor, source, chunks=chunks, threads=asked.threads),
            "ours": functools.partial(run_ours, source, threads=1),
            f"ours, {asked.threads} threads": functools.partial(run_ours, source, threads=asked.threads),
            f"dask, {asked.threads} threads": functools.partial(run_dask, source, threads=asked.threads),
        }
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(asked.rounds):
            for name, run in contestants.items():
                rounds[name].append(timed(run, target))
    print(f"{values.nbytes / 1e6:.0f} MB float32, {asked.rounds} rounds")
    print("\n".join(report(rounds)))


if __name__ == "__main__":
    main()
