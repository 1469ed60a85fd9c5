"""FITS: the first table of the file; in FITS_LDAC the table called LDAC_OBJECTS.

The file is cut into its parts by their headers first (FITS standard 4.0, §3 and §4.4.1), so that a truncated
file is recognised by its length and only the table is handed to astropy.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from aggrade.catalogues.tables import Column, Table, Wanted, text_column

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_fits"]

_BLOCK = 2880
_TABLES = {"BINTABLE": fits.BinTableHDU, "TABLE": fits.TableHDU}


def read_fits(data: bytes, wanted: Wanted) -> Table:
    """Read the wanted columns of the table of a FITS file.

    Raises
    ------
    ValueError
        If the file is truncated, no FITS file, or holds no table.
    """
    parts = list(_parts(data))
    header, start, stop = _table_of(parts)
    hdu = _TABLES[header["XTENSION"].strip()].fromstring(data[start:stop])
    there = set(hdu.columns.names)
    columns = {name: _column(hdu, name) for name in wanted.names if name in there}
    return Table(columns, tuple(hdu.columns.names), _keys(parts, header, data), int(header["NAXIS2"]))


def _parts(data: bytes) -> Iterator[tuple[fits.Header, int, int]]:
    """Yield header, first byte and end of every part, padding included."""
    start = 0
    while start < len(data):
        if start and not data.startswith(b"XTENSION", start):
            return
        if not start and not data.startswith(b"SIMPLE  ="):
            raise ValueError("no FITS file: it does not begin with SIMPLE")
        stream = io.BytesIO(data[start:])
        header = fits.Header.fromfile(stream, endcard=True)
        body = start + stream.tell()
        end = body + _size(header)
        stop = body + math.ceil((end - body) / _BLOCK) * _BLOCK
        if stop > len(data):
            raise ValueError(f"truncated: {len(data):,} bytes of at least {stop:,}")
        yield header, start, stop
        start = stop


def _size(header: fits.Header) -> int:
    axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
    groups = bool(header.get("GROUPS", False)) and axes[:1] == [0]
    elements = math.prod(axes[1:] if groups else axes) if axes else 0
    return (
        abs(int(header["BITPIX"]))
        // 8
        * int(header.get("GCOUNT", 1))
        * (int(header.get("PCOUNT", 0)) + elements)
    )


def _table_of(parts: list[tuple[fits.Header, int, int]]) -> tuple[fits.Header, int, int]:
    tables = [part for part in parts if str(part[0].get("XTENSION", "")).strip() in _TABLES]
    named = [part for part in tables if part[0].get("EXTNAME") == "LDAC_OBJECTS"]
    if len(named) > 1:
        raise ValueError(f"{len(named)} tables called LDAC_OBJECTS; split the file into one per detector")
    if not tables:
        kinds = [str(part[0].get("XTENSION", "PRIMARY")).strip() for part in parts]
        raise ValueError(f"no table, only {', '.join(kinds)}")
    return (named or tables)[0]


def _column(hdu: Any, name: str) -> Column:
    described = hdu.columns[name]
    values = np.asarray(hdu.data[name])
    unit = described.unit or None
    nothing = np.zeros(len(values), bool)
    if values.dtype.kind in "SU":
        return text_column(
            np.strings.decode(values, "ascii") if values.dtype.kind == "S" else values, nothing, unit
        )
    if values.dtype.kind == "f":
        return (
            Column.whole(values.astype(values.dtype.newbyteorder("=")), unit)
            if values.ndim == 1
            else Column(values, nothing, unit)
        )
    if described.null is not None and values.ndim == 1:
        nothing = values == described.null
    return Column(values.astype(values.dtype.newbyteorder("=")), nothing, unit)


def _keys(parts: list[tuple[fits.Header, int, int]], header: fits.Header, data: bytes) -> dict[str, Any]:
    """Return the keys of the primary header, of the image that an LDAC table came from, and of the table."""
    keys: dict[str, Any] = {}
    for each, start, stop in parts:
        if each is header:
            break
        keys |= _plain(each if start == 0 else fits.Header())
        if each.get("EXTNAME") == "LDAC_IMHEAD":
            cards = np.asarray(fits.BinTableHDU.fromstring(data[start:stop]).data.field(0)).ravel()
            keys |= _plain(fits.Header.fromstring("".join(str(card).ljust(80) for card in cards)))
    return keys | _plain(header)


def _plain(header: fits.Header) -> dict[str, Any]:
    return {key: header[key] for key in header if key and key not in ("COMMENT", "HISTORY")}
