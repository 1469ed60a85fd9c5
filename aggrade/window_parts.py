"""The stores that a window reader reads, each at the state that it was opened at."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, Refused
from aggrade.layout import window_stores_in
from aggrade.leaving import hidden_rows, open_together
from aggrade.opening import live_rows, no_windows, open_dataset
from aggrade.settings import settings
from aggrade.storage import open_storage
from aggrade.storage.shard_indexes import IndexedStore
from aggrade.window_shards import WindowShards, shards_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from aggrade.storage import Storage

__all__ = ["Part", "open_parts"]

_FEW = 2
"""Where one in so many windows of a span is wanted, the span is read as a whole."""


@dataclass
class Part:
    """One store of windows.

    Parameters
    ----------
    name
        Its path below the dataset root, or its URL.
    store
        What it is read through.
    dataset
        All its rows, lazy.
    rows
        (session,) those that count.
    """

    name: str
    store: IndexedStore
    dataset: xr.Dataset
    rows: NDArray[np.intp]
    _seen: str = field(default="", repr=False)
    _known: dict[str, WindowShards | None] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> list[str]:
        """Ids of the sessions that count, in the order of `rows`."""
        return [str(label) for label in self.dataset["session"].values[self.rows]]

    def column(self, name: str, fill: Any) -> NDArray[Any]:
        """Return a variable's values of the rows that count, read whole; `fill` where the store lacks it.

        Parameters
        ----------
        name
            A variable with the dimensions session, or session and window.
        fill
            A number.
        """
        if name in self.dataset.variables:
            return np.asarray(self.dataset.variables[name].values[self.rows])
        shape = (len(self.rows), self.dataset.sizes["window"])
        return np.full(shape, fill)

    def unit_of(self, name: str) -> tuple[int, int]:
        """Return how many sessions and windows one object of a variable holds."""
        if name not in self.dataset.variables:
            return 1, 1
        variable = self.dataset.variables[name]
        unit = variable.encoding.get("shards") or variable.encoding["chunks"]
        sizes = dict(zip(variable.dims, unit, strict=True))
        return sizes["session"], sizes["window"]

    def read(
        self, name: str, rows: NDArray[np.intp], windows: NDArray[np.intp], out: NDArray[Any]
    ) -> NDArray[Any]:
        """Read windows of one object.

        Parameters
        ----------
        name
            A variable (session, window, channel, sample).
        rows, windows
            (n,) which; those of one row are sorted, and rows are close to each other.
        out
            (n, channel of the store, sample) where they belong.

        Returns
        -------
        numpy.ndarray
            `out`.
        """
        variable = self.dataset.variables[name]
        low, high, first = int(windows.min()), int(windows.max()) + 1, int(rows.min())
        if first != int(rows.max()):
            box = variable[first : int(rows.max()) + 1, low:high].values
            out[...] = box[rows - first, windows - low]
        elif len(windows) > max(1, (high - low) // _FEW) and (shards := self._shards(name)) is not None:
            shards.read(self.store.storage, first, windows, out)
        elif len(windows) == high - low:
            out[...] = variable[first, low:high].values
        elif len(windows) * _FEW >= high - low:
            out[...] = variable[first, low:high].values[windows - low]
        else:
            out[...] = variable[first, windows].values
        return out

    def _shards(self, name: str) -> WindowShards | None:
        if name not in self._known:
            document = _documents(self.store).get(name)
            self._known[name] = shards_of(name, document, self.dataset.variables[name].encoding)
        return self._known[name]

    def check(self) -> None:
        """See that what was read is what was there when the store was opened.

        Called after reading: a commit takes nothing away before its root shows so.

        Raises
        ------
        Refused
            If a session has been removed or the store restored to an earlier state since.
        """
        key, root = self.store.root
        info = self.store.storage.stat(key)
        if info is not None and info.etag in (root.etag, self._seen):
            return
        now = IndexedStore(self.store.storage)
        dataset = open_dataset(now.storage, now)
        changed = ["the whole store"] if dataset is None else list(self._changed(now, dataset))
        if changed:
            raise Refused(_moved(self.name, changed))
        self._seen = now.root[1].etag

    def _changed(self, now: IndexedStore, dataset: xr.Dataset) -> list[str]:
        """Return which sessions are no more what they were; one that was replaced still lies where it lay."""
        if _moved_ground(self.store, now):
            return ["the whole store"]
        labels = [str(label) for label in dataset["session"].values]
        live = live_rows(dataset, "session")
        shown = set(labels if live is None else [labels[row] for row in live])
        digests = [_digests(one) for one in (self.dataset, dataset)]
        mine = self.dataset["session"].values
        return [
            str(mine[row])
            for row in self.rows
            if row >= len(labels)
            or labels[row] != str(mine[row])
            or labels[row] not in shown
            or digests[0][row] != digests[1][row]
        ]


def _digests(dataset: xr.Dataset) -> Sequence[Any]:
    known = dataset.variables.get("content_digest")
    return [""] * dataset.sizes["session"] if known is None else list(known.values)


def _moved_ground(before: IndexedStore, now: IndexedStore) -> bool:
    """Tell whether samples lie elsewhere, or commits were undone: neither comes of appending."""
    (keys, undone), (keys_now, undone_now) = _ground(before), _ground(now)
    return undone != undone_now or any(keys_now.get(name) != key for name, key in keys.items())


def _ground(store: IndexedStore) -> tuple[dict[str, Any], Any]:
    keys = {name: document.get("chunk_key_encoding") for name, document in _documents(store).items()}
    return keys, json.loads(store.root[1].data).get("attributes", {}).get("aggrade", {}).get("undone")


def _documents(store: IndexedStore) -> dict[str, Any]:
    """Return the array documents of a store of Zarr v3; of v2, what has none of their fields."""
    root = json.loads(store.root[1].data)
    return dict(root.get("consolidated_metadata", {}).get("metadata", {}))


def _moved(name: str, changed: Sequence[str]) -> Problem:
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    fix = "make a new WindowReader, which reads what is there now"
    return Problem(
        name,
        f"that {', '.join(changed[:3])}{more} was removed or restored since",
        "the sessions that were there when it was opened",
        fix,
        "windows-changed",
    )


def open_parts(store: str, storage_options: Mapping[str, Any] | None = None) -> list[Part]:
    """Open every store of windows of a dataset.

    Parameters
    ----------
    store, storage_options
        As for `aggrade.open_windows`.

    Raises
    ------
    BadInput
        If there are no windows, saying what lies there instead.
    Damaged
        If a store's metadata cannot be read.
    """
    storage = open_storage(store, storage_options)
    paths = window_stores_in(storage)
    opened = open_together(paths, lambda some: _open_below(storage, some), lambda part: part.dataset)
    if not opened or any("session" not in part.dataset.dims for part in opened.values()):
        raise BadInput(no_windows(storage))
    hidden = hidden_rows({path: part.dataset for path, part in opened.items()})
    for path, part in opened.items():
        part.rows = np.delete(part.rows, sorted(hidden[path]))
    return list(opened.values())


def _open_below(storage: Storage, paths: Sequence[str]) -> dict[str, Part]:
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        opened = pool.map(lambda path: _open(storage, path), paths)
        return {path: part for path, part in zip(paths, opened, strict=True) if part is not None}


def _open(storage: Storage, path: str) -> Part | None:
    """Open one store with all of its rows."""
    store = IndexedStore(storage.within(path) if path else storage)
    dataset = open_dataset(store.storage, store)
    if dataset is None:
        return None
    return Part(path or storage.url, store, dataset, np.arange(dataset.sizes.get("session", 0)))
