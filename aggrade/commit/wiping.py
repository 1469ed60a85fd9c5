"""Deleting a Zarr store that holds nothing but what has been removed, its name included, and what is left of one that is gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aggrade.commit.backup import backups_beside
from aggrade.commit.intent import INTENT
from aggrade.commit.purging import purge, to_purge
from aggrade.commit.snapshot import ROOT
from aggrade.commit.unpublished import drop_unpublished

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.commit.plan import Erasure
    from aggrade.storage import Storage

__all__ = ["delete_all", "purge_alone", "wipe"]

_log = logging.getLogger(__name__)


def wipe(storage: Storage, confirm: Callable[[], None], *, backups: bool) -> None:
    """Delete a whole store, its root first, so that nobody opens what is half gone, and its intent last.

    Parameters
    ----------
    storage
        The store.
    confirm
        Raises if the intent is no longer ours; called before anything is deleted.
    backups
        Whether its backups go as well.

    Raises
    ------
    Conflict
        If somebody took over.
    """
    confirm()
    storage.delete([ROOT])
    keys = [info.key for info in storage.list() if info.key != INTENT]
    if backups:
        delete_all(backups_beside(storage))
    confirm()
    drop_unpublished(storage)
    storage.delete(keys)
    _drop_intent(storage)
    _log.info("deleted a whole store of %d objects", len(keys) + 2)


def purge_alone(storage: Storage, erasure: Erasure, confirm: Callable[[], None]) -> None:
    """Empty the backups that hold a layer where the store itself is gone, then give the intent up with it.

    Parameters
    ----------
    storage, erasure
        The store, and what is removed.
    confirm
        As for `wipe`.

    Raises
    ------
    Conflict
        If somebody took over.
    """
    confirm()
    purge(storage, to_purge(storage, erasure, {}))
    _drop_intent(storage)


def _drop_intent(storage: Storage) -> None:
    above, name = storage.above()
    above.delete([f"{name}/{INTENT}"])


def delete_all(storage: Storage) -> None:
    """Delete everything below a folder, and the folder, whose name may tell whose it was."""
    drop_unpublished(storage)
    above, name = storage.above()
    above.delete([f"{name}/{info.key}" for info in storage.list()])
