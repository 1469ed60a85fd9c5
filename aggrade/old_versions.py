"""Old versions of objects, in buckets that keep them: deleting those that hold what has been removed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aggrade.commit.erasing import may_hold
from aggrade.commit.layers import LAYERS, layer_key
from aggrade.errors import AggradeError
from aggrade.storage import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrade.commit import Document
    from aggrade.commit.catalogue import Place
    from aggrade.commit.plan import Erasure
    from aggrade.storage import Storage

__all__ = ["drop_deleted", "drop_old", "drop_told"]

_log = logging.getLogger(__name__)


def drop_old(storage: Storage, erases: Erasure, documents: Mapping[str, Document]) -> list[str]:
    """Delete the old versions in one Zarr store that may hold something of a layer.

    Parameters
    ----------
    storage
        The store, from which the layer has been removed.
    erases
        What was removed.
    documents
        Array documents that the store shows.

    Returns
    -------
    list of str
        A sentence for each version that could not be deleted (object lock, missing rights); empty where the bucket
        keeps no versions.
    """
    if erases.gone:
        return _unsearched(storage)

    def concerns(key: str) -> bool:
        if erases.whole:
            return True
        if key.startswith(LAYERS):
            return key == layer_key(erases.label)
        return key.startswith(".") or may_hold(key, erases, documents)

    return _drop(storage, concerns)


def drop_told(place: Place) -> list[str]:
    """Delete the old versions of what the catalogue tells of one Zarr store. Returns as `drop_old`."""
    folder, _, start = place.prefix.rpartition("/")
    return _drop(place.root.within(folder), lambda key: key.startswith(start))


def drop_deleted(storage: Storage) -> list[str]:
    """Delete the old versions of objects that no longer exist. Returns as `drop_old`.

    Parameters
    ----------
    storage
        A folder of staging stores or of backups.
    """
    there = {info.key for info in storage.list()} if _keeps_versions(storage) else set()
    return _drop(storage, lambda key: key not in there)


def _keeps_versions(storage: Storage) -> bool:
    return hasattr(bare(storage), "old_versions")


def _unsearched(storage: Storage) -> list[str]:
    """Say that old versions are kept of a store that is gone: nobody can tell whose they are."""
    if not _keeps_versions(storage):
        return []
    bucket: Any = bare(storage)
    try:
        is_kept = any(True for _ in bucket.old_versions())
    except AggradeError as error:
        return [f"{storage.url}: whether old versions hold what was removed could not be seen ({error})"]
    told = "the bucket keeps versions of this store, which is gone; delete them if nobody needs them"
    return [f"{storage.url}: {told}"] if is_kept else []


def _drop(storage: Storage, concerns: Callable[[str], bool]) -> list[str]:
    if not _keeps_versions(storage):
        return []
    bucket: Any = bare(storage)
    try:
        versions = [(key, version) for key, version in bucket.old_versions() if concerns(key)]
    except AggradeError as error:
        return [f"{storage.url}: whether old versions hold what was removed could not be seen ({error})"]
    remains = [f"an old version remains: {told}" for told in bucket.drop_versions(versions)]
    if versions:
        _log.info("deleted %d old versions in %s", len(versions) - len(remains), storage.url)
    return remains
