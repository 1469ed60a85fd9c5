"""Whether two arrays hold the same values, exactly, whatever their types."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["differing", "missing"]


def differing(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell where two arrays of a shape hold different values, exactly: NumPy compares integers with floats as floats.

    Parameters
    ----------
    one, other
        Arrays of any types that can be compared; what is missing on both sides (NaN, NaT) is the same.

    Returns
    -------
    numpy.ndarray
        Of booleans, in the same shape.
    """
    kinds = {one.dtype.kind, other.dtype.kind}
    if "c" in kinds and kinds <= set("biufc"):
        parts = differing(one.real, other.real), differing(_imaginary(one), _imaginary(other))
        return np.asarray(parts[0] | parts[1])
    if one.dtype.kind == "f" and other.dtype.kind in "biu":
        return ~_is_integer(one, other)
    if other.dtype.kind == "f" and one.dtype.kind in "biu":
        return ~_is_integer(other, one)
    different: np.ndarray[Any, Any] = np.asarray((one != other) & ~(missing(one) & missing(other)))
    return different


def _imaginary(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.imag if values.dtype.kind == "c" else np.zeros(values.shape)


def _is_integer(floats: np.ndarray[Any, Any], integers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell where floats are exactly these integers; they are compared as integers where those can hold them."""
    whole = integers.astype(np.uint8) if integers.dtype.kind == "b" else integers
    wide, limits = floats.astype(np.float64), np.iinfo(whole.dtype)
    fits = (wide >= float(limits.min)) & (wide < float(limits.max + 1)) & (np.floor(wide) == wide)
    same: np.ndarray[Any, Any] = fits & (np.where(fits, wide, 0).astype(whole.dtype) == whole)
    return same


def missing(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell where values are missing: NaN and NaT."""
    kind = values.dtype.kind
    return (
        np.isnat(values)
        if kind in "mM"
        else np.isnan(values)
        if kind in "fc"
        else np.zeros(values.shape, bool)
    )
