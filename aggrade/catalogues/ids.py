"""Object ids: 64-bit whole numbers or text, and never a float."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.catalogues.epochs import as_text
from aggrade.catalogues.tables import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrade.catalogues.tables import Column

__all__ = ["alike", "ids_of"]

_ROUNDED = re.compile(r"[+-]?[0-9]+\.0+|[+-]?[0-9](\.[0-9]+)?[eE][+]?[0-9]+", re.ASCII)
_INT64_MAX = np.iinfo(np.int64).max


def ids_of(column: Column) -> NDArray[Any]:
    """Return a column of ids as (row,) int64 if all are 64-bit integers, else as text.

    Raises
    ------
    ValueError
        If an id is missing, or ids went through floating point, which loses digits above 2⁵³.
    """
    if column.missing.any():
        raise ValueError(f"{int(column.missing.sum())} rows without an id")
    values = column.values
    if values.dtype.kind == "U":
        return _of_text(column)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"ids as {column.kind}: they lose digits above 2^53")
    if values.dtype.kind == "u" and len(values) and values.max() > _INT64_MAX:
        return values.astype(np.str_)
    return values.astype(np.int64)


def _of_text(column: Column) -> NDArray[Any]:
    whole = typed(column).values
    if whole.dtype.kind == "i":
        return whole
    if len(whole) and all(_ROUNDED.fullmatch(each) for each in column.values.tolist()):
        raise ValueError(f"ids such as {column.values[0]}, which went through floating point")
    return column.values


def alike(columns: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return several sets of ids in one type: int64 if all of them are, else text."""
    if all(column.dtype.kind == "i" for column in columns):
        return list(columns)
    return [as_text(column) for column in columns]
