"""Channels of a session beside those of its store: whether they are the same, and the union where they are not.

A union keeps the store's channels where they are and puts new ones behind them. What a session lacks is fill there,
and objects that would hold nothing else are not written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from aggrade.errors import Problem
from aggrade.modalities import fill_of
from aggrade.uniting import placed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrade.commit.layers import LayerRecord

__all__ = [
    "Channels",
    "Runs",
    "Union",
    "channel_dims",
    "grown",
    "indices_of",
    "length_at",
    "other_channels",
    "other_values",
    "own_indices",
    "runs_of",
    "same_channels",
    "unite_channels",
]

Channels = Literal["refuse", "union"]
"""What becomes of a session whose channels are not the store's."""

Runs = tuple[tuple[int, int], ...]
"""Indices along an axis, in order, as half-open runs."""

_NAMED = 64


def channel_dims(dataset: xr.Dataset) -> list[str]:
    """Return the dimensions of channels that have names: ``channel``, ``eeg_channel`` and the like."""
    return [
        str(dim)
        for dim in dataset.sizes
        if str(dim).split("_")[-1] == "channel"
        and dim in dataset.variables
        and dataset.variables[dim].dims == (dim,)
    ]


@dataclass(frozen=True)
class Union:
    """A session on the channels of its store.

    Parameters
    ----------
    dataset
        Along each dimension of `runs` as long as the union of the store's channels and its own.
    runs
        Dimension → where its own channels lie there, in its own order; only those whose channels are not just the
        store's.
    """

    dataset: xr.Dataset
    runs: Mapping[str, Runs] = field(default_factory=dict)


def unite_channels(dataset: xr.Dataset, stored: xr.Dataset, along: str) -> Union:
    """Put sessions on the union of their store's channels and their own. Nothing lazy is read.

    Parameters
    ----------
    dataset
        Sessions. No channel is named twice.
    stored
        The store's lazy dataset; of it, only what does not grow (channel names, units) is read.
    along
        The dimension of sessions.
    """
    changed = {
        dim: (there, own)
        for dim in channel_dims(dataset)
        if dim in stored.variables
        and stored.variables[dim].dims == (dim,)
        and (there := _names(stored, dim)) != (own := _names(dataset, dim))
    }
    if not changed:
        return Union(dataset)
    wholes = {dim: list(dict.fromkeys([*there, *own])) for dim, (there, own) in changed.items()}
    inverse = {dim: _inverse(whole, changed[dim][1]) for dim, whole in wholes.items()}
    variables = {name: variable.copy(deep=False) for name, variable in dataset.variables.items()}
    for name, variable in dataset.variables.items():
        if set(inverse) & set(map(str, variable.dims)):
            whole = _on_union(variable, stored.variables.get(name), inverse)
            variables[name] = (
                whole if along in variable.dims else _with_stored(whole, stored.variables.get(name))
            )
    united = xr.Dataset(variables, attrs=dataset.attrs).set_coords(list(dataset.coords))
    return Union(united, {dim: runs_of(_places(wholes[dim], own)) for dim, (_, own) in changed.items()})


def _names(dataset: xr.Dataset, dim: str) -> list[str]:
    return [str(name) for name in dataset.variables[dim].values]


def _places(whole: Sequence[str], own: Sequence[str]) -> list[int]:
    at = {name: place for place, name in enumerate(whole)}
    return [at[name] for name in own]


def _inverse(whole: Sequence[str], own: Sequence[str]) -> NDArray[np.intp]:
    """Return for each channel of the union which of its own it is, -1 if it is none."""
    found = np.full(len(whole), -1, np.intp)
    found[_places(whole, own)] = np.arange(len(own))
    return found


def _on_union(
    variable: xr.Variable, there: xr.Variable | None, inverse: Mapping[str, NDArray[np.intp]]
) -> xr.Variable:
    places = {dim: inverse[str(dim)] for dim in variable.dims if str(dim) in inverse}
    return placed(variable, places, fill_of(variable if there is None else there))


def _with_stored(variable: xr.Variable, there: xr.Variable | None) -> xr.Variable:
    """Let what the store tells of its channels stand."""
    values = variable.values
    if there is not None and there.dims == variable.dims:
        values[tuple(slice(0, size) for size in there.shape)] = there.values
    return xr.Variable(variable.dims, values, variable.attrs, dict(variable.encoding))


def runs_of(places: Sequence[int]) -> Runs:
    """Return indices as half-open runs, in their order.

    >>> runs_of([0, 1, 2, 5, 3])
    ((0, 3), (5, 6), (3, 4))
    """
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return tuple(runs)


def indices_of(runs: Runs) -> list[int]:
    """Return the indices that half-open runs stand for.

    >>> indices_of(((0, 3), (5, 6), (3, 4)))
    [0, 1, 2, 5, 3]
    """
    return [index for start, stop in runs for index in range(start, stop)]


def grown(mark: Mapping[str, Any], union: Union, first: int, before: Mapping[str, int]) -> dict[str, Any]:
    """Return what the root is to keep of how long the axes of channels were when sessions came; empty if nothing.

    It is, for each such axis, a list of ``[row, length]``: from that row on, sessions were put on so many channels.
    From the second entry on, sessions need not have all of them.

    Parameters
    ----------
    mark
        What the root keeps.
    union
        The sessions that come.
    first
        The first one's row.
    before
        Length of each axis that the store has.
    """
    told: dict[str, Any] = {dim: list(entries) for dim, entries in mark.get("channels", {}).items()}
    for dim in union.runs:
        entries = told.setdefault(dim, [[0, before[dim]]])
        if len(entries) == 1 or entries[-1][1] != union.dataset.sizes[dim]:
            entries.append([first, union.dataset.sizes[dim]])
    return {"channels": told} if told else {}


def length_at(mark: Mapping[str, Any], dim: str, row: int, now: int) -> tuple[int, bool]:
    """Return how long an axis of channels was when a row came, and whether the row need not have all of them.

    Parameters
    ----------
    mark
        What the root keeps.
    dim, row
        The axis and the row.
    now
        The axis' length, which counts where the root keeps nothing.
    """
    entries = [(at, length) for at, length in mark.get("channels", {}).get(dim, ()) if at <= row]
    return (entries[-1][1], len(entries) > 1) if entries else (now, False)


def own_indices(record: LayerRecord, mark: Mapping[str, Any], sizes: Mapping[Any, int]) -> dict[str, Any]:
    """Return what of each axis is a layer's own, for `xarray.Dataset.isel`.

    Parameters
    ----------
    record
        The layer's.
    mark
        What the root keeps.
    sizes
        Length of each dimension.
    """
    cut: dict[str, Any] = {
        dim: slice(0, length_at(mark, dim, record.index, sizes[dim])[0])
        for dim in mark.get("channels", {})
        if dim in sizes
    }
    cut |= {dim: slice(0, size) for dim, size in record.sizes.items() if dim in sizes}
    return cut | {dim: indices_of(runs) for dim, runs in record.runs.items() if dim in sizes}


def same_channels(
    one: Mapping[str, Runs], other: Mapping[str, Runs], lengths: Mapping[str, tuple[int, int]]
) -> bool:
    """Tell whether two layers lie on the same channels.

    Parameters
    ----------
    one, other
        Dimension → runs of each; what isn't named is all channels of its time.
    lengths
        Dimension → how many these were for either.
    """
    return all(
        tuple(map(tuple, one.get(dim, ((0, mine),)))) == tuple(map(tuple, other.get(dim, ((0, its),))))
        for dim, (mine, its) in lengths.items()
    )


def other_channels(dataset: xr.Dataset, stored: xr.Dataset, dim: str, fix: str) -> Problem | None:
    """Return a problem that sets both lists of channels side by side, None if they are the same."""
    own, there = _names(dataset, dim), _names(stored, dim)
    if own == there:
        return None
    more = [name for name in own if name not in set(there)]
    less = [name for name in there if name not in set(own)]
    differs = [f"only here: {_listed(more)}"] * bool(more) + [f"only in the store: {_listed(less)}"] * bool(
        less
    )
    why = "; ".join(differs) or "in another order"
    return Problem(
        f"channels along {dim!r}",
        f"{len(own)}: {_listed(own)} ({why})",
        f"the store's {len(there)}: {_listed(there)}",
        fix,
        "channels",
    )


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_NAMED]) + (f" … {len(items) - _NAMED} more" if len(items) > _NAMED else "")


def other_values(dataset: xr.Dataset, stored: xr.Dataset, dim: str, along: str) -> Iterator[Problem]:
    """Yield what is told of channels (unit, type) and differs from what the store tells of the same, by name."""
    own, there = _names(dataset, dim), _names(stored, dim)
    twice = [name for name, count in Counter(own).items() if count > 1]
    if twice:
        found, fix = f"{_listed(twice)} more than once", "give each channel a name of its own"
        yield Problem(f"channels along {dim!r}", found, "each once", fix, "channel-twice")
        return
    at = {name: place for place, name in enumerate(there)}
    common = [(mine, at[name]) for mine, name in enumerate(own) if name in at]
    for name, variable in dataset.variables.items():
        other = stored.variables.get(name)
        told = dim in variable.dims and along not in variable.dims and name != dim
        if other is None or not told or other.dims != variable.dims:
            continue
        mine, its = _along(variable, dim), _along(other, dim)
        different = [pair for pair in common if not _equal(mine[pair[0]], its[pair[1]])]
        if different:
            found = _listed([f"{own[one]} {mine[one]}" for one, _ in different])
            expected = _listed([f"{there[two]} {its[two]}" for _, two in different])
            fix = "convert it, or use another store"
            yield Problem(
                f"variable {str(name)!r}", found, f"{expected}, as in the store", fix, "channel-values"
            )


def _along(variable: xr.Variable, dim: str) -> NDArray[Any]:
    return np.moveaxis(np.asarray(variable.values), variable.dims.index(dim), 0)


def _equal(one: Any, other: Any) -> bool:
    if np.shape(one) != np.shape(other):
        return False
    return bool(np.all((one == other) | ((one != one) & (other != other))))  # noqa: PLR0124 - only NaN differs from itself
