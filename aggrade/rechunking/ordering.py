"""The order in which a copy has the objects of its source: those that were added later are sorted in.

Objects of a cube lie in the order of their HEALPix index, then of their id, and those that a later epoch added follow,
sorted likewise (DESIGN §6). A copy has all of them in one order, so that a region of the sky is few chunks again.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import dims_of, shape_of
from aggrade.rechunking.covering import parts, parts_within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from aggrade.commit.documents import Bounds, Document
    from aggrade.rechunking.grids import Shape

__all__ = ["Order", "axis_of", "digest_of", "is_cube", "order_of", "parts_of_box", "parts_of_pieces"]

_CUBE = {"lightcurves", "status", "object", "healpix"}


@dataclass(frozen=True, eq=False)
class Order:
    """Which item of the source each item of the copy is, along one dimension.

    Parameters
    ----------
    dim
        The dimension.
    rows
        (item of the copy,) int64: item of the source, each once.
    """

    dim: str
    rows: NDArray[np.int64]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the steps between neighbours, most of which are 1: every task gets it."""
        return _unpacked, (self.dim, zlib.compress(np.diff(self.rows, prepend=0).tobytes(), 1))

    @cached_property
    def digest(self) -> str:
        """Digest of it all."""
        return hashlib.sha256(self.dim.encode() + self.rows.astype("<i8").tobytes()).hexdigest()

    @cached_property
    def moved(self) -> int:
        """How many items lie elsewhere in the copy."""
        return int((self.rows != np.arange(len(self.rows))).sum())

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        places = np.empty_like(self.rows)
        places[self.rows] = np.arange(len(self.rows))
        return places

    def cells(self, start: int, stop: int, unit: int) -> NDArray[np.int64]:
        """Return which objects of the copy, `unit` items long, hold the items from `start` to `stop` of the source."""
        return np.unique(self._places[start:stop] // unit)

    def parts(self, start: int, stop: int, *steps: int) -> int:
        """Return into how many parts the multiples of all steps cut what the items `start` to `stop` of the copy are.

        >>> Order("object", np.array([0, 4, 1, 2, 3])).parts(0, 2, 3)  # items 0 and 4 of the source
        2
        """
        rows = self.rows[start:stop]
        if len(steps) == 1:
            return len(np.unique(rows // steps[0]))
        return np.unique(np.stack([rows // step for step in steps]), axis=1).shape[1] if len(rows) else 0


def _unpacked(dim: str, steps: bytes) -> Order:
    return Order(dim, np.cumsum(np.frombuffer(zlib.decompress(steps), np.int64)))


def axis_of(order: Order | None, document: Document) -> int | None:
    """Return which dimension of an array an order concerns; None if there is none."""
    dims = dims_of(document)
    return dims.index(order.dim) if order and order.dim in dims else None


def digest_of(order: Order | None) -> str:
    """Return the digest of an order; an empty one if it is the source's own."""
    return order.digest if order else ""


def is_cube(documents: Mapping[str, Document]) -> bool:
    """Tell whether arrays are those of a cube, whose objects have an order."""
    return documents.keys() >= _CUBE and all(
        dims_of(documents[name]) == ("object",) for name in ("object", "healpix")
    )


def order_of(healpix: NDArray[Any], ids: Callable[[], NDArray[Any]]) -> Order | None:
    """Return the order of objects by HEALPix index, then by id; None if that is the order in which they lie.

    Parameters
    ----------
    healpix
        (object,) integers.
    ids
        Returns (object,) integers or text, each once; called where the index alone does not tell.
    """
    if not (np.diff(healpix) <= 0).any():
        return None
    names = ids()
    order = np.lexsort([names if names.dtype.kind in "iu" else np.array(names.tolist(), str), healpix])
    found = Order("object", order.astype(np.int64))
    return found if found.moved else None


def parts_of_box(document: Document, order: Order | None, box: Bounds, *steps: Shape) -> int:
    """Return into how many parts the multiples of all steps cut what a box of the copy is in the source.

    Parameters
    ----------
    document
        The array's document.
    order
        In which order the copy has it; None where it has the source's.
    box
        Of the copy, in items.
    *steps
        Lengths along each dimension.
    """
    ordered = axis_of(order, document)
    return math.prod(
        order.parts(*pair, *sizes) if order and axis == ordered else parts_within(*pair, *sizes)
        for axis, (pair, *sizes) in enumerate(zip(box, *steps, strict=True))
    )


def parts_of_pieces(document: Document, order: Order | None, piece: Shape, *steps: Shape) -> int:
    """Return the sum of `parts_of_box` over the pieces that an array is cut into.

    Parameters
    ----------
    document, order, *steps
        As for `parts_of_box`.
    piece
        Shape of a piece.
    """
    ordered = axis_of(order, document)

    def along(axis: int, size: int, length: int, *sizes: int) -> int:
        if order is None or axis != ordered:
            return parts(size, length, *sizes)
        return sum(order.parts(start, start + length, *sizes) for start in range(0, size, length))

    sizes = zip(shape_of(document), piece, *steps, strict=True)
    return math.prod(along(axis, *each) for axis, each in enumerate(sizes))
