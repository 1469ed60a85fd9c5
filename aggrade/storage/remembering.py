"""Reading through a memory of bounded size, for whoever reads the same objects many times in a row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from aggrade.storage import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aggrade.storage import ObjectInfo, Storage

__all__ = ["Remembering"]


class Remembering:
    """Another storage, which keeps the objects that were read last.

    What others write meanwhile is not seen: it is meant for one look at one state.

    Parameters
    ----------
    storage
        Where objects lie.
    limit
        Bytes to keep at most. An object larger than that is never kept.
    """

    def __init__(self, storage: Storage, limit: int = 256 << 20) -> None:
        self.url = storage.url
        self._storage, self._limit = storage, limit
        self._kept: OrderedDict[str, StoredObject] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def inner(self) -> Storage:
        """Where objects lie."""
        return self._storage

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """See `Storage.read`. A part of an object that is kept is cut from it; else only the part is read."""
        kept = self._find(key)
        if kept is not None:
            return StoredObject(kept.data[start:stop], kept.etag)
        found = self._storage.read(key, start=start, stop=stop)
        if found is not None and (start, stop) == (0, None):
            self._keep(key, found)
        return found

    def _find(self, key: str) -> StoredObject | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: str, found: StoredObject) -> None:
        with self._lock:
            if key in self._kept or len(found.data) > self._limit:
                return
            self._kept[key] = found
            self._size += len(found.data)
            while self._size > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._size -= len(oldest.data)

    def _forget(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                gone = self._kept.pop(key, None)
                self._size -= len(gone.data) if gone else 0

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""
        self._forget([key])
        return self._storage.write(key, data, replacing=replacing)

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """See `Storage.copy`."""
        self._forget([target])
        return self._storage.copy(source, target, unchanged=unchanged)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Storage.delete`."""
        doomed = list(keys)
        self._forget(doomed)
        self._storage.delete(doomed)

    def discard(self, key: str, etag: str) -> bool:
        """See `Storage.discard`."""
        self._forget([key])
        return self._storage.discard(key, etag)

    def within(self, path: str) -> Storage:
        """See `Storage.within`. The folder's storage remembers nothing."""
        return self._storage.within(path)

    def above(self) -> tuple[Storage, str]:
        """See `Storage.above`. The storage above remembers nothing."""
        return self._storage.above()

    def stat(self, key: str) -> ObjectInfo | None:
        """See `Storage.stat`."""
        return self._storage.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        return self._storage.list(prefix)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """See `Storage.folders`."""
        return self._storage.folders(prefix)
