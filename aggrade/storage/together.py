"""Requests that don't wait for one another, sent together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrade.storage import Storage, StoredObject

__all__ = ["read_together", "together"]


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


def read_together(storage: Storage, keys: Iterable[str]) -> dict[str, StoredObject | None]:
    """Read several objects at once; None for those that don't exist. Raises as `Storage.read`."""
    wanted = list(dict.fromkeys(keys))
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return dict(zip(wanted, pool.map(storage.read, wanted), strict=True))
