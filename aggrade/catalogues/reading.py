"""From a file's bytes to a `Table`. A new format is a reader and a line in `FORMATS`."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from aggrade.catalogues.arrow_tables import read_csv, read_parquet
from aggrade.catalogues.ecsv_tables import read_ecsv
from aggrade.catalogues.fits_tables import read_fits
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.catalogues.tables import Table, Wanted

__all__ = ["FORMATS", "Format", "format_of", "is_catalogue", "read_table"]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a table.

    Parameters
    ----------
    name
        As people call it.
    endings
        Endings of file names, in lower case.
    read
        Makes a `Table` of a whole file's bytes; whatever it raises is an error of the file.
    is_text
        Whether every line must end, the last one too: a number cut short is still a number.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[bytes, Wanted], Table]
    is_text: bool = False


FORMATS = (
    Format("FITS", (".fits", ".fit", ".fts", ".ldac", ".cat"), read_fits),
    Format("Parquet", (".parquet", ".pq"), read_parquet),
    Format("ECSV", (".ecsv",), read_ecsv, is_text=True),
    Format("CSV", (".csv", ".tsv"), read_csv, is_text=True),
)
_GZIP = b"\x1f\x8b"
_LIBRARY_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OSError,
    EOFError,
    OverflowError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    Warning,
    zlib.error,
    pa.ArrowException,
)


def format_of(name: str) -> Format | None:
    """Return the format that a file's name tells, gzipped or not; None if no format claims it."""
    plain = name.lower().removesuffix(".gz")
    return next((each for each in FORMATS if plain.endswith(each.endings)), None)


def is_catalogue(name: str) -> bool:
    """Tell whether a file's name is one of a known format."""
    return format_of(name) is not None


def read_table(data: bytes, name: str, wanted: Wanted) -> Table:
    """Read the wanted columns of one file.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name, which tells its format.
    wanted
        The columns; those that the file lacks are not in the result.

    Raises
    ------
    BadInput
        If no format claims the name, or the file is not what its name says.
    """
    chosen = format_of(name)
    if chosen is None:
        known = ", ".join(ending for each in FORMATS for ending in each.endings)
        raise BadInput(
            Problem(name, "no known ending", f"one of {known}", "convert it or leave it out", "format")
        )
    try:
        return chosen.read(_whole(data, chosen), wanted)
    except _LIBRARY_ERRORS as error:
        found = f"{len(data):,} bytes that can't be read as {chosen.name} ({_sentence(error)})"
        raise BadInput(
            Problem(name, found, f"a whole {chosen.name} table", "deliver the file again", "unreadable")
        ) from error


def _whole(data: bytes, chosen: Format) -> bytes:
    plain = gzip.decompress(data) if data.startswith(_GZIP) else data
    if chosen.is_text and not plain.endswith(b"\n"):
        raise ValueError("the last line does not end: the file may be truncated")
    return plain


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
