"""Sessions on their way from one store of a dataset into another: who shows them, at every instant.

The store that they leave names the row and where it goes (``aggrade["leaving"]``), before they are appended there. From
then on the row shows as long as the other store doesn't show the session. When it does, the row is superseded, and
``aggrade["left"]`` names the generation from which on the other store shows what has left.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

__all__ = ["LEAVING", "LEFT", "hidden_rows", "open_together", "to_open_again"]

LEAVING, LEFT = "leaving", "left"
_SESSION = "session"
_LOOKS = 2
_Part = TypeVar("_Part")


def _mark(part: xr.Dataset) -> Mapping[str, Any]:
    mark = part.attrs.get("aggrade", {})
    return mark if isinstance(mark, dict) else {}


def _labels(part: xr.Dataset, hidden: set[int]) -> set[str]:
    return {str(label) for row, label in enumerate(part[_SESSION].values) if row not in hidden}


def hidden_rows(parts: Mapping[str, xr.Dataset]) -> dict[str, set[int]]:
    """Return the rows that don't show: those that were replaced, and those of sessions that another store shows.

    Parameters
    ----------
    parts
        Path of each store below the dataset root → its dataset.
    """
    gone = {path: set(map(int, _mark(part).get("superseded", ()))) for path, part in parts.items()}
    live: dict[str, set[str]] = {}
    hidden = {path: set(rows) for path, rows in gone.items()}
    for path, part in parts.items():
        for row, target in _mark(part).get(LEAVING, {}).items():
            if target not in parts or int(row) in gone[path]:
                continue
            if target not in live:
                live[target] = _labels(parts[target], gone[target])
            if str(part[_SESSION].values[int(row)]) in live[target]:
                hidden[path].add(int(row))
    return hidden


def to_open_again(parts: Mapping[str, xr.Dataset]) -> set[str]:
    """Return the stores that were opened too early, beside others, to show each session once.

    Parameters
    ----------
    parts
        As for `hidden_rows`.
    """
    early = {
        target
        for part in parts.values()
        for target, generation in _mark(part).get(LEFT, {}).items()
        if target not in parts or int(_mark(parts[target]).get("generation", 0)) < generation
    }
    return early | _doubled(parts)


def _doubled(parts: Mapping[str, xr.Dataset]) -> set[str]:
    if len(parts) < 2:
        return set()
    hidden = hidden_rows(parts)
    lying: dict[str, list[str]] = defaultdict(list)
    for path, part in parts.items():
        for label in np.delete(part[_SESSION].values, sorted(hidden[path])):
            lying[str(label)].append(path)
    return {path for paths in lying.values() if len(paths) > 1 for path in paths}


def open_together(
    paths: Sequence[str],
    open_below: Callable[[Sequence[str]], Mapping[str, _Part]],
    dataset_of: Callable[[_Part], xr.Dataset],
) -> dict[str, _Part]:
    """Open stores, and those again that were opened too early to show sessions that moved into them meanwhile.

    Parameters
    ----------
    paths
        Of the stores, below the dataset root.
    open_below
        Opens some of them; what isn't there is left out.
    dataset_of
        Returns the dataset of one that is open.

    Returns
    -------
    dict
        Path → what `open_below` made of it, sorted by path.
    """
    opened = dict(open_below(paths))
    for _ in range(_LOOKS):
        shown = {path: dataset_of(part) for path, part in opened.items()}
        if not all(_SESSION in dataset.variables for dataset in shown.values()):
            break
        again = to_open_again(shown)
        if not again:
            break
        opened |= open_below(sorted(again))
    return dict(sorted(opened.items()))
