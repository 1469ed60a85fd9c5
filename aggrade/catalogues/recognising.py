"""What a table is written in, by its first bytes."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

__all__ = [
    "HEAD_BYTES",
    "Layout",
    "is_csv",
    "is_ecsv",
    "is_fits",
    "is_ipac",
    "is_parquet",
    "is_plain_text",
    "is_sextractor",
    "is_votable",
    "layout_of",
    "unpacked_head",
]

HEAD_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_AS_GZIP = 16 + zlib.MAX_WBITS
_BOM = b"\xef\xbb\xbf"
_VOTABLE = re.compile(rb"<(\w+:)?VOTABLE[\s>]")
_IPAC = re.compile(rb"(\\[^\n]*\n)*[ \t]*\|[^\n]*\|[ \t]*\r?\n(?![ \t]*\|[^\n]*[^A-Za-z \t|\r\n])")
_SEXTRACTOR = re.compile(rb"#\s+1\s+[A-Za-z]\w*[\s(]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_LINES_COMPARED = 20


def unpacked_head(head: bytes) -> bytes:
    """Return the first bytes of a file as they are when it is unzipped."""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(_AS_GZIP).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def is_fits(head: bytes) -> bool:
    """Tell whether it begins as FITS does (standard 4.0, §4.4.1.1)."""
    return head.startswith(b"SIMPLE  =")


def is_parquet(head: bytes) -> bool:
    """Tell whether it begins as Parquet does."""
    return head.startswith(b"PAR1")


def is_ecsv(head: bytes) -> bool:
    """Tell whether it begins as ECSV does (astropy APE 6)."""
    return head.removeprefix(_BOM).startswith(b"# %ECSV")


def is_votable(head: bytes) -> bool:
    """Tell whether its first element is a VOTABLE (IVOA VOTable 1.4, §3)."""
    return head.removeprefix(_BOM).lstrip().startswith(b"<") and _VOTABLE.search(head) is not None


def is_ipac(head: bytes) -> bool:
    """Tell whether keywords in lines of a backslash, if any, are followed by names and words for types between bars."""
    return _IPAC.match(head) is not None


def is_sextractor(head: bytes) -> bool:
    """Tell whether its first line describes column 1, as ASCII_HEAD catalogues of SExtractor do."""
    return _SEXTRACTOR.match(head) is not None


def is_csv(head: bytes) -> bool:
    """Tell whether a line of names is followed by lines of as many values between commas, semicolons or tabs."""
    layout = layout_of(head)
    return layout is not None and layout.separator in (",", ";", "\t") and not layout.commented


def is_plain_text(head: bytes) -> bool:
    """Tell whether names are followed by values between blanks or bars, or stand in a comment."""
    return layout_of(head) is not None and not is_csv(head)


class Layout(NamedTuple):
    """How a plain table of text is laid out.

    Parameters
    ----------
    separator
        What stands between values; None for any number of blanks.
    commented
        Whether the names stand in the last line that begins with ``#`` before the values.
    """

    separator: str | None
    commented: bool


def layout_of(head: bytes) -> Layout | None:
    r"""Return how a table of text is laid out, None if it is none.

    The names, none of them a number, must be followed by lines of as many values, at least two, and a number
    must be among the first of them.

    >>> layout_of(b"#MJD Mag Err\n48823.477 -6.051 0.758\n")
    Layout(separator=None, commented=True)
    """
    if b"\0" in head:
        return None
    whole = head.removeprefix(_BOM).rpartition(b"\n")[0].decode("utf-8", "replace")
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    values = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comments = lines[:values]
    rows = [line for line in lines[values:] if not line.startswith("#")][: _LINES_COMPARED + 1]
    for separator in (",", ";", "\t", "|", None):
        if comments and _fit(comments[-1].lstrip("#"), rows, separator):
            return Layout(separator, commented=True)
        if rows and _fit(rows[0], rows[1:], separator):
            return Layout(separator, commented=False)
    return None


def _fit(names: str, rows: list[str], separator: str | None) -> bool:
    """Tell whether names and values are equally many, and look like names and values."""
    told = [name.strip() for name in names.split(separator)]
    table = [[value.strip() for value in row.split(separator)] for row in rows]
    return (
        bool(table)
        and len(told) > 1
        and not any(map(_NUMBER.fullmatch, told))
        and any(map(_NUMBER.fullmatch, table[0]))
        and all(len(row) == len(told) for row in table)
    )
