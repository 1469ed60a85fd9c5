"""A read-only zarr store that keeps shard indexes, so that a chunk of a known shard costs one request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from zarr.abc.store import SuffixByteRequest

from aggrade.storage.zarr_store import ReadStore, in_thread

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from aggrade.storage import Storage, StoredObject

__all__ = ["IndexedStore"]

_ROOTS = ("zarr.json", ".zmetadata")


class IndexedStore(ReadStore):
    """A `ReadStore` that keeps the ends of objects, where shards have their index, and stays at one root.

    A pickled copy keeps the root and no index.

    Parameters
    ----------
    storage
        The folder of the Zarr store.
    limit
        Bytes of indexes to keep at most; those that were used last stay.
    roots
        Root objects that were read already.
    """

    def __init__(
        self, storage: Storage, limit: int = 64 << 20, roots: dict[str, StoredObject] | None = None
    ) -> None:
        super().__init__(storage)
        self.limit = limit
        self.roots = dict(roots or {})
        self._indexes: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.storage, self.limit, self.roots)

    @property
    def root(self) -> tuple[str, StoredObject]:
        """Name and content of the root object that the store was opened by."""
        return next((key, self.roots[key]) for key in _ROOTS if key in self.roots)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or a part of it, None where there is none."""
        if key in _ROOTS and byte_range is None:
            return await self._get_root(key, prototype)
        if not isinstance(byte_range, SuffixByteRequest):
            return await super().get(key, prototype, byte_range)
        part = (key, byte_range.suffix)
        known = self._find(part)
        if known is not None:
            return prototype.buffer.from_bytes(known)
        found = await super().get(key, prototype, byte_range)
        if found is not None:
            self._keep(part, found.to_bytes())
        return found

    async def _get_root(self, key: str, prototype: BufferPrototype) -> Buffer | None:
        if key not in self.roots:
            found = await in_thread(self.storage.read, key)
            if found is None:
                return None
            self.roots[key] = found
        return prototype.buffer.from_bytes(self.roots[key].data)

    def _find(self, part: tuple[str, int]) -> bytes | None:
        with self._lock:
            if part in self._indexes:
                self._indexes.move_to_end(part)
            return self._indexes.get(part)

    def _keep(self, part: tuple[str, int], index: bytes) -> None:
        with self._lock:
            if part in self._indexes:
                return
            self._indexes[part] = index
            self._size += len(index)
            while self._size > self.limit:
                _, oldest = self._indexes.popitem(last=False)
                self._size -= len(oldest)
