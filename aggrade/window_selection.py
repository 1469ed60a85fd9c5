"""Which windows fulfil conditions on what the store says of them: labels, quality, sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["check_conditions", "selected"]

_FIX = "see docs/reading.md for what conditions look like"


def check_conditions(dataset: xr.Dataset, where: Mapping[str, Any]) -> None:
    """See that conditions can be asked of a dataset. Reads nothing.

    Parameters
    ----------
    dataset, where
        As for `selected`.

    Raises
    ------
    BadInput
        With every reason: no such variable, one of samples, a range that holds nothing, an unknown label.
    """
    raise_all((problem for name in where for problem in _problems(dataset, name, where[name])), BadInput)


def selected(dataset: xr.Dataset, where: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which windows fulfil every condition.

    Parameters
    ----------
    dataset
        Windows, as `aggrade.open_windows` returns them. A variable that it lacks is fulfilled by no window.
    where
        Name of a variable of sessions, windows, or windows and channels → a value, a list of values of which it
        is one, or a tuple ``(low, high)`` of numbers, both included, None for no limit. Values of ``label`` may be
        names of its mapping. With channels, every channel that has a number has to fulfil it, and one has to have
        one. NaN fulfils nothing.

    Returns
    -------
    numpy.ndarray
        (session, window) bool.
    """
    shape = (dataset.sizes["session"], dataset.sizes["window"])
    found = np.ones(shape, bool)
    for name, condition in where.items():
        found &= _fulfilled(dataset, name, condition, shape)
    return found


def _fulfilled(dataset: xr.Dataset, name: str, condition: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if name not in dataset.variables:
        return np.zeros(shape, bool)
    variable = dataset.variables[name]
    values = np.asarray(variable.values)
    good = _matches(values, _by_number(variable, condition))
    if "window" not in variable.dims:
        return np.broadcast_to(good[:, None], shape)
    if good.ndim == 2:
        return good
    told = ~(values != values)  # noqa: PLR0124 - only NaN differs from itself
    channels = tuple(range(2, good.ndim))
    return np.asarray((good | ~told).all(axis=channels) & told.any(axis=channels))


def _matches(values: NDArray[Any], condition: Any) -> NDArray[np.bool_]:
    if isinstance(condition, tuple):
        low, high = condition
        good = ~(values != values)  # noqa: PLR0124 - only NaN differs from itself
        good &= True if low is None else values >= low
        return np.asarray(good & (True if high is None else values <= high))
    options = list(condition) if isinstance(condition, list | set | frozenset) else [condition]
    return np.isin(values, np.array(options, object if values.dtype.kind == "O" else None))


def _by_number(variable: xr.Variable, condition: Any) -> Any:
    """Return a condition with the numbers of labels in the place of their names."""
    mapping = variable.attrs.get("mapping", {})
    if isinstance(condition, list | set | frozenset):
        return [mapping.get(item, item) if isinstance(item, str) else item for item in condition]
    return mapping.get(condition, condition) if isinstance(condition, str) else condition


def _problems(dataset: xr.Dataset, name: str, condition: Any) -> Iterator[Problem]:
    where = f"where[{name!r}]"
    known = [
        str(key)
        for key, variable in dataset.variables.items()
        if "session" in variable.dims and not str(variable.dims[-1]).endswith("_sample")
    ]
    if name not in known:
        yield Problem(where, "no such variable", f"one of {', '.join(sorted(known))}", _FIX, "where-variable")
        return
    variable = dataset.variables[name]
    if isinstance(condition, tuple) and not _is_range(condition):
        expected = "(low, high) of numbers, low at most high, None for no limit; a list for several values"
        yield Problem(where, repr(condition), expected, _FIX, "where-range")
    if variable.dtype.kind not in "OUT":
        found = _by_number(variable, condition)
        texts = [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, str)]
        if texts:
            names = ", ".join(variable.attrs.get("mapping", {})) or "no names: it has no mapping"
            yield Problem(where, ", ".join(map(repr, texts)), f"numbers, or {names}", _FIX, "where-label")


def _is_range(condition: tuple[Any, ...]) -> bool:
    if len(condition) != 2 or not all(
        item is None or isinstance(item, int | float | np.number) for item in condition
    ):
        return False
    low, high = condition
    return low is None or high is None or bool(low <= high)
