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

from aggrade.append_plan import AppendPlan, is_superseded
from aggrade.appending import append, append_to
from aggrade.commit import find_layer, find_receipt, read_intent, read_snapshot
from aggrade.commit.documents import key_of, shape_of, units_in
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.layout import BOOKKEEPING, STORE_SUFFIX, is_zarr, store_for
from aggrade.montages import montage_of
from aggrade.placing import COMMON, Layout, Partition, windows_store
from aggrade.receipt import Receipt
from aggrade.splicing import foretold, form_of, list_key, list_of
from aggrade.staging_price import is_small, price_of_passing
from aggrade.storage import open_storage
from aggrade.storage.together import read_together
from aggrade.storage.zarr_store import ReadStore, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from aggrade.append_plan import OnConflict
    from aggrade.channels import Channels
    from aggrade.commit.documents import Document
    from aggrade.commit.plan import BackupKind
    from aggrade.splicing import StagedForm
    from aggrade.storage import Storage

__all__ = [
    "STAGING",
    "Staged",
    "check_landing",
    "drop_staged",
    "find_landed",
    "is_staged",
    "land",
    "open_staged",
    "plan_landing",
    "stage",
    "staging_of",
]

STAGING = f"{BOOKKEEPING}/staging"
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
    storage = store_for(_url(root, name), "session", storage_options)
    how: dict[str, Any] = {"depth": 0, "grow": ("window",), "backup": "none", "lists": True}
    try:
        receipt = append_to(storage, dataset, **how)
    except (Conflict, Damaged) as error:
        if error.code not in {"root-lost", "key-taken"} or not _is_half_gone(storage):
            raise
        _drop(open_storage(root, storage_options), name)
        receipt = append_to(storage, dataset, **how)
    assert isinstance(receipt, Receipt)
    session = str(dataset["session"].values[0])
    return Staged(
        session=session,
        root=root,
        name=name,
        digest=receipt.digests[session],
        windows=dataset.sizes["window"],
        start=_said(dataset, "session_start"),
        montage=montage_of(dataset),
        source=_said(dataset, "source"),
        bytes=dataset.nbytes,
    )


def plan_landing(
    dataset: xr.Dataset,
    root: str,
    name: str,
    *,
    layout: Layout = "common",
    partition: Partition = "none",
    store_name: str = COMMON,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> AppendPlan:
    """Return what appending one session to the store it belongs in would do. Writes nothing.

    The price is that of the way through staging: its store is written, read and removed. How often large arrays
    are read is estimated. The windows that are cut are in memory until they are staged.

    Parameters
    ----------
    dataset, root, name
        As for `stage`.
    layout, partition, store_name
        As for `aggrade.placing.windows_store`, whose `name` is `store_name`.
    channels, on_conflict, backup, storage_options
        As for `aggrade.append`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    session = str(dataset["session"].values[0])
    where = (root, session, _said(dataset, "session_start"), layout, partition)
    store = windows_store(*where, name=store_name, montage=montage_of(dataset))
    how: dict[str, Any] = {
        "channels": channels,
        "on_conflict": on_conflict,
        "backup": backup,
        "dry_run": True,
    }
    staging = append(
        dataset,
        _url(root, name),
        grow=("window",),
        backup="none",
        dry_run=True,
        storage_options=storage_options,
    )
    assert isinstance(staging, AppendPlan)
    how["staged"] = foretold(_folder(name), staging.commit) if staging.commit else None
    plan = _append_below(root, store, dataset, storage_options, how)
    assert isinstance(plan, AppendPlan)
    if plan.commit is None:
        return plan
    price = plan.price + staging.price + price_of_passing(staging, plan)
    memory = price.peak_memory + dataset.nbytes
    return plan.model_copy(update={"price": price.model_copy(update={"peak_memory": memory})})


def land(
    staged: Staged,
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Append a staged session to a store, of which the catalogue is to tell if it lies below the dataset root.

    Parameters
    ----------
    staged
        The session.
    store
        URL of the Zarr store.
    channels, on_conflict, backup, storage_options
        As for `aggrade.append`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    dataset, form = _open(staged, storage_options)
    how: dict[str, Any] = {
        "channels": channels,
        "on_conflict": on_conflict,
        "backup": backup,
        "staged": form,
    }
    receipt = _append_below(staged.root, store, dataset, storage_options, how)
    assert isinstance(receipt, Receipt)
    return receipt


def check_landing(
    staged: Staged,
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Raise what `land` would raise before it writes anything. Parameters as for `land`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    dataset, form = _open(staged, storage_options)
    how: dict[str, Any] = {
        "channels": channels,
        "on_conflict": on_conflict,
        "backup": backup,
        "dry_run": True,
        "staged": form,
    }
    _append_below(staged.root, store, dataset, storage_options, how)


def staging_of(staged: Staged, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Return where a staged session lies."""
    return open_storage(_url(staged.root, staged.name), storage_options)


def _append_below(
    root: str,
    store: str,
    dataset: xr.Dataset,
    storage_options: Mapping[str, Any] | None,
    how: Mapping[str, Any],
) -> Receipt | AppendPlan:
    top, storage = open_storage(root, storage_options).url, store_for(store, "session", storage_options)
    below = storage.url.removeprefix(f"{top}/") if storage.url.startswith(f"{top}/") else ""
    depth = len(below.split("/")) if below else 0
    return append_to(storage, dataset, depth=depth, grow=("window",), **how)


def _said(dataset: xr.Dataset, name: str) -> str:
    return str(dataset[name].values[0]) if name in dataset else ""


def _url(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{_folder(name)}"


def _folder(name: str) -> str:
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
    return _open(staged, storage_options)[0]


def _open(staged: Staged, storage_options: Mapping[str, Any] | None) -> tuple[xr.Dataset, StagedForm]:
    """Open a staged session, and tell in which form it lies there."""
    storage = staging_of(staged, storage_options)
    snapshot = read_snapshot(storage)
    if snapshot is None:
        raise Damaged(_gone(storage.url, _ROOT))
    listed = list_key(snapshot.write_id)
    found = read_together(storage, [listed, *_small_objects(snapshot.documents)])
    written = found.pop(listed)
    form = form_of(_folder(staged.name), snapshot.documents, list_of(written.data if written else None))
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
    count = _drop(open_storage(staged.root, storage_options), staged.name)
    _logger.info("removed the staging store of session %s: %d objects", staged.session, count)


def _is_half_gone(storage: Storage) -> bool:
    """Tell whether a store has no root, and nobody is about to give it one."""
    intent = read_intent(storage)
    return read_snapshot(storage) is None and (intent is None or intent[0].state == "free")


def _drop(root: Storage, name: str) -> int:
    folder = _folder(name)
    root.delete([f"{folder}/{_ROOT}"])
    keys = [info.key for info in root.list(f"{folder}/")]
    root.delete(keys)
    return len(keys) + 1


def find_landed(
    store: str, session: str, digest: str, *, storage_options: Mapping[str, Any] | None = None
) -> Receipt | None:
    """Return the receipt of a session that lies in a store with just this content, reading no data.

    Parameters
    ----------
    store
        The Zarr store, or a dataset root, whose ``windows.zarr`` is meant.
    session, digest
        The session's id and the digest of its content.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or None
        None if the session isn't there, or with other content.
    """
    storage = store_for(store, "session", storage_options)
    shown = read_snapshot(storage)
    record = find_layer(storage, session, shown)
    if record is None or record.digest != digest or is_superseded(shown, record.index):
        return None
    return find_receipt(storage, record.write_id)
