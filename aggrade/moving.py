"""A session that belongs in another store of its dataset than the one where it lies, such as one that was dated anew.

It is appended there and taken out here, under the guard of either store, and shows once at every instant
(`aggrade.leaving`). Whoever dies on the way leaves it in one place or the other; `recover`, and ingesting it again,
finish what was begun.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from aggrade.append_plan import is_superseded
from aggrade.clock import clock_of
from aggrade.commit import Base, CommitPlan, Transaction, find_layer, read_snapshot
from aggrade.commit.cataloguing import MOVED
from aggrade.commit.documents import labels_of
from aggrade.encoding import layer_digest
from aggrade.errors import Conflict, Damaged, Problem, Refused
from aggrade.landing import check_landing, land
from aggrade.layout import PARTITIONS, SESSIONS, STORE_SUFFIX, stores_in, window_stores_in
from aggrade.leaving import LEAVING, LEFT
from aggrade.placing import kinds_of
from aggrade.session_catalogue import dataset_root, told_rows
from aggrade.settings import settings
from aggrade.staging import staging_of
from aggrade.storage import open_storage
from aggrade.storage.adopting import Adopting
from aggrade.storage.together import together
from aggrade.verifying import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrade.append_plan import OnConflict
    from aggrade.channels import Channels
    from aggrade.commit import Snapshot
    from aggrade.commit.plan import BackupKind
    from aggrade.receipt import Receipt
    from aggrade.staging import Staged
    from aggrade.storage import Storage

__all__ = ["finish_moves", "homes", "move_session"]

_log = logging.getLogger(__name__)
_SESSION, _LEAVE = "session", "leave"
_TOLD = frozenset(
    {
        "session_start",
        "session_start_resolution_s",
        "eeg_start_resolution_s",
        "fnirs_start_resolution_s",
        "offset_resolution_s",
        "clock",
        "source",
        "source_digest",
    }
)
"""What a recording tells of when and whence it is; it may change although nothing was measured anew."""


def homes(root: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return where each session of a dataset lies: its id → the path of the store below the root.

    The catalogue tells of a store, where it has lines of just the rows that the store's root shows; else the store
    itself does. So no part of the catalogue that is lost, torn or stale decides where data go. A session's own store
    of which there is a line is not asked: however many there are, they cost no request but for their lines.

    Parameters
    ----------
    root
        The dataset root.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If `root` is one Zarr store.
    Damaged
        If a store can't be read of which the catalogue does not tell.
    """
    storage = dataset_root(root, storage_options)
    there = stores_in(storage)
    windows, told = {*window_stores_in(storage, there)}, told_rows(storage, there)
    paths = [path for path in there if path in windows or path in told]
    shown = together(*(lambda path=path: _shown(storage, path, told.get(path, {})) for path in paths))
    return {label: path for path, labels in zip(paths, shown, strict=True) for label in labels}


def _shown(root: Storage, path: str, told: Mapping[int, str]) -> list[str]:
    """Return the sessions that a store shows: those of which it is told, if these are all."""
    if told and path.startswith(f"{SESSIONS}/"):
        return list(told.values())
    storage = Adopting(root.within(path))
    try:
        shown = read_snapshot(storage)
    except (Damaged, Refused) as error:
        if not told:
            raise
        _log.warning("taking the catalogue's word for what lies there: %s", error)
        return list(told.values())
    live = _live(shown) if shown else set()
    if shown is None or live == told.keys():
        return [told[row] for row in sorted(live)]
    _log.info("looking into %s: the catalogue does not tell what it shows", storage.url)
    return [label for row, label in _decoded(storage, shown) if row in live]


def _live(shown: Snapshot) -> set[int]:
    rows = shown.length(_SESSION) if _SESSION in shown.documents else 0
    return set(range(rows)) - set(shown.mark.get("superseded", []))


def _decoded(storage: Storage, shown: Snapshot) -> list[tuple[int, str]]:
    try:
        return _labels(storage, shown) if _SESSION in shown.documents else []
    except (RuntimeError, ValueError) as error:
        found, expected = f"labels that can't be decoded ({error})", "text"
        raise Damaged(Problem(storage.url, found, expected, "restore a backup", "coordinates")) from error


def _labels(storage: Storage, shown: Snapshot) -> list[tuple[int, str]]:
    return list(enumerate(labels_of(shown.dataset(storage)[_SESSION].variable)))


def move_session(
    staged: Staged,
    store: str,
    home: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Append a staged session to a store, and take it out of the one where it lies.

    Parameters
    ----------
    staged
        The session.
    store
        URL of the Zarr store that it belongs in.
    home
        Path below the dataset root of the store where it lies.
    channels, on_conflict, backup, storage_options
        As for `aggrade.append`. What a recording tells of when and whence it is may differ from what lies there;
        if what was measured does, `on_conflict` decides.

    Returns
    -------
    Receipt
        Of the append.

    Raises
    ------
    Refused
        If the two stores are not partitions of one kind, if the content differs and may not be replaced, or as
        `aggrade.append`. Nothing was written.
    """
    root = open_storage(staged.root, storage_options)
    path = store.rstrip("/").removeprefix(f"{staged.root.rstrip('/')}/")
    here, there = Adopting(root.within(home)), Adopting(root.within(path))
    how: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    if _row(here, staged.session) is not None:
        _demand_kin(staged.session, home, path)
        if on_conflict == "refuse":
            _demand_same(here, staging_of(staged, storage_options), staged.session)
        check_landing(staged, store, storage_options=storage_options, **how)
        _commit(here, _LEAVE, lambda shown: _leaving(here, shown, staged.session, path))
    receipt = land(staged, store, storage_options=storage_options, **how)
    _arrive(here, there, staged.session, path)
    return receipt


def _demand_kin(session: str, home: str, path: str) -> None:
    if kinds_of(home) & kinds_of(path) or home == path:
        return
    fix = "keep to the layout that the dataset has, or remove the session there first"
    raise Refused(Problem(f"session {session!r}", f"it in {home}", f"it in {path}", fix, "lies-elsewhere"))


def _demand_same(here: Storage, staging: Storage, session: str) -> None:
    if _measured(here, session) != _measured(staging, session):
        found = f"the same session with other content in {here.url}"
        fix = "check which is right; to replace the old one pass on_conflict='replace'"
        expected = "the same content, or a new id"
        raise Refused(Problem(f"layer {session!r}", found, expected, fix, "layer-differs"))


def _measured(storage: Storage, session: str) -> str:
    """Return the digest of all that was measured of a session that a store shows."""
    shown = read_snapshot(storage)
    record = find_layer(storage, session, shown)
    if shown is None or record is None:
        return ""
    row = row_of(shown, shown.dataset(storage, decoded=False), record)
    return layer_digest({name: v for name, v in row.items() if name not in _TOLD}, _SESSION, 0)


def _row(storage: Storage, session: str, shown: Snapshot | None = None) -> int | None:
    """Return the row in which a store shows a session."""
    state = shown or read_snapshot(storage)
    record = find_layer(storage, session, state) if state else None
    return None if record is None or is_superseded(state, record.index) else record.index


def _leaving(storage: Storage, shown: Snapshot, session: str, path: str) -> dict[str, Any] | None:
    row, going = _row(storage, session, shown), shown.mark.get(LEAVING, {})
    if row is None or going.get(str(row)) == path:
        return None
    return {LEAVING: {**going, str(row): path}}


def _arrive(here: Storage, there: Storage, session: str, path: str) -> Receipt | None:
    """Supersede the row that a session has left, if it shows where it went."""
    arrived = read_snapshot(there)
    if arrived is None or _row(there, session, arrived) is None:
        return None
    return _commit(here, MOVED, lambda shown: _left(here, shown, session, path, arrived.generation))


def _left(
    storage: Storage, shown: Snapshot, session: str, path: str, generation: int
) -> dict[str, Any] | None:
    row, going, left = _row(storage, session, shown), shown.mark.get(LEAVING, {}), shown.mark.get(LEFT, {})
    if row is None or going.get(str(row)) != path:
        return None
    return {
        "superseded": sorted({*shown.mark.get("superseded", []), row}),
        LEAVING: {at: to for at, to in going.items() if at != str(row)},
        LEFT: {**left, path: max(generation, left.get(path, 0))},
    }


def _commit(
    storage: Storage, kind: str, change: Callable[[Snapshot], dict[str, Any] | None]
) -> Receipt | None:
    """Change what a store's root keeps, under its intent; None if there is nothing to change."""
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    for attempt in itertools.count():
        shown = read_snapshot(storage)
        mark = change(shown) if shown else None
        if shown is None or mark is None:
            return None
        commit = CommitPlan(
            kind=kind,
            store=storage.url,
            dim=shown.mark.get("dim"),
            base=Base(etag=shown.etag, generation=shown.generation),
            documents=shown.documents,
            attributes=shown.attributes,
            mark=mark,
            backup="none",
        )
        try:
            with Transaction(storage, commit) as txn:
                return txn.publish([])
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("looking again: %s", error)
            clock.back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def finish_moves(root: Storage) -> list[Receipt]:
    """Take sessions out of the partitions that they have left, where a writer died before it did; return receipts.

    Parameters
    ----------
    root
        The dataset root.
    """
    done = []
    for name in root.folders(PARTITIONS):
        here = Adopting(root.within(f"{PARTITIONS}/{name}"))
        shown = read_snapshot(here) if name.endswith(STORE_SUFFIX) else None
        going = shown.mark.get(LEAVING, {}) if shown else {}
        if shown is None or not going:
            continue
        labels = dict(_labels(here, shown))
        for row, path in going.items():
            done.append(_arrive(here, Adopting(root.within(path)), labels[int(row)], path))
    return [receipt for receipt in done if receipt is not None]
