"""Stores written by plain xarray and zarr, for tests of what reads them."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OBJECT_VARIABLES = ("object", "ra", "dec", "healpix")


def write_zarr(dataset: xr.Dataset, path: Path, *, encoding: Any = None, **bookkeeping: Any) -> xr.Dataset:
    """Write a dataset as a consolidated Zarr v3 store with aggrade's root attribute; return it with that."""
    mark = {"format": 1, "generation": 1, "write_id": f"write-{path.name}", **bookkeeping}
    dataset = dataset.assign_attrs(aggrade=mark)
    dataset.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))
    return dataset


def let_show(path: Path, dataset: xr.Dataset, *, encoding: Any = None, **bookkeeping: Any) -> str:
    """Let a store show a dataset, as its own writer would: objects that hold the same stay the same files."""
    fresh = path.with_name("fresh.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_zarr(dataset, fresh, encoding=encoding, **bookkeeping)
    for file in [file for file in fresh.rglob("*") if file.is_file()]:
        there = path / file.relative_to(fresh)
        if not there.exists() or there.read_bytes() != file.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, there)
    shutil.rmtree(fresh)
    return str(path)


def light_curves(
    ids: Any, ra: NDArray[Any], dec: NDArray[Any], *, epochs: int = 6, seed: int = 0
) -> xr.Dataset:
    """Return a cube of two bands in the layout of docs/lightcurves.md, epochs out of order, cells of every status."""
    rng, n = np.random.default_rng(seed), len(ra)
    status = rng.choice(4, size=(n, 2, epochs), p=[0.4, 0.4, 0.1, 0.1]).astype("u1")
    cells = rng.normal(18, 1, size=(n, 2, 2, epochs)).astype("f4")
    cells[np.broadcast_to(status[:, :, None] == 0, cells.shape)] = np.nan
    cells[:, :, 1][status == 2] = np.nan
    offset = np.where(status > 0, rng.uniform(-300, 300, status.shape), np.nan)
    time = 61000.0 + rng.permutation(epochs) + rng.uniform(size=epochs)
    attributes = {"units": "d", "format": "mjd", "time_scale": "tai", "time_ref": "topocentric"}
    text = lambda values: np.array(list(values), object)  # noqa: E731
    return xr.Dataset(
        {
            "lightcurves": (
                ("object", "measurement", "value", "epoch"),
                cells,
                {"value": "mag", "units": "mag"},
            ),
            "status": (("object", "measurement", "epoch"), status),
            "time_offset": (("object", "measurement", "epoch"), offset, {"units": "s"}),
        },
        {
            "object": ("object", np.asarray(ids) if not isinstance(ids[0], str) else text(ids)),
            "ra": ("object", np.asarray(ra, "f8")),
            "dec": ("object", np.asarray(dec, "f8")),
            "healpix": ("object", np.arange(n)),
            "measurement": ("measurement", text("gr")),
            "measurement_unit": ("measurement", text(["mag", "mag"])),
            "value": ("value", text(["mag", "mag_err"])),
            "epoch": ("epoch", text(f"night {index}" for index in range(epochs))),
            "epoch_time": ("epoch", time, attributes),
            "filter": ("epoch", text(["clear"] * epochs)),
        },
    )


def write_light_curves(
    dataset: xr.Dataset, root: Path, name: str, *, objects: int, epochs: int, **mark: Any
) -> None:
    """Write a cube below a dataset root in chunks of so many objects and epochs."""
    sizes = {"object": objects, "epoch": epochs}
    names = ("lightcurves", "status", "time_offset")
    encoding = {
        name: {"chunks": tuple(sizes.get(dim, size) for dim, size in dataset[name].sizes.items())}
        for name in names
    }
    write_zarr(dataset, root / name, encoding=encoding, **mark)
