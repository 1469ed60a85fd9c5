"""Writing one object of a restore as it was; and, in a rehearsal, finding out what that takes without fetching it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from aggrade.commit.backup import COPIES
from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import key_of, shape_of, unit_of
from aggrade.commit.erasing import same_values
from aggrade.commit.salting import salted, unsalted
from aggrade.commit.states import ARCHIVES_HELD, KeptState
from aggrade.commit.writer import Writer, WrittenObject, write_object
from aggrade.restore_array import ArrayPlan
from aggrade.storage import bare
from aggrade.storage.together import hands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrade.storage.rehearsing import Rehearsed

__all__ = ["RestoreWeighing", "WriteOne", "in_hand", "write_as_it_was"]

WriteOne = Callable[[Writer, KeptState, ArrayPlan, tuple[int, ...]], WrittenObject | None]
"""Writes one object of an array, which is named by its index, if it has to be written."""

_COPIES_OF_OBJECT, _COPIES_OF_VALUES = 3, 4
_FETCHED = 1 << 16


def write_as_it_was(
    writer: Writer, state: KeptState, array: ArrayPlan, index: tuple[int, ...]
) -> WrittenObject | None:
    """Write one object as it was; fill where there was none, unless there is none now.

    Parameters
    ----------
    writer
        Of the commit.
    state
        The state that is restored.
    array, index
        The array and which object of it.
    """
    key = key_of(array.name, array.after, index)
    etag = writer.etags.get(key)
    data = state.read(key_of(array.name, array.before, index))
    if data is None:
        if etag is None:
            return None
        chunks = Chunks(array.before)
        data = chunks.bytes_of(chunks.values(None))
    plain = unsalted(array.before, _as_shown(array, index, data))
    salty = plain if etag is None else salted(array.before, plain, writer.generation)
    done = write_object(writer.storage, key, salty, etag)
    return replace(done, sha256=hashlib.sha256(plain).hexdigest())


def _as_shown(array: ArrayPlan, index: tuple[int, ...], data: bytes) -> bytes:
    """Return a small object without what lies beyond the array's shape, where later commits may have left something."""
    place = zip(index, unit_of(array.before), shape_of(array.before), strict=True)
    part = tuple(slice(0, min(unit, size - i * unit)) for i, unit, size in place)
    if len(data) > _FETCHED or [piece.stop for piece in part] == list(unit_of(array.before)):
        return data
    chunks = Chunks(array.before)
    try:
        values, clean = chunks.values(data), chunks.values(None)
    except (RuntimeError, ValueError):
        return data
    clean[part] = values[part]
    return data if same_values(values, clean) else chunks.bytes_of(clean)


def in_hand(arrays: Iterable[ArrayPlan]) -> int:
    """Return how many objects are written at once."""
    return hands(
        max((_COPIES_OF_OBJECT * Chunks(one.before).nbytes for one in arrays if one.wanted), default=0)
    )


class RestoreWeighing:
    """Rehearses what `write_as_it_was` does: of objects beyond 64 kB only the sizes are asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_into: set[str] = set()
        self._sizes: list[int] = []

    def __call__(
        self, writer: Writer, state: KeptState, array: ArrayPlan, index: tuple[int, ...]
    ) -> WrittenObject | None:
        """See `write_as_it_was`."""
        place = self._place(state, key_of(array.name, array.before, index))
        if place is None:
            done = write_as_it_was(writer, state, array, index)
        else:
            done = _transferred(writer, array, index, *place)
        with self._lock:
            self._sizes.append(done.size if done else 0)
        return done

    def _place(self, state: KeptState, key: str) -> tuple[Rehearsed, str] | None:
        """Return where an object lies that need not be fetched."""
        source, place = state.source(key), state.place(key)
        if place is None:
            return None
        storage: Rehearsed = bare(place[0])
        if source is not None:
            self._look_into(storage, f"{source.id}/{COPIES}")
        found = storage.peek(place[1])
        return (storage, place[1]) if found is not None and found.size > _FETCHED else None

    def _look_into(self, storage: Rehearsed, folder: str) -> None:
        with self._lock:
            if folder not in self._looked_into:
                self._looked_into.add(folder)
                storage.look(folder)

    def memory(self, state: KeptState, arrays: Iterable[ArrayPlan]) -> int:
        """Return the bytes of memory that the restore takes at most.

        Parameters
        ----------
        state
            The state that is restored.
        arrays
            What becomes of each array.
        """
        plans = list(arrays)
        largest = sorted(self._sizes, reverse=True)[: in_hand(plans)]
        compared = max((Chunks(one.before).nbytes for one in plans), default=0)
        archives = sorted((_recalled(*place) for place in state.archives()), reverse=True)
        return max(_COPIES_OF_OBJECT * sum(largest), _COPIES_OF_VALUES * compared) + 2 * sum(
            archives[:ARCHIVES_HELD]
        )


def _recalled(storage: object, key: str) -> int:
    found = bare(storage).recall(key)
    return found.size if found else 0


def _transferred(
    writer: Writer, array: ArrayPlan, index: tuple[int, ...], source: Rehearsed, name: str
) -> WrittenObject:
    key = key_of(array.name, array.after, index)
    etag = writer.etags.get(key)
    more = 0 if etag is None else len(salted(array.before, b"", writer.generation))
    done = bare(writer.storage).transfer(key, source, name, replacing=etag, more=more)
    return WrittenObject(key, done.size, done.etag, "")
