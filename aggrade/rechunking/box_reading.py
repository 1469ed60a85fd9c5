"""Filling a box from the objects of a store, straight with the codecs, several at a time."""

from __future__ import annotations

import itertools
import math
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import Damaged, Problem
from aggrade.rechunking.blocking import copy_stack, fastest_axis
from aggrade.rechunking.boxes import BoxWork, bounds_of, fits_whole, in_threads
from aggrade.rechunking.object_codec import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.boxes import Position
    from aggrade.storage import Storage

__all__ = ["BoxReader", "undecodable_chunks"]

_UNDECODABLE = (ValueError, RuntimeError, OSError, EOFError, zlib.error)


@contextmanager
def undecodable_chunks(url: str, name: str, part: Bounds) -> Iterator[None]:
    """Turn what codecs raise on damaged bytes into one error that names the place.

    Parameters
    ----------
    url, name, part
        The store, the array, and what of it is decoded.
    """
    try:
        yield
    except _UNDECODABLE as error:
        box = ", ".join(f"{start}:{stop}" for start, stop in part)
        problem = Problem(
            f"{url}/{name}[{box}]",
            f"chunks that can't be decoded ({error})",
            "chunks as they were written",
            "verify the source and restore its backup, then run it again",
            "chunk-undecodable",
        )
        raise Damaged(problem) from error


@dataclass(frozen=True)
class BoxReader(BoxWork):
    """Fills a box from the objects of a store."""

    storage: Storage
    buffers: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def read(self) -> None:
        """Read each object that holds a part of the box once, or the chunks of it that do where it is large.

        Raises
        ------
        Damaged
            If a chunk can't be decoded.
        """
        if self.codec.index is None:
            groups = self.box.groups(self.codec.unit, self.most)
            in_threads(self._copy_objects, groups, self.threads(self.group_bytes))
            return
        if fits_whole(self.unit_bytes, self.spare):
            units = itertools.product(*self.box.positions(self.codec.unit))
            in_threads(self._copy_shard, units, self.threads(self.unit_bytes + self.group_bytes))
            return
        for unit in itertools.product(*self.box.positions(self.codec.unit)):
            self._copy_large_shard(unit)

    def _copy_objects(self, positions: list[Position]) -> None:
        self._copy(positions, lambda position: self._chunk(self._read(position), position))

    def _copy_shard(self, unit: Position) -> None:
        data = self._read(unit)
        spans = self._spans(data, unit)
        for positions in self.box.groups(self.codec.chunk.shape, self.most, bounds_of(unit, self.codec.unit)):
            self._copy(positions, lambda position: self._part(data, spans, unit, position))

    def _copy_large_shard(self, unit: Position) -> None:
        """Read the index, then the chunks that are needed, each by a request of its own."""
        size = self.codec.index_bytes
        assert self.codec.index is not None
        place = {"start": -size} if self.codec.index.at_end else {"stop": size}
        found = self.storage.read(self.key(unit), **place)
        spans = None if found is None else self._decoded_spans(found.data, unit)

        def copy(positions: list[Position]) -> None:
            self._copy(positions, lambda position: self._ranged(unit, spans, position))

        groups = self.box.groups(self.codec.chunk.shape, self.most, bounds_of(unit, self.codec.unit))
        in_threads(copy, groups, self.threads(self.group_bytes))

    def _copy(self, positions: list[Position], chunk: Callable[[Position], np.ndarray[Any, Any]]) -> None:
        """Put what `chunk` returns of each position into the box."""
        part = self.together(positions) if len(positions) > 1 else None
        if part is None:
            for each in positions:
                self.box.values[self.grid.inside(each)] = chunk(each)[self.grid.within(each)]
            return
        shape = (len(positions), *self.box.values[self.grid.inside(positions[0])].shape)
        buffer = self._buffer(math.prod(shape), part.dtype)
        stack = buffer[: math.prod(shape)].reshape(shape)
        for row, each in zip(stack, positions, strict=True):
            row[...] = chunk(each)[self.grid.within(each)]
        copy_stack(part, stack, fastest_axis(self.box.values.shape), into_box=True)
        self.buffers.append(buffer)

    def _buffer(self, items: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return memory that another group is done with, which the system need not clear again, or new one."""
        with suppress(IndexError):
            buffer = self.buffers.pop()
            if len(buffer) >= items:
                return buffer
        return np.empty(items, dtype)

    def _read(self, position: Position) -> bytes | None:
        stored = self.storage.read(self.key(position))
        return None if stored is None else stored.data

    def _chunk(self, data: bytes | memoryview | None, position: Position) -> np.ndarray[Any, Any]:
        if data is None:
            return self.codec.chunk.absent()
        with undecodable_chunks(self.storage.url, self.box.name, self.grid.shared(position)):
            return self.codec.chunk.decode(data)

    def _spans(self, data: bytes | None, unit: Position) -> np.ndarray[Any, Any] | None:
        if data is None:
            return None
        assert self.codec.index is not None
        size = self.codec.index_bytes
        return self._decoded_spans(data[-size:] if self.codec.index.at_end else data[:size], unit)

    def _decoded_spans(self, data: bytes, unit: Position) -> np.ndarray[Any, Any]:
        part = self.box.grid(self.codec.unit).shared(unit)
        with undecodable_chunks(self.storage.url, self.box.name, part):
            return self.codec.spans(data)

    def _span(
        self, spans: np.ndarray[Any, Any] | None, unit: Position, position: Position
    ) -> tuple[int, int] | None:
        """Return where in its object a chunk starts and stops; None if it is absent."""
        if spans is None:
            return None
        offset, length = spans[
            tuple(
                index - whole * count
                for index, whole, count in zip(position, unit, self.codec.grid, strict=True)
            )
        ].tolist()
        return None if (offset, length) == (int(ABSENT), int(ABSENT)) else (offset, offset + length)

    def _part(
        self, data: bytes | None, spans: np.ndarray[Any, Any] | None, unit: Position, position: Position
    ) -> np.ndarray[Any, Any]:
        span = self._span(spans, unit, position)
        part = None if span is None or data is None else memoryview(data)[slice(*span)]
        return self._chunk(part, position)

    def _ranged(
        self, unit: Position, spans: np.ndarray[Any, Any] | None, position: Position
    ) -> np.ndarray[Any, Any]:
        span = self._span(spans, unit, position)
        if span is None:
            return self._chunk(None, position)
        found = self.storage.read(self.key(unit), start=span[0], stop=span[1])
        return self._chunk(None if found is None else found.data, position)
