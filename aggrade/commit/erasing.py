"""Wiping a layer out of a store that no longer shows it.

Its rows are overwritten with fill, object by object and by compare-and-swap: rows of other layers in the same
objects keep their values, so no reader ever misses one. Nothing is deleted: an object that stays where it is keeps
a sleeping writer from creating it anew, and a late delete could hit what a successor has put there. What lies beyond
the published shape, or in a key space that the store has left, is emptied: nobody can tell whose it was.
"""

from __future__ import annotations

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aggrade.commit.blank import Blank, rows_in, same_values
from aggrade.commit.chunks import Chunks
from aggrade.commit.dirt import lies_in
from aggrade.commit.documents import in_grid, index_of
from aggrade.commit.layers import RECEIPTS, layer_key, removed
from aggrade.commit.naming import cleaned_receipt, names
from aggrade.commit.plan import Erasure
from aggrade.errors import Conflict, Problem
from aggrade.settings import settings
from aggrade.storage import ConditionFailed
from aggrade.storage.together import hands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aggrade.commit.documents import Document
    from aggrade.commit.plan import Target
    from aggrade.storage import ObjectInfo, Storage

__all__ = [
    "Held",
    "erase",
    "fill_torn",
    "held_objects",
    "may_hold",
    "memory_to_erase",
    "same_values",
    "torn_beside",
    "trim",
]

_log = logging.getLogger(__name__)
_CHUNK = re.compile(r"c([/.]\d+)*|\d+([/.]\d+)*")
_LEDGER = ".aggrade/ledger/"
_COPIES, _COPIES_OF_VALUES = 3, 5


class Held(NamedTuple):
    """An object that may hold something of a layer; `place` is None where the store no longer looks."""

    info: ObjectInfo
    name: str
    place: tuple[int, ...] | None


def held_objects(
    storage: Storage, erasure: Erasure, documents: Mapping[str, Document], dirty: Sequence[Target] = ()
) -> Iterator[Held]:
    """Yield every object that may hold something of a layer, with one listing of the store.

    Parameters
    ----------
    storage
        The store.
    erasure
        The layer and its rows.
    documents
        Array documents that the root shows.
    dirty
        Where left-overs of dead writers may lie.
    """
    for info in storage.list():
        if may_hold(info.key, erasure, documents) or _may_be_dirty(info.key, dirty):
            name = info.key.partition("/")[0]
            yield Held(info, name, _place(info.key, documents))


def may_hold(key: str, erasure: Erasure, documents: Mapping[str, Document]) -> bool:
    """Tell by its key alone whether an object may hold something of a layer: of its rows, or of nobody's.

    Parameters
    ----------
    key
        The object's.
    erasure, documents
        As for `held_objects`.
    """
    if not _is_chunk(key):
        return False
    place = _place(key, documents)
    return place is None or bool(rows_in(documents[key.partition("/")[0]], place, erasure))


def _may_be_dirty(key: str, dirty: Sequence[Target]) -> bool:
    return _is_chunk(key) and lies_in(dirty, key)


def _is_chunk(key: str) -> bool:
    name, _, rest = key.partition("/")
    return not name.startswith(".") and _CHUNK.fullmatch(rest) is not None


def _place(key: str, documents: Mapping[str, Document]) -> tuple[int, ...] | None:
    """Return which object of a published array bears a key, None if the store does not look there."""
    name = key.partition("/")[0]
    document = documents.get(name)
    index = None if document is None else index_of(name, document, key)
    return index if in_grid(document, index or ()) else None


def erase(
    storage: Storage,
    erasure: Erasure,
    documents: Mapping[str, Document],
    dirty: Sequence[Target],
    generation: int,
    confirm: Callable[[], None],
) -> None:
    """Wipe a layer out, as the holder of the intent. Doing it twice is doing it once.

    Parameters
    ----------
    storage, erasure, documents, dirty
        As for `held_objects`.
    generation
        The commit's, which every replacement carries.
    confirm
        Raises if the intent is no longer ours; called between reading a mark and replacing what bears it.

    Raises
    ------
    Conflict
        If somebody took over.
    """

    def wipe(held: Held) -> None:
        document = documents.get(held.name) if held.place is not None else None
        if document is None or held.place is None:
            _replace(storage, held.info.key, confirm, b"", held.info)
            return
        blank = Blank(document, held.place, erasure, generation)
        _replace(storage, held.info.key, confirm, blank.whole or blank, held.info)

    found = list(held_objects(storage, erasure, documents, dirty))
    confirm()
    with ThreadPoolExecutor(hands(max(_in_hand(found, documents), default=0))) as pool:
        list(pool.map(wipe, found))
    _replace(storage, layer_key(erasure.label), confirm, removed(generation))
    _clean_texts(storage, erasure.label, confirm)
    _log.info("wiped a layer out of %d objects of %s", len(found), storage.url)


def trim(
    storage: Storage,
    objects: Iterable[ObjectInfo],
    documents: Mapping[str, Document],
    generation: int,
    confirm: Callable[[], None],
) -> list[str]:
    """Make fill of what published objects hold beyond the shape; what they show stays, and so does what can't be read.

    Parameters
    ----------
    storage, documents, generation, confirm
        As for `erase`.
    objects
        Chunks or shards that the root shows.

    Returns
    -------
    list of str
        Keys of those that held something there.
    """
    changed: list[str] = []

    def wipe(info: ObjectInfo) -> None:
        name, index = info.key.partition("/")[0], _place(info.key, documents)
        if index is None:
            return
        blank = Blank(documents[name], index, Erasure(label="", dim=""), generation)

        def make(data: bytes) -> bytes:
            after = blank(data) if blank.can_read(data) else data
            changed.extend([info.key] if after != data else [])
            return after

        _replace(storage, info.key, confirm, make)

    for info in objects:
        wipe(info)
    return sorted(set(changed))


def fill_torn(
    storage: Storage,
    objects: Iterable[ObjectInfo],
    documents: Mapping[str, Document],
    generation: int,
    confirm: Callable[[], None],
) -> None:
    """Make fill of objects that can't be decoded.

    Parameters
    ----------
    storage, objects, documents, generation, confirm
        As for `trim`.
    """
    for info in objects:
        index = _place(info.key, documents)
        if index is not None:
            document = documents[info.key.partition("/")[0]]
            blank = Blank(document, index, Erasure(label="", dim=""), generation)
            _replace(storage, info.key, confirm, blank.mended)


def _in_hand(found: Iterable[Held], documents: Mapping[str, Document]) -> list[int]:
    """Return the bytes that each object takes while it is wiped: as it is stored, and as values."""
    names = {held.name for held in found if held.place is not None}
    sizes = {name: Chunks(documents[name]).nbytes for name in names}
    return [
        _COPIES * held.info.size + _COPIES_OF_VALUES * sizes[held.name]
        for held in found
        if held.place is not None
    ]


def torn_beside(
    storage: Storage, found: Iterable[Held], erasure: Erasure, documents: Mapping[str, Document]
) -> list[str]:
    """Return the keys of objects that can't be decoded and in which other layers' rows lie: wiping makes fill of them.

    Parameters
    ----------
    storage, erasure, documents
        As for `held_objects`.
    found
        The objects.
    """

    def is_torn(held: Held) -> bool:
        document = documents.get(held.name)
        if document is None or held.place is None or not held.info.size:
            return False
        blank = Blank(document, held.place, erasure, 0)
        if blank.whole is not None:
            return False
        stored = storage.read(held.info.key)
        return stored is not None and not blank.can_read(stored.data)

    objects = list(found)
    with ThreadPoolExecutor(settings().parallel_objects) as pool:
        return [held.info.key for held, torn in zip(objects, pool.map(is_torn, objects), strict=True) if torn]


def memory_to_erase(found: Sequence[Held], documents: Mapping[str, Document]) -> int:
    """Return the bytes of memory that wiping some objects takes at most. Parameters as for `held_objects`.

    Parameters
    ----------
    found
        The objects.
    """
    sizes = sorted(_in_hand(found, documents), reverse=True)
    return sum(sizes[: hands(max(sizes, default=0))])


def _replace(
    storage: Storage,
    key: str,
    confirm: Callable[[], None],
    make: bytes | Callable[[bytes], bytes],
    known: ObjectInfo | None = None,
) -> None:
    """Replace an object, if there is one, by what `make` is or makes of it.

    `known` is the object as it was listed before the intent was last confirmed.
    """
    if (
        isinstance(make, bytes)
        and known
        and (known.size == len(make) == 0 or _swapped(storage, key, make, known.etag))
    ):
        return
    for _ in range(settings().request_attempts):
        stored = storage.read(key)
        if stored is None:
            return
        wanted = make if isinstance(make, bytes) else make(stored.data)
        if wanted == stored.data:
            return
        confirm()
        if _swapped(storage, key, wanted, stored.etag):
            return
    expected, fix = "one writer", "run recover"
    raise Conflict(
        Problem(f"{storage.url}/{key}", "an object that keeps changing", expected, fix, "contended")
    )


def _swapped(storage: Storage, key: str, data: bytes, replacing: str) -> bool:
    try:
        storage.write(key, data, replacing=replacing)
    except ConditionFailed:
        return False
    return True


def _clean_texts(storage: Storage, label: str, confirm: Callable[[], None]) -> None:
    """Take a label out of receipts, and drop what the ledger says of pieces that name it."""
    receipts = [info.key for info in storage.list(RECEIPTS)]
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        list(
            pool.map(
                lambda key: _replace(storage, key, confirm, partial(cleaned_receipt, label=label)), receipts
            )
        )
    entries = {info.key: storage.read(info.key) for info in storage.list(_LEDGER)}
    named = [key for key, stored in entries.items() if stored and _may_name(stored.data, label)]
    if named:
        confirm()
        storage.delete(named)


def _may_name(data: bytes, label: str) -> bool:
    """Tell whether an entry of the ledger names a label: one that can't be read is worth nothing."""
    try:
        return names(json.loads(data), label)
    except (ValueError, RecursionError):
        return True
