"""Which of the variables that an append compares with can't be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

__all__ = ["torn_variables"]


def torn_variables(url: str, stored: xr.Dataset, dim: str) -> Iterator[Problem]:
    """Yield the labels and fixed values of a store that its codecs do not understand; no layer's own values are read.

    Parameters
    ----------
    url
        The Zarr store, for people.
    stored
        The same, lazily.
    dim
        The dimension that grows.
    """
    for name, variable in stored.variables.items():
        if dim in variable.dims and variable.ndim > 1:
            continue
        try:
            variable[...].load()
        except (RuntimeError, ValueError) as error:
            found = f"values that can't be decoded ({error})"
            fix = "run aggrade verify, which names the objects, then restore a backup that holds them"
            yield Problem(f"{url}/{name}", found, "what was written", fix, "torn")
