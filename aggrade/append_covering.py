"""Chunks that an append writes beside its own: those in which a dead writer's left-overs would come to light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.commit.dirt import uncovered
from aggrade.commit.documents import in_grid, key_of

if TYPE_CHECKING:
    from aggrade.commit.looking import Look
    from aggrade.commit.plan import CommitPlan

__all__ = ["covering", "read_to_cover"]


def covering(commit: CommitPlan, seen: Look) -> list[tuple[str, tuple[int, ...]]]:
    """Return variable and index of every object that a commit rebuilds from published rows and fill.

    Parameters
    ----------
    commit
        What will be done.
    seen
        What was read of the store.
    """
    dirty = seen.intent[0].dirty if seen.intent else ()
    published = seen.snapshot.documents if seen.snapshot else {}
    return list(uncovered(dirty, published, commit.documents, {key for _, key, _ in commit.objects()}))


def read_to_cover(commit: CommitPlan, seen: Look) -> list[str]:
    """Return the keys of those objects of `covering` that hold published rows, which are read for it."""
    there = seen.snapshot.documents if seen.snapshot else {}
    return [
        key_of(name, there[name], index)
        for name, index in covering(commit, seen)
        if name in there
        and there[name]["chunk_key_encoding"] == commit.documents[name]["chunk_key_encoding"]
        and in_grid(there[name], index)
    ]
