"""One guarded commit, from intent to release (DESIGN §4).

Order: intent → backup → data → verify → root by compare-and-swap → receipt, layer records and array documents →
intent released. Whoever plans brings a `CommitPlan`; whoever writes gets a `Writer`; `Transaction.publish` is
the one place where a new state becomes visible.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aggrade.commit.agreement import disagreements, document_key, marks_of
from aggrade.commit.backup import back_up, backup_id
from aggrade.commit.catalogue import place_of, requests_of
from aggrade.commit.cataloguing import add_lines, follow
from aggrade.commit.completing import behind_the_switch, complete, unless_lost
from aggrade.commit.dirt import found_in, left_overs, twins, uncovered, within
from aggrade.commit.intent import Journal, Lease
from aggrade.commit.layers import find_receipt, keep_receipt
from aggrade.commit.looking import demand_known
from aggrade.commit.marking import mark_after
from aggrade.commit.plan import CommitPlan, new_write_id
from aggrade.commit.publishing import (
    document_bytes,
    keep_layers,
    layer_records,
    switch_root,
    write_documents,
)
from aggrade.commit.recovery import acquire, roll_back
from aggrade.commit.reserving import mark_left
from aggrade.commit.snapshot import ROOT, Snapshot, demand_root, moved_on, read_snapshot, root_bytes
from aggrade.commit.writer import Writer, WrittenObject
from aggrade.errors import AggradeError, Conflict, Damaged, Problem, Unavailable, raise_all
from aggrade.receipt import Receipt, undo_command
from aggrade.storage import StoredObject
from aggrade.storage.counting import counted, requests_in
from aggrade.storage.together import read_together, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aggrade.commit.catalogue import NewLines
    from aggrade.commit.looking import Look
    from aggrade.storage import ObjectInfo, Storage

__all__ = ["Transaction"]

_log = logging.getLogger(__name__)


class Transaction:
    """Holds the intent of one store while one plan is carried out.

    Parameters
    ----------
    storage
        The Zarr store's storage.
    plan
        What will be done. It is void if the store has moved on since it was made.
    seen
        What the plan was made from, so that it need not be read again where it is known to hold still.

    Attributes
    ----------
    write_id : str
        The unique name of this commit.
    is_undisturbed : bool
        Whether all that was read and brought before it was opened is what it was.

    Raises
    ------
    Conflict
        On entry, if another writer is alive for too long or the plan's base is no longer there. On
        `publish`, if somebody took over. Nothing of this commit shows then.

    Examples
    --------
    ::

        with Transaction(storage, plan) as txn:
            written = txn.writer().write("x", (slice(0, 4),), values)
            receipt = txn.publish(written)
    """

    def __init__(self, storage: Storage, plan: CommitPlan, seen: Look | None = None) -> None:
        self.storage, self._counts = counted(storage)
        self.plan = plan
        self.write_id = new_write_id()
        self._lease: Lease | None = None
        self._seen = seen
        self._base: Snapshot | None = None
        self._replaceable: dict[str, str] = {}
        self._twins: frozenset[str] = frozenset()
        self._touched: dict[str, bytes | None] = {}
        self._kept: list[ObjectInfo] = []
        self._done: list[WrittenObject] = []
        self.is_undisturbed, self._switching, self._copied = False, False, 0
        self._backup: str | None = None

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.plan.backup != "none" and self.plan.base is not None:
            self._backup = backup_id(self.plan.base.generation, self.write_id)
        self._lease = acquire(self.storage, self._journal(), self.write_id, self._seen)
        try:
            self._prepare()
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandon(error)

    @property
    def lease(self) -> Lease:
        """The intent that this transaction holds."""
        assert self._lease is not None, "the transaction is not open"
        return self._lease

    @property
    def published(self) -> Mapping[str, Any]:
        """Array documents of the state before this commit; empty on create."""
        return self._base.documents if self._base else {}

    def writer(self) -> Writer:
        """Return a picklable writer for the plan's regions."""
        marks = (self._replaceable, self.generation, self._twins, self._touched)
        left = partial(mark_left, self.storage, self.lease)
        return Writer(self.storage, self.plan.documents, self.published, *marks, left)

    def _journal(self) -> Journal:
        plan = self.plan
        return Journal(
            kind=plan.kind,
            dim=plan.dim,
            base=plan.base,
            targets=plan.targets(),
            layers=plan.layers,
            backup=self._backup,
            abandons=plan.abandons,
            restores=plan.restores,
            erases=plan.erases,
        )

    def _prepare(self) -> None:
        """Make sure of the root, now that nobody else may change it, and keep what will be overwritten."""
        self.is_undisturbed = (before := self._read_before()) is not None
        read = self._read_now() if before is None else before
        touched = {key: stored for key, stored in read.items() if stored is not None}
        self._touched = {key: stored.data if stored else None for key, stored in read.items()}
        self._replaceable |= {key: stored.etag for key, stored in touched.items()}
        if self._backup and self._base:
            self._back_up(self._backup, self._base, touched)

    def _back_up(self, name: str, base: Snapshot, touched: Mapping[str, StoredObject]) -> None:
        plan, also = self.plan, read_together(self.storage, self.plan.keeps_also)
        held = {**touched, **{key: stored for key, stored in also.items() if stored is not None}}
        back_up(
            self.storage,
            name,
            (base.generation, base.write_id),
            plan.backup,
            {**held, ROOT: StoredObject(base.data, base.etag)},
            commit=plan.kind,
            regions=plan.keeps,
            copied=self._kept,
            confirm=self.lease.confirm,
            check=self.lease.check,
        )

    def _demand_base(self, base: Snapshot | None) -> None:
        if (base.etag if base else None) != (self.plan.base.etag if self.plan.base else None):
            raise Conflict(moved_on(self.storage.url))
        if not self.plan.restores:
            demand_root(self.storage.url, base, self.lease.intent.least)
        self._base = base

    def _read_before(self) -> dict[str, StoredObject | None] | None:
        """Return what will be overwritten as it was read before the intent was taken, if that still holds."""
        seen = self._seen
        if seen is None:
            return None
        keys = self.plan.shared(seen.snapshot.documents if seen.snapshot else {})
        if not seen.holds(self.lease, keys):
            return None
        self._demand_base(seen.snapshot)
        return {key: seen.objects[key] for key in keys}

    def _read_now(self) -> dict[str, StoredObject | None]:
        """Read root, what will be overwritten and left-overs, and make sure that the intent is still ours."""
        self._demand_base(read_snapshot(self.storage))
        demand_known(self.storage, self.plan.layers if self.plan.kind == "append" else (), self._base)
        shared = [] if self.plan.sparse else self.plan.shared(self.published)
        own = map(document_key, self.plan.grown(self.published))
        read = read_together(self.storage, [*shared, *own])
        dirty = self.lease.intent.dirty
        self._replaceable = left_overs(self.storage, within(dirty, self.plan.documents))
        touched = {key for key in shared if read[key] is not None}
        self._twins = twins(self._replaceable, dirty, self.plan.content) - touched
        if self.plan.sparse:
            there = list(self.storage.list())
            kept = found_in(there, self.plan.keeps)
            self._kept = [info for info in there if info.key in kept]
            self._replaceable |= found_in(there, self.plan.targets())
        self.lease.confirm()
        raise_all(disagreements(self.storage.url, self.published, read))
        return {key: read[key] for key in shared}

    def publish(
        self,
        written: Iterable[WrittenObject],
        *,
        copied: Iterable[WrittenObject] = (),
        details: Mapping[str, Any] | None = None,
        lines: NewLines | None = None,
    ) -> Receipt:
        """Make the new state visible, once everything that was planned has been confirmed.

        Parameters
        ----------
        written, copied
            Every object that the plan's regions name, as confirmed; copies within the store are no bytes written.
        details
            Counts for the receipt.
        lines
            What the commit changes in the dataset's catalogue. Left out: it is read from the store.

        Raises
        ------
        Damaged
            If an object of the plan was not written. The old state stays.
        Conflict
            If somebody took over. The old state, or theirs, stays.
        Unavailable
            If it can't be known whether the switch took effect, or what follows it can't be written; recovery decides.
        """
        copies = list(copied)
        self._copied, done = sum(item.size for item in copies), [*written, *copies]
        self._done = done
        self._demand_complete(done)
        writer = self.writer()
        keys, dirty = {item.key for item in done}, self.lease.intent.dirty
        for name, index in list(uncovered(dirty, self.published, self.plan.documents, keys)):
            done.extend(writer.rebuild(name, index))
        self.lease.check()
        try:
            self._switch()
        except Conflict:
            return self._found_committed()
        with behind_the_switch(self.storage.url):
            return self._conclude(done, details or {}, lines)

    def _demand_complete(self, done: list[WrittenObject]) -> None:
        if self.plan.sparse:
            return
        missing = {key for _, key, _ in self.plan.objects()} - {item.key for item in done}
        if missing:
            found = f"{len(missing)} objects not written, such as {min(missing)}"
            raise Damaged(
                Problem(self.storage.url, found, "every planned object", "run it again", "incomplete")
            )

    def _changed(self) -> dict[str, Any]:
        return {name: doc for name, doc in self.plan.documents.items() if self.published.get(name) != doc}

    @property
    def generation(self) -> int:
        """The generation that this commit makes."""
        return max(self._base.generation if self._base else 0, self.plan.after) + 1

    def _mark(self) -> dict[str, Any]:
        stamp = (self.generation, self.write_id)
        return mark_after(self.plan, self._base, stamp, self._backup, self._done)

    def _root(self) -> bytes:
        shown = self._shown()
        return root_bytes(shown.attributes, shown.documents)

    def _shown(self) -> Snapshot:
        """Return what the root shows after this commit."""
        return Snapshot("", {**self.plan.attributes, "aggrade": self._mark()}, self.plan.documents)

    def _switch(self) -> None:
        self._switching = True
        switch_root(self.storage, self._root(), self.write_id, self._base.etag if self._base else None)

    def _found_committed(self) -> Receipt:
        """After a conflict at the switch: somebody may have completed this very commit (a lost reply)."""
        receipt = find_receipt(self.storage, self.write_id)
        if receipt is None:
            raise Conflict(moved_on(self.storage.url))
        self._close()
        return receipt

    def _conclude(
        self, done: list[WrittenObject], details: Mapping[str, Any], lines: NewLines | None
    ) -> Receipt:
        """Say what was done, all at once: whoever finds the intent held completes what is missing."""
        plan, stamp = self.plan, (self.write_id, self.generation)
        records = layer_records(plan.layers, plan.targets(), plan.documents, plan.dim, done, stamp)
        written = self._receipt(done, details, lines)
        receipt, _, etags, _ = together(
            lambda: keep_receipt(self.storage, written),
            lambda: keep_layers(self.storage, records, self._seen.kept if self._seen else ()),
            self._follow,
            lambda: self._tell(lines),
        )
        dirty = complete(self.storage, self.lease, plan.documents, self.generation)
        if not (plan.erases and plan.erases.whole):
            self.lease.release(dirty=dirty, etags=etags, generation=self.generation)
        self._close()
        _log.info("%s", receipt)
        assert isinstance(receipt, Receipt)
        return receipt

    def _follow(self) -> dict[str, str]:
        """Have the array documents follow the root; return their marks."""
        etags = self.lease.intent.etags | marks_of(self._changed(), self._seen.objects if self._seen else {})
        with unless_lost(self.write_id):
            changed = (self._changed(), dict(etags), self.lease.confirm, self.generation)
            etags |= write_documents(self.storage, *changed)
        return etags

    def _tell(self, lines: NewLines | None) -> None:
        """Have the catalogue follow the root."""
        shown = self._shown()
        with unless_lost(self.write_id):
            if lines is None:
                follow(self.storage, self.lease, shown)
            else:
                add_lines(self.storage, self.lease, shown, lines, self._told())

    def _told(self) -> Mapping[str, StoredObject | None]:
        return self._seen.lines if self._seen else {}

    def _receipt(
        self, done: list[WrittenObject], details: Mapping[str, Any], lines: NewLines | None
    ) -> Receipt:
        plan = self.plan
        metadata = [self._root(), *(document_bytes(document) for document in self._changed().values())]
        return Receipt(
            kind=plan.kind,
            store=self.storage.url,
            write_id=self.write_id,
            generation=self.generation,
            dim=plan.dim,
            layers={layer.label: layer.index for layer in plan.layers},
            digests={layer.label: layer.digest for layer in plan.layers},
            objects=len(done) + len(metadata),
            bytes_written=sum(item.size for item in done) - self._copied + sum(map(len, metadata)),
            requests=self._requests(lines),
            seconds=round(time.monotonic() - self._started, 3),
            backup=self._backup,
            undo=undo_command(self.storage.url, self._backup),
            root_digest=self._shown().digest,
            details=dict(details),
        )

    def _requests(self, lines: NewLines | None) -> dict[str, int]:
        """Return the requests by kind, with those still to come: itself, records, lines, documents, release."""
        seen, layers = self._seen, self.plan.layers
        total = Counter(seen.requests if seen else {}) + Counter(requests_in(self._counts))
        again = sum(layer.label in seen.kept for layer in layers) if seen else 0
        total.update({"PUT": 2 + len(layers) + len(self._changed()), "GET": again})
        place = place_of(self.storage, self._mark())
        total.update(requests_of(place, lines.files(), self._told()) if place and lines else {})
        return {kind: count for kind, count in total.items() if count}

    def _close(self) -> None:
        if self._lease is not None:
            self._lease.stop()
            self._lease = None

    def _abandon(self, error: BaseException | None) -> None:
        """Leave the old state. Where the store can't be reached, leave the intent: recovery will."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            lease.check()
            roll_back(self.storage, lease, fence=self._switching)
        except (Conflict, Unavailable) as failure:
            _log.warning("left the intent of %s for recovery: %s", self.storage.url, failure)
            if error is None:
                raise
        except AggradeError:
            if error is None:
                raise
        finally:
            lease.stop()
