"""Copying between one large box and many chunks, in blocks that stay in the processor's cache.

Where chunks are short along the box's fastest dimension (an epoch of 500), an item of the next chunk lies beside the
one of this, in the same line of the cache. Chunks are copied in groups, a block of items of all of them at a time, so
that a line is filled while it is at hand and not fetched from memory once for each chunk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from aggrade.rechunking.grids import Shape

__all__ = ["copy_chunks", "fastest_axis", "group_length"]

Region = tuple[slice, ...]

_RUN_BYTES = 128
_BLOCK_BYTES = 128 << 10


def fastest_axis(shape: Shape) -> int:
    """Return the last dimension that is longer than 1; 0 if there is none.

    >>> fastest_axis((10, 5, 1))
    1
    """
    return max((axis for axis, size in enumerate(shape) if size > 1), default=0)


def group_length(chunk: Shape, box: Shape, item_bytes: int) -> int:
    """Return how many chunks along the box's fastest dimension are copied together.

    >>> group_length((50_000, 1), (50_000, 500), 4)
    32
    """
    if not chunk:
        return 1
    axis = fastest_axis(box)
    wanted = -(-_RUN_BYTES // (item_bytes * chunk[axis]))
    return max(1, min(wanted, -(-box[axis] // chunk[axis])))


def copy_chunks(
    box: np.ndarray[Any, Any], chunks: Sequence[tuple[Region, np.ndarray[Any, Any]]], *, into_box: bool
) -> None:
    """Copy chunks into a box, or a box into chunks.

    Parameters
    ----------
    box
        The large array.
    chunks
        For each chunk its place in the box and its values, of the same shape: one chunk, or neighbours along the
        box's fastest dimension that agree in all others.
    into_box
        Whether the box receives.
    """
    if not chunks:
        return
    for block in _blocks(chunks[0][1].shape, len(chunks), box):
        for region, values in chunks:
            if into_box:
                box[region][block] = values[block]
            else:
                values[block] = box[region][block]


def _blocks(shape: Shape, count: int, box: np.ndarray[Any, Any]) -> Iterator[Region]:
    """Yield slices that cut chunks into blocks along their longest dimension other than the box's fastest."""
    others = [axis for axis in range(len(shape)) if axis != fastest_axis(box.shape)]
    if count == 1 or not others:
        yield ()
        return
    longest = max(others, key=lambda axis: shape[axis])
    across = count * math.prod(shape) // max(1, shape[longest]) * box.itemsize
    step = max(1, _BLOCK_BYTES // max(1, across))
    for start in range(0, shape[longest], step):
        yield (*(slice(None),) * longest, slice(start, start + step))
