"""Light curves as a HATS catalogue: nested Parquet files by cells of the sky, which LSDB and nested-pandas open.

The layout is that of HATS 1.0 (https://hats.readthedocs.io): ``hats.properties``, ``partition_info.csv``, and files
``dataset/Norder=…/Dir=…/Npix=….parquet`` that are sorted by ``_healpix_29``.
"""

from __future__ import annotations

import builtins
import functools
import io
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from aggrade.catalogues.positions import healpix
from aggrade.errors import BadInput, Damaged, Problem
from aggrade.hats_catalogue import HEALPIX_COLUMN, HatsFile, check_folder, check_name, describe, put
from aggrade.healpix_partitions import partitions
from aggrade.layout import LIGHTCURVES_BY_OBJECT
from aggrade.lightcurve_dataset import LightCurveDataset
from aggrade.lightcurves import LightCurves
from aggrade.nested_lightcurves import NESTED, nested_table
from aggrade.price import human_bytes
from aggrade.storage import open_storage, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike

    import xarray as xr

    from aggrade.healpix_partitions import Partition
    from aggrade.storage import Storage

__all__ = ["HatsExport", "export_hats"]

_log = logging.getLogger(__name__)
_BYTES_PER_FILE = 256 << 20


class HatsExport(BaseModel):
    """What an export wrote, as it was read back from where it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="URL of the light curves.")
    folder: str = Field(description="URL of the HATS catalogue.")
    objects: int = Field(description="Rows of the catalogue: objects that have a position.")
    cells: int = Field(description="Rows of the nested column: observed cells of these objects.")
    without_position: int = Field(description="Objects that are left out, since HATS has no place for them.")
    files: int = Field(description="Parquet files, one for each cell of the sky.")
    bytes_written: int = Field(description="Bytes of these files.")

    def __str__(self) -> str:
        left = f"; {self.without_position:,} objects without a position are left out"
        return (
            f"export {self.store} → {self.folder}: {self.objects:,} objects with {self.cells:,} observed cells, "
            f"as counted in {self.files:,} files of {human_bytes(self.bytes_written)}"
            f"{left if self.without_position else ''}"
        )


class _Part(NamedTuple):
    """The objects of one file, lazily."""

    cell: Partition
    dataset: LightCurveDataset


def export_hats(
    store: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    name: str = "lightcurves",
    objects_per_file: int | None = None,
    map: Callable[..., Iterable[Any]] = builtins.map,  # noqa: A002 - as in `populate`
    storage_options: Mapping[str, Any] | None = None,
) -> HatsExport:
    """Write all light curves as a HATS catalogue with a nested column, and count what lies there then.

    Every file is read back, and its rows are compared with the store's objects and observed cells; the sum is
    compared with the ledger of the store's epochs. After a failure the same call goes on: files that are there with the
    same bytes stay.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store of light curves. A rechunked one is read about once; in the layout that
        epochs are written in, chunks are read once for each file that their objects go to.
    folder
        Where the catalogue goes: a folder or ``s3://bucket/prefix`` in which nothing else lies.
    name
        The catalogue's name.
    objects_per_file
        At most so many objects go to one file; None takes what fills 256 MiB as a cube.
    map
        ``map(function, parts)``: the builtin, or one that sends parts to a cluster.
    storage_options
        For both, as `s3fs.S3FileSystem` takes them.

    Returns
    -------
    HatsExport
        Counts. Objects without a position are left out, and counted.

    Raises
    ------
    BadInput
        If there are no light curves, no object has a position, or the name or number is none.
    Refused
        If something else lies in the folder.
    Damaged
        If the files do not hold what the store does, or the store not what its ledger says.
    """
    check_name(name)
    target = open_storage(url_of(folder), storage_options)
    curves = LightCurves(store, storage_options=storage_options)
    dataset = LightCurveDataset.of(curves.dataset)
    where = healpix(dataset["ra"].values, dataset["dec"].values)
    cells = partitions(where, _objects_per_file(dataset, objects_per_file))
    if not cells:
        found, fix = f"{len(where)} objects without a position", "populate with an object table that has them"
        raise BadInput(Problem(curves.url, found, "objects at positions", fix, "no-positions"))
    check_folder(target, cells)
    _warn_of_layout(curves, cells)
    parts = [_Part(cell, _chosen(dataset, cell)) for cell in cells]
    files = list(map(functools.partial(_write, target), parts))
    left_out = int((where < 0).sum())
    if not left_out:
        _check_ledger(curves, dataset, files)
    describe(target, files, name, _state(curves, dataset))
    done = HatsExport(
        store=curves.url,
        folder=target.url,
        objects=sum(file.rows for file in files),
        cells=sum(file.cells for file in files),
        without_position=left_out,
        files=len(files),
        bytes_written=sum(file.size for file in files),
    )
    _log.info("%s", done)
    return done


def _objects_per_file(dataset: LightCurveDataset, asked: int | None) -> int:
    if asked is not None and asked < 1:
        fix = "give another number, or none"
        raise BadInput(Problem("objects_per_file", str(asked), "1 or more", fix, "objects-per-file"))
    cube = sum(dataset[name].nbytes for name in ("lightcurves", "status", "time_offset") if name in dataset)
    return asked or max(1, _BYTES_PER_FILE * dataset.sizes["object"] // max(1, cube))


def _warn_of_layout(curves: LightCurves, cells: Sequence[Partition]) -> None:
    if curves.layout != LIGHTCURVES_BY_OBJECT and len(cells) > 1:
        told = "%s may be read once for each of %d files: rechunk it first if that is much"
        _log.warning(told, curves.layout, len(cells))


def _chosen(dataset: LightCurveDataset, cell: Partition) -> LightCurveDataset:
    first, count = int(cell.objects[0]), len(cell.objects)
    if np.array_equal(cell.objects, np.arange(first, first + count)):
        return dataset.isel(object=slice(first, first + count))
    return dataset.isel(object=cell.objects)


def _write(target: Storage, part: _Part) -> HatsFile:
    """Write one file, and count what was read back of it against the store."""
    blocks, seen = [], 0
    for block in part.dataset.blocks():
        loaded = block.load()
        blocks.append(nested_table(loaded))
        seen += int(np.count_nonzero(loaded["status"].values))
    data = _parquet(pa.concat_tables(blocks))
    key = f"dataset/{part.cell.path}"
    lying = put(target, key, data)
    rows, cells = _counts(lying)
    if (rows, cells) != (len(part.cell.objects), seen):
        found, expected = f"{rows} objects, {cells} cells", f"{len(part.cell.objects)} objects, {seen} cells"
        raise Damaged(Problem(f"{target.url}/{key}", found, expected, "export again", "export-counts"))
    metadata = pq.read_metadata(pa.BufferReader(lying))
    metadata.set_file_path(part.cell.path)
    return HatsFile(part.cell, rows, cells, len(lying), metadata)


def _parquet(table: pa.Table) -> bytes:
    index = healpix(table["ra"].to_numpy(), table["dec"].to_numpy())
    sink = io.BytesIO()
    pq.write_table(table.append_column(HEALPIX_COLUMN, pa.array(index)), sink, compression="zstd")
    return sink.getvalue()


def _counts(data: bytes) -> tuple[int, int]:
    """Return how many objects and nested rows a file has."""
    column = pq.ParquetFile(pa.BufferReader(data)).read(columns=[f"{NESTED}.status"])[NESTED]
    lengths = pc.list_value_length(pc.struct_field(column, "status"))
    return len(column), int(pc.sum(lengths).as_py())


def _check_ledger(curves: LightCurves, dataset: xr.Dataset, files: Sequence[HatsFile]) -> None:
    """Compare the cells of all files with what the store's epochs say they have."""
    if "cells" not in dataset.variables:
        return
    expected, found = int(dataset["cells"].sum()), sum(file.cells for file in files)
    if found != expected:
        told, fix = f"{expected:,} as its epochs say", "verify the store, then export again"
        raise Damaged(Problem(curves.url, f"{found:,} observed cells", told, fix, "export-ledger"))


def _state(curves: LightCurves, dataset: xr.Dataset) -> dict[str, str]:
    """Return which state of which store was exported, and what its times mean."""
    mark = dataset.attrs.get("aggrade", {})
    known = {f"aggrade_{key}": str(mark[key]) for key in ("generation", "write_id") if key in mark}
    times = dataset["epoch_time"].attrs
    told = {f"aggrade_{key}": str(times[key]) for key in ("time_scale", "time_ref") if key in times}
    url = curves.url.rstrip("/").removesuffix(f"/{curves.layout}")
    return {"aggrade_store": f"{url}/{curves.layout}", **known, **told}
