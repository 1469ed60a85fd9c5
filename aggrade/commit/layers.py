"""What a store remembers of its layers: one small object each, so that one request answers "is it there?".

A record is created only after the switch, by whoever holds the intent. It counts unless a restore has undone the
commit that brought it, which the root says; the record of a label that came again keeps the ones before it, since
a restore can bring those back. Receipts lie beside the records, under ``.aggrade/`` of the Zarr store.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.commit.plan import Target
from aggrade.errors import Damaged, Problem
from aggrade.receipt import Receipt
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.commit.snapshot import Snapshot
    from aggrade.storage import Storage

__all__ = [
    "LAYERS",
    "RECEIPTS",
    "LayerRecord",
    "find_layer",
    "find_receipt",
    "keep_layer",
    "keep_receipt",
    "layer_key",
    "layers_of",
    "put_back",
    "receipt_key",
    "removed",
]

_Kept = TypeVar("_Kept", bound=BaseModel)

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
    sizes: dict[str, int] = Field(
        default_factory=dict, description="Its own length of dimensions that may grow."
    )
    runs: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict,
        description="Dimension → which indices along it are its own, in its own order, where it lacks some.",
    )
    targets: tuple[Target, ...] = Field(default=(), description="Where its own objects lie.")
    objects: int = Field(default=0, description="How many objects are its own, shared chunks left out.")
    objects_sha256: str = Field(
        default="", description="Digest of the digests of these objects, in order of keys."
    )
    former: Self | None = Field(default=None, description="The record of this label before this one.")

    def counting(self, state: Snapshot | None) -> Self | None:
        """Return the newest record of this label whose commit a state still shows, None if there is none."""
        if state is None or not state.has_undone(self.generation):
            return self
        return self.former.counting(state) if self.former else None


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


def _removed_by(data: bytes) -> int | None:
    """Return the generation that removed a layer; None if this is no such mark."""
    try:
        mark = json.loads(data)
    except ValueError:
        return None
    return int(mark.get("generation", 0)) if isinstance(mark, dict) and mark.get("removed") is True else None


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
    record = _read(storage, layer_key(label), LayerRecord)
    return record.counting(state) if record else None


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
    """
    for info in storage.list(LAYERS):
        try:
            record = _read(storage, info.key, LayerRecord)
        except Damaged as error:
            if unreadable is None:
                raise
            unreadable.extend(error.problems)
        else:
            record = record.counting(state) if record else None
            if record is not None:
                yield record


def _read(storage: Storage, key: str, kind: type[_Kept]) -> _Kept | None:
    """Read a record or a receipt.

    Raises
    ------
    Damaged
        If it is torn, or of another version of aggrade.
    """
    stored = storage.read(key)
    if stored is None or _removed_by(stored.data) is not None:
        return None
    try:
        return kind.model_validate_json(stored.data)
    except ValidationError as error:
        found, expected = "JSON that is not understood", f"a {kind.__name__} of this version of aggrade"
        fix = "update aggrade; if that doesn't help, restore a backup"
        problem = Problem(f"{storage.url}/{key}", found, expected, fix, "record-unreadable")
        raise Damaged(problem) from error


def keep_layer(storage: Storage, record: LayerRecord) -> None:
    """Write a layer's record; an older one of the same label gives way to it and is kept in it, a newer one stays.

    So does the mark of a later removal.
    """
    key = layer_key(record.label)
    try:
        storage.write(key, record.model_dump_json().encode())
    except ConditionFailed:
        stored = storage.read(key)
        if stored is not None and (_removed_by(stored.data) or 0) > record.generation:
            return
        before = _understood(stored.data) if stored else None
        if before is None or before.generation < record.generation:
            after = record.model_copy(update={"former": before})
            storage.write(key, after.model_dump_json().encode(), replacing=stored.etag if stored else None)


def _understood(data: bytes) -> LayerRecord | None:
    """Return a record that lies there; one that can't be read, or is of a removed layer, gives way to any."""
    try:
        return LayerRecord.model_validate_json(data)
    except ValidationError:
        return None


def find_receipt(storage: Storage, write_id: str) -> Receipt | None:
    """Return the receipt of a commit, or None if that commit never took effect."""
    return _read(storage, receipt_key(write_id), Receipt)


def keep_receipt(storage: Storage, receipt: Receipt) -> Receipt:
    """Write a commit's receipt, or return the one that a recovery wrote for it already."""
    try:
        storage.write(receipt_key(receipt.write_id), receipt.model_dump_json(indent=1).encode())
    except ConditionFailed:
        return find_receipt(storage, receipt.write_id) or receipt
    return receipt


def put_back(storage: Storage, key: str, data: bytes, *, record: bool) -> None:
    """Write a record or a receipt as it once was. A record joins those of the same label that came since.

    Parameters
    ----------
    storage, key, data
        The store, where in it, and what lay there.
    record
        Whether it is a record.

    Raises
    ------
    ConditionFailed
        If somebody else writes it.
    """
    stored = storage.read(key)
    wanted = _joined(data, stored.data) if record and stored else data
    if stored is None or stored.data != wanted:
        storage.write(key, wanted, replacing=stored.etag if stored else None)


def _joined(one: bytes, other: bytes) -> bytes:
    """Return the records of a label in one, the newest outside."""
    entries = {entry.generation: entry for data in (one, other) for entry in _entries(_understood(data))}
    joined: LayerRecord | None = None
    for generation in sorted(entries):
        joined = entries[generation].model_copy(update={"former": joined})
    return joined.model_dump_json().encode() if joined else one


def _entries(record: LayerRecord | None) -> Iterator[LayerRecord]:
    while record is not None:
        yield record
        record = record.former
