"""Bringing objects before the lease is taken: their regions are put on record first, in the free intent.

A session of hours has hundreds of objects of its own, which nobody sees before the root names their row. They are
brought while nobody holds the store, so that others wait for the switch alone. What is brought may be left behind: the
writer may die, or somebody else may take that row. So the regions are dirty from before the first object is created, as
those of a dead writer are (`aggrade.commit.dirt`): whoever comes replaces what lies there, and no root shows it.

The lease is then taken by a compare-and-swap on just the intent that names the regions. Where that holds, nobody has
held the store in between, and what was created there is there. Where it doesn't, all of it is planned again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggrade.commit.dirt import lies_in
from aggrade.commit.intent import INTENT, swap_intent
from aggrade.commit.plan import new_write_id
from aggrade.commit.snapshot import moved_on
from aggrade.errors import Conflict
from aggrade.settings import settings
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Collection

    from aggrade.commit.intent import Intent, Lease
    from aggrade.commit.looking import Look
    from aggrade.commit.plan import CommitPlan, Target
    from aggrade.storage import Storage

__all__ = ["demand_reserved", "mark_left", "regions_ahead", "reserve", "reserved_intent"]


def regions_ahead(commit: CommitPlan, seen: Look, names: Collection[str]) -> tuple[Target, ...]:
    """Return the regions that are worth bringing before the lease is taken; none where it would not be shorter.

    Parameters
    ----------
    commit
        What will be done.
    seen
        What was read of the store. Where left-overs are on record, they are looked at under the intent.
    names
        Variables whose objects lie staged as they are to lie in the store.

    Returns
    -------
    tuple of Target
        Empty for as few objects as are brought at once (``AGGRADE_PARALLEL_REQUESTS``), and in a new store.
    """
    if seen.intent is None or not seen.is_calm:
        return ()
    regions = tuple(target for target in commit.targets() if target.variable in names)
    count = sum(1 for region in regions for _ in region.objects())
    return regions if count > settings().parallel_requests else ()


def reserved_intent(intent: Intent, regions: tuple[Target, ...]) -> Intent:
    """Return a free intent with regions on record, under a new name."""
    return intent.model_copy(update={"write_id": new_write_id(), "dirty": regions})


def reserve(storage: Storage, seen: Look, regions: tuple[Target, ...]) -> Look:
    """Put regions on record as dirty in the free intent.

    Parameters
    ----------
    storage, seen
        The store, and what was read of it; nobody held it then, and nothing was dirty.
    regions
        Where objects will be created.

    Returns
    -------
    Look
        The same, with the intent as it is now.

    Raises
    ------
    Conflict
        If somebody else has changed the intent meanwhile.
    """
    assert seen.intent is not None, "there is an intent"
    intent, etag = seen.intent
    reserved = reserved_intent(intent, regions)
    try:
        mark = swap_intent(storage, reserved, etag)
    except ConditionFailed as error:
        raise Conflict(moved_on(storage.url)) from error
    return replace(seen, intent=(reserved, mark), reserved=regions)


def demand_reserved(storage: Storage, seen: Look) -> None:
    """Raise if somebody has written the intent since regions were put on record.

    Raises
    ------
    Conflict
        Then nothing more is brought: it might come to lie in what somebody else has published, and taken back again.
    """
    assert seen.intent is not None, "there is an intent"
    now = storage.stat(INTENT)
    if now is None or now.etag != seen.intent[1]:
        raise Conflict(moved_on(storage.url))


def mark_left(storage: Storage, lease: Lease, key: str) -> str | None:
    """Return the mark of what was created meanwhile where the holder of the lease was to create, if it may replace it.

    It may in a region on record as dirty, whose writer can be at work still. What lies there is no successor's: the
    lease is confirmed after it was looked at.

    Parameters
    ----------
    storage, lease
        The store, and its intent.
    key
        Where something lies.

    Raises
    ------
    Conflict
        If somebody took over.
    """
    if not lies_in(lease.intent.dirty, key):
        return None
    info = storage.stat(key)
    lease.confirm()
    return info.etag if info else None
