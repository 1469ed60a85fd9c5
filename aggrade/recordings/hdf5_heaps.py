"""Heaps of texts in an HDF5 file, looked over before the library of HDF5 reads them.

Texts of variable length lie in global heap collections (HDF5 File Format Specification 3.0, III.E). The library walks
over the objects of a collection by their sizes: one that has none keeps it there for ever, and one that is larger
than its collection leads it out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["demand_sound_heaps"]

_SIGNATURE = b"GCOL\x01"
_HEADER = 16
_SMALLEST = 4096
_BLOCK = 16 << 20


def demand_sound_heaps(path: Path, name: str) -> None:
    """Raise if the library of HDF5 would not find its way through a heap of the file.

    Parameters
    ----------
    path
        The file.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        With the place of the heap.
    """
    with path.open("rb") as file:
        for place in _places(file):
            fault = _fault(file, place)
            if fault is not None:
                found, fix = (
                    f"{fault} in the heap at byte {place}",
                    "copy the recording again, or export it anew",
                )
                raise BadInput(Problem(name, found, "a whole HDF5 file", fix, "unreadable"))


def _places(file: BinaryIO) -> Iterator[int]:
    """Yield where a heap might begin."""
    start, held = 0, b""
    while block := file.read(_BLOCK):
        held += block
        found = held.find(_SIGNATURE)
        while found >= 0:
            after = file.tell()
            yield start + found
            file.seek(after)
            found = held.find(_SIGNATURE, found + 1)
        kept = held[-len(_SIGNATURE) + 1 :]
        start, held = start + len(held) - len(kept), kept


def _fault(file: BinaryIO, place: int) -> str | None:
    """Return what is wrong with the objects of a heap; None if nothing is, or if this is no heap after all."""
    file.seek(place + 8)
    size = int.from_bytes(file.read(8), "little")
    end = file.seek(0, 2) - place
    if not _SMALLEST <= size <= end:
        return None
    file.seek(place)
    heap, at = file.read(size), _HEADER
    while at + _HEADER <= size:
        index = int.from_bytes(heap[at : at + 2], "little")
        length = int.from_bytes(heap[at + 8 : at + 16], "little")
        taken = _HEADER + -(-length // 8) * 8 if index else length
        if taken < _HEADER or at + taken > size:
            return f"an object of {length} bytes"
        at += taken
    return None
