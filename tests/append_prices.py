"""Counting what one append costs on a real S3 server, for tests and for the benchmark."""

from __future__ import annotations

import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import aggrade
from aggrade.commit import find_layer, read_intent, read_snapshot
from aggrade.commit.documents import dims_of, key_of, resized, shape_of, unit_of
from aggrade.commit.layers import keep_layer
from aggrade.commit.publishing import document_bytes
from aggrade.commit.snapshot import root_bytes
from flows.demo_recordings import SESSIONS, write_session_file

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping

    from s3_proxy import Proxy

    from aggrade.storage import Storage

SHARED_ROWS = 4096


@dataclass(frozen=True)
class Cost:
    """What went over the wire. Bytes are those of objects: what a server says of one that isn't there is left out."""

    requests: Counter[str]
    round_trips: int
    sent: int
    received: int
    seconds: float

    @property
    def total(self) -> int:
        """Requests of every kind."""
        return self.requests.total()


def cost_of(proxy: Proxy, call: Callable[[], Any], *, latency: float = 0.0) -> Cost:
    """Make a call whose every request is answered after a latency, in s, and return what it cost."""
    proxy.latency = latency
    proxy.clear()
    began = time.monotonic()
    try:
        call()
    finally:
        seconds, proxy.latency = time.monotonic() - began, 0.0
    there = [request for request in proxy.requests if request.status < 300]
    sent, received = sum(request.size for request in there), sum(request.received for request in there)
    return Cost(proxy.count(), proxy.round_trips(), sent, received, seconds)


def small_session(label: str) -> xr.Dataset:
    """Return four windows of noise, of a chunk each, and the few variables beside them that everybody has."""
    rng = np.random.default_rng(sum(map(ord, label)))
    window = ("session", "window")
    samples = rng.standard_normal((1, 4, 8, 500), dtype=np.float32)
    variables = {
        "eeg": ((*window, "eeg_channel", "eeg_sample"), samples, {"units": "V"}),
        "window_start": (window, np.arange(4.0)[None]),
        "label": (window, np.arange(4, dtype=np.int16)[None]),
        "n_windows": (("session",), np.array([4], np.int32)),
    }
    names = np.array([f"E{i}" for i in range(8)], dtype=object)
    return xr.Dataset(variables, {"session": _labels(label), "eeg_channel": names})


def _labels(label: str) -> Any:
    """Return a coordinate of text without a width, which plain xarray can append to."""
    return xr.Variable("session", np.array([label], dtype=object))


def cut_session() -> Callable[[str], xr.Dataset]:
    """Return a function of a label that gives the windows of a recording, every variable of DESIGN §5, 4 EEG chunks."""
    with tempfile.TemporaryDirectory() as folder:
        session = replace(SESSIONS[0], seconds=20, eeg_gap=None)
        write_session_file(session, "recording.xdf", Path(folder, "recording.xdf"))
        cut = aggrade.cut_windows(folder, {"window_size_s": 4.0}).isel(window=slice(0, 4)).load()
    return lambda label: cut.assign_coords(session=_labels(label))


def chunks_of(dataset: xr.Dataset) -> dict[str, tuple[int, ...]]:
    """Return chunks for either writer: one window of samples, a row of fNIRS, thousands of rows of all else."""
    first = {"eeg": (1, 1), "fnirs": (1, dataset.sizes["window"])}
    sizes = {str(name): v.shape for name, v in dataset.variables.items() if "session" in v.dims}
    return {
        name: first[name] + shape[2:] if name in first else (SHARED_ROWS, *shape[1:])
        for name, shape in sizes.items()
    }


def append(dataset: xr.Dataset, url: str, options: Mapping[str, Any], **how: Any) -> Any:
    """Append with aggrade, into the same chunks as `append_plainly`."""
    return aggrade.append(
        dataset, url, grow=("window",), chunks=chunks_of(dataset), storage_options=dict(options), **how
    )


def append_plainly(dataset: xr.Dataset, url: str, options: Mapping[str, Any], *, new: bool = False) -> None:
    """Append as plain xarray does, or create the store."""
    plain = dataset.drop_attrs(deep=False)
    how: dict[str, Any] = {"append_dim": "session"}
    if new:
        encoding = {name: {"chunks": chunks} for name, chunks in chunks_of(dataset).items()}
        how = {"mode": "w-", "zarr_format": 3, "encoding": encoding}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of consolidated metadata, which the format does not have yet
        plain.to_zarr(url, storage_options=dict(options) or None, **how)


def grow_directly(storage: Storage, sessions: int) -> None:
    """Make a store look as if so many sessions had been appended: metadata, tail chunks, layer records.

    Samples of sessions that never were are missing; an append never looks at them. The intent is told the marks of
    the array documents, as the last append would have left them there.
    """
    now = read_snapshot(storage)
    assert now is not None
    before = now.length("session")
    documents = {name: resized(doc, {"session": sessions}) for name, doc in now.documents.items()}
    for name, document in documents.items():
        _move_tail(storage, name, now.documents[name], document)
    keys = {name: f"{name}/zarr.json" for name in documents}
    marks = {
        keys[name]: storage.write(
            keys[name], document_bytes(doc), replacing=storage.stat(keys[name]).etag
        ).etag
        for name, doc in documents.items()
    }
    storage.write("zarr.json", root_bytes(now.attributes, documents), replacing=now.etag)
    intent, etag = read_intent(storage)
    data = intent.model_copy(update={"etags": marks}).model_dump_json().encode()
    storage.write(".aggrade/intent.json", data, replacing=etag)
    _keep_records(storage, before, sessions)


def _move_tail(storage: Storage, name: str, before: Any, after: Any) -> None:
    """Put the chunks that hold the last rows where they lie in the longer array."""
    if "session" not in dims_of(after):
        return
    axis = dims_of(after).index("session")
    unit = unit_of(after)[axis]
    old, new = ((shape_of(doc)[axis] - 1) // unit for doc in (before, after))
    if unit == 1 or old == new:
        return
    index = [0] * len(shape_of(after))
    index[axis] = old
    source = storage.read(key_of(name, before, tuple(index)))
    index[axis] = new
    storage.write(key_of(name, after, tuple(index)), source.data)


def _keep_records(storage: Storage, before: int, sessions: int) -> None:
    pattern = find_layer(storage, read_snapshot(storage).dataset(storage)["session"].values[0])

    def keep(row: int) -> None:
        keep_layer(storage, pattern.model_copy(update={"label": f"never {row}", "index": row}))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(keep, range(before, sessions)))
