"""What a store remembers of its layers: one small object each, so that one request answers "is it there?".

A record is created only after the switch, by whoever holds the intent; it counts because it exists. The same
holds for receipts. Both lie under ``.aggrade/`` of the Zarr store.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.commit.plan import Target
from aggrade.errors import Damaged, Problem
from aggrade.receipt import Receipt
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.storage import Storage

__all__ = [
    "LAYERS",
    "RECEIPTS",
    "LayerRecord",
    "find_layer",
    "find_receipt",
    "keep_layer",
    "keep_receipt",
    "layers_of",
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
    targets: tuple[Target, ...] = Field(default=(), description="Where its own objects lie.")
    objects: int = Field(default=0, description="How many objects are its own, shared chunks left out.")
    objects_sha256: str = Field(
        default="", description="Digest of the digests of these objects, in order of keys."
    )


def _layer_key(label: str) -> str:
    return f"{LAYERS}{hashlib.sha256(label.encode()).hexdigest()}.json"


def _receipt_key(write_id: str) -> str:
    return f"{RECEIPTS}{write_id}.json"


def find_layer(storage: Storage, label: str) -> LayerRecord | None:
    """Return the record of a layer, or None, with one request whatever the store holds."""
    return _read(storage, _layer_key(label), LayerRecord)


def layers_of(storage: Storage, unreadable: list[Problem] | None = None) -> Iterator[LayerRecord]:
    """Yield the record of every layer.

    Parameters
    ----------
    storage
        The Zarr store.
    unreadable
        Where to put what is said of records that can't be read, instead of raising.

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
    if stored is None:
        return None
    try:
        return kind.model_validate_json(stored.data)
    except ValidationError as error:
        found, expected = "JSON that is not understood", f"a {kind.__name__} of this version of aggrade"
        fix = "update aggrade; if that doesn't help, restore a backup"
        problem = Problem(f"{storage.url}/{key}", found, expected, fix, "record-unreadable")
        raise Damaged(problem) from error


def keep_layer(storage: Storage, record: LayerRecord) -> None:
    """Write a layer's record; an older one of the same label gives way to it, a newer one stays."""
    key, data = _layer_key(record.label), record.model_dump_json().encode()
    try:
        storage.write(key, data)
    except ConditionFailed:
        stored = storage.read(key)
        if stored is None or _generation(stored.data) < record.generation:
            storage.write(key, data, replacing=stored.etag if stored else None)


def _generation(data: bytes) -> int:
    """Return the generation of a record that lies there; one that can't be read gives way to any."""
    try:
        return LayerRecord.model_validate_json(data).generation
    except ValidationError:
        return -1


def find_receipt(storage: Storage, write_id: str) -> Receipt | None:
    """Return the receipt of a commit, or None if that commit never took effect."""
    return _read(storage, _receipt_key(write_id), Receipt)


def keep_receipt(storage: Storage, receipt: Receipt) -> Receipt:
    """Write a commit's receipt, or return the one that a recovery wrote for it already."""
    try:
        storage.write(_receipt_key(receipt.write_id), receipt.model_dump_json(indent=1).encode())
    except ConditionFailed:
        return find_receipt(storage, receipt.write_id) or receipt
    return receipt
