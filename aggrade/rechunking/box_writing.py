"""Writing a box of whole objects, straight with the codecs, several at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import units_in
from aggrade.rechunking.blocking import copy_chunks
from aggrade.rechunking.boxes import BoxWork, bounds_of, in_threads

if TYPE_CHECKING:
    from aggrade.commit import Writer, WrittenObject
    from aggrade.rechunking.boxes import Position

__all__ = ["BoxWriter"]

_BATCH = 64
"""Groups of chunks of a shard that a thread encodes in a row: chunks may be a kilobyte each."""


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
        threads = max(1, self.threads(2 * self.group_bytes) - self.unit_bytes // (2 * self.group_bytes))
        return [self._put_shard(unit, threads) for unit in units]

    def _put_objects(self, positions: list[Position]) -> list[WrittenObject]:
        return [
            self.writer.put(
                self.box.name, self.key(position), self.codec.pack([self.codec.chunk.encode(values)])
            )
            for position, values in self._gathered(positions)
        ]

    def _put_shard(self, unit: Position, threads: int) -> WrittenObject:
        groups = self.box.groups(self.codec.chunk.shape, self.most, bounds_of(unit, self.codec.unit))
        batches = iter(lambda: list(itertools.islice(groups, _BATCH)), [])
        encoded = dict(itertools.chain.from_iterable(in_threads(self._encoded, batches, threads)))
        first = [index * count for index, count in zip(unit, self.codec.grid, strict=True)]
        places = itertools.product(
            *(range(start, start + count) for start, count in zip(first, self.codec.grid, strict=True))
        )
        data = self.codec.pack(encoded.pop(place, None) for place in places)
        return self.writer.put(self.box.name, self.key(unit), data)

    def _encoded(self, groups: list[list[Position]]) -> list[tuple[Position, bytes | None]]:
        chunk = self.codec.chunk
        return [
            (position, None if chunk.is_fill(values) else chunk.encode(values))
            for positions in groups
            for position, values in self._gathered(positions)
        ]

    def _gathered(self, positions: list[Position]) -> list[tuple[Position, np.ndarray[Any, Any]]]:
        """Return whole chunks: views of the box where it holds them in one row, copies with fill behind its end else."""
        shape = self.codec.chunk.shape
        views = [self.box.values[self.grid.inside(position)] for position in positions]
        if all(view.shape == shape and view.flags.c_contiguous for view in views):
            return list(zip(positions, views, strict=True))
        whole = [
            np.empty(shape, view.dtype)
            if view.shape == shape
            else np.array(self.codec.chunk.absent(), view.dtype)
            for view in views
        ]
        parts = [
            (self.grid.inside(position), chunk[self.grid.within(position)])
            for position, chunk in zip(positions, whole, strict=True)
        ]
        copy_chunks(self.box.values, parts, into_box=False)
        return list(zip(positions, whole, strict=True))
