"""FITS: every table of the file; in FITS_LDAC those called LDAC_OBJECTS.

The file is cut into its parts by their headers first (FITS standard 4.0, §3 and §4.4.1), so that a truncated
file is recognised by its length and only the table is handed to astropy.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from aggrade.catalogues.spec import TIME_SCALES
from aggrade.catalogues.tables import (
    Column,
    Table,
    TimeSystem,
    Wanted,
    element_of,
    text_column,
    with_masks,
    without_masked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["read_fits"]

Part = tuple[fits.Header, int, int]

_BLOCK = 2880
_JD_OF_MJD_0 = 2400000.5
_TABLES = {"BINTABLE": fits.BinTableHDU, "TABLE": fits.TableHDU}


def read_fits(data: bytes, wanted: Wanted) -> tuple[Table, ...]:
    """Read the wanted columns of every table of a FITS file.

    Raises
    ------
    ValueError
        If the file is truncated, no FITS file, or holds no table.
    """
    parts = list(_parts(data))
    return tuple(_table(parts, part, data, wanted) for part in _tables_of(parts))


def _table(parts: list[Part], part: Part, data: bytes, wanted: Wanted) -> Table:
    header, start, stop = part
    hdu = _TABLES[header["XTENSION"].strip()].fromstring(data[start:stop], uint=True)
    names = tuple(hdu.columns.names)
    if doubled := sorted(name for name in wanted.names if names.count(name) > 1):
        raise ValueError(f"several columns called {', '.join(doubled)}")
    more = with_masks(wanted).names
    columns = {name: each for name in more if (each := _named(hdu, name)) is not None}
    read = Table(columns, names, _keys(parts, part, data), int(header["NAXIS2"]))
    return without_masked(read, wanted)


def _parts(data: bytes) -> Iterator[Part]:
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


def _tables_of(parts: list[Part]) -> list[Part]:
    tables = [part for part in parts if _kind(part[0]) in _TABLES]
    named = [part for part in tables if part[0].get("EXTNAME") == "LDAC_OBJECTS"]
    if not tables:
        raise ValueError(f"no table, only {', '.join(_kind(part[0]) for part in parts)}")
    return named or tables


def _kind(header: fits.Header) -> str:
    """Return what a part is; images and tables that were compressed into tables are what they were."""
    packed = {"ZIMAGE": "compressed IMAGE", "ZTABLE": "compressed TABLE"}
    told = str(header.get("XTENSION", "PRIMARY")).strip()
    return next((kind for key, kind in packed.items() if header.get(key) is True), told)


def _named(hdu: Any, name: str) -> Column | None:
    """Return a column, or an element of a column of vectors; None if the table has neither."""
    names = hdu.columns.names
    if name in names:
        return _column(hdu, name, np.asarray(hdu.data[name]))
    base, index = element_of(name) or (name, 0)
    if base not in names:
        return None
    vectors = np.asarray(hdu.data[base])
    return _column(hdu, base, vectors[:, index]) if vectors.ndim == 2 and index < vectors.shape[1] else None


def _column(hdu: Any, name: str, values: NDArray[Any]) -> Column:
    described = hdu.columns[name]
    unit = described.unit or None
    nothing = np.zeros(len(values), bool)
    if values.dtype.kind in "SU":
        return text_column(
            np.strings.decode(values, "ascii") if values.dtype.kind == "S" else values, nothing, unit
        )
    if values.shape[1:] == (2,) and (scale := str(described.coord_type or "").lower()) in TIME_SCALES:
        return _times(values, scale, described.time_ref_pos)
    if values.dtype.kind == "f":
        return (
            Column.whole(values.astype(values.dtype.newbyteorder("=")), unit)
            if values.ndim == 1
            else Column(values, nothing, unit)
        )
    if described.null is not None and values.ndim == 1:
        nothing = values == described.null
    return Column(values.astype(values.dtype.newbyteorder("=")), nothing, unit)


def _times(parts: NDArray[Any], scale: str, place: str | None) -> Column:
    """Return times that are kept as JD in two parts (FITS standard 4.0, §9.2.2) as MJD."""
    days = (parts[:, 0].astype(np.float64) - _JD_OF_MJD_0) + parts[:, 1]
    system = TimeSystem(scale, _JD_OF_MJD_0, place.lower() if place else None)
    return Column(days, np.isnan(days), "d", system)


def _keys(parts: list[Part], part: Part, data: bytes) -> dict[str, Any]:
    """Return the keys of the primary header, of the image that an LDAC table came from, and of the table."""
    before = parts[: parts.index(part)]
    keys = _plain(before[0][0]) if before else {}
    images = [each for each in before if each[0].get("EXTNAME") == "LDAC_IMHEAD"]
    for _, start, stop in images[-1:]:
        cards = np.asarray(fits.BinTableHDU.fromstring(data[start:stop]).data.field(0)).ravel()
        keys |= _plain(fits.Header.fromstring("".join(str(card).ljust(80) for card in cards)))
    return keys | _plain(part[0])


def _plain(header: fits.Header) -> dict[str, Any]:
    return {key: header[key] for key in header if key and key not in ("COMMENT", "HISTORY")}
