"""One guarded commit, from intent to release (DESIGN §4).

Order: intent → backup → data → verify → array documents → root by compare-and-swap → receipt → layer records →
intent released. Whoever plans brings a `CommitPlan`; whoever writes gets a `Writer`; `Transaction.publish` is
the one place where a new state becomes visible.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from aggrade.commit.backup import back_up, backup_id
from aggrade.commit.dirt import left_overs, still_dirty, twins, uncovered
from aggrade.commit.intent import Journal, Lease
from aggrade.commit.layers import find_receipt, keep_receipt
from aggrade.commit.plan import CommitPlan, new_write_id
from aggrade.commit.publishing import (
    document_bytes,
    keep_layers,
    layer_records,
    switch_root,
    write_documents,
)
from aggrade.commit.recovery import acquire, roll_back
from aggrade.commit.snapshot import FORMAT, ROOT, Snapshot, read_snapshot, root_bytes
from aggrade.commit.writer import Writer, WrittenObject
from aggrade.errors import AggradeError, Conflict, Damaged, Problem, Unavailable
from aggrade.receipt import Receipt
from aggrade.settings import settings
from aggrade.storage import StoredObject
from aggrade.storage.counting import Counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aggrade.storage import Storage

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

    Attributes
    ----------
    write_id : str
        The unique name of this commit.

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

    def __init__(self, storage: Storage, plan: CommitPlan) -> None:
        self.storage = Counted(storage)
        self.plan = plan
        self.write_id = new_write_id()
        self._lease: Lease | None = None
        self._base: Snapshot | None = None
        self._replaceable: dict[str, str] = {}
        self._twins: frozenset[str] = frozenset()
        self._touched: dict[str, bytes | None] = {}
        self._switching = False
        self._backup: str | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.plan.backup != "none" and self.plan.base is not None:
            self._backup = backup_id(self.plan.base.generation, self.write_id)
        self._lease = acquire(self.storage, self._journal(), self.write_id)
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
        published, plan = self.published, self.plan
        marks = (self._replaceable, self.generation, self._twins)
        return Writer(self.storage, plan.documents, published, *marks, held=self._touched)

    def _journal(self) -> Journal:
        plan = self.plan
        return Journal(
            kind=plan.kind,
            dim=plan.dim,
            base=plan.base,
            targets=plan.targets(),
            layers=plan.layers,
            backup=self._backup,
        )

    def _prepare(self) -> None:
        """Read the root again, now that nobody else may change it, and keep what will be overwritten."""
        self._base = read_snapshot(self.storage)
        if (self._base.etag if self._base else None) != (self.plan.base.etag if self.plan.base else None):
            raise Conflict(_moved_on(self.storage))
        read = self._read(self.plan.shared(self.published))
        self._touched = {key: stored.data if stored else None for key, stored in read.items()}
        touched = {key: stored for key, stored in read.items() if stored is not None}
        dirty = self.lease.intent.dirty
        self._replaceable = left_overs(self.storage, dirty)
        self._twins = twins(self._replaceable, dirty, self.plan.content) - set(touched)
        self._replaceable |= {key: stored.etag for key, stored in touched.items()}
        self.lease.confirm()
        if self._backup and self._base:
            root = self.storage.read(ROOT)
            assert root is not None, "the root was read a moment ago, under the intent"
            base = (self._base.generation, self._base.write_id)
            back_up(self.storage, self._backup, base, self.plan.backup, {**touched, ROOT: root})

    def _read(self, keys: Iterable[str]) -> dict[str, StoredObject | None]:
        wanted = list(keys)
        with ThreadPoolExecutor(settings().parallel_requests) as pool:
            return dict(zip(wanted, pool.map(self.storage.read, wanted), strict=True))

    def publish(
        self, written: Iterable[WrittenObject], *, details: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Make the new state visible, once everything that was planned has been confirmed.

        Parameters
        ----------
        written
            Every object that the plan's regions name, as confirmed by the store.
        details
            Counts for the receipt.

        Raises
        ------
        Damaged
            If an object of the plan was not written. The old state stays.
        Conflict
            If somebody took over. The old state, or theirs, stays.
        Unavailable
            If it can't be known whether the switch took effect; recovery decides.
        """
        done = list(written)
        self._demand_complete(done)
        writer = self.writer()
        keys = {item.key for item in done}
        for name, index in list(
            uncovered(self.lease.intent.dirty, self.published, self.plan.documents, keys)
        ):
            done.extend(writer.rebuild(name, index))
        self.lease.check()
        hints = self.lease.intent.etags
        etags = {**hints, **write_documents(self.storage, self._changed(), hints, self.lease.confirm)}
        self.lease.check()
        try:
            self._switch()
        except Conflict:
            return self._found_committed()
        return self._conclude(done, etags, details or {})

    def _demand_complete(self, done: list[WrittenObject]) -> None:
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
        return (self._base.generation if self._base else 0) + 1

    def _root(self) -> bytes:
        mark = {
            "format": FORMAT,
            **{
                key: value
                for key, value in (self._base.mark if self._base else {}).items()
                if key != "fenced"
            },
            **self.plan.mark,
            "generation": self.generation,
            "write_id": self.write_id,
        }
        return root_bytes({**self.plan.attributes, "aggrade": mark}, self.plan.documents)

    def _switch(self) -> None:
        self._switching = True
        switch_root(self.storage, self._root(), self.write_id, self._base.etag if self._base else None)

    def _found_committed(self) -> Receipt:
        """After a conflict at the switch: somebody may have completed this very commit (a lost reply)."""
        receipt = find_receipt(self.storage, self.write_id)
        if receipt is None:
            raise Conflict(_moved_on(self.storage))
        self._close()
        return receipt

    def _conclude(
        self, done: list[WrittenObject], etags: dict[str, str], details: Mapping[str, Any]
    ) -> Receipt:
        plan = self.plan
        receipt = keep_receipt(self.storage, self._receipt(done, details))
        stamp = (self.write_id, self.generation)
        keep_layers(
            self.storage, layer_records(plan.layers, plan.targets(), plan.documents, plan.dim, done, stamp)
        )
        self.lease.release(dirty=still_dirty(self.lease.intent.dirty, plan.documents), etags=etags)
        self._lease = None
        _log.info("%s", receipt)
        return receipt

    def _receipt(self, done: list[WrittenObject], details: Mapping[str, Any]) -> Receipt:
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
            bytes_written=sum(item.size for item in done) + sum(map(len, metadata)),
            requests=self._requests(),
            seconds=round(time.monotonic() - self._started, 3),
            backup=self._backup,
            details=dict(details),
        )

    def _requests(self) -> dict[str, int]:
        """Return the requests by kind, with those that follow the receipt: itself, layer records, release."""
        sent = {kind: count for kind, count in self.storage.counts.items() if kind.isupper()}
        layers = self.plan.layers
        replaced = sum(layer.supersedes is not None for layer in layers)
        to_come = {"PUT": 2 + len(layers) + replaced, "GET": replaced}
        return {kind: sent.get(kind, 0) + to_come.get(kind, 0) for kind in sent}

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
            lease.stop()
            _log.warning("left the intent of %s for recovery: %s", self.storage.url, failure)
            if error is None:
                raise
        except AggradeError:
            lease.stop()
            if error is None:
                raise


def _moved_on(storage: Storage) -> Problem:
    return Problem(
        storage.url,
        "another state than the one the plan was made for",
        "the state that was read before planning",
        "run it again: it is planned anew on what is there now",
        "moved-on",
    )
