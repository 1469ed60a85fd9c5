"""Writing what an append brings: as many objects at once as requests may be under way, within bounded memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aggrade.commit.documents import dims_of, unit_of
from aggrade.encoding import blocks_of
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import xarray as xr

    from aggrade.commit import CommitPlan, Writer, WrittenObject

__all__ = ["IN_HAND", "Block", "Budget", "blocks_in", "write_blocks"]

IN_HAND = 64 << 20
"""Bytes of values, as they are stored, that an append has in hand at once; a larger block goes alone."""


@dataclass(frozen=True)
class Block:
    """A part of one array that is encoded and written at once.

    Parameters
    ----------
    name
        The array.
    where
        One slice per dimension, in the store.
    values
        What belongs there; lazy where it was handed over lazily.
    """

    name: str
    where: tuple[slice, ...]
    values: xr.Variable

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return int(self.values.size * self.values.dtype.itemsize)


class Budget:
    """A number of bytes that several threads share."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Hold so many bytes for the length of a ``with`` block, once they are free; more than there are: all."""
        wanted = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._used + wanted <= self._size)
            self._used += wanted
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()


def blocks_in(
    commit: CommitPlan, variables: Mapping[str, xr.Variable], *, without: Collection[str] = ()
) -> Iterator[Block]:
    """Yield the regions of a commit in blocks of whole units, of some 16 MB each.

    Parameters
    ----------
    commit
        What will be written.
    variables
        Encoded variables; along the commit's dimension they have the new rows only.
    without
        Variables that are left out.
    """
    first = _first_row(commit)
    for region in commit.regions:
        if region.variable in without:
            continue
        document, variable = commit.documents[region.variable], variables[region.variable]
        origins = [first if dim == commit.dim else 0 for dim in dims_of(document)]
        if not region.bounds:
            yield Block(region.variable, (), variable)
            continue
        for block in blocks_of(region.bounds, unit_of(document), variable.dtype.itemsize):
            inner = tuple(
                slice(part.start - origin, part.stop - origin)
                for part, origin in zip(block, origins, strict=True)
            )
            yield Block(region.variable, block, variable[inner])


def _first_row(commit: CommitPlan) -> int:
    """Return the row that the first new one becomes."""
    starts = (
        start
        for region in commit.regions
        for dim, (start, _) in zip(dims_of(commit.documents[region.variable]), region.bounds, strict=True)
        if dim == commit.dim
    )
    return min(starts, default=0)


def write_blocks(writer: Writer, blocks: Iterator[Block]) -> list[WrittenObject]:
    """Write blocks, small ones first, so that they don't wait for memory.

    Returns
    -------
    list of WrittenObject
        All of them.

    Raises
    ------
    AggradeError
        As `Writer.write`.
    """
    budget = Budget(IN_HAND)

    def write(block: Block) -> list[WrittenObject]:
        with budget.taking(block.size):
            return writer.write(block.name, block.where, np.asarray(block.values.values))

    ordered = sorted(blocks, key=lambda block: block.size)
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return [item for items in pool.map(write, ordered) for item in items]
