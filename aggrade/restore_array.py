"""The plan of a restore for one array: it stays where it lies, gets objects back, or moves.

What a store showed earlier mostly lies there still: an append changes nothing that was published before it. Such an
array *stays*, and a shorter shape hides what came later. An array that was longer *grows*: objects beyond what is
published now are written back, where no reader looks. An array of which published values would change *moves* to
another key space (docs/decisions/0002-versions-in-one-store.md), object by object; the root switches over to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import dims_of, in_grid, index_of, key_of, same_keys, shape_of, unit_of
from aggrade.commit.erasing import same_values
from aggrade.commit.plan import Region, Target
from aggrade.commit.regions import beyond, box_around, everything
from aggrade.rechunking.slots import key_encoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.states import KeptState
    from aggrade.storage import ObjectInfo

__all__ = ["ArrayPlan", "How", "plan_array"]

How = Literal["stays", "grows", "moves"]
"""What becomes of an array."""

Index = tuple[int, ...]


@dataclass(frozen=True)
class ArrayPlan:
    """What becomes of one array.

    Parameters
    ----------
    name, how
        The array, and in which of the three ways it comes back.
    before, after
        Its document in the state that is restored, and the one it gets.
    wanted
        Index of each object that is written.
    abandons, keeps
        Regions that do not show afterwards although objects lie there, and regions to copy into the backup.
    """

    name: str
    how: How
    before: Document
    after: Document
    wanted: tuple[Index, ...] = ()
    abandons: tuple[Target, ...] = ()
    keeps: tuple[Target, ...] = field(default=())

    @property
    def region(self) -> Region | None:
        """Where the array is written, None if it isn't."""
        if self.how == "moves" and 0 not in shape_of(self.after):
            return Region(variable=self.name, bounds=tuple((0, size) for size in shape_of(self.after)))
        box = box_around(self.name, self.after, self.wanted)
        return Region(variable=self.name, bounds=box[0].bounds) if box else None


def plan_array(
    state: KeptState, name: str, now: Document | None, dim: str | None, there: Mapping[str, ObjectInfo]
) -> ArrayPlan:
    """Plan how one array comes back.

    Parameters
    ----------
    state
        The state that is restored.
    name, now
        The array and its document as it is published; None where it isn't.
    dim
        The dimension along which the store grows.
    there
        Key → what lies in the array's folder.
    """
    return _Array(state, name, now, dim, there).plan()


class _Array:
    """One array on its way back."""

    def __init__(
        self,
        state: KeptState,
        name: str,
        now: Document | None,
        dim: str | None,
        there: Mapping[str, ObjectInfo],
    ) -> None:
        self.state, self.name, self.now, self.dim, self.there = state, name, now, dim, there
        self.document = state.shown.documents[name]
        self.shape = shape_of(self.document)
        self.seen = shape_of(now) if now is not None else tuple(0 for _ in self.shape)
        self.chunks = Chunks(self.document)
        self.known = sorted(
            index for index in self._indices(self.document, self._keys()) if in_grid(self.document, index)
        )

    def _keys(self) -> set[str]:
        kept = {key for one in self.state.later for key in one.objects if key.startswith(f"{self.name}/")}
        return {*self.there, *kept}

    def _indices(self, document: Document, keys: Iterable[str]) -> set[Index]:
        found = (index_of(self.name, document, key) for key in keys)
        return {index for index in found if index is not None}

    def plan(self) -> ArrayPlan:
        """Decide."""
        how = self._how()
        after = self.document if how != "moves" else self._moved()
        lying = self._indices(after, self.there)
        wanted = tuple(index for index in self.known if how == "moves" or self._comes_back(index))
        if how == "stays":
            wanted = ()
        if how == "moves":
            wanted += tuple(sorted(index for index in lying - set(wanted) if in_grid(after, index)))
        abandons = _abandoned(self.name, after, self.dim, lying | set(wanted))
        keeps = everything(self.name, after) if how == "moves" else beyond(self.name, after, self.dim)
        return ArrayPlan(self.name, how, self.document, after, wanted, abandons, keeps)

    def _how(self) -> How:
        if self.now is None:
            return "grows"
        if not self._is_alike(self.now):
            return "moves"
        pairs = list(zip(self.shape, self.seen, strict=True))
        shorter, longer = all(a <= b for a, b in pairs), all(a >= b for a, b in pairs)
        if not (shorter or longer) or any(map(self._changes, self.known)):
            return "moves"
        return "stays" if shorter else "grows"

    def _is_alike(self, now: Document) -> bool:
        """Tell whether the array is published under the same keys and codecs, whatever its length."""
        plain = [
            {**doc, "shape": [], "attributes": {}, "chunk_key_encoding": {}} for doc in (now, self.document)
        ]
        return same_keys(now, self.document) and plain[0] == plain[1]

    def _changes(self, index: Index) -> bool:
        """Tell whether an object held other values than it does, where both states show it."""
        key = key_of(self.name, self.document, index)
        source = self.state.source(key)
        shown = self._both_show(index)
        if source is None or shown is None:
            return False
        info = self.there.get(key)
        if info is not None and source.holds_copy(key) and source.objects.get(key) == info.etag:
            return False
        stored = self.state.storage.read(key)
        then, today = self.state.read(key), stored.data if stored else None
        return then != today and not self._alike(then, today, shown)

    def _alike(self, then: bytes | None, today: bytes | None, shown: tuple[slice, ...]) -> bool:
        old = self.chunks.values(then)
        try:
            return same_values(old[shown], self.chunks.values(today)[shown])
        except (RuntimeError, ValueError):
            return False

    def _both_show(self, index: Index) -> tuple[slice, ...] | None:
        """Return the part of an object that lies in both shapes, None if there is none."""
        part = tuple(
            slice(0, min(a, b, (i + 1) * unit) - i * unit)
            for i, unit, a, b in zip(index, unit_of(self.document), self.shape, self.seen, strict=True)
        )
        return None if any(piece.stop <= 0 for piece in part) or self.now is None else part

    def _comes_back(self, index: Index) -> bool:
        """Tell whether an object has to be written for an array that grows.

        Of those that are published in part, the ones in the last rows always are: a writer that sleeps may know
        their marks.
        """
        if not in_grid(self.now, index):
            return True
        if not any(
            min((i + 1) * unit, size) > seen
            for i, unit, size, seen in zip(index, unit_of(self.document), self.shape, self.seen, strict=True)
        ):
            return False
        key = key_of(self.name, self.document, index)
        return self._in_last_rows(index) or self.state.source(key) is not None

    def _in_last_rows(self, index: Index) -> bool:
        dims = dims_of(self.document)
        if self.dim not in dims:
            return True
        axis = dims.index(self.dim)
        return index[axis] >= self.seen[axis] // unit_of(self.document)[axis]

    def _moved(self) -> Document:
        """Return the document with a key space that no reader of the present state looks at."""
        slots = [{**self.document, "chunk_key_encoding": key_encoding(v, len(self.shape))} for v in range(3)]
        free = [slot for slot in slots if self.now is None or not same_keys(slot, self.now)]
        return min(
            free, key=lambda slot: (same_keys(slot, self.document), len(self._indices(slot, self.there)))
        )


def _abandoned(name: str, after: Document, dim: str | None, lying: Iterable[Index]) -> tuple[Target, ...]:
    """Return boxes around the objects that lie beyond a shape, or in its last rows, which later appends share."""
    dims, shape, unit = dims_of(after), shape_of(after), unit_of(after)
    axis = dims.index(dim) if dim in dims else None
    if axis is None:
        parts = [(index, zip(index, unit, shape, strict=True)) for index in lying]
        return box_around(
            name, after, [at for at, part in parts if any((i + 1) * n > size for i, n, size in part)]
        )
    row = shape[axis] // unit[axis]
    last = [index for index in lying if index[axis] >= row]
    others = [index for index in lying if index[axis] < row and not in_grid(after, index)]
    return (*box_around(name, after, last), *box_around(name, after, others))
