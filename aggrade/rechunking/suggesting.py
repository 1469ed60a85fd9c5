"""The layout that is good to read, where nothing is asked for.

Light curves (dimensions ``object`` and ``epoch``): some objects with all their epochs are one chunk of about 128 KiB,
so that one light curve is one small read; about 1,000 objects make a shard. Windows (``session`` and ``window``): one
window is one chunk, so that a random window is one read; some 256 windows make a shard. A shard has some 8 to 32 MiB
in memory, unless one light curve or window has more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aggrade.commit.documents import Document, dims_of, shape_of
from aggrade.errors import BadInput, Problem
from aggrade.rechunking.grids import item_bytes, largest_block
from aggrade.rechunking.layouts import Layout, column_layout, layout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["suggested_layouts"]

_KIB, _MIB = 1 << 10, 1 << 20
_CURVE_BYTES = 128 * _KIB
_CURVES = (8, 512)
_OBJECTS_PER_SHARD = 1000
_WINDOWS_PER_SHARD = 256
_WINDOW_BYTES = _KIB
_SHARD_BYTES = (8 * _MIB, 32 * _MIB)


def suggested_layouts(documents: Mapping[str, Document]) -> dict[str, Layout]:
    """Return the reading layout of a store of light curves or of windows.

    Parameters
    ----------
    documents
        The source's array documents.

    Raises
    ------
    BadInput
        If the store has neither ``object`` and ``epoch`` nor ``session`` and ``window``.
    """
    dims = {dim for document in documents.values() for dim in dims_of(document) if dim}
    if {"object", "epoch"} <= dims:
        return {name: _curves(document) for name, document in documents.items()}
    if {"session", "window"} <= dims:
        return {name: _windows(document) for name, document in documents.items()}
    raise BadInput(_unknown_store(sorted(dims)))


def _unknown_store(dims: list[str]) -> Problem:
    return Problem(
        "chunks",
        f"nothing asked for, and a source with the dimensions {', '.join(dims) or 'none'}",
        "light curves (object, epoch), windows (session, window), or chunks",
        'give chunks, for example {"time": 1000}',
        "chunks-needed",
    )


def _curves(document: Document) -> Layout:
    dims, shape = dims_of(document), shape_of(document)
    if "object" not in dims or len(dims) < 2:
        return _other(document)
    row, (least, most) = _row_bytes(document, {"object"}), _SHARD_BYTES
    each = min(_CURVES[1], _power_of_two(max(_CURVES[0], _CURVE_BYTES // row)))
    each = max(1, min(each, most // row))
    together = max(_OBJECTS_PER_SHARD, least // row)
    count = _in_steps(min(together, most // row // each * each), each, shape[dims.index("object")])
    chunk = tuple(each if dim == "object" else max(1, size) for dim, size in zip(dims, shape, strict=True))
    shard = tuple(count if dim == "object" else size for dim, size in zip(dims, chunk, strict=True))
    return Layout(chunk, shard)


def _windows(document: Document) -> Layout:
    dims, shape = dims_of(document), shape_of(document)
    if not {"session", "window"} <= set(dims):
        return _other(document)
    row, (least, most) = _row_bytes(document, {"session", "window"}), _SHARD_BYTES
    if row < _WINDOW_BYTES:
        return Layout(largest_block((1,) * len(shape), shape, _MIB // item_bytes(document)))
    together = max(1, min(max(_WINDOWS_PER_SHARD, least // row), most // row))
    sizes = dict(zip(dims, shape, strict=True))
    windows = _in_steps(_even(sizes["window"], together), 1, sizes["window"])
    counts = {"window": windows, "session": _in_steps(max(1, together // windows), 1, sizes["session"])}
    chunk = tuple(1 if dim in counts else max(1, size) for dim, size in zip(dims, shape, strict=True))
    return Layout(chunk, tuple(counts.get(dim, size) for dim, size in zip(dims, chunk, strict=True)))


def _other(document: Document) -> Layout:
    shape = shape_of(document)
    return column_layout(shape[0]) if len(shape) == 1 else layout_of(document)


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)


def _in_steps(wanted: int, step: int, size: int) -> int:
    """Return at least one step, whole steps, and no more than cover `size`."""
    return max(1, min(-(-wanted // step), -(-size // step))) * step


def _even(size: int, most: int) -> int:
    """Return a part of at most `most` such that `size` splits into nearly equal parts."""
    parts = max(1, -(-size // most))
    return max(1, -(-size // parts))


def _row_bytes(document: Document, along: set[str]) -> int:
    """Return the bytes of one item along the dimensions in `along`."""
    pairs = zip(dims_of(document), shape_of(document), strict=True)
    return max(1, item_bytes(document) * math.prod(size for dim, size in pairs if dim not in along))
