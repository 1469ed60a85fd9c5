"""A table as read: columns with what is missing, beside the file's header. Every format becomes this."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "NOTHING",
    "Column",
    "Table",
    "TimeSystem",
    "Wanted",
    "element_of",
    "mask_of",
    "meant",
    "text_column",
    "typed",
    "with_masks",
    "without_masked",
]

NOTHING = ("", "NULL", "null", "NaN", "nan", "NA", "N/A", "n/a", "None", "none", "NONE", "<NA>", "-", "--")
"""Words that stand for nothing in a table of text."""

_MASK = ".mask"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?", re.ASCII)
_INT64 = np.iinfo(np.int64)
_ELEMENT = re.compile(r"(.+)\[([0-9]+)\]")


@dataclass(frozen=True)
class TimeSystem:
    """What a file itself says of a column of times.

    Parameters
    ----------
    scale
        Time scale, in lower case.
    origin
        JD of the time 0, in days; None where the file does not say it.
    place
        Where the times refer to, in lower case: ``topocenter``, ``barycenter`` …
    """

    scale: str | None = None
    origin: float | None = None
    place: str | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """One column.

    Parameters
    ----------
    values
        (row,) int64, uint64, float64, float32, bool or text (``U``); anything else is not understood.
    missing
        (row,) bool. Numbers that are missing are NaN where there is NaN, and arbitrary otherwise.
    unit
        The unit that the file gives it; the name of its type where this is not understood (values of kind ``V``).
    time
        What the file says of its times, if it does.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_]
    unit: str | None = None
    time: TimeSystem | None = None

    @classmethod
    def whole(cls, values: NDArray[Any], unit: str | None = None) -> Column:
        """Return a column with nothing missing but NaN."""
        nothing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        return cls(values, nothing, unit)

    @property
    def kind(self) -> str:
        """What it holds: integers, numbers, text, truth values, or the name of what isn't understood."""
        known = {"i": "integers", "u": "integers", "f": "numbers", "U": "text", "b": "truth values"}
        if self.values.dtype.kind == "V":
            return self.unit or "what is not understood"
        return (
            known.get(self.values.dtype.kind, str(self.values.dtype)) if self.values.ndim == 1 else "vectors"
        )


@dataclass(frozen=True, eq=False)
class Table:
    """What was wanted of a file.

    Parameters
    ----------
    columns
        The wanted columns that are there.
    names
        The names of all columns of the file.
    header
        Header keys → values.
    rows
        How many rows.
    """

    columns: Mapping[str, Column]
    names: tuple[str, ...]
    header: Mapping[str, Any]
    rows: int


@dataclass(frozen=True)
class Wanted:
    """Which columns to read, and as what where the format does not say it itself.

    Parameters
    ----------
    numbers
        Columns of numbers.
    labels
        Columns of names: ids, bands, epochs; whole numbers or text, never rounded.
    """

    numbers: frozenset[str] = field(default_factory=frozenset)
    labels: frozenset[str] = field(default_factory=frozenset)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.numbers | self.labels


def element_of(name: str) -> tuple[str, int] | None:
    """Return the column and the index that a name such as ``MAG_APER[1]`` means; None if it names a column.

    >>> element_of("MAG_APER[1]"), element_of("MAG_APER")
    (('MAG_APER', 1), None)
    """
    found = _ELEMENT.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def with_masks(wanted: Wanted) -> Wanted:
    """Return what is wanted with the columns that may say which of its values are masked."""
    return Wanted(wanted.numbers | {mask_of(name) for name in wanted.names}, wanted.labels)


def mask_of(name: str) -> str:
    """Return what astropy calls the mask of a column that it keeps beside the values (``astropy.table.serialize``).

    >>> mask_of("mag"), mask_of("MAG_APER[1]")
    ('mag.mask', 'MAG_APER.mask[1]')
    """
    base, index = element_of(name) or (name, None)
    return f"{base}{_MASK}" if index is None else f"{base}{_MASK}[{index}]"


def without_masked(table: Table, wanted: Wanted) -> Table:
    """Return the wanted columns of a table; values that a column of truth values beside theirs masks are missing.

    Parameters
    ----------
    table
        What was read by `with_masks`.
    wanted
        What is wanted of it.
    """
    columns = {
        name: _masked(column, table.columns.get(mask_of(name)))
        for name, column in table.columns.items()
        if name in wanted.names
    }
    return Table(columns, table.names, table.header, table.rows)


def _masked(column: Column, mask: Column | None) -> Column:
    if mask is None or mask.values.dtype.kind != "b" or mask.values.shape != column.missing.shape:
        return column
    missing, values = column.missing | mask.values, column.values
    if values.dtype.kind == "f" and values.ndim == 1:
        values = np.where(missing, np.nan, values).astype(values.dtype)
    return Column(values, missing, column.unit, column.time)


def text_column(values: NDArray[Any], missing: NDArray[np.bool_], unit: str | None = None) -> Column:
    """Return a column of text, without blanks around it; empty text is missing."""
    plain = np.strings.strip(np.asarray(values, dtype=np.str_)) if len(values) else np.zeros(0, "U1")
    return Column(plain, missing | (plain == ""), unit)


def typed(column: Column) -> Column:
    """Return text as int64 if all of it are plain integers, as float64 if all are numbers, else as it is.

    >>> import numpy as np
    >>> typed(text_column(np.array(["9007199254740993", ""]), np.zeros(2, bool))).values.dtype
    dtype('int64')
    >>> typed(text_column(np.array(["007", "8"]), np.zeros(2, bool))).values.dtype.kind
    'U'
    """
    if column.values.dtype.kind != "U" or column.missing.all():
        return column
    present = column.values[~column.missing].tolist()
    if all(_INTEGER.fullmatch(each) and _INT64.min <= int(each) <= _INT64.max for each in present):
        return _converted(column, np.int64, 0)
    if all(_INTEGER.fullmatch(each) or _DECIMAL.fullmatch(each) for each in present) and any(
        map(_DECIMAL.fullmatch, present)
    ):
        return _converted(column, np.float64, np.nan)
    return column


def _converted(column: Column, kind: type[np.number[Any]], filler: float) -> Column:
    values = np.full(len(column.values), filler, kind)
    values[~column.missing] = column.values[~column.missing].astype(kind)
    return Column(values, column.missing, column.unit)


def meant(column: Column, *, is_number: bool) -> Column:
    """Return text as what it is; where numbers were wanted, text that is all missing is numbers."""
    found = typed(column)
    if is_number and found.values.dtype.kind == "U" and found.missing.all():
        return Column(np.full(len(found.missing), np.nan), found.missing, found.unit)
    return found
