"""What an array document says of its pieces: the chunk that is decoded alone, its codecs, an item's bytes.

An *object* is what one key holds (a shard, or a chunk where there are none), an *inner chunk* what is encoded and
decoded by itself: a chunk of a shard, or the whole object. Nothing here opens a store.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from zarr.dtype import parse_dtype

from aggrade.commit.documents import Bounds, Document, shape_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = [
    "VARIABLE_ITEM_BYTES",
    "Shape",
    "blocks",
    "chunk_codecs",
    "inner_of",
    "is_sharded",
    "item_bytes",
    "largest_block",
    "native_dtype",
    "raw_bytes",
]

Shape = tuple[int, ...]

VARIABLE_ITEM_BYTES = 128
"""What one item of variable length (text) is taken to need in memory; its true size is known only when read."""

_SHARDING = "sharding_indexed"


def _sharding(codecs: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((codec["configuration"] for codec in codecs if codec["name"] == _SHARDING), None)


def is_sharded(document: Document) -> bool:
    """Tell whether an object holds several chunks behind an index."""
    return _sharding(document["codecs"]) is not None


def inner_of(document: Document) -> Shape:
    """Return the shape of what is decoded alone.

    The object itself where there are no shards, and where something else is done to a whole shard first.
    """
    first = document["codecs"][0]
    return tuple(first["configuration"]["chunk_shape"]) if first["name"] == _SHARDING else unit_of(document)


def chunk_codecs(document: Document) -> list[dict[str, Any]]:
    """Return the codecs of one chunk, with sharding, however deep, taken off."""
    codecs: list[dict[str, Any]] = document["codecs"]
    while (sharding := _sharding(codecs)) is not None:
        codecs = sharding["codecs"]
    return codecs


def native_dtype(document: Document) -> np.dtype[Any]:
    """Return the NumPy dtype that the array has in memory.

    Raises
    ------
    ValueError
        If the installed zarr does not know the data type.
    """
    try:
        return parse_dtype(document["data_type"], zarr_format=3).to_native_dtype()
    except TypeError as error:
        raise ValueError(str(error)) from error


def item_bytes(document: Document) -> int:
    """Return the bytes of one item in memory; an estimate where items vary in length."""
    dtype = native_dtype(document)
    return VARIABLE_ITEM_BYTES if dtype.hasobject else max(dtype.itemsize, 1)


def raw_bytes(document: Document, shape: Shape | None = None) -> int:
    """Return the bytes in memory of a box of that shape, by default of the whole array."""
    return math.prod(shape_of(document) if shape is None else shape) * item_bytes(document)


def largest_block(unit: Shape, extent: Shape, most: int) -> Shape:
    """Return the largest box of whole units with at most `most` items, last dimensions first; at least one unit.

    Parameters
    ----------
    unit
        Shape of the unit.
    extent
        Shape of what is to be split; the box is not made longer than it needs.
    most
        Items.

    >>> largest_block((10, 1), (40, 8), 40)
    (10, 4)
    >>> largest_block((10, 1), (40, 8), 200)
    (20, 8)
    """
    block = list(unit)
    for axis in reversed(range(len(unit))):
        whole = max(1, -(-extent[axis] // unit[axis]))
        block[axis] = unit[axis] * max(1, min(whole, most // max(1, math.prod(block))))
    return tuple(block)


def blocks(bounds: Bounds, block: Shape) -> Iterator[Bounds]:
    """Yield the boxes that a grid of blocks, starting at the array's origin, cuts `bounds` into, in C order.

    >>> list(blocks(((5, 12),), (10,)))
    [((5, 10),), ((10, 12),)]
    """
    axes = [_cuts(start, stop, step) for (start, stop), step in zip(bounds, block, strict=True)]
    return itertools.product(*axes)


def _cuts(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    edges = range(start // step * step, stop, step)
    return [(max(edge, start), min(edge + step, stop)) for edge in edges]
