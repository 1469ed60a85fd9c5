"""In which store of a dataset a session belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from aggrade.errors import BadInput, Problem
from aggrade.layout import (
    LIGHTCURVES,
    LIGHTCURVES_BY_OBJECT,
    STORE_SUFFIX,
    WINDOWS,
    WINDOWS_FOR_TRAINING,
    partition_store,
    session_store,
    stores_in,
)
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNDATED", "Layout", "Partition", "check_root", "reading_copies", "windows_store"]

Layout = Literal["common", "per_session"]
Partition = Literal["none", "month", "year"]

UNDATED = "undated"
"""The partition of sessions whose date isn't known."""

_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})")


def windows_store(
    root: str, session: str, start: str, layout: Layout = "common", partition: Partition = "none"
) -> str:
    """Return the URL of the Zarr store that a session's windows belong in.

    Parameters
    ----------
    root
        The dataset root.
    session
        The session's id.
    start
        When it began, ISO 8601, in the recording's own time zone; empty if not known.
    layout
        ``"common"``: with other sessions; ``"per_session"``: in a store of its own.
    partition
        Whether common stores are one per month or year of the session's start.

    >>> windows_store("s3://lab/sleep", "sub-01", "2026-10-31T23:30:00+02:00", partition="month")
    's3://lab/sleep/windows/2026-10.zarr'
    """
    if layout == "per_session":
        return f"{root.rstrip('/')}/{session_store(session)}"
    if partition == "none":
        return f"{root.rstrip('/')}/{WINDOWS}"
    return f"{root.rstrip('/')}/{partition_store(_partition(start, partition))}"


def _partition(start: str, partition: Partition) -> str:
    date = _DATE.match(start)
    if date is None:
        return UNDATED
    return date["year"] if partition == "year" else f"{date['year']}-{date['month']}"


def check_root(store: str, layout: Layout = "common", partition: Partition = "none") -> None:
    """Refuse what names no dataset root, or asks for two ways of laying out at once.

    Raises
    ------
    BadInput
        Naming every parameter that is wrong.
    """
    problems = []
    if store.rstrip("/").endswith(STORE_SUFFIX):
        fix = "name the folder that holds the store, or is to hold it"
        problems.append(Problem("store", f"{store!r}, one Zarr store", "a dataset root", fix, "dataset-root"))
    if layout == "per_session" and partition != "none":
        found = f"partition={partition!r} with layout='per_session'"
        problems.append(Problem("partition", found, "one of them", "leave one at its default", "layout"))
    if problems:
        raise BadInput(*problems)


def reading_copies(root: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return which stores of a dataset have a copy in the layout that is good to read: URL → URL of the copy.

    These are the common stores; windows that are partitioned, or lie in stores of their own, are read as they are.

    Parameters
    ----------
    root
        The dataset root.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    AggradeError
        As `aggrade.layout.stores_in`.
    """
    pairs = {WINDOWS: WINDOWS_FOR_TRAINING, LIGHTCURVES: LIGHTCURVES_BY_OBJECT}
    there = stores_in(open_storage(root, storage_options))
    top = root.rstrip("/")
    return {f"{top}/{name}": f"{top}/{copy}" for name, copy in pairs.items() if name in there}
