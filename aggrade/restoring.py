"""`restore`: show again the state that a backup was made of, under guard and undoable like any other commit."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from aggrade.backups import stores_with_backups
from aggrade.clock import clock_of
from aggrade.commit import Manifest, Transaction, manifests, read_intent, read_snapshot
from aggrade.commit.catalogue import place_of
from aggrade.commit.cataloguing import CATALOGUED, following
from aggrade.commit.chunks import Chunks
from aggrade.commit.documents import key_of
from aggrade.commit.salting import salted, unsalted
from aggrade.commit.states import KeptObjects, KeptState
from aggrade.commit.writer import write_object
from aggrade.errors import BadInput, Conflict, Damaged, Problem, Refused
from aggrade.restore_plan import RestorePlan, catalogue_mark, plan_restore
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Snapshot, WrittenObject
    from aggrade.commit.writer import Writer
    from aggrade.receipt import Receipt
    from aggrade.restore_array import ArrayPlan
    from aggrade.storage import Storage

__all__ = ["restore", "restore_storage"]

_log = logging.getLogger(__name__)


@overload
def restore(
    store: str,
    backup: str | Manifest,
    *,
    dry_run: Literal[False] = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt: ...
@overload
def restore(
    store: str, backup: str | Manifest, *, dry_run: bool, storage_options: Mapping[str, Any] | None = ...
) -> Receipt | RestorePlan: ...
def restore(
    store: str,
    backup: str | Manifest,
    *,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | RestorePlan:
    """Bring a store back to the state that one of its backups was made of.

    Every reader, a bare ``xr.open_zarr`` included, sees the present state until the one switch at the end, and the
    restored one after it. What is given up is backed up first: the receipt names the command that undoes the restore.
    Backups older than the ones that were pruned can be restored from; they need those made after them.

    Parameters
    ----------
    store
        A dataset root, or the Zarr store that the backup is of.
    backup
        The backup's id, as `list_backups` shows it.
    dry_run
        Return the plan; nothing is written.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or RestorePlan
        The plan when `dry_run`.

    Raises
    ------
    BadInput
        If there is no such backup; those that there are, are named.
    Refused
        If a removal has purged it.
    Damaged
        If the backup does not hold what it should. The present state stays.
    Conflict
        If other writers kept the store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    Unavailable
        If the store did not answer. Run it again: what was half done is recovered.
    """
    wanted = backup if isinstance(backup, str) else backup.id
    return restore_storage(_holder(store, wanted, storage_options), wanted, dry_run=dry_run)


def _holder(store: str, backup: str, storage_options: Mapping[str, Any] | None) -> Storage:
    """Return the one store, of those that are named, which has the backup."""
    stores = stores_with_backups(store, storage_options)
    if len(stores) == 1:
        return stores[0]
    ids = {storage.url: [manifest.id for manifest in manifests(storage)] for storage in stores}
    found = next((storage for storage in stores if backup in ids[storage.url]), None)
    if found is None:
        told = ", ".join(name for names in ids.values() for name in names) or "none"
        fix = "name one of them: aggrade backups"
        raise BadInput(Problem(store, f"no backup {backup!r}", f"one of {told}", fix, "no-backup"))
    return found


def restore_storage(storage: Storage, backup: str, *, dry_run: bool = False) -> Receipt | RestorePlan:
    """Do what `restore` does, with one Zarr store.

    Parameters
    ----------
    storage
        The store.
    backup
        The backup's id.
    dry_run
        As for `restore`.
    """
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    for attempt in itertools.count():
        plan, arrays, state = _plan(storage, backup)
        if dry_run:
            return plan
        try:
            return _carry_out(storage, plan, arrays, state)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("planning again: %s", error)
            clock.back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def _plan(storage: Storage, backup: str) -> tuple[RestorePlan, list[ArrayPlan], KeptState]:
    now = read_snapshot(storage)
    state = KeptState(storage, backup)
    there = {info.key: info for info in storage.list() if not info.key.startswith(".")}
    intent = read_intent(storage)
    try:
        lines = _following(storage, state, now)
        plan, arrays = plan_restore(state, now, there, intent[0].dirty if intent else (), lines)
    except (RuntimeError, ValueError) as error:
        problem = Problem(
            f"backup {backup}",
            f"an object that can't be decoded ({error})",
            "what its manifest says",
            "restore another backup",
            "backup-damaged",
        )
        raise Damaged(problem) from error
    moving = [name for name, how in plan.arrays.items() if how == "moves"]
    if moving and getattr(storage, "has_fixed_keys", False):
        raise Refused(_fixed(storage.url, moving))
    return plan, arrays, state


def _following(storage: Storage, state: KeptState, now: Snapshot | None) -> Counter[str]:
    """Return what it costs to have the catalogue follow, by kind of request."""
    place = place_of(storage, catalogue_mark(state.shown, now))
    if place is None or CATALOGUED not in state.shown.documents:
        return Counter()
    return following(place, cast("Storage", KeptObjects(state)), state.shown)


def _fixed(url: str, moving: list[str]) -> Problem:
    found = f"a store of Zarr format 2, in which {', '.join(moving)} would have to be overwritten"
    fix = "restore an older backup, or rechunk the store into one of format 3"
    return Problem(url, found, "arrays that can be given another key encoding", fix, "zarr-format")


def _carry_out(storage: Storage, plan: RestorePlan, arrays: list[ArrayPlan], state: KeptState) -> Receipt:
    with Transaction(storage, plan.commit) as txn:
        writer = txn.writer()
        jobs = [(array, index) for array in arrays for index in array.wanted]
        with ThreadPoolExecutor(settings().parallel_requests) as pool:
            done = list(pool.map(lambda job: _write(writer, state, *job), jobs))
        details = {"backup": plan.backup, "generation": plan.generation, "arrays": plan.arrays}
        return txn.publish([item for item in done if item is not None], details=details)


def _write(
    writer: Writer, state: KeptState, array: ArrayPlan, index: tuple[int, ...]
) -> WrittenObject | None:
    """Write one object as it was; fill where there was none, unless there is none now."""
    key = key_of(array.name, array.after, index)
    etag = writer.etags.get(key)
    data = state.read(key_of(array.name, array.before, index))
    if data is None:
        if etag is None:
            return None
        chunks = Chunks(array.before)
        data = chunks.bytes_of(chunks.values(None))
    plain = unsalted(array.before, data)
    salty = plain if etag is None else salted(array.before, plain, writer.generation)
    return write_object(writer.storage, key, salty, etag)
