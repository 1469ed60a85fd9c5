"""Writing a box of whole objects, straight with the codecs, several at a time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import units_in
from aggrade.rechunking.blocking import copy_stack, fastest_axis
from aggrade.rechunking.boxes import BoxWork, bounds_of, in_threads, one_by_one
from aggrade.settings import cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.commit import Writer, WrittenObject
    from aggrade.rechunking.boxes import Position

__all__ = ["BoxWriter"]

_BATCH = 64
"""Groups of chunks of a shard that a thread encodes in a row: chunks may be a kilobyte each."""

_BATCH_BYTES = 1 << 20
"""What chunks that lie one behind the other have together at most that are encoded in a row, if it is more than one."""


@dataclass(frozen=True)
class BoxWriter(BoxWork):
    """Writes a box of whole objects."""

    writer: Writer

    def write(self) -> list[WrittenObject]:
        """Encode and write each object once, those of fill too; a chunk of fill in a shard is left out.

        Raises
        ------
        Conflict
            If somebody else writes the same objects.
        """
        if self.codec.index is None:
            groups = self.box.groups(self.codec.unit, self.most)
            written = in_threads(self._put_objects, groups, self.threads(self.group_bytes))
            return [item for group in written for item in group]
        units = units_in(self.document, self.box.bounds)
        at_once = self.threads(self.unit_bytes + self.group_bytes)
        if at_once > 1:
            return in_threads(lambda unit: self._put_shard(unit, 1), units, at_once)
        threads = replace(self, spare=self.spare - self.unit_bytes).threads(2 * self.group_bytes)
        # More threads than cores wake each other for every chunk, which may be a kilobyte.
        return [self._put_shard(unit, min(threads, cores())) for unit in units]

    def _put_objects(self, positions: list[Position]) -> list[WrittenObject]:
        return [
            self.writer.put(
                self.box.name, self.key(position), self.codec.pack([(0, self.codec.chunk.encode(values))])
            )
            for position, values in self._gathered(positions)
        ]

    def _put_shard(self, unit: Position, threads: int) -> WrittenObject:
        encoded = itertools.chain.from_iterable(self._encoded_batches(unit, threads))
        return self.writer.put(self.box.name, self.key(unit), self.codec.pack(encoded))

    def _encoded_batches(self, unit: Position, threads: int) -> Iterator[list[tuple[int, bytes | None]]]:
        """Yield the chunks of a shard, each with its place in it."""
        rows = self._rows(unit)
        if rows is not None:
            step = max(1, min(_BATCH, _BATCH_BYTES // self.chunk_bytes))
            parts = ((start, rows[start : start + step]) for start in range(0, len(rows), step))
            return one_by_one(self._encoded_rows, parts, threads)
        groups = self.box.groups(self.codec.chunk.shape, self.most, bounds_of(unit, self.codec.unit))
        batches = iter(lambda: list(itertools.islice(groups, _BATCH)), [])
        return one_by_one(self._encoded, batches, threads)

    def _rows(self, unit: Position) -> np.ndarray[Any, Any] | None:
        """Return the chunks of a shard one behind the other, if they lie so in the box; None else."""
        values, shape, length = self.box.values, self.codec.chunk.shape, self.codec.unit[0]
        start = unit[0] * length - self.box.bounds[0][0]
        part = values[start : start + length]
        if values.shape[1:] != shape[1:] or len(part) % shape[0] or not values.flags.c_contiguous:
            return None
        return part.reshape(-1, *shape)

    def _encoded_rows(self, part: tuple[int, np.ndarray[Any, Any]]) -> list[tuple[int, bytes | None]]:
        """Return those of some chunks that hold something else than fill, each with its place in its shard."""
        (start, rows), chunk, step = part, self.codec.chunk, math.prod(self.codec.grid[1:])
        made = np.flatnonzero(~chunk.are_fill(rows))
        encoded = chunk.encode_each(rows if len(made) == len(rows) else rows[made])
        return list(zip(((made + start) * step).tolist(), encoded, strict=True))

    def _encoded(self, groups: list[list[Position]]) -> list[tuple[int, bytes | None]]:
        """Return each chunk with its place in its shard."""
        chunk = self.codec.chunk
        return [
            (self._place(position), None if chunk.is_fill(values) else chunk.encode(values))
            for positions in groups
            for position, values in self._gathered(positions)
        ]

    def _place(self, position: Position) -> int:
        place = 0
        for index, count in zip(position, self.codec.grid, strict=True):
            place = place * count + index % count
        return place

    def _gathered(self, positions: list[Position]) -> list[tuple[Position, np.ndarray[Any, Any]]]:
        """Return whole chunks: views of the box where it holds them in one row, copies with fill behind its end else."""
        shape = self.codec.chunk.shape
        views = [self.box.values[self.grid.inside(position)] for position in positions]
        if all(view.shape == shape and view.flags.c_contiguous for view in views):
            return list(zip(positions, views, strict=True))
        whole = np.empty((len(views), *shape), self.box.values.dtype)
        part = self.together(positions) if all(view.shape == shape for view in views) else None
        if part is not None:
            copy_stack(part, whole, fastest_axis(self.box.values.shape), into_box=False)
            return list(zip(positions, whole, strict=True))
        for position, view, chunk in zip(positions, views, whole, strict=True):
            if view.shape != shape:
                chunk[...] = self.codec.chunk.absent()
            chunk[self.grid.within(position)] = view
        return list(zip(positions, whole, strict=True))
