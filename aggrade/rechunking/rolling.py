"""Strips of pieces that share what they read: a window of the array rolls along one dimension.

Where target objects do not end where chunks of the source do, neighbouring pieces hold parts of the same chunks. Pieces
of one *strip* are carried out one behind the other: what was read beyond the end of a piece is kept for the next. Each
chunk is read and decoded once for the strip then, and the strip takes no more memory than its longest window.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import shape_of
from aggrade.rechunking.covering import choose_piece
from aggrade.rechunking.grids import inner_of, native_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.commit.documents import Bounds, Document
    from aggrade.rechunking.grids import Shape

__all__ = ["Rolling", "Window", "choose_rolling", "longest_window", "strip_length"]

_EXTRA_READS = 10
"""A strip's end may cost one read in so many."""


class Rolling(BaseModel):
    """How an array is cut into strips, and these into pieces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axis: int = Field(description="Dimension along which pieces follow each other.")
    piece: tuple[int, ...] = Field(description="Shape of a piece in items.")
    strip: tuple[int, ...] = Field(description="Shape of the pieces of a strip together.")
    window: tuple[int, ...] = Field(description="Shape of what is in memory at most.")


class _Axis(NamedTuple):
    """One dimension that a window rolls along: length of the array, of a source chunk."""

    size: int
    chunk: int

    def extent(self, piece: int) -> int:
        return longest_window(self.size, piece, self.chunk)

    def strip(self, piece: int) -> int:
        return strip_length(self.size, piece, self.chunk)


def longest_window(size: int, piece: int, chunk: int) -> int:
    """Return how long the window is at most that begins with a piece and ends with a chunk.

    Parameters
    ----------
    size, piece, chunk
        Lengths of the array, of a piece and of a source chunk along the dimension.

    >>> longest_window(20, 4, 6)  # 0:6, 4:12, 8:12, 12:18, 16:20
    8
    """
    starts = np.arange(0, min(size, math.lcm(piece, chunk)), piece)
    stops = np.minimum(-(-(starts + piece) // chunk) * chunk, size)
    return int((stops - starts).max(initial=0))


def strip_length(size: int, piece: int, chunk: int) -> int:
    """Return how long strips are: no longer than it takes for their ends to cost at most a tenth of the reads.

    Parameters
    ----------
    size, piece, chunk
        As for `longest_window`.

    >>> strip_length(200_000, 16_000, 50_000), strip_length(2_000_000, 16_000, 50_000)
    (208000, 400000)
    """
    count = 1 + -(-size // chunk) // _EXTRA_READS
    return min(-(-size // (count * piece)) * piece, math.lcm(piece, chunk))


def choose_rolling(
    shape: Shape, target: Shape, source: Shape, most: int, enough: int
) -> tuple[Rolling, int] | None:
    """Return the strips that read the source least often, and how often a chunk is read in all.

    Parameters
    ----------
    shape, target, source, most, enough
        As `aggrade.rechunking.covering.choose_piece` takes them; `most` bounds the window.

    Returns
    -------
    tuple or None
        None if no window of a piece and the chunks it touches fits.
    """
    found = []
    for axis, size in enumerate(shape):
        along = _Axis(size, source[axis])
        chosen = choose_piece(shape, target, source, most, enough, rolled={axis: (along.extent, along.strip)})
        if chosen is not None:
            strip = _with(chosen.shape, axis, along.strip(chosen.shape[axis]))
            window = _with(chosen.shape, axis, along.extent(chosen.shape[axis]))
            rolling = Rolling(axis=axis, piece=chosen.shape, strip=strip, window=window)
            found.append((rolling, chosen.reads))
    return min(found, key=lambda one: one[1], default=None)


def _with(shape: Shape, axis: int, length: int) -> Shape:
    return (*shape[:axis], length, *shape[axis + 1 :])


class Window:
    """What a strip has in memory: read, and not written yet."""

    def __init__(self) -> None:
        self._held: Bounds | None = None
        self._buffer: np.ndarray[Any, Any] = np.empty(0)

    def values(
        self, box: Bounds, document: Document, rolling: Rolling, read: Callable[[Bounds, Any], None]
    ) -> np.ndarray[Any, Any]:
        """Return what a piece holds, a view that is valid until the next call.

        Parameters
        ----------
        box
            The piece's.
        document
            Of the array in the source.
        rolling
            How it is cut; the same for all pieces that come one behind the other.
        read
            Fills an array with a box of the source.
        """
        axis, (start, stop) = rolling.axis, box[rolling.axis]
        size, chunk = shape_of(document)[axis], inner_of(document)[axis]
        first, last = self._going_on(box, axis)
        if first == last:
            self._empty(box, axis, document, min(rolling.window[axis], size - start))
        if stop > last:
            self._held = None
            self._part(axis, 0, last - start)[...] = self._part(axis, start - first, last - first)
            end = min(-(-stop // chunk) * chunk, size)
            read(_placed(box, axis, (last, end)), self._part(axis, last - start, end - start))
            first, last = start, end
        self._held = _placed(box, axis, (first, last))
        return self._part(axis, start - first, stop - first)

    def _going_on(self, box: Bounds, axis: int) -> tuple[int, int]:
        """Return what is held along the dimension; nothing where the piece does not go on there."""
        start = box[axis][0]
        if self._held is not None and _placed(self._held, axis, box[axis]) == box:
            first, last = self._held[axis]
            if first <= start < last:
                return first, last
        return start, start

    def _empty(self, box: Bounds, axis: int, document: Document, length: int) -> None:
        """Have an array in which nothing is held."""
        shape = tuple(high - low for low, high in _placed(box, axis, (0, length)))
        if self._buffer.shape != shape:
            self._buffer = np.empty(0)
            self._buffer = np.empty(shape, native_dtype(document))

    def _part(self, axis: int, start: int, stop: int) -> np.ndarray[Any, Any]:
        part: np.ndarray[Any, Any] = self._buffer[(slice(None),) * axis + (slice(start, stop),)]
        return part


def _placed(bounds: Bounds, axis: int, pair: tuple[int, int]) -> Bounds:
    return (*bounds[:axis], pair, *bounds[axis + 1 :])
