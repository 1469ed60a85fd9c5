"""`append`: add layers to a Zarr store under guard."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, overload

from aggrade.append_arguments import check_arguments, check_growing
from aggrade.append_attempt import Attempt
from aggrade.append_labels import with_dim
from aggrade.append_layout import checked_sizes
from aggrade.append_plan import AppendPlan, OnConflict
from aggrade.append_room import with_room
from aggrade.channels import Channels
from aggrade.clock import clock_of
from aggrade.commit import Transaction, find_receipt, recover_store
from aggrade.commit.intent import Journal
from aggrade.commit.plan import new_write_id
from aggrade.commit.recovery import acquire
from aggrade.commit.snapshot import moved_on
from aggrade.encoding import plain_dataset
from aggrade.errors import Conflict, Damaged, Problem
from aggrade.layout import STORE_SUFFIX, store_for
from aggrade.price import Price
from aggrade.settings import settings
from aggrade.storage import bare, url_of
from aggrade.storage.rehearsing import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    import xarray as xr

    from aggrade.commit import CommitPlan, Look
    from aggrade.commit.plan import BackupKind
    from aggrade.receipt import Receipt
    from aggrade.staged_forms import StagedForms
    from aggrade.storage import Storage
    from aggrade.storage.adopting import Adopting

__all__ = ["append", "append_to"]

_log = logging.getLogger(__name__)

_AHEAD = 2
"""How many attempts bring what lies staged before they take the lease: who comes in between makes it void."""


@overload
def append(
    dataset: xr.Dataset,
    store: str | PathLike[str],
    *,
    dim: str = ...,
    grow: Sequence[str] = ...,
    channels: Channels = ...,
    chunks: Mapping[str, Any] | None = ...,
    shards: Mapping[str, Any] | None = ...,
    on_conflict: OnConflict = ...,
    backup: BackupKind = ...,
    dry_run: Literal[False] = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt: ...
@overload
def append(
    dataset: xr.Dataset,
    store: str | PathLike[str],
    *,
    dim: str = ...,
    grow: Sequence[str] = ...,
    channels: Channels = ...,
    chunks: Mapping[str, Any] | None = ...,
    shards: Mapping[str, Any] | None = ...,
    on_conflict: OnConflict = ...,
    backup: BackupKind = ...,
    dry_run: bool,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt | AppendPlan: ...
def append(
    dataset: xr.Dataset,
    store: str | PathLike[str],
    *,
    dim: str = "session",
    grow: Sequence[str] = (),
    channels: Channels = "refuse",
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | AppendPlan:
    """Add the layers of a dataset to a store, each once, or change nothing.

    A layer is one label along `dim`. The same layer again is a no-op with the same receipt; the same label
    with other content is refused unless `on_conflict` says otherwise. Until the one switch at the end every
    reader sees the old state, and afterwards the new one.

    Parameters
    ----------
    dataset
        What to add. `dim` is added where it is missing; its label is taken from the coordinate, else from the
        attribute ``{dim}_id``, else it is refused. Lazy (Dask) data are streamed. A session that lacks a modality
        of the store (all variables of ``eeg`` or of ``fnirs``) is taken; what it lacks is fill. Quality variables
        that aggrade 0.1 did not know are left out where the store was made without them.
    store
        A dataset root, whose ``windows.zarr`` or ``lightcurves.zarr`` is meant, or one Zarr store: a local path
        or ``s3://…``. It is created where it is missing.
    dim
        The dimension that grows.
    grow
        Further dimensions that may be longer than the store's (remembered by the store).
    channels
        ``"refuse"`` layers whose channels are not the store's, by name and order; or ``"union"``: channels that the
        store doesn't have are added behind its own, and what a layer lacks is fill and takes no room. What is told
        of a channel (unit, type) must be what the store tells of it either way.
    chunks, shards
        ``{dimension: int}`` or ``{variable: tuple}``; what isn't named keeps the store's, or gets a sensible
        default on create.
    on_conflict
        ``"refuse"``, or ``"replace"``: the new content becomes a new row and the old one is marked superseded.
        `open_windows` and `LightCurves` show only the new one; a bare ``xr.open_zarr`` shows both.
    backup
        What is kept of the state before: ``"touched"``, ``"full"`` or ``"none"``.
    dry_run
        Check everything and return the plan; nothing is written. It names the attributes that won't be kept.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or AppendPlan
        The plan when `dry_run`.

    Raises
    ------
    BadInput
        If the dataset has no label for the layer, or an argument, the URL or credentials are wrong.
    Refused
        If a guard says no; every reason is named and nothing was written.
    Conflict
        If other writers kept the store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    Unavailable
        If the store did not answer. Run it again: what was half done is recovered.
    """
    store = url_of(store)
    return append_to(
        store_for(store, dim, storage_options),
        dataset,
        depth=int(dim == "session" and not store.rstrip("/").endswith(STORE_SUFFIX)),
        dim=dim,
        grow=grow,
        channels=channels,
        chunks=chunks,
        shards=shards,
        on_conflict=on_conflict,
        backup=backup,
        dry_run=dry_run,
    )


def append_to(
    storage: Adopting,
    dataset: xr.Dataset,
    *,
    depth: int,
    dim: str = "session",
    grow: Sequence[str] = (),
    channels: Channels = "refuse",
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    dry_run: bool = False,
    staged: StagedForms | None = None,
    lists: bool = False,
) -> Receipt | AppendPlan:
    """Do what `append` does, with one Zarr store of a dataset.

    Parameters
    ----------
    storage
        The store.
    dataset, dim, grow, channels, chunks, shards, on_conflict, backup, dry_run
        As for `append`.
    depth
        How many folders below its dataset root the store lies, whose catalogue is to tell of it; 0 for none. A store
        of which a catalogue tells remembers it.
    staged
        In which form each layer of `dataset` lies staged below that root: what fits is copied, and what one is shorter
        than another is not written.
    lists
        Whether the store keeps a list of what is written, for whoever copies it.
    """
    check_arguments(dataset, on_conflict=on_conflict, backup=backup, channels=channels)
    layers = plain_dataset(with_dim(dataset, dim))
    sizes = checked_sizes("chunks", chunks, layers), checked_sizes("shards", shards, layers)
    growing = (grow,) if isinstance(grow, str) else tuple(grow)
    check_growing(dim, growing)
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    counts: Counter[str] = Counter()

    def again(there: Adopting) -> Receipt | AppendPlan:
        how: dict[str, Any] = {"grow": grow, "channels": channels, "chunks": chunks, "shards": shards}
        how |= {"on_conflict": on_conflict, "backup": backup, "staged": staged, "lists": lists}
        return append_to(there, dataset, depth=depth, dim=dim, dry_run=True, **how)

    for attempt in itertools.count():
        work = Attempt(
            storage, layers, dim, growing, channels, *sizes, depth, counts, staged=staged, lists=lists
        )
        try:
            plan = work.plan(on_conflict, backup)
            if dry_run and plan.commit is not None and work.seen.is_held:
                if not getattr(bare(storage), "is_rehearsed", False):
                    return _behind_others(storage, plan, work.seen, again)
                with Transaction(work.storage, plan.commit, work.seen):
                    return work.weighed(plan)
            plan = with_room(storage, work.weighed(plan) if dry_run else plan, work.seen, work.weighed)
            if dry_run:
                return plan.costing_more(Price(bytes_written=counts["bytes_written"], weighed=True))
            if plan.commit is None:
                return _earlier(storage, plan, work.seen)
            if work.storage.consolidate():
                continue
            return work.carry_out(plan, plan.commit, ahead=attempt < _AHEAD)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("planning again: %s", error)
            clock.back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def _behind_others(
    storage: Adopting,
    plan: AppendPlan,
    seen: Look,
    again: Callable[[Adopting], Receipt | AppendPlan],
) -> AppendPlan:
    """Plan behind whoever holds the store: it is rehearsed to finish, or to roll back, what a dead writer began."""
    with Rehearsal() as rehearsal:
        found = again(storage.on(rehearsal.within(storage.inner)))
    assert isinstance(found, AppendPlan)
    if found.commit and plan.commit and found.commit.base == plan.commit.base:
        found = found.costing_more(_price_of_taking(storage, found.commit, seen))
    return with_room(storage, found, seen, lambda weighed: weighed)


def _price_of_taking(storage: Adopting, commit: CommitPlan, seen: Look) -> Price:
    """Return what taking the intent costs beyond the one request that any commit sends for it."""
    with Rehearsal() as rehearsal:
        there = storage.on(rehearsal.within(storage.inner))
        lease = acquire(there, Journal(kind=commit.kind, base=commit.base), new_write_id(), seen)
        lease.stop()
        price = rehearsal.price()
    size = len(lease.intent.model_dump_json().encode())
    return Price(
        requests=dict(Counter(price.requests) - Counter(PUT=1)),
        round_trips=price.round_trips - 1,
        bytes_read=price.bytes_read,
        bytes_written=price.bytes_written - size,
        weighed=True,
    )


def _earlier(storage: Storage, plan: AppendPlan, seen: Look) -> Receipt:
    """Return the receipt of the commit that brought what is there already.

    Such a commit may have died, or be at its last steps: then it is finished, or waited for. Or somebody was at work
    who has removed what it brought.

    Raises
    ------
    Conflict
        If it has been removed.
    Damaged
        If there is no receipt, and nobody was at work.
    """
    write_id = next(iter(plan.there.values()))
    intent = seen.intent[0] if seen.intent else None
    held = intent if seen.is_held else None
    if held is not None and (held.write_id in plan.there.values() or held.owner.is_known_dead()):
        recover_store(storage)
    receipt = find_receipt(storage, write_id)
    if receipt is None and held is not None:
        raise Conflict(moved_on(storage.url))
    if receipt is None:
        found, fix = f"no receipt of commit {write_id}", "verify the store"
        raise Damaged(Problem(storage.url, found, "the receipt that the layer names", fix, "receipt-missing"))
    _log.info("already there, nothing to do: %s", ", ".join(plan.there))
    return receipt
