"""ECSV, and whatever is an astropy table (astropy APE 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import MaskedColumn, QTable
from astropy.table import Table as AstropyTable

from aggrade.catalogues.tables import Column, Table, Wanted, text_column

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["from_astropy", "read_ecsv"]


def read_ecsv(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of an ECSV file; its types, units and metadata are its own."""
    table = AstropyTable.read(data.decode().splitlines(), format="ascii.ecsv")
    return from_astropy(table, wanted.names)


def from_astropy(table: AstropyTable, wanted: Iterable[str]) -> Table:
    """Return the wanted columns of an astropy table, quantities included."""
    plain = AstropyTable(table) if isinstance(table, QTable) else table
    columns = {name: _column(plain[name]) for name in wanted if name in plain.colnames}
    header = {str(key): value for key, value in plain.meta.items()}
    return Table(columns, tuple(plain.colnames), header, len(plain))


def _column(column: Any) -> Column:
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


def _is_text(values: np.ndarray[Any, Any]) -> bool:
    return values.dtype.kind == "O" and all(isinstance(each, str) for each in values.ravel())
