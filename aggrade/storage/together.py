"""Requests that don't wait for one another, sent together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrade.storage import Storage, StoredObject

__all__ = ["hands", "read_together", "together"]

_IN_HAND = 256 << 20


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make several calls at once and return their results in order; all have ended then.

    Raises
    ------
    Exception
        That of the first call, in order, that failed.
    """
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        running = [pool.submit(call) for call in calls]
    return [one.result() for one in running]


def hands(size: int) -> int:
    """Return how many objects to hold at once, the largest of which takes so many bytes.

    They are ``AGGRADE_PARALLEL_REQUESTS`` where that is 256 MB at most, fewer where they are larger, and
    ``AGGRADE_PARALLEL_OBJECTS`` in any case.
    """
    most = settings()
    return min(most.parallel_requests, max(most.parallel_objects, _IN_HAND // max(size, 1)))


def read_together(storage: Storage, keys: Iterable[str]) -> dict[str, StoredObject | None]:
    """Read several objects at once; None for those that don't exist. Raises as `Storage.read`."""
    wanted = list(dict.fromkeys(keys))
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return dict(zip(wanted, pool.map(storage.read, wanted), strict=True))
