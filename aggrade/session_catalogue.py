"""The catalogue of a dataset: one line for each session, and in which store and row it lies.

It is Parquet below ``{root}/catalogue/``, in folders ``partition=…``, which pandas, DuckDB and pyarrow read as they lie.
Each commit to a store of the dataset keeps it up to date (`aggrade.commit.catalogue`); it holds nothing that the stores
don't, and can be made again from them.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from aggrade.clock import clock_of
from aggrade.commit import Base, CommitPlan, Transaction, read_snapshot, recover_store
from aggrade.commit.catalogue import Place, decoded, place_of
from aggrade.commit.cataloguing import CATALOGUING, Sessions, make_lines
from aggrade.commit.intent import Journal
from aggrade.commit.plan import new_write_id
from aggrade.commit.recovery import acquire
from aggrade.errors import BadInput, Conflict, Damaged, Problem, Refused
from aggrade.layout import CATALOGUE, STORE_SUFFIX, is_zarr, stores_in, window_stores_in
from aggrade.receipt import Receipt
from aggrade.session_rows import empty_table
from aggrade.settings import settings
from aggrade.storage import open_storage, url_of
from aggrade.storage.adopting import Adopting
from aggrade.storage.together import read_together, together

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping
    from os import PathLike

    import pandas as pd

    from aggrade.commit import Snapshot
    from aggrade.commit.intent import Lease
    from aggrade.storage import ObjectInfo, Storage

__all__ = [
    "catalogue_problems",
    "dataset_root",
    "drop_lost_files",
    "lost_files",
    "lost_lines",
    "make_lines_again",
    "read_catalogue",
    "rebuild_catalogue",
    "told_rows",
]

_log = logging.getLogger(__name__)
_SESSION = "session"


def read_catalogue(
    store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Read the catalogue of a dataset: which sessions it has, where they lie, and how good they are.

    Parameters
    ----------
    store
        The dataset root: a local path or URL.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    pandas.DataFrame
        One line for each session, in the order of stores and rows; its columns are described in docs/windows.md.
        Empty if the dataset has no catalogue.

    Raises
    ------
    BadInput
        If `store` is one Zarr store.
    Damaged
        If a file of it can't be read.
    Unavailable
        If the store does not answer.
    """
    store = url_of(store)
    root = dataset_root(store, storage_options)
    keys = [info.key for info in root.list(f"{CATALOGUE}/") if info.key.endswith(".parquet")]
    found = read_together(root, keys)
    tables = [_labelled(root, key, stored.data) for key, stored in found.items() if stored is not None]
    whole = pa.concat_tables([_labelled_empty(), *tables])
    lines: pd.DataFrame = whole.sort_by([("store", "ascending"), ("index", "ascending")]).to_pandas()
    return lines


def dataset_root(store: str, storage_options: Mapping[str, Any] | None) -> Storage:
    """Open a dataset root. At most three requests.

    Raises
    ------
    BadInput
        If `store` is one Zarr store.
    """
    root = open_storage(store.rstrip("/"), storage_options)
    if store.rstrip("/").endswith(STORE_SUFFIX) or is_zarr(root):
        fix = "name the folder that holds the store"
        raise BadInput(Problem("store", f"{store!r}, one Zarr store", "a dataset root", fix, "dataset-root"))
    return root


def _labelled(root: Storage, key: str, data: bytes) -> pa.Table:
    table = decoded(data)
    if table is None:
        fix = "run aggrade catalogue with --rebuild"
        found = Problem(
            f"{root.url}/{key}", "a file that can't be read", "Parquet", fix, "catalogue-unreadable"
        )
        raise Damaged(found)
    partition = unquote(key.split("/")[1].removeprefix("partition="))
    return table.append_column("partition", pa.array([partition] * len(table), pa.string()))


def _labelled_empty() -> pa.Table:
    return empty_table().append_column("partition", pa.array([], pa.string()))


def rebuild_catalogue(
    store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Receipt:
    """Make the catalogue of a dataset from its stores, reading no samples. From then on commits keep it up to date.

    Dead writers' commits are finished first. Each store is looked at under its intent, one after another.

    Parameters
    ----------
    store
        The dataset root: a local path or URL.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt
        ``details``: the stores that it tells of, the files that changed and those that were deleted.

    Raises
    ------
    BadInput
        If `store` is one Zarr store.
    Damaged
        If a store can't be read.
    Conflict
        If another writer kept a store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    """
    store = url_of(store)
    root, began = dataset_root(store, storage_options), time.monotonic()
    known = window_stores_in(root)
    changed = {path: _rebuild(root, path, begins=path in known) for path in stores_in(root)}
    deleted = drop_lost_files(root)
    told = {path: files for path, files in changed.items() if files is not None}
    details = {"stores": len(told), "files": sum(told.values()), "deleted": deleted}
    seconds = round(time.monotonic() - began, 3)
    objects = details["files"]
    return Receipt(
        kind=CATALOGUING,
        store=root.url,
        write_id="",
        generation=0,
        dim=_SESSION,
        objects=objects,
        seconds=seconds,
        details=details,
    )


def _rebuild(root: Storage, path: str, *, begins: bool) -> int | None:
    """Make the lines of one store; return how many files changed, None if no catalogue is to tell of it.

    `begins` says whether one is to from now on; else only if one did.
    """
    storage = Adopting(root.within(path))
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    for attempt in itertools.count():
        recover_store(storage)
        shown = read_snapshot(storage)
        if shown is None or _SESSION not in shown.documents or not (begins or "catalogue" in shown.mark):
            return None
        if "catalogue" not in shown.mark and storage.consolidate():
            continue
        place = place_of(storage, shown.mark, len(path.split("/")))
        assert place is not None, "a depth was given"
        try:
            return _made(storage, shown, place)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("looking again: %s", error)
            clock.back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def _made(storage: Adopting, shown: Snapshot, place: Place) -> int:
    """Make the lines under the intent, by a commit where the store does not know yet that a catalogue tells of it."""
    base = Base(etag=shown.etag, generation=shown.generation)
    if "catalogue" in shown.mark:
        lease = acquire(storage, Journal(kind=CATALOGUING, base=base), new_write_id())
        try:
            return len(make_lines_again(storage, lease))
        finally:
            lease.release(dirty=lease.intent.dirty, etags=lease.intent.etags)
    commit = CommitPlan(
        kind=CATALOGUING,
        store=storage.url,
        dim=shown.mark.get("dim"),
        base=base,
        documents=shown.documents,
        attributes=shown.attributes,
        mark={"catalogue": place.way},
        backup="none",
    )
    with Transaction(storage, commit) as txn:
        txn.publish([])
    return len(place.files())


def make_lines_again(storage: Storage, lease: Lease) -> list[int]:
    """Make all lines of a store what it shows, as the holder of its intent; return the files that changed.

    Raises
    ------
    Damaged
        If what they are made of can't be decoded.
    Conflict
        If somebody took over.
    """
    shown = read_snapshot(storage)
    place = place_of(storage, shown.mark) if shown else None
    if shown is None or place is None or _SESSION not in shown.documents:
        return []
    try:
        return make_lines(storage, shown, place, lease.confirm, anew=True)
    except (RuntimeError, ValueError) as error:
        found, expected = f"coordinates that can't be decoded ({error})", "numbers and text"
        raise Damaged(Problem(storage.url, found, expected, "restore a backup", "coordinates")) from error


def catalogue_problems(storage: Storage, shown: Snapshot, checked: Counter[str]) -> Iterator[str]:
    """Yield a sentence for each way in which the catalogue differs from a store that it tells of.

    Parameters
    ----------
    storage, shown
        The store and its state.
    checked
        Where lines are counted.
    """
    place = place_of(storage, shown.mark)
    if place is None or _SESSION not in shown.documents:
        return
    sessions, there = Sessions(storage, shown, place), place.files()
    stored = read_together(place.root, map(place.key, there))
    told: dict[tuple[str, int], Any] = {}
    shows: dict[tuple[str, int], Any] = {}
    for file in sorted({*sessions.files, *there}):
        found = stored.get(place.key(file))
        lines = decoded(found.data) if found else empty_table()
        if lines is None:
            yield f"{storage.url}: {place.key(file)} of the catalogue can't be read; run verify --repair."
            continue
        try:
            wanted = sessions.lines(file)
        except (RuntimeError, ValueError) as error:
            yield f"{storage.url}: what the catalogue is made of can't be decoded ({error}); restore."
            return
        if twice := len(lines) - len(_by_row(lines).keys() - told.keys()):
            yield f"{storage.url}: {place.key(file)} of the catalogue tells of {twice} sessions again; run verify --repair."
        told |= _by_row(lines)
        shows |= _by_row(wanted)
        checked["lines"] += len(lines)
    yield from _differences(storage.url, told, shows)


def _by_row(table: pa.Table) -> dict[tuple[str, int], dict[str, Any]]:
    return {(line["session"], line["index"]): line for line in table.to_pylist()}


def _differences(
    url: str, told: Mapping[tuple[str, int], Any], shows: Mapping[tuple[str, int], Any]
) -> Iterator[str]:
    kinds = {
        "does not tell of": shows.keys() - told.keys(),
        "tells of what the store does not show:": told.keys() - shows.keys(),
        "tells otherwise than the store of": {
            at for at in told.keys() & shows.keys() if told[at] != shows[at]
        },
    }
    for what, pairs in kinds.items():
        if pairs:
            name, row = min(pairs, key=lambda pair: pair[1])
            several = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            yield f"{url}: the catalogue {what} session {name!r} at row {row}{several}; run verify --repair."


def told_rows(root: Storage, stores: Iterable[str]) -> dict[str, dict[int, str]]:
    """Return what the catalogue tells of stores, as far as it can be read: path → row → session.

    One listing, and a read of each file. Stores of which nothing can be read are left out, and so are lines of others.

    Parameters
    ----------
    root
        Storage of the dataset root.
    stores
        Paths of the stores below it.
    """
    places = {place.prefix: place for place in (Place(root, path) for path in stores)}
    keys = [info.key for info in root.list(f"{CATALOGUE}/")]
    owners = {key: place for key in keys if (place := places.get(key[: key.rfind("-") + 1]))}
    stored = read_together(root, [key for key, place in owners.items() if place.number(key) is not None])
    told: dict[str, dict[int, str]] = {}
    for key, one in stored.items():
        lines = decoded(one.data) if one else None
        if lines is not None:
            told.setdefault(owners[key].store, {}).update(_rows(lines))
    return told


def _rows(table: pa.Table) -> dict[int, str]:
    pairs = zip(table.column("index").to_pylist(), table.column("session").to_pylist(), strict=True)
    return {row: session for row, session in pairs if row is not None and session is not None}


def lost_files(root: Storage) -> list[ObjectInfo]:
    """Return the catalogue's files that no store keeps which it is to tell of; none in a Zarr store."""
    there = list(root.list(f"{CATALOGUE}/"))
    if not there:
        return []
    places = [place for path in stores_in(root) if path and (place := _told(root, path))]
    return [info for info in _strays(places, there) if info.key.endswith(".parquet")]


def _strays(places: Iterable[Place], there: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """Return the files that none of some stores keeps."""
    owners = {place.prefix: place for place in places}
    owned = ((info, owners.get(info.key[: info.key.rfind("-") + 1])) for info in there)
    return [info for info, place in owned if place is None or place.number(info.key) is None]


def lost_lines(root: Storage, stores: Iterable[str], label: str) -> list[ObjectInfo]:
    """Return the catalogue's files that tell of a session, or of nobody knows whom, in a store that isn't there.

    Parameters
    ----------
    root
        Storage of the dataset root.
    stores
        Paths of the Zarr stores that are there, or of which backups are left.
    label
        The session's id.
    """
    there = root.list(f"{CATALOGUE}/")
    strays = {info.key: info for info in _strays((Place(root, path) for path in stores), there)}
    stored = read_together(root, [key for key in strays if key.endswith(".parquet")])
    tables = {key: decoded(one.data) for key, one in stored.items() if one is not None}
    return [strays[key] for key, table in tables.items() if table is None or label in _sessions(table)]


def _sessions(table: pa.Table) -> set[str]:
    return set(table.column("session").to_pylist())


def _told(root: Storage, path: str) -> Place | None:
    """Return where the lines of a store lie; of one whose root is lost, not ours or can't be read, where they would."""
    storage = Adopting(root.within(path))
    depth = len(path.split("/"))
    try:
        shown = read_snapshot(storage)
    except (Damaged, Refused):
        return place_of(storage, {}, depth)
    return place_of(storage, shown.mark) if shown and shown.mark else place_of(storage, {}, depth)


def drop_lost_files(root: Storage) -> int:
    """Delete the files that belong to no store; return how many are gone."""
    return sum(together(*(lambda info=info: root.discard(info.key, info.etag) for info in lost_files(root))))
