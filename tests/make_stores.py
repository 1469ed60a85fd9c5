"""Stores written by plain xarray and zarr, for tests of what reads them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import zarr

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


def write_zarr(dataset: xr.Dataset, path: Path, *, encoding: Any = None, **bookkeeping: Any) -> xr.Dataset:
    """Write a dataset as a consolidated Zarr v3 store with aggrade's root attribute; return it with that."""
    mark = {"format": 1, "generation": 1, "write_id": f"write-{path.name}", **bookkeeping}
    dataset = dataset.assign_attrs(aggrade=mark)
    dataset.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))
    return dataset
