"""What copying one array takes: the pieces it is cut into, its reads and writes, its memory.

The memory of a piece is its box, and beside it the block that is being read or written, twice: as encoded bytes and as
decoded chunks, and once more as a whole where zarr itself decodes it or a checksum is put behind it. Blocks are small
where chunks allow it, so most of the bound goes into the box: the wider it is, the fewer chunks of the source are read
twice. Where that would still be many, pieces share what they read (`aggrade.rechunking.rolling`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import Document, grid_of, shape_of, unit_of
from aggrade.errors import Problem
from aggrade.price import Price, human_bytes
from aggrade.rechunking.boxes import fits_whole
from aggrade.rechunking.covering import choose_piece, parts
from aggrade.rechunking.grids import (
    Shape,
    blocks,
    inner_of,
    is_sharded,
    item_bytes,
    largest_block,
    raw_bytes,
)
from aggrade.rechunking.object_codec import object_codec
from aggrade.rechunking.ordering import axis_of, parts_of_box, parts_of_pieces
from aggrade.rechunking.rolling import Rolling, choose_rolling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.ordering import Order

__all__ = [
    "ArrayPlan",
    "compared_boxes",
    "least_memory",
    "memory_problems",
    "part_of",
    "plan_array",
    "price_of",
    "reading_price",
]

_COPIES = 2
_ROLLING_GAIN = 1.1
_BLOCK_SHARE = 16
_BLOCK_BYTES = 32 << 20
_ENOUGH_BYTES = 64 << 20


class ArrayPlan(BaseModel):
    """How one array is copied, and what that costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    piece: tuple[int, ...] = Field(description="Shape of a piece that reads all it needs, in items.")
    rolling: Rolling | None = Field(
        default=None, description="How it is cut instead where pieces share what they read."
    )
    read_block: tuple[int, ...] = Field(description="Shape of what is read at once.")
    write_block: tuple[int, ...] = Field(description="Shape of what is written at once.")
    chunks: int = Field(description="Chunks of the source.")
    reads: int = Field(description="How often a chunk of the source is read and decoded, in all.")
    gets: int = Field(description="Read requests at most, for the chunks of the source.")
    writes: int = Field(description="Objects of the target, each written once.")
    copies: int = Field(default=0, description="Objects that are copied from the version served.")
    bytes_read: int = Field(description="Bytes of the chunks that are read, decoded.")
    bytes_written: int = Field(description="Bytes of the array, decoded.")
    spare: int = Field(description="Bytes that reading and writing may take beside the piece.")
    peak_memory: int = Field(description="Bytes in memory while one piece is carried out.")


def plan_array(before: Document, after: Document, max_memory: int, order: Order | None = None) -> ArrayPlan:
    """Cut one array into pieces that fit and price them.

    Parameters
    ----------
    before, after
        The array's documents in the source and in the target; `memory_problems` finds none.
    max_memory
        Bytes that one piece may take.
    order
        In which order the target has its items; None where it has the source's.
    """
    shape, chunk, unit, item = shape_of(before), inner_of(before), unit_of(after), item_bytes(before)
    most = max(1, (max_memory - _overhead(before, after, max_memory)) // item)
    chosen = choose_piece(shape, unit, chunk, most, _ENOUGH_BYTES // item)
    assert chosen is not None, "one object fits, as was checked"
    rolling = None
    can_roll = not is_sharded(before) and axis_of(order, before) is None
    if can_roll and chosen.reads > _ROLLING_GAIN * math.prod(map(parts, shape, chunk)):
        found = choose_rolling(shape, unit, chunk, most, _ENOUGH_BYTES // item)
        rolling = found[0] if found and found[1] * _ROLLING_GAIN < chosen.reads else None
    return _planned(before, after, chosen.shape, rolling, _block_bytes(max_memory) // item, order)


def _planned(
    before: Document,
    after: Document,
    piece: Shape,
    rolling: Rolling | None,
    block: int,
    order: Order | None,
) -> ArrayPlan:
    extent = _clipped(piece, before)
    reading = largest_block(_reading_unit(before, block), extent, block)
    writing = largest_block(unit_of(after), extent, block)
    spare = _copies(before, after) * max(raw_bytes(before, reading), raw_bytes(before, writing))
    return ArrayPlan(
        piece=piece,
        rolling=rolling,
        read_block=reading,
        write_block=writing,
        spare=spare,
        peak_memory=_peak(before, rolling.window if rolling else piece, spare),
        **_price(before, after, rolling.strip if rolling else piece, reading, spare, order),
    )


def part_of(
    whole: ArrayPlan,
    before: Document,
    after: Document,
    boxes: Sequence[Bounds],
    order: Order | None = None,
) -> ArrayPlan:
    """Return the plan of some pieces of an array alone, each of which reads all it needs; other objects are copied.

    Parameters
    ----------
    whole
        The plan of the whole array.
    before, after, order
        As for `plan_array`.
    boxes
        The pieces.
    """
    chunk, unit = inner_of(before), unit_of(after)
    reads = sum(parts_of_box(before, order, box, chunk) for box in boxes)
    writes = sum(parts_of_box(after, None, box, unit) for box in boxes)
    items = [tuple(stop - start for start, stop in box) for box in boxes]
    return whole.model_copy(
        update={
            "reads": reads,
            "gets": reading_price(before, boxes, whole.read_block, whole.spare, order).requests["GET"],
            "writes": writes,
            "copies": whole.writes - writes,
            "bytes_read": reads * raw_bytes(before, chunk),
            "bytes_written": sum(raw_bytes(before, shape) for shape in items),
            "peak_memory": _peak(before, whole.piece, whole.spare) if boxes else 0,
            "rolling": None,
        }
    )


def compared_boxes(document: Document, array: ArrayPlan, boxes: Iterable[Bounds]) -> list[Bounds]:
    """Return the boxes that are compared, each of which fits into memory; they hold the same as `boxes` do.

    Parameters
    ----------
    document
        The array's document in the target.
    array
        How it is copied.
    boxes
        Its pieces, and what is kept of it.
    """
    if array.rolling is not None:
        boxes = [tuple((0, size) for size in shape_of(document))]
    return [part for box in boxes for part in blocks(box, array.piece)]


def price_of(arrays: Iterable[ArrayPlan]) -> Price:
    """Return what several arrays cost together, chunks only."""
    known = list(arrays)
    requests = {
        "GET": sum(array.gets for array in known),
        "PUT": sum(array.writes for array in known),
        "COPY": sum(array.copies for array in known),
    }
    return Price(
        requests={kind: count for kind, count in requests.items() if count or kind != "COPY"},
        bytes_read=sum(array.bytes_read for array in known),
        bytes_written=sum(array.bytes_written for array in known),
        peak_memory=max((array.peak_memory for array in known), default=0),
    )


def reading_price(
    document: Document, boxes: Iterable[Bounds], block: Shape, spare: int, order: Order | None = None
) -> Price:
    """Return what it costs to read some boxes of an array, one after the other.

    Parameters
    ----------
    document
        The array's document.
    boxes
        In items.
    block
        Shape of what is read at once where zarr itself has to decode it.
    spare
        Bytes that reading may take beside a box.
    order
        In which order the boxes have its items; None where they have its own.
    """
    known, chunk = list(boxes), inner_of(document)

    def count(*steps: Shape) -> int:
        return sum(parts_of_box(document, order, box, *steps) for box in known)

    reads = count(chunk)
    gets = _gets(document, block, spare, reads, count, order)
    return Price(requests={"GET": gets}, bytes_read=reads * raw_bytes(document, chunk))


def _price(
    before: Document, after: Document, piece: Shape, reading: Shape, spare: int, order: Order | None
) -> dict[str, int]:
    """Count chunks, reads, requests, objects and bytes."""
    shape, chunk = shape_of(before), inner_of(before)

    def count(*steps: Shape) -> int:
        return parts_of_pieces(before, order, piece, *steps)

    reads = count(chunk)
    return {
        "chunks": math.prod(map(parts, shape, chunk)),
        "reads": reads,
        "gets": _gets(before, reading, spare, reads, count, order),
        "writes": math.prod(grid_of(after)),
        "bytes_read": reads * raw_bytes(before, chunk),
        "bytes_written": raw_bytes(before),
    }


def _gets(
    before: Document,
    reading: Shape,
    spare: int,
    reads: int,
    count: Callable[..., int],
    order: Order | None,
) -> int:
    """Count read requests: a shard is read whole where it fits, else its index and then chunk by chunk.

    `count` says how many parts the multiples of some steps cut all pieces into.
    """
    unit = unit_of(before)
    if not is_sharded(before):
        return reads
    if object_codec(before) is None:
        return reads + (count(reading, unit) if axis_of(order, before) is None else reads)
    return count(unit) if fits_whole(raw_bytes(before, unit), spare) else count(unit) + reads


def _peak(before: Document, held: Shape, spare: int) -> int:
    return 0 if 0 in shape_of(before) else raw_bytes(before, _clipped(held, before)) + spare


def _copies(before: Document, after: Document) -> int:
    codecs = object_codec(before), object_codec(after)
    return _COPIES + any(codec is None or codec.chunk.checksum for codec in codecs)


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
    return _copies(before, after) * max(_largest_unit(before, after), _block_bytes(max_memory))


def memory_problems(name: str, before: Document, after: Document, max_memory: int) -> list[Problem]:
    """Return why one array can't be copied within `max_memory` bytes, naming the bound that would do."""
    enough = least_memory(before, after, max_memory)
    return [] if enough <= max_memory else [_too_small(name, before, after, max_memory, enough)]


def least_memory(before: Document, after: Document, max_memory: int) -> int:
    """Return a bound within which an array can be copied: the one given, or the one that would do.

    Parameters
    ----------
    before, after, max_memory
        As for `plan_array`.
    """
    if 0 in shape_of(before):
        return max_memory
    one = raw_bytes(after, _clipped(unit_of(after), after))
    if one + _overhead(before, after, max_memory) <= max_memory:
        return max_memory
    unit, copies = _largest_unit(before, after), _copies(before, after)
    with_shares = max(one + copies * unit, -(-one * _BLOCK_SHARE // (_BLOCK_SHARE - copies)))
    return min(with_shares, one + copies * max(unit, _BLOCK_BYTES))


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
