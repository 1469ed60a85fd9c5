"""Which windows a reader reads: flat arrays with one entry for each, in the order in which they lie in objects."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.settings import settings
from aggrade.window_selection import selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.window_parts import Part

__all__ = ["Sessions", "Windows", "list_windows"]

_LEAST_READ = 16 << 20


@dataclass(frozen=True, eq=False)
class Sessions:
    """The sessions of all parts, one behind the other.

    Parameters
    ----------
    labels
        (session,) ids.
    part, row
        (session,) where each lies.
    windows
        (session,) how many windows each has.
    """

    labels: NDArray[np.object_]
    part: NDArray[np.int32]
    row: NDArray[np.int64]
    windows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows that were chosen.

    Parameters
    ----------
    sessions
        All sessions.
    session, window
        (n,) index into `sessions`, and which window of it.
    columns
        Name → (n,) values, such as ``label``.
    units
        (unit + 1,) where each unit begins: windows that lie in the same object of their store.
    """

    sessions: Sessions
    session: NDArray[np.int32]
    window: NDArray[np.int32]
    columns: Mapping[str, NDArray[Any]]
    units: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.session)

    @property
    def digest(self) -> str:
        """What tells whether two readers read the same windows of the same sessions."""
        total = hashlib.sha256(repr(list(self.sessions.labels)).encode())
        for values in (self.sessions.windows, self.session, self.window, self.units):
            total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()[:32]


def list_windows(
    parts: Sequence[Part],
    names: Mapping[str, int],
    columns: Mapping[str, Any],
    where: Mapping[str, Any] | None,
) -> Windows:
    """List the windows of all parts that fulfil every condition.

    Parameters
    ----------
    parts
        The stores.
    names
        Variable of samples → bytes of one window of it.
    columns
        Variable with one number per window → what stands where a store lacks it.
    where
        As for `aggrade.window_selection.selected`.

    Raises
    ------
    BadInput
        If a condition can't be met by any window whatever it holds: see `selected`.
    """
    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        listed = list(pool.map(lambda part: _list(part, names, columns, where), parts))
    offsets = np.cumsum([0, *(len(part.rows) for part in parts)])
    labels = np.array([label for part in parts for label in part.labels], object)
    owner = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.rows) for part in parts])
    rows = np.concatenate([part.rows for part in parts]).astype(np.int64)
    counts = np.concatenate([one.counts for one in listed])
    starts = np.cumsum([0, *(len(one.session) for one in listed)])
    return Windows(
        Sessions(labels, owner, rows, counts),
        np.concatenate([one.session + offset for one, offset in zip(listed, offsets, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([one.window for one in listed]),
        {name: np.concatenate([one.columns[name] for one in listed]) for name in columns},
        np.concatenate(
            [*(one.units + start for one, start in zip(listed, starts, strict=False)), starts[-1:]]
        ),
    )


@dataclass(frozen=True, eq=False)
class _Listed:
    """The chosen windows of one part; sessions are counted from its first."""

    counts: NDArray[np.int64]
    session: NDArray[np.int64]
    window: NDArray[np.int32]
    columns: dict[str, NDArray[Any]]
    units: NDArray[np.int64]


def _list(
    part: Part, names: Mapping[str, int], columns: Mapping[str, Any], where: Mapping[str, Any] | None
) -> _Listed:
    longest = part.dataset.sizes["window"]
    counts = part.column("n_windows", longest).reshape(len(part.rows), -1)[:, :1].astype(np.int64)
    chosen = np.arange(longest) < counts
    if where:
        chosen &= selected(part.dataset.isel(session=part.rows), where)
    session, window = np.nonzero(chosen)
    across, along = _unit(part, names)
    blocks = part.rows[session] // across, window // along
    order = np.lexsort((window, session, blocks[1], blocks[0]))
    edges = np.diff(blocks[0][order], prepend=-1) | np.diff(blocks[1][order], prepend=-1)
    return _Listed(
        counts[:, 0],
        session[order],
        window[order].astype(np.int32),
        {name: part.column(name, fill)[session, window][order] for name, fill in columns.items()},
        np.flatnonzero(edges),
    )


def _unit(part: Part, names: Mapping[str, int]) -> tuple[int, int]:
    """Return how many sessions and windows are read at once: those of one object, of some where they are small."""
    units = [part.unit_of(name) for name in names]
    across, along = max(unit[0] for unit in units), max(unit[1] for unit in units)
    return across, along * max(1, _LEAST_READ // (across * along * sum(names.values())))
