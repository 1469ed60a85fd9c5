"""Backups of a store: what there is, and pruning it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aggrade.commit import Manifest, backups_beside, manifests, read_intent
from aggrade.errors import BadInput, Problem
from aggrade.layout import open_stores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.storage import Storage

__all__ = ["list_backups", "prune_backups"]

_log = logging.getLogger(__name__)


def list_backups(store: str, *, storage_options: Mapping[str, Any] | None = None) -> list[Manifest]:
    """Return the backups of one store, or of all stores of a dataset root, oldest first per store.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    return [manifest for storage in open_stores(store, storage_options) for manifest in manifests(storage)]


def prune_backups(
    store: str, keep: int = 10, *, dry_run: bool = False, storage_options: Mapping[str, Any] | None = None
) -> list[Manifest]:
    """Delete all but the newest backups of each store.

    A backup that a commit under way may need is kept, whatever its age.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    keep
        How many to keep per store, at least 0.
    dry_run
        Only return what would be deleted.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    list of Manifest
        What was deleted, or would be.

    Raises
    ------
    BadInput
        If `keep` is negative.
    """
    if keep < 0:
        raise BadInput(Problem("keep", str(keep), "0 or more", "say how many backups to keep", "keep"))
    doomed = [(storage, _doomed(storage, keep)) for storage in open_stores(store, storage_options)]
    if not dry_run:
        for storage, old in doomed:
            _delete(storage, old)
    return [manifest for _, old in doomed for manifest in old]


def _doomed(storage: Storage, keep: int) -> list[Manifest]:
    """List first, then look at the intent: a backup that was listed belongs to this intent or to an older one."""
    there = manifests(storage)
    intent = read_intent(storage)
    needed = intent[0].journal.backup if intent is not None and intent[0].journal else None
    return [manifest for manifest in there[: max(0, len(there) - keep)] if manifest.id != needed]


def _delete(storage: Storage, old: list[Manifest]) -> None:
    backups = backups_beside(storage)
    for manifest in old:
        backups.delete([info.key for info in backups.list(f"{manifest.id}/")])
    _log.info("pruned %d backups of %s", len(old), storage.url)
