"""What one light curve costs, and thousands of them, beside the chunks that they lie in.

    python benchmarks/lightcurves.py [--objects 10000] [--epochs 500] [--many 1000000] [--repeats 200] [--rounds 3]

Cubes of noise (4 measurements of value and error, a third of the cells seen) are written epoch by epoch and rechunked into
the layout that `aggrade.rechunk` gives to light curves by default. Compared are, in turn:

- **one**: the light curve of an object on a disk, warm, beside a bare read of the chunks that hold it by zarr;
- **cold**: the same on a SeaweedFS that is started for the run; a proxy counts the requests for each array;
- **scattered**: 10,000 objects of the larger cube, which has ten epochs, in any order;
- **cone**: all its objects within 5 degrees of a place.

The last two stand beside plain reads, by zarr, of every chunk that holds one of these objects and of nothing else; time,
requests and bytes of both are printed, and their ratios.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from s3_proxy import s3_proxy  # noqa: E402

from aggrade import LightCurves, rechunk  # noqa: E402
from aggrade.storage import OPENERS, open_storage  # noqa: E402
from aggrade.storage.counting import Counted  # noqa: E402
from aggrade.storage.zarr_store import ReadStore  # noqa: E402
from flows.demo_servers import s3_server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

ARRAYS = ("lightcurves", "status")
BANDS = "griz"
STORE = "lightcurves_by_object.zarr"
CENTRE, RADIUS = (40.0, 20.0), 5.0


def write_cube(folder: Path, objects: int, epochs: int) -> None:
    """Write a cube of objects all over the sky; neighbours along `object` are neighbours on the sky."""
    rng = np.random.default_rng(objects)
    dec, ra = np.degrees(np.arcsin(rng.uniform(-1, 1, objects))), rng.uniform(0, 360, objects)
    order = np.lexsort((ra, np.round(dec)))
    seen = rng.random((objects, len(BANDS), epochs), np.float32) < 1 / 3
    cells = rng.standard_normal((objects, len(BANDS), 2, epochs), np.float32)
    cells[~np.broadcast_to(seen[:, :, None], cells.shape)] = np.nan
    texts = {
        "measurement": list(BANDS),
        "measurement_unit": ["mag"] * len(BANDS),
        "value": ["mag", "mag_err"],
        "epoch": [f"{epoch:04}" for epoch in range(epochs)],
    }
    named = {name: (name.partition("_")[0], np.array(each, object)) for name, each in texts.items()}
    times = {"units": "d", "format": "mjd", "time_scale": "utc", "time_ref": "topocentric"}
    dataset = xr.Dataset(
        {
            "lightcurves": (("object", "measurement", "value", "epoch"), cells, {"value": "mag"}),
            "status": (("object", "measurement", "epoch"), seen.astype("u1")),
        },
        {
            **named,
            "object": ("object", np.arange(objects)),
            "ra": ("object", ra[order]),
            "dec": ("object", dec[order]),
            "epoch_time": ("epoch", 60000.0 + np.arange(epochs), times),
        },
        {"aggrade": {"format": 1, "generation": 1, "write_id": "benchmark"}},
    )
    encoding = {name: {"chunks": (*dataset[name].shape[:-1], 1)} for name in ARRAYS}
    dataset.to_zarr(folder / "lightcurves.zarr", zarr_format=3, consolidated=True, encoding=encoding)
    rechunk(folder / "lightcurves.zarr", folder / STORE)


def took(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Touched:
    """Plain reads of every chunk that holds some objects, neighbours in one shard at once."""

    def __init__(self, url: str, rows: NDArray[np.intp]) -> None:
        group = zarr.open_group(ReadStore(open_storage(f"{url}/{STORE}")), mode="r")
        self.arrays: list[Any] = [group[name] for name in ARRAYS]
        self.runs = [list(_runs(array, rows)) for array in self.arrays]

    def read(self) -> None:
        """Read them."""
        for array, runs in zip(self.arrays, self.runs, strict=True):
            for run in runs:
                array[run]


def _runs(array: Any, rows: NDArray[np.intp]) -> Iterator[slice]:
    """Yield the chunks that hold some rows, neighbours in one shard at once."""
    unit, shard = array.chunks[0], (array.shards or array.chunks)[0]
    chunks = np.unique(rows // unit)
    cuts = np.flatnonzero((np.diff(chunks) != 1) | (chunks[1:] % (shard // unit) == 0)) + 1
    for run in np.split(chunks, cuts):
        yield slice(int(run[0]) * unit, int(run[-1] + 1) * unit)


def one(root: Path, repeats: int) -> str:
    """Compare single light curves with bare reads of their chunks."""
    curves = LightCurves(root)
    ids = np.random.default_rng(1).integers(0, curves.dataset.sizes["object"], repeats).tolist()
    bare = {number: Touched(str(root), np.array([number])) for number in set(ids)}
    curves.lightcurve(ids[0]).load()
    times = [(took(lambda i=i: curves.lightcurve(i).load()), took(bare[i].read)) for i in ids]
    told = [
        f"p50 {np.median(each) * 1e3:.1f} ms, p95 {np.percentile(each, 95) * 1e3:.1f} ms"
        for each in zip(*times, strict=True)
    ]
    return f"one light curve, warm: {told[0]}; its chunks alone: {told[1]}"


def cold(root: Path, folder: str) -> str:
    """Count what one light curve of a bucket costs."""
    with s3_server(folder, ["bucket"]) as server, s3_proxy(server) as proxy:
        storage = open_storage("s3://bucket/data", server.storage_options)
        for path in (path for path in root.rglob("*") if path.is_file()):
            storage.write(str(path.relative_to(root)), path.read_bytes())
        curves = LightCurves("s3://bucket/data", storage_options=proxy.storage_options)
        number = int(curves.dataset["object"][-7])
        before = len(proxy.requests)
        seconds = took(curves.lightcurve(number).load)
        asked = Counter(
            name for each in proxy.requests[before:] for name in ARRAYS if f"/{name}/" in each.key
        )
        told = ", ".join(f"{count} of {name}" for name, count in sorted(asked.items()))
        total = len(proxy.requests) - before
        return f"one light curve, cold on S3: {seconds * 1e3:.0f} ms, {total} requests ({told})"


def many(
    root: Path, name: str, rounds: int, rows: NDArray[np.intp], ask: Callable[[LightCurves], Any]
) -> Iterator[str]:
    """Compare a question about many objects with plain reads of the chunks that hold them."""
    counts: Counter[str] = Counter()
    OPENERS["counted"] = lambda url, _: Counted(open_storage(url.partition("://")[2]), counts)
    url = f"counted://{root}"
    curves, touched = LightCurves(url), Touched(url, rows)
    ask(curves)
    contestants = {"ours": lambda: ask(curves).load(), "plain": touched.read}
    seconds: dict[str, list[float]] = {each: [] for each in contestants}
    sent: dict[str, Counter[str]] = {}
    for _, (each, work) in itertools.product(range(rounds), contestants.items()):
        counts.clear()
        seconds[each].append(took(work))
        sent[each] = Counter(counts)
    pairs = zip(seconds["ours"], seconds["plain"], strict=True)
    ratio = statistics.median(mine / other for mine, other in pairs)
    yield f"{name}: {len(rows):,} objects in {ratio:.2f} of the time of their chunks alone"
    for each, found in sent.items():
        median = statistics.median(seconds[each])
        yield f"  {each:<6}{median:>8.2f} s{found['GET']:>8,} GET{found['bytes_read']:>15,} bytes"


def main() -> None:
    """Write the cubes, ask them, print the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", category=UserWarning)  # zarr's, of consolidated metadata
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        write_cube(small, asked.objects, asked.epochs)
        print(one(small, asked.repeats), flush=True)
        print(cold(small, folder), flush=True)
        write_cube(large, asked.many, 10)
        everything = LightCurves(large)
        rng = np.random.default_rng(2)
        rows = rng.choice(asked.many, min(10_000, asked.many), replace=False)
        within = everything.cone(*CENTRE, RADIUS)["object"].to_numpy()
        for line in itertools.chain(
            many(large, "scattered", asked.rounds, rows, lambda each: each.lightcurves(rows.tolist())),
            many(large, "cone", asked.rounds, within, lambda each: each.cone(*CENTRE, RADIUS)),
        ):
            print(line, flush=True)


if __name__ == "__main__":
    main()
