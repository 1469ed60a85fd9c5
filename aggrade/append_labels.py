"""The labels of what is appended: taken from what was handed over, never made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.commit.documents import dims_of, key_of, labels_of, shape_of, unit_of
from aggrade.commit.snapshot import moved_on
from aggrade.encoding import labels_as_stored, type_problem
from aggrade.errors import BadInput, Conflict, Damaged, Problem, raise_all
from aggrade.plain_attributes import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    import xarray as xr

    from aggrade.asked import Asked
    from aggrade.commit import Document, Look, Snapshot
    from aggrade.storage import Storage

__all__ = ["demand_records", "last_labels", "stored_labels", "stored_labels_differ", "with_dim"]


def with_dim(dataset: xr.Dataset, dim: str) -> xr.Dataset:
    """Add the growing dimension and its label where they are missing.

    Parameters
    ----------
    dataset
        One layer or several; the label of one may be the attribute ``{dim}_id``.
    dim
        The dimension that grows.

    Raises
    ------
    BadInput
        If there is no label.
    """
    if dim in dataset.dims and dim in dataset.coords:
        return dataset
    if dim in dataset.coords and dataset[dim].ndim == 0:
        return dataset.expand_dims(dim)
    label = dataset.attrs.get(f"{dim}_id")
    if label is None or fault_of(label) or dataset.sizes.get(dim, 1) != 1:
        expected = f"a coordinate {dim!r}, or an attribute {dim + '_id'!r} for one layer"
        raise BadInput(Problem("dataset", "no label for its layers", expected, "add it", "label-missing"))
    labelled = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    kept = {key: value for key, value in dataset.attrs.items() if key != f"{dim}_id"}
    return labelled.assign_coords({dim: [str(label)]}).drop_attrs(deep=False).assign_attrs(kept)


def stored_labels_differ(asked: Asked) -> Iterator[Problem]:
    """Refuse to adopt a store in which a label occurs twice: a layer could not be found again by it."""
    if asked.stored is None or "dim" in asked.mark or asked.dim not in asked.stored:
        return
    rows: dict[str, list[int]] = {}
    gone = set(asked.mark.get("superseded", ()))
    for row, label in enumerate(labels_of(asked.stored[asked.dim].variable)):
        if row not in gone:
            rows.setdefault(label, []).append(row)
    for label, found in rows.items():
        if len(found) > 1:
            where, told = (
                f"layer {label!r}",
                f"the same label in rows {', '.join(map(str, found))} of the store",
            )
            fix = "give the rows labels of their own, or leave all but one of them out, then append"
            yield Problem(where, told, "each label once", fix, "label-twice-there")


def demand_records(storage: Storage, seen: Look, stored: xr.Dataset, dim: str, labels: Sequence[str]) -> None:
    """Raise where a layer has a row that no record tells of: with its record lost it would come a second time.

    Looked at are the rows of the last chunk of labels; `verify` looks at all.

    Parameters
    ----------
    storage
        The store.
    seen
        What was read of it.
    stored
        The same as a dataset.
    dim, labels
        The dimension that grows, and what is to be appended.

    Raises
    ------
    Damaged
        If a record is lost.
    Conflict
        If somebody has changed the store since it was looked at, who may have wiped the record out, or not have
        written it yet.
    """
    rows = {label: row for row, label in _rows_read(seen, stored, dim) if label not in seen.records}
    fix = "run aggrade verify --repair, which makes it anew, then append again"
    lost = [
        Problem(storage.url, f"layer {label!r} in row {rows[label]}", "a record of it", fix, "record-lost")
        for label in labels
        if label in rows
    ]
    if lost and not seen.is_unchanged(storage):
        raise Conflict(moved_on(storage.url))
    raise_all(lost, Damaged)


def _rows_read(seen: Look, stored: xr.Dataset, dim: str) -> Iterator[tuple[int, str]]:
    """Yield index and label of the rows of ours that count, in the last chunk of labels, if that was read."""
    shown = seen.snapshot
    document = shown.documents.get(dim) if shown else None
    if shown is None or document is None or dims_of(document) != (dim,):
        return
    last, gone = last_labels(document), set(shown.mark.get("superseded", ()))
    first = max(last * unit_of(document)[0], _adopted(shown, dim))
    if seen.objects.get(key_of(dim, document, (last,))) is None:
        return
    for row, label in enumerate(labels_of(stored.variables[dim][first:]), first):
        if row not in gone and label:
            yield row, label


def last_labels(document: Document) -> int:
    """Return the number of the last chunk of labels that holds a row.

    >>> last_labels({"shape": [8], "chunk_grid": {"configuration": {"chunk_shape": [4]}}})
    1
    """
    return max(0, shape_of(document)[0] - 1) // unit_of(document)[0]


def _adopted(shown: Snapshot, dim: str) -> int:
    return int(shown.mark.get("adopted", 0)) if "dim" in shown.mark else shown.length(dim)


def stored_labels(
    dataset: xr.Dataset, dim: str, known: Mapping[str, Mapping[str, Any]]
) -> tuple[xr.Dataset, list[str]]:
    """Return a dataset with its labels in the store's own type, and the labels as text.

    Parameters
    ----------
    dataset, dim
        As `with_dim` returns them.
    known
        The store's `aggrade.encoding.encodings`.

    Returns
    -------
    tuple of xarray.Dataset and list of str
        Labels of a type that can't be stored are left as they are, and none of them is returned.
    """
    labels = dataset.variables[dim]
    if type_problem(dim, labels):
        return dataset, []
    if dim in known:
        labels = labels_as_stored(labels, dim, known[dim])
    labels = _in_nanoseconds(labels)
    return dataset.assign_coords({dim: labels}), labels_of(labels)


def _in_nanoseconds(labels: xr.Variable) -> xr.Variable:
    """Return times as readers see them, so that each has one spelling; those that don't fit are left as they are."""
    if labels.dtype.kind not in "mM":
        return labels
    fine = labels.astype(f"{labels.dtype.kind}8[ns]")
    return fine if (fine.astype(labels.dtype) == labels).all() else labels
