"""Receipts that nobody can read any more, of commits whose layers are replaced or gone as well."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit import find_receipt
from aggrade.commit.layers import RECEIPTS, receipt_key
from aggrade.errors import Damaged, Problem
from aggrade.receipt import Receipt
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from aggrade.commit import Snapshot
    from aggrade.storage import Storage

__all__ = ["receipt_problems", "stand_ins"]


def receipt_problems(storage: Storage, but: Collection[str] = ()) -> Iterator[Problem]:
    """Yield what is wrong with receipts: they are torn, or of a newer version of aggrade.

    Parameters
    ----------
    storage
        The Zarr store.
    but
        Write ids of receipts that are looked at elsewhere.
    """

    def problem(write_id: str) -> Problem | None:
        try:
            find_receipt(storage, write_id)
        except Damaged as error:
            (found,) = error.problems
            return _torn(found) if _is_torn(storage, write_id) else found
        return None

    ids = [write_id for write_id in _write_ids(storage) if write_id not in but]
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        yield from filter(None, pool.map(problem, ids))


def stand_ins(storage: Storage, shown: Snapshot) -> Iterator[Receipt]:
    """Yield a receipt in place of each that is no JSON any more: it says that there was a commit, and nothing of it.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    """
    for write_id in _write_ids(storage):
        if _is_torn(storage, write_id):
            yield Receipt(
                kind="unknown",
                store=storage.url,
                write_id=write_id,
                generation=shown.generation if write_id == shown.write_id else 0,
                details={"completed_by": "repair"},
            )


def _write_ids(storage: Storage) -> list[str]:
    return [info.key.removeprefix(RECEIPTS).removesuffix(".json") for info in storage.list(RECEIPTS)]


def _is_torn(storage: Storage, write_id: str) -> bool:
    """Tell whether a receipt is no JSON; one that is may be of a newer aggrade."""
    stored = storage.read(receipt_key(write_id))
    try:
        return stored is not None and not isinstance(json.loads(stored.data), dict)
    except (ValueError, RecursionError):
        return True


def _torn(found: Problem) -> Problem:
    return Problem(found.where, "no JSON", "a receipt", "run verify --repair", "receipt-torn")
