"""The labels of what is appended: taken from what was handed over, never made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["with_dim"]


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
