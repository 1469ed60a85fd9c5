"""Copying between one large box and many chunks, in blocks that stay in the processor's cache.

Where chunks are short along the box's fastest dimension (an epoch of 500), an item of the next chunk lies beside the
one of this, in the same line of the cache. Chunks are copied in groups, a block of items of all of them by one call, so
that a line is filled while it is at hand and not fetched from memory once for each chunk. One call, since between two
calls NumPy hands the interpreter to another thread, which costs more than the copying where calls are short.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.rechunking.grids import Shape

__all__ = ["copy_stack", "fastest_axis", "group_length"]

Region = tuple[slice, ...]

_RUN_BYTES = 128
_BLOCK_BYTES = 256 << 10


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


def copy_stack(part: np.ndarray[Any, Any], stack: np.ndarray[Any, Any], axis: int, *, into_box: bool) -> None:
    """Copy chunks into a part of a box, or a part of a box into chunks.

    Parameters
    ----------
    part
        What the chunks hold of the box together.
    stack
        (chunk, …) the chunks, all of one shape.
    axis
        The dimension of the box along which they are neighbours.
    into_box
        Whether the box receives.
    """
    count, shape = len(stack), part.shape
    split = part.reshape(*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    chunks = np.moveaxis(stack, 0, axis)
    for block in _blocks(split, axis):
        if into_box:
            split[block] = chunks[block]
        else:
            chunks[block] = split[block]


def _blocks(split: np.ndarray[Any, Any], axis: int) -> Iterator[Region]:
    """Yield slices that cut chunks into blocks along their longest dimension other than the box's fastest."""
    others = [other for other in range(split.ndim) if other not in {axis, axis + 1}]
    if split.shape[axis] == 1 or not others:
        yield ()
        return
    longest = max(others, key=lambda other: split.shape[other])
    across = math.prod(split.shape) // max(1, split.shape[longest]) * split.itemsize
    step = max(1, _BLOCK_BYTES // max(1, across))
    for start in range(0, split.shape[longest], step):
        yield (*(slice(None),) * longest, slice(start, start + step))
