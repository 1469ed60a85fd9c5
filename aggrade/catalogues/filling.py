"""What one task of a population does: read some epochs, match them, and write every chunk that holds them."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from aggrade.catalogues.coverage import Covered, Places, covered, exposures_of_epoch
from aggrade.catalogues.cube import DATA, MOTION_VARIABLES, OBJECT_VARIABLES, epochs_at_once
from aggrade.catalogues.epochs import LIMIT, NOT_OBSERVED
from aggrade.catalogues.loading import EpochSources, load_epoch
from aggrade.catalogues.matching import match_epoch
from aggrade.catalogues.motion import Motion
from aggrade.catalogues.objects import ObjectTable
from aggrade.commit import PieceReceipt
from aggrade.commit.documents import key_of, shape_of, units_in
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.catalogues.epochs import EpochCatalogue
    from aggrade.catalogues.loading import Epoch, How
    from aggrade.catalogues.planning import FilledEpoch, FilledPiece
    from aggrade.commit import Document, Writer, WrittenObject
    from aggrade.storage import Storage

__all__ = ["fill_piece", "read_array", "read_objects", "write_objects"]

_SECONDS_PER_DAY = 86400.0


def fill_piece(
    how: How, storage_options: Mapping[str, Any] | None, writer: Writer, piece: FilledPiece
) -> PieceReceipt:
    """Write every chunk of a piece's epochs, some of them at a time.

    Parameters
    ----------
    how
        How catalogues are read and matched.
    storage_options
        For reading the catalogues, as `s3fs.S3FileSystem` takes them.
    writer
        Of the open transaction.
    piece
        What to write.

    Returns
    -------
    PieceReceipt
        With the counts of `aggrade.catalogues.matching.Matched` per epoch.

    Raises
    ------
    Conflict
        If a catalogue is not the one that was looked at.
    """
    objects = _kept_objects(_Objects(writer.storage.url, piece.objects_digest, writer))
    unit = epochs_at_once(writer.documents, piece.epoch_bytes)
    written: list[WrittenObject] = []
    counts: dict[str, dict[str, int]] = {}
    for _, chunk in groupby(piece.epochs, key=lambda epoch: epoch.index // unit):
        epochs = list(chunk)
        block = _Block(writer.documents, piece.measurements, len(epochs))
        for place, epoch in enumerate(epochs):
            counts[epoch.report.key] = _fill(block, place, epoch, objects, how, storage_options)
        for name, values in block.arrays.items():
            written += writer.write(name, block.region(name, epochs[0].index), values)
    in_order = tuple(sorted(written, key=lambda item: item.key))
    return PieceReceipt(digest=piece.digest, written=in_order, details={"epochs": counts})


class _Block:
    """The cells of some neighbouring epochs, all objects, in memory."""

    def __init__(self, documents: Mapping[str, Document], measurements: Sequence[str], epochs: int) -> None:
        self.documents = documents
        self.measurements = tuple(measurements)
        self.epochs = epochs
        fills = {"lightcurves": np.float32(np.nan), "status": np.uint8(0), "time_offset": np.float64(np.nan)}
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.full((*shape_of(documents[name])[:-1], epochs), fills[name])
            for name in DATA
            if name in documents
        }

    def put(
        self,
        place: int,
        taken: tuple[NDArray[np.int64], NDArray[np.int64]],
        columns: slice,
        bands: list[int],
        catalogue: EpochCatalogue,
        time: float,
    ) -> None:
        """Put the cells of some measurements of some rows at their objects; cells of nothing stay what they are."""
        rows, found = taken
        at = (found[:, None], bands) if bands != list(range(len(self.measurements))) else (found,)
        picked = {
            name: getattr(catalogue, name)[rows, columns] for name in ("value", "error", "status", "time")
        }
        self.arrays["lightcurves"][..., place][at] = np.stack([picked["value"], picked["error"]], axis=2)
        self.arrays["status"][..., place][at] = picked["status"]
        if "time_offset" in self.arrays:
            self.arrays["time_offset"][..., place][at] = (picked["time"] - time) * _SECONDS_PER_DAY

    def put_undetected(self, place: int, looked: Covered, time: float) -> int:
        """Put a limit into the cells that were looked at and hold nothing; return how many these are."""
        put = 0
        for band in range(len(self.measurements)):
            status = self.arrays["status"][:, band, place]
            at = np.flatnonzero(looked.cells[:, band] & (status == NOT_OBSERVED))
            status[at] = LIMIT
            self.arrays["lightcurves"][at, band, 0, place] = looked.limit[at, band]
            if "time_offset" in self.arrays:
                times = np.full(len(at), np.nan) if looked.time is None else looked.time[at, band]
                offsets = np.nan_to_num((times - time) * _SECONDS_PER_DAY)
                self.arrays["time_offset"][at, band, place] = offsets
            put += len(at)
        return put

    def region(self, name: str, first: int) -> tuple[slice, ...]:
        """Return where the array lies in the store."""
        sizes = shape_of(self.documents[name])[:-1]
        return (*(slice(0, size) for size in sizes), slice(first, first + self.epochs))


def _fill(
    block: _Block,
    place: int,
    epoch: FilledEpoch,
    objects: ObjectTable,
    how: How,
    storage_options: Mapping[str, Any] | None,
) -> dict[str, int]:
    """Put one epoch's cells into the block; return what became of its rows."""
    report = epoch.report
    asked = EpochSources(key=report.key, sources=report.sources, exposures=report.exposures)
    loaded = load_epoch(asked, how, storage_options)
    if not loaded.is_as(report.digest, report.mark):
        where = ", ".join(source.url for source in report.sources)
        fix = "wait until the delivery is complete, then run it again"
        raise Conflict(Problem(where, "other rows than a moment ago", "the same", fix, "catalogue-changed"))
    matched = match_epoch(loaded.catalogue, objects, how.spec, how.match, by_id=how.by_id)
    bands = [block.measurements.index(name) for name in loaded.catalogue.measurements]
    if matched.sole is not None:
        block.put(place, matched.sole, slice(None), bands, loaded.catalogue, report.time)
    else:
        for column, taken in enumerate(matched.cells):
            block.put(
                place,
                taken,
                slice(column, column + 1),
                bands[column : column + 1],
                loaded.catalogue,
                report.time,
            )
    if how.spec.footprint is None:
        return matched.counts
    looked = _looked(epoch, loaded, objects, block.measurements)
    undetected = block.put_undetected(place, looked, report.time)
    counts = {name: matched.counts[name] + undetected for name in ("cells", "limits")}
    return {**matched.counts, **counts, "undetected": undetected}


def _looked(epoch: FilledEpoch, loaded: Epoch, objects: ObjectTable, measurements: Sequence[str]) -> Covered:
    """Return which objects were looked at in an epoch, at their places at its time."""
    return covered(
        exposures_of_epoch(loaded, epoch.report.exposures),
        Places.of(objects.at(epoch.report.time)),
        measurements,
        loaded.catalogue.measurements,
        loaded.how.spec.value,
    )


@dataclass(frozen=True)
class _Objects:
    """The object table of one store, by its place and content."""

    url: str
    digest: str
    writer: Writer = field(compare=False)


@functools.lru_cache(2)
def _kept_objects(where: _Objects) -> ObjectTable:
    """Read the object table once per process, published or not, and make sure that it is the planned one."""
    table = read_objects(where.writer.storage, where.writer.documents)
    if table.digest != where.digest:
        found = f"an object table with digest {table.digest}"
        raise Damaged(Problem(where.url, found, f"digest {where.digest}", "run it again", "objects-differ"))
    return table


def read_objects(storage: Storage, documents: Mapping[str, Document]) -> ObjectTable:
    """Read the object table of a store, or of one that is just being made.

    Raises
    ------
    Damaged
        If a chunk of it is missing.
    """
    ids, ra, dec, index = (read_array(storage, name, documents[name]) for name in OBJECT_VARIABLES)
    known = [read_array(storage, name, documents[name]) for name in MOTION_VARIABLES if name in documents]
    ids = ids if ids.dtype.kind == "i" else np.array(ids.tolist(), np.str_)
    return ObjectTable(ids, ra, dec, index, Motion(*known) if known else None)


def read_array(storage: Storage, name: str, document: Document) -> NDArray[Any]:
    """Read one array whole by its document, whether or not the store shows it yet.

    Raises
    ------
    Damaged
        If a chunk is missing.
    """
    held: dict[str, Any] = {f"{name}/zarr.json": Buffer.from_bytes(json.dumps(document).encode())}
    whole = tuple((0, size) for size in shape_of(document))
    keys = [key_of(name, document, index) for index in units_in(document, whole)]
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        found = list(pool.map(storage.read, keys))
    for key, stored in zip(keys, found, strict=True):
        if stored is None:
            raise Damaged(
                Problem(f"{storage.url}/{key}", "nothing", "a chunk", "verify the store", "chunk-missing")
            )
        held[key] = Buffer.from_bytes(stored.data)
    return np.asarray(zarr.open_array(MemoryStore(held), path=name, mode="r")[...])


def write_objects(writer: Writer, objects: ObjectTable, first: int = 0) -> Iterable[WrittenObject]:
    """Write the object table from an index on, before any piece needs it."""
    ids = objects.ids.astype(np.dtypes.StringDType()) if objects.ids.dtype.kind == "U" else objects.ids
    columns = dict(zip(OBJECT_VARIABLES, (ids, objects.ra, objects.dec, objects.healpix), strict=True))
    for name, values in (columns | dict(zip(MOTION_VARIABLES, objects.motion or (), strict=False))).items():
        yield from writer.write(name, (slice(first, len(objects)),), values[first:])
