"""How fast `WindowReader` is beside reading the same shards in order, and what one random window costs.

    python benchmarks/reading.py [--sessions 6] [--windows 400] [--rounds 3] [--threads 2] [--s3]

Sessions of noise (64 channels at 500 Hz of EEG, 40 at 10 Hz of fNIRS, windows of 2 s) are appended to a store. Compared
are, round by round in turn:

- **shards**: every shard of every array read and decoded once, in order, by plain Zarr on as many threads;
- **in order**: an epoch of the reader without shuffling;
- **shuffled**: an epoch of the reader with shuffling.

Printed are windows per second of time and of processor time (which other programs on the machine disturb less), and
medians of the ratios to *shards*. Then what a random window costs: requests and bytes, as plain xarray and the
reader ask for them. With ``--s3`` the store lies on a SeaweedFS that is started for the run, and a proxy counts.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from s3_proxy import s3_proxy  # noqa: E402

import aggrade  # noqa: E402
from aggrade.storage import OPENERS, open_storage  # noqa: E402
from aggrade.storage.counting import Counted  # noqa: E402
from aggrade.storage.zarr_store import ReadStore  # noqa: E402
from flows.demo_servers import s3_server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggrade.storage import Storage

SHAPES = {"eeg": (64, 1000), "fnirs": (40, 20)}


def session(number: int, windows: int) -> xr.Dataset:
    """Return one session of noise."""
    rng = np.random.default_rng(number)
    variables: dict[str, Any] = {
        name: (
            ("session", "window", f"{name}_channel", f"{name}_sample"),
            rng.standard_normal((1, windows, *shape), np.float32),
        )
        for name, shape in SHAPES.items()
    }
    names = {
        f"{name}_channel": np.array([f"{name} {i}" for i in range(shape[0])], object)
        for name, shape in SHAPES.items()
    }
    label = rng.integers(0, 3, (1, windows)).astype("i2")
    variables |= {
        "label": (("session", "window"), label),
        "n_windows": ("session", np.array([windows], "i4")),
    }
    return xr.Dataset(variables, {"session": np.array([f"s{number:03}"], object), **names})


def read_shards(storage: Storage, threads: int) -> int:
    """Read every shard of every array once, in order; return the windows."""
    group = zarr.open_group(ReadStore(storage), mode="r")
    arrays: list[Any] = [group[name] for name in SHAPES]
    places = [
        (array, row, slice(low, low + array.shards[1]))
        for row in range(arrays[0].shape[0])
        for array in arrays
        for low in range(0, array.shape[1], array.shards[1])
    ]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda place: place[0][place[1], place[2]].nbytes, places):
            pass
    return int(arrays[0].shape[0] * arrays[0].shape[1])


def read_epoch(url: str, options: dict[str, Any], threads: int, *, shuffle: bool) -> int:
    """Read an epoch through the reader; return the windows."""
    reader = aggrade.WindowReader(url, 64, shuffle=shuffle, threads=threads, storage_options=options)
    return sum(len(batch["window"]) for batch in reader)


def rates(work: Callable[[], int]) -> tuple[float, float]:
    """Return how many windows per second of time and of processor time some work reads."""
    began, used = time.perf_counter(), time.process_time()
    windows = work()
    return windows / (time.perf_counter() - began), windows / (time.process_time() - used)


def throughput(url: str, options: dict[str, Any], threads: int, rounds: int) -> Iterator[str]:
    """Yield a line per contestant."""
    storage = open_storage(f"{url}/windows.zarr", options)
    contestants: dict[str, Callable[[], int]] = {
        "shards": lambda: read_shards(storage, threads),
        "in order": lambda: read_epoch(url, options, threads, shuffle=False),
        "shuffled": lambda: read_epoch(url, options, threads, shuffle=True),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            found[name].append(rates(work))
    yield f"{'':<10}{'windows/s':>12}{'/ CPU s':>12}{'ratio':>9}{'of CPU':>9}"
    for name, values in found.items():
        wall, processor = (statistics.median(pair[i] for pair in values) for i in (0, 1))
        ratios = [
            statistics.median(one[i] / other[i] for one, other in zip(values, found["shards"], strict=True))
            for i in (0, 1)
        ]
        yield f"{name:<10}{wall:>12.0f}{processor:>12.0f}{ratios[0]:>9.2f}{ratios[1]:>9.2f}"


def one_window(url: str, options: dict[str, Any], cost: Callable[[Callable[[], Any]], str]) -> Iterator[str]:
    """Yield what a random window costs."""
    storage = open_storage(f"{url}/windows.zarr", options)
    plain = xr.open_zarr(ReadStore(storage), chunks=None)[list(SHAPES)]
    rows, windows = plain.sizes["session"], plain.sizes["window"]
    rng = np.random.default_rng(0)
    row, window = int(rng.integers(rows)), int(rng.integers(windows - 1))
    size = sum(plain[name].isel(session=0, window=0).nbytes for name in SHAPES)
    reader = aggrade.WindowReader(url, 64, storage_options=options)
    name = reader.sessions[row]
    yield f"one window of {size:,} bytes"
    yield f"  plain xarray, cold:   {cost(lambda: plain.isel(session=row, window=window).load())}"
    yield f"  reader, cold:         {cost(lambda: reader.window(name, window))}"
    yield f"  reader, index known:  {cost(lambda: reader.window(name, window + 1))}"


@contextlib.contextmanager
def place(
    folder: str, *, on_s3: bool
) -> Iterator[tuple[str, str, dict[str, Any], Callable[[Callable[[], Any]], str]]]:
    """Offer a URL to time, one whose requests are counted, storage options, and the counting of a call's requests."""
    if not on_s3:
        counts: Counter[str] = Counter()
        OPENERS["counted"] = lambda url, _: Counted(open_storage(url.partition("://")[2]), counts)

        def counted(call: Callable[[], Any]) -> str:
            counts.clear()
            call()
            return f"{counts['GET']} GET, {counts['bytes_read']:,} bytes"

        yield f"{folder}/data", f"counted://{folder}/data", {}, counted
        return
    with s3_server(folder, ["bucket"]) as server, s3_proxy(server) as proxy:

        def proxied(call: Callable[[], Any]) -> str:
            before = len(proxy.requests)
            call()
            new = proxy.requests[before:]
            return f"{sum(one.kind == 'GET' for one in new)} GET, {sum(one.received for one in new):,} bytes"

        yield "s3://bucket/data", "s3://bucket/data", proxy.storage_options, proxied


def main() -> None:
    """Write a store, read it by turns, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--s3", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as folder,
        place(folder, on_s3=asked.s3) as (url, other, options, cost),
    ):
        for number in range(asked.sessions):
            aggrade.append(session(number, asked.windows), url, grow=("window",), storage_options=options)
        for line in throughput(url, options, asked.threads, asked.rounds):
            print(line, flush=True)
        for line in one_window(other, options, cost):
            print(line, flush=True)


if __name__ == "__main__":
    main()
