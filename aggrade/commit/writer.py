"""Writing chunks conditionally, through zarr's own codecs.

A `Writer` is small and picklable: Dask workers get one and write through it, since the plan, not the writer,
knows which keys are created. Every chunk is built whole. A chunk that also holds published rows is built from
these rows, read through the published shape, and from the values given: what a dead writer left beyond the
published shape can never get in.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer.cpu import Buffer as CpuBuffer
from zarr.storage import MemoryStore, StorePath

from aggrade.commit.documents import (
    Bounds,
    Document,
    aligned,
    in_grid,
    key_of,
    shape_of,
    unit_of,
    units_in,
)
from aggrade.commit.salting import salted
from aggrade.commit.sharding import ShardForm, shard_form
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.settings import settings
from aggrade.storage import ConditionFailed, Storage
from aggrade.storage.together import together
from aggrade.storage.zarr_store import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zarr.core.buffer import Buffer

__all__ = ["Writer", "WrittenObject", "taken", "write_object"]


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One object that a store confirmed, in kilobytes at most whatever it holds.

    Parameters
    ----------
    key
        Relative to the Zarr store.
    size
        Bytes.
    etag
        The mark the store gave it.
    sha256
        Digest of its bytes without a salt (`aggrade.commit.salting`), in hex.
    """

    key: str
    size: int
    etag: str
    sha256: str


def write_object(storage: Storage, key: str, data: bytes, replacing: str | None) -> WrittenObject:
    """Write one object conditionally; if it lies there already, byte for byte, that is success.

    Raises
    ------
    Conflict
        If another object lies there than the condition allows.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        info = storage.write(key, data, replacing=replacing)
    except ConditionFailed as error:
        stored = storage.read(key)
        if stored is None or stored.data != data:
            raise Conflict(taken(storage, key)) from error
        return WrittenObject(key, len(data), stored.etag, sha256)
    return WrittenObject(key, len(data), info.etag, sha256)


def taken(storage: Storage, key: str) -> Problem:
    """Return the problem of an object that lies where a commit was to write."""
    return Problem(
        f"{storage.url}/{key}",
        "an object that somebody else wrote",
        "none, or the one that was there when the intent was taken",
        "run it again: the store is recovered first, then planned anew",
        "key-taken",
    )


class Writer:
    """Writes regions of arrays into one store, conditionally.

    Parameters
    ----------
    storage
        The Zarr store's storage.
    documents
        Array documents after the commit.
    published
        Array documents before the commit; empty on create.
    etags
        Marks of objects that may be replaced: shared chunks and left-overs. All other keys are created.
    generation
        The generation of the commit, which every replacement carries (`aggrade.commit.salting`).
    twins
        Keys where an object may stay that is what would be written.
    held
        Objects that were read with the marks in `etags`, None where there was none, so that they need not be
        read again. They stay in this process: a pickled writer reads them itself.
    left
        Gives the mark of what was created at a key meanwhile, if it may be replaced. It stays in this process, too.
    """

    def __init__(
        self,
        storage: Storage,
        documents: Mapping[str, Document],
        published: Mapping[str, Document],
        etags: Mapping[str, str],
        generation: int = 0,
        twins: frozenset[str] = frozenset(),
        held: Mapping[str, bytes | None] | None = None,
        left: Callable[[str], str | None] | None = None,
    ) -> None:
        self.storage = storage
        self.documents = dict(documents)
        self.published = dict(published)
        self.etags = dict(etags)
        self.generation = generation
        self.twins = twins
        self._held = dict(held or {})
        self._left = left

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}, "_left": None}

    def write(
        self, name: str, region: tuple[slice, ...], values: np.ndarray[Any, Any]
    ) -> list[WrittenObject]:
        """Write one region of one array; every chunk it touches is written whole, and shards hold no padding.

        Parameters
        ----------
        name
            The array.
        region
            One slice per dimension with start and stop, within the array's new shape.
        values
            What to store, of the region's shape, in the array's own dtype.

        Returns
        -------
        list of WrittenObject
            One per chunk (or shard), all-fill ones included.

        Raises
        ------
        Conflict
            If a chunk was written by somebody else.
        """
        bounds = tuple((part.start, part.stop) for part in region)
        box = aligned(self.documents[name], bounds)
        if box == bounds or not self._shows(name, box):
            return self._store(name, bounds, values)
        block = self._published_and_fill(name, box, values.dtype)
        block[_within(bounds, box)] = values
        return self._store(name, box, block)

    def rebuild(self, name: str, index: tuple[int, ...]) -> list[WrittenObject]:
        """Write one chunk from published rows and fill, so that nothing a dead writer left shows up there."""
        document = self.documents[name]
        box = aligned(
            document, tuple((i * n, (i + 1) * n) for i, n in zip(index, unit_of(document), strict=True))
        )
        dtype = _open(MemoryStore(), name, document).dtype
        return self._store(name, box, self._published_and_fill(name, box, dtype))

    def put(self, name: str, key: str, data: bytes) -> WrittenObject:
        """Write one whole object of an array on its condition.

        Parameters
        ----------
        name
            The array.
        key, data
            Where, relative to the Zarr store, and what: an encoded chunk or shard.

        Raises
        ------
        Conflict
            If somebody else wrote it.
        """
        etag = self.etags.get(key)
        if etag is None:
            try:
                return write_object(self.storage, key, data, None)
            except Conflict:
                etag = self._left(key) if self._left else None
                if etag is None:
                    raise
        if key in self.twins:
            stored = self.storage.read(key)
            if stored is not None and stored.data == data:
                return WrittenObject(key, len(data), stored.etag, hashlib.sha256(data).hexdigest())
        done = write_object(self.storage, key, salted(self.documents[name], data, self.generation), etag)
        return replace(done, sha256=hashlib.sha256(data).hexdigest())

    def _store(self, name: str, box: Bounds, values: np.ndarray[Any, Any]) -> list[WrittenObject]:
        store, document = _ConditionalStore(self, name), self.documents[name]
        array = _open(store, name, document).with_config({"write_empty_chunks": True})
        form = shard_form(document, array.dtype, array.fill_value)
        if form is not None and values.dtype == array.dtype and aligned(document, box) == box:
            return self._send(form, name, box, values)
        try:
            array[tuple(slice(*pair) for pair in box)] = values
        finally:
            store.end()
        return store.written

    def _send(
        self, form: ShardForm, name: str, box: Bounds, values: np.ndarray[Any, Any]
    ) -> list[WrittenObject]:
        """Write the shards of a box, as many at once as requests may be under way."""

        def send(index: tuple[int, ...]) -> WrittenObject:
            return self.put(name, key_of(name, document, index), form.encode(index, box, values))

        document = self.documents[name]
        indices = list(units_in(document, box))
        if len(indices) == 1 or settings().parallel_requests == 1:
            return [send(index) for index in indices]
        return together(*(lambda index=index: send(index) for index in indices))

    def _published_and_fill(self, name: str, box: Bounds, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return the values of `box` as published, fill elsewhere."""
        fill = _open(MemoryStore(), name, self.documents[name]).fill_value
        block = np.full([stop - start for start, stop in box], fill, dtype=dtype)
        before = self.published.get(name)
        if before is not None and before["chunk_key_encoding"] == self.documents[name]["chunk_key_encoding"]:
            self._copy_published(name, before, box, block)
        return block

    def _shows(self, name: str, box: Bounds) -> bool:
        """Tell whether something of a region is published."""
        before = self.published.get(name)
        return before is not None and all(
            start < size for (start, _), size in zip(box, shape_of(before), strict=True)
        )

    def _copy_published(self, name: str, before: Document, box: Bounds, block: np.ndarray[Any, Any]) -> None:
        published = tuple(
            (start, min(stop, size)) for (start, stop), size in zip(box, shape_of(before), strict=True)
        )
        if any(stop <= start for start, stop in published):
            return
        store = self._published_store(name, before, published)
        try:
            values = _open(store, name, before)[tuple(slice(*pair) for pair in published)]
        except (RuntimeError, ValueError) as error:
            raise Damaged(_torn(self.storage, name, before, published, error)) from error
        block[_within(published, box)] = values

    def _published_store(self, name: str, before: Document, bounds: Bounds) -> MemoryStore:
        """Read the objects that hold `bounds`, each as it was when the intent was taken."""
        keys = [key_of(name, before, index) for index in units_in(before, bounds) if in_grid(before, index)]
        unread = [key for key in keys if key not in self._held]
        with ThreadPoolExecutor(settings().parallel_requests) as pool:
            found = self._held | dict(zip(unread, pool.map(self._read_unchanged, unread), strict=True))
        there = {key: CpuBuffer.from_bytes(data) for key in keys if (data := found[key]) is not None}
        return MemoryStore(dict(there))

    def _read_unchanged(self, key: str) -> bytes | None:
        stored = self.storage.read(key)
        if stored is not None and stored.etag != self.etags.get(key, stored.etag):
            raise Conflict(taken(self.storage, key))
        return None if stored is None else stored.data


def _torn(storage: Storage, name: str, document: Document, bounds: Bounds, error: Exception) -> Problem:
    keys = [key_of(name, document, index) for index in units_in(document, bounds)]
    where = f"{storage.url}/{keys[0]}" + (f" or {len(keys) - 1} more" if len(keys) > 1 else "")
    fix = "run aggrade verify, which says whose it is, then restore a backup, or remove the layers in it and append them"
    return Problem(where, f"an object that can't be decoded ({error})", "published rows", fix, "torn")


def _within(inner: Bounds, outer: Bounds) -> tuple[slice, ...]:
    return tuple(
        slice(start - origin, stop - origin) for (start, stop), (origin, _) in zip(inner, outer, strict=True)
    )


def _open(store: MemoryStore, name: str, document: Document) -> zarr.Array[Any]:
    """Open an array by a document that the store need not hold."""
    return zarr.Array(zarr.AsyncArray.from_dict(StorePath(store, name), document))


class _ConditionalStore(MemoryStore):
    """A store whose metadata are given and whose chunks go straight out, each on its condition.

    Chunks that exist are never shown to zarr: what it writes is whole. Where one chunk fails, zarr goes on with the
    others: nothing may be sent any more once the commit is rolled back.
    """

    def __init__(self, writer: Writer, name: str) -> None:
        super().__init__()
        self._writer = writer
        self._name = name
        self._guard = threading.Condition()
        self._sending = 0
        self._ended = False
        self.written: list[WrittenObject] = []

    async def set(self, key: str, value: Buffer, byte_range: tuple[int, int] | None = None) -> None:
        """Write one chunk conditionally."""
        if byte_range is not None or key.endswith("zarr.json"):
            raise NotImplementedError(key)
        await in_thread(self._put, key, value.to_bytes())

    def end(self) -> None:
        """Send nothing from now on, and wait until nothing is under way."""
        with self._guard:
            self._ended = True
            self._guard.wait_for(lambda: not self._sending)

    def _put(self, key: str, data: bytes) -> None:
        with self._guard:
            if self._ended:
                return
            self._sending += 1
        try:
            done = self._writer.put(self._name, key, data)
            with self._guard:
                self.written.append(done)
        finally:
            with self._guard:
                self._sending -= 1
                self._guard.notify_all()
