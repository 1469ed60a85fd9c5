"""What a store remembers of its layers: one small object each, so that one request answers "is it there?".

A record is created only after the switch, by whoever holds the intent. It counts unless a restore has undone the
commit that brought it, which the root says; the record of a label that came again keeps the ones before it, since
a restore can bring those back. So does the mark of a removal, which a restore undoes and another one brings back:
what was known of a label is one line of records and removals, of which the newest counts that is not undone.
Receipts lie beside the records, under ``.aggrade/`` of the Zarr store.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aggrade.commit.newer import refuse_newer
from aggrade.commit.plan import Target
from aggrade.errors import Damaged, Problem, Refused
from aggrade.receipt import Receipt
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aggrade.commit.snapshot import Snapshot
    from aggrade.storage import Storage, StoredObject

__all__ = [
    "LAYERS",
    "RECEIPTS",
    "LayerRecord",
    "Removal",
    "entries_of",
    "find_layer",
    "find_receipt",
    "keep_layer",
    "keep_receipt",
    "layer_key",
    "layers_of",
    "look_for_layer",
    "missing_of",
    "put_back",
    "receipt_key",
    "record_in",
    "removed",
    "replaced_before",
]

_Kept = TypeVar("_Kept")

LAYERS = ".aggrade/layers/"
RECEIPTS = ".aggrade/receipts/"


class LayerRecord(BaseModel):
    """One layer that lies in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="The session's id or the epoch's key.")
    index: int = Field(description="Its index along the growing dimension.")
    digest: str = Field(description="Digest of its content.")
    write_id: str = Field(description="The commit that brought it; its receipt bears the same name.")
    generation: int = Field(description="The store's generation after that commit.")
    sizes: dict[str, int] = Field(default_factory=dict, description="Its own length of each dimension.")
    runs: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict,
        description="Dimension → which indices along it are its own, in its own order, where it lacks some.",
    )
    targets: tuple[Target, ...] = Field(default=(), description="Where its own objects lie.")
    objects: int = Field(default=0, description="How many objects are its own, shared chunks left out.")
    objects_sha256: str = Field(
        default="", description="Digest of the digests of these objects, in order of keys."
    )
    former: LayerRecord | Removal | None = Field(
        default=None, description="What was known of this label before."
    )


class Removal(BaseModel):
    """What lies where a record was that a commit has removed. It names nobody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: Literal[True] = True
    generation: int = Field(description="The store's generation after that commit.")
    former: LayerRecord | Removal | None = Field(
        default=None, description="What was known before, where a restore has undone the removal."
    )


_ENTRY: TypeAdapter[LayerRecord | Removal] = TypeAdapter(LayerRecord | Removal)
_RECEIPT = TypeAdapter(Receipt)


def entries_of(data: bytes) -> list[LayerRecord | Removal]:
    """Return all that an object says of a label, the newest first; nothing if it can't be read.

    Parameters
    ----------
    data
        The object's bytes.
    """
    try:
        return list(_line(_ENTRY.validate_json(data)))
    except ValidationError:
        return []


def _line(entry: LayerRecord | Removal | None) -> Iterator[LayerRecord | Removal]:
    while entry is not None:
        yield entry
        entry = entry.former


def _counting(entry: LayerRecord | Removal | None, state: Snapshot | None) -> LayerRecord | None:
    """Return the record that counts in a state: the newest entry whose commit it still shows, if that is no removal."""
    for one in _line(entry):
        if isinstance(one, LayerRecord) and (state is None or not state.has_undone(one.generation)):
            return one
        if state is not None and not state.has_undone(one.generation):
            return None
    return None


def record_in(data: bytes, state: Snapshot) -> LayerRecord | None:
    """Return the record that counts in a state of what an object says of a label; None if none does or can be read."""
    return _counting(next(iter(entries_of(data)), None), state)


def replaced_before(record: LayerRecord, state: Snapshot) -> Iterator[LayerRecord]:
    """Yield the records that a record has replaced and whose rows a state still holds, superseded.

    Parameters
    ----------
    record
        The one that counts.
    state
        What the store shows.
    """
    for one in _line(record.former):
        if not state.has_undone(one.generation):
            if isinstance(one, Removal):
                return
            yield one


def removed(generation: int) -> bytes:
    """Return what lies where the record of a layer was that a commit has removed.

    A late delete could hit its successor; and a writer that slept behind its switch finds that what it has to record is
    older than this.

    Parameters
    ----------
    generation
        The one that the removal made.
    """
    return json.dumps({"removed": True, "generation": generation}).encode()


def layer_key(label: str) -> str:
    """Return where the record of a layer lies."""
    return f"{LAYERS}{hashlib.sha256(label.encode()).hexdigest()}.json"


def receipt_key(write_id: str) -> str:
    """Return where the receipt of a commit lies."""
    return f"{RECEIPTS}{write_id}.json"


def find_layer(storage: Storage, label: str, state: Snapshot | None = None) -> LayerRecord | None:
    """Return the record of a layer, or None, with one request whatever the store holds.

    Parameters
    ----------
    storage, label
        The Zarr store and the layer.
    state
        What the store shows. Without it, a record of a commit that was undone is found, too.
    """
    return look_for_layer(storage, label, state)[0]


def look_for_layer(
    storage: Storage, label: str, state: Snapshot | None = None
) -> tuple[LayerRecord | None, int | None]:
    """Return the record of a layer, or None, and the bytes of what lies under its key, None if nothing does.

    What lies there may not count: a record that was undone, or the mark of a removal. Parameters as for `find_layer`.
    """
    key = layer_key(label)
    stored = storage.read(key)
    entry = _entry(storage, key, stored.data) if stored else None
    return _counting(entry, state), len(stored.data) if stored else None


def layers_of(
    storage: Storage, unreadable: list[Problem] | None = None, state: Snapshot | None = None
) -> Iterator[LayerRecord]:
    """Yield the record of every layer.

    Parameters
    ----------
    storage
        The Zarr store.
    unreadable
        Where to put what is said of records that can't be read, instead of raising.
    state
        As in `find_layer`.

    Raises
    ------
    Damaged
        If a record can't be read.
    Refused
        If one is of a newer aggrade.
    """
    for info in storage.list(LAYERS):
        try:
            stored = storage.read(info.key)
            entry = _entry(storage, info.key, stored.data) if stored else None
        except (Damaged, Refused) as error:
            if unreadable is None:
                raise
            unreadable.extend(error.problems)
        else:
            record = _counting(entry, state)
            if record is not None:
                yield record


def _entry(storage: Storage, key: str, data: bytes) -> LayerRecord | Removal:
    """Return what an object says of a label; one that speaks of another label than its key is that of another layer.

    Raises
    ------
    Damaged
        If it does, or can't be read.
    Refused
        If it is of a newer aggrade.
    """
    entry = _parsed(storage, key, data, _ENTRY)
    if strange := _others(key, _line(entry)):
        found, expected = (
            f"the record of layer {strange[0]!r}",
            "that of the layer after whose label it is named",
        )
        fix = "bring the record back from elsewhere, or restore a backup"
        raise Damaged(Problem(f"{storage.url}/{key}", found, expected, fix, "record-misplaced"))
    return entry


def _others(key: str, entries: Iterable[LayerRecord | Removal]) -> list[str]:
    """Return the labels of records that have no place under a key."""
    return [one.label for one in entries if isinstance(one, LayerRecord) and layer_key(one.label) != key]


def _parsed(storage: Storage, key: str, data: bytes, kind: TypeAdapter[_Kept]) -> _Kept:
    """Understand a record or a receipt.

    Raises
    ------
    Damaged
        If it is torn.
    Refused
        If it is of a newer aggrade.
    """
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        where = f"{storage.url}/{key}"
        refuse_newer(where, data, *_kinds(key))
        found, expected = "JSON that is not understood", "a record or a receipt that is whole"
        fix = "run verify --repair; if that doesn't help, restore a backup"
        raise Damaged(Problem(where, found, expected, fix, "record-unreadable")) from error


def _kinds(key: str) -> tuple[type[BaseModel], ...]:
    return (LayerRecord, Removal) if key.startswith(LAYERS) else (Receipt,)


def keep_layer(storage: Storage, record: LayerRecord, *, after_another: bool = False) -> None:
    """Write a layer's record; what is older of the same label gives way to it and is kept in it, what is newer stays.

    One that can't be read, or is of another label, gives way to any.

    Parameters
    ----------
    storage, record
        Where and what.
    after_another
        Whether something is known to lie there: then it is not first tried to create the record.

    Raises
    ------
    Refused
        If one of a newer aggrade lies there.
    """
    key = layer_key(record.label)
    if not after_another and _is_created(storage, key, record.model_dump_json().encode()):
        return
    stored = storage.read(key)
    if stored:
        refuse_newer(f"{storage.url}/{key}", stored.data, *_kinds(key))
    entries = entries_of(stored.data) if stored else []
    before = None if _others(key, entries) else next(iter(entries), None)
    if before is None or before.generation < record.generation:
        after = record.model_copy(update={"former": before})
        storage.write(key, after.model_dump_json().encode(), replacing=stored.etag if stored else None)


def _is_created(storage: Storage, key: str, data: bytes) -> bool:
    try:
        storage.write(key, data)
    except ConditionFailed:
        return False
    return True


def find_receipt(storage: Storage, write_id: str) -> Receipt | None:
    """Return the receipt of a commit, or None if that commit never took effect. It names the store where that lies now."""
    key = receipt_key(write_id)
    stored = storage.read(key)
    return _parsed(storage, key, stored.data, _RECEIPT).lying_at(storage.url) if stored else None


def keep_receipt(storage: Storage, receipt: Receipt) -> Receipt:
    """Write a commit's receipt, or return the one that a recovery wrote for it already."""
    try:
        storage.write(receipt_key(receipt.write_id), receipt.model_dump_json(indent=1).encode())
    except ConditionFailed:
        return find_receipt(storage, receipt.write_id) or receipt
    return receipt


def put_back(storage: Storage, key: str, kept: Sequence[bytes], confirm: Callable[[], None]) -> None:
    """Write a record or a receipt as it once was. A record joins what is known of the same label.

    Parameters
    ----------
    storage, key, kept
        As for `missing_of`.
    confirm
        Raises if the intent is no longer ours; called between reading a mark and replacing what bears it.

    Raises
    ------
    ConditionFailed
        If somebody else writes it.
    Refused
        If it is of a newer aggrade, here or as it was kept.
    """
    stored = storage.read(key)
    for data in (*kept, *([stored.data] if stored else [])):
        refuse_newer(f"{storage.url}/{key}", data, *_kinds(key))
    wanted = missing_of(key, kept, stored)
    if wanted is not None:
        confirm()
        storage.write(key, wanted, replacing=stored.etag if stored else None)


def missing_of(key: str, kept: Sequence[bytes], stored: StoredObject | None) -> bytes | None:
    """Return what has to be written for a record or a receipt to be as it once was, None if it is.

    Parameters
    ----------
    key
        Where in the store.
    kept
        What lay there, the oldest first.
    stored
        What lies there.
    """
    there = [stored.data] if stored else []
    wanted = _joined([*kept, *there]) if key.startswith(LAYERS) else kept[0]
    return None if wanted in there else wanted


def _joined(known: Sequence[bytes]) -> bytes:
    """Return all that is known of a label in one, the newest outside."""
    entries = {entry.generation: entry for data in known for entry in entries_of(data)}
    joined: LayerRecord | Removal | None = None
    for generation in sorted(entries):
        joined = entries[generation].model_copy(update={"former": joined})
    return joined.model_dump_json().encode() if joined else known[0]
