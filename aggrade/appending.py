"""`append`: add layers to a Zarr store under guard."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from aggrade.append_labels import stored_labels, with_dim
from aggrade.append_layout import checked_sizes, default_layout
from aggrade.append_plan import AppendPlan, OnConflict, keys_to_read, plan_append
from aggrade.append_pricing import consolidation_price, price_of, price_of_nothing
from aggrade.append_room import with_room
from aggrade.append_rows import STAMPS, NewRows
from aggrade.append_weighing import weigh, weigh_lines
from aggrade.append_writing import blocks_in, write_blocks
from aggrade.attribute_guards import left_out
from aggrade.channels import Channels, Union, channel_dims, demand_channels, unite_channels
from aggrade.clock import clock_of
from aggrade.commit import Transaction, describe, find_receipt, look, recover_store
from aggrade.commit.agreement import demand_agreement, documents_at_stake
from aggrade.commit.backup import copied_in_full
from aggrade.commit.catalogue import files_of, place_of
from aggrade.commit.layers import receipt_key
from aggrade.commit.plan import new_write_id
from aggrade.encoding import encode, encodings, layer_digest, plain_dataset
from aggrade.errors import Conflict, Damaged, Problem, raise_all
from aggrade.guards import OWN_GUARDS, Asked, problems_of
from aggrade.later_variables import without_later_variables
from aggrade.layout import STORE_SUFFIX, store_for
from aggrade.modalities import with_absent_modalities
from aggrade.session_rows import load
from aggrade.settings import settings
from aggrade.storage.counting import Counted, requests_in
from aggrade.storage.remembering import Remembering
from aggrade.storage.together import read_together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from aggrade.commit import CommitPlan, Document, Look
    from aggrade.commit.catalogue import NewLines
    from aggrade.commit.plan import BackupKind
    from aggrade.receipt import Receipt
    from aggrade.storage import Storage
    from aggrade.storage.adopting import Adopting

__all__ = ["append", "append_to"]

_log = logging.getLogger(__name__)


@overload
def append(
    dataset: xr.Dataset,
    store: str,
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
    store: str,
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
    store: str,
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
        If the dataset has no label for the layer, or the URL or credentials are wrong.
    Refused
        If a guard says no; every reason is named and nothing was written.
    Conflict
        If other writers kept the store busy for longer than ``AGGRADE_WAIT_SECONDS``.
    Unavailable
        If the store did not answer. Run it again: what was half done is recovered.
    """
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
    """
    layers = plain_dataset(with_dim(dataset, dim))
    sizes = checked_sizes("chunks", chunks, layers), checked_sizes("shards", shards, layers)
    demand_channels(channels)
    growing = (grow,) if isinstance(grow, str) else tuple(grow)
    clock = clock_of(storage)
    deadline = clock.now() + settings().wait_seconds
    counts: Counter[str] = Counter()
    for attempt in itertools.count():
        work = _Append(storage, layers, dim, growing, channels, *sizes, depth, counts)
        try:
            plan = work.plan(on_conflict, backup)
            plan = with_room(storage, work.weighed(plan) if dry_run else plan, work.seen, work.weighed)
            if dry_run:
                return plan
            if plan.commit is None:
                return _earlier(storage, plan, work.seen)
            if work.storage.consolidate():
                continue
            return work.carry_out(plan, plan.commit)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or clock.now() > deadline:
                raise
            _log.info("planning again: %s", error)
            clock.back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def _earlier(storage: Storage, plan: AppendPlan, seen: Look) -> Receipt:
    """Return the receipt of the commit that brought what is there already.

    Such a commit may have died, or be at its last steps: then it is finished, or waited for.
    """
    write_id = next(iter(plan.there.values()))
    intent = seen.intent[0] if seen.intent else None
    held = intent if intent is not None and intent.state == "held" else None
    if held is not None and (held.write_id in plan.there.values() or held.owner.is_known_dead()):
        recover_store(storage)
    receipt = find_receipt(storage, write_id)
    if receipt is None:
        found, fix = f"no receipt of commit {write_id}", "verify the store"
        raise Damaged(Problem(storage.url, found, "the receipt that the layer names", fix, "receipt-missing"))
    _log.info("already there, nothing to do: %s", ", ".join(plan.there))
    return receipt


class _Append:
    """One attempt: what is asked, beside what the store is now."""

    def __init__(
        self,
        storage: Adopting,
        dataset: xr.Dataset,
        dim: str,
        grow: tuple[str, ...],
        channels: Channels,
        chunks: Mapping[str, Any],
        shards: Mapping[str, Any],
        depth: int,
        counts: Counter[str],
    ) -> None:
        self.storage = storage.on(Counted(storage.inner, counts))
        self.dim = dim
        self._counts = counts
        self._reading = Remembering(self.storage)
        self.seen = look(self._reading)
        self.snapshot = snapshot = self.seen.snapshot
        self.filled = snapshot if snapshot is not None and snapshot.documents else None
        self._mark = snapshot.mark if snapshot else {}
        self.place = place_of(self._reading, self._mark, depth) if dim == "session" else None
        self.grow = tuple(dict.fromkeys([*self._mark.get("grow", []), *grow]))
        self.dataset, self.channels, self.chunks, self.shards = dataset, channels, chunks, shards
        self.documents = self._documents()
        self.encodings = encodings(self.documents)
        self.dataset, self.labels = stored_labels(dataset, dim, self.encodings)

    def _documents(self) -> dict[str, Document]:
        if self.filled is not None:
            return self.filled.documents
        raise_all(problems_of(Asked(self.dataset, self.dim, self.grow, {}, {}), OWN_GUARDS))
        grow = (*self.grow, *(channel_dims(self.dataset) if self.channels == "union" else ()))
        inner, outer = default_layout(self.dataset, self.dim, grow, self.chunks, self.shards)
        return describe(self.dataset, chunks=inner, shards=outer)

    def plan(self, on_conflict: OnConflict, backup: BackupKind) -> AppendPlan:
        """Check everything, then plan."""
        stored, given = self._read_ahead(), self.dataset
        if stored is not None and self.dim == "session":
            given = self.dataset = without_later_variables(self.dataset, stored)
            given = with_absent_modalities(given, stored, dim=self.dim)
        self.absent = {str(name) for name in given.variables.keys() - self.dataset.variables.keys()}
        may_be_there = "channels" in self._mark and len(self.seen.records) == len(self.labels)
        unites = self.channels == "union" or may_be_there
        union = unite_channels(given, stored, self.dim) if unites and stored is not None else Union(given)
        plan = self._planned(given, stored, union, on_conflict, backup)
        if union.runs and self.channels == "refuse" and plan.commit is not None:
            return self._planned(given, stored, Union(given), on_conflict, backup)
        return plan

    def _planned(
        self,
        given: xr.Dataset,
        stored: xr.Dataset | None,
        union: Union,
        on_conflict: OnConflict,
        backup: BackupKind,
    ) -> AppendPlan:
        self.dataset = union.dataset
        if self.place is not None:
            load(self.dataset.variables)
        about = (self.documents, self.encodings, stored, self.chunks, self.shards, given, self.storage.url)
        asked = Asked(self.dataset, self.dim, (*self.grow, *union.runs), *about)
        raise_all(problems_of(asked))
        self.variables = encode(self.dataset, self.encodings)
        sent = requests_in(self._counts)
        self.seen = replace(self.seen, requests=sent, bytes_read=self._counts["bytes_read"])
        own = encode(given, self.encodings) if union.runs else self.variables
        content = {name: variable for name, variable in own.items() if name not in STAMPS}
        self.digests = {label: layer_digest(content, self.dim, i) for i, label in enumerate(self.labels)}
        return plan_append(
            store=self.storage.url,
            seen=self.seen,
            variables=self.variables,
            documents=self.documents,
            attributes=self.filled.attributes if self.filled else dict(self.dataset.attrs),
            dim=self.dim,
            grow=self.grow,
            digests=self.digests,
            on_conflict=on_conflict,
            backup=backup,
            place=self.place,
            union=union,
            absent=self.absent,
            left_out=tuple(left_out(asked)),
        )

    def _read_ahead(self) -> xr.Dataset | None:
        """Read, all at once, what the guards compare with and what will be overwritten; return the stored dataset."""
        there = self.filled.documents if self.filled else {}
        sizes = self.dataset.drop_dims(channel_dims(self.dataset)).sizes
        first = self.snapshot.length(self.dim) if self.snapshot else 0
        files = files_of(range(first, first + len(self.labels)))
        keys = keys_to_read(there, self.dim, sizes, overwritten=self.seen.is_calm)
        keys += documents_at_stake(self.seen, self.dim, self.dataset.sizes)
        self.seen = self.seen.again(self._reading, self.labels, keys, self.place, files)
        demand_agreement(self.storage, self.seen, there)
        return self.filled.dataset(self._reading) if self.filled else None

    def carry_out(self, plan: AppendPlan, commit: CommitPlan) -> Receipt:
        """Write and publish."""
        with Transaction(self.storage, commit, self.seen) as txn:
            rows, lines = self._rows(plan, txn.write_id)
            written = write_blocks(txn.writer(), blocks_in(commit, rows))
            return txn.publish(written, details=plan.details, lines=lines)

    def weighed(self, plan: AppendPlan) -> AppendPlan:
        """Return the same plan with the bytes that its objects will have, for which they are encoded."""
        commit = plan.commit
        if commit is None:
            receipt = self.storage.stat(receipt_key(next(iter(plan.there.values()))))
            price = price_of_nothing(self.seen, receipt.size if receipt else 0)
            return plan.model_copy(update={"price": price})
        seen = self._seen_in_full(commit)
        variables, lines = self._rows(plan, new_write_id())
        weights = weigh(commit, seen, variables)
        told = weigh_lines(self.place, lines, seen) if self.place and lines else None
        there = copied_in_full(self.storage) if commit.backup == "full" else None
        stored = self.storage.as_stored
        price = price_of(
            commit, seen, variables, weights, place=self.place, told=told, there=there, stored=stored
        )
        return plan.model_copy(update={"price": price + consolidation_price(self.storage, seen)})

    def _seen_in_full(self, commit: CommitPlan) -> Look:
        """Return what was seen, with those shared chunks that the append itself reads later."""
        seen = self.seen
        keys = set(commit.shared(seen.snapshot.documents if seen.snapshot else {})) - set(seen.objects)
        return replace(seen, objects={**seen.objects, **read_together(self.storage, keys)})

    def _rows(self, plan: AppendPlan, write_id: str) -> tuple[dict[str, xr.Variable], NewLines | None]:
        """Return what is written, and what the catalogue is to say of it."""
        rows = NewRows(self.labels, self.dim, plan, write_id)
        lines = rows.lines(self.dataset.variables, self.place, self._mark) if self.place else None
        return rows.of(self.variables), lines
