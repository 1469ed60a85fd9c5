"""Attributes as JSON holds them, and those that no JSON holds, or none that every reader takes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["DEEPEST", "MOST_DIGITS", "fault_of", "plain_attribute"]

DEEPEST = 100
"""How many lists and mappings may lie within each other: readers of JSON stop at 128, and an array's own are within four."""

MOST_DIGITS = 4300
"""How many digits a whole number may have: Python reads no longer ones."""


def plain_attribute(value: Any) -> Any:
    """Return an attribute as JSON holds it: numpy's numbers and arrays as Python's, at any depth.

    What `fault_of` finds fault with is returned as it is.

    >>> plain_attribute({"a": np.arange(2), "b": (np.float32(0.5), None)})
    {'a': [0, 1], 'b': [0.5, None]}
    """
    return value if fault_of(value) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "mM":
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def fault_of(value: Any, within: tuple[int, ...] = ()) -> str:
    """Return why an attribute can't even be looked at, whatever JSON makes of it; nothing if it can.

    Parameters
    ----------
    value
        The attribute.
    within
        Ids of what it lies in.

    >>> fault_of(10**4300), fault_of([1, {"a": [2]}])
    ('a whole number of more than 4,300 digits', '')
    """
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        return f"a whole number of more than {MOST_DIGITS:,} digits"
    items = _items(value)
    if not items:
        return ""
    if id(value) in within:
        return "what contains itself"
    if len(within) >= DEEPEST:
        return f"more than {DEEPEST} lists or mappings within each other"
    inside = (*within, id(value))
    return next(filter(None, (fault_of(item, inside) for item in items)), "")


_TOO_LARGE = 10**MOST_DIGITS


def _items(value: Any) -> list[Any]:
    """Return what a list, a mapping or an array of objects consists of."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype.kind == "O" else []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []
