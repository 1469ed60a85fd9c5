"""Blocks of lazy data, checked when they are computed: each must be what its array declares.

Dask takes the type and the shape of blocks from whoever made the array, and never looks at what is computed. It
would cast what differs to the type of whichever block comes first. Here a block of another type is taken if the
declared one holds every value of it exactly, and refused otherwise.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
from dask.array.optimization import GETTERS

from aggrade.errors import Problem, Refused
from aggrade.exactness import differing

if TYPE_CHECKING:
    import xarray as xr

    Values = np.ndarray[Any, Any]

__all__ = ["as_declared", "with_checked_blocks"]

_NUMBERS, _TIMES, _TEXT = "biufc", "mM", "UT"


def with_checked_blocks(variable: xr.Variable, name: str) -> xr.Variable:
    """Return the same variable; where it is computed by Dask, each block is checked as it is computed.

    Parameters
    ----------
    variable
        What was handed over. Text of a fixed width becomes objects, so that no block is cut to another's width.
    name
        Of the variable, for people.

    Raises
    ------
    Refused
        If Dask doesn't know how long the variable is.
    """
    data = variable.data if variable.chunks is not None else None
    if not isinstance(data, dask.array.Array):
        return variable
    if any(np.isnan(size) for size in data.shape):
        fix = "call compute_chunk_sizes() on the Dask array"
        raise Refused(_problem(name, f"a shape of {data.shape}", "a length for each dimension", fix))
    if _is_read_from_an_array(data):
        return variable
    dtype = np.dtype(object) if data.dtype.kind in "OU" else data.dtype
    check = functools.partial(_checked, variable=name, dtype=dtype, chunks=data.chunks)
    meta = np.empty((0,) * data.ndim, dtype)
    checked = dask.array.map_blocks(check, data, dtype=dtype, meta=meta)  # type: ignore[no-untyped-call]
    return variable.copy(deep=False, data=checked)


def _is_read_from_an_array(data: dask.array.Array) -> bool:
    """Tell whether blocks are slices of one array: Dask reads no more of it than is asked for, unless a check is between."""
    task = getattr(data.dask.layers.get(data.name), "task", None)
    return getattr(task, "func", None) in GETTERS


def _checked(
    block: Any,
    variable: str,
    dtype: np.dtype[Any],
    chunks: tuple[tuple[int, ...], ...],
    block_id: tuple[int, ...] = (),
) -> Values:
    shape = tuple(sizes[place] for sizes, place in zip(chunks, block_id, strict=True))
    return as_declared(block, variable, dtype, shape, f"block {block_id}")


def as_declared(
    block: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], what: str = "values"
) -> Values:
    """Return what was computed in the type that was declared.

    Parameters
    ----------
    block
        What was computed.
    name
        Of the variable, for people.
    dtype, shape
        What was declared.
    what
        How people call the block.

    Raises
    ------
    Refused
        If it has another shape, is of another kind, or holds a value that `dtype` doesn't.
    """
    values = _values(block, name, what)
    if values.shape != shape:
        fix = "say what shape blocks have, by chunks= of map_blocks for instance"
        raise Refused(_problem(name, f"{what} of shape {values.shape}", f"{shape}, as declared", fix))
    if values.dtype == dtype:
        return values
    cast = _cast(values, dtype)
    if cast is None:
        expected, fix = f"{dtype}, as declared", _DECLARE.format(values.dtype)
        raise Refused(_problem(name, f"{what} of {values.dtype}", expected, fix))
    back = cast.astype(values.dtype) if values.dtype.kind in _TIMES else cast
    different = differing(values, back) if values.dtype.kind in _NUMBERS + _TIMES else np.zeros(0, bool)
    if different.any():
        found = f"{what} of {values.dtype}, with {values[different].flat[0]}"
        expected, fix = f"values that {dtype} holds, as declared", _DECLARE.format(values.dtype)
        raise Refused(_problem(name, found, expected, fix))
    return cast


_DECLARE = "declare what is computed, by dtype='{0}' of map_blocks for instance, or cast it there"


def _problem(name: str, found: str, expected: str, fix: str) -> Problem:
    return Problem(f"variable {name!r}", found, expected, fix, "block")


def _values(block: Any, name: str, what: str) -> Values:
    if np.ma.is_masked(block):
        fix = "fill it, by dask.array.ma.filled for instance"
        raise Refused(_problem(name, f"{what} with masked values", "values everywhere", fix))
    try:
        return np.asarray(block)
    except (TypeError, ValueError, RuntimeError) as error:
        found, fix = f"{what} of type {type(block).__name__} ({error})", "convert it to a NumPy array"
        raise Refused(_problem(name, found, "a NumPy array", fix)) from error


def _cast(values: Values, dtype: np.dtype[Any]) -> Values | None:
    """Return values in another type of the same kind, None if they are of another kind."""
    mine, theirs = values.dtype.kind, dtype.kind
    alike = any(mine in kinds and theirs in kinds for kinds in (_NUMBERS, "m", "M", _TEXT))
    if not (alike or theirs == "O"):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what is lost is compared
        try:
            return values.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            return None
