"""Looking at a store that others may write: what seems wrong with it counts if nobody has written meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrade.storage import Storage

__all__ = ["Finding", "settled"]

_LOOKS = 3


@dataclass
class Finding:
    """What one look at a Zarr store has found.

    Parameters
    ----------
    problems, notes
        A sentence for each thing that is wrong, or untidy.
    checked
        What was looked at, counted.
    marks
        Key → mark of what says who wrote last, as it was read.
    is_held
        Whether a commit was under way, of which the first problem tells.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    marks: dict[str, str | None] = field(default_factory=dict)
    is_held: bool = False


def settled(storage: Storage, look: Callable[[Finding], Iterable[str]]) -> Finding:
    """Look until what seems wrong is of a state that still is, three times at most.

    What is said beside a commit under way is counted alone: that commit, or whoever finishes it, may put it right.

    Parameters
    ----------
    storage
        The Zarr store.
    look
        Looks at all of it, notes what it finds, and gives what is wrong.
    """
    for _ in range(_LOOKS):
        found = Finding()
        found.problems.extend(look(found))
        if not found.problems:
            return found
        if all(_mark(storage, key) == mark for key, mark in found.marks.items()):
            return _without_what_may_pass(found) if found.is_held else found
    told = f"{storage.url}: somebody writes there while it is looked at; verify it again when nobody does."
    return replace(found, problems=[told])


def _mark(storage: Storage, key: str) -> str | None:
    info = storage.stat(key)
    return info.etag if info else None


def _without_what_may_pass(found: Finding) -> Finding:
    first, *others = found.problems
    if not others:
        return found
    told = f"{first.rstrip('.')}, then verify again: {len(others)} things that seem wrong may come of it."
    return replace(found, problems=[told])
