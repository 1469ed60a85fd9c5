"""`remove`: take a session or an epoch out of a dataset, so that nothing of it is left."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any, Literal, overload

from aggrade.backups import stores_with_backups
from aggrade.clock import clock_of
from aggrade.commit import (
    Base,
    Transaction,
    backups_beside,
    find_layer,
    read_intent,
    read_snapshot,
)
from aggrade.commit.catalogue import Place
from aggrade.commit.cataloguing import discard_files
from aggrade.commit.completing import complete
from aggrade.commit.documents import labels_of
from aggrade.commit.intent import Journal
from aggrade.commit.naming import masked, names
from aggrade.commit.plan import new_write_id
from aggrade.commit.recovery import acquire, roll_back
from aggrade.commit.snapshot import moved_on
from aggrade.commit.unpublished import unpublished
from aggrade.errors import AggradeError, BadInput, Conflict, Problem
from aggrade.layout import (
    CATALOGUE,
    PARTITIONS,
    SESSIONS,
    STORE_SUFFIX,
    session_store,
    stores_in,
)
from aggrade.old_versions import drop_deleted, drop_old, drop_told
from aggrade.quarantine import QUARANTINE, record_key
from aggrade.receipt import Receipt
from aggrade.removals_under_way import Finished, recover_for
from aggrade.remove_plan import RemovePlan, demand_dimension, look_into, removal_commit
from aggrade.remove_summary import summary_of
from aggrade.session_catalogue import lost_lines
from aggrade.settings import settings
from aggrade.staged_sessions import STAGING, clear_staging, drop_store
from aggrade.storage import open_storage, url_of
from aggrade.storage.adopting import Adopting
from aggrade.storage.rehearsing import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from aggrade.commit import Snapshot
    from aggrade.commit.plan import Erasure
    from aggrade.remove_plan import StoreRemoval
    from aggrade.storage import ObjectInfo, Opener, Storage

__all__ = ["remove"]

_log = logging.getLogger(__name__)
_NOTHING = Base(etag="", generation=0)


@overload
def remove(
    store: str | PathLike[str],
    label: str,
    *,
    dim: str = ...,
    purge_backups: bool = ...,
    dry_run: Literal[False] = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt: ...
@overload
def remove(
    store: str | PathLike[str],
    label: str,
    *,
    dim: str = ...,
    purge_backups: bool = ...,
    dry_run: bool,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt | RemovePlan: ...
def remove(
    store: str | PathLike[str],
    label: str,
    *,
    dim: str = "session",
    purge_backups: bool = False,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | RemovePlan:
    """Remove a session (or an epoch): a withdrawn consent, say.

    By one switch `open_windows` and `LightCurves` no longer show it. Then every object that holds something of it is
    overwritten: in the store that it was appended to, in rechunked copies, in staging, in records and receipts. Values
    of others do not change at any time. A bare ``xr.open_zarr`` shows a row of fill, with an empty label, where it was.

    Parameters
    ----------
    store
        The dataset root, or one Zarr store in it.
    label
        The session's id or the epoch's key.
    dim
        The dimension along which it lies.
    purge_backups
        Whether backups that hold it are emptied, too, and those deleted that were never finished. They can't be
        restored any more, and the removal can't be undone. Without it, backups keep it, and the receipt names the
        command that brings it back.
    dry_run
        Return the plan; nothing is written.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or RemovePlan
        The plan when `dry_run`. The receipt does not name what was removed; its details say which attributes were
        changed (``"attributes"``), what still names it (``"remains"``), of which objects that could not be decoded it
        made fill (``"torn"``), and which removals that had died were completed (``"completed"``).

    Raises
    ------
    BadInput
        If nothing of it is there, nor a removal of it that died and can be completed.
    Damaged
        If a store's labels can't be decoded. Nothing of that store was changed.
    Conflict
        If other writers kept a store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    Unavailable
        If a store did not answer. Run it again: what was half done is finished.
    """
    store = url_of(store)
    _check_label(label)
    if dry_run:
        return _rehearsed(store, label, dim, purge_backups, storage_options)
    work = _Removal(store, label, dim, purge_backups, storage_options)
    return work.carry_out(work.found())


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label or any("\ud800" <= char <= "\udfff" for char in label):
        fix = "give the session's id, or the epoch's key, as text"
        raise BadInput(Problem("label", repr(label), "text that is not empty", fix, "label-type"))


def _rehearsed(
    store: str, label: str, dim: str, purge: bool, storage_options: Mapping[str, Any] | None
) -> RemovePlan:
    """Return the plan with the price of its rehearsal, in which nothing is written."""
    with Rehearsal() as rehearsal:
        work = _Removal(store, label, dim, purge, storage_options, rehearsal.open)
        plan = work.found()
        work.carry_out(plan)
        memory = max((one.memory for one in plan.stores), default=0)
        return plan.model_copy(update={"price": rehearsal.price(memory)})


class _Removal:
    """One removal from the stores of a dataset."""

    def __init__(
        self,
        store: str,
        label: str,
        dim: str,
        purge: bool,
        options: Mapping[str, Any] | None,
        opener: Opener = open_storage,
    ) -> None:
        self.label, self.dim, self.purge = label, dim, purge
        named = opener(store.rstrip("/"), options)
        self.root = _root_of(named, store)
        self.left: set[str] = set()
        self.finished: list[Finished] = []
        self.named = named.url if named.url != self.root.url else None
        self.stores = {one.url: one for one in stores_with_backups(self.root.url, options, opener)}
        if self.named:
            self.stores.setdefault(self.named, Adopting(named))
        own = self.root.within(session_store(label))
        if dim == "session" and (unpublished(own) or unpublished(backups_beside(own))):
            self.stores.setdefault(own.url, Adopting(own))

    def found(self) -> RemovePlan:
        """Plan, once what dead writers left has been finished.

        Raises
        ------
        BadInput
            If nothing of it is there.
        """
        self.recover()
        plan = self.plan()
        if not plan.found:
            searched = "the label" if self.stores else "the path, where no store lies, and the label"
            fix = f"check {searched}; with purge_backups, backups are searched, too"
            if any(one.rewritten for one in plan.stores):
                fix += "; aggrade verify --repair deletes what dead writers may have left, whosever it was"
            raise BadInput(
                Problem(
                    self.root.url,
                    f"nothing of {self.label!r}",
                    f"a label of {self.dim}",
                    fix,
                    "no-such-layer",
                )
            )
        return plan

    def recover(self) -> None:
        """Finish what dead writers left, so that it is known where something of the layer may lie."""
        clear_staging(self.root)
        for storage in (*self._chosen(), *self._staging()):
            recovered = recover_for(storage, self.label, self.dim)
            self.left |= {storage.url} if recovered.brought else set()
            self.finished += [recovered.finished] if recovered.finished else []

    def _chosen(self) -> Iterator[Storage]:
        """Yield the stores that are meant: all, or the one that is named with the copies of it."""
        for url, storage in self.stores.items():
            if self.named is None or url == self.named or self._source_of(storage) == self.named:
                yield storage

    def _source_of(self, storage: Storage) -> str | None:
        try:
            snapshot = read_snapshot(storage)
        except AggradeError:
            return None
        source = snapshot.mark.get("source") if snapshot else None
        if not source:
            return None
        above, _ = storage.above()
        told = str(source["store"])
        return above.within(told.removeprefix("../")).url if told.startswith("../") else told

    def _staging(self) -> Iterator[Storage]:
        for name in self.root.folders(STAGING) if self.dim == "session" else ():
            if name.endswith(STORE_SUFFIX):
                yield self.root.within(f"{STAGING}/{name}")

    def plan(self) -> RemovePlan:
        """Look everywhere."""
        shown = [(storage, read_snapshot(storage)) for storage in self._chosen()]
        demand_dimension(self.root.url, self.dim, (snapshot for _, snapshot in shown if snapshot))
        looked = [self._look_into(storage, snapshot) for storage, snapshot in shown]
        found = [
            one.model_copy(update={"found": one.found or one.store in self.left}) for one in looked if one
        ]
        staging = tuple(storage.url for storage in self._staging() if self._is_staged(storage))
        return RemovePlan(
            root=self.root.url,
            label=self.label,
            dim=self.dim,
            stores=tuple(found),
            staging=staging,
            lines=tuple(info.key for info in self._lost_lines()),
            set_aside=self.dim == "session" and self.root.stat(record_key(self.label)) is not None,
            finishes=tuple(one.storage.url for one in self.finished),
        )

    def _look_into(self, storage: Storage, snapshot: Snapshot | None) -> StoreRemoval | None:
        whole = self._is_own(storage)
        return look_into(storage, snapshot, self.label, self.dim, purge=self.purge, whole=whole)

    def _lost_lines(self) -> list[ObjectInfo]:
        """Return files of the catalogue that tell of it in stores that are gone."""
        paths = (url.removeprefix(f"{self.root.url}/") for url in self.stores)
        return lost_lines(self.root, paths, self.label) if self.dim == "session" else []

    def _is_own(self, storage: Storage) -> bool:
        own = self.dim == "session" and f"{self.root.url}/{session_store(self.label)}"
        return storage.url == own

    def _is_staged(self, storage: Storage) -> bool:
        """Tell whether a staging store holds the layer, or might: one that can't be read is taken for it."""
        intent = read_intent(storage)
        journal = intent[0].journal if intent else None
        if journal and any(layer.label == self.label for layer in journal.layers):
            return True
        if find_layer(storage, self.label):
            return True
        snapshot = read_snapshot(storage)
        if snapshot is None or self.dim not in snapshot.documents:
            return not snapshot or not any(storage.list(".aggrade/layers/"))
        return self.label in labels_of(snapshot.dataset(storage)[self.dim].variable)

    def carry_out(self, plan: RemovePlan) -> Receipt:
        """Remove it everywhere, store by store."""
        receipts = [self._from_store(self.stores[one.store]) for one in plan.stores]
        for url in plan.staging:
            drop_store(self.root, url.removeprefix(f"{self.root.url}/"))
        clear_staging(self.root)
        for info in self._lost_lines():
            self.root.discard(info.key, info.etag)
        if plan.set_aside:
            self.root.delete([record_key(self.label)])
        done = [receipt for receipt in receipts if receipt is not None]
        return summary_of(plan, done, self.finished, self._drop_versions(plan))

    def _drop_versions(self, plan: RemovePlan) -> list[str]:
        """Delete what a bucket keeps of the objects that were overwritten or deleted; return what remains."""
        remains = drop_deleted(self.root.within(STAGING))
        if plan.set_aside:
            remains += drop_deleted(self.root.within(QUARANTINE))
        remains += drop_deleted(self.root.within(CATALOGUE)) if plan.lines else []
        for storage, erases in self._erased(plan):
            snapshot = None if erases.leaves_no_store else read_snapshot(storage)
            remains += drop_old(storage, erases, snapshot.documents if snapshot else {})
            remains += _told_elsewhere(storage, snapshot, self.label, self.dim) if snapshot else []
            remains += drop_told(self._place(storage))
            if self.purge:
                remains += drop_deleted(backups_beside(storage))
        return remains

    def _erased(self, plan: RemovePlan) -> Iterator[tuple[Storage, Erasure]]:
        """Yield each store with what was wiped out there: now, or by whom this run has finished."""
        yield from ((one.storage, one.erases) for one in self.finished)
        yield from ((self.stores[one.store], one.erases) for one in plan.stores)

    def _place(self, storage: Storage) -> Place:
        return Place(self.root, storage.url.removeprefix(f"{self.root.url}/"))

    def _from_store(self, storage: Storage) -> Receipt | None:
        clock = clock_of(storage)
        deadline = clock.now() + settings().wait_seconds
        for attempt in itertools.count():
            snapshot = read_snapshot(storage)
            found = self._look_into(storage, snapshot)
            if found is None:
                return None
            try:
                if snapshot is None:
                    return _wipe_unshown(storage, self._place(storage), found)
                return _publish(storage, removal_commit(storage, snapshot, found), found)
            except Conflict as error:
                if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                    raise
                _log.info("planning again: %s", error)
                clock.back_off(attempt)
        raise AssertionError("every attempt returns or raises")


def _told_elsewhere(storage: Storage, snapshot: Snapshot, label: str, dim: str) -> list[str]:
    """Return a sentence for each variable that doesn't grow and names what has been removed: it belongs to all."""
    told = []
    for name, variable in snapshot.dataset(storage).variables.items():
        if dim not in variable.dims and variable.dtype.kind in "OT":
            where = f"{storage.url}: variable {str(name)!r}, which lies along no {dim},"
            try:
                told += [f"{where} names it"] if names(variable.values.tolist(), label) else []
            except (RuntimeError, ValueError) as error:
                told.append(f"{where} can't be decoded ({error}), so that it may name it")
    return told


def _publish(storage: Storage, commit: Any, found: StoreRemoval) -> Receipt:
    with Transaction(storage, commit) as txn:
        return txn.publish([], details=_details(found))


def _details(found: StoreRemoval) -> dict[str, Any]:
    changed = [masked(name, found.erases.label) for name in found.attributes]
    told = {"rows": len(found.erases.rows), "rewritten": found.rewritten, "purged": list(found.purged)}
    told |= {"attributes": changed} if changed else {}
    return told | ({"torn": list(found.torn)} if found.torn else {})


def _wipe_unshown(storage: Storage, place: Place, found: StoreRemoval) -> Receipt:
    """Delete a store without a root, or the backups of one that is gone, as the holder of its intent; whoever recovers that goes on with it.

    Raises
    ------
    Conflict
        If it has got a root meanwhile.
    """
    journal = Journal(kind="remove", dim=found.erases.dim, base=_NOTHING, erases=found.erases)
    write_id = new_write_id()
    lease = acquire(storage, journal, write_id)
    try:
        if read_snapshot(storage) is not None:
            roll_back(storage, lease, fence=False)
            raise Conflict(moved_on(storage.url))
        discard_files(place, anyhow=True)
        complete(storage, lease, {}, 0)
    finally:
        lease.stop()
    return Receipt(kind="remove", store=storage.url, write_id=write_id, generation=0, details=_details(found))


def _root_of(named: Storage, store: str) -> Storage:
    """Return the dataset root that a Zarr store lies in; what is no store is one."""
    if not store.rstrip("/").endswith(STORE_SUFFIX) and stores_in(named) != [""]:
        return named
    above, _ = named.above()
    if above.url.rpartition("/")[2] in {PARTITIONS, SESSIONS}:
        return above.above()[0]
    return above
