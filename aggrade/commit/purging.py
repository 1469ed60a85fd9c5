"""Emptying the backups that hold a layer that has been removed.

A backup is spared only if it can be told from itself that nothing of the layer is in it, and if it can still be
restored from without those that go. Of the others the manifest stays, which says that they were purged. What has no
manifest is deleted: nobody can restore it, nor tell whose it is.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from aggrade.commit.backup import MANIFEST, Manifest, backups_beside, manifests, unfinished_backups
from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import in_grid, index_of, same_keys, shape_of, unit_of
from aggrade.commit.erasing import same_values
from aggrade.commit.layers import RECEIPTS, LayerRecord, entries_of, layer_key
from aggrade.commit.naming import changed_attributes, names, receipt_without
from aggrade.commit.snapshot import ROOT
from aggrade.commit.states import KeptState, newer_manifests
from aggrade.commit.unpublished import drop_unpublished
from aggrade.errors import BadInput, Damaged, Refused, raise_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.plan import Erasure
    from aggrade.storage import Storage

__all__ = ["first_generation", "mark_purged", "purge", "to_purge"]

_log = logging.getLogger(__name__)

_TORN = (BadInput, Damaged, Refused)
"""What is raised of a backup that is not what it should be; a server that does not answer says nothing of it."""


def first_generation(storage: Storage, label: str) -> int:
    """Return the first generation that a layer's records tell of, here or in a backup; 0 if none does.

    It is 0, too, where a backup can't be understood: the layer may have been there from the start.

    Parameters
    ----------
    storage, label
        The store and the layer.
    """
    key, there = layer_key(label), manifests(storage)
    if any(one.unreadable for one in there):
        return 0
    stored = storage.read(key)
    found = [stored.data] if stored else []
    try:
        found += [KeptState(storage, one.id, there).kept(one, key) for one in there if key in one.objects]
    except _TORN as error:
        _log.warning("a backup that has held %s can't be read: %s", key, error)
        return 0
    entries = (entry for data in found for entry in entries_of(data))
    return min((entry.generation for entry in entries if isinstance(entry, LayerRecord)), default=0)


def to_purge(storage: Storage, erasure: Erasure, documents: Mapping[str, Document]) -> list[Manifest]:
    """Return the backups that may hold a layer, and those that can't be restored without them.

    Parameters
    ----------
    storage, erasure
        The store and what is removed.
    documents
        Array documents as the store shows them; empty where it shows nothing, so that no backup needs it.

    Raises
    ------
    Refused
        If a newer aggrade has written a manifest: nobody can tell what is in that backup.
    """
    there = [manifest for manifest in manifests(storage) if not manifest.purged]
    raise_all(newer_manifests(storage, there), Refused)
    states = {one.id: _state(storage, one, there) for one in there if one.generation < erasure.since}
    holding = [one for one in there if not _is_free(states.get(one.id), one, erasure)]
    needing = [one for one in there if _needs_left_overs(states.get(one.id), documents)]
    essential = max((one.id for one in holding if one.commit in {"restore", "remove"}), default="")
    gone = {one.id for one in (*holding, *needing)}
    return [one for one in there if one.id in gone or one.id < essential]


def _state(storage: Storage, manifest: Manifest, there: list[Manifest]) -> KeptState | None:
    """Return the state of a backup, None if it can't be read."""
    try:
        return KeptState(storage, manifest.id, there)
    except _TORN as error:
        _log.warning("backup %s can't be read and is purged: %s", manifest.id, error)
        return None


def _is_free(state: KeptState | None, manifest: Manifest, erasure: Erasure) -> bool:
    """Tell whether a backup of a state before a layer holds nothing of it, which a dead writer may have left."""
    if state is None or manifest.copied:
        return False
    try:
        return all(_is_free_object(state, manifest, key, erasure) for key in manifest.objects)
    except (*_TORN, RuntimeError, ValueError) as error:
        _log.warning("backup %s can't be read and is purged: %s", manifest.id, error)
        return False


def _is_free_object(state: KeptState, manifest: Manifest, key: str, erasure: Erasure) -> bool:
    if key.endswith(ROOT) or key.startswith("."):
        told = json.loads(state.kept(manifest, key))
        if key.endswith(ROOT):
            return not changed_attributes(told.get("attributes", {}), erasure.label)
        if key.startswith(RECEIPTS):
            return bool(receipt_without(told, erasure.label) == told)
        return not names(told, erasure.label)
    name = key.partition("/")[0]
    document = state.shown.documents.get(name)
    index = None if document is None else index_of(name, document, key)
    if document is None or index is None or not in_grid(document, index):
        return False
    part = tuple(
        slice(0, max(0, size - i * unit))
        for i, unit, size in zip(index, unit_of(document), shape_of(document), strict=True)
    )
    if all(piece.stop >= unit for piece, unit in zip(part, unit_of(document), strict=True)):
        return True
    chunks = Chunks(document)
    values = chunks.values(state.kept(manifest, key))
    clean = chunks.values(None)
    clean[part] = values[part]
    return same_values(values, clean)


def _needs_left_overs(state: KeptState | None, documents: Mapping[str, Document]) -> bool:
    """Tell whether a state lies in a key space that the store has left, which a removal empties."""
    if state is None or not documents:
        return False
    kept = state.shown.documents
    return any(name not in documents or not same_keys(kept[name], documents[name]) for name in kept)


def purge(storage: Storage, doomed: list[Manifest]) -> None:
    """Empty backups, each one's manifest first, so that none is taken for whole. Doing it twice is doing it once.

    Those without a manifest are deleted: only the holder of the intent makes backups, and a removal that purges
    makes none.

    Parameters
    ----------
    storage
        The store.
    doomed
        What to empty; backups that were purged before are looked at again.
    """
    backups = backups_beside(storage)
    before = [manifest for manifest in manifests(storage) if manifest.purged]
    for manifest in (*doomed, *before):
        if not manifest.purged:
            mark_purged(backups, manifest)
        keys = [info.key for info in backups.list(f"{manifest.id}/")]
        backups.delete([key for key in keys if key != f"{manifest.id}/{MANIFEST}"])
    drop_unpublished(backups)
    for name in unfinished_backups(storage):
        backups.delete([info.key for info in backups.list(f"{name}/")])


def mark_purged(backups: Storage, manifest: Manifest) -> None:
    """Have a backup's manifest say that it can't be restored any more.

    Parameters
    ----------
    backups
        The storage of a store's backups.
    manifest
        The backup's. One that is gone stays so.
    """
    emptied = {"purged": True, "objects": {}, "copied": (), "regions": (), "size": 0}
    data = manifest.model_copy(update=emptied).model_dump_json(indent=1).encode()
    key = f"{manifest.id}/{MANIFEST}"
    stored = backups.read(key)
    if stored is not None:
        backups.write(key, data, replacing=stored.etag)
