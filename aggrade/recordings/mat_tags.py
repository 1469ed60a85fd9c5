"""The elements of a MATLAB file of version 5, walked before a library reads them.

Such a file has no end mark: one that was cut short between two variables looks whole, and within one it may not.
SciPy takes the type of an element for an index without a look, and a damaged one ends the process; so every
element of the variables that will be read is checked first. The format is described in MathWorks' *MAT-File
Format*.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["MAGIC", "check_elements", "starts_eeglab"]

MAGIC = b"MATLAB 5.0"
_HEADER, _TAG, _ENOUGH = 128, 8, 256
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18)
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _LAST_NUMERIC = 1, 2, 3, 4, 5, 15
_COMPLEX = 0x0800
_DEEPEST = 32


@dataclass(frozen=True)
class _Element:
    """The type of an element, and where its content and the next element begin."""

    kind: int
    begin: int
    stop: int
    next: int


@dataclass(frozen=True)
class _Elements:
    """Elements that lie one behind another; ``order`` is that of the bytes, as `struct` has it."""

    data: bytes | mmap.mmap
    order: str

    def at(self, place: int, limit: int) -> _Element:
        """Return the element at a place; what has up to four bytes is packed into its tag."""
        if place + _TAG > limit:
            raise ValueError(f"no element at byte {place}")
        kind, size = struct.unpack_from(self.order + "II", self.data, place)
        packed = kind >> 16
        if packed:
            return _Element(kind & 0xFFFF, place + 4, place + 4 + min(packed, 4), place + _TAG)
        stop = place + _TAG + size
        after = stop if kind == _COMPRESSED else stop + -size % _TAG
        if stop > limit:
            raise ValueError(f"an element at byte {place} that ends behind its variable")
        return _Element(kind, place + _TAG, stop, min(after, limit))

    def expect(self, place: int, limit: int, kinds: Collection[int]) -> _Element:
        """Return the element at a place, which has to be of one of the types."""
        element = self.at(place, limit)
        if element.kind not in kinds:
            raise ValueError(f"an element of type {element.kind} at byte {place}")
        return element

    def integers(self, element: _Element) -> tuple[int, ...]:
        """Return the content of an element of 32-bit integers."""
        count = (element.stop - element.begin) // 4
        return struct.unpack_from(f"{self.order}{count}i", self.data, element.begin)

    def name(self, matrix: _Element) -> bytes:
        """Return the name of a variable."""
        element = list(self._head(matrix))[2]
        return bytes(self.data[element.begin : element.stop])

    def check(self, matrix: _Element, depth: int = 0) -> None:
        """Check every element of a variable, and those of what it holds."""
        if depth > _DEEPEST:
            raise ValueError("variables nested too deep")
        flags, dims, name = self._head(matrix)
        word, lengths = self.integers(flags)[0], self.integers(dims)
        kind, place = word & 0xFF, name.next
        if min(lengths, default=-1) < 0:
            raise ValueError(f"a variable of lengths {lengths}")
        if kind in (_CELL, _STRUCT, _OBJECT):
            self._check_within(matrix, place, kind, prod(lengths), depth)
        elif kind in range(_CHAR, _LAST_NUMERIC + 1):
            parts = (2 if kind == _SPARSE else 0) + (2 if word & _COMPLEX else 1)
            for _ in range(parts):
                place = self.expect(place, matrix.stop, _NUMBERS).next

    def _head(self, matrix: _Element) -> Iterator[_Element]:
        place = matrix.begin
        for kind in (_UINT32, _INT32, _INT8):
            element = self.expect(place, matrix.stop, (kind,))
            if kind == _UINT32 and element.stop - element.begin != _TAG:
                raise ValueError(f"flags of another length at byte {place}")
            place = element.next
            yield element

    def _check_within(self, matrix: _Element, place: int, kind: int, count: int, depth: int) -> None:
        if kind == _OBJECT:
            place = self.expect(place, matrix.stop, (_INT8,)).next
        if kind != _CELL:
            length = self.expect(place, matrix.stop, (_INT32,))
            names = self.expect(length.next, matrix.stop, (_INT8,))
            [width] = self.integers(length)
            if width < 1:
                raise ValueError(f"names of length {width} at byte {place}")
            count, place = count * ((names.stop - names.begin) // width), names.next
        for _ in range(count):
            inner = self.expect(place, matrix.stop, (_MATRIX,))
            if inner.stop > inner.begin:
                self.check(inner, depth + 1)
            place = inner.next


def starts_eeglab(head: bytes) -> bool:
    """Tell an EEGLAB dataset by the first variable of a MATLAB file of version 5.

    Parameters
    ----------
    head
        The file's first bytes, some hundred.
    """
    if not head.startswith(MAGIC) or len(head) < _HEADER + _TAG:
        return False
    order = _order(head)
    content = head[_HEADER:]
    try:
        if struct.unpack_from(order + "I", content)[0] == _COMPRESSED:
            content = zlib.decompressobj().decompress(content[_TAG:], _ENOUGH)
        elements, element = _unpacked(content, order)
        return elements.name(element) in (b"EEG", b"setname")
    except (ValueError, zlib.error):
        return False


def check_elements(path: Path, name: str, wanted: Collection[str]) -> None:
    """Walk a file of version 5, and every element of the variables that are wanted.

    Parameters
    ----------
    path
        The file.
    name
        What it is reported by.
    wanted
        Names of variables.

    Raises
    ------
    BadInput
        If the file ends inside a variable.
    ValueError
        If an element is of no type or length that could stand there.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        elements, place = _Elements(data, _order(data[:_HEADER])), _HEADER
        while place < len(data):
            try:
                element = elements.at(place, len(data))
            except ValueError as error:
                raise _cut_short(name) from error
            _check(elements, element, wanted)
            place = element.next


def _check(elements: _Elements, element: _Element, wanted: Collection[str]) -> None:
    if element.kind == _COMPRESSED:
        packed = elements.data[element.begin : element.stop]
        elements, element = _unpacked(zlib.decompressobj().decompress(packed, _ENOUGH), elements.order)
        if elements.name(element).decode("latin-1") in wanted:
            elements, element = _unpacked(zlib.decompress(packed), elements.order)
            elements.check(elements.expect(0, len(elements.data), (_MATRIX,)))
    elif element.kind != _MATRIX:
        raise ValueError(f"an element of type {element.kind} where a variable is due")
    elif elements.name(element).decode("latin-1") in wanted:
        elements.check(element)


def _unpacked(content: bytes, order: str) -> tuple[_Elements, _Element]:
    """Return what was compressed, and the variable in it, which may go on behind what is there."""
    return _Elements(content, order), _Element(_MATRIX, _TAG, len(content), len(content))


def _cut_short(name: str) -> BadInput:
    found, expected = "a file that ends inside a variable", "the rest of it: the file was cut short"
    return BadInput(Problem(name, found, expected, "copy the file again from where it was made", "truncated"))


def _order(head: bytes) -> str:
    return ">" if head[126:128] == b"MI" else "<"
