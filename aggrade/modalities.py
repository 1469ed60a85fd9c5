"""Sessions with one modality in a store that has both: the other one is fill there, and counts as absent.

Absence can be seen in the values: a modality that was recorded has a coverage in each of its windows, if only 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MODALITIES", "absent_variables", "fill_of", "is_of", "with_absent_modalities"]

MODALITIES = ("eeg", "fnirs")


def is_of(modality: str, name: object) -> bool:
    """Tell whether a variable, or a setting, is named after a modality."""
    return str(name) == modality or str(name).startswith(f"{modality}_")


def absent_variables(variables: Mapping[str, xr.Variable], dim: str, index: int) -> set[str]:
    """Return the variables of one row that only fill the place of a modality that was not recorded.

    Parameters
    ----------
    variables
        Variables of sessions, along `dim`.
    dim, index
        Which row.

    Returns
    -------
    set of str
        Those named after a modality whose coverage is NaN in every window of the row, or that has no window.
    """
    absent: set[str] = set()
    for modality in MODALITIES:
        coverage = variables.get(f"{modality}_coverage")
        if coverage is None or dim not in coverage.dims:
            continue
        if np.isnan(coverage.isel({dim: index}).values).all():
            absent |= {name for name in variables if is_of(modality, name)}
    return absent


def with_absent_modalities(dataset: xr.Dataset, stored: xr.Dataset, *, dim: str = "session") -> xr.Dataset:
    """Return sessions with the modalities that their store has and they lack, as fill.

    Parameters
    ----------
    dataset
        Sessions. A modality of which they have any variable is left as it is.
    stored
        The store's lazy dataset; of it, only what does not grow (channel names, units) is read.
    dim
        The dimension that grows.

    Returns
    -------
    xarray.Dataset
        The same variables, and those of the absent modalities: NaN, or what the store declares as fill. The fill
        takes no memory. Attributes named after an absent modality are the store's.
    """
    added: dict[Any, xr.Variable] = {}
    settings: dict[Any, Any] = {}
    for modality in MODALITIES:
        names = [name for name in stored.variables if is_of(modality, name)]
        if names and not any(is_of(modality, name) for name in dataset.variables):
            added |= {name: _filled(stored.variables[name], dataset, dim) for name in names}
            settings |= {name: value for name, value in stored.attrs.items() if is_of(modality, name)}
    if not added:
        return dataset
    filled = dataset.assign(added).set_coords([name for name in added if name in stored.coords])
    return filled.assign_attrs({**settings, **dataset.attrs})


def _filled(variable: xr.Variable, dataset: xr.Dataset, dim: str) -> xr.Variable:
    if dim not in variable.dims:
        return variable.copy(deep=False).load()
    shape = [dataset.sizes.get(str(each), size) for each, size in variable.sizes.items()]
    values = np.broadcast_to(np.array(fill_of(variable), variable.dtype), shape)
    return xr.Variable(variable.dims, values, variable.attrs)


def fill_of(variable: xr.Variable) -> Any:
    """Return what stands for nothing in a lazy variable of a store: NaN, or what the store declares, or 0."""
    if variable.dtype.kind == "f":
        return np.nan
    declared = variable.encoding.get("fill_value")
    return declared if declared is not None else ("" if variable.dtype.kind in "OUT" else 0)
