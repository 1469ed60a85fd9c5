"""What one measurement says in each row: detected, a limit, flagged, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aggrade.catalogues.epochs import DETECTED, FLAGGED, LIMIT, NOT_OBSERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aggrade.catalogues.spec import CatalogueSpec, Measurement
    from aggrade.catalogues.tables import Column

__all__ = ["Cells", "cells_of", "lost_in_float32"]

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class Cells(NamedTuple):
    """One measurement of every row.

    Parameters
    ----------
    value, error
        (row,) float64; the limit where `status` is 2, NaN where there is none.
    status
        (row,) uint8.
    """

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    status: NDArray[np.uint8]


def cells_of(
    measurement: Measurement, columns: Mapping[str, Column], spec: CatalogueSpec, chosen: NDArray[np.bool_]
) -> Cells:
    """Return what one measurement says in each row.

    A value counts where it is finite and within `value_range`, and its error, if it has one, within
    `error_range`. Where it does not count, a finite limit within `value_range` does.

    Parameters
    ----------
    measurement
        Its columns.
    columns
        The columns of the table, all numbers.
    spec
        Ranges outside which a number is a sentinel.
    chosen
        (row,) bool: the rows that speak of this measurement.
    """
    nothing = np.full(len(chosen), np.nan)
    value = numbers_of(columns[measurement.value])
    error = numbers_of(columns[measurement.error]) if measurement.error else nothing
    limit = numbers_of(columns[measurement.limit]) if measurement.limit else nothing
    error = np.where(np.isfinite(error), error, np.nan)
    detected = (
        chosen & _within(value, spec.value_range) & (np.isnan(error) | _within(error, spec.error_range))
    )
    limited = chosen & ~detected & _within(limit, spec.value_range)
    status = np.full(len(chosen), NOT_OBSERVED, np.uint8)
    status[detected] = DETECTED
    status[limited] = LIMIT
    if measurement.flags:
        flags = columns[measurement.flags]
        status[detected & (flags.values != 0) & ~flags.missing] = FLAGGED
    kept = np.where(detected, value, np.where(limited, limit, np.nan))
    return Cells(kept, np.where(detected, error, np.nan), status)


def numbers_of(column: Column) -> NDArray[np.float64]:
    """Return a column as float64, NaN where it is missing."""
    return np.where(column.missing, np.nan, column.values.astype(np.float64))


def _within(values: NDArray[np.float64], limits: tuple[float, float] | None) -> NDArray[np.bool_]:
    finite = np.isfinite(values)
    return finite if limits is None else finite & (values >= limits[0]) & (values <= limits[1])


def lost_in_float32(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return the values that float32 can't hold: too large, or so small that digits are lost."""
    size = np.abs(values)
    return values[(size > _HUGE) | ((size < _TINY) & (size > 0))]
