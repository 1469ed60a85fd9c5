"""Deleting a Zarr store that holds nothing but what has been removed, its name included."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aggrade.commit.backup import backups_beside
from aggrade.commit.intent import INTENT
from aggrade.commit.snapshot import ROOT
from aggrade.commit.unpublished import drop_unpublished

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrade.storage import Storage

__all__ = ["delete_all", "wipe"]

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
    above, name = storage.above()
    above.delete([f"{name}/{INTENT}"])
    _log.info("deleted a whole store of %d objects", len(keys) + 2)


def delete_all(storage: Storage) -> None:
    """Delete everything below a folder, and the folder, whose name may tell whose it was."""
    drop_unpublished(storage)
    above, name = storage.above()
    above.delete([f"{name}/{info.key}" for info in storage.list()])
