"""Reading whole units of windows ahead of their use, within bounded memory."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.window_order import EpochOrder, Piece
    from aggrade.window_parts import Part
    from aggrade.window_table import Windows

__all__ = ["Loader", "Samples"]


@dataclass(frozen=True, eq=False)
class Samples:
    """How one modality is read.

    Parameters
    ----------
    name
        The variable.
    places
        For each part, the index in it of each channel that is wanted, -1 where it has none; None if the part's
        own channels are just those.
    shape
        (channel, sample) of a window.
    dtype
        Of the samples.
    """

    name: str
    places: Sequence[NDArray[np.intp] | None]
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of one window."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def empty(self, count: int) -> NDArray[Any]:
        """Return room for so many windows."""
        return np.empty((count, *self.shape), self.dtype)

    def read(
        self, part: Part, at: int, rows: NDArray[np.intp], windows: NDArray[np.intp], out: NDArray[Any]
    ) -> None:
        """Read windows of one unit into `out` (window, channel, sample); what a part lacks is NaN.

        Parameters
        ----------
        part, at
            The store, and its number.
        rows, windows
            (window,) which.
        out
            Where they belong.
        """
        if self.name not in part.dataset.variables:
            out[...] = np.nan
            return
        places = self.places[at]
        if places is None:
            part.read(self.name, rows, windows, out)
            return
        channels = part.dataset.sizes[f"{self.name}_channel"]
        block = np.empty((len(rows), channels, self.shape[1]), self.dtype)
        part.read(self.name, rows, windows, block)
        np.take(block, places, axis=1, out=out, mode="clip")
        out[:, places < 0] = np.nan


@dataclass(frozen=True, eq=False)
class Loader:
    """Reads the windows of a table.

    Parameters
    ----------
    parts
        The stores.
    windows
        The table.
    samples
        What is read of each window.
    threads
        How many units are read at once.
    """

    parts: Sequence[Part]
    windows: Windows
    samples: Sequence[Samples]
    threads: int

    def groups(self, order: EpochOrder, first: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the samples of group after group, reading one ahead.

        Parameters
        ----------
        order
            Which groups.
        first
            The group to begin with.
        """
        waiting: deque[tuple[dict[str, NDArray[Any]], list[Future[None]]]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="aggrade-windows") as pool:
            try:
                for group in order.groups[first:]:
                    waiting.append(self._begin(pool, group))
                    if len(waiting) > 1:
                        yield _ended(*waiting.popleft())
                while waiting:
                    yield _ended(*waiting.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, group: Sequence[Piece]
    ) -> tuple[dict[str, NDArray[Any]], list[Future[None]]]:
        count = sum(stop - first for first, stop in group)
        values = {one.name: one.empty(count) for one in self.samples}
        running, start = [], 0
        for first, stop in group:
            room = {name: array[start : start + stop - first] for name, array in values.items()}
            running.append(pool.submit(self._read, (first, stop), room))
            start += stop - first
        return values, running

    def _read(self, piece: Piece, room: Mapping[str, NDArray[Any]]) -> None:
        chosen = slice(*piece)
        sessions = self.windows.session[chosen]
        at = int(self.windows.sessions.part[sessions[0]])
        part, rows = self.parts[at], self.windows.sessions.row[sessions]
        try:
            for one in self.samples:
                one.read(part, at, rows, self.windows.window[chosen].astype(np.intp), room[one.name])
        except Exception:
            part.check()
            raise
        part.check()

    def read_one(self, session: int, window: int) -> dict[str, NDArray[Any]]:
        """Return the samples of one window, (channel, sample) each.

        Parameters
        ----------
        session
            Index into the sessions of the table.
        window
            Which window of it.
        """
        at = int(self.windows.sessions.part[session])
        part, values = self.parts[at], {one.name: one.empty(1) for one in self.samples}
        place = self.windows.sessions.row[session : session + 1], np.array([window], np.intp)
        try:
            for one in self.samples:
                one.read(part, at, *place, values[one.name])
        except Exception:
            part.check()
            raise
        if any(np.isnan(array).all() for array in values.values()):
            part.check()
        return {name: array[0] for name, array in values.items()}


def _ended(values: dict[str, NDArray[Any]], running: Sequence[Future[None]]) -> dict[str, NDArray[Any]]:
    for one in running:
        one.result()
    return values
