"""One contestant's rechunk in a process of its own.

Run as ``python rechunkers.py NAME WORK`` where WORK is JSON: ``source`` and ``target`` (URLs of Zarr stores), ``array``,
``chunks``, ``shards`` or null, ``threads``, ``max_memory`` (bytes), ``folder`` (for temporary files) and ``options`` for S3.
Imports and prepares, says ``ready``, waits for a line, works, says ``done``, and waits for another line.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Work = dict[str, Any]


def floor(work: Work) -> Callable[[], None]:
    """Read and decode each chunk of the source, encode and write each of the target; nothing in between."""
    import fsspec
    import numpy as np
    import zarr
    from numcodecs.zstd import Zstd

    codec, array, unit = Zstd(level=0), _open(work), work["shards"] or work["chunks"]
    files, root = fsspec.url_to_fs(work["source"], **work["options"])
    there, place = fsspec.url_to_fs(work["target"], **work["options"])
    keys = [key for key in files.find(f"{root}/{work['array']}") if not key.endswith("zarr.json")]
    corners = itertools.product(*(range(0, n, s) for n, s in zip(array.shape, unit, strict=True)))
    values, objects = array[...], []
    for corner in corners:
        part = values[tuple(slice(a, a + s) for a, s in zip(corner, unit, strict=True))]
        rows = math.prod(part.shape[:1]) if work["shards"] else 1
        step = work["chunks"][0] if work["shards"] else part.shape[0]
        objects.append([np.ascontiguousarray(part[a : a + step]) for a in range(0, max(rows, 1), step)])
    del values, zarr
    there.makedirs(place, exist_ok=True)

    def put(numbered: tuple[int, list[Any]]) -> None:
        number, chunks = numbered
        there.pipe_file(f"{place}/{number}", b"".join(codec.encode(chunk) for chunk in chunks))

    def run() -> None:
        with ThreadPoolExecutor(work["threads"]) as pool:
            list(pool.map(lambda key: len(codec.decode(files.cat_file(key))), keys))
            list(pool.map(put, enumerate(objects)))

    return run


def _open(work: Work) -> Any:
    import zarr

    return zarr.open_group(work["source"], mode="r", storage_options=work["options"] or None)[work["array"]]


def _rechunk(work: Work, **how: Any) -> None:
    import aggrade

    lengths = {"chunks": {work["array"]: tuple(work["chunks"])}}
    if work["shards"]:
        lengths["shards"] = {work["array"]: tuple(work["shards"])}
    aggrade.rechunk(work["source"], work["target"], **lengths, **how, storage_options=work["options"] or None)


def ours(work: Work) -> Callable[[], None]:
    """Rechunk with aggrade, a piece at a time."""
    import aggrade.rechunking  # noqa: F401 - imported before the clock runs

    return lambda: _rechunk(work, max_memory=work["max_memory"])


def ours_processes(work: Work) -> Callable[[], None]:
    """Rechunk with aggrade, pieces in as many processes as there are threads."""
    import aggrade.rechunking  # noqa: F401

    def run() -> None:
        with ProcessPoolExecutor(work["threads"]) as pool:
            _rechunk(work, max_memory=work["max_memory"] // work["threads"], map=pool.map)

    return run


def _by_dask(work: Work) -> None:
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_zarr(work["source"], storage_options=work["options"] or None)
        unit = dict(zip(dataset[work["array"]].dims, work["shards"] or work["chunks"], strict=True))
        dataset = dataset.chunk(unit)
        for variable in dataset.variables.values():
            variable.encoding = {}
        encoding: Any = {work["array"]: {"chunks": tuple(work["chunks"])}}
        if work["shards"]:
            encoding[work["array"]]["shards"] = tuple(work["shards"])
        dataset.to_zarr(
            work["target"], zarr_format=3, encoding=encoding, storage_options=work["options"] or None
        )


def dask_threads(work: Work) -> Callable[[], None]:
    """Rechunk with Dask's threaded scheduler through xarray."""
    import dask.array
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    def run() -> None:
        with dask.config.set(scheduler="threads", num_workers=work["threads"]):
            _by_dask(work)

    return run


def dask_p2p(work: Work) -> Callable[[], None]:
    """Rechunk with distributed's P2P method, in as many processes as there are threads."""
    import dask.array
    import xarray  # noqa: F401
    import zarr  # noqa: F401
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=work["threads"],
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=work["folder"],
    )
    client = Client(cluster)

    def run() -> None:
        with dask.config.set({"array.rechunk.method": "p2p"}):
            _by_dask(work)
        client.close()
        cluster.close()

    return run


def tensorstore(work: Work) -> Callable[[], None]:
    """Copy with TensorStore, a band of target objects along the first dimension at a time."""
    import tensorstore as ts

    context = ts.Context({"data_copy_concurrency": {"limit": work["threads"]}})

    def place(url: str) -> Work:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{url}/{work['array']}/"}}

    source = ts.open(place(work["source"]), context=context, read=True).result()
    zstd = {"name": "zstd", "configuration": {"level": 0}}
    codecs: list[Any] = [{"name": "bytes", "configuration": {"endian": "little"}}, zstd]
    if work["shards"]:
        inner = {"chunk_shape": work["chunks"], "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    unit = work["shards"] or work["chunks"]
    metadata = {
        "shape": list(source.shape),
        "data_type": "float32",
        "codecs": codecs,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
    }
    spec = {**place(work["target"]), "metadata": metadata}

    def run() -> None:
        target = ts.open(spec, context=context, create=True).result()
        band = max(1, work["max_memory"] // 4 // (4 * math.prod(source.shape[1:])) // unit[0]) * unit[0]
        for start in range(0, source.shape[0], band):
            stop = min(start + band, source.shape[0])
            target[start:stop].write(source[start:stop]).result()

    return run


def cubed(work: Work) -> Callable[[], None]:
    """Rechunk with cubed, in threads."""
    import cubed
    from cubed.runtime.executors.local import ThreadsExecutor

    spec = cubed.Spec(work_dir=work["folder"], allowed_mem=2 * work["max_memory"], reserved_mem=0)

    def run() -> None:
        array = cubed.from_zarr(work["source"], path=work["array"], spec=spec)
        wanted = cubed.rechunk(array, tuple(work["chunks"]))
        executor = ThreadsExecutor(max_workers=work["threads"])
        cubed.to_zarr(wanted, work["target"], path=work["array"], executor=executor)

    return run


def rechunker(work: Work) -> Callable[[], None]:
    """Rechunk with rechunker, on Dask's threads."""
    import dask
    from rechunker import rechunk

    def run() -> None:
        with dask.config.set(scheduler="threads", num_workers=work["threads"]):
            plan = rechunk(
                _open(work),
                tuple(work["chunks"]),
                work["max_memory"] // work["threads"],
                f"{work['target']}/{work['array']}",
                temp_store=os.path.join(work["folder"], "between.zarr"),  # noqa: PTH118 - a URL elsewhere
            )
            plan.execute()

    return run


CONTESTANTS = {
    "floor": floor,
    "ours": ours,
    "ours, processes": ours_processes,
    "dask threads": dask_threads,
    "dask P2P": dask_p2p,
    "TensorStore": tensorstore,
    "cubed": cubed,
    "rechunker": rechunker,
}


def main(name: str, work: str) -> None:
    """Prepare, say so, wait, work, say so, wait."""
    run = CONTESTANTS[name](json.loads(work))
    say = functools.partial(print, flush=True)
    say("ready")
    sys.stdin.readline()
    run()
    say("done")
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
