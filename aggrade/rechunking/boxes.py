"""A box of one array in memory, the chunks that it holds, and what may be done with it at once.

The threads that read or write a box share it; what one of them touches is nobody else's.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from aggrade.commit.documents import key_of
from aggrade.rechunking.blocking import fastest_axis, group_length
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.commit.documents import Bounds, Document
    from aggrade.rechunking.grids import Shape
    from aggrade.rechunking.object_codec import ObjectCodec

__all__ = [
    "Box",
    "BoxWork",
    "Grid",
    "Meeting",
    "Position",
    "bounds_of",
    "fits_whole",
    "in_threads",
    "one_by_one",
]

_AHEAD = 2
"""Items that each thread has begun or will begin next, before a result is waited for."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Position: TypeAlias = tuple[int, ...]
Part: TypeAlias = "tuple[slice | NDArray[np.int64], ...]"


class Meeting(NamedTuple):
    """Where a box and a chunk meet, along one dimension: as the box, the chunk and the array count."""

    inside: slice | NDArray[np.int64]
    within: slice | NDArray[np.int64]
    shared: tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """The chunks that a box holds a part of.

    Parameters
    ----------
    axes
        For each dimension, index of a chunk → where they meet.
    """

    axes: list[dict[int, Meeting]]

    def inside(self, position: Position) -> Part:
        """Return where a chunk lies in the box."""
        return tuple([axis[index].inside for axis, index in zip(self.axes, position, strict=True)])

    def within(self, position: Position) -> Part:
        """Return where the box lies in a chunk."""
        return tuple([axis[index].within for axis, index in zip(self.axes, position, strict=True)])

    def shared(self, position: Position) -> Bounds:
        """Return where both lie in the array."""
        return tuple([axis[index].shared for axis, index in zip(self.axes, position, strict=True)])


def _meetings(bounds: tuple[int, int], size: int) -> dict[int, Meeting]:
    start, stop = bounds
    found = {}
    for index in range(start // size, -(-stop // size)):
        first = index * size
        low, high = max(first, start), min(first + size, stop)
        found[index] = Meeting(
            slice(low - start, high - start), slice(low - first, high - first), (low, high)
        )
    return found


def _scattered(rows: NDArray[np.int64], size: int) -> dict[int, Meeting]:
    """Return where chunks meet a box that holds these items of the array, in that order."""
    order = np.argsort(rows, kind="stable")
    indices, firsts = np.unique(rows[order] // size, return_index=True)
    return {
        index: Meeting(inside, rows[inside] - index * size, (int(rows[inside[0]]), int(rows[inside[-1]]) + 1))
        for index, inside in zip(indices.tolist(), np.split(order, firsts[1:]), strict=True)
    }


@dataclass(frozen=True)
class Box:
    """A box of one array in memory.

    Parameters
    ----------
    name
        The array.
    bounds
        Where it lies in the array.
    values
        What it holds, or is to hold.
    rows
        Dimension → items of the array that it holds along it, where these are not those that `bounds` counts.
    """

    name: str
    bounds: Bounds
    values: np.ndarray[Any, Any]
    rows: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)

    def grid(self, chunk: Shape) -> Grid:
        """Return where chunks of that shape lie in the box and in the array."""
        return Grid(
            [
                _scattered(self.rows[axis], size) if axis in self.rows else _meetings(bounds, size)
                for axis, (bounds, size) in enumerate(zip(self.bounds, chunk, strict=True))
            ]
        )

    def positions(self, chunk: Shape, within: Bounds | None = None) -> list[Sequence[int]]:
        """Return the positions of the chunks that it holds a part of, by dimension; only those in `within`."""
        limits = within or (None,) * len(chunk)
        return [
            self._positions(axis, size, limit)
            for axis, (size, limit) in enumerate(zip(chunk, limits, strict=True))
        ]

    def _positions(self, axis: int, size: int, within: tuple[int, int] | None) -> Sequence[int]:
        start, stop = self.bounds[axis]
        if axis in self.rows:
            rows = self.rows[axis]
            if within:
                rows = rows[(rows >= within[0]) & (rows < within[1])]
            return list(np.unique(rows // size).tolist())
        low, high = within or (start, stop)
        return range(max(start, low) // size, -(-min(stop, high) // size))

    def groups(self, chunk: Shape, most: int, within: Bounds | None = None) -> Iterator[list[Position]]:
        """Yield the chunks, neighbours along the box's fastest dimension together, at most `most` of them."""
        ranges = self.positions(chunk, within)
        shape = self.values.shape
        axis, length = fastest_axis(shape), min(most, group_length(chunk, shape, self.values.itemsize))
        cuts: list[list[Sequence[int]]] = [[[index] for index in each] for each in ranges]
        cuts[axis] = [ranges[axis][start : start + length] for start in range(0, len(ranges[axis]), length)]
        return (list(itertools.product(*chosen)) for chosen in itertools.product(*cuts))


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Return the results in order; what one of them raises ends the others before they begin."""
    return list(one_by_one(function, items, threads))


def one_by_one(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield the results in order, few of them made ahead; what one of them raises ends the others before they begin."""
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def bounds_of(position: Position, unit: Shape) -> Bounds:
    """Return where in its array the object of that position lies, its padding included."""
    return tuple((index * size, (index + 1) * size) for index, size in zip(position, unit, strict=True))


def fits_whole(unit_bytes: int, spare: int) -> bool:
    """Tell whether an object may be in memory encoded, beside those of its chunks that are decoded at once.

    Parameters
    ----------
    unit_bytes
        What it holds, decoded.
    spare
        Bytes that may be taken beside the box.
    """
    return 2 * unit_bytes <= spare


@dataclass(frozen=True)
class BoxWork:
    """What reading and writing have in common.

    Parameters
    ----------
    document, codec
        The array's document, and how its objects are put together.
    box
        What is read or written.
    spare
        Bytes that may be taken beside the box.
    """

    document: Document
    codec: ObjectCodec
    box: Box
    spare: int

    @cached_property
    def grid(self) -> Grid:
        """Where the box's chunks lie."""
        return self.box.grid(self.codec.chunk.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of an item in memory."""
        return self.box.values.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk in memory."""
        return max(1, math.prod(self.codec.chunk.shape) * self.item_bytes)

    @property
    def unit_bytes(self) -> int:
        """Bytes of what one object holds in memory."""
        return math.prod(self.codec.unit) * self.item_bytes

    @property
    def most(self) -> int:
        """How many chunks a group may have: decoded, with one more that is encoded, half of what is spare."""
        return max(1, self.spare // (2 * self.chunk_bytes) - 1)

    @property
    def group_bytes(self) -> int:
        """What a group takes."""
        shape = self.box.values.shape
        length = group_length(self.codec.chunk.shape, shape, self.item_bytes)
        return (min(self.most, length) + 1) * self.chunk_bytes

    def threads(self, taken: int) -> int:
        """Return how many threads may work where each takes so many bytes."""
        return max(1, min(settings().parallel_objects, self.spare // max(1, taken)))

    def key(self, position: Position) -> str:
        """Return an object's key."""
        return key_of(self.box.name, self.document, position)

    def together(self, positions: list[Position]) -> np.ndarray[Any, Any] | None:
        """Return what neighbours along the box's fastest dimension hold of it together.

        None if one holds less, or what they hold does not lie together.
        """
        if self.box.rows:
            return None
        regions = [self.grid.inside(position) for position in positions]
        axis = fastest_axis(self.box.values.shape)
        along = [part for part in (region[axis] for region in regions) if isinstance(part, slice)]
        if len({each.stop - each.start for each in along}) > 1:
            return None
        whole = slice(along[0].start, along[-1].stop)
        return self.box.values[(*regions[0][:axis], whole, *regions[0][axis + 1 :])]
