"""Rehearsing: everything an operation does, but for the writing, so that it can be said beforehand what it costs.

What is read comes from the store. What would be written is kept aside, on condition as ever, and is what is read and
listed from then on. Each request is counted as the server would count it. So whatever an operation does costs what
its rehearsal did, as long as nobody comes in between: it is the same code.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aggrade.clock import SkippingClock
from aggrade.errors import Damaged
from aggrade.price import Price
from aggrade.settings import settings
from aggrade.storage import ObjectInfo, StoredObject, open_storage
from aggrade.storage.counting import requests_in
from aggrade.storage.keys import check_key, condition_failed, missing_source
from aggrade.storage.remembering import Remembering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aggrade.storage import Storage

__all__ = ["Rehearsal", "Rehearsed"]

_REMEMBERED = 64 << 20
_HELD, _IN_MEMORY, _OF_NAME = 1 << 16, 16 << 20, 1_000
_ONE_AFTER_ANOTHER = "aggrade-io"


class _Entry(NamedTuple):
    """An object that would lie there."""

    size: int
    etag: str
    load: Callable[[], bytes]


class Rehearsal:
    """What was sent so far, and what would lie there by now, for the length of a ``with`` block.

    Attributes
    ----------
    counts : Counter
        Requests by kind, ``bytes_read`` and ``bytes_written``, of objects.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.clock = SkippingClock()
        self.lock = threading.RLock()
        self.written: dict[str, _Entry | None] = {}
        self.replaced: Counter[str] = Counter()
        self.keeps_versions = False
        self._seen: dict[str, dict[str, ObjectInfo | None]] = {}
        self._remembering: dict[str, Remembering] = {}
        self.longest = 0
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `__exit__`
        self._trips, self._together = 0, Counter[str]()
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def open(self, url: str, storage_options: Mapping[str, Any] | None = None) -> Rehearsed:
        """Return a storage as `aggrade.storage.open_storage` does, in which the operation is rehearsed."""
        return self.within(open_storage(url, storage_options))

    def within(self, storage: Storage) -> Rehearsed:
        """Return the same storage, in which the operation is rehearsed."""
        kind = _RehearsedBucket if hasattr(storage, "old_versions") else Rehearsed
        return kind(storage, self)

    def price(self, peak_memory: int = 0) -> Price:
        """Return what was sent so far, as a price. How many requests wait for one another is estimated.

        Parameters
        ----------
        peak_memory
            Bytes of memory beyond those of what is listed.
        """
        with self.lock:
            return Price(
                requests=requests_in(self.counts),
                round_trips=self._trips + self._waves(),
                bytes_read=self.counts["bytes_read"],
                bytes_written=self.counts["bytes_written"],
                weighed=True,
                peak_memory=peak_memory + _OF_NAME * self.longest,
            )

    def count(self, key: str, **changes: int) -> None:
        """Count what is sent for an object, and what comes of it."""
        with self.lock:
            self.counts.update(changes)
            sent = sum(count for kind, count in changes.items() if kind.isupper())
            if threading.get_ident() == self._thread:
                self._trips += sent + self._waves()
                self._together.clear()
            elif threading.current_thread().name.startswith(_ONE_AFTER_ANOTHER):
                self._trips += sent
            else:
                self._together[key] += sent

    def _waves(self) -> int:
        """Return how many of the requests that were sent together waited for one another, at least."""
        sent = self._together
        return max(max(sent.values(), default=0), -(-sent.total() // settings().parallel_requests))

    def remembering(self, storage: Storage) -> Remembering:
        """Return a storage in which what is read twice is fetched once."""
        with self.lock:
            return self._remembering.setdefault(storage.url, Remembering(storage, _REMEMBERED))

    def seen(self, url: str) -> dict[str, ObjectInfo | None]:
        """Return what is known of the objects of one storage."""
        with self.lock:
            return self._seen.setdefault(url, {})

    def entry(self, data: bytes) -> _Entry:
        """Keep bytes aside, in a temporary file if they are many."""
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if len(data) <= _HELD:
            return _Entry(len(data), etag, lambda: data)
        with self.lock:
            start = self._spool.seek(0, 2)
            self._spool.write(data)
        return _Entry(len(data), etag, lambda: self._spooled(start, len(data)))

    def _spooled(self, start: int, size: int) -> bytes:
        with self.lock:
            self._spool.seek(start)
            return self._spool.read(size)


class Rehearsed:
    """Another storage, in which nothing is written. It bears no attribute ``inner``: there is no way past it.

    Parameters
    ----------
    storage
        Where objects lie.
    rehearsal
        What is shared with the storages made by `within` and `above`.

    Attributes
    ----------
    is_rehearsed : bool
        True.
    """

    is_rehearsed = True

    def __init__(self, storage: Storage, rehearsal: Rehearsal) -> None:
        self.url = storage.url
        self.clock = rehearsal.clock
        self._storage = storage
        self._rehearsal = rehearsal
        self._reading = rehearsal.remembering(storage)
        self._at_once: int | None = getattr(storage, "at_once", None)
        self._lock = rehearsal.lock

    def _at(self, key: str) -> str:
        return f"{self.url}/{key}"

    def _entry(self, key: str) -> tuple[bool, _Entry | None]:
        """Return whether the rehearsal has written or deleted an object, and what it wrote."""
        with self._lock:
            written = self._rehearsal.written
            return self._at(key) in written, written.get(self._at(key))

    def peek(self, key: str) -> ObjectInfo | None:
        """Return what `stat` does, without counting it."""
        is_ours, entry = self._entry(key)
        if is_ours:
            return ObjectInfo(key, entry.size, entry.etag) if entry else None
        seen = self._rehearsal.seen(self.url)
        if key not in seen:
            seen[key] = self._storage.stat(key)
        return seen[key]

    def recall(self, key: str) -> ObjectInfo | None:
        """Return what has been seen of an object that the store holds, without asking."""
        return self._rehearsal.seen(self.url).get(key)

    def look(self, prefix: str) -> None:
        """Make `peek` know a folder's objects, with one listing that isn't counted."""
        self._listed(prefix)

    def _fetch(self, key: str, start: int = 0, stop: int | None = None) -> StoredObject | None:
        is_ours, entry = self._entry(key)
        if is_ours:
            return StoredObject(entry.load()[start:stop], entry.etag) if entry else None
        found = self._reading.read(key, start=start, stop=stop)
        if (start, stop) == (0, None):
            info = ObjectInfo(key, len(found.data), found.etag) if found else None
            self._rehearsal.seen(self.url)[key] = info
        return found

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """See `Storage.read`."""
        found = self._fetch(key, start, stop)
        size = len(found.data) if found else 0
        asks = self._at_once and (start, stop) != (0, None) and found is not None and not size
        self._rehearsal.count(key, GET=1, HEAD=int(bool(asks)), bytes_read=size)
        return found

    def stat(self, key: str) -> ObjectInfo | None:
        """See `Storage.stat`."""
        self._rehearsal.count(key, HEAD=1)
        return self.peek(key)

    def _put(self, key: str, entry: _Entry, replacing: str | None) -> ObjectInfo:
        self.peek(key)
        with self._lock:
            there = self.peek(key)
            mark = there.etag if there else None
            if mark == replacing:
                self._keep(key, entry, old=int(there is not None))
        if mark != replacing:
            self._rehearsal.count(key, PUT=1, HEAD=int(bool(self._at_once)), bytes_written=entry.size)
            raise condition_failed(self._at(key), mark, replacing)
        self._rehearsal.count(key, PUT=1, bytes_written=entry.size)
        return ObjectInfo(key, entry.size, entry.etag)

    def _keep(self, key: str, entry: _Entry | None, old: int = 0) -> None:
        """Keep what would lie there; `old` is how many versions a bucket that keeps them has more by then."""
        with self._lock:
            self._rehearsal.written[self._at(key)] = entry
            self._rehearsal.replaced[self._at(key)] += old

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""
        return self._put(key, self._rehearsal.entry(data), replacing)

    def transfer(
        self, key: str, source: Rehearsed, name: str, *, replacing: str | None, more: int = 0
    ) -> ObjectInfo:
        """Count what it costs to read an object and to write it under another key, without fetching it.

        Parameters
        ----------
        key, replacing
            As for `write`.
        source, name
            Where it lies and what it is called there.
        more
            Bytes by which it grows.

        Raises
        ------
        Damaged
            If it does not exist.
        """
        found = source.peek(name)
        if found is None:
            raise Damaged(missing_source(source._at(name)))
        self._rehearsal.count(name, GET=1, bytes_read=found.size)
        return self._put(key, source._same(name, found, more), replacing)

    def _same(self, key: str, found: ObjectInfo, more: int = 0) -> _Entry:
        """Return an object of the same content, fetched when it is asked for."""
        _, before = self._entry(key)
        load = before.load if before else lambda: self._loaded(key)
        return _Entry(found.size + more, found.etag, load)

    def _loaded(self, key: str) -> bytes:
        found = self._storage.read(key)
        if found is None:
            raise Damaged(missing_source(self._at(key)))
        return found.data

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """See `Storage.copy`."""
        check_key(target)
        found = self.peek(source)
        if found is None or unchanged not in {None, found.etag}:
            raise Damaged(missing_source(self._at(source)))
        entry = self._same(source, found)
        with self._lock:
            is_ours, there = self._entry(target)
            if is_ours and there and there.load() != entry.load():
                raise condition_failed(self._at(target), there.etag, None)
            self._keep(target, entry)
        self._rehearsal.count(target, COPY=1)
        return entry.etag

    def delete(self, keys: Iterable[str]) -> None:
        """See `Storage.delete`."""
        doomed = set(map(check_key, keys))
        for key in doomed:
            self._keep(key, None, old=2)
        self._rehearsal.count("", DELETE=-(-len(doomed) // (self._at_once or 1)))

    def discard(self, key: str, etag: str) -> bool:
        """See `Storage.discard`."""
        there = self.peek(key)
        asks = bool(self._at_once)
        self._rehearsal.count(key, HEAD=int(asks), DELETE=int(there is not None or not asks))
        if there is None or there.etag != etag:
            return False
        self._keep(key, None, old=2)
        return True

    def _listed(self, prefix: str) -> list[ObjectInfo]:
        """Return what would be listed."""
        there = {info.key: info for info in self._storage.list(prefix)}
        self._rehearsal.seen(self.url).update(there)
        start = len(self._at(""))
        with self._lock:
            ours = {at: one for at, one in self._rehearsal.written.items() if at.startswith(self._at(prefix))}
        for at, one in ours.items():
            key = at[start:]
            there.pop(key, None)
            if one is not None:
                there[key] = ObjectInfo(key, one.size, one.etag)
        self._rehearsal.longest = max(self._rehearsal.longest, len(there))
        return [there[key] for key in sorted(there, key=str.encode)]

    def _pages(self, count: int) -> int:
        return max(1, -(-count // self._at_once)) if self._at_once else 1

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        found = self._listed(prefix)
        self._rehearsal.count(prefix, LIST=self._pages(len(found)))
        return iter(found)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """See `Storage.folders`. Those that would be empty are told of, too."""
        folder = prefix.strip("/")
        start = self._at(f"{folder}/" if folder else "")
        with self._lock:
            ours = [
                at[len(start) :]
                for at, one in self._rehearsal.written.items()
                if one and at.startswith(start)
            ]
        found = {*self._storage.folders(prefix), *(rest.split("/")[0] for rest in ours if "/" in rest)}
        self._rehearsal.count(prefix, LIST=self._pages(len(found)))
        return sorted(found, key=str.encode)

    def within(self, path: str) -> Rehearsed:
        """See `Storage.within`."""
        return self._rehearsal.within(self._storage.within(path))

    def above(self) -> tuple[Storage, str]:
        """See `Storage.above`."""
        parent, name = self._storage.above()
        return self._rehearsal.within(parent), name


class _RehearsedBucket(Rehearsed):
    """A bucket, with what is asked of buckets alone."""

    @property
    def address(self) -> tuple[str, str]:
        """See `aggrade.storage.s3.S3Storage.address`."""
        address: tuple[str, str] = self._bucket.address
        return address

    @property
    def _bucket(self) -> Any:
        return self._storage

    def old_versions(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """See `aggrade.storage.s3.S3Storage.old_versions`. Those are among them that the operation itself leaves."""
        there = list(self._bucket.old_versions(prefix))
        start, at = len(self._at("")), self._at(prefix)
        with self._lock:
            self._rehearsal.keeps_versions |= bool(there)
            ours = [key for key in self._rehearsal.replaced.elements() if key.startswith(at)]
        if self._rehearsal.keeps_versions:
            there += [(key[start:], "") for key in ours]
        self._rehearsal.count(prefix, LIST=self._pages(len(there) + len(self._listed(prefix))))
        return iter(there)

    def drop_versions(self, versions: Iterable[tuple[str, str]]) -> Sequence[str]:
        """See `aggrade.storage.s3.S3Storage.drop_versions`."""
        self._rehearsal.count("", DELETE=-(-len(list(versions)) // self._bucket.at_once))
        return ()
