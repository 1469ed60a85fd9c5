"""How far the population of light curves is from what the machine can do at best.

    python benchmarks/populating.py [--objects 200000] [--epochs 40] [--workers 2] [--rounds 3]

A survey of four bands as one FITS table per epoch, which lists 30 % of the objects: id, value and error of each band.
Compared are, round by round in turn, on as many processes:

- **floor**: each table read once by astropy, its ids found among the sorted ids of the objects, values and errors of all
  objects in one array per epoch, which is compressed with the codec of the store and written once and synced, and so
  is the status of each cell; nothing is checked, counted, verified or undoable;
- **ours**: `aggrade.populate`, which looks at every catalogue before it writes, and reads it again to write its cells.

Printed are seconds, processor seconds of all processes, and the floor over ours: 1 is as fast as the floor. Then the
seconds of ours per epoch, when the same survey grows by one epoch again and again: the first of them and the last.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from astropy.table import Table
from numcodecs.zstd import Zstd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from aggrade import populate  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BANDS = "griz"
SEEN = 0.3
SPEC = {
    "object_id": "id",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"epoch_(\d+)"},
    "measurements": {band: {"value": band, "error": f"{band}_err"} for band in BANDS},
    "unit": "mag",
}


def object_table(objects: int) -> pd.DataFrame:
    """Return ids and positions of all objects."""
    rng = np.random.default_rng(0)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, objects)))
    ids = 10**15 + 7 * np.arange(objects)
    return pd.DataFrame({"id": ids, "ra": rng.uniform(0, 360, objects), "dec": dec})


def write_epoch(folder: Path, epoch: int, ids: Any) -> Path:
    """Write the catalogue of one epoch."""
    rng = np.random.default_rng([1, epoch])
    rows: dict[str, Any] = {"id": rng.permutation(ids)[: int(SEEN * len(ids))]}
    for band in BANDS:
        rows[band] = rng.normal(20, 2, len(rows["id"])).astype("f4")
        rows[f"{band}_err"] = rng.uniform(0.01, 0.3, len(rows["id"])).astype("f4")
    path = folder / f"epoch_{epoch:04}.fits"
    Table(rows, meta={"MJD": 60000.0 + epoch}).write(path)
    return path


def fill_floor(ids: Any, target: Path, path: Path) -> None:
    """Read, match, compress and write one epoch with nothing between."""
    table = Table.read(path)
    places = np.searchsorted(ids, np.asarray(table["id"]))
    cells = np.full((len(ids), len(BANDS), 2, 1), np.nan, np.float32)
    status = np.zeros((len(ids), len(BANDS), 1), np.uint8)
    for column, band in enumerate(BANDS):
        cells[places, column, 0, 0] = table[band]
        cells[places, column, 1, 0] = table[f"{band}_err"]
        status[places, column, 0] = 1
    for name, values in (("lightcurves", cells), ("status", status)):
        with (target / f"{name}-{path.stem}").open("wb") as file:
            file.write(Zstd(level=0).encode(values))
            file.flush()
            os.fsync(file.fileno())


def reach_floor(catalogues: Path, objects: pd.DataFrame, target: Path, workers: int) -> None:
    """Populate with nothing but what physics asks for."""
    target.mkdir()
    work = functools.partial(fill_floor, objects["id"].to_numpy(), target)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(work, sorted(catalogues.iterdir())))


def reach_ours(catalogues: Path, objects: pd.DataFrame, target: Path, workers: int) -> None:
    """Populate under guard."""
    with ProcessPoolExecutor(workers) as pool:
        populate(catalogues, target, SPEC, objects=objects, map=pool.map)


def took(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of time and of processor time that some work takes, ended processes included."""
    began, used = time.perf_counter(), _used()
    work()
    return time.perf_counter() - began, _used() - used


def _used() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


def side_by_side(folder: Path, objects: pd.DataFrame, workers: int, rounds: int) -> Iterator[str]:
    """Yield a line per contestant, and how they compare."""
    contestants = {"floor": reach_floor, "ours": reach_ours}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, work in contestants.items():
            target = folder / f"{name}-{number}"
            found[name].append(took(lambda w=work, t=target: w(folder / "catalogues", objects, t, workers)))
            shutil.rmtree(target)
    ratios = [
        statistics.median(low[i] / own[i] for low, own in zip(found["floor"], found["ours"], strict=True))
        for i in (0, 1)
    ]
    yield f"floor / ours: {ratios[0]:.2f} of time, {ratios[1]:.2f} of processor time"
    yield f"{'':<8}{'seconds':>10}{'CPU s':>10}"
    for name, times in found.items():
        wall, processor = (statistics.median(pair[i] for pair in times) for i in (0, 1))
        yield f"{name:<8}{wall:>10.2f}{processor:>10.2f}"


def one_by_one(folder: Path, objects: pd.DataFrame, epochs: int) -> str:
    """Grow a cube by one epoch again and again."""
    grown, paths = folder / "grown", sorted((folder / "catalogues").iterdir())
    times = [took(lambda p=path: _append(p, grown, objects))[0] for path in paths[:epochs]]
    first, last = (statistics.median(part) for part in (times[1:6], times[-5:]))
    return f"one more epoch: {first:.2f} s for the 2nd to 6th, {last:.2f} s for the last five of {len(times)}"


def _append(path: Path, target: Path, objects: pd.DataFrame) -> None:
    populate(path, target, SPEC, objects=objects)


def main() -> None:
    """Write the survey, populate by turns, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder, objects = Path(name), object_table(asked.objects)
        (folder / "catalogues").mkdir()
        for epoch in range(asked.epochs):
            write_epoch(folder / "catalogues", epoch, objects["id"].to_numpy())
        for line in side_by_side(folder, objects, asked.workers, asked.rounds):
            print(line, flush=True)
        print(one_by_one(folder, objects, asked.epochs), flush=True)


if __name__ == "__main__":
    main()
