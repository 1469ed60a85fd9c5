"""The plan of a removal: where in a dataset a session or an epoch is found, and what becomes of each place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit import backups_beside, find_layer, manifests, read_intent, read_snapshot
from aggrade.commit.agreement import demand_consolidated
from aggrade.commit.backup import COPIES, unfinished_backups
from aggrade.commit.catalogue import place_of
from aggrade.commit.cataloguing import telling
from aggrade.commit.documents import dims_of, labels_of, same_keys, shape_of
from aggrade.commit.erasing import held_objects, memory_to_erase, torn_beside
from aggrade.commit.layers import RECEIPTS, layer_key
from aggrade.commit.looking import known_generation
from aggrade.commit.naming import (
    attributes_without,
    changed_attributes,
    cleaned_receipt,
    naming_attributes,
)
from aggrade.commit.plan import Base, CommitPlan, Erasure
from aggrade.commit.purging import first_generation, to_purge
from aggrade.commit.regions import beyond, everything
from aggrade.commit.snapshot import demand_root, lost_root
from aggrade.commit.states import newer_manifests
from aggrade.commit.unpublished import unpublished, unpublished_by_the_dead
from aggrade.errors import BadInput, Damaged, Problem, Refused, raise_all
from aggrade.price import Price
from aggrade.rechunking.slots import key_encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aggrade.commit import Document, Snapshot
    from aggrade.commit.catalogue import Place
    from aggrade.commit.intent import Intent
    from aggrade.commit.plan import BackupKind, Target
    from aggrade.storage import Storage

__all__ = ["RemovePlan", "StoreRemoval", "demand_dimension", "look_into", "removal_commit"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreRemoval(_Frozen):
    """What a removal does to one Zarr store."""

    store: str = Field(description="URL of the Zarr store.")
    erases: Erasure
    found: bool = Field(default=False, description="Whether the layer is known there, or in a backup.")
    rewritten: int = Field(
        default=0, description="Objects that are overwritten, with fill or without its rows."
    )
    size: int = Field(default=0, description="Bytes of these.")
    texts: tuple[str, ...] = Field(default=(), description="Keys of its record and of receipts that name it.")
    attributes: tuple[str, ...] = Field(
        default=(), description="Attributes that are left out since they are the label, or lose it."
    )
    stays: tuple[str, ...] = Field(
        default=(),
        description="Attributes in which the label stands as a word, and stays: it may mean another thing.",
    )
    purged: tuple[str, ...] = Field(
        default=(), description="Backups that are emptied, or deleted if they were never finished."
    )
    copied: bool = Field(
        default=False, description="Whether it is a rechunked copy, of which no backup is kept."
    )
    final: bool = Field(
        default=False, description="Whether no backup can undo it: a store of Zarr format 2 keeps its keys."
    )
    torn: tuple[str, ...] = Field(
        default=(),
        description="Objects that can't be decoded and hold other layers' rows, too: these become fill.",
    )
    memory: int = Field(default=0, description="Bytes of memory that it takes to overwrite them, at most.")

    def __str__(self) -> str:
        if self.erases.gone:
            return f"  {self.store}: only backups are left of it"
        if self.erases.whole:
            return f"  {self.store}: holds nothing else and goes as a whole, {self.rewritten} objects"
        rows = ", ".join(map(str, self.erases.rows)) or "none"
        copied = "; a rechunked copy: no backup, rechunk again after an undo" if self.copied else ""
        final = "; can't be undone in Zarr format 2: rechunk into format 3 first" if self.final else ""
        lines = [f"  {self.store}: rows {rows}, {self.rewritten} objects overwritten{copied}{final}"]
        lines += [f"    changed: {', '.join(self.attributes)}"] if self.attributes else []
        lines += [
            f"    can't be decoded, so that other layers' rows in it become fill: {key}" for key in self.torn
        ]
        lines += [f"    left as they are, though they name it: {', '.join(self.stays)}"] if self.stays else []
        return "\n".join(lines)


class RemovePlan(_Frozen):
    """What a removal will do. Printing it is the dry run."""

    root: str = Field(description="URL of the dataset root.")
    label: str
    dim: str
    stores: tuple[StoreRemoval, ...] = ()
    staging: tuple[str, ...] = Field(default=(), description="Staging stores that are deleted.")
    lines: tuple[str, ...] = Field(
        default=(), description="Files of the catalogue that name it, of stores that are gone: deleted."
    )
    set_aside: bool = Field(default=False, description="Whether a record says that it could not be read.")
    finishes: tuple[str, ...] = Field(
        default=(),
        description="Stores in which an earlier removal of it died behind its switch: it is completed.",
    )
    price: Price = Field(default_factory=Price, description="What it will cost.")

    @property
    def found(self) -> bool:
        """Whether there is anything to remove."""
        told = self.staging or self.lines or self.finishes
        return bool(told) or self.set_aside or any(store.found for store in self.stores)

    def __str__(self) -> str:
        lines = [f"remove {self.label} along {self.dim} from {self.root}", *map(str, self.stores)]
        lines += [f"  {name}: a removal that died there is completed" for name in self.finishes]
        lines += [f"  staging {name}: deleted" for name in self.staging]
        lines += [f"  {name}, of a store that is gone: deleted" for name in self.lines]
        lines += ["  the record that it could not be read: deleted"] if self.set_aside else []
        purged = [name for store in self.stores for name in store.purged]
        lines += [f"  backups that can't be restored any more: {', '.join(purged)}"] if purged else []
        return "\n".join([*lines, f"  {self.price}"])


def demand_dimension(url: str, dim: str, shown: Iterable[Snapshot]) -> None:
    """Refuse a dimension along which nothing grows in a dataset; copies and stores that do not say count for none.

    Parameters
    ----------
    url
        The dataset root, for people.
    dim
        The dimension that was asked for.
    shown
        What its stores show.

    Raises
    ------
    BadInput
        Naming the dimensions along which they do.
    """
    marks = [snapshot.mark for snapshot in shown if "source" not in snapshot.mark]
    known = {str(mark.get("dim", dim)) for mark in marks}
    if known and dim not in known:
        there = sorted(known)
        fix = f"pass dim={there[0]!r}, on the command line --dim {there[0]}"
        expected = f"{' or '.join(there)}, along which it grows"
        raise BadInput(Problem(url, f"dimension {dim!r}", expected, fix, "dimension"))


def look_into(
    storage: Storage, snapshot: Snapshot | None, label: str, dim: str, *, purge: bool, whole: bool
) -> StoreRemoval | None:
    """Find out what one Zarr store and its backups hold of a layer.

    Parameters
    ----------
    storage, snapshot
        The store and what it shows, read before anything else of it.
    label, dim
        The layer and the dimension along which it lies.
    purge
        Whether backups are to be emptied.
    whole
        Whether the store is named after this layer; if it holds no other it goes as a whole.

    Returns
    -------
    StoreRemoval or None
        None if there is nothing to do.

    Raises
    ------
    Damaged
        If its labels can't be decoded, or its root is lost.
    Refused
        If another tool has added an array that the root does not show: a removal would wipe it out. Or if backups that are
        to be emptied are of a newer aggrade.
    """
    if not whole:
        _demand_root(storage, snapshot)
    if purge:
        raise_all(newer_manifests(storage, manifests(storage)), Refused)
    has_rows = snapshot is not None and any(dim in dims_of(doc) for doc in snapshot.documents.values())
    if whole and not has_rows:
        return _own(storage, Erasure(label=label, dim=dim, purge=purge, whole=True))
    if snapshot is None:
        return _gone(storage, label, dim) if purge else None
    grows = snapshot.mark.get("dim", dim) == dim
    if not grows or (not has_rows and (snapshot.documents or not snapshot.generation)):
        return None
    if not whole or not {*_labels(storage, snapshot, dim)} <= {label, ""}:
        return _shared(storage, snapshot, label, dim, purge=purge)
    rows = tuple(range(snapshot.length(dim)))
    return _own(storage, Erasure(label=label, dim=dim, rows=rows, purge=purge, whole=True))


def _own(storage: Storage, erases: Erasure) -> StoreRemoval | None:
    """Look at a store that holds nothing else; of one that is gone, backups may be left."""
    objects = list(storage.list())
    kept = backups_beside(storage) if erases.purge else None
    backed_up = kept is not None and (any(True for _ in kept.list()) or unpublished(kept))
    if not (objects or backed_up or unpublished(storage)):
        return None
    return StoreRemoval(
        store=storage.url,
        erases=erases,
        found=True,
        rewritten=len(objects),
        size=sum(info.size for info in objects),
        purged=(*(one.id for one in manifests(storage)), *unfinished_backups(storage))
        if erases.purge
        else (),
    )


def _gone(storage: Storage, label: str, dim: str) -> StoreRemoval | None:
    """Look at the backups of a store of which nothing else is left."""
    if any(True for _ in storage.list()):
        return None
    erases = Erasure(label=label, dim=dim, since=first_generation(storage, label), purge=True, gone=True)
    kept, half = _in_backups(storage, label)
    if not kept and not half:
        return None
    purged = (*(one.id for one in to_purge(storage, erases, {})), *half)
    return StoreRemoval(store=storage.url, erases=erases, found=kept, purged=purged)


def _in_backups(storage: Storage, label: str) -> tuple[bool, list[str]]:
    """Tell whether a backup holds a layer's record, and return those that were never finished."""
    half = unfinished_backups(storage)
    kept = any(layer_key(label) in one.objects for one in manifests(storage) if not one.purged)
    return kept or any(_holds_record(storage, name, label) for name in half), half


def _demand_root(storage: Storage, snapshot: Snapshot | None) -> None:
    """Raise if the root is lost: not where somebody has only been faster since it was read."""
    least = known_generation(storage, snapshot, read_intent(storage))
    if lost_root(storage.url, snapshot, least) is not None:
        demand_root(storage.url, read_snapshot(storage), least)


def _shared(
    storage: Storage, snapshot: Snapshot, label: str, dim: str, *, purge: bool
) -> StoreRemoval | None:
    labels = _labels(storage, snapshot, dim)
    rows = tuple(row for row, one in enumerate(labels) if one == label)
    record = find_layer(storage, label)
    since = first_generation(storage, label)
    erases = Erasure(label=label, dim=dim, rows=rows, since=since, purge=purge)
    kept, half = _in_backups(storage, label) if purge else (False, [])
    place = place_of(storage, snapshot.mark)
    found = bool(rows or record or kept or (place and telling(place, erases)))
    intent = read_intent(storage)
    dirty = intent[0].dirty if intent else ()
    demand_consolidated(storage, snapshot, dirty)
    objects = list(held_objects(storage, erases, snapshot.documents, dirty))
    emptied = [held for held in objects if held.place is not None or held.info.size]
    if not (found or emptied or half) and not _are_loose(storage, intent, place, backups=purge):
        return None
    receipts = [info.key for info in storage.list(RECEIPTS)]
    named = tuple(key for key in receipts if _names(storage, key, label))
    return StoreRemoval(
        store=storage.url,
        erases=erases,
        found=found,
        rewritten=len(emptied),
        size=sum(held.info.size for held in emptied),
        texts=(*((layer_key(label),) if record else ()), *named),
        attributes=tuple(_attributes(snapshot, label, changed_attributes)),
        stays=tuple(_attributes(snapshot, label, naming_attributes)),
        purged=(*(one.id for one in to_purge(storage, erases, snapshot.documents)), *half) if purge else (),
        copied="rechunk" in snapshot.mark,
        final=bool(rows) and bool(getattr(storage, "has_fixed_keys", False)),
        torn=tuple(torn_beside(storage, objects, erases, snapshot.documents)),
        memory=memory_to_erase(objects, snapshot.documents),
    )


def _attributes(
    snapshot: Snapshot, label: str, which: Callable[[Mapping[str, Any], str], list[str]]
) -> Iterator[str]:
    """Yield attributes of the root and of arrays, each with where it stands."""
    yield from (f"attribute {name!r} of the dataset" for name in which(snapshot.attributes, label))
    for variable, document in snapshot.documents.items():
        for name in which(document.get("attributes", {}), label):
            yield f"attribute {name!r} of variable {variable!r}"


def _are_loose(
    storage: Storage, intent: tuple[Intent, str] | None, place: Place | None, *, backups: bool
) -> bool:
    """Tell whether files of dead writers lie there that never got a name; a living one's are none."""
    is_free = intent is None or intent[0].state == "free"
    return is_free and bool(unpublished_by_the_dead(storage, place, backups=backups))


def _holds_record(storage: Storage, backup: str, label: str) -> bool:
    """Tell whether a layer's record was copied to a backup."""
    return backups_beside(storage).stat(f"{backup}/{COPIES}{layer_key(label)}") is not None


def removal_commit(storage: Storage, snapshot: Snapshot, found: StoreRemoval) -> CommitPlan:
    """Return the commit that hides a layer's rows by its switch, and wipes them out after it.

    Of a rechunked copy no backup is made: it is made again from its source.

    Parameters
    ----------
    storage, snapshot
        The store and what it shows.
    found
        What `look_into` found there.
    """
    erases = found.erases
    hidden = {*snapshot.mark.get("superseded", []), *erases.rows}
    is_lost = erases.purge or "rechunk" in snapshot.mark
    kept: BackupKind = "none" if is_lost else "full" if erases.whole else "touched"
    return CommitPlan(
        kind="remove",
        store=storage.url,
        dim=erases.dim,
        base=Base(etag=snapshot.etag, generation=snapshot.generation),
        documents={name: _without(document, erases.label) for name, document in snapshot.documents.items()},
        attributes=attributes_without(snapshot.attributes, erases.label),
        mark={"superseded": sorted(hidden)},
        backup=kept,
        sparse=True,
        keeps=_regions(snapshot, erases) if kept == "touched" else (),
        keeps_also=found.texts,
        erases=erases,
    )


def _without(document: Document, label: str) -> Document:
    """Return an array document whose attributes don't name a label."""
    before = document.get("attributes", {})
    after = attributes_without(before, label)
    return document if after == before else {**document, "attributes": after}


def _regions(snapshot: Snapshot, erases: Erasure) -> tuple[Target, ...]:
    """Return where something of a layer may lie: its rows, and all that the store does not show."""
    found: list[Target] = []
    for name, document in snapshot.documents.items():
        found += beyond(name, document, erases.dim, edges=False)
        for version in range(3):
            encoding = key_encoding(version, len(shape_of(document)))
            other = {**document, "chunk_key_encoding": encoding}
            found += () if same_keys(other, document) else everything(name, other)
        if erases.dim in dims_of(document):
            axis = dims_of(document).index(erases.dim)
            (whole,) = everything(name, document)
            found += [_narrowed(whole, axis, row) for row in erases.rows]
    return tuple(found)


def _narrowed(whole: Target, axis: int, row: int) -> Target:
    bounds = [(row, row + 1) if at == axis else pair for at, pair in enumerate(whole.bounds)]
    return whole.model_copy(update={"bounds": tuple(bounds)})


def _names(storage: Storage, key: str, label: str) -> bool:
    """Tell whether a receipt names a label, or might: one that can't be read is taken for it."""
    stored = storage.read(key)
    return stored is not None and cleaned_receipt(stored.data, label) != stored.data


def _labels(storage: Storage, snapshot: Snapshot, dim: str) -> list[str]:
    if dim not in snapshot.documents:
        return []
    try:
        return labels_of(snapshot.dataset(storage)[dim].variable)
    except (RuntimeError, ValueError) as error:
        fix = "restore a backup, then remove it again"
        problem = Problem(
            f"{storage.url}/{dim}", f"labels that can't be decoded ({error})", "text", fix, "labels"
        )
        raise Damaged(problem) from error
