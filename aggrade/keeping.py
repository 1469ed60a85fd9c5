"""Windows that are kept of a lazy dataset: the same layout with fewer windows, without reading a sample.

What is kept of a session moves up, so that ``n_windows`` still tells which windows are its own, and ``window_start``
which they were. Sessions of which nothing is kept are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["keep_windows"]

_DIMS = ("session", "window")
_ENCODING = ("fill_value", "_FillValue", "dtype")


@dataclass
class _Kept(BackendArray):
    """The kept windows of one array, read when they are indexed.

    Parameters
    ----------
    variable
        The lazy array, whose first dimensions are session and window.
    sessions
        (session,) rows that are kept.
    windows
        (session, window) which window each is, -1 for none.
    fill
        What stands where there is none.
    shape, dtype
        Of the array that this is.
    """

    variable: xr.Variable
    sessions: NDArray[np.intp]
    windows: NDArray[np.intp]
    fill: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        support = indexing.IndexingSupport.OUTER
        found: NDArray[Any] = indexing.explicit_indexing_adapter(key, self.shape, support, self._outer)
        return found

    def _outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
        wanted = [np.atleast_1d(np.arange(size)[item]) for item, size in zip(key, self.shape, strict=True)]
        whole = np.full([len(indices) for indices in wanted], self.fill, self.dtype)
        for at, session in enumerate(wanted[0]):
            theirs = self.windows[session, wanted[1]]
            there = np.flatnonzero(theirs >= 0)
            if len(there):
                asked = np.unique(theirs[there], return_inverse=True)
                rest = tuple(_as_slice(indices) for indices in wanted[2:])
                index = (int(self.sessions[session]), _as_slice(asked[0]), *rest)
                whole[at, there] = self.variable[index].values[asked[1]]
        scalars = tuple(0 if isinstance(item, (int, np.integer)) else slice(None) for item in key)
        return np.asarray(whole[scalars], self.dtype)


def _as_slice(indices: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    span = slice(int(indices[0]), int(indices[0]) + len(indices)) if len(indices) else slice(0)
    return span if np.array_equal(indices, np.arange(span.start or 0, span.stop)) else indices


def keep_windows(dataset: xr.Dataset, kept: NDArray[np.bool_]) -> xr.Dataset:
    """Return some windows of a dataset, lazily.

    Parameters
    ----------
    dataset
        Windows, as `aggrade.open_windows` returns them.
    kept
        (session, window) which windows; those beyond ``n_windows`` are never kept.

    Returns
    -------
    xarray.Dataset
        The same variables. Reading one window reads that window alone.
    """
    own = kept.copy()
    if "n_windows" in dataset.variables:
        own &= np.arange(own.shape[1]) < np.asarray(dataset["n_windows"].values)[:, None]
    sessions = np.flatnonzero(own.any(axis=1))
    counts = own[sessions].sum(axis=1)
    windows = np.full((len(sessions), int(counts.max(initial=0))), -1, np.intp)
    for row, session in enumerate(sessions):
        windows[row, : counts[row]] = np.flatnonzero(own[session])
    found = {name: _kept(variable, sessions, windows) for name, variable in dataset.variables.items()}
    if "n_windows" in found:
        n_windows = dataset.variables["n_windows"]
        found["n_windows"] = n_windows[sessions].copy(data=counts.astype(n_windows.dtype))
    return xr.Dataset(found, attrs=dataset.attrs).set_coords(list(dataset.coords))


def _kept(variable: xr.Variable, sessions: NDArray[np.intp], windows: NDArray[np.intp]) -> xr.Variable:
    if _DIMS[0] not in variable.dims:
        return variable
    if variable.dims[:2] != _DIMS:
        return variable.isel(session=sessions)
    shape = (*windows.shape, *variable.shape[2:])
    array = _Kept(variable, sessions, windows, _fill_of(variable), shape, variable.dtype)
    encoding = {key: value for key, value in variable.encoding.items() if key in _ENCODING}
    lazy = indexing.LazilyIndexedArray(array)
    return xr.Variable(variable.dims, lazy, variable.attrs, encoding)


def _fill_of(variable: xr.Variable) -> Any:
    if variable.dtype.kind == "f":
        return np.nan
    declared = variable.encoding.get("fill_value")
    return declared if declared is not None else ("" if variable.dtype.kind in "OUT" else 0)
