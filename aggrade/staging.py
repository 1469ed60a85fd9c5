"""A session between being cut and being appended: in a private store, so that neither step repeats the other.

A staged session lies below the dataset root at ``.aggrade/staging/{name}.zarr``, where no reader of the dataset
looks. It is appended there under guard, so a crash leaves it whole or absent, and its content digest is the one
that the dataset's own store will record. When the session has landed, its staging store is removed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from aggrade.appending import append_to
from aggrade.commit import read_snapshot
from aggrade.commit.documents import key_of, shape_of, units_in
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.layout import STORE_SUFFIX, is_zarr, store_for
from aggrade.montages import montage_of
from aggrade.placing import COMMON, Layout, Partition, windows_store
from aggrade.receipt import Receipt
from aggrade.splicing import list_key, list_of
from aggrade.staged_forms import form_of
from aggrade.staged_sessions import STAGING, drop_store, is_abandoned, staged_in
from aggrade.staging_price import is_small
from aggrade.storage import open_storage
from aggrade.storage.together import read_together
from aggrade.storage.zarr_store import ReadStore, span_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from aggrade.commit.documents import Document
    from aggrade.staged_forms import StagedForm
    from aggrade.storage import Storage

__all__ = [
    "STAGING",
    "Staged",
    "drop_left",
    "drop_staged",
    "folder_of",
    "is_staged",
    "open_form",
    "open_staged",
    "said_of",
    "stage",
    "staging_of",
    "url_of_staging",
]

_ROOT = "zarr.json"
_logger = logging.getLogger(__name__)


class Staged(BaseModel):
    """What there is to know of a session that was cut: kilobytes, never its samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str = Field(description="The session's id.")
    root: str = Field(description="URL of the dataset root.")
    name: str = Field(description="Name of the staging store below the root.")
    digest: str = Field(description="Digest of the session's content.")
    windows: int = Field(description="Windows that were cut.")
    start: str = Field(default="", description="When the session began, ISO 8601; empty if not known.")
    montage: str = Field(default="", description="Name of its montage, by its channels and nominal rates.")
    source: str = Field(default="", description="Where the recording lies.")
    bytes: int = Field(default=0, description="Bytes of the windows, uncompressed.")
    notes: tuple[str, ...] = Field(default=(), description="What a person should know of the recording.")

    def store(self, layout: Layout = "common", partition: Partition = "none", *, name: str = COMMON) -> str:
        """Return the URL of the Zarr store that the session belongs in. Parameters as for `windows_store`."""
        where = (self.root, self.session, self.start, layout, partition)
        return windows_store(*where, name=name, montage=self.montage)

    def __str__(self) -> str:
        return f"{self.session}: {self.windows} windows, {self.bytes:,} bytes"


def stage(
    dataset: xr.Dataset, root: str, name: str, *, storage_options: Mapping[str, Any] | None = None
) -> Staged:
    """Put one session into its staging store. Doing it twice is doing it once.

    Parameters
    ----------
    dataset
        One session, as `aggrade.cut_windows` returns it.
    root
        The dataset root: a local path or URL.
    name
        Name of the staging store; sessions cut from other sources or in other ways have other names.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    storage = store_for(url_of_staging(root, name), "session", storage_options)
    how: dict[str, Any] = {"depth": 0, "grow": ("window",), "backup": "none", "lists": True}
    try:
        receipt = append_to(storage, dataset, **how)
    except (Conflict, Damaged) as error:
        if error.code not in {"root-lost", "key-taken"} or not is_abandoned(storage):
            raise
        drop_store(open_storage(root, storage_options), folder_of(name))
        receipt = append_to(storage, dataset, **how)
    assert isinstance(receipt, Receipt)
    session = str(dataset["session"].values[0])
    return Staged(
        session=session,
        root=root,
        name=name,
        digest=receipt.digests[session],
        windows=dataset.sizes["window"],
        start=said_of(dataset, "session_start"),
        montage=montage_of(dataset),
        source=said_of(dataset, "source"),
        bytes=dataset.nbytes,
    )


def staging_of(staged: Staged, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Return where a staged session lies."""
    return open_storage(url_of_staging(staged.root, staged.name), storage_options)


def said_of(dataset: xr.Dataset, name: str) -> str:
    """Return what a dataset of one session says in a variable, as text; empty if it has none."""
    return str(dataset[name].values[0]) if name in dataset else ""


def url_of_staging(root: str, name: str) -> str:
    """Return the URL of the staging store of that name."""
    return f"{root.rstrip('/')}/{folder_of(name)}"


def folder_of(name: str) -> str:
    """Return the path of the staging store of that name, below the dataset root."""
    return f"{STAGING}/{name}{STORE_SUFFIX}"


def is_staged(staged: Staged, *, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a session still lies in its staging store."""
    return is_zarr(staging_of(staged, storage_options))


def open_staged(staged: Staged, *, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a staged session: small arrays are read at once, large ones lazily.

    A chunk that is missing raises; it is never taken for fill.

    Raises
    ------
    Damaged
        Here or when values are read, if the staging store has been removed meanwhile.
    """
    return open_form(staged, storage_options)[0]


def open_form(staged: Staged, storage_options: Mapping[str, Any] | None) -> tuple[xr.Dataset, StagedForm]:
    """Open a staged session, and tell in which form it lies there."""
    storage = staging_of(staged, storage_options)
    snapshot = read_snapshot(storage)
    if snapshot is None:
        raise Damaged(_gone(storage.url, _ROOT))
    listed = list_key(snapshot.write_id)
    found = read_together(storage, [listed, *_small_objects(snapshot.documents)])
    written = found.pop(listed)
    form = form_of(folder_of(staged.name), snapshot.documents, list_of(written.data if written else None))
    held = {key: stored.data for key, stored in found.items() if stored is not None}
    store = _WholeStore(storage, {_ROOT: snapshot.data, **held})
    opened: xr.Dataset = xr.open_zarr(store, consolidated=True, zarr_format=3, chunks=None)
    own = {k: v for k, v in opened.attrs.items() if k != "aggrade"}
    return opened.drop_attrs(deep=False).assign_attrs(own), form


def _small_objects(documents: Mapping[str, Document]) -> Iterator[str]:
    for name, document in documents.items():
        if is_small(document):
            for index in units_in(document, tuple((0, size) for size in shape_of(document))):
                yield key_of(name, document, index)


class _WholeStore(ReadStore):
    """A staging store, some of it in memory: every chunk was written, fill included, so a missing one is an error."""

    def __init__(self, storage: Storage, held: Mapping[str, bytes]) -> None:
        super().__init__(storage)
        self.held = held

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or a part of it; raise if a chunk is missing."""
        if key in self.held:
            start, stop = span_of(byte_range)
            return prototype.buffer.from_bytes(self.held[key][start:stop])
        found = await super().get(key, prototype, byte_range)
        if found is None and "c" in key.split("/")[1:2]:
            raise Damaged(_gone(self, key))
        return found


def _gone(store: ReadStore | str, key: str) -> Problem:
    fix = "run it again: the session is cut anew"
    return Problem(f"{store}/{key}", "no object", "a session that is staged", fix, "staging-gone")


def drop_staged(staged: Staged, *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Remove a session's staging store, its root first: the next `stage` clears away what who dies amid it leaves."""
    count = drop_store(open_storage(staged.root, storage_options), folder_of(staged.name))
    _logger.info("removed the staging store of session %s: %d objects", staged.session, count)


def drop_left(
    landed: Iterable[Staged],
    root: str,
    *,
    refused: Iterable[Staged] = (),
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Remove what nobody will land any more of the staging stores of some sessions. One listing if there is nothing.

    That is what killed runs left of those that have landed, and what lies under other names: the same sessions, cut from
    files that have changed since or in another way. Whoever is about to land one of these cuts it again. What is being
    staged stays.

    Parameters
    ----------
    landed
        Sessions that have landed.
    root
        The dataset root.
    refused
        Sessions that were refused; they stay staged for the run that brings them again.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    storage, landed, refused = open_storage(root, storage_options), tuple(landed), tuple(refused)
    there = set(storage.folders(STAGING))
    for one in landed:
        path = folder_of(one.name)
        if f"{one.name}{STORE_SUFFIX}" not in there or next(iter(storage.list(f"{path}/")), None) is None:
            continue  # some servers list a folder some time after its last object
        if is_abandoned(storage.within(path)):
            drop_store(storage, path)
    sessions = {one.session for one in (*landed, *refused)}
    for folder in sorted(there - {f"{one.name}{STORE_SUFFIX}" for one in (*landed, *refused)}):
        session = staged_in(storage.within(f"{STAGING}/{folder}"))
        if session in sessions:
            drop_store(storage, f"{STAGING}/{folder}")
            _logger.info("removed what was staged of session %s before it was cut anew", session)
