"""Sessions that lie staged below a dataset root: which have landed, which wait for their run, what the dead have left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aggrade.commit import find_layer, layers_of, read_intent, read_snapshot
from aggrade.commit.unpublished import drop_unpublished, unpublished
from aggrade.errors import Damaged, Refused
from aggrade.layout import BOOKKEEPING, STORE_SUFFIX, window_stores_in
from aggrade.settings import settings
from aggrade.storage import bare, open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.storage import Storage

__all__ = [
    "STAGING",
    "StagedStore",
    "clear_staging",
    "drop_landed",
    "drop_store",
    "find_staged",
    "is_abandoned",
    "staged_in",
]

STAGING = f"{BOOKKEEPING}/staging"
_log = logging.getLogger(__name__)


class StagedStore(NamedTuple):
    """A staging store.

    Parameters
    ----------
    root, path
        The dataset root, and where it lies below that.
    session
        Its session's id; empty if that can't be told.
    landed
        The store in which that session lies with the same content, empty if in none.
    abandoned
        Whether it is what a killed writer left, of which no run can make use.
    """

    root: Storage
    path: str
    session: str
    landed: str
    abandoned: bool = False

    @property
    def sentence(self) -> str:
        """What it is and what to do with it."""
        where = f"{self.root.url}/{self.path}"
        if self.landed:
            return f"{where}: session {self.session!r} is staged still, and lies in {self.landed}; run verify --repair."
        if self.abandoned:
            return f"{where}: what a killed run left of a staged session; run verify --repair."
        name = f"session {self.session!r}" if self.session else "what"
        return f"{where}: {name} is staged and has not landed; run the ingest again, or delete it."


def find_staged(store: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[StagedStore]:
    """Yield the staging stores below a dataset root; a Zarr store has none. One listing where there are none.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    if store.rstrip("/").endswith(STORE_SUFFIX):
        return
    root = open_storage(store.rstrip("/"), storage_options)
    names = root.folders(STAGING)
    stores = [root.within(path) for path in window_stores_in(root) if path] if names else []
    for name in names:
        path = f"{STAGING}/{name}"
        session, digest = _content(root.within(path))
        if not session and next(iter(root.list(f"{path}/")), None) is None:
            continue  # some servers list a folder some time after its last object
        landed = _landed(stores, session, digest) if session else ""
        yield StagedStore(root, path, session, landed, is_abandoned(root.within(path)))


def is_abandoned(staging: Storage) -> bool:
    """Tell whether a staging store has no root, and nobody is about to give it one; not if that can't be read."""
    try:
        intent, shown = read_intent(staging), read_snapshot(staging)
    except (Damaged, Refused) as error:
        _log.warning("what is staged can't be read: %s", error)
        return False
    return shown is None and (intent is None or intent[0].state == "free")


def staged_in(staging: Storage) -> str:
    """Return the one session that lies whole in a staging store; nothing if there is none or that can't be told."""
    try:
        whole = read_snapshot(staging) is not None
    except (Damaged, Refused) as error:
        _log.warning("what is staged can't be read: %s", error)
        return ""
    return _content(staging)[0] if whole else ""


def _content(staging: Storage) -> tuple[str, str]:
    """Return the one session that is staged and its digest; nothing if that can't be told."""
    try:
        records = list(layers_of(staging))
    except (Damaged, Refused) as error:
        _log.warning("a staged session can't be read: %s", error)
        return "", ""
    return (records[0].label, records[0].digest) if len(records) == 1 else ("", "")


def _landed(stores: list[Storage], session: str, digest: str) -> str:
    """Return the store that shows the session with this content."""
    for storage in stores:
        try:
            shown = read_snapshot(storage)
            record = find_layer(storage, session, shown) if shown is not None else None
        except (Damaged, Refused) as error:
            _log.warning("can't tell whether session %s is in %s: %s", session, storage.url, error)
            continue
        if record is not None and record.digest == digest:
            return storage.url
    return ""


def drop_landed(store: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Delete the staging stores whose sessions have landed, and what killed writers left; yield a sentence for each.

    Nobody needs them: whoever staged them finds the session in its store, or cuts it anew. Parameters as before.
    """
    for staged in list(find_staged(store, storage_options)):
        if staged.landed or staged.abandoned:
            drop_store(staged.root, staged.path)
            why = f"its session lies in {staged.landed}" if staged.landed else "a killed run had left it"
            yield f"{staged.root.url}/{staged.path}: deleted; {why}"
    if not store.rstrip("/").endswith(STORE_SUFFIX):
        clear_staging(open_storage(store.rstrip("/"), storage_options), age=2 * settings().request_seconds)


def drop_store(root: Storage, path: str) -> int:
    """Delete a staging store: its root first, then all else, files without a name and folders; return how many objects.

    Parameters
    ----------
    root, path
        The dataset root, and where the store lies below that.
    """
    root.delete([f"{path}/zarr.json"])
    keys = [info.key for info in root.list(f"{path}/")]
    drop = getattr(bare(root), "drop_folder", None)
    if drop is not None:
        drop(path)
    else:
        root.delete(keys)
    return len(keys) + 1


def clear_staging(root: Storage, *, age: float = 0) -> None:
    """Delete files that killed writers left in staging without a name, and folders that hold nothing, on a disk.

    Whoever is alive and about to give such a file its name writes it again.

    Parameters
    ----------
    root
        The dataset root.
    age
        Seconds since such a file was last written to, at least.
    """
    staging = root.within(STAGING)
    drop_unpublished(staging, unpublished(staging, age))
    _drop_empty(root, STAGING)


def _drop_empty(root: Storage, path: str) -> None:
    drop = getattr(bare(root), "drop_empty", None)
    if drop is not None:
        drop(path)
