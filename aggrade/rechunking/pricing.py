"""What copying one array takes: the pieces it is cut into, its reads and writes, its memory.

The memory of a piece is its box, and beside it the block that is being read or written, three times: as encoded bytes,
as decoded chunks and as a whole. Blocks are small where chunks allow it, so most of the bound goes into the box: the
wider it is, the fewer chunks of the source are read twice.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import Document, grid_of, shape_of, unit_of
from aggrade.errors import Problem
from aggrade.price import human_bytes
from aggrade.rechunking.boxes import fits_whole
from aggrade.rechunking.covering import choose_piece, parts
from aggrade.rechunking.grids import (
    Shape,
    inner_of,
    is_sharded,
    item_bytes,
    largest_block,
    raw_bytes,
)
from aggrade.rechunking.object_codec import object_codec

__all__ = ["ArrayPlan", "memory_problems", "plan_array"]

_COPIES = 3
_BLOCK_SHARE = 16
_BLOCK_BYTES = 32 << 20
_ENOUGH_BYTES = 64 << 20


class ArrayPlan(BaseModel):
    """How one array is copied, and what that costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    piece: tuple[int, ...] = Field(description="Shape of a piece in items.")
    read_block: tuple[int, ...] = Field(description="Shape of what is read at once.")
    write_block: tuple[int, ...] = Field(description="Shape of what is written at once.")
    chunks: int = Field(description="Chunks of the source.")
    reads: int = Field(description="How often a chunk of the source is read and decoded, in all.")
    gets: int = Field(description="Read requests at most, for the chunks of the source.")
    writes: int = Field(description="Objects of the target, each written once.")
    bytes_read: int = Field(description="Bytes of the chunks that are read, decoded.")
    bytes_written: int = Field(description="Bytes of the array, decoded.")
    spare: int = Field(description="Bytes that reading and writing may take beside the piece.")
    peak_memory: int = Field(description="Bytes in memory while one piece is carried out.")


def plan_array(before: Document, after: Document, max_memory: int) -> ArrayPlan:
    """Cut one array into pieces that fit and price them.

    Parameters
    ----------
    before, after
        The array's documents in the source and in the target; `memory_problems` finds none.
    max_memory
        Bytes that one piece may take.
    """
    shape, item = shape_of(before), item_bytes(before)
    most = (max_memory - _overhead(before, after, max_memory)) // item
    piece = choose_piece(shape, unit_of(after), inner_of(before), max(most, 1), _ENOUGH_BYTES // item)
    assert piece is not None, "one object fits, as was checked"
    block = _block_bytes(max_memory) // item
    reading = largest_block(_reading_unit(before, block), _clipped(piece, before), block)
    writing = largest_block(unit_of(after), _clipped(piece, before), block)
    return ArrayPlan(
        piece=piece,
        read_block=reading,
        write_block=writing,
        spare=_spare(before, reading, writing),
        peak_memory=_peak(before, piece, reading, writing),
        **_price(before, after, piece, reading, _spare(before, reading, writing)),
    )


def _price(before: Document, after: Document, piece: Shape, reading: Shape, spare: int) -> dict[str, int]:
    """Count chunks, reads, requests, objects and bytes, in closed form."""
    shape, chunk = shape_of(before), inner_of(before)
    reads = math.prod(map(parts, shape, piece, chunk))
    return {
        "chunks": math.prod(map(parts, shape, chunk)),
        "reads": reads,
        "gets": _gets(before, piece, reading, spare, reads),
        "writes": math.prod(grid_of(after)),
        "bytes_read": reads * raw_bytes(before, chunk),
        "bytes_written": raw_bytes(before),
    }


def _gets(before: Document, piece: Shape, reading: Shape, spare: int, reads: int) -> int:
    """Count read requests: a shard is read whole where it fits, else its index and then chunk by chunk."""
    shape, unit = shape_of(before), unit_of(before)
    if not is_sharded(before):
        return reads
    if object_codec(before) is None:
        return reads + math.prod(map(parts, shape, piece, reading, unit))
    shards = math.prod(map(parts, shape, piece, unit))
    return shards if fits_whole(raw_bytes(before, unit), spare) else shards + reads


def _peak(before: Document, piece: Shape, reading: Shape, writing: Shape) -> int:
    if 0 in shape_of(before):
        return 0
    return raw_bytes(before, _clipped(piece, before)) + _spare(before, reading, writing)


def _spare(before: Document, reading: Shape, writing: Shape) -> int:
    return _COPIES * max(raw_bytes(before, reading), raw_bytes(before, writing))


def _clipped(unit: Shape, document: Document) -> Shape:
    return tuple(map(min, unit, shape_of(document)))


def _reading_unit(before: Document, most: int) -> Shape:
    """Return the shard where it may be read in one go, else the chunk in it."""
    return unit_of(before) if math.prod(unit_of(before)) <= most else inner_of(before)


def _block_bytes(max_memory: int) -> int:
    return min(max_memory // _BLOCK_SHARE, _BLOCK_BYTES)


def _largest_unit(before: Document, after: Document) -> int:
    """Return the bytes of the largest thing that is read or written in one go and can't be divided."""
    return max(raw_bytes(before, inner_of(before)), raw_bytes(after, unit_of(after)))


def _overhead(before: Document, after: Document, max_memory: int) -> int:
    return _COPIES * max(_largest_unit(before, after), _block_bytes(max_memory))


def memory_problems(name: str, before: Document, after: Document, max_memory: int) -> list[Problem]:
    """Return why one array can't be copied within `max_memory` bytes, naming the bound that would do."""
    if 0 in shape_of(before):
        return []
    one = raw_bytes(after, _clipped(unit_of(after), after))
    if one + _overhead(before, after, max_memory) <= max_memory:
        return []
    unit = _largest_unit(before, after)
    with_shares = max(one + _COPIES * unit, -(-one * _BLOCK_SHARE // (_BLOCK_SHARE - _COPIES)))
    enough = min(with_shares, one + _COPIES * max(unit, _BLOCK_BYTES))
    return [_too_small(name, before, after, max_memory, enough)]


def _too_small(name: str, before: Document, after: Document, max_memory: int, enough: int) -> Problem:
    reads = f"source chunks {inner_of(before)} of {human_bytes(raw_bytes(before, inner_of(before)))}"
    writes = f"target objects {unit_of(after)} of {human_bytes(raw_bytes(after, unit_of(after)))}"
    return Problem(
        f"max_memory for {name!r}",
        f"{max_memory} bytes ({human_bytes(max_memory)}) for {reads} and {writes}",
        f"at least {enough} bytes ({human_bytes(enough)})",
        "raise max_memory, or ask for smaller chunks or shards",
        "max-memory",
    )
