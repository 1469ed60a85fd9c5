"""Counting what goes to a store, for receipts and for tests that hold a plan to its price."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from aggrade.storage.adopting import Adopting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aggrade.storage import ObjectInfo, Storage, StoredObject

__all__ = ["Counted", "counted", "counts_of", "requests_in"]

_LOCK = threading.Lock()


def counted(storage: Storage, counts: Counter[str] | None = None) -> tuple[Storage, Counter[str]]:
    """Return a storage whose requests are counted as they are sent, and where they are counted.

    Parameters
    ----------
    storage
        What is shown as another format than it has is counted below that: one write may be several.
    counts
        Where to count; by default, from zero.
    """
    wrapped = Counted(storage.inner if isinstance(storage, Adopting) else storage, counts)
    return (storage.on(wrapped) if isinstance(storage, Adopting) else wrapped), wrapped.counts


def counts_of(storage: Storage) -> Counter[str] | None:
    """Return where the requests of a storage are counted, None if they aren't.

    Parameters
    ----------
    storage
        Whatever it is wrapped in.
    """
    layer: Storage | None = storage
    while layer is not None and not isinstance(layer, Counted):
        layer = getattr(layer, "inner", None)
    return layer.counts if isinstance(layer, Counted) else None


def requests_in(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the requests by kind, without bytes."""
    return {kind: count for kind, count in counts.items() if kind.isupper() and count}


class Counted:
    """Another storage that counts requests by kind and bytes by direction.

    Parameters
    ----------
    storage
        The storage that does the work.
    counts
        Where to count; shared with the storages made by `within` and `above`. A pickled copy counts afresh.

    Attributes
    ----------
    counts : Counter
        ``GET``, ``HEAD``, ``PUT``, ``COPY``, ``DELETE``, ``LIST`` → calls made, failed ones included (a paged listing is one),
        ``bytes_read``, ``bytes_written`` → bytes.
    """

    def __init__(self, storage: Storage, counts: Counter[str] | None = None) -> None:
        self.url = storage.url
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage,)

    @property
    def inner(self) -> Storage:
        """The storage that does the work."""
        return self._storage

    def _count(self, **changes: int) -> None:
        with _LOCK:
            self.counts.update(changes)

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """See `Storage.read`."""
        self._count(GET=1)
        found = self._storage.read(key, start=start, stop=stop)
        self._count(bytes_read=len(found.data) if found else 0)
        return found

    def stat(self, key: str) -> ObjectInfo | None:
        """See `Storage.stat`."""
        self._count(HEAD=1)
        return self._storage.stat(key)

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""
        self._count(PUT=1, bytes_written=len(data))
        return self._storage.write(key, data, replacing=replacing)

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """See `Storage.copy`."""
        self._count(COPY=1)
        return self._storage.copy(source, target, unchanged=unchanged)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Storage.delete`."""
        doomed = list(keys)
        self._count(DELETE=len(doomed))
        self._storage.delete(doomed)

    def discard(self, key: str, etag: str) -> bool:
        """See `Storage.discard`."""
        self._count(DELETE=1)
        return self._storage.discard(key, etag)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        self._count(LIST=1)
        return self._storage.list(prefix)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """See `Storage.folders`."""
        self._count(LIST=1)
        return self._storage.folders(prefix)

    def within(self, path: str) -> Counted:
        """See `Storage.within`."""
        return Counted(self._storage.within(path), self.counts)

    def above(self) -> tuple[Storage, str]:
        """See `Storage.above`."""
        parent, name = self._storage.above()
        return Counted(parent, self.counts), name
