"""Small commits for tests: a store of one array of rows, and plans that add to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from make_documents import make_document
from memory_storage import MemoryStorage, World

from aggrade.commit import CommitPlan, Layer, Region, Snapshot, Transaction, read_snapshot
from aggrade.commit.documents import resized
from aggrade.commit.plan import Base

DOCUMENTS = {
    "x": make_document((0, 3), (1, 3), dims=("row", "column"), fill_value=-1.0),
    "total": make_document((0,), (4,), dims=("row",), fill_value=-1.0),
    "column": make_document((3,), (3,), dims=("column",), fill_value=-1.0),
}
"""`x` has an object of its own for each row; `total` shares objects of four rows; `column` is fixed."""


def open_world_store(world: World | None = None, hooks: Any = None) -> MemoryStorage:
    """Return the storage of a Zarr store in a folder of a world."""
    return MemoryStorage(world or World(), "data/s.zarr", hooks)


def plan_rows(storage: Any, *labels: str, **changes: Any) -> CommitPlan:
    """Return a plan that adds one row for each label to what is there now."""
    now = read_snapshot(storage)
    first = now.length("row") if now else 0
    stop = first + len(labels)
    new = now is None or not now.documents
    regions = [
        Region(variable="x", bounds=((first, stop), (0, 3))),
        Region(variable="total", bounds=((first, stop),)),
    ]
    values: dict[str, Any] = {
        "kind": "append",
        "store": storage.url,
        "dim": "row",
        "base": Base(etag=now.etag, generation=now.generation) if now else None,
        "documents": {name: resized(document, {"row": stop}) for name, document in DOCUMENTS.items()},
        "attributes": {"made": "for a test"},
        "mark": {"dim": "row"},
        "regions": (*regions, *([Region(variable="column", bounds=((0, 3),))] if new else [])),
        "layers": tuple(
            Layer(label=label, index=first + i, digest=f"digest of {label}") for i, label in enumerate(labels)
        ),
    }
    return CommitPlan(**{**values, **changes})


def values_of(label: str) -> np.ndarray:
    """Return the row that a label stands for."""
    return np.array([len(label), sum(map(ord, label)) % 97, ord(label[0])], "f4")


def write_rows(transaction: Transaction) -> list[Any]:
    """Write everything that the plan of an open transaction names."""
    plan, writer = transaction.plan, transaction.writer()
    rows = np.array([values_of(layer.label) for layer in plan.layers])
    data = {"x": rows, "total": rows.sum(axis=1), "column": np.arange(3, dtype="f4")}
    return [
        item
        for region in plan.regions
        for item in writer.write(
            region.variable, tuple(slice(*pair) for pair in region.bounds), data[region.variable]
        )
    ]


def add_rows(storage: Any, *labels: str, **changes: Any) -> Any:
    """Add rows as an undisturbed process does; return the receipt."""
    with Transaction(storage, plan_rows(storage, *labels, **changes)) as transaction:
        return transaction.publish(write_rows(transaction))


def assert_rows(storage: Any, *labels: str) -> Snapshot | None:
    """Assert that plain zarr reads exactly these rows."""
    snapshot = read_snapshot(storage)
    if not labels:
        assert snapshot is None or not snapshot.documents
        return snapshot
    assert snapshot is not None
    group = snapshot.open(storage)
    rows = np.array([values_of(label) for label in labels])
    np.testing.assert_array_equal(group["x"][...], rows)
    np.testing.assert_array_equal(group["total"][...], rows.sum(axis=1))
    np.testing.assert_array_equal(group["column"][...], np.arange(3))
    return snapshot
