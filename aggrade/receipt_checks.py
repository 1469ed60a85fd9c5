"""Receipts that nobody can read any more, of commits whose layers are replaced or gone as well."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aggrade.commit import find_receipt
from aggrade.commit.layers import RECEIPTS, layer_key, receipt_key
from aggrade.commit.newer import NEWER
from aggrade.errors import Damaged, Problem, Refused
from aggrade.receipt import Receipt
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from aggrade.commit import Snapshot
    from aggrade.storage import Storage

__all__ = ["has_newer", "newer_labels", "receipt_problems", "stand_ins"]


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
            return _torn(storage, write_id, error.problems[0])
        except Refused as error:
            return error.problems[0]
        return None

    ids = [write_id for write_id in _write_ids(storage) if write_id not in but]
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        yield from filter(None, pool.map(problem, ids))


def stand_ins(storage: Storage, shown: Snapshot) -> Iterator[Receipt]:
    """Yield a receipt in place of each that is torn: it says that there was a commit, and nothing of it.

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


def has_newer(unreadable: Iterable[Problem]) -> bool:
    """Tell whether a newer aggrade has written a record that can't be read. Parameters as for `newer_labels`."""
    return any(problem.code == NEWER for problem in unreadable)


def newer_labels(unreadable: Iterable[Problem], labels: Iterable[str]) -> set[str]:
    """Return the labels of which a newer aggrade has written the record: it is there, whatever it says.

    Parameters
    ----------
    unreadable
        What `layers_of` says of records that can't be read.
    labels
        Among which to look.
    """
    newer = [problem.where for problem in unreadable if problem.code == NEWER]
    return {label for label in labels if newer and any(where.endswith(layer_key(label)) for where in newer)}


def _write_ids(storage: Storage) -> list[str]:
    return [info.key.removeprefix(RECEIPTS).removesuffix(".json") for info in storage.list(RECEIPTS)]


def _is_torn(storage: Storage, write_id: str) -> bool:
    """Tell whether a receipt is torn; one of a newer aggrade is not."""
    try:
        find_receipt(storage, write_id)
    except Damaged:
        return True
    except Refused:
        return False
    return False


def _torn(storage: Storage, write_id: str, found: Problem) -> Problem:
    stored = storage.read(receipt_key(write_id))
    what = "JSON that lacks keys" if stored and _is_object(stored.data) else "no JSON"
    return Problem(found.where, what, "a receipt", "run verify --repair", "receipt-torn")


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False
