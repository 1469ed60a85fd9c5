"""`restore`: show again the state that a backup was made of, under guard and undoable like any other commit."""

from __future__ import annotations

import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from aggrade.backups import stores_with_backups
from aggrade.clock import clock_of
from aggrade.commit import Look, Manifest, Transaction, manifests, read_intent, read_snapshot
from aggrade.commit.agreement import demand_agreement, document_key, parsed
from aggrade.commit.documents import shape_of
from aggrade.commit.intent import least_shown
from aggrade.commit.states import KeptState
from aggrade.errors import BadInput, Conflict, Damaged, Problem, Refused
from aggrade.restore_checking import check_restored, demand_backups
from aggrade.restore_plan import RestorePlan, plan_restore
from aggrade.restore_writing import RestoreWeighing, in_hand, write_as_it_was
from aggrade.settings import settings
from aggrade.storage import open_storage, url_of
from aggrade.storage.rehearsing import Rehearsal
from aggrade.storage.together import read_together, together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from aggrade.commit import Document, Intent, Snapshot
    from aggrade.receipt import Receipt
    from aggrade.restore_array import ArrayPlan
    from aggrade.restore_writing import WriteOne
    from aggrade.storage import Opener, Storage

__all__ = ["restore", "restore_storage"]

_log = logging.getLogger(__name__)


@overload
def restore(
    store: str | PathLike[str],
    backup: str | Manifest,
    *,
    dry_run: Literal[False] = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt: ...
@overload
def restore(
    store: str | PathLike[str],
    backup: str | Manifest,
    *,
    dry_run: bool,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt | RestorePlan: ...
def restore(
    store: str | PathLike[str],
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
        If a removal has purged it, or another tool has added rows without consolidating.
    Damaged
        If the backup does not hold what it should. The present state stays.
    Conflict
        If other writers kept the store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    Unavailable
        If the store did not answer. Run it again: what was half done is recovered.
    """
    store = url_of(store)
    wanted = backup.id if isinstance(backup, Manifest) else str(backup)
    if dry_run:
        return _rehearsed(store, wanted, storage_options)
    return restore_storage(_holder(store, wanted, storage_options), wanted)


def _rehearsed(store: str, backup: str, storage_options: Mapping[str, Any] | None) -> RestorePlan:
    """Return the plan with the price of its rehearsal, in which nothing is written."""
    weighing = RestoreWeighing()
    with Rehearsal() as rehearsal:
        storage = _holder(store, backup, storage_options, rehearsal.open)
        attempt, _ = _restored(storage, backup, weighing)
        memory = weighing.memory(attempt.state, attempt.arrays)
        return attempt.plan.model_copy(update={"price": rehearsal.price(memory)})


def _holder(
    store: str, backup: str, storage_options: Mapping[str, Any] | None, opener: Opener = open_storage
) -> Storage:
    """Return the one store, of those that are named, which has the backup."""
    stores = stores_with_backups(store, storage_options, opener)
    if len(stores) == 1:
        return stores[0]
    ids = {storage.url: [manifest.id for manifest in manifests(storage)] for storage in stores}
    found = next((storage for storage in stores if backup in ids[storage.url]), None)
    if found is None:
        told = ", ".join(name for names in ids.values() for name in names) or "none"
        fix = "name one of them: aggrade backups"
        raise BadInput(Problem(store, f"no backup {backup!r}", f"one of {told}", fix, "no-backup"))
    return found


def restore_storage(storage: Storage, backup: str) -> Receipt:
    """Do what `restore` does, with one Zarr store.

    Parameters
    ----------
    storage
        The store.
    backup
        The backup's id.
    """
    return _restored(storage, backup, write_as_it_was)[1]


class _Attempt(NamedTuple):
    """What is planned, and the state to restore."""

    plan: RestorePlan
    arrays: list[ArrayPlan]
    state: KeptState


def _restored(storage: Storage, backup: str, write: WriteOne) -> tuple[_Attempt, Receipt]:
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    for number in itertools.count():
        try:
            attempt = _plan(storage, backup)
            return attempt, _carry_out(storage, attempt, write)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("planning again: %s", error)
            clock.back_off(number)
    raise AssertionError("every attempt returns or raises")


def _plan(storage: Storage, backup: str) -> _Attempt:
    now, intent = together(lambda: read_snapshot(storage), lambda: read_intent(storage))
    _demand_no_rows_of_others(storage, now, intent)
    state = KeptState(storage, backup)
    demand_backups(state, now)
    there = {info.key: info for info in storage.list() if not info.key.startswith(".")}
    try:
        plan, arrays = plan_restore(state, now, there, intent[0].generation if intent else 0)
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
    return _Attempt(plan, arrays, state)


def _demand_no_rows_of_others(
    storage: Storage, now: Snapshot | None, intent: tuple[Intent, str] | None
) -> None:
    """Refuse to give up rows that another tool has added without consolidating, where the root is surely the last one."""
    least = least_shown(intent)
    if now is None or not least or now.generation < least:
        return
    keys = {document_key(name): document for name, document in now.documents.items()}
    read = read_together(storage, keys)
    longer = {key: stored for key, stored in read.items() if _is_longer(parsed(stored), keys[key])}
    demand_agreement(storage, Look(now, intent, objects=longer), now.documents)


def _is_longer(own: Document | None, shown: Document) -> bool:
    return own is not None and any(
        size > before for size, before in zip(shape_of(own), shape_of(shown), strict=False)
    )


def _fixed(url: str, moving: list[str]) -> Problem:
    found = f"a store of Zarr format 2, in which {', '.join(moving)} would have to be overwritten"
    fix = "restore an older backup, or rechunk the store into one of format 3"
    return Problem(url, found, "arrays that can be given another key encoding", fix, "zarr-format")


def _carry_out(storage: Storage, attempt: _Attempt, write: WriteOne) -> Receipt:
    plan, arrays, state = attempt
    with Transaction(storage, plan.commit) as txn:
        writer = txn.writer()
        jobs = [(array, index) for array in arrays for index in array.wanted]
        with ThreadPoolExecutor(in_hand(arrays)) as pool:
            done = list(pool.map(lambda job: write(writer, state, *job), jobs))
        check_restored(
            state,
            {(array.name, index): one.sha256 for (array, index), one in zip(jobs, done, strict=True) if one},
        )
        details = {"backup": plan.backup, "generation": plan.generation, "arrays": plan.arrays}
        return txn.publish([item for item in done if item is not None], details=details)
