"""Tables of text by astropy: ECSV, IPAC, SExtractor's ASCII_HEAD, and plain columns between blanks.

ECSV and IPAC say what type each column has. The others don't: there, names are read as text or as whole 64-bit
integers, and numbers as float64.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import ascii as astropy_ascii
from astropy.table import Table as AstropyTable

from aggrade.catalogues.astropy_tables import from_astropy
from aggrade.catalogues.recognising import HEAD_BYTES, layout_of
from aggrade.catalogues.tables import NOTHING, Table, Wanted, element_of, meant

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_ecsv", "read_ipac", "read_plain_text", "read_sextractor"]


def read_ecsv(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of an ECSV file; its types, units and metadata are its own."""
    table = AstropyTable.read(_lines(data), format="ascii.ecsv")
    return from_astropy(table, wanted.names)


def read_ipac(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of an IPAC table; its keywords are the header.

    Raises
    ------
    ValueError
        If its header ends before the types: astropy would make them up.
    """
    lines = _lines(data)
    if sum(line.lstrip().startswith("|") for line in lines) < 2:
        raise ValueError("the header names columns, but no types: the file may be truncated")
    table = AstropyTable.read(lines, format="ascii.ipac")
    keywords = {name: each["value"] for name, each in table.meta.pop("keywords", {}).items()}
    table.meta.clear()
    return from_astropy(table, wanted.names, keywords)


def read_sextractor(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of an ASCII_HEAD catalogue.

    An element of a vector goes by its index, as in the FITS catalogues of the same program: ``MAG_APER[1]``.
    """
    lines = _lines(data)
    return _untyped(lines, wanted, format="sextractor")


def read_plain_text(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of a table whose names stand in its first line, or in the last comment before it."""
    layout = layout_of(data[:HEAD_BYTES])
    if layout is None:
        raise ValueError("no line of names followed by lines of as many values")
    how: dict[str, Any] = {"delimiter": layout.separator or r"\s"}
    lines = _without_outer_bars(_lines(data)) if layout.separator == "|" else _lines(data)
    if layout.commented:
        return _untyped(lines, wanted, format="commented_header", header_start=-1, **how)
    return _untyped(lines, wanted, format="basic", **how)


def _without_outer_bars(lines: list[str]) -> list[str]:
    """Return lines without the bars at their ends, if each has both, as in tables of fixed width."""
    plain = [line.strip() for line in lines if line.strip()]
    has_both = all(len(line) > 1 and line.startswith("|") and line.endswith("|") for line in plain)
    return [line[1:-1] for line in plain] if has_both else lines


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8-sig").splitlines()


def _untyped(lines: list[str], wanted: Wanted, **how: Any) -> Table:
    """Read all columns as text, and the wanted ones as what they mean."""
    with warnings.catch_warnings(action="ignore"):
        read = astropy_ascii.read(
            lines,
            guess=False,
            fast_reader=False,
            converters={"*": [astropy_ascii.convert_numpy(np.str_)]},
            fill_values=[(word, "") for word in NOTHING],
            **how,
        )
    table = from_astropy(read, _spelt(read.colnames, wanted.names))
    columns = {}
    for name in wanted.names:
        column = table.columns.get(_place(name, table.names))
        if column is not None:
            columns[name] = meant(column, is_number=name in wanted.numbers)
    return Table(columns, table.names, {}, table.rows)


def _spelt(names: Iterable[str], wanted: Iterable[str]) -> set[str]:
    there = tuple(names)
    return {_place(name, there) for name in wanted}


def _place(name: str, names: tuple[str, ...]) -> str:
    """Return the column that holds a name: elements of vectors are columns of their own here."""
    base, index = element_of(name) or (name, 0)
    return name if name in names or base == name else f"{base}_{index}" if index else base
