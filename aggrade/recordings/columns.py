"""Chosen columns of a wide table in an HDF5 file, read by pieces of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.recordings import reader_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Columns", "made_up"]

PIECE_BYTES = 64 << 20
_SPAN = 4096


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of an HDF5 dataset (row, column), as float32, which keeps their order.

    A piece of the file of bounded size is in memory at a time, of whole HDF5 chunks where the file has any, so
    that none is unpacked twice within a read.

    Parameters
    ----------
    table
        The dataset, of one or two dimensions.
    picks
        The columns.
    name
        What the table is reported by.
    piece_bytes
        Largest piece; one HDF5 chunk, if that is more.
    what
        The file's format, as users know it.
    """

    table: Any
    picks: Sequence[int]
    name: str
    piece_bytes: int = PIECE_BYTES
    what: str = "HDF5"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, number of chosen columns."""
        return int(self.table.shape[0]), len(self.picks)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return consecutive rows of the chosen columns, (row, column) float32.

        Raises
        ------
        BadInput
            If the file cannot be read there.
        """
        start, stop, _ = rows.indices(self.shape[0])
        values = np.empty((max(stop - start, 0), len(self.picks)), np.float32)
        with reader_errors(self.name, self.what):
            for where, columns in self._groups:
                for low, high in self._pieces(start, stop, columns):
                    values[low - start : high - start, where] = self._read(low, high, columns)
        return values

    @cached_property
    def _chunk(self) -> tuple[int, int]:
        chunks = self.table.chunks or (1, _SPAN)
        return int(chunks[0]), int(chunks[1]) if len(chunks) > 1 else 1

    @cached_property
    def _groups(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Columns that lie in one HDF5 chunk, or near each other: where they go, and which they are."""
        picks = np.asarray(self.picks, np.intp)
        order = np.argsort(picks, kind="stable")
        parts = np.flatnonzero(np.diff(picks[order] // self._chunk[1])) + 1
        bounds = [0, *parts.tolist(), len(picks)]
        return [(order[low:high], picks[order[low:high]]) for low, high in pairwise(bounds)]

    def _pieces(self, start: int, stop: int, columns: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
        width = int(columns[-1] - columns[0] + 1) * self.table.dtype.itemsize
        whole = max(1, self.piece_bytes // width // self._chunk[0]) * self._chunk[0]
        bounds = [start, *range((start // whole + 1) * whole, stop, whole), stop]
        return ((low, high) for low, high in pairwise(bounds) if high > low)

    def _read(self, low: int, high: int, columns: NDArray[np.intp]) -> NDArray[Any]:
        if self.table.ndim == 1:
            return np.asarray(self.table[low:high])[:, None]
        first = int(columns[0])
        block = self.table[low:high, first : int(columns[-1]) + 1]
        return np.asarray(block[:, columns - first])


def made_up(table: Any) -> str:
    """Say why HDF5 may give numbers for a dataset that nobody wrote, or wrote elsewhere; an empty text if it can't.

    It reads the fill value, as a rule 0, where nothing was written and where another file is not there. A fill
    value of NaN says what it is. Where a chunk lies, it takes from an index that bears no checksum as a rule.

    Parameters
    ----------
    table
        The dataset.
    """
    if table.is_virtual or table.external:
        return "a dataset whose numbers lie in other files"
    if not table.size:
        return ""
    says_so = table.dtype.kind == "f" and np.isnan(table.fillvalue)
    if table.chunks is None:
        return "" if says_so or table.id.get_storage_size() else "a dataset that was never written"
    places = _places(table)
    if not _can_be(table, places):
        return "a dataset whose chunks lie where they can't: its index is damaged"
    chunks = prod(ceil(length / part) for length, part in zip(table.shape, table.chunks, strict=True))
    missing = chunks - len(places)
    return (
        ""
        if says_so or not missing
        else f"a dataset of which {missing} of {chunks} chunks were never written"
    )


def _places(table: Any) -> list[tuple[tuple[int, ...], int, int]]:
    """Return what the index says: the first element of each chunk, and the bytes of the file that it takes."""
    found: list[tuple[tuple[int, ...], int, int]] = []
    table.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset, chunk.byte_offset, chunk.size)))
    return found


def _can_be(table: Any, places: list[tuple[tuple[int, ...], int, int]]) -> bool:
    """Tell whether chunks lie on the grid, each once, in bytes of their own."""
    firsts = {first for first, _, _ in places}
    on_grid = all(
        0 <= at < length and at % part == 0
        for first in firsts
        for at, length, part in zip(first, table.shape, table.chunks, strict=True)
    )
    spans = sorted((begin, begin + size) for _, begin, size in places)
    apart = all(begin > 0 and end > begin for begin, end in spans)
    apart = apart and all(one[1] <= other[0] for one, other in pairwise(spans))
    return on_grid and apart and len(firsts) == len(places)
