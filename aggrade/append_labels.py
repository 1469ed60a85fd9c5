"""The labels of what is appended: taken from what was handed over, never made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aggrade.commit.documents import labels_of
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from aggrade.commit import Snapshot
    from aggrade.guards import Asked

__all__ = ["stored_labels_differ", "with_dim", "with_labels_of"]

_EXACT = 2**53


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
    if label is None or dataset.sizes.get(dim, 1) != 1:
        expected = f"a coordinate {dim!r}, or an attribute {dim + '_id'!r} for one layer"
        raise BadInput(Problem("dataset", "no label for its layers", expected, "add it", "label-missing"))
    labelled = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    kept = {key: value for key, value in dataset.attrs.items() if key != f"{dim}_id"}
    return labelled.assign_coords({dim: [str(label)]}).drop_attrs(deep=False).assign_attrs(kept)


def with_labels_of(snapshot: Snapshot | None, dataset: xr.Dataset, dim: str) -> xr.Dataset:
    """Return whole numbers as the store's labels are, whatever they became on their way through xarray's missing values.

    Parameters
    ----------
    snapshot
        What the store shows; None on create.
    dataset, dim
        The layers and the dimension that grows.
    """
    document = snapshot.documents.get(dim) if snapshot else None
    labels = dataset.variables[dim]
    if (
        document is None
        or labels.dtype.kind != "f"
        or not str(document["data_type"]).startswith(("int", "uint"))
    ):
        return dataset
    whole = (
        np.isfinite(labels.values)
        & (np.abs(labels.values) < _EXACT)
        & (np.trunc(labels.values) == labels.values)
    )
    return dataset.assign_coords({dim: labels.astype(np.int64)}) if whole.all() else dataset


def stored_labels_differ(asked: Asked) -> Iterator[Problem]:
    """Refuse to adopt a store in which a label occurs twice: a layer could not be found again by it."""
    if asked.stored is None or "dim" in asked.mark or asked.dim not in asked.stored:
        return
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels_of(asked.stored[asked.dim].variable)):
        rows.setdefault(label, []).append(row)
    for label, found in rows.items():
        if len(found) > 1:
            where, told = (
                f"layer {label!r}",
                f"the same label in rows {', '.join(map(str, found))} of the store",
            )
            fix = "give the rows labels of their own, or leave all but one of them out, then append"
            yield Problem(where, told, "each label once", fix, "label-twice-there")
