"""Boxes of whole objects and the grid that they lie in: which cells are marked, and few boxes that hold just these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aggrade.commit.documents import grid_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from aggrade.commit.documents import Bounds, Document
    from aggrade.rechunking.grids import Shape

__all__ = ["boxes_of", "cells_in", "in_items", "marked_boxes"]


def in_items(box: Bounds, unit: Shape, shape: Shape) -> Bounds:
    """Return a box of cells as a box of items, cut at the array's end.

    Parameters
    ----------
    box
        Half-open, in cells.
    unit, shape
        Of a cell and of the array.
    """
    return tuple(
        (start * step, min(stop * step, size))
        for (start, stop), step, size in zip(box, unit, shape, strict=True)
    )


def marked_boxes(cells: NDArray[np.bool_], document: Document, within: Bounds) -> Iterator[Bounds]:
    """Yield boxes of items that hold every object that is marked and lies in a box of whole objects, and no other.

    Parameters
    ----------
    cells
        A truth value for each object of the array.
    document
        The array's.
    within
        In items.
    """
    unit, shape = unit_of(document), tuple(document["shape"])
    region = _region(within, unit)
    for box in boxes_of(cells[region]):
        moved = tuple(
            (start + part.start, stop + part.start) for (start, stop), part in zip(box, region, strict=True)
        )
        yield in_items(moved, unit, shape)


def cells_in(document: Document, boxes: Iterable[Bounds]) -> NDArray[np.bool_]:
    """Return which objects of an array lie in boxes of whole objects: a truth value for each, of the grid's shape."""
    cells = np.zeros(grid_of(document), bool)
    for box in boxes:
        cells[_region(box, unit_of(document))] = True
    return cells


def _region(box: Bounds, unit: Shape) -> tuple[slice, ...]:
    return tuple(
        slice(start // step, -(-stop // step)) for (start, stop), step in zip(box, unit, strict=True)
    )


def boxes_of(cells: NDArray[np.bool_]) -> Iterator[Bounds]:
    """Yield boxes that hold every cell that is marked once, and no other; few where they lie together.

    >>> list(boxes_of(np.array([[True, True], [True, True], [False, True]])))
    [((0, 2), (0, 2)), ((2, 3), (1, 2))]
    """
    left = cells.copy()
    if not left.ndim:
        yield from [()] if left else []
        return
    while left.any():
        corner = np.unravel_index(int(left.argmax()), left.shape)
        box = [(int(start), int(start) + 1) for start in corner]
        for axis in reversed(range(left.ndim)):
            box[axis] = (box[axis][0], _reach(left, box, axis))
        yield tuple(box)
        left[tuple(slice(*pair) for pair in box)] = False


def _reach(cells: NDArray[np.bool_], box: list[tuple[int, int]], axis: int) -> int:
    """Return how far a box can be made longer along an axis over marked cells alone."""
    start = box[axis][0]
    ahead = cells[tuple(slice(start, None) if at == axis else slice(*pair) for at, pair in enumerate(box))]
    others = tuple(at for at in range(cells.ndim) if at != axis)
    whole = ahead.all(axis=others)
    return start + (len(whole) if whole.all() else int(whole.argmin()))
