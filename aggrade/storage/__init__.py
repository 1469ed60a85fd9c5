"""The seam between aggrade and where bytes lie: one small interface, one implementation per kind of store.

Every write is conditional. There is no way through this interface to overwrite an object blindly, which is
what the guarded commit stands on (DESIGN §4, invariant 2). Any further store implements `Storage` and passes
the conformance suite in ``tests/storage_conformance.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aggrade.errors import BadInput, Conflict, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Opener = Callable[[str, Mapping[str, Any] | None], "Storage"]

__all__ = [
    "OPENERS",
    "ConditionFailed",
    "ObjectInfo",
    "Storage",
    "StoredObject",
    "bare",
    "open_storage",
    "url_of",
]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object without sending it.

    Parameters
    ----------
    key
        The object's name relative to the storage's root, with ``/`` between its parts.
    size
        Bytes.
    etag
        An opaque mark that changes whenever the object is written. Never compared with a hash of ours.
    """

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes and the mark they bore when they were read."""

    data: bytes
    etag: str


class ConditionFailed(Conflict):
    """A conditional write met another object than it expected. Nothing was written."""


@runtime_checkable
class Storage(Protocol):
    """A folder of objects, on S3 or on a disk.

    Implementations are safe to share between threads and can be pickled; a copy unpickled elsewhere opens its
    own connections. Keys are relative to `url`, use ``/`` and never start with it.
    """

    url: str

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """Return bytes ``[start, stop)`` of an object, or None if it does not exist.

        A negative `start` counts from the object's end, as in a slice.

        Raises
        ------
        Unavailable
            If the store does not answer.
        BadInput
            If the bucket does not exist or the credentials are refused.
        """
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Return size and mark of an object, or None if it does not exist. Raises as `read`."""
        ...

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """Write an object whole, on condition, durably and checked against corruption on the way.

        Parameters
        ----------
        key, data
            Where and what.
        replacing
            None creates the object and fails if there is one; an etag replaces exactly the object that bears
            it and fails if there is another or none.

        Raises
        ------
        ConditionFailed
            If the condition does not hold. After a reply that was lost this can follow one's own success:
            whoever needs to know reads the object back and compares what it wrote.
        Unavailable
            If the store did not answer; whether the write took effect is then unknown.
        """
        ...

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """Copy an object to a key where none lies, on the server's side where there is one.

        Some servers ignore that condition (see `aggrade.storage.probe`): then any object goes that lies there. A copy
        that is there already, byte for byte, counts as made.

        Parameters
        ----------
        source, target
            Which object, and its new key.
        unchanged
            The mark that `source` must bear still. It will never be replaced then, but go, so that on a disk both may
            be names of one file.

        Returns
        -------
        str
            The mark that the copy bears, as the store told it. If it is `unchanged`, the copy is that very object.

        Raises
        ------
        ConditionFailed
            If another object lies at `target`.
        Damaged
            If `source` does not exist, or bears another mark.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist count as deleted."""
        ...

    def discard(self, key: str, etag: str) -> bool:
        """Delete an object if it still bears that mark; return whether it did.

        Some servers ignore the condition (see `aggrade.storage.probe`): then any object goes that lies there.
        After a reply that was lost, False can follow one's own success.
        """
        ...

    def folders(self, prefix: str = "") -> Sequence[str]:
        """Return the sorted names of the folders directly below the folder `prefix`, without a slash."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, in the order of their keys (UTF-8 bytes)."""
        ...

    def within(self, path: str) -> Storage:
        """Return the storage of the folder `path` below this one, sharing its connections."""
        ...

    def above(self) -> tuple[Storage, str]:
        """Return the storage of the folder that holds this one, and this one's name in it.

        Raises
        ------
        BadInput
            If this is a whole bucket or a whole disk.
        """
        ...


def bare(storage: Any) -> Any:
    """Return the storage below those that wrap it, each of which has it as its attribute ``inner``."""
    while hasattr(storage, "inner"):
        storage = storage.inner
    return storage


def _open_local(url: str, _: Mapping[str, Any]) -> Storage:
    from aggrade.storage.local import LocalStorage

    if url.removesuffix(":") in OPENERS:
        raise BadInput(
            Problem("store", repr(url), "a bucket", f"name one: {url}//bucket/prefix", "store-url")
        )
    return LocalStorage(url)


def _open_s3(url: str, storage_options: Mapping[str, Any]) -> Storage:
    from aggrade.storage.s3 import S3Storage

    return S3Storage(url, dict(storage_options))


OPENERS: dict[str, Callable[[str, Mapping[str, Any]], Storage]] = {"s3": _open_s3}
"""URL scheme → what opens it. A further kind of store is one more line; all else is a path on a disk."""


def url_of(store: str | PathLike[str]) -> str:
    """Return a store's URL as text, be it given as that or as a path.

    Raises
    ------
    BadInput
        If it is neither, or no file can have that name.
    """
    url = os.fspath(store) if isinstance(store, str | PathLike) else None
    if isinstance(url, str) and "\0" not in url:
        return url
    expected = "a path, file://… or s3://bucket/…"
    raise BadInput(Problem("store", repr(store), expected, "give one of these", "store-url"))


def open_storage(url: str, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Open a folder on a disk or a prefix in a bucket. Sends no request and creates nothing.

    Parameters
    ----------
    url
        A local path, ``file://…`` or ``s3://bucket/prefix``.
    storage_options
        What `s3fs.S3FileSystem` takes (``key``, ``secret``, ``endpoint_url``, ``profile``, ``client_kwargs``
        …). What isn't given is read from the environment, as s3fs and boto3 do.

    Raises
    ------
    BadInput
        If the URL names another kind of store, or no bucket.
    """
    return OPENERS.get(url.partition("://")[0], _open_local)(url, storage_options or {})
