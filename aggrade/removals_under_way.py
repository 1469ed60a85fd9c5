"""Removals that died behind their switch: finishing one is part of removing the same session again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aggrade.commit import find_receipt, manifests, read_intent, recover_store
from aggrade.commit.backup import unfinished_backups
from aggrade.receipt import Receipt, undo_command

if TYPE_CHECKING:
    from aggrade.commit.intent import Intent, Journal
    from aggrade.commit.plan import Erasure
    from aggrade.storage import Storage

__all__ = ["Finished", "Recovered", "recover_for"]


class Finished(NamedTuple):
    """A removal that somebody began, and that recovery has completed; its receipt does not name what was removed."""

    storage: Storage
    erases: Erasure
    receipt: Receipt


class Recovered(NamedTuple):
    """What recovering one store meant for a layer: a writer had died that brought it, or one that removed it."""

    brought: bool = False
    finished: Finished | None = None


def recover_for(storage: Storage, label: str, dim: str) -> Recovered:
    """Finish what a dead writer left in one Zarr store, and tell what that had to do with a layer.

    Parameters
    ----------
    storage
        The store.
    label, dim
        The layer, and the dimension along which it lies.

    Raises
    ------
    Damaged, Refused, Unavailable
        As `aggrade.recover`.
    """
    found = read_intent(storage)
    journal = found[0].journal if found else None
    erases = journal.erases if journal else None
    ours = erases is not None and (erases.label, erases.dim) == (label, dim)
    before = _backups(storage) if ours and erases and erases.purge else set()
    done = recover_store(storage)
    if found is None or journal is None or done is None:
        return Recovered()
    brought = any(layer.label == label for layer in journal.layers)
    if not ours or erases is None or done.details["rolled"] != "forward":
        return Recovered(brought)
    gone = sorted(before - _backups(storage)) if erases.purge else []
    receipt = _receipt(storage, found[0], journal, erases, gone)
    return Recovered(
        brought, Finished(storage, erases, receipt.model_copy(update={"generation": done.generation}))
    )


def _backups(storage: Storage) -> set[str]:
    """Return the backups that hold anything, whether they were finished or not."""
    return {one.id for one in manifests(storage) if not one.purged} | {*unfinished_backups(storage)}


def _receipt(storage: Storage, intent: Intent, journal: Journal, erases: Erasure, gone: list[str]) -> Receipt:
    """Return the receipt of a removal: with the counts that its own has, if it was written before its writer died."""
    own = None if erases.leaves_no_store else find_receipt(storage, intent.write_id)
    told: dict[str, Any] = own.details if own else {}
    is_final = erases.leaves_no_store or bool(getattr(storage, "has_fixed_keys", False))
    return Receipt(
        kind="remove",
        store=storage.url,
        write_id=intent.write_id,
        generation=0,
        dim=journal.dim,
        backup=journal.backup,
        undo=None if is_final else undo_command(storage.url, journal.backup),
        details={**told, "rows": len(erases.rows), "purged": sorted({*told.get("purged", ()), *gone})},
    )
