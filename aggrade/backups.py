"""Backups of a store: what there is, and pruning it."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrade.commit import Manifest, backups_beside, find_receipt, manifests, read_intent, read_snapshot
from aggrade.commit.backup import MANIFEST
from aggrade.commit.intent import least_shown
from aggrade.commit.purging import mark_purged
from aggrade.commit.snapshot import demand_root
from aggrade.errors import BadInput, Damaged, Problem, Refused, Unavailable
from aggrade.layout import BACKUPS_SUFFIX, PARTITIONS, SESSIONS, STORE_SUFFIX, open_stores
from aggrade.storage import open_storage, url_of
from aggrade.storage.adopting import Adopting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from aggrade.receipt import Receipt
    from aggrade.storage import Opener, Storage

__all__ = ["backups_with_receipts", "delete_backups", "list_backups", "prune_backups", "stores_with_backups"]

_log = logging.getLogger(__name__)


def stores_with_backups(
    store: str, storage_options: Mapping[str, Any] | None = None, opener: Opener = open_storage
) -> list[Storage]:
    """Return one Zarr store, or those of a dataset root, the ones included of which only backups are left.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    opener
        What opens storages.
    """
    there = open_stores(store, storage_options, opener)
    root = opener(store.rstrip("/"), storage_options)
    if store.rstrip("/").endswith(STORE_SUFFIX) or [storage.url for storage in there] == [root.url]:
        return there
    left = {
        f"{folder}/{name}".strip("/").removesuffix(BACKUPS_SUFFIX)
        for folder in ("", PARTITIONS, SESSIONS)
        for name in root.folders(folder)
        if name.endswith(STORE_SUFFIX + BACKUPS_SUFFIX)
    }
    alone = [Adopting(root.within(path)) for path in left]
    known = {storage.url: storage for storage in (*alone, *there)}
    return [known[url] for url in sorted(known)]


def list_backups(
    store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> list[Manifest]:
    """Return the backups of one store, or of all stores of a dataset root, oldest first per store.

    Those that a removal has emptied are ``purged``, and those whose manifest can't be understood ``unreadable``:
    neither can be restored.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    store = url_of(store)
    stores = stores_with_backups(store, storage_options)
    return [manifest for storage in stores for manifest in manifests(storage)]


def backups_with_receipts(
    store: str, *, storage_options: Mapping[str, Any] | None = None
) -> list[tuple[Manifest, Receipt | None]]:
    """Return each backup as `list_backups` does, with the receipt of the commit that made it; None if it has none.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    stores = stores_with_backups(store, storage_options)
    return [(one, _receipt(storage, one)) for storage in stores for one in manifests(storage)]


def _receipt(storage: Storage, manifest: Manifest) -> Receipt | None:
    try:
        return find_receipt(storage, manifest.id.partition("-")[2])
    except (Damaged, Refused) as error:
        _log.warning("what made backup %s is not known: %s", manifest.id, error)
        return None


def prune_backups(
    store: str | PathLike[str],
    keep: int = 10,
    *,
    older_than: timedelta | str | None = None,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> list[Manifest]:
    """Delete the oldest backups of each store.

    The newest ones are kept whatever their age, and with `older_than` those too that are younger. A backup that a
    commit under way may need is kept in any case.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    keep
        How many to keep per store, at least 0.
    older_than
        Delete only what is older: ``"30 days"``, or a `datetime.timedelta`.
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
        If `keep` is negative, or `older_than` is no length of time.
    """
    store = url_of(store)
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 0:
        raise BadInput(Problem("keep", repr(keep), "0 or more", "say how many backups to keep", "keep"))
    limit = None if older_than is None else datetime.now(UTC) - _length(older_than)
    doomed = [
        (storage, _doomed(storage, keep, limit)) for storage in stores_with_backups(store, storage_options)
    ]
    if not dry_run:
        for storage, old in doomed:
            delete_backups(storage, old)
    return [manifest for _, old in doomed for manifest in old]


def _length(age: timedelta | str) -> timedelta:
    if not isinstance(age, timedelta) and not (isinstance(age, str) and any(map(str.isalpha, age))):
        raise BadInput(_no_age(age))
    try:
        length = pd.Timedelta(age)
        if length >= pd.Timedelta(0):
            return timedelta(seconds=length.total_seconds())
    except ValueError as error:
        raise BadInput(_no_age(age)) from error
    raise BadInput(_no_age(age))


def _no_age(age: timedelta | str) -> Problem:
    fix = "say how old a backup may be"
    return Problem("older_than", repr(age), 'a length of time such as "30 days"', fix, "age")


def _doomed(storage: Storage, keep: int, limit: datetime | None) -> list[Manifest]:
    """List first, then look at the intent: a backup that was listed belongs to this intent or to an older one.

    Backups need those that were made after them, so the oldest go first; one of a newer aggrade stays, with all after it.
    """
    there = manifests(storage)
    intent = read_intent(storage)
    demand_root(storage.url, read_snapshot(storage), least_shown(intent))
    journal = intent[0].journal if intent is not None else None
    needed = {journal.backup, journal.restores} if journal else set()
    restored = next((one for one in there if journal and one.id == journal.restores), None)
    old = itertools.takewhile(
        lambda one: not one.newer and (limit is None or not _is_younger(one, limit)),
        there[: _kept_from(there, keep)],
    )
    return [
        one
        for one in old
        if one.id not in needed and not (restored and one.generation >= restored.generation)
    ]


def _kept_from(there: list[Manifest], keep: int) -> int:
    """Return the place of the first backup to keep; those that can't be restored don't count."""
    whole = [place for place, one in enumerate(there) if one.is_whole]
    if keep == 0:
        return len(there)
    return whole[-keep] if len(whole) > keep else 0


def _is_younger(manifest: Manifest, limit: datetime) -> bool:
    return bool(manifest.made) and datetime.fromisoformat(manifest.made) >= limit


def delete_backups(storage: Storage, old: Iterable[Manifest]) -> None:
    """Delete backups of one store, so that half a backup is none: its manifest says so until the last of it is gone.

    Where nothing can be written, as on a disk that is full, the manifest goes first.
    """
    backups = backups_beside(storage)
    for manifest in old:
        key = f"{manifest.id}/{MANIFEST}"
        try:
            mark_purged(backups, manifest)
        except (BadInput, Unavailable) as error:
            _log.info("backup %s can't be marked before it is deleted: %s", manifest.id, error)
            backups.delete([key])
        backups.delete([info.key for info in backups.list(f"{manifest.id}/") if info.key != key])
        backups.delete([key])
        _log.info("deleted %s", manifest)
