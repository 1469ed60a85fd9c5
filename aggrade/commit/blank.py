"""One object of which rows are taken away: what of it stays, and what becomes fill."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import dims_of, shape_of, unit_of
from aggrade.commit.salting import salted

if TYPE_CHECKING:
    from aggrade.commit.documents import Document
    from aggrade.commit.plan import Erasure

__all__ = ["Blank", "rows_in", "same_values"]

_log = logging.getLogger(__name__)


class Blank:
    """Makes of an object the same with some rows, and all beyond the array's shape, as fill.

    Parameters
    ----------
    document, index
        The array's document, and which of its objects.
    erasure
        The rows.
    generation
        The commit's, which what is made carries.

    Attributes
    ----------
    whole : bytes or None
        What it becomes whatever it holds, if nothing of it stays.
    """

    def __init__(self, document: Document, index: tuple[int, ...], erasure: Erasure, generation: int) -> None:
        self._document, self._generation = document, generation
        self._chunks = Chunks(document)
        self._fill = self._chunks.values(None)
        self._kept = np.ones(self._fill.shape, bool)
        for axis, (i, unit, size) in enumerate(
            zip(index, unit_of(document), shape_of(document), strict=True)
        ):
            self._drop(axis, [at for at in range(unit) if i * unit + at >= size])
        if rows := rows_in(document, index, erasure):
            self._drop(dims_of(document).index(erasure.dim), rows)
        self.whole = None if self._kept.any() else self._bytes_of(self._fill)

    def _drop(self, axis: int, places: list[int]) -> None:
        self._kept[(slice(None),) * axis + (places,)] = False

    def _bytes_of(self, values: np.ndarray[Any, Any]) -> bytes:
        return salted(self._document, self._chunks.bytes_of(values), self._generation)

    def can_read(self, data: bytes) -> bool:
        """Tell whether an object can be decoded."""
        try:
            self._chunks.values(data)
        except (RuntimeError, ValueError):
            return False
        return True

    def mended(self, data: bytes) -> bytes:
        """Return an object as it is, or fill if it can't be decoded."""
        return data if self.can_read(data) else self(data)

    def __call__(self, data: bytes) -> bytes:
        """Return what an object becomes; fill, if it can't be decoded."""
        try:
            before = self._chunks.values(data)
        except (RuntimeError, ValueError) as error:
            _log.warning("an object that can't be decoded becomes fill: %s", error)
            return self._bytes_of(self._fill)
        after = before.copy()
        after[~self._kept] = self._fill[~self._kept]
        return data if same_values(before, after) else self._bytes_of(after)


def rows_in(document: Document, index: tuple[int, ...], erasure: Erasure) -> list[int]:
    """Return where in an object the rows lie that are wiped out.

    Parameters
    ----------
    document, index, erasure
        As for `Blank`.
    """
    dims = dims_of(document)
    if erasure.dim not in dims:
        return []
    axis = dims.index(erasure.dim)
    start = index[axis] * unit_of(document)[axis]
    return [row - start for row in erasure.rows if start <= row < start + unit_of(document)[axis]]


def same_values(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Tell whether two arrays hold the same values, bit by bit where they are numbers.

    Parameters
    ----------
    one, other
        Of any shape and type; if these differ, so do the values.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "OT":
        return bool((one == other).all())
    return one.tobytes() == other.tobytes()
