"""Whatever is an astropy table: columns, quantities, positions and times become plain columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable
from astropy.table import Table as AstropyTable
from astropy.table.serialize import represent_mixins_as_columns
from astropy.time import Time

from aggrade.catalogues.tables import Column, Table, TimeSystem, element_of, text_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["from_astropy"]

_JD_OF_MJD_0 = 2400000.5


def from_astropy(
    table: AstropyTable, wanted: Iterable[str], header: Mapping[str, Any] | None = None
) -> Table:
    """Return the wanted columns of an astropy table.

    A column of positions is one column per coordinate: ``sky_centroid`` is ``sky_centroid.ra`` and
    ``sky_centroid.dec``. A column of times is MJD in its own scale. ``name[2]`` is an element of a column of
    vectors.

    Parameters
    ----------
    table
        A `Table` or `QTable`.
    wanted
        Names; those that the table lacks are not in the result.
    header
        Keys beside those of the table's metadata.
    """
    plain = AstropyTable(table) if isinstance(table, QTable) else table
    parts = _flattened(plain)
    columns = {name: part for name in wanted if (part := _named(parts, name)) is not None}
    keys = {str(key): value for key, value in plain.meta.items()}
    return Table(columns, tuple(parts), {**(header or {}), **keys}, len(plain))


def _flattened(table: AstropyTable) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            coordinates = represent_mixins_as_columns(AstropyTable([column], names=[name]))
            parts |= {each: coordinates[each] for each in coordinates.colnames}
        else:
            parts[name] = column
    return parts


def _named(parts: Mapping[str, Any], name: str) -> Column | None:
    if name in parts:
        return _column(parts[name])
    base, index = element_of(name) or (name, 0)
    column = parts.get(base)
    if column is None or isinstance(column, Time) or column.ndim != 2 or index >= column.shape[1]:
        return None
    return _column(column[:, index])


def _column(column: Any) -> Column:
    if isinstance(column, Time):
        return _times(column)
    unit = None if getattr(column, "unit", None) is None else str(column.unit)
    missing = np.zeros(len(column), bool)
    if isinstance(column, MaskedColumn):
        missing |= np.asarray(column.mask, bool).reshape(len(column), -1).any(axis=1)
        column = column.filled()
    values = np.asarray(column)
    if values.dtype.kind in "SU" or _is_text(values):
        return text_column(np.asarray(values, np.str_), missing, unit)
    if values.dtype.kind == "f" and values.ndim == 1:
        values = np.where(missing, np.nan, values).astype(values.dtype.newbyteorder("="))
        return Column(values, missing | np.isnan(values), unit)
    return Column(values, missing, unit)


def _times(column: Time) -> Column:
    missing = np.array(np.broadcast_to(column.mask, column.shape))
    values = np.asarray(np.ma.filled(np.ma.masked_array(column.unmasked.mjd, missing), np.nan))
    return Column(values, missing | np.isnan(values), "d", TimeSystem(column.scale, _JD_OF_MJD_0))


def _is_text(values: np.ndarray[Any, Any]) -> bool:
    return values.dtype.kind == "O" and all(isinstance(each, str) for each in values.ravel())
