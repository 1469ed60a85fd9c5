"""Windows of every session of a dataset as one lazy xarray Dataset, however many stores they lie in.

Nothing is computed and no sample is read until it is asked for; asking for one window reads that window. The
arrays are not Dask arrays: ``dataset.chunk(…)`` makes them so.
"""

from __future__ import annotations

import logging
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from aggrade.errors import BadInput, Damaged, Problem, raise_all
from aggrade.keeping import keep_windows
from aggrade.layout import SESSIONS, stores_in, window_stores_in
from aggrade.leaving import hidden_rows, open_together
from aggrade.root_marks import mark_problems
from aggrade.settings import settings
from aggrade.storage import open_storage, url_of
from aggrade.uniting import duplicates, unite
from aggrade.window_selection import check_conditions, selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from aggrade.storage import Storage
    from aggrade.storage.zarr_store import ReadStore

__all__ = [
    "live_rows",
    "no_windows",
    "open_dataset",
    "open_session",
    "open_stores",
    "open_windows",
    "without_superseded",
]

logger = logging.getLogger(__name__)


def open_dataset(storage: Storage, store: ReadStore | None = None) -> xr.Dataset | None:
    """Open one Zarr store through its consolidated metadata, with one read of its root.

    Parameters
    ----------
    storage
        The store, of Zarr format 3 or 2.
    store
        How zarr is to read it; left out: request by request.

    Returns
    -------
    xarray.Dataset or None
        Lazy; only the coordinates that name their own dimension are read. None if there is no store.

    Raises
    ------
    Damaged
        If the root is not consolidated metadata that xarray understands, or its mark was changed by hand.
    """
    from aggrade.storage.zarr_store import ReadStore

    try:
        source = ReadStore(storage) if store is None else store
        opened: xr.Dataset = xr.open_zarr(source, consolidated=True, chunks=None)
    except FileNotFoundError:
        return None
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        problem = Problem(
            storage.url,
            f"a Zarr store that does not open ({error})",
            "a store with consolidated metadata",
            "run aggrade verify: it names what to do, or consolidate it with zarr.consolidate_metadata",
            "not-a-store",
        )
        raise Damaged(problem) from error
    raise_all(mark_problems(storage.url, opened.attrs.get("aggrade", {})), Damaged)
    return opened


def live_rows(dataset: xr.Dataset, dim: str) -> np.ndarray[Any, np.dtype[np.intp]] | None:
    """Return which rows along `dim` no later commit has replaced, or None if none was.

    The root attribute ``aggrade`` lists the others under ``superseded``.
    """
    superseded = dataset.attrs.get("aggrade", {}).get("superseded", ())
    if dim not in dataset.dims or not superseded:
        return None
    kept = np.ones(dataset.sizes[dim], bool)
    kept[np.asarray(superseded, int)] = False
    return np.flatnonzero(kept)


def without_superseded(dataset: xr.Dataset, dim: str) -> xr.Dataset:
    """Return the same dataset without the rows along `dim` that a later commit has replaced."""
    rows = live_rows(dataset, dim)
    return dataset if rows is None else dataset.isel({dim: rows})


def no_windows(storage: Storage) -> Problem:
    """Return what to say of a place without windows."""
    there = stores_in(storage)
    found = (
        ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
        if there
        else "no store"
    )
    return Problem(
        storage.url,
        found if there != [""] else "a Zarr store without sessions",
        f"windows.zarr, windows/*.zarr or {SESSIONS}/*_windowed.zarr, or a Zarr store of windows",
        "name a folder that ingest_sessions has written to",
        "no-windows",
    )


def _open_below(storage: Storage, paths: Sequence[str]) -> dict[str, xr.Dataset]:
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        opened = pool.map(lambda path: open_dataset(storage.within(path) if path else storage), paths)
        return {path: dataset for path, dataset in zip(paths, opened, strict=True) if dataset is not None}


def _without(dataset: xr.Dataset, hidden: set[int]) -> xr.Dataset:
    if not hidden:
        return dataset
    return dataset.isel(session=np.delete(np.arange(dataset.sizes["session"]), sorted(hidden)))


def open_windows(
    store: str | PathLike[str],
    *,
    where: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open the windows of all sessions.

    Parameters
    ----------
    store
        A dataset root, whose stores (``windows.zarr`` or another common store that was ingested to,
        ``windows/*.zarr``, ``sessions/*_windowed.zarr``) are united along ``session`` in the order of their names;
        or one Zarr store. A local path or URL.
    where
        Which windows, by what the store says of them: name of a variable → a value, a list of values, or a range
        ``(low, high)``, as `aggrade.window_selection.selected` takes them. The others are left out, those that
        stay of a session move up, and ``n_windows`` counts them. The named variables are read, and no sample.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    xarray.Dataset
        The variables of `docs/windows.md`, lazy: ``eeg`` (session, window, eeg_channel, eeg_sample) float32 and
        so on. It shows the state at the time of opening. Sessions that were replaced or removed are left out.
        Where stores differ in length along ``window``, or in their channels, what a store lacks is fill (NaN,
        0, -1, as the store declares), never a changed type.

    Raises
    ------
    BadInput
        If there are no windows, saying what lies there instead; or if the stores do not fit together.
    Damaged
        If a store's metadata cannot be read.
    """
    storage = open_storage(url_of(store), storage_options)
    parts = _shown(storage)
    united = unite(parts, dim="session", ragged=("window",), below=storage.url)
    logger.info("opened %d sessions in %d stores of %s", united.sizes["session"], len(parts), storage.url)
    if where:
        check_conditions(united, where)
        return keep_windows(united, selected(united, where))
    return united


def open_stores(
    store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> dict[str, xr.Dataset]:
    """Open the windows of all sessions store by store, whether or not they fit together.

    Parameters
    ----------
    store, storage_options
        As for `open_windows`.

    Returns
    -------
    dict
        Path below the dataset root, or URL of the one store → its dataset as `open_windows` would return it.

    Raises
    ------
    BadInput
        If there are no windows, saying what lies there instead.
    Damaged
        If a store's metadata cannot be read.
    """
    return _shown(open_storage(url_of(store), storage_options))


def open_session(
    store: str | PathLike[str], session: str, *, storage_options: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Open the windows of one session.

    Parameters
    ----------
    store, storage_options
        As for `open_windows`; the stores need not fit together.
    session
        Its id.

    Returns
    -------
    xarray.Dataset
        As `open_windows` returns it, ``session`` of length 1, and no more windows than the session has.

    Raises
    ------
    BadInput
        If there is no such session, or it lies in two stores.
    Damaged
        If a store's metadata cannot be read.
    """
    storage = open_storage(url_of(store), storage_options)
    parts = _shown(storage)
    holding = {name: part for name, part in parts.items() if session in part["session"].values}
    if not holding:
        there = ", ".join(str(label) for part in parts.values() for label in part["session"].values)
        expected = f"one of {textwrap.shorten(there, 200, placeholder=' …')}"
        problem = Problem(storage.url, f"no session {session!r}", expected, "name one of them", "no-session")
        raise BadInput(problem)
    raise_all(duplicates(holding, "session", storage.url), BadInput)
    part = next(iter(holding.values()))
    own = part.isel(session=np.flatnonzero(part["session"].values == session))
    return own.isel(window=slice(0, int(own["n_windows"][0]))) if "n_windows" in own.variables else own


def _shown(storage: Storage) -> dict[str, xr.Dataset]:
    """Open every store of windows; return path or URL → its dataset, with the sessions that show."""
    paths = window_stores_in(storage)
    opened = open_together(paths, lambda some: _open_below(storage, some), lambda dataset: dataset)
    if not opened or any("session" not in dataset.dims for dataset in opened.values()):
        raise BadInput(no_windows(storage))
    hidden = hidden_rows(opened)
    return {path or storage.url: _without(part, hidden[path]) for path, part in opened.items()}
