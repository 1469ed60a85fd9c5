"""From a file's bytes to a `Table`. A new format is a reader and a line in `FORMATS`."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from aggrade.catalogues.arrow_tables import read_csv, read_parquet
from aggrade.catalogues.ascii_tables import read_ecsv, read_ipac, read_plain_text, read_sextractor
from aggrade.catalogues.fits_tables import read_fits
from aggrade.catalogues.recognising import (
    HEAD_BYTES,
    is_csv,
    is_ecsv,
    is_fits,
    is_ipac,
    is_parquet,
    is_plain_text,
    is_sextractor,
    is_votable,
    unpacked_head,
)
from aggrade.catalogues.tables import Table
from aggrade.catalogues.votable_tables import read_votable
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.catalogues.tables import Wanted

__all__ = ["FORMATS", "Format", "format_of", "is_catalogue", "read_table", "read_tables"]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a table.

    Parameters
    ----------
    name
        As people call it.
    endings
        Endings of file names, in lower case.
    recognises
        Whether the first bytes of a file, unzipped, are those of this format.
    read
        Makes one `Table` or several of a whole file's bytes; whatever it raises is an error of the file.
    is_text
        Whether every line must end, the last one too: a number cut short is still a number.
    """

    name: str
    endings: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    read: Callable[[bytes, Wanted], Table | tuple[Table, ...]]
    is_text: bool = False


FORMATS = (
    Format("FITS", (".fits", ".fit", ".fts", ".ldac", ".cat"), is_fits, read_fits),
    Format("Parquet", (".parquet", ".pq"), is_parquet, read_parquet),
    Format("VOTable", (".vot", ".votable"), is_votable, read_votable),
    Format("ECSV", (".ecsv",), is_ecsv, read_ecsv, is_text=True),
    Format("IPAC", (".ipac", ".tbl"), is_ipac, read_ipac, is_text=True),
    Format("SExtractor", (), is_sextractor, read_sextractor, is_text=True),
    Format("CSV", (".csv", ".tsv"), is_csv, read_csv, is_text=True),
    Format("plain text", (), is_plain_text, read_plain_text, is_text=True),
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


def format_of(name: str, head: bytes = b"") -> Format | None:
    """Return the format of a file: by its content, else by its ending; None if it is no catalogue.

    Parameters
    ----------
    name
        File name.
    head
        Its first `HEAD_BYTES` bytes, gzipped or not; without them the ending decides.
    """
    plain = unpacked_head(head)
    by_content = (each for each in FORMATS if plain and each.recognises(plain))
    by_ending = (each for each in FORMATS if each.endings and _plain_name(name).endswith(each.endings))
    return next(by_content, None) or next(by_ending, None)


def _plain_name(name: str) -> str:
    return name.lower().removesuffix(".gz")


def is_catalogue(name: str) -> bool:
    """Tell whether a file's name is one of a known format."""
    return format_of(name) is not None


def read_tables(data: bytes, name: str, wanted: Wanted) -> tuple[Table, ...]:
    """Read the wanted columns of one file, of each of its tables that has them.

    A table that has no more than half of the columns that another one has is something else, and left out.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name, which tells its format where its content doesn't.
    wanted
        The columns; those that a table lacks are not in the result.

    Raises
    ------
    BadInput
        If it is of no known format, or not whole.
    """
    chosen = format_of(name, data[:HEAD_BYTES])
    if chosen is None:
        known = ", ".join(f"{each.name} ({' '.join(each.endings) or 'any ending'})" for each in FORMATS)
        found = f"{len(data):,} bytes that begin like no known format, and no known ending"
        raise BadInput(Problem(name, found, f"one of {known}", "convert it or leave it out", "format"))
    try:
        return _wanted_of(chosen.read(_whole(data, chosen), wanted))
    except _LIBRARY_ERRORS as error:
        found = f"{len(data):,} bytes that can't be read as {chosen.name} ({_sentence(error)})"
        raise BadInput(
            Problem(name, found, f"a whole {chosen.name} table", "deliver the file again", "unreadable")
        ) from error


def _wanted_of(read: Table | tuple[Table, ...]) -> tuple[Table, ...]:
    tables = (read,) if isinstance(read, Table) else read
    most = max(len(table.columns) for table in tables)
    return tuple(table for table in tables if 2 * len(table.columns) > most) or tables[:1]


def read_table(data: bytes, name: str, wanted: Wanted) -> Table:
    """Read the wanted columns of a file that holds one table. The arguments are those of `read_tables`.

    Raises
    ------
    BadInput
        If it is of no known format, not whole, or holds several tables.
    """
    table, *others = read_tables(data, name, wanted)
    if others:
        found = f"{len(others) + 1} tables with the same columns"
        raise BadInput(Problem(name, found, "one table", "put them into one", "several-tables"))
    return table


def _whole(data: bytes, chosen: Format) -> bytes:
    plain = gzip.decompress(data) if data.startswith(_GZIP) else data
    if chosen.is_text and not plain.endswith(b"\n"):
        raise ValueError("the last line does not end: the file may be truncated")
    return plain


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
