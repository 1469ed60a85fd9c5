"""`recover`: finish what dead writers left, in one store or in all stores of a dataset root."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aggrade.commit import Intent, read_intent, read_snapshot, recover_store
from aggrade.layout import STORE_SUFFIX, open_stores
from aggrade.moving import finish_moves
from aggrade.storage import open_storage, url_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from aggrade.receipt import Receipt
    from aggrade.storage import Storage

__all__ = ["foresee", "open_intents", "recover"]

_log = logging.getLogger(__name__)


def recover(
    store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Receipt | None:
    """Roll dead writers' commits forward or back. No human is needed; a writer that is alive is left alone.

    Sessions that were on their way into another partition leave the one that they came from.

    Whether a writer is dead is judged by watching its heartbeat for the length of its lease, on this
    process's own clock; a process that this machine knows to be gone needs no watching.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or None
        What was done; None if there was nothing to recover. Where several stores were recovered, the first
        one's receipt, with all of them in ``details["stores"]``.

    Raises
    ------
    Damaged
        If a commit that took effect misses chunks.
    Unavailable
        If the store did not answer.
    """
    store = url_of(store)
    done = []
    for storage in open_stores(store, storage_options):
        receipt = recover_store(storage)
        if receipt is not None:
            done.append(receipt)
    if not store.rstrip("/").endswith(STORE_SUFFIX):
        done += [_told(receipt) for receipt in finish_moves(open_storage(store.rstrip("/"), storage_options))]
    if not done:
        return None
    stores = {receipt.store: receipt.details["rolled"] for receipt in done}
    return done[0].model_copy(update={"details": {**done[0].details, "stores": stores}})


def _told(receipt: Receipt) -> Receipt:
    return receipt.model_copy(update={"details": {**receipt.details, "rolled": "forward"}})


def open_intents(store: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Intent]:
    """Return the intents that are held, by the URL of their store: what `recover` would look at.

    Parameters
    ----------
    store, storage_options
        As in `recover`.
    """
    found = ((storage.url, read_intent(storage)) for storage in open_stores(store, storage_options))
    return {url: intent[0] for url, intent in found if intent is not None and intent[0].state == "held"}


def foresee(store: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return what `recover` would do as things are: the URL of each store whose intent is held → a sentence.

    Parameters
    ----------
    store, storage_options
        As in `recover`.

    Raises
    ------
    Damaged
        If an intent or a root can't be read.
    """
    found = ((storage, read_intent(storage)) for storage in open_stores(store, storage_options))
    return {
        storage.url: _foreseen(storage, intent[0])
        for storage, intent in found
        if intent is not None and intent[0].state == "held"
    }


def _foreseen(storage: Storage, intent: Intent) -> str:
    owner, kind = intent.owner, intent.journal.kind if intent.journal else "something"
    dead = owner.is_known_dead()
    life = "is gone" if dead else "may be alive"
    when = "" if dead else f" once its heartbeat has stood still for {intent.lease_seconds:g} s"
    return (
        f"{kind} of process {owner.process} on {owner.host}, which {life}, is not finished; "
        f"recover would roll it {_direction(storage, intent)}{when}"
    )


def _direction(storage: Storage, intent: Intent) -> str:
    root, journal = read_snapshot(storage), intent.journal
    if root is None:
        erases = journal.erases if journal and journal.base else None
        return "forward" if erases and erases.leaves_no_store else "back to no store"
    if root.write_id == intent.write_id:
        return f"forward: generation {root.generation} shows it"
    return f"back to generation {root.generation}"
