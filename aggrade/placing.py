"""In which store of a dataset a session belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from aggrade.errors import BadInput, Problem
from aggrade.layout import (
    LIGHTCURVES,
    LIGHTCURVES_BY_OBJECT,
    PARTITIONS,
    STORE_SUFFIX,
    WINDOWS,
    partition_store,
    session_store,
    stores_in,
    window_stores_in,
)
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.channels import Channels

__all__ = [
    "COMMON",
    "UNDATED",
    "Layout",
    "Partition",
    "check_root",
    "kinds_of",
    "reading_copies",
    "windows_store",
]

Layout = Literal["common", "per_session"]
Partition = Literal["none", "month", "year", "montage"]

COMMON = WINDOWS.removesuffix(STORE_SUFFIX)
"""The name of the common store, unless another is given."""

UNDATED = "undated"
"""The partition of sessions whose date isn't known."""

_RESERVED = {LIGHTCURVES, LIGHTCURVES_BY_OBJECT}
_COPY = "_for_training"
_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})")


def windows_store(
    root: str,
    session: str,
    start: str,
    layout: Layout = "common",
    partition: Partition = "none",
    *,
    name: str = COMMON,
    montage: str = "",
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
        Whether common stores are one per month or year of the session's start, or one per montage.
    name
        Of the common store, where there is one.
    montage
        What `aggrade.montages.montage_of` says of the session; it counts where stores are one per montage.

    >>> windows_store("s3://lab/sleep", "sub-01", "2026-10-31T23:30:00+02:00", partition="month")
    's3://lab/sleep/windows/2026-10.zarr'
    """
    if layout == "per_session":
        return f"{root.rstrip('/')}/{session_store(session)}"
    if partition == "none":
        return f"{root.rstrip('/')}/{name.removesuffix(STORE_SUFFIX)}{STORE_SUFFIX}"
    part = montage if partition == "montage" else _partition(start, partition)
    return f"{root.rstrip('/')}/{partition_store(part)}"


def _partition(start: str, partition: Partition) -> str:
    date = _DATE.match(start)
    if date is None:
        return UNDATED
    return date["year"] if partition == "year" else f"{date['year']}-{date['month']}"


def check_root(
    store: str,
    layout: Layout = "common",
    partition: Partition = "none",
    *,
    name: str = COMMON,
    channels: Channels = "refuse",
) -> None:
    """Refuse what names no dataset root, or asks for two ways of laying out at once.

    Raises
    ------
    BadInput
        Naming every parameter that is wrong.
    """
    problems = list(_name_problems(name))
    if store.rstrip("/").endswith(STORE_SUFFIX):
        fix = "name the folder that holds the store, or is to hold it"
        problems.append(Problem("store", f"{store!r}, one Zarr store", "a dataset root", fix, "dataset-root"))
    both = {
        f"partition={partition!r}": layout == "per_session"
        and partition != "none"
        and "layout='per_session'",
        f"name={name!r}": name != COMMON and _without_common_store(layout, partition),
        f"channels={channels!r}": channels == "union" and partition == "montage" and "partition='montage'",
    }
    for found, other in both.items():
        if other:
            where, fix = found.partition("=")[0], "leave one at its default"
            problems.append(Problem(where, f"{found} with {other}", "one of them", fix, "layout"))
    if problems:
        raise BadInput(*problems)


def _without_common_store(layout: Layout, partition: Partition) -> str:
    if layout == "per_session":
        return f"layout={layout!r}"
    return "" if partition == "none" else f"partition={partition!r}"


def _name_problems(name: str) -> Iterator[Problem]:
    plain = name.removesuffix(STORE_SUFFIX)
    fix = "give it another one"
    if f"{plain}{STORE_SUFFIX}" in _RESERVED or plain.endswith(_COPY):
        yield Problem("name", f"{name!r}, which is another store's", "a name of its own", fix, "store-name")
    elif (
        not plain.strip() or plain.startswith(".") or "/" in plain or "\\" in plain or not plain.isprintable()
    ):
        yield Problem("name", repr(name), "the name of one folder", fix, "store-name")


def kinds_of(path: str) -> frozenset[str]:
    """Return what may have put a session into a store: partitions that could be its, and else where it lies.

    >>> sorted(kinds_of("windows/undated.zarr"))
    ['month', 'year']

    Parameters
    ----------
    path
        Of the store below the dataset root.
    """
    folder, _, file = path.rpartition("/")
    part = file.removesuffix(STORE_SUFFIX)
    if folder != PARTITIONS:
        return frozenset({path})
    if part == UNDATED:
        return frozenset({"month", "year"})
    if re.fullmatch(r"\d{4}", part):
        return frozenset({"year"})
    return frozenset({"month" if re.fullmatch(r"\d{4}-\d{2}", part) else "montage"})


def reading_copies(root: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return which stores of a dataset have a copy in the layout that is good to read: URL → URL of the copy.

    These are the common stores, whatever their names; windows that are partitioned, or lie in stores of their own, are read as they are.

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
    storage = open_storage(root, storage_options)
    there, top = stores_in(storage), root.rstrip("/")
    pairs = {LIGHTCURVES: LIGHTCURVES_BY_OBJECT} if LIGHTCURVES in there else {}
    common = [path for path in window_stores_in(storage, there) if path and "/" not in path]
    copies = {path: f"{path.removesuffix(STORE_SUFFIX)}{_COPY}{STORE_SUFFIX}" for path in common}
    return {f"{top}/{path}": f"{top}/{copy}" for path, copy in {**copies, **pairs}.items()}
