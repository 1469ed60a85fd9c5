"""Values where no layer has brought any: behind the last window of a shorter session, or on channels that it lacks.

Where a layer has nothing, there is no object, or fill in one that others share or that covers what a dead writer left.
Its record says how far it reaches, so that anything else is found from a listing and a look at few objects.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.channels import own_indices
from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import dims_of, in_grid, index_of, shape_of, unit_of
from aggrade.commit.erasing import same_values
from aggrade.commit.layers import replaced_before
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from aggrade.commit import Document, LayerRecord, Snapshot
    from aggrade.storage import ObjectInfo, Storage

__all__ = ["foreign_problems", "reached", "torn_in_no_use"]

_FIX = "remove it and append it anew"


@dataclass(frozen=True, slots=True)
class _Seen:
    """An object in whose place a layer has nothing, or not as much as there is room for."""

    key: str
    name: str
    index: tuple[int, ...]


def foreign_problems(storage: Storage, shown: Snapshot, records: Iterable[LayerRecord]) -> Iterator[str]:
    """Yield a sentence for each layer that shows values which it did not bring.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    records
        Of its layers, each where it says. Rows that bear none, such as another tool's, or withdrawn ones, are left out.
    """
    hidden = set(shown.mark.get("superseded") or [])
    rows = {one.index: _Reach(one, shown) for one in records if one.index not in hidden}
    seen = list(_suspects(storage, shown, rows))
    chunks = {name: Chunks(shown.documents[name]) for name in {one.name for one in seen}}

    def strange(one: _Seen) -> list[int]:
        stored = storage.read(one.key)
        return [] if stored is None else _strange_rows(stored.data, one, shown, rows, chunks[one.name])

    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        found = list(zip(seen, pool.map(strange, seen), strict=True))
    for row in sorted({row for _, strangers in found for row in strangers}):
        keys = [one.key for one, strangers in found if row in strangers]
        label = rows[row].record.label
        yield f"{storage.url}: layer {label!r} shows values that it did not bring, in {len(keys)} objects, such as {keys[0]}; {_FIX}."


def torn_in_no_use(storage: Storage, shown: Snapshot, records: Iterable[LayerRecord]) -> list[ObjectInfo]:
    """Return the objects that can't be decoded and of which every row has been taken away: the next append shares them.

    Parameters
    ----------
    storage, shown
        As for `foreign_problems`.
    records
        Of all layers. What they have replaced is left out, for a restore shows it again.
    """
    needed = {former.index for one in records for former in replaced_before(one, shown)}
    hidden = {*(shown.mark.get("superseded") or [])} - needed
    infos = [info for info in storage.list() if _is_hidden(shown, info, hidden)]

    def is_torn(info: ObjectInfo) -> bool:
        stored = storage.read(info.key)
        try:
            Chunks(shown.documents[info.key.partition("/")[0]]).values(stored.data if stored else None)
        except (RuntimeError, ValueError):
            return True
        return False

    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        return [info for info, torn in zip(infos, pool.map(is_torn, infos), strict=True) if torn]


def _is_hidden(shown: Snapshot, info: ObjectInfo, hidden: set[int]) -> bool:
    """Tell whether an object that is not empty holds rows within the shape, and all of them are hidden."""
    name, dim = info.key.partition("/")[0], shown.mark.get("dim", "")
    document = shown.documents.get(name)
    if not hidden or not info.size or document is None or dim not in dims_of(document):
        return False
    index = index_of(name, document, info.key)
    return (
        index is not None and in_grid(document, index) and hidden.issuperset(_rows_of(document, index, dim))
    )


def reached(shown: Snapshot, record: LayerRecord) -> dict[str, Any]:
    """Return what of each axis is a layer's own, for `xarray.Dataset.isel`; axes that are its own as a whole are left out.

    Parameters
    ----------
    shown
        The state that the store shows.
    record
        The layer's. Those of aggrade 0.1 say only what was declared to grow by then; how far its own objects reach tells
        of the others.
    """
    by_objects = {
        dim: slice(0, stop)
        for target in record.targets
        if target.variable in shown.documents
        for dim, (start, stop) in zip(dims_of(shown.documents[target.variable]), target.bounds, strict=False)
        if start == 0 and dim != shown.mark["dim"]
    }
    return by_objects | own_indices(record, shown.mark, shown.sizes)


@dataclass(frozen=True)
class _Reach:
    """What of a store is one layer's own."""

    record: LayerRecord
    shown: Snapshot

    def claims(self, name: str, index: tuple[int, ...]) -> bool:
        """Tell whether an object is the layer's alone, so that its record has a digest of it."""
        return any(
            target.variable == name
            and all(
                start <= at * unit < stop
                for at, unit, (start, stop) in zip(index, target.unit, target.bounds, strict=True)
            )
            for target in self.record.targets
        )

    def own(self, document: Document, index: tuple[int, ...]) -> list[NDArray[np.bool_]]:
        """Return, for each axis, which places of an object are the layer's."""
        reach = reached(self.shown, self.record)
        return [
            _mask(reach.get(dim), at * unit, unit)
            for dim, at, unit in zip(dims_of(document), index, unit_of(document), strict=True)
        ]


def _mask(own: Any, start: int, unit: int) -> NDArray[np.bool_]:
    if own is None:
        return np.ones(unit, bool)
    places = np.arange(start, start + unit)
    return places < own.stop if isinstance(own, slice) else np.isin(places, own)


def _suspects(storage: Storage, shown: Snapshot, rows: Mapping[int, _Reach]) -> Iterator[_Seen]:
    """Yield the objects that a layer has not brought, or not as a whole."""
    dim = shown.mark["dim"]
    for info in storage.list():
        name = info.key.partition("/")[0]
        document = shown.documents.get(name)
        index = (
            None if document is None or dim not in dims_of(document) else index_of(name, document, info.key)
        )
        if document is None or index is None or not info.size or not in_grid(document, index):
            continue
        within = [(row, rows[row]) for row in _rows_of(document, index, dim) if row in rows]
        if any(_may_be_strange(reach, name, document, index, dim) for _, reach in within):
            yield _Seen(info.key, name, index)


def _rows_of(document: Document, index: tuple[int, ...], dim: str) -> range:
    axis = dims_of(document).index(dim)
    unit = unit_of(document)[axis]
    return range(index[axis] * unit, min((index[axis] + 1) * unit, shape_of(document)[axis]))


def _may_be_strange(reach: _Reach, name: str, document: Document, index: tuple[int, ...], dim: str) -> bool:
    if reach.claims(name, index):
        return False
    if _is_alone(document, dim):
        return bool(reach.record.targets)
    shape, unit = shape_of(document), unit_of(document)
    masks = zip(reach.own(document, index), index, unit, shape, dims_of(document), strict=True)
    return not all(mask[: size - at * one].all() for mask, at, one, size, name in masks if name != dim)


def _is_alone(document: Document, dim: str) -> bool:
    """Tell whether each object of an array holds one row: then a record names those of its layer."""
    return unit_of(document)[dims_of(document).index(dim)] == 1


def _shown(document: Document, index: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of an object that lies within the shape: beyond it, what a restore gave up waits to be cleared."""
    place = zip(index, unit_of(document), shape_of(document), strict=True)
    return tuple(slice(0, min(unit, size - at * unit)) for at, unit, size in place)


def _strange_rows(
    data: bytes, one: _Seen, shown: Snapshot, rows: Mapping[int, _Reach], chunks: Chunks
) -> list[int]:
    """Return the rows in an object that show values beside their layer's own. Of a shared one that is torn, its content tells."""
    document, dim = shown.documents[one.name], shown.mark["dim"]
    within = {row: at for at, row in enumerate(_rows_of(document, one.index, dim)) if row in rows}
    try:
        values, clean = (chunks.values(content)[_shown(document, one.index)] for content in (data, None))
    except (RuntimeError, ValueError):
        return list(within) if _is_alone(document, dim) else []
    axis = dims_of(document).index(dim)
    found = []
    for row, at in within.items():
        there, nothing = (np.take(one_, [at], axis) for one_ in (values, clean))
        if not _is_alone(document, dim):
            own = zip(rows[row].own(document, one.index), there.shape, strict=True)
            masks = [mask[:size] for mask, size in own]
            masks[axis] = np.ones(1, bool)
            nothing[np.ix_(*masks)] = there[np.ix_(*masks)]
        if not same_values(there, nothing):
            found.append(row)
    return found
