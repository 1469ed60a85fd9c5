"""Carrying out one piece: read its box of the source block by block, write its target objects whole.

`copy_piece` is all that a worker runs. It needs nothing but its arguments, all of which can be pickled, so it runs
under any ``map``: in a loop, in threads, in processes, on a cluster.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit import PieceReceipt
from aggrade.rechunking.box_reading import BoxReader, undecodable_chunks
from aggrade.rechunking.box_writing import BoxWriter
from aggrade.rechunking.boxes import Box, bounds_of
from aggrade.rechunking.grids import blocks, inner_of, native_dtype
from aggrade.rechunking.memory import return_freed_memory
from aggrade.rechunking.object_codec import object_codec
from aggrade.rechunking.rolling import Window
from aggrade.rechunking.strips import InStrip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Writer, WrittenObject
    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.grids import Shape
    from aggrade.rechunking.plan import Piece
    from aggrade.rechunking.pricing import ArrayPlan
    from aggrade.rechunking.source import Source

__all__ = ["copy_piece", "read_box"]

_log = logging.getLogger(__name__)


def copy_piece(
    writer: Writer, piece: Piece | InStrip, *, source: Source, arrays: Mapping[str, ArrayPlan]
) -> PieceReceipt:
    """Copy one piece from the source to the target.

    Parameters
    ----------
    writer
        Of the open transaction on the target.
    piece
        The box, alone or with what its strip has in memory.
    source
        The state that is copied.
    arrays
        The plan of each array: how much is read and written at once.

    Raises
    ------
    Damaged
        If a chunk of the source can't be decoded.
    Conflict
        If somebody else writes the same objects.
    """
    return_freed_memory()
    piece, window = (piece.piece, piece.window) if isinstance(piece, InStrip) else (piece, Window())
    plan, name = arrays[piece.variable], piece.variable
    if plan.rolling is None:
        values = read_box(source, name, piece.bounds, plan)
    else:
        values = window.values(
            piece.bounds,
            source.documents[name],
            plan.rolling,
            lambda bounds, part: _fill(Box(name, bounds, part), source, plan),
        )
    written = _write_box(writer, piece, values, plan)
    said = {"moved": piece.size}
    _log.info("copied %s %s: %d objects", piece.variable, piece.bounds, len(written), extra=said)
    return PieceReceipt(digest=piece.digest, written=tuple(written), details={"bytes": int(values.nbytes)})


def read_box(source: Source, name: str, bounds: Bounds, plan: ArrayPlan) -> np.ndarray[Any, Any]:
    """Read a box of one array: straight with the codecs where they are known, else through zarr in blocks.

    Returns
    -------
    numpy.ndarray
        Of the box's shape, in the dtype that the target has.

    Raises
    ------
    Damaged
        If a chunk can't be decoded.
    """
    shape = tuple(stop - start for start, stop in bounds)
    values = np.empty(shape, dtype=native_dtype(source.documents[name]))
    box = Box(name, bounds, values, source.rows(name, bounds))
    _fill(box, source, plan)
    return box.values


def _fill(box: Box, source: Source, plan: ArrayPlan) -> None:
    codec = source.codec(box.name)
    if codec is None and box.rows:
        _read_chunks(source, box)
    elif codec is None:
        _read_blocks(source, box, plan.read_block)
    else:
        BoxReader(source.documents[box.name], codec, box, plan.spare, source.storage).read()


def _read_blocks(source: Source, box: Box, block: Shape) -> None:
    array = source.open(box.name)
    for part in blocks(box.bounds, block):
        region = tuple(slice(*pair) for pair in part)
        with undecodable_chunks(source.storage.url, box.name, part):
            box.values[_within(part, box.bounds)] = array[region]


def _read_chunks(source: Source, box: Box) -> None:
    """Read one chunk after the other, so that none is read twice, whatever items of it the box holds."""
    array, chunk = source.open(box.name), inner_of(source.documents[box.name])
    grid = box.grid(chunk)
    for position in itertools.product(*box.positions(chunk)):
        part = bounds_of(position, chunk)
        with undecodable_chunks(source.storage.url, box.name, part):
            values = np.asarray(array[tuple(slice(*pair) for pair in part)])
        box.values[grid.inside(position)] = values[grid.within(position)]


def _write_box(
    writer: Writer, piece: Piece, values: np.ndarray[Any, Any], plan: ArrayPlan
) -> list[WrittenObject]:
    document = writer.documents[piece.variable]
    codec = object_codec(document)
    if codec is not None:
        box = Box(piece.variable, piece.bounds, values)
        return BoxWriter(document, codec, box, plan.spare, writer).write()
    written: list[WrittenObject] = []
    for part in blocks(piece.bounds, plan.write_block):
        region = tuple(slice(*pair) for pair in part)
        written.extend(writer.write(piece.variable, region, values[_within(part, piece.bounds)]))
    return written


def _within(part: Bounds, bounds: Bounds) -> tuple[slice, ...]:
    return tuple(
        slice(start - origin, stop - origin) for (start, stop), (origin, _) in zip(part, bounds, strict=True)
    )
