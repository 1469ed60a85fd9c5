"""The detections of one epoch, whatever files and rows they were delivered in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "DETECTED",
    "FLAGGED",
    "LIMIT",
    "NOT_OBSERVED",
    "EpochCatalogue",
    "as_text",
    "content_digest",
    "ids_digested",
    "merged",
]

NOT_OBSERVED, DETECTED, LIMIT, FLAGGED = 0, 1, 2, 3
_AT_ONCE = 1 << 24
"""Ids whose text Arrow holds in one array of up to 2 GiB."""


@dataclass(frozen=True, eq=False)
class EpochCatalogue:
    """The rows of one epoch from one file, or from all its files once `merged`.

    Parameters
    ----------
    key
        The epoch's key.
    measurements
        Names of the measurements, in the order of the specification.
    units
        Unit of each measurement, None where neither file nor specification says it.
    value, error
        (row, measurement) float32, in the measurement's unit. Where `status` is 2, value is the limit.
    status
        (row, measurement) uint8: 0 not observed, 1 detected, 2 upper limit, 3 flagged.
    time
        (row, measurement) float64, MJD in the specification's scale; NaN where `status` is 0.
    epoch_time
        The epoch's time by the file's header, MJD.
    filter
        The epoch's filter, or empty.
    ids
        (row,) int64 or text, None if rows have no id.
    ra, dec
        (row,) float64 degrees, None if rows have no position.
    """

    key: str
    measurements: tuple[str, ...]
    units: tuple[str | None, ...]
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    status: NDArray[np.uint8]
    time: NDArray[np.float64]
    epoch_time: float | None = None
    filter: str = ""
    ids: NDArray[Any] | None = None
    ra: NDArray[np.float64] | None = None
    dec: NDArray[np.float64] | None = None

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.status)

    @property
    def mean_time(self) -> float:
        """The epoch's time in MJD: its header's, else the median of its rows'; NaN if it has neither."""
        if self.epoch_time is not None:
            return self.epoch_time
        times = self.time[self.status != NOT_OBSERVED]
        if times.size == 0:
            return float("nan")
        return float(times.flat[0] if times.min() == times.max() else np.median(times))

    @property
    def varies(self) -> bool:
        """Whether a cell's time differs from the epoch's."""
        times = self.time[self.status != NOT_OBSERVED]
        return bool(times.size) and bool((times != self.mean_time).any())

    def taken(self, rows: NDArray[Any]) -> EpochCatalogue:
        """Return the catalogue of some of the rows."""
        per_row = {"value", "error", "status", "time", "ids", "ra", "dec"}
        there = {name: getattr(self, name) for name in per_row}
        return replace(self, **{name: values[rows] for name, values in there.items() if values is not None})


def as_text(ids: NDArray[Any]) -> NDArray[np.str_]:
    """Return ids as text; whole numbers keep every digit."""
    return ids if ids.dtype.kind == "U" else ids.astype(np.str_)


def merged(parts: Sequence[EpochCatalogue], order: Sequence[str] = ()) -> EpochCatalogue:
    """Put the files of one epoch together, row below row.

    Parameters
    ----------
    parts
        Catalogues of one epoch, at least one.
    order
        Names of measurements in the order they shall have; names that no part has are left out.
    """
    if len(parts) == 1 and parts[0].measurements == tuple(
        name for name in order if name in parts[0].measurements
    ):
        return parts[0]
    known = {name: unit for part in parts for name, unit in zip(part.measurements, part.units, strict=True)}
    names = tuple(
        sorted(known, key=lambda name: (list(order).index(name) if name in order else len(order), name))
    )
    times = {part.epoch_time for part in parts}
    filters = {part.filter for part in parts if part.filter}
    return EpochCatalogue(
        key=parts[0].key,
        measurements=names,
        units=tuple(known[name] for name in names),
        value=np.concatenate([_spread(part, part.value, names, np.nan) for part in parts]),
        error=np.concatenate([_spread(part, part.error, names, np.nan) for part in parts]),
        status=np.concatenate([_spread(part, part.status, names, NOT_OBSERVED) for part in parts]),
        time=np.concatenate([_spread(part, part.time, names, np.nan) for part in parts]),
        epoch_time=parts[0].epoch_time if len(times) == 1 else None,
        filter=filters.pop() if len(filters) == 1 else "",
        ids=_joined([part.ids for part in parts]),
        ra=_joined([part.ra for part in parts]),
        dec=_joined([part.dec for part in parts]),
    )


def _spread(part: EpochCatalogue, values: NDArray[Any], names: Sequence[str], fill: float) -> NDArray[Any]:
    if part.measurements == tuple(names):
        return values
    spread = np.full((part.rows, len(names)), fill, values.dtype)
    for column, name in enumerate(part.measurements):
        spread[:, names.index(name)] = values[:, column]
    return spread


def _joined(columns: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    there = [column for column in columns if column is not None]
    if len(there) < len(columns):
        return None
    if len({column.dtype.kind for column in there}) > 1:
        there = [as_text(column) for column in there]
    return np.concatenate(there)


def content_digest(part: EpochCatalogue) -> str:
    """Return the digest of what one file says of one epoch, whatever its format and other columns."""
    total = hashlib.sha256()
    head = [part.key, part.measurements, part.units, part.epoch_time, part.filter, part.rows]
    total.update(json.dumps(head).encode())
    for values in (part.value, part.error, part.status, part.time, part.ra, part.dec):
        total.update(b"|" if values is None else np.ascontiguousarray(values).tobytes())
    if part.ids is not None:
        total.update(ids_digested(part.ids))
    return total.hexdigest()


def ids_digested(ids: NDArray[Any]) -> bytes:
    """Return ids as text, one behind the other with a zero between: the bytes that digests are made of.

    Arrow writes whole numbers several times faster than NumPy, in the same digits.
    """
    if ids.dtype.kind == "U":
        return "\0".join(ids.tolist()).encode()
    return b"\0".join(_as_text(ids[low : low + _AT_ONCE]) for low in range(0, len(ids), _AT_ONCE))


def _as_text(numbers: NDArray[Any]) -> bytes:
    whole = pa.ListArray.from_arrays([0, len(numbers)], pa.array(numbers).cast(pa.string()))
    return bytes(compute.binary_join(whole, "\0")[0].as_buffer())
