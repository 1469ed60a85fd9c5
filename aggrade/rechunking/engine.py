"""Carrying out one piece: read its box of the source block by block, write its target objects whole.

`copy_piece` is all that a worker runs. It needs nothing but its arguments, all of which can be pickled, so it runs
under any ``map``: in a loop, in threads, in processes, on a cluster.
"""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit import PieceReceipt
from aggrade.errors import Damaged, Problem
from aggrade.rechunking.grids import blocks, native_dtype
from aggrade.rechunking.memory import return_freed_memory

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
_UNDECODABLE = (ValueError, RuntimeError, OSError, EOFError, zlib.error)


def copy_piece(
    writer: Writer, piece: Piece, *, source: Source, arrays: Mapping[str, ArrayPlan]
) -> PieceReceipt:
    """Copy one piece from the source to the target.

    Parameters
    ----------
    writer
        Of the open transaction on the target.
    piece
        The box.
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
    plan = arrays[piece.variable]
    values = read_box(source, piece.variable, piece.bounds, plan.read_block)
    written = _write_box(writer, piece, values, plan.write_block)
    _log.info("copied %s %s: %d objects", piece.variable, piece.bounds, len(written))
    return PieceReceipt(digest=piece.digest, written=tuple(written), details={"bytes": int(values.nbytes)})


def read_box(source: Source, name: str, bounds: Bounds, block: Shape) -> np.ndarray[Any, Any]:
    """Read a box of one array, one block of source chunks after the other.

    Returns
    -------
    numpy.ndarray
        Of the box's shape, in the dtype that the target has.

    Raises
    ------
    Damaged
        If a chunk can't be decoded.
    """
    array = source.open(name)
    shape = tuple(stop - start for start, stop in bounds)
    values = np.empty(shape, dtype=native_dtype(source.documents[name]))
    for part in blocks(bounds, block):
        region = tuple(slice(*pair) for pair in part)
        try:
            values[_within(part, bounds)] = array[region]
        except _UNDECODABLE as error:
            raise Damaged(_undecodable(source.storage.url, name, part, error)) from error
    return values


def _write_box(
    writer: Writer, piece: Piece, values: np.ndarray[Any, Any], block: Shape
) -> list[WrittenObject]:
    written: list[WrittenObject] = []
    for part in blocks(piece.bounds, block):
        region = tuple(slice(*pair) for pair in part)
        written.extend(writer.write(piece.variable, region, values[_within(part, piece.bounds)]))
    return written


def _within(part: Bounds, bounds: Bounds) -> tuple[slice, ...]:
    return tuple(
        slice(start - origin, stop - origin) for (start, stop), (origin, _) in zip(part, bounds, strict=True)
    )


def _undecodable(url: str, name: str, part: Bounds, error: Exception) -> Problem:
    box = ", ".join(f"{start}:{stop}" for start, stop in part)
    return Problem(
        f"{url}/{name}[{box}]",
        f"chunks that can't be decoded ({error})",
        "chunks as they were written",
        "verify the source and restore its backup, then run it again",
        "chunk-undecodable",
    )
