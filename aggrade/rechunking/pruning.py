"""Deleting the versions of a copy that are not served any more, behind the switch and under the intent.

Usually the version before stays until the next rechunk makes room (`aggrade.rechunking.clearing`), for readers that have it
open. Who has none of these, or no room, has it deleted as soon as the next one is served.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from aggrade.commit import Base, read_snapshot
from aggrade.commit.documents import grid_of
from aggrade.commit.intent import Journal
from aggrade.commit.pieces import LEDGER
from aggrade.commit.plan import new_write_id
from aggrade.commit.recovery import acquire
from aggrade.commit.snapshot import demand_root
from aggrade.price import Price
from aggrade.rechunking.slots import strangers
from aggrade.rechunking.tracing import TRACES, trace_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrade.commit import Snapshot
    from aggrade.commit.intent import Lease
    from aggrade.storage import Storage

__all__ = ["former_keys", "objects_of", "prune_former", "pruning_price"]

_log = logging.getLogger(__name__)


def prune_former(target: Storage) -> int:
    """Delete whatever a copy holds beside the version that it shows.

    Parameters
    ----------
    target
        The copy.

    Returns
    -------
    int
        How many objects were deleted.

    Raises
    ------
    Conflict
        If another writer is at work for too long, or has taken the intent over; nothing is deleted then.
    Damaged
        If the root is older than the last commit left it; nothing is deleted then.
    """
    shown = read_snapshot(target)
    if shown is None or "rechunk" not in shown.mark:
        return 0
    base = Base(etag=shown.etag, generation=shown.generation)
    lease = acquire(target, Journal(kind="prune", base=base), new_write_id())
    try:
        doomed = _doomed(target, lease)
        lease.confirm()
        target.delete(doomed)
        lease.release(dirty=lease.intent.dirty, etags=lease.intent.etags)
    except BaseException:
        lease.stop()
        raise
    _log.info("deleted %d objects of former versions from %s", len(doomed), target.url)
    return len(doomed)


def _doomed(target: Storage, lease: Lease) -> list[str]:
    """Return what is to be deleted, now that nobody else may change the root; of a store that is no copy, nothing."""
    shown = read_snapshot(target)
    demand_root(target.url, shown, lease.intent.least)
    return former_keys(target, shown) if shown is not None and "rechunk" in shown.mark else []


def former_keys(target: Storage, shown: Snapshot) -> list[str]:
    """Return the keys of everything that the version shown doesn't need: objects, traces, what dead runs left.

    Parameters
    ----------
    target
        The copy.
    shown
        The state it shows.
    """
    made = shown.mark.get("rechunk", {})
    found: list[str] = []
    for name in sorted({*shown.documents, *made.get("retired", ())}):
        keys = [info.key for info in target.list(f"{name}/")]
        served = shown.documents.get(name)
        found += keys if served is None else strangers(name, [served], keys)
    trace = trace_key(made["trace"]) if made.get("trace") else None
    bookkeeping = [info.key for prefix in (LEDGER, TRACES) for info in target.list(prefix)]
    return [*found, *(key for key in bookkeeping if key != trace)]


def objects_of(before: Snapshot, documents: Iterable[str]) -> int:
    """Return how many objects are deleted when the version that a copy shows is followed by another.

    Parameters
    ----------
    before
        What it shows.
    documents
        Names of the arrays of the next version.
    """
    retired = before.documents.keys() - set(documents)
    objects = sum(math.prod(grid_of(document)) for document in before.documents.values())
    return objects + len(retired) + bool(before.mark.get("rechunk", {}).get("trace"))


def pruning_price(names: Iterable[str], objects: int) -> Price:
    """Return what it costs to delete former versions.

    Parameters
    ----------
    names
        Arrays of which the target may hold objects.
    objects
        How many are deleted.
    """
    listed = len(set(names)) + 2
    return Price(requests={"GET": 3, "HEAD": 1, "PUT": 2, "LIST": listed, "DELETE": objects})
