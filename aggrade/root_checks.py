"""Whether a root is one that a commit wrote: what a root that was changed by hand contradicts.

Only what is on record elsewhere can be contradicted: generations by layer records and backups, rows by the arrays, and
arrays and attributes by the receipt of the last commit, until the next one takes them over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aggrade.commit import backups_beside, read_intent
from aggrade.commit.layers import find_receipt, receipt_key
from aggrade.commit.snapshot import ROOT, lost_root
from aggrade.errors import Damaged, Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from aggrade.commit import LayerRecord, Snapshot
    from aggrade.storage import Storage

__all__ = ["backups_of", "changed_root", "maker_problems", "root_problems"]

_BACKUP = re.compile(r"\d{8,}-[0-9a-f]{16,}")
_FENCE = "fence-"
_RESTORE = "restore the newest backup (aggrade restore)"


def backups_of(storage: Storage) -> list[str]:
    """Return the names of a store's backups, that of the last generation first.

    Parameters
    ----------
    storage
        The Zarr store.
    """
    return sorted(filter(_BACKUP.fullmatch, backups_beside(storage).folders()), key=_generation, reverse=True)


def _generation(backup: str) -> int:
    return int(backup.partition("-")[0])


def root_problems(storage: Storage, shown: Snapshot, backups: Iterable[str]) -> Iterator[str]:
    """Say that a root of ours was set back, has lost the consolidated metadata, or tells of rows that aren't there.

    Parameters
    ----------
    storage
        The Zarr store, from which `shown` was read last.
    shown
        The state that it shows.
    backups
        What `backups_of` returned before that. Those of a store that was deleted are not ours: no receipt is there.
    """
    later = (name for name in backups if _generation(name) > shown.generation)
    ours = next((name for name in later if storage.stat(receipt_key(name.partition("-")[2]))), None)
    if ours is not None:
        found = f"its root is of generation {shown.generation}, and backup {ours} was made of a later one"
        yield f"{storage.url}: {found}; {_RESTORE}, then bring again what came since."
    if shown.generation and getattr(storage, "gathered", None) is not None:
        found = (
            "its root had consolidated metadata and has none now, so that readers see arrays as they change"
        )
        yield f"{storage.url}: {found}; run zarr.consolidate_metadata, or append: that consolidates first."
    dim = shown.mark.get("dim")
    length = shown.length(dim) if dim else 0
    last = max(shown.mark.get("superseded") or [-1])
    for what, rows in (("withdrawn", last + 1), ("another tool's", shown.mark.get("adopted") or 0)):
        if dim and rows > length:
            found = f"row {rows - 1} is said to be {what}, and {dim} is {length} long"
            yield f"{storage.url}/{ROOT}: {found}; {_RESTORE}."


def maker_problems(storage: Storage, shown: Snapshot, records: Collection[LayerRecord]) -> Iterator[str]:
    """Say that the root is older than a layer's record, or that the commit that it names has left nothing else.

    Records are written behind the switch, and so is the receipt. A fence leaves none, and a commit that has not ended
    will; what a record names is looked for with it.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    records
        Of its layers.
    """
    lost = lost_root(storage.url, shown, max((record.generation for record in records), default=0))
    if lost is not None and _is_shown(storage, shown):
        yield str(lost)
    known = {"", *(record.write_id for record in records)}
    if shown.write_id.startswith(_FENCE) or shown.write_id in known:
        return
    if _has_no_receipt(storage, shown) and not _is_held(storage) and _has_no_receipt(storage, shown):
        found = f"its root says that write {shown.write_id} made it, of which there is no receipt"
        fix = f"{_RESTORE} if another program has changed it, else append: each commit leaves a receipt"
        yield f"{storage.url}: {found}; {fix}."


def changed_root(storage: Storage, shown: Snapshot) -> Problem | None:
    """Return what there is to say where arrays or attributes are not what the last commit left; None where they are.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    """
    try:
        receipt = find_receipt(storage, shown.write_id) if shown.write_id else None
    except (Damaged, Refused):
        return None
    if receipt is None or receipt.root_digest in {"", shown.digest}:
        return None
    found = "attributes or arrays that somebody has changed"
    fix = f"{_RESTORE}, or, if it was meant, append: the next commit takes it over"
    expected = f"what write {shown.write_id} left there"
    return Problem(f"{storage.url}/{ROOT}", found, expected, fix, "root-changed")


def _is_shown(storage: Storage, shown: Snapshot) -> bool:
    """Tell whether nobody has switched the root since it was read."""
    now = storage.stat(ROOT)
    return now is not None and now.etag == shown.etag


def _has_no_receipt(storage: Storage, shown: Snapshot) -> bool:
    return storage.read(receipt_key(shown.write_id)) is None


def _is_held(storage: Storage) -> bool:
    try:
        intent = read_intent(storage)
    except (Damaged, Refused):
        return False
    return intent is not None and intent[0].state == "held"
