"""`recover`: finish what dead writers left, in one store or in all stores of a dataset root."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aggrade.commit import Intent, read_intent, recover_store
from aggrade.layout import open_stores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.receipt import Receipt

__all__ = ["open_intents", "recover"]

_log = logging.getLogger(__name__)


def recover(store: str, *, storage_options: Mapping[str, Any] | None = None) -> Receipt | None:
    """Roll dead writers' commits forward or back. No human is needed; a writer that is alive is left alone.

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
    done = []
    for storage in open_stores(store, storage_options):
        receipt = recover_store(storage)
        if receipt is not None:
            done.append(receipt)
    if not done:
        return None
    stores = {receipt.store: receipt.details["rolled"] for receipt in done}
    return done[0].model_copy(update={"details": {**done[0].details, "stores": stores}})


def open_intents(store: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Intent]:
    """Return the intents that are held, by the URL of their store: what `recover` would look at.

    Parameters
    ----------
    store, storage_options
        As in `recover`.
    """
    found = ((storage.url, read_intent(storage)) for storage in open_stores(store, storage_options))
    return {url: intent[0] for url, intent in found if intent is not None and intent[0].state == "held"}
