"""Stores that other tools wrote, shown as what a commit knows: Zarr v3 with consolidated metadata.

Nothing of theirs is rewritten but what an append has to write anyway. In a store of format 2 the switch is
``.zmetadata``, which takes the place of the root ``zarr.json``; the first append makes it where there is none. In a
store of format 3 without consolidated metadata the first append consolidates.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aggrade.errors import Damaged, Problem
from aggrade.settings import settings
from aggrade.storage import ConditionFailed, ObjectInfo, StoredObject
from aggrade.storage.version2 import same_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aggrade.commit.documents import Document
    from aggrade.storage import Storage

__all__ = ["Adopting"]

_ROOT, _GROUP, _ARRAY, _ATTRIBUTES, _METADATA = "zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"
_CONSOLIDATED = re.compile(rb'"consolidated_metadata":\s*\{')
_UNMADE = "no .zmetadata yet"


@dataclass(frozen=True)
class _Format2:
    """The metadata of a store of format 2: key → document, and the mark of the object that holds them all."""

    entries: dict[str, Any]
    etag: str

    def attributes(self, name: str) -> dict[str, Any]:
        return dict(self.entries.get(f"{name}/{_ATTRIBUTES}", {}))

    def described(self, name: str, entry: Any, where: str) -> Document:
        return same_chunks(entry, self.attributes(name), where)

    @property
    def arrays(self) -> dict[str, Any]:
        return {
            key.removesuffix(f"/{_ARRAY}"): entry
            for key, entry in self.entries.items()
            if key.endswith(f"/{_ARRAY}")
        }

    def with_root(self, root: dict[str, Any]) -> dict[str, Any]:
        """Return the entries that say what a root of format 3 says: shapes and the group's attributes."""
        entries = copy.deepcopy(self.entries)
        for name, document in root["consolidated_metadata"]["metadata"].items():
            entries[f"{name}/{_ARRAY}"]["shape"] = document["shape"]
        return {**entries, _ATTRIBUTES: root["attributes"]}


class Adopting:
    """The storage of a Zarr store of any format, read and written as if it were consolidated Zarr v3.

    A store that is consolidated Zarr v3 costs no request more. One of format 2 is shown as what it is not once its
    ``.zmetadata`` are asked for, there or not: whoever reads the root does that where there is a ``.zgroup``.

    Parameters
    ----------
    storage
        The Zarr store's storage.

    Attributes
    ----------
    gathering : Counter
        What it took to gather metadata that are not consolidated: ``GET``, ``LIST``, and ``bytes_read``.
    """

    def __init__(self, storage: Storage) -> None:
        self.url = storage.url
        self._storage = storage
        self._format2: _Format2 | None = None
        self._gathered: StoredObject | None = None
        self.gathering: Counter[str] = Counter()

    @property
    def inner(self) -> Storage:
        """The Zarr store's storage."""
        return self._storage

    def on(self, storage: Storage) -> Adopting:
        """Return the same store on another storage of the same objects, with what is known of it."""
        other = copy.copy(self)
        vars(other).update(_storage=storage, gathering=Counter())
        return other

    @property
    def gathered(self) -> StoredObject | None:
        """The root, where `consolidate` has to write it first."""
        return self._gathered

    @property
    def has_fixed_keys(self) -> bool:
        """Whether no array can be given another key encoding: so it is in format 2. Known once the root was read."""
        return self._format2 is not None

    def consolidate(self) -> bool:
        """Make the one object that readers are to look at, where the root was gathered from many; data stay.

        Returns
        -------
        bool
            Whether it was missing when the root was read last: then what was planned on that is void.
        """
        root, self._gathered = self._gathered, None
        if root is None:
            return False
        with suppress(ConditionFailed):
            self.write(_ROOT, root.data, replacing=root.etag)
        return True

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """See `Storage.read`. Metadata are those of format 3, whatever lies there."""
        if key == _METADATA or (key == _ROOT and self._format2 is not None):
            return _part(self._read_format2(), start, stop)
        if key == _ROOT:
            return _part(self._read_root(), start, stop)
        name = self._array_of(key)
        if name is None or self._format2 is None:
            return self._storage.read(key, start=start, stop=stop)
        stored = self._storage.read(f"{name}/{_ARRAY}")
        if stored is None:
            return None
        entry = self._parsed(f"{name}/{_ARRAY}", stored)
        document = self._format2.described(name, entry, f"{self.url}/{name}")
        return _part(StoredObject(_dump(document), stored.etag), start, stop)

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`. Metadata are written in the format of the store."""
        name = self._array_of(key)
        if self._format2 is None or (key != _ROOT and name is None):
            return self._storage.write(key, data, replacing=replacing)
        if name is not None:
            entry = self._entry(self._format2, name, data)
            written = self._storage.write(f"{name}/{_ARRAY}", _dump(entry), replacing=replacing)
            return replace(written, key=key)
        return replace(self._switch(self._format2, json.loads(data), replacing), key=key)

    def as_stored(self, key: str, data: bytes) -> list[bytes]:
        """Return the objects that `write` makes of one; each after the first is looked at before it is written.

        Parameters
        ----------
        key, data
            As for `write`.
        """
        name = self._array_of(key)
        if self._format2 is None or (key != _ROOT and name is None):
            return [data]
        if name is not None:
            return [_dump(self._entry(self._format2, name, data))]
        entries = self._format2.with_root(json.loads(data))
        return [_consolidated(entries), _dump(entries[_ATTRIBUTES])]

    def _entry(self, base: _Format2, name: str, data: bytes) -> dict[str, Any]:
        return {**base.arrays[name], "shape": json.loads(data)["shape"]}

    def stat(self, key: str) -> ObjectInfo | None:
        """See `Storage.stat`. The size of metadata is that of what lies there."""
        found = self._storage.stat(self._place(key))
        if found is None and key == _ROOT and self._format2 is not None and self._gathered is not None:
            return ObjectInfo(key, len(self._gathered.data), self._gathered.etag)
        return None if found is None else replace(found, key=key)

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """See `Storage.copy`."""
        return self._storage.copy(self._place(source), target, unchanged=unchanged)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Storage.delete`."""
        self._storage.delete(map(self._place, keys))

    def discard(self, key: str, etag: str) -> bool:
        """See `Storage.discard`."""
        return self._storage.discard(self._place(key), etag)

    def within(self, path: str) -> Storage:
        """See `Storage.within`."""
        return self._storage.within(path)

    def above(self) -> tuple[Storage, str]:
        """See `Storage.above`."""
        return self._storage.above()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Storage.list`. Keys are those that lie there."""
        return self._storage.list(prefix)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """See `Storage.folders`."""
        return self._storage.folders(prefix)

    def _place(self, key: str) -> str:
        """Return where an object lies that format 3 knows by `key`."""
        if self._format2 is None:
            return key
        name = self._array_of(key)
        return f"{name}/{_ARRAY}" if name else _METADATA if key == _ROOT else key

    def _array_of(self, key: str) -> str | None:
        return key.removesuffix(f"/{_ROOT}") if key.endswith(f"/{_ROOT}") else None

    def _read_root(self) -> StoredObject | None:
        stored, self._gathered = self._storage.read(_ROOT), None
        if stored is None or _CONSOLIDATED.search(stored.data):
            return stored
        root = self._parsed(_ROOT, stored)
        if not isinstance(root, dict) or root.get("node_type") != "group" or root.get("zarr_format") != 3:
            return stored
        documents = self._read_all([f"{name}/{_ROOT}" for name in self._names()])
        self.gathering.update(bytes_read=len(stored.data))
        named = {key.removesuffix(f"/{_ROOT}"): document for key, document in documents.items()}
        self._gathered = StoredObject(_root(root.get("attributes", {}), named), stored.etag)
        return self._gathered

    def _read_format2(self) -> StoredObject:
        """Return what a root of format 3 would say of a store of format 2."""
        self._format2 = base = self._find_format2()
        documents = {n: base.described(n, entry, f"{self.url}/{n}") for n, entry in base.arrays.items()}
        root = StoredObject(_root(base.entries.get(_ATTRIBUTES, {}), documents), base.etag)
        self._gathered = root if base.etag == _UNMADE else None
        return root

    def _find_format2(self) -> _Format2:
        stored = self._storage.read(_METADATA)
        if stored is not None:
            return _Format2(self._parsed(_METADATA, stored)["metadata"], stored.etag)
        within = [f"{name}/{kind}" for name in self._names() for kind in (_GROUP, _ARRAY, _ATTRIBUTES)]
        return _Format2(self._read_all([_GROUP, _ATTRIBUTES, *within]), _UNMADE)

    def _names(self) -> Sequence[str]:
        self.gathering.update(LIST=1)
        return [name for name in self._storage.folders() if not name.startswith(".")]

    def _read_all(self, keys: Sequence[str]) -> dict[str, Any]:
        with ThreadPoolExecutor(settings().parallel_requests) as pool:
            found = dict(zip(keys, pool.map(self._storage.read, keys), strict=True))
        there = {key: stored for key, stored in found.items() if stored is not None}
        self.gathering.update(GET=len(keys), bytes_read=sum(len(stored.data) for stored in there.values()))
        return {key: self._parsed(key, stored) for key, stored in there.items()}

    def _parsed(self, key: str, stored: StoredObject) -> Any:
        try:
            return json.loads(stored.data)
        except ValueError as error:
            fix, code = "restore it from a copy, or name another store", "not-a-store"
            if key == _ROOT:
                fix, code = "delete it, then restore the newest backup (aggrade restore)", "root-torn"
            found = Problem(f"{self.url}/{key}", "no JSON", "metadata of Zarr", fix, code)
            raise Damaged(found) from error

    def _switch(self, base: _Format2, root: dict[str, Any], replacing: str | None) -> ObjectInfo:
        """Write ``.zmetadata`` on condition; then the group's attributes, for readers that don't look there."""
        if replacing != base.etag:
            raise ConditionFailed(_moved(self.url))
        entries = base.with_root(root)
        mark = None if replacing == _UNMADE else replacing
        written = self._storage.write(_METADATA, _consolidated(entries), replacing=mark)
        self._format2 = _Format2(entries, written.etag)
        there = self._storage.stat(_ATTRIBUTES)
        self._storage.write(_ATTRIBUTES, _dump(entries[_ATTRIBUTES]), replacing=there.etag if there else None)
        return written


def _dump(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()


def _consolidated(entries: dict[str, Any]) -> bytes:
    return _dump({"metadata": entries, "zarr_consolidated_format": 1})


def _root(attributes: dict[str, Any], documents: dict[str, Document]) -> bytes:
    metadata = {"kind": "inline", "must_understand": False, "metadata": documents}
    return _dump(
        {
            "attributes": attributes,
            "zarr_format": 3,
            "consolidated_metadata": metadata,
            "node_type": "group",
        }
    )


def _part(stored: StoredObject | None, start: int, stop: int | None) -> StoredObject | None:
    return None if stored is None else StoredObject(stored.data[start:stop], stored.etag)


def _moved(url: str) -> Problem:
    expected = "the metadata that were read"
    return Problem(f"{url}/{_METADATA}", "metadata of another state", expected, "run it again", "moved-on")
