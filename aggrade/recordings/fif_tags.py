"""Whether a FIF file is whole: its tags follow one another to the last, and every block that begins ends.

MNE reads as far as tags go, so a file that was cut short is a shorter recording to it. The format is that of the
"Functional Image File Format" (Elekta Neuromag, NM20564A): each tag is four big-endian 32-bit integers (kind, type,
size in bytes, where the next one lies: 0 right behind it, -1 nowhere) and its data.
"""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gzip import GzipFile
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["follows_another", "tag_problem"]

_HEADER = struct.Struct(">iIii")
_BEGINS, _ENDS = 104, 105
_ROLE, _PREVIOUS = 115, 1
_LAST = -1
_MOST_TAGS = 10_000


def tag_problem(path: Path) -> str:
    """Return what is wrong with the tags of a file, nothing if it is whole.

    Parameters
    ----------
    path
        The file, compressed by gzip or not.
    """
    with _opened(path) as file:
        size = file.seek(0, 2)
        return _followed(file, size)


def follows_another(path: Path) -> bool:
    """Tell whether a whole file is a part of a recording and names one that comes before it.

    Parameters
    ----------
    path
        The file, compressed by gzip or not.
    """
    with _opened(path) as file:
        place = 0
        for _ in range(_MOST_TAGS):
            file.seek(place)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return False
            kind, _, length, following = _HEADER.unpack(header)
            if kind == _ROLE and file.read(4) == struct.pack(">i", _PREVIOUS):
                return True
            if following < 0:
                return False
            place = following or place + _HEADER.size + length
    return False


def _opened(path: Path) -> BinaryIO | GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _followed(file: BinaryIO | GzipFile, size: int) -> str:
    place, open_blocks = 0, 0
    while place < size:
        file.seek(place)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return f"the file ends within the header of a tag, at byte {size:,}"
        kind, _, length, following = _HEADER.unpack(header)
        behind = place + _HEADER.size + length
        if kind <= 0 or length < 0 or behind > size:
            return f"a tag at byte {place:,} that can't be (kind {kind}, {length:,} bytes of {size:,})"
        open_blocks += (kind == _BEGINS) - (kind == _ENDS)
        if following == _LAST or 0 < following < behind:
            break
        place = following or behind
    return "" if open_blocks == 0 else f"{open_blocks} blocks that begin and don't end: it was cut short"
