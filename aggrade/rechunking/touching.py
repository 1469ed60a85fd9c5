"""Which objects of a target a change of its source touches. Pure arithmetic on shapes, keys and marks.

An object stays as it is if all that it holds was there before, in chunks of the source that bear the marks they bore
then, and if it still bears the mark that it was written with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import Bounds, grid_of, index_of, key_of, shape_of, unit_of
from aggrade.rechunking.boxing import boxes_of, in_items
from aggrade.rechunking.grids import blocks, largest_block
from aggrade.rechunking.ordering import axis_of, digest_of
from aggrade.rechunking.tracing import form_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from aggrade.commit.documents import Document
    from aggrade.rechunking.ordering import Order
    from aggrade.rechunking.tracing import Marks, Trace

__all__ = ["Served", "kept_boxes", "touched_cells"]

_NOT_ITS_FORM = {"shape", "attributes", "chunk_key_encoding"}
_TOGETHER = 256
"""Objects that are kept by one piece of work."""


@dataclass(frozen=True)
class Served:
    """The version that a target serves, and what is known of how it was made.

    Parameters
    ----------
    documents
        Its array documents.
    trace
        What it was made of.
    marks
        Of its objects, as they lie there now.
    """

    documents: Mapping[str, Document]
    trace: Trace
    marks: Marks


def kept_boxes(
    served: Served,
    sources: Mapping[str, Document],
    marks: Marks,
    wanted: Mapping[str, Document],
    order: Order | None = None,
) -> dict[str, tuple[Bounds, ...]]:
    """Return, for each array, boxes of whole objects that the next version has in common with the one served.

    Parameters
    ----------
    served
        The version that is served.
    sources
        Array documents of the source.
    marks
        Of the source's objects, as they lie there now.
    wanted
        Array documents of the next version.
    order
        In which order it has the source's items; None where it has the same.
    """
    kept = {
        name: tuple(
            _in_items(~touched_cells(served, name, sources[name], marks[name], document, order), document)
        )
        for name, document in wanted.items()
    }
    return {name: boxes for name, boxes in kept.items() if boxes}


def touched_cells(
    served: Served,
    name: str,
    source: Document,
    marks: Mapping[str, str],
    wanted: Document,
    order: Order | None = None,
) -> NDArray[np.bool_]:
    """Return which objects of one array have to be made anew: a truth value for each, of the grid's shape."""
    before = served.documents.get(name)
    is_known = served.trace.forms.get(name) == form_of(source) and served.trace.order == digest_of(order)
    if before is None or not is_known or _form(before) != _form(wanted):
        return np.ones(grid_of(wanted), bool)
    cells = np.zeros(grid_of(wanted), bool)
    for axis, (old, new, unit) in enumerate(
        zip(shape_of(before), shape_of(wanted), unit_of(wanted), strict=True)
    ):
        if old != new:
            cells[(slice(None),) * axis + (slice(min(old, new) // unit, None),)] = True
    for key in _changed(served.trace.marks.get(name, {}), marks):
        index = index_of(name, source, key)
        assert index is not None, "marks are those of the array's own objects"
        cells[np.ix_(*_region(index, source, wanted, order))] = True
    for place in map(tuple, np.argwhere(~cells).tolist()):
        cells[place] = not _is_as_written(served, name, key_of(name, before, place))
    return cells


def _form(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _NOT_ITS_FORM}


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    return (key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _region(
    index: tuple[int, ...], source: Document, target: Document, order: Order | None
) -> Iterator[NDArray[np.int64]]:
    """Yield the cells of the target's grid that hold a part of one object of the source, along each dimension."""
    ordered, grid = axis_of(order, source), grid_of(target)
    for axis, (i, size, unit) in enumerate(zip(index, unit_of(source), unit_of(target), strict=True)):
        if order and axis == ordered:
            yield order.cells(i * size, (i + 1) * size, unit)
        else:
            yield np.arange(i * size // unit, min(-(-(i + 1) * size // unit), grid[axis]))


def _is_as_written(served: Served, name: str, key: str) -> bool:
    known = served.trace.objects.get(key)
    return known is not None and served.marks.get(name, {}).get(key) == known.etag


def _in_items(cells: NDArray[np.bool_], document: Document) -> Iterator[Bounds]:
    """Yield boxes of the objects that are marked, in items, of at most so many objects each."""
    unit, shape = unit_of(document), shape_of(document)
    for box in boxes_of(cells):
        most = largest_block((1,) * len(box), tuple(stop - start for start, stop in box), _TOGETHER)
        for part in blocks(box, most):
            yield in_items(part, unit, shape)
